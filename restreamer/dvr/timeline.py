"""The segments of a range of an archive, hour by hour, and what lies between them.

Rows are handled as the plain tuples of L{restreamer.m4f.hour_index.HourIndex.tuples}: a week has 120,000 of
them. L{ArchiveHours} is the part that waits; all else is pure.
"""

from __future__ import annotations

import zlib
from bisect import bisect_left
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Final

from attrs import frozen

from restreamer.dvr.seams import Archives, Holdings
from restreamer.errors import Reason, Refused
from restreamer.m4f.hour_index import HourIndex, hour_of
from restreamer.m4f.hour_layout import DISCONTINUITY, HOUR_TICKS
from restreamer.media.timebase import TICKS_PER_SECOND
from restreamer.vod.keep import Kept, SingleFlight

#: A row: the fields of L{restreamer.m4f.hour_index.Row} in their order.
RowTuple = tuple[int, ...]
NUMBER, START, DURATION, FLAGS, SEQUENCE, CHECKSUM, SIZE, SHOWN, TABLE, RUN, FIRST_SPAN = range(11)

#: A segment lasts no longer, ticks: how far before a range one that reaches into it may start.
LONGEST_SEGMENT: Final = 120 * TICKS_PER_SECOND
#: More missing numbers than this for each second that is missing are of another grid, not an outage.
_PER_SECOND: Final = 4
_SPARE: Final = 8
#: More missing numbers than this are not listed: lists begin anew behind them, as live ones do.
MAX_MISSING: Final = 1000

#: Another recording goes on where no more than this part of a segment of the one before overlaps.
_TOLERANCE: Final = 10

#: Bytes of hour indexes kept, and how many.
_KEPT_BYTES: Final = 32 * 1024 * 1024
_KEPT_HOURS: Final = 2000
#: For how many seconds an hour is taken for what it was: one that is over for L{_OLD}, and a newer one.
_OLD_FOR: Final = 30.0
_NEW_FOR: Final = 0.9
_OLD: Final = 600 * TICKS_PER_SECOND
_MAX_KNOWN: Final = 500
#: Hours that are loaded at a time, and those of one stream.
_MAX_LOADING: Final = 1024
_MAX_OF_STREAM: Final = 64


@frozen
class Joint:
    """What lies between two rows.

    @ivar missing: numbers between them that nobody has. @ivar breaks: the second does not continue the first.
    @ivar hidden: discontinuities that lie in what is missing: the sequence of the second counts them.
    @ivar unrelated: their numbers are of different grids, or so far apart that no list holds both by number.
    """

    missing: int
    breaks: bool
    hidden: int
    unrelated: bool


def joint(before: RowTuple, after: RowTuple) -> Joint:
    """What lies between two rows, the one next to the other in time."""
    flagged = after[FLAGS] & DISCONTINUITY
    missing = after[NUMBER] - before[NUMBER] - 1
    if not missing:
        return Joint(0, bool(flagged), 0, False)
    lost = max(0, after[START] - before[START] - before[DURATION])
    if not 0 <= missing <= min(MAX_MISSING, _PER_SECOND * lost // TICKS_PER_SECOND + _SPARE):
        return Joint(0, True, 0, True)
    hidden = after[SEQUENCE] - before[SEQUENCE] - flagged
    return Joint(missing, True, hidden if 0 < hidden <= missing else 0, False)


@frozen
class Missing:
    """A number nobody has a segment for, in a list by numbers; ticks. @ivar broken: it counts as a break."""

    number: int
    start: int
    duration: int
    broken: bool


def missing_between(before: RowTuple, after: RowTuple, between: Joint) -> list[Missing]:
    """The missing numbers of C{between}, each with its share of the time, as the live window lists them."""
    count = between.missing
    if not count:
        return []
    first, lost_from = before[NUMBER] + 1, before[START] + before[DURATION]
    share = max(0, after[START] - lost_from) // count
    longest = max(before[DURATION], TICKS_PER_SECOND)
    length = min(share, longest) or longest
    whole = count - between.hidden
    return [
        Missing(first + index, lost_from + index * share, length, index >= whole) for index in range(count)
    ]


def sequence_of(rows: Sequence[RowTuple], place: int) -> int:
    """Discontinuities of the stream up to C{rows[place]}, its own included, by the count of its hour.

    @param rows: of the whole hour. The first one says where the count is; from there on breaks are counted,
        so that a list whose beginning moves through the hour agrees with itself.
    """
    if not rows:
        return 0
    sequence = rows[0][SEQUENCE]
    for index in range(1, place + 1):
        row, before = rows[index], rows[index - 1]
        if row[NUMBER] == before[NUMBER] + 1:
            sequence += row[FLAGS] & DISCONTINUITY
            continue
        between = joint(before, row)
        if between.unrelated:
            sequence = row[SEQUENCE]
        else:
            sequence += between.hidden + (row[FLAGS] & DISCONTINUITY)
    return sequence


def rows_of(index: HourIndex) -> list[RowTuple]:
    """The rows of an hour in the order of time, one recording at any moment.

    That is the order of their numbers, unless the stream changed its grid within the hour. Where a clock was
    set back, or two nodes recorded with other numbers, there are two recordings of one time: the one that is
    shown is shown until it ends.
    """
    rows = list(index.tuples())
    last = -(1 << 63)
    doubled = False
    for row in rows:
        start = row[START]
        if start < last:
            doubled = True
            break
        last = start + (row[DURATION] >> 1)
    if doubled:
        rows.sort(key=_start)
        rows = _one_at_a_time(rows)
    return rows


def _one_at_a_time(rows: Sequence[RowTuple]) -> list[RowTuple]:
    """C{rows}, in the order of time, without those of another run that begin before the one shown is over."""
    shown: list[RowTuple] = []
    for row in rows:
        if shown:
            before = shown[-1]
            # Less than half: two recordings whose segments begin half a segment apart never take turns.
            over = before[START] + before[DURATION] - before[DURATION] // _TOLERANCE
            if row[RUN] != before[RUN] and row[START] < over:
                continue
        shown.append(row)
    return shown


def within(rows: Sequence[RowTuple], start: int, end: int) -> tuple[int, int]:
    """Places (first, end) in C{rows} of what is shown between C{start} and C{end}, UTC ticks."""
    first = bisect_left(rows, start, key=_start)
    if first and rows[first - 1][START] + rows[first - 1][DURATION] > start:
        first -= 1
    return first, max(first, bisect_left(rows, end, key=_start))


def grid_of(rows: Sequence[RowTuple]) -> int:
    """The C{segment_duration} that the numbers are of, ticks; 0 when they are of no grid.

    Numbers are UTC divided by it, a little more at most.
    """
    if not rows or rows[-1][NUMBER] <= 0:
        return 0
    grid = round(rows[-1][START] / rows[-1][NUMBER])
    return grid if TICKS_PER_SECOND // 5 <= grid <= LONGEST_SEGMENT else 0


def fingerprint(index: HourIndex) -> int:
    """Two indexes of one hour with the same are equal, as far as lists say anything of them."""
    return zlib.crc32(index.packed_spans, zlib.crc32(index.packed)) << 32 | len(index.packed)


def _start(row: RowTuple) -> int:
    return row[START]


class ArchiveHours:
    """The hours of archives as they were a moment ago: the same hour is not loaded for each viewer.

    @param utc: UTC ticks now; @param seconds: of a monotonic clock.
    """

    def __init__(self, archives: Archives, utc: Callable[[], int], seconds: Callable[[], float]) -> None:
        self.archives = archives
        self._utc = utc
        self._seconds = seconds
        self._kept: Kept[tuple[str, int], tuple[float, HourIndex]] = Kept(
            _KEPT_BYTES, _KEPT_HOURS, lambda held: held[1].cost
        )
        self._known: Kept[str, tuple[float, Holdings]] = Kept(_MAX_KNOWN, _MAX_KNOWN, lambda held: 1)
        self._loading: SingleFlight[tuple[str, int], HourIndex] = SingleFlight(
            _MAX_LOADING, 4 * _MAX_LOADING, lambda flight: flight[0], _MAX_OF_STREAM
        )
        self._asking: SingleFlight[str, Holdings] = SingleFlight()

    async def holdings(self, name: str) -> Holdings:
        """What there is of a stream.

        @raise Refused: as L{restreamer.dvr.seams.ArchiveReader.holdings}.
        """
        held = self._known.get(name)
        if held is not None and self._seconds() - held[0] < _NEW_FOR:
            return held[1]
        return await self._asking.run(name, lambda: self._ask(name))

    async def hour(self, name: str, hour: int) -> HourIndex:
        """The segments of one hour.

        @raise Refused: as L{restreamer.dvr.seams.ArchiveReader.hour}.
        """
        held = self._kept.get((name, hour))
        if held is not None and self._seconds() - held[0] < self.fresh_for(hour):
            return held[1]
        return await self._loading.run((name, hour), lambda: self._load(name, hour))

    def forget(self) -> None:
        """Give the memory back."""
        self._kept.clear()
        self._known.clear()

    def fresh_for(self, hour: int) -> float:
        """For how many seconds what was known of C{hour} is taken for true."""
        return _OLD_FOR if (hour + 1) * HOUR_TICKS + _OLD < self._utc() else _NEW_FOR

    async def hours_between(self, name: str, start: int, end: int) -> tuple[Sequence[int], bool]:
        """The hours that may hold something between C{start} and C{end}, UTC ticks; whether all who may know
        were asked.

        The cost is that of the hours there are, not of the range.
        @raise Refused: as L{holdings}; NOT_FOUND: nothing is there; NOT_READY: who may have it is away.
        """
        held = await self.holdings(name)
        hours = held.hours
        first = bisect_left(hours, hour_of(start - LONGEST_SEGMENT))
        last = bisect_left(hours, hour_of(end - 1) + 1)
        if first >= last:
            raise nothing_there(held.complete)
        return hours[first:last], held.complete

    async def rows(
        self, name: str, start: int, end: int
    ) -> AsyncIterator[tuple[HourIndex, list[RowTuple], int, int]]:
        """Of each hour that holds something between C{start} and C{end}, UTC ticks: its index, all its rows,
        and the places (first, end) of those within.

        @raise Refused: as L{hours_between} and L{hour}.
        """
        hours, _ = await self.hours_between(name, start, end)
        for hour in hours:
            index = await self.hour(name, hour)
            rows = rows_of(index)
            first, last = within(rows, start, end)
            if first < last:
                yield index, rows, first, last

    async def _ask(self, name: str) -> Holdings:
        held = await self.archives.holdings(name)
        self._known.put(name, (self._seconds(), held))
        return held

    async def _load(self, name: str, hour: int) -> HourIndex:
        index = await self.archives.hour(name, hour)
        self._kept.put((name, hour), (self._seconds(), index))
        return index


def nothing_there(complete: bool) -> Refused:
    """Nothing of a range is there. @param complete: whether all who may have it were asked."""
    if complete:
        return Refused(Reason.NOT_FOUND, "nothing is recorded of this time")
    return Refused(Reason.NOT_READY, "who may have recorded this cannot be asked now")
