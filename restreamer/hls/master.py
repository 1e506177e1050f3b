"""The master playlist: one variant that carries every track (RFC 8216 section 4.3.4), a pure function.

All its figures come from the newest closed segment, so every node that has the segment says the same.
"""

from __future__ import annotations

from typing import Final

from restreamer.errors import MediaError
from restreamer.media.codecs import cmaf_can_carry, codec_string, mpegts_can_carry
from restreamer.media.timebase import TICKS_PER_SECOND
from restreamer.media.track import AAC, AC3, EAC3, H264, MP2, MP3, MPEG2, TrackKind, Tracks

_TS_CODECS: Final = frozenset({H264, MPEG2, AAC, MP3, MP2, AC3, EAC3})


def suits_cmaf(tracks: Tracks) -> bool:
    """Whether players of HLS expect any of C{tracks} in CMAF and not in MPEG-TS."""
    return any(track.codec not in _TS_CODECS and cmaf_can_carry(track) for track in tracks)


def needs_master(tracks: Tracks) -> bool:
    """Whether there is a choice to describe: more than one video or more than one audio track."""
    kinds = [track.kind for track in tracks]
    return kinds.count(TrackKind.VIDEO) > 1 or kinds.count(TrackKind.AUDIO) > 1


def codecs_attribute(tracks: Tracks) -> str:
    """The CODECS value of C{tracks}, without repetitions.

    Empty when one of them has no known name: a list that leaves one out is worse than none.
    """
    try:
        names = [codec_string(track) for track in tracks]
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
    carried = tuple(track for track in tracks if mpegts_can_carry(track))
    attributes = variant_attributes(carried, size, duration)
    return f"#EXTM3U\n#EXT-X-VERSION:3\n#EXT-X-STREAM-INF:{','.join(attributes)}\n{uri}\n"


def variant_attributes(tracks: Tracks, size: int, duration: int) -> list[str]:
    """What EXT-X-STREAM-INF says of a variant that holds C{tracks}; arguments as L{master_playlist}."""
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
    return attributes
