"""Work that waits for its turn: a little at a time, in order, and what is called off is not done."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from typing_extensions import override

from restreamer.live.turns import BUDGET, MOST, Turns


class SlowClock(Clock):
    """Each piece of work takes time, as it does on a reactor; what is asked for at once waits for a turn."""

    def __init__(self) -> None:
        super().__init__()
        self.soon: list[Callable[[], object]] = []

    @override
    def callLater(
        self, delay: float, callable: Callable[..., object], *args: object, **kwargs: object
    ) -> Any:
        self.soon.append(callable)
        return super().callLater(delay, lambda: None)

    def work(self, seconds: float) -> None:
        self.rightNow += seconds


class TurnsTests(SynchronousTestCase):
    """L{Turns}."""

    @override
    def setUp(self) -> None:
        self.clock = SlowClock()
        self.turns = Turns(self.clock)
        self.done: list[int] = []

    def one_turn(self) -> list[int]:
        """What one turn of the reactor does."""
        before = len(self.done)
        (call,), self.clock.soon = self.clock.soon, []
        call()
        return self.done[before:]

    def ask(self, count: int, seconds: float) -> None:
        for index in range(count):

            def work(index: int = index) -> None:
                self.done.append(index)
                self.clock.work(seconds)

            self.turns.ask(work)

    def test_a_turn_is_bounded_by_time(self) -> None:
        self.ask(30, 0.6 * BUDGET)
        turns = []
        while len(self.turns):
            turns.append(self.one_turn())
        self.assertEqual([len(each) for each in turns], [2] * 15)
        self.assertEqual(self.done, list(range(30)))
        self.assertEqual(self.clock.soon, [])

    def test_one_at_least(self) -> None:
        self.ask(3, 10 * BUDGET)
        self.assertEqual([self.one_turn(), self.one_turn(), self.one_turn()], [[0], [1], [2]])

    def test_bounded_on_a_clock_that_stands_still(self) -> None:
        self.ask(MOST + 2, 0.0)
        self.assertEqual(len(self.one_turn()), MOST)
        self.assertEqual(len(self.one_turn()), 2)

    def test_called_off(self) -> None:
        turns = [self.turns.ask(partial(self.done.append, index)) for index in range(5)]
        for turn in (turns[0], turns[3]):
            turn.cancel()
        self.assertEqual(len(self.turns), 3)
        self.assertEqual(self.one_turn(), [1, 2, 4])
        turns[4].cancel()

    def test_asked_meanwhile_comes_behind(self) -> None:
        def work() -> None:
            self.done.append(0)
            self.turns.ask(lambda: self.done.append(2))

        self.turns.ask(work)
        self.turns.ask(lambda: self.done.append(1))
        self.assertEqual(self.one_turn(), [0, 1, 2])

    def test_closed(self) -> None:
        self.ask(3, 0.0)
        self.turns.close()
        self.ask(1, 0.0)
        self.assertEqual(len(self.turns), 0)
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.assertEqual(self.done, [])
