"""A fixed set of seeds, small enough for every run of the tests. C{python -m test.simulator} runs more."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from test.simulator.__main__ import main
from test.simulator.plan import Size
from test.simulator.simulation import simulate

#: How large the simulations of the tests are.
SMALL = Size(nodes=12, streams=5, minutes=2)
SEEDS = range(1, 7)


class SeedTests(SynchronousTestCase):
    """No invariant is violated."""

    def test_seeds(self) -> None:
        happened: set[str] = set()
        for seed in SEEDS:
            outcome = simulate(seed, SMALL)
            self.assertEqual(outcome.failure, "", "\n".join((f"seed {seed}", *outcome.tail)))
            self.assertGreater(outcome.events, 1000)
            happened.update(outcome.counts)
        self.assertLessEqual(
            {"publish", "leave", "watch", "kill", "restart", "freeze", "split", "cut", "slow"}, happened
        )

    def test_more_nodes_and_names(self) -> None:
        outcome = simulate(1, Size(nodes=40, streams=20, minutes=0.7, trouble=20, calm=25))
        self.assertEqual(outcome.failure, "", "\n".join(outcome.tail))


class CommandTests(SynchronousTestCase):
    """C{python -m test.simulator}."""

    def test_good_and_bad(self) -> None:
        said: list[str] = []
        small = ["--nodes", "8", "--streams", "3", "--minutes", "1", "--processes", "1"]
        self.patch(main.__globals__["sys"], "stdout", _Lines(said))
        self.assertEqual(main([*small, "--seed", "3"]), 0)
        self.assertIn("x real time", said[-1])
        said.clear()
        self.assertEqual(main([*small, "--seed", "3", "--mutation", "window-unbounded"]), 1)
        text = "".join(said)
        for part in ("seed 3: bounded tables at", "starts", "again: python -m test.simulator --seed 3 "):
            self.assertIn(part, text)


class _Lines:
    """A file that keeps what is written."""

    def __init__(self, lines: list[str]) -> None:
        self._lines = lines

    def write(self, text: str) -> int:
        if text.strip():
            self._lines.append(text)
        return len(text)

    def flush(self) -> None:
        pass
