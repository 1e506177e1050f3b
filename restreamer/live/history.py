"""What a stream showed lately, for viewers that begin in the past."""

from __future__ import annotations

from collections.abc import Iterator

from restreamer.live.stream import Stream
from restreamer.media.frame import Frame
from restreamer.media.track import TrackKind, Tracks, same_tracks


def history(stream: Stream, ticks: int) -> tuple[Tracks, list[Frame]]:
    """The newest frames of C{stream} from a keyframe that is at least C{ticks} older than the newest frame.

    As far back as the window holds the same run, tracks and timeline without a hole; from the oldest keyframe
    of that when all are younger. With C{ticks} of 0 what L{Stream.recent} gives.
    """
    tracks, recent = stream.recent()
    if ticks <= 0 or not recent:
        return tracks, recent
    target = recent[-1].dts - ticks
    video = {track.track_id for track in tracks if track.kind is TrackKind.VIDEO}
    found = recent
    frames: list[Frame] = []
    for part in _newest_first(stream, tracks):
        frames = part + frames
        begin = _key_before(part, video, target)
        if begin is not None:
            found = frames[begin:]
            if found[0].dts <= target:
                break
    return tracks, found if found[0].dts < recent[0].dts else recent


def _newest_first(stream: Stream, tracks: Tracks) -> Iterator[list[Frame]]:
    """The frames of the open segment and of those before it, as long as each continues the other."""
    run = stream.run
    after: int | None = None
    if stream.open is not None:
        yield stream.open.frames
        if stream.open.opening.discontinuity:
            return
        after = stream.open.opening.number
    for entry in reversed(stream.window.retained):
        segment = entry.segment
        if (
            run is None
            or entry.run.run_id != run.run_id
            or (after is not None and segment.number != after - 1)
            or not same_tracks(segment.tracks, tracks)
        ):
            return
        yield segment.frames()
        if segment.discontinuity:
            return
        after = segment.number


def _key_before(frames: list[Frame], video: set[int], target: int) -> int | None:
    """Index of the newest place to begin in C{frames} not later than C{target} ticks, else of the oldest."""
    found = None
    for index in range(len(frames) - 1, -1, -1):
        frame = frames[index]
        if frame.key and (not video or frame.track_id in video):
            found = index
            if frame.dts <= target:
                break
    return found
