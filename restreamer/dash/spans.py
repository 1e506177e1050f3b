"""Where each track of a segment lies in time: what a SegmentTimeline says of it (pure)."""

from __future__ import annotations

from collections.abc import Mapping

from attrs import frozen

from restreamer.live.track_spans import track_spans
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
    carried = {track.track_id for track in segment.tracks if cmaf_can_carry(track)}
    return {
        span.track_id: Span(segment.start + span.shown, span.duration, span.size)
        for span in track_spans(segment)
        if span.track_id in carried
    }
