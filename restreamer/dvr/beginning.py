"""Where in its first segment a range begins (pure)."""

from __future__ import annotations

from collections.abc import Sequence

from restreamer.m4f.header import Row
from restreamer.media.track import TrackKind, Tracks


def beginning(tracks: Tracks, rows: Sequence[Row], zero: int, start: int) -> int:
    """DTS of the last keyframe of the first video track at or before C{start}; without video: C{start}.

    @param zero: start of the segment; @param start: of the range; all are UTC ticks.
    """
    video = next((track.track_id for track in tracks if track.kind is TrackKind.VIDEO), None)
    if video is None:
        return start
    keys = [
        zero + dts
        for track_id, flags, dts, cts, _ in rows
        if track_id == video and flags & 1 and zero + dts + cts <= start
    ]
    return keys[-1] if keys else zero + rows[0][2] if rows else start
