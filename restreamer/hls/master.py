"""The master playlist: one variant that carries every track (RFC 8216 section 4.3.4), a pure function.

All its figures come from the newest closed segment, so every node that has the segment says the same.
"""

from __future__ import annotations

from restreamer.errors import MediaError
from restreamer.media.codecs import codec_string, mpegts_can_carry
from restreamer.media.timebase import TICKS_PER_SECOND
from restreamer.media.track import TrackKind, Tracks


def needs_master(tracks: Tracks) -> bool:
    """Whether there is a choice to describe: more than one video or more than one audio track."""
    kinds = [track.kind for track in tracks]
    return kinds.count(TrackKind.VIDEO) > 1 or kinds.count(TrackKind.AUDIO) > 1


def codecs_attribute(tracks: Tracks) -> str:
    """The CODECS value of what MPEG-TS carries of C{tracks}, without repetitions.

    Empty when one of them has no known name: a list that leaves one out is worse than none.
    """
    try:
        names = [codec_string(track) for track in tracks if mpegts_can_carry(track)]
    except MediaError:
        return ""
    return ",".join(dict.fromkeys(names))


def bandwidths(tracks: Tracks, size: int, duration: int) -> tuple[int, int]:
    """Peak and average bits/s (BANDWIDTH, AVERAGE-BANDWIDTH).

    @param size: bytes of the newest closed segment as packaged; @param duration: its ticks.
    """
    measured = sum(track.bandwidth for track in tracks)
    newest = -(-size * 8 * TICKS_PER_SECOND // duration) if duration > 0 else 0
    peak = max(measured, newest, 1)
    # The sum says nothing while a track has not been measured yet (the first segment of a run).
    known = bool(tracks) and all(track.bandwidth for track in tracks)
    return peak, measured if known else peak


def master_playlist(uri: str, tracks: Tracks, size: int, duration: int) -> str:
    """The master playlist whose only variant is the media playlist at C{uri}.

    @param uri: relative, of safe characters. @param tracks: of the newest closed segment.
    @param size: bytes of that segment as packaged; @param duration: its ticks.
    """
    peak, average = bandwidths(tracks, size, duration)
    attributes = [f"BANDWIDTH={peak}", f"AVERAGE-BANDWIDTH={average}"]
    codecs = codecs_attribute(tracks)
    if codecs:
        attributes.append(f'CODECS="{codecs}"')
    video = next((track for track in tracks if track.kind is TrackKind.VIDEO), None)
    if video is not None:
        if video.width and video.height:
            attributes.append(f"RESOLUTION={video.width}x{video.height}")
        if video.frame_rate:
            attributes.append(f"FRAME-RATE={video.frame_rate // 1000}.{video.frame_rate % 1000:03d}")
    return f"#EXTM3U\n#EXT-X-VERSION:3\n#EXT-X-STREAM-INF:{','.join(attributes)}\n{uri}\n"
