"""The progress of a live stream, as a switch of inputs asks for it."""

from __future__ import annotations

from restreamer.live.registry import LiveEntry
from restreamer.media.track import TrackKind
from restreamer.sources.progress import Progress


def progress_of(entry: LiveEntry | None) -> Progress:
    """What the stream has taken so far; nothing when there is none."""
    if entry is None:
        return Progress(0)
    stream = entry.stream
    traffic = stream.traffic
    kinds = {track.kind for track in stream.tracks}
    return Progress(
        frames=traffic.frames_in,
        video=traffic.video_in,
        audio=traffic.audio_in,
        has_video=TrackKind.VIDEO in kinds,
        has_audio=TrackKind.AUDIO in kinds,
    )
