"""Where each track of a segment lies in time: what a SegmentTimeline says of it (pure)."""

from __future__ import annotations

from collections.abc import Mapping

from attrs import frozen

from restreamer.live.cmaf import cut_segment
from restreamer.m4f.segment import Segment
from restreamer.media.codecs import cmaf_can_carry


@frozen
class Span:
    """One track of one segment.

    @ivar start: its earliest presentation time, UTC ticks (ISO/IEC 23009-1 section 5.3.9.6: S@t).
    @ivar duration: ticks, until its last sample has been shown. @ivar size: bytes of its samples.
    """

    start: int
    duration: int
    size: int


def spans(segment: Segment) -> Mapping[int, Span]:
    """Each track of C{segment} that CMAF carries and that has samples there, by track id.

    As long as the samples of its CMAF file say.
    """
    sizes: dict[int, int] = {}
    for track_id, _, _, _, size in segment.rows():
        sizes[track_id] = sizes.get(track_id, 0) + size
    found = {}
    for track in segment.tracks:
        parts = cut_segment(segment, track) if cmaf_can_carry(track) else ()
        if parts:
            found[track.track_id] = Span(
                min(part.shown for part in parts),
                parts[-1].end - parts[0].start,
                sizes[track.track_id],
            )
    return found
