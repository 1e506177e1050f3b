"""The invariants notice planted bugs: each is caught by the seeds of the tests."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from test.simulator.mutations import MUTATIONS, mutated
from test.simulator.simulation import simulate
from test.simulator.test_seeds import SEEDS, SMALL

#: Invariants that may be the first to notice.
NOTICED = {
    "numbers-recounted": {"segment identity", "contiguous frames", "rising numbers", "rising DTS"},
    "mapped-cut-late": {"segment identity"},
    "replayed-on-resume": {"contiguous frames", "rising DTS", "segment identity"},
    "joined-without-index": {
        "contiguous frames", "liveness", "segment identity", "rising DTS", "same content",
    },
    "dead-run-kept": {
        "segment identity", "contiguous frames", "discontinuity sequence", "marked breaks", "rising DTS",
    },
    "claim-kept": {"liveness", "nothing stays"},
    "claim-unheard": {"local wins"},
    "unlisted-ignored": {"liveness", "nothing stays"},
    "old-input-kept": {"once per link", "no leaks", "contiguous frames"},
    "sequence-not-raised": {"discontinuity sequence"},
    "beat-leaked": {"no leaks", "no faults"},
    "window-unbounded": {"bounded tables"},
}  # fmt: skip


class MutationTests(SynchronousTestCase):
    """One planted bug after the other."""

    def test_each_is_caught(self) -> None:
        self.assertEqual(set(NOTICED), set(MUTATIONS))
        for name, invariants in NOTICED.items():
            caught = ""
            for seed in SEEDS:
                with mutated(name):
                    caught = simulate(seed, SMALL).failure
                if caught:
                    break
            self.assertTrue(caught, f"{name} goes unnoticed")
            self.assertIn(caught.split(" at ")[0], invariants, f"{name}: {caught}")

    def test_taken_out_again(self) -> None:
        before = simulate(1, SMALL).digest
        for name in MUTATIONS:
            with mutated(name):
                pass
        self.assertEqual(simulate(1, SMALL).digest, before)
