"""A segment that its ingest closed with fewer frames than are held here.

The publisher left in the middle of it, and this node (or the one before it) went on filling it with the same
content of another source before it heard of the close.
"""

from __future__ import annotations

from restreamer.errors import LocalProtocolError
from restreamer.m4f.segment import Segment, SegmentBuilder

#: So many of the frames before its end may belong behind it: tracks are interleaved loosely.
_LOOSE = 8


def closed_short(builder: SegmentBuilder, duration: int, checksum: int) -> Segment | None:
    """The segment that begins with the frames of C{builder} and ends earlier.

    @param duration: what it lasts, ticks; @param checksum: what proves it.
    @return: None when no such beginning has the checksum.
    """
    frames = builder.frames
    end = builder.opening.start + duration
    most = next((place for place, frame in enumerate(frames) if frame.dts >= end), len(frames) - 1)
    for count in range(most, max(0, most - _LOOSE), -1):
        shorter = SegmentBuilder(builder.opening)
        shorter.extend(frames[:count])
        for part in builder.parts:
            if part.first_frame + part.frame_count <= count:
                shorter.close_part(part)
        shorter.finish_parts(duration)
        try:
            segment = shorter.close(duration)
        except LocalProtocolError:
            continue
        if segment.checksum == checksum:
            return segment
    return None
