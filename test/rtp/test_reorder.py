"""The order of packets: what waits, what is lost, what begins anew."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from restreamer.rtp.packet import RtpPacket
from restreamer.rtp.reorder import MAX_LATE, ReorderBuffer


def packet(sequence: int) -> RtpPacket:
    return RtpPacket(96, False, sequence & 0xFFFF, 0, 1, b"x")


def numbers(taken: list[tuple[RtpPacket, bool]]) -> list[tuple[int, bool]]:
    return [(each.sequence, lost) for each, lost in taken]


class ReorderTests(SynchronousTestCase):
    """L{ReorderBuffer}."""

    def take(self, order: ReorderBuffer, *sequences: int, now: float = 0.0) -> list[tuple[int, bool]]:
        found = []
        for sequence in sequences:
            found += numbers(order.take(packet(sequence), now))
        return found

    def test_in_order_over_the_wrap(self) -> None:
        order = ReorderBuffer()
        self.assertEqual(self.take(order, 65534, 65535, 0, 1), [(n, False) for n in (65534, 65535, 0, 1)])
        self.assertEqual(order.lost, 0)

    def test_waits_for_what_is_late(self) -> None:
        order = ReorderBuffer(depth=8)
        self.assertEqual(self.take(order, 1, 3, 4, 2), [(1, False), (2, False), (3, False), (4, False)])

    def test_waits_no_longer_than_it_may(self) -> None:
        order = ReorderBuffer(depth=8, seconds=0.2)
        self.take(order, 1, 3, 4)
        self.assertEqual(order.overdue(0.1), [])
        self.assertEqual(numbers(order.overdue(0.3)), [(3, True), (4, False)])
        self.assertEqual(order.lost, 1)

    def test_waits_for_no_more_than_its_depth(self) -> None:
        order = ReorderBuffer(depth=2)
        self.assertEqual(self.take(order, 1, 3, 4, 5), [(1, False), (3, True), (4, False), (5, False)])

    def test_over_tcp_nothing_waits(self) -> None:
        order = ReorderBuffer()
        self.assertEqual(self.take(order, 1, 3), [(1, False), (3, True)])

    def test_late_and_double(self) -> None:
        order = ReorderBuffer(depth=2)
        self.take(order, 5, 6)
        self.assertEqual(self.take(order, 6, 5, 4), [])
        self.assertEqual(order.late, 3)

    def test_a_new_beginning_ahead(self) -> None:
        order = ReorderBuffer(depth=2)
        self.take(order, 1, 2)
        self.assertEqual(self.take(order, 40_000, 40_001), [(40_000, True), (40_001, False)])
        self.assertEqual((order.restarts, order.lost), (1, 0))

    def test_a_new_beginning_behind(self) -> None:
        order = ReorderBuffer(depth=2)
        self.take(order, 2000)
        taken = self.take(order, *range(100, 100 + MAX_LATE + 2))
        self.assertEqual([number for number, _ in taken], [115, 116, 117])
        self.assertEqual(order.restarts, 1)

    @settings(deadline=None, max_examples=100, derandomize=True)
    @given(st.lists(st.integers(0, 65535), max_size=60), st.integers(0, 8))
    def test_whatever_comes_the_order_rises(self, sequences: list[int], depth: int) -> None:
        order = ReorderBuffer(depth)
        highest = -1
        for at, sequence in enumerate(sequences):
            before = order.restarts
            taken = order.take(packet(sequence), at * 0.01)
            if order.restarts == before and taken:
                self.assertGreater(order.highest, highest)
            highest = order.highest
            self.assertLessEqual(len(order._waiting), depth)
