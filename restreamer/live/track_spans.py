"""Where each track of a segment lies in time: the same for live streams and for archives (pure)."""

from __future__ import annotations

from restreamer.live.cmaf import cut_segment
from restreamer.m4f.hour_index import TrackSpan
from restreamer.m4f.hour_layout import KEY
from restreamer.m4f.segment import Segment

#: What a span can say of times; no stream that can be played comes near.
_FAR = 1 << 31


def track_spans(segment: Segment) -> tuple[TrackSpan, ...]:
    """Each track of C{segment} that has frames there, in the order of its table.

    Times are those of the samples of its CMAF file, for tracks that CMAF does not carry too.
    """
    sizes: dict[int, int] = {}
    for track_id, _, _, _, size in segment.rows():
        sizes[track_id] = sizes.get(track_id, 0) + size
    found = []
    for track in segment.tracks:
        parts = cut_segment(segment, track) if track.track_id in sizes else ()
        if parts:
            found.append(
                TrackSpan(
                    track.track_id,
                    KEY if any(part.independent for part in parts) else 0,
                    _within(min(part.shown for part in parts) - segment.start, -_FAR, _FAR - 1),
                    _within(parts[-1].end - parts[0].start, 0, 2 * _FAR - 1),
                    sizes[track.track_id],
                )
            )
    return tuple(found)


def _within(value: int, least: int, most: int) -> int:
    return max(least, min(most, value))
