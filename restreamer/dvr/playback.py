"""The segments of an archive one after another, as somebody who plays or takes them wants them.

Every protocol that gives a body rather than a list walks an archive with L{Playback}: it knows where to
begin, goes on over gaps, waits at the live edge and for a source that is away, and says where the time
breaks. It holds one segment at most.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, TypeVar

from attrs import define, field, frozen
from twisted.internet.defer import Deferred

from restreamer.dvr.forms import ArchiveAsk, Kind
from restreamer.dvr.timeline import (
    DURATION,
    LONGEST_SEGMENT,
    START,
    ArchiveHours,
    RowTuple,
    joint,
    nothing_there,
    rows_of,
    within,
)
from restreamer.errors import Reason, Refused
from restreamer.m4f.hour_index import HourIndex, Row, hour_of
from restreamer.m4f.segment import Segment
from restreamer.media.timebase import TICKS_PER_SECOND
from restreamer.media.track import Tracks
from restreamer.seams import Clock

_T = TypeVar("_T")

#: Seconds for which a source that is away is waited for.
AWAY_SECONDS: Final = 10.0
#: Between two looks, seconds.
AGAIN_SECONDS: Final = 0.5
LIVE_SECONDS: Final = 1.0
#: Seconds of recording that are missing behind the newest segment after which the archive is taken for over.
QUIET_SECONDS: Final = 60
#: Seconds by which segments are ahead of the moment that is played late, so that viewers can buffer.
EARLY_SECONDS: Final = 10
#: How far ahead a range without an end reaches, ticks.
_ENDLESS: Final = 1 << 62
#: Segments in a row that cannot be read: then it is the archive that is wrong.
MAX_DAMAGED: Final = 50


@frozen(eq=False)
class Found:
    """A place of the archive. @ivar breaks: it does not continue the one before; @ivar tracks: of it."""

    row: Row
    breaks: bool
    tracks: Tracks


@define
class PlaybackCounters:
    """What was played of archives.

    @ivar segments: given; @ivar damaged: skipped, because they could not be read; @ivar gaps: gone over;
    @ivar lost: ends before their time, because somebody who has the archive was away.
    """

    segments: int = 0
    damaged: int = 0
    gaps: int = 0
    lost: int = 0


@define(eq=False)
class Playback:
    """A walk through the archive of C{name}.

    @ivar start, end: UTC ticks; a walk gives what is shown between them.
    @ivar delay: ticks: play the moment that is so long ago (C{timeshift_rel}); None: go on at once.
    """

    name: str
    start: int
    end: int
    _hours: ArchiveHours
    _clock: Clock
    _utc: Callable[[], int]
    delay: int | None = None
    counters: PlaybackCounters = field(factory=PlaybackCounters)
    _last: RowTuple | None = field(default=None, init=False)
    _skipped: bool = field(default=False, init=False)
    _ahead: Found | None = field(default=None, init=False)
    _index: HourIndex | None = field(default=None, init=False)
    _rows: list[RowTuple] = field(factory=list, init=False)

    @classmethod
    def of(
        cls,
        ask: ArchiveAsk,
        hours: ArchiveHours,
        clock: Clock,
        utc: Callable[[], int],
        counters: PlaybackCounters | None = None,
    ) -> Playback:
        """The walk that C{ask} means now."""
        now = utc()
        start = ask.start * TICKS_PER_SECOND
        end = _ENDLESS
        delay = None
        if ask.kind is Kind.FIXED:
            end = start + (ask.duration or 0) * TICKS_PER_SECOND
        elif ask.kind in (Kind.REWIND, Kind.RELATIVE):
            if ask.kind is Kind.RELATIVE:
                delay = start
            start = now - start
        return cls(
            ask.name, start, end, hours, clock, utc, delay=delay, counters=counters or PlaybackCounters()
        )

    async def begin(self) -> Found:
        """Where it begins; L{next} gives it first.

        @raise Refused: NOT_FOUND: nothing is there; NOT_READY: who may have it is away.
        """
        if self._ahead is None:
            self._ahead = await self._find() or await self._newest()
            if self._ahead is None:
                held = await self._hours.holdings(self.name)
                raise nothing_there(held.complete)
        return self._ahead

    async def _newest(self) -> Found | None:
        """The newest place, where a walk without an end begins behind it, and more is to come."""
        held = await self._hours.holdings(self.name)
        if self.end < _ENDLESS or not held.hours or self._over():
            return None
        index = await self._hours.hour(self.name, held.hours[-1])
        rows = rows_of(index)
        if not rows or self.start - rows[-1][START] - rows[-1][DURATION] > QUIET_SECONDS * TICKS_PER_SECOND:
            return None
        self.start = rows[-1][START]
        found = Row._make(rows[-1])
        return Found(found, False, index.tracks(found))

    async def next(self) -> Found | None:
        """The next place; None at the end. Waits at the live edge, and until it is time (L{delay}).

        @raise Refused: NOT_READY: who has the archive is away for longer than L{AWAY_SECONDS}.
        """
        found, self._ahead = self._ahead, None
        while found is None:
            found = await self._patiently(self._find)
            if found is None:
                if self._over():
                    return None
                await self.sleep(LIVE_SECONDS)
        self._last = tuple(found.row)
        if self.delay is not None:
            early = EARLY_SECONDS * TICKS_PER_SECOND
            while (late := found.row.start + self.delay - early - self._utc()) > 0:
                await self.sleep(min(late / TICKS_PER_SECOND, QUIET_SECONDS))
        if found.breaks:
            self.counters.gaps += 1
        return found

    async def segment(self, found: Found) -> Segment:
        """Read a segment.

        @raise Refused: NOT_FOUND: it is damaged, go on with the next one; NOT_READY: as L{next}.
        """
        row = found.row
        try:
            segment = await self._patiently(lambda: self._hours.archives.segment(self.name, row))
        except Refused as refused:
            if refused.reason is Reason.NOT_FOUND:
                self.skipped()
                self.counters.damaged += 1
            raise
        self.counters.segments += 1
        return segment

    async def headers(self, found: Sequence[Found]) -> Sequence[bytes | None]:
        """The headers of segments, as far as they can be had without them.

        @raise Refused: NOT_READY: as L{next}.
        """
        rows = [each.row for each in found]
        return await self._patiently(lambda: self._hours.archives.headers(self.name, rows))

    @property
    def endless(self) -> bool:
        """Whether it goes on for ever."""
        return self.end >= _ENDLESS

    def skipped(self) -> None:
        """What L{next} gave last is left out, so what follows does not continue what was before."""
        self._skipped = True

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        waiting: Deferred[None] = Deferred(lambda _: timer.cancel())
        timer = self._clock.callLater(seconds, waiting.callback, None)
        await waiting

    def _over(self) -> bool:
        """Whether there will be no more."""
        moment = self._utc() - (self.delay or 0)
        last = self._last
        since = last[START] + last[DURATION] if last is not None else self.start
        return since >= self.end or moment - min(since, self.end) > QUIET_SECONDS * TICKS_PER_SECOND

    async def _patiently(self, call: Callable[[], Awaitable[_T]]) -> _T:
        """C{call()}, again and again while who could answer is away."""
        until = self._clock.seconds() + AWAY_SECONDS
        while True:
            try:
                return await call()
            except Refused as refused:
                if refused.reason not in (Reason.NOT_READY, Reason.OVERLOADED):
                    raise
                if self._clock.seconds() >= until:
                    self.counters.lost += 1
                    raise
            await self.sleep(AGAIN_SECONDS)

    async def _find(self) -> Found | None:
        """What follows, if it is there."""
        last = self._last
        begin = self.start - LONGEST_SEGMENT if last is None else last[START]
        held = await self._hours.holdings(self.name)
        hours = held.hours
        for hour in hours[bisect_right(hours, hour_of(begin) - 1) :]:
            if self.end < _ENDLESS and hour > hour_of(self.end - 1):
                break
            index = await self._hours.hour(self.name, hour)
            if index is not self._index:
                self._index, self._rows = index, rows_of(index)
            rows = self._rows
            place = within(rows, self.start, self.end)[0]
            if last is not None:
                place = max(place, bisect_right(rows, last[START], key=_start))
                while place < len(rows) and rows[place][START] + rows[place][DURATION] <= (
                    last[START] + last[DURATION]
                ):
                    place += 1
            if place < len(rows) and rows[place][START] < self.end:
                row = rows[place]
                breaks = last is not None and (self._skipped or joint(last, row).breaks)
                self._skipped = False
                found = Row._make(row)
                return Found(found, breaks, index.tracks(found))
        if last is None and not held.complete:
            raise nothing_there(complete=False)
        return None


def _start(row: RowTuple) -> int:
    return row[START]
