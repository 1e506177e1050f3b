"""Rows of ranges, and what lies between them."""

from __future__ import annotations

from collections.abc import Awaitable
from itertools import pairwise
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase
from typing_extensions import override

from restreamer.dvr.timeline import (
    DURATION,
    MAX_MISSING,
    NUMBER,
    RUN,
    START,
    ArchiveHours,
    Joint,
    RowTuple,
    grid_of,
    joint,
    missing_between,
    rows_of,
    sequence_of,
    within,
)
from restreamer.errors import Reason, Refused
from restreamer.m4f.hour_index import ArchivedRun, HourBuilder, HourIndex, Row, TrackSpan
from restreamer.media.timebase import TICKS_PER_SECOND
from restreamer.testing.media import aac_track
from test.dvr.fake_archive import D, FakeArchive, Made, filled

BASE = 1_700_006_400 - 100
N = BASE // 5


def row(index: int, **more: Any) -> Made:
    """Segment C{index} after L{BASE}."""
    start = (BASE + index * 5) * TICKS_PER_SECOND
    return Made(N + index, start, D, more.pop("breaks", False), more.pop("sequence", 0), **more)


def packed(*rows: Made) -> list[RowTuple]:
    """Rows as tuples."""
    return [tuple(each.row()[0]) for each in rows]


class Joints(SynchronousTestCase):
    def between(self, one: Made, other: Made) -> Joint:
        return joint(*packed(one, other))

    def test_joints(self) -> None:
        self.assertEqual(self.between(row(0), row(1)), Joint(0, False, 0, False))
        self.assertEqual(self.between(row(0), row(1, breaks=True, sequence=1)), Joint(0, True, 0, False))
        self.assertEqual(self.between(row(0), row(4)), Joint(3, True, 0, False))
        self.assertEqual(self.between(row(0), row(4, breaks=True, sequence=3)), Joint(3, True, 2, False))
        # More discontinuities than numbers: counted by somebody else.
        self.assertEqual(self.between(row(0), row(2, sequence=9)), Joint(1, True, 0, False))
        self.assertEqual(self.between(row(0, sequence=5), row(4)), Joint(3, True, 0, False))

    def test_other_grids(self) -> None:
        after = Made(BASE + 5, (BASE + 5) * TICKS_PER_SECOND, TICKS_PER_SECOND, True, 1)
        self.assertEqual(self.between(row(0), after), Joint(0, True, 0, True))
        self.assertEqual(self.between(after, row(2)), Joint(0, True, 0, True))

    def test_long_outages(self) -> None:
        """Of a month without a recording nobody lists each number: lists begin anew behind it."""
        month = 30 * 86_400 // 5
        self.assertEqual(self.between(row(0), row(MAX_MISSING + 1)), Joint(MAX_MISSING, True, 0, False))
        self.assertEqual(self.between(row(0), row(MAX_MISSING + 2)), Joint(0, True, 0, True))
        self.assertEqual(self.between(row(0), row(month)), Joint(0, True, 0, True))

    def test_missing(self) -> None:
        """Each with its share of the time; breaks that nobody saw come last."""
        one, other = packed(row(0), row(4, breaks=True, sequence=3))
        found = missing_between(one, other, joint(one, other))
        self.assertEqual([each.number for each in found], [N + 1, N + 2, N + 3])
        self.assertEqual([each.start - BASE * TICKS_PER_SECOND for each in found], [D, 2 * D, 3 * D])
        self.assertEqual([each.duration for each in found], [D, D, D])
        self.assertEqual([each.broken for each in found], [False, True, True])

    def test_sequence(self) -> None:
        rows = packed(
            row(0, sequence=4),
            row(1, sequence=5, breaks=True),
            row(4, sequence=8, breaks=True),
            row(5, sequence=2),
            row(6, sequence=2, breaks=True),
        )
        self.assertEqual([sequence_of(rows, place) for place in range(5)], [4, 5, 8, 8, 9])


class Places(SynchronousTestCase):
    def test_within(self) -> None:
        rows = packed(row(0), row(1), row(4), row(5))
        second = TICKS_PER_SECOND
        for start, end, found in (
            (0, 100, (0, 4)),
            (0, 20, (0, 2)),
            (4, 20, (0, 2)),
            (5, 20, (1, 2)),
            (5, 21, (1, 3)),
            (12, 20, (2, 2)),
            (60, 80, (4, 4)),
            (-60, 0, (0, 0)),
            (29, 80, (3, 4)),
        ):
            self.assertEqual(
                within(rows, (BASE + start) * second, (BASE + end) * second), found, (start, end)
            )

    @settings(deadline=None, max_examples=100, derandomize=True)
    @given(st.lists(st.integers(0, 90), max_size=30, unique=True), st.integers(-9, 460), st.integers(1, 460))
    def test_within_is_what_is_shown(self, numbers: list[int], start: int, length: int) -> None:
        rows = packed(*[row(each) for each in sorted(numbers)])
        begin, end = (BASE + start) * TICKS_PER_SECOND, (BASE + start + length) * TICKS_PER_SECOND
        first, last = within(rows, begin, end)
        shown = [each for each in rows if each[START] < end and each[START] + D > begin]
        self.assertEqual(rows[first:last], shown)

    def test_order_of_time(self) -> None:
        second = TICKS_PER_SECOND
        fast = [Made(BASE + k, (BASE + k) * second, second, False, 0) for k in range(5)]
        archive = filled([*fast, row(1), row(2)])
        (index,) = (builder.build() for builder in archive.builders.values())
        starts = [each[START] for each in rows_of(index)]
        self.assertEqual(starts, sorted(starts))
        self.assertNotEqual([each[NUMBER] for each in rows_of(index)], sorted(each.number for each in index))

    @settings(deadline=None, max_examples=200, derandomize=True)
    @given(
        st.lists(
            st.tuples(st.integers(0, 600), st.integers(1, 60), st.sampled_from([1, 2, 5])),
            min_size=1,
            max_size=5,
        )
    )
    def test_one_recording_at_a_time(self, runs: list[tuple[int, int, int]]) -> None:
        """Recordings of one time are shown one after the other, not by turns, and nothing is left out that
        no other shows.
        """
        hour, second = BASE // 3600 + 1, TICKS_PER_SECOND
        builder = HourBuilder(hour)
        rows: list[tuple[int, int, int]] = []
        for place, (start, count, seconds) in enumerate(runs):
            for at in range(count):
                begin = hour * 3600 * second + start * second + at * seconds * second + place * second // 7
                rows.append((begin, seconds * second, place))
        rows.sort(key=lambda each: each[2])
        for number, (begin, length, place) in enumerate(rows):
            made = Row(number, begin, length, 2, 0, number, 1000, 0, 0, 0, 0)
            run = ArchivedRun(place + 1, 0, 0, bytes(16))
            builder.add(made, (aac_track(1, 100_000),), run, [TrackSpan(1, 1, 0, length, 6)])
        shown = rows_of(builder.build())
        starts = [each[START] for each in shown]
        self.assertEqual(starts, sorted(starts))
        turns = sum(one[RUN] != other[RUN] for one, other in pairwise(shown))
        self.assertLessEqual(turns, 2 * len(runs))
        for begin, length, _ in rows:
            middle = begin + length // 2
            near = [each for each in shown if each[START] - 5 * second <= middle < each[START] + 10 * second]
            self.assertTrue(near, "nothing is shown of a time that was recorded")
        for one, other in pairwise(shown):
            if one[RUN] != other[RUN]:
                self.assertGreaterEqual(other[START], one[START] + one[DURATION] * 9 // 10)

    def test_grid(self) -> None:
        self.assertEqual(grid_of(packed(row(0), row(1))), D)
        self.assertEqual(grid_of(packed(Made(7, BASE * TICKS_PER_SECOND, D, False, 0))), 0)
        self.assertEqual(grid_of([]), 0)


class Hours(SynchronousTestCase):
    @override
    def setUp(self) -> None:
        self.now = float(BASE + 100_000)
        self.archive: FakeArchive = filled(row(index) for index in range(2000))
        self.hours = ArchiveHours(self.archive, lambda: int(self.now * TICKS_PER_SECOND), lambda: self.now)

    def result(self, waited: Awaitable[Any]) -> Any:
        async def wait() -> Any:
            return await waited

        return self.successResultOf(Deferred.fromCoroutine(wait()))

    async def all(self, start: int, end: int) -> list[int]:
        found: list[int] = []
        second = TICKS_PER_SECOND
        async for index, rows, first, last in self.hours.rows("x", start * second, end * second):
            self.assertIsInstance(index, HourIndex)
            found += [each[NUMBER] for each in rows[first:last]]
        return found

    def test_rows_of_a_range(self) -> None:
        self.assertEqual(self.result(self.all(BASE + 7, BASE + 8000)), list(range(N + 1, N + 1600)))
        # Three hours, and none for what is not asked for.
        self.assertEqual(len(self.archive.asked), 4)

    def test_kept_for_a_while(self) -> None:
        for _ in range(3):
            self.result(self.all(BASE, BASE + 8000))
        self.assertEqual(len(self.archive.asked), 4)
        self.now += 31
        self.result(self.all(BASE, BASE + 8000))
        self.assertEqual(len(self.archive.asked), 8)
        self.setUp()
        self.now = BASE + 8050.0
        self.result(self.all(BASE, BASE + 8000))
        self.archive.asked.clear()
        self.now += 1.0
        self.result(self.all(BASE, BASE + 8000))
        # The newest ones may grow.
        self.assertEqual(len(self.archive.asked), 1)

    def test_nothing(self) -> None:
        def refused() -> Reason:
            waited = Deferred.fromCoroutine(self.all(5, 10**9))
            failure: Refused = self.failureResultOf(waited, Refused).value
            return failure.reason

        self.assertIs(refused(), Reason.NOT_FOUND)
        self.archive.complete = False
        self.now += 5
        self.assertIs(refused(), Reason.NOT_READY)
        self.assertEqual(self.archive.asked, [])
