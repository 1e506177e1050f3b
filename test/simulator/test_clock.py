"""Simulated time and the clocks of nodes."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.error import AlreadyCalled, AlreadyCancelled
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from typing_extensions import override
from zope.interface.verify import verifyObject

from restreamer.testing.sim_clock import NodeClock, SimTime


class SimTimeTests(SynchronousTestCase):
    """The heap."""

    @override
    def setUp(self) -> None:
        self.time = SimTime()
        self.seen: list[object] = []

    def test_interfaces(self) -> None:
        self.assertTrue(verifyObject(IReactorTime, self.time))
        self.assertTrue(verifyObject(IReactorTime, NodeClock(self.time)))
        self.assertTrue(verifyObject(IDelayedCall, self.time.callLater(1, print)))

    def test_each_at_its_time(self) -> None:
        for delay in (3.0, 1.0, 2.0):
            self.time.callLater(delay, lambda: self.seen.append(self.time.seconds()))
        self.time.advance(2.5)
        self.assertEqual((self.seen, self.time.now), ([1.0, 2.0], 2.5))
        self.time.run_until(3.0)
        self.assertEqual((self.seen[-1], self.time.now), (3.0, 3.0))

    def test_what_is_due_together_runs_in_the_order_it_was_asked_for(self) -> None:
        for index in range(5):
            self.time.callLater(1, self.seen.append, index)
        self.time.advance(1)
        self.assertEqual(self.seen, list(range(5)))

    def test_cancel_reset_delay(self) -> None:
        first = self.time.callLater(1, self.seen.append, "first")
        second = self.time.callLater(1, self.seen.append, "second")
        third = self.time.callLater(1, self.seen.append, "third")
        first.cancel()
        second.reset(2)
        third.delay(2)
        self.assertEqual(self.time.getDelayedCalls(), [second, third])
        self.time.advance(2.5)
        self.assertEqual(self.seen, ["second"])
        self.time.advance(1)
        self.assertEqual(self.seen, ["second", "third"])
        self.assertRaises(AlreadyCancelled, first.cancel)
        self.assertRaises(AlreadyCalled, third.cancel)
        self.assertFalse(first.active() or third.active())

    def test_who_raises(self) -> None:
        self.time.callLater(1, int, "x")
        self.time.callLater(2, self.seen.append, "on")
        self.assertRaises(ValueError, self.time.advance, 1)
        told: list[BaseException] = []
        self.time.failed = told.append
        self.time.callLater(0, int, "y")
        self.time.advance(3)
        self.assertEqual((self.seen, len(told)), (["on"], 1))

    @settings(max_examples=60, deadline=None, derandomize=True)
    @given(st.lists(st.tuples(st.sampled_from("acrd"), st.integers(0, 8), st.integers(0, 5)), max_size=40))
    def test_like_twisteds_own(self, script: list[tuple[str, int, int]]) -> None:
        """Calls, cancellations and moves: the same things run in the same steps as on task.Clock."""
        found = []
        for clock in (SimTime(), Clock()):
            seen: list[tuple[int, int]] = []
            calls: list[Any] = []
            for step, (what, one, other) in enumerate(script):
                waiting = [call for call in calls if call.active()]
                if what == "a":
                    clock.advance(one)
                elif what == "c":
                    calls.append(clock.callLater(one, seen.append, (step, other)))
                elif waiting:
                    call = waiting[other % len(waiting)]
                    _ = call.reset(one) if what == "r" else call.cancel()
            clock.advance(20)
            found.append(sorted(seen))
        self.assertEqual(found[0], found[1])

    def test_litter_is_cleaned(self) -> None:
        for _ in range(20_000):
            self.time.callLater(1000, print).cancel()
            self.time.advance(0.001)
        self.assertLess(len(self.time._heap), 10_000)


class NodeClockTests(SynchronousTestCase):
    """Nodes that stand still or die."""

    @override
    def setUp(self) -> None:
        self.time = SimTime()
        self.node = NodeClock(self.time)
        self.seen: list[tuple[str, float]] = []

    def _after(self, delay: float, what: str) -> None:
        self.node.callLater(delay, lambda: self.seen.append((what, self.time.now)))

    def test_frozen(self) -> None:
        for delay, what in ((1, "a"), (2, "b"), (9, "c")):
            self._after(delay, what)
        cancelled = self.node.callLater(2, self.fail)
        self.node.freeze()
        self.time.advance(5)
        self.assertEqual((self.seen, self.node.seconds(), len(self.node.held)), ([], 5.0, 3))
        cancelled.cancel()
        self.assertEqual(len(self.node.getDelayedCalls()), 3)
        self.node.thaw()
        self.time.advance(10)
        self.assertEqual(self.seen, [("a", 5.0), ("b", 5.0), ("c", 9.0)])

    def test_dead(self) -> None:
        self._after(1, "a")
        self.node.die()
        self.time.advance(5)
        self.assertEqual((self.seen, self.node.getDelayedCalls()), ([], []))
