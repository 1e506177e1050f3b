"""The periods of a manifest (ISO/IEC 23009-1 section 5.3.2): runs of segments that one set of init segments
and consecutive numbers describe (pure).

A period is a stretch of the stream that nothing breaks: it begins at each discontinuity, behind each number
that is missing, and wherever a track pauses or comes back. Where it began travels with its segments
(L{restreamer.live.stretch}), so its id and start are the same in every manifest of every node that lists a
part of it (sections 5.3.2.2 and 5.4). All times are UTC ticks since the epoch, in the media and in the
manifest alike, so its start changes nothing about when something is shown. That of a stream's first run
starts at the epoch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Final

from attrs import define, evolve, frozen

from restreamer.dash.spans import Span
from restreamer.live.window import WindowEntry, WindowGap, WindowSegment
from restreamer.m4f.records import Stretch
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


def periods_of(entries: Iterable[WindowEntry], listing: Listing) -> tuple[Period, ...]:
    """The periods of a window's C{entries}, oldest first."""
    found: list[_Open] = []
    current: _Open | None = None
    for entry in entries:
        if isinstance(entry, WindowGap):
            continue
        held, spans = listing(entry)
        if not held:
            continue
        stretch = _stretch(entry)
        goes_on = current is not None and current.stretch == stretch
        if current is not None and goes_on and _same(held, current.tracks):
            current.tracks = held
            current.segments.append(TimedSegment(entry.number, spans))
            continue
        number, start = stretch.number, stretch.start
        if goes_on:
            # Of one stretch, and yet described in another way: what CMAF makes of a track is something else.
            number, start = entry.number, min(span.start for span in spans.values())
        name = f"d{entry.discontinuity_sequence}" + (f"n{number}" if number else "")
        start = 0 if name == _FIRST else start - start % TICKS_PER_MS
        current = _Open(name, start, stretch, held, [TimedSegment(entry.number, spans)])
        found.append(current)
    return tuple([_closed(each) for each in found])


def _stretch(entry: WindowSegment) -> Stretch:
    return entry.stretch or Stretch(entry.start, entry.number, 0)


@define
class _Open:
    name: str
    start: int
    stretch: Stretch
    tracks: Held
    segments: list[TimedSegment]


def _closed(period: _Open) -> Period:
    return Period(period.name, period.start, period.tracks, tuple(period.segments))


def _same(one: Held, other: Held) -> bool:
    return len(one) == len(other) and all(
        name == its_name and evolve(track, bandwidth=0) == evolve(its_track, bandwidth=0)
        for (name, track), (its_name, its_track) in zip(one, other, strict=True)
    )
