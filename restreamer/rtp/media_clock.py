"""From the RTP times of several tracks to one clock of ticks.

Each track begins at a random time. What puts them together is, best first: sender reports of all of them
(RFC 3550 section 6.4.1), the RTP-Info of an answer to PLAY, and when their first packets came.
"""

from __future__ import annotations

from typing import Final

from attrs import define, field

from restreamer.media.timebase import TICKS_PER_SECOND
from restreamer.rtp.rtcp import ticks_of_ntp

#: Seconds that frames are held for the sender reports of all tracks.
WAIT: Final = 1.0
#: Seconds that frames are held for a report where nothing else is needed: it dates them.
DATE_WAIT: Final = 0.3
#: Tracks that are so far apart by their reports, and not by their arrival, have clocks that are wrong: ticks.
MAX_APART: Final = 10 * TICKS_PER_SECOND
#: A correction below this is not worth a step in the times, ticks.
LEAST_STEP: Final = TICKS_PER_SECOND // 200


@define(eq=False)
class TrackClock:
    """The RTP clock of one track, unwrapped. @ivar rate: Hz."""

    rate: int
    _last: int | None = None
    _extended: int = 0

    def ticks(self, timestamp: int, later: int = 0) -> int:
        """Ticks of an RTP time near the one before.

        @param later: units of the clock to be added.
        """
        return (self._extend(timestamp, keep=True) + later) * TICKS_PER_SECOND // self.rate

    def peek(self, timestamp: int) -> int:
        """As L{ticks}, of a time that is no frame's (a report's)."""
        return self._extend(timestamp, keep=False) * TICKS_PER_SECOND // self.rate

    def reset(self) -> None:
        """Another source: its times have nothing to do with those before."""
        self._last = None

    def _extend(self, timestamp: int, keep: bool) -> int:
        if self._last is None:
            extended = timestamp
        else:
            step = (timestamp - self._last + 0x80000000 & 0xFFFFFFFF) - 0x80000000
            extended = self._extended + step
        if keep or self._last is None:
            self._last, self._extended = timestamp, extended
        return extended


@define(eq=False)
class _Place:
    """What is known of one track: offsets that lead from its ticks to the common clock."""

    reported: int | None = None
    told: int | None = None
    arrived: int | None = None
    offset: int | None = None


@define(eq=False)
class Synchroniser:
    """Puts tracks together.

    @ivar count: tracks that are expected. @ivar locked: the offsets hold.
    @ivar utc: ticks from the common clock to UTC by the newest report; None: not known.
    """

    count: int
    locked: bool = field(default=False, init=False)
    utc: int | None = field(default=None, init=False)
    _places: list[_Place] = field(init=False)
    _began: float | None = field(default=None, init=False)
    _by_report: bool = field(default=False, init=False)

    def __attrs_post_init__(self) -> None:
        self._places = [_Place() for _ in range(self.count)]

    def reset(self) -> None:
        """The sources changed: everything is found anew."""
        self._places = [_Place() for _ in range(self.count)]
        self.locked = self._by_report = False
        self._began = self.utc = None

    def begins(self, index: int, ticks: int) -> None:
        """RTP-Info: C{ticks} of the track is the beginning of all of them."""
        self._places[index].told = -ticks

    def reported(self, index: int, ntp: int, ticks: int) -> None:
        """A sender report: C{ticks} of the track were at C{ntp}; 0 says nothing."""
        if not ntp:
            return
        place = self._places[index]
        found = ticks_of_ntp(ntp) - ticks
        if place.reported is None or not self._by_report:
            place.reported = found
            if self._sane([each.reported for each in self._places]):
                if not self.locked:
                    self._lock([each.reported for each in self._places])
                    self._by_report = True
                elif not self._by_report:
                    self._correct()
        if self.locked and place.offset is not None:
            self.utc = found - place.offset

    def offset(self, index: int, ticks: int, now: float) -> int | None:
        """What leads from the track's ticks to the common clock; None while that is not known.

        @param ticks: of a frame that came at C{now}, seconds.
        """
        place = self._places[index]
        if place.arrived is None:
            if self._began is None:
                self._began = now
            place.arrived = round((now - self._began) * TICKS_PER_SECOND) - ticks
        if not self.locked:
            if not self.overdue(now):
                return None
            told = [each.told for each in self._places]
            self._lock(told if self._sane(told) else [each.arrived for each in self._places])
            self._date()
        if place.offset is None:
            place.offset = place.arrived
        return place.offset

    def overdue(self, now: float) -> bool:
        """Whether what is held has waited long enough."""
        if self.locked or self._began is None:
            return False
        enough = self.count == 1 or self._sane([each.told for each in self._places])
        return now - self._began >= (DATE_WAIT if enough else WAIT)

    def _date(self) -> None:
        """A report of some tracks alone dates all of them."""
        for place in self._places:
            if place.reported is not None and place.offset is not None:
                self.utc = place.reported - place.offset

    def _lock(self, offsets: list[int | None]) -> None:
        for place, offset in zip(self._places, offsets, strict=True):
            place.offset = offset
        self.locked = True

    def _sane(self, offsets: list[int | None]) -> bool:
        """Whether C{offsets} of all tracks are known and agree roughly with when their packets came."""
        apart = []
        for place, offset in zip(self._places, offsets, strict=True):
            if offset is None:
                return False
            if place.arrived is not None:
                apart.append(offset - place.arrived)
        return not apart or max(apart) - min(apart) <= MAX_APART

    def _correct(self) -> None:
        """Reports came after all: move the tracks to where they belong beside the first one, once."""
        self._by_report = True
        first = self._places[0]
        if first.offset is None or first.reported is None:
            return
        for place in self._places[1:]:
            if place.offset is None or place.reported is None:
                continue
            step = (place.reported - first.reported) - (place.offset - first.offset)
            if abs(step) >= LEAST_STEP:
                place.offset += step
