"""Places that are handed round."""

from __future__ import annotations

from functools import partial

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.defer import CancelledError, Deferred
from twisted.trial.unittest import SynchronousTestCase

from restreamer.sessions.fair_slots import MAX_OF_GROUP, FairSlots


def _note(order: list[str], who: str, _: None) -> None:
    order.append(who)


class Slots(SynchronousTestCase):
    def test_by_turns(self) -> None:
        """Somebody who asks for many is served by turns with those who ask for one."""
        slots = FairSlots(1)
        self.successResultOf(slots.acquire("a"))
        order: list[str] = []
        for who in ("a", "a", "a", "b", "c"):
            _ = slots.acquire(who).addCallback(partial(_note, order, who))
        _ = slots.acquire("a", True).addCallback(lambda _: order.append("first"))
        self.assertEqual(slots.waiting, 6)
        for _ in range(6):
            slots.release()
        self.assertEqual(order, ["first", "a", "b", "c", "a", "a"])
        self.assertEqual(slots.waiting, 0)

    def test_too_many_of_one(self) -> None:
        slots = FairSlots(0)
        for _ in range(MAX_OF_GROUP):
            self.assertTrue(slots.has_room("a"))
            _ = slots.acquire("a")
        self.assertFalse(slots.has_room("a"))
        self.assertTrue(slots.has_room("b"))

    @settings(deadline=None, max_examples=100, derandomize=True)
    @given(st.lists(st.tuples(st.sampled_from("arc"), st.integers(0, 3), st.booleans()), max_size=80))
    def test_no_place_is_lost(self, moves: list[tuple[str, int, bool]]) -> None:
        """Whatever is asked, given back and given up: none waits beside a free place."""
        slots = FairSlots(2)
        held = 0
        waiting: list[Deferred[None]] = []

        def got(_: None) -> None:
            nonlocal held
            held += 1

        for move, who, first in moves:
            if move == "a":
                waiter = slots.acquire(who, first)
                _ = waiter.addCallbacks(got, lambda failure: failure.trap(CancelledError))
                waiting.append(waiter)
            elif move == "r" and held:
                held -= 1
                slots.release()
            elif move == "c" and waiting:
                waiting.pop(who % len(waiting)).cancel()
            waiting = [each for each in waiting if not each.called]
            self.assertLessEqual(held, 2)
            self.assertEqual(slots.waiting, len(waiting))
            self.assertTrue(held == 2 or not waiting)
