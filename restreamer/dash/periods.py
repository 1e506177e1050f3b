"""The periods of a manifest (ISO/IEC 23009-1 section 5.3.2): runs of segments that one set of init segments
and consecutive numbers describe (pure).

A period begins at each discontinuity, behind each number that is missing, and wherever other tracks, or
tracks with another configuration, are there. All times are UTC ticks since the epoch, in the media and in the
manifest alike, so its start changes nothing about when something is shown; it is still kept, with its name,
when the segment it began with leaves the window: L{PeriodsKnown}. That of a stream's first run starts at the
epoch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final

from attrs import define, evolve, field, frozen

from restreamer.dash.spans import Span
from restreamer.live.window import WindowEntry, WindowGap, WindowSegment
from restreamer.media.timebase import TICKS_PER_MS
from restreamer.media.track import Track


@frozen
class TimedSegment:
    """A closed segment as a manifest lists it; C{spans} by track id."""

    number: int
    spans: Mapping[int, Span]


@frozen
class Period:
    """One period.

    @ivar name: its id, the same in every manifest that lists a part of it.
    @ivar start: UTC ticks, whole milliseconds, not after the first moment of its first segment.
    @ivar tracks: the tracks that all its segments hold, with their names (C{v1}, C{a1}); bandwidths of the
        newest.
    """

    name: str
    start: int
    tracks: tuple[tuple[str, Track], ...]
    segments: tuple[TimedSegment, ...]


#: The period that nothing comes before: it starts at the epoch.
_FIRST: Final = "d0"
#: The tracks of a segment that are listed, with their names.
Held = tuple[tuple[str, Track], ...]
#: What of a segment is listed: its tracks, and where they lie.
Listing = Callable[[WindowSegment], tuple[Held, Mapping[int, Span]]]


@define(eq=False)
class PeriodsKnown:
    """The periods of one window as they were listed last, so that they keep their names and starts."""

    _known: Sequence[Period] = field(default=(), init=False)

    def of(self, entries: Iterable[WindowEntry], listing: Listing) -> tuple[Period, ...]:
        """The periods of a window's C{entries}, oldest first."""
        found: list[_Open] = []
        current: _Open | None = None
        first = True
        for entry in entries:
            if isinstance(entry, WindowGap):
                current = None
                continue
            held, spans = listing(entry)
            if not held:
                current = None
            elif current is None or entry.discontinuity or not _same(held, current.tracks):
                name, start = self._beginning(entry, held, spans, first)
                current = _Open(name, start, held, [TimedSegment(entry.number, spans)])
                found.append(current)
            else:
                current.tracks = held
                current.segments.append(TimedSegment(entry.number, spans))
            first = False
        self._known = [_closed(each) for each in found]
        return tuple(self._known)

    def _beginning(
        self, entry: WindowSegment, held: Held, spans: Mapping[int, Span], first: bool
    ) -> tuple[str, int]:
        """Name and start of the period whose first listed segment is C{entry}.

        @param first: it is the first one listed; without a discontinuity the real beginning left the window.
        """
        earliest = min(span.start for span in spans.values())
        name = f"d{entry.discontinuity_sequence}"
        if first and not entry.discontinuity:
            for period in self._known:
                numbers = [segment.number for segment in period.segments]
                if numbers[0] <= entry.number <= numbers[-1] + 1 and _same(held, period.tracks):
                    return period.name, period.start
            start = entry.run.run_start
        else:
            start = entry.start
            if not entry.discontinuity:
                name += f"n{entry.number}"
        if name == _FIRST:
            return name, 0
        start = min(start, earliest)
        return name, start - start % TICKS_PER_MS


@define
class _Open:
    name: str
    start: int
    tracks: Held
    segments: list[TimedSegment]


def _closed(period: _Open) -> Period:
    return Period(period.name, period.start, period.tracks, tuple(period.segments))


def _same(one: Held, other: Held) -> bool:
    return len(one) == len(other) and all(
        name == its_name and evolve(track, bandwidth=0) == evolve(its_track, bandwidth=0)
        for (name, track), (its_name, its_track) in zip(one, other, strict=True)
    )
