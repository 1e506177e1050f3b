"""Where a stretch of segments began that nothing breaks: what manifests with periods say of each of them,
long after its first segment left the window (docs/m4f.md, section 6.1).

Computed from the segment before, or, where a window begins, from what the envelope says; so every node that
shows the same segments says the same, whenever it came.
"""

from __future__ import annotations

from attrs import evolve

from restreamer.m4f.records import RunInfo, Stretch
from restreamer.m4f.segment import Segment, SegmentOpening


def first_stretch(segment: Segment | SegmentOpening, run: RunInfo, breaks: bool) -> Stretch | None:
    """That of a segment that nothing held comes before.

    @param run: its envelope. @param breaks: it is shown as a discontinuity.
    @return: None when the segment is only opened and the envelope says nothing.
    """
    begun = _begun(segment, breaks)
    known = run.stretch
    if breaks:
        return begun
    if known is None:
        if not begun.tracks:
            return None
        return evolve(begun, start=min(begun.start, run.run_start), number=0)
    if begun.tracks and not known.tracks:
        # Its opening was told: it is the one that begins the stretch.
        return evolve(begun, number=known.number)
    return known if begun.tracks in (0, known.tracks) else begun


def next_stretch(
    segment: Segment | SegmentOpening, before: Stretch | None, last: int, breaks: bool
) -> Stretch:
    """That of a segment behind segment C{last}, whose stretch is C{before}.

    @param breaks: it is shown as a discontinuity.
    """
    begun = _begun(segment, breaks)
    if breaks or before is None or segment.number != last + 1:
        return begun
    return before if begun.tracks in (0, before.tracks) else begun


def _begun(segment: Segment | SegmentOpening, breaks: bool) -> Stretch:
    """The stretch that C{segment} would begin."""
    number = 0 if breaks else segment.number
    if isinstance(segment, SegmentOpening):
        return Stretch(segment.start, number, 0)
    places = {track.track_id: 1 << place for place, track in enumerate(segment.tracks)}
    held = 0
    lowest: int | None = None
    for track_id, _, dts, cts, _ in segment.rows():
        held |= places.get(track_id, 0)
        if lowest is None or dts + cts < lowest:
            lowest = dts + cts
    return Stretch(segment.start + (lowest or 0), number, held)
