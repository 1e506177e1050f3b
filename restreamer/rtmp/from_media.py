"""Tracks and frames to the bodies of RTMP messages (pure): the mirror of L{restreamer.rtmp.to_media}.

H.264, AAC and MP3 go out with the legacy FLV headers (annex E.4 of the FLV specification), which every player
knows. Only the first video and the first audio track are sent: RTMP has no room for more with those headers.
"""

from __future__ import annotations

from struct import Struct
from typing import Any

from restreamer.media.frame import Frame
from restreamer.media.timebase import TICKS_PER_MS
from restreamer.media.track import AAC, H264, MP3, Track, TrackKind, Tracks
from restreamer.rtmp.amf0 import EcmaArray
from restreamer.rtmp.message import Kind

_AVC = Struct(">BI").pack
_KEY_FRAME = 0x17
_INTER_FRAME = 0x27
_AAC_CONFIG = b"\xaf\x00"
_AAC_FRAME = b"\xaf\x01"
_MP3_FRAME = b"\x2f"
_MAX_OFFSET = 0x7FFFFF

#: FLV codec ids, as onMetaData names them.
_CODEC_IDS = {H264: 7, AAC: 10, MP3: 2}
_SENDER = "restreamer"


def playable_tracks(tracks: Tracks) -> Tracks:
    """The tracks that are sent: the first video and the first audio one with a codec RTMP players know."""
    chosen: dict[TrackKind, Track] = {}
    for track in tracks:
        if track.codec in _CODEC_IDS:
            chosen.setdefault(track.kind, track)
    return tuple(chosen[kind] for kind in sorted(chosen))


def sequence_header(track: Track) -> tuple[Kind, bytes] | None:
    """Message type and body of a track's decoder configuration, or None when it has none."""
    if track.codec == H264:
        return Kind.VIDEO, _AVC(_KEY_FRAME, 0) + track.config
    if track.codec == AAC:
        return Kind.AUDIO, _AAC_CONFIG + track.config
    return None


def offset_ms(frame: Frame, origin: int) -> int:
    """Composition offset in whole milliseconds such that both times, counted from C{origin}, round down."""
    offset = (frame.pts - origin) // TICKS_PER_MS - (frame.dts - origin) // TICKS_PER_MS
    return min(max(offset, -_MAX_OFFSET), _MAX_OFFSET)


def video_body(frame: Frame, offset: int) -> bytes:
    """Body of an H.264 frame; C{offset} in milliseconds."""
    return _AVC(_KEY_FRAME if frame.key else _INTER_FRAME, 1 << 24 | offset & 0xFFFFFF) + frame.data


def audio_body(codec: str, frame: Frame) -> bytes:
    """Body of an AAC or MP3 frame."""
    return (_AAC_FRAME if codec == AAC else _MP3_FRAME) + frame.data


def metadata(tracks: Tracks, title: str) -> EcmaArray:
    """The members of onMetaData; what is not known is left out."""
    found: dict[str, Any] = {"title": title, "encoder": _SENDER}
    for track in tracks:
        rate = track.bandwidth / 1000
        if track.kind is TrackKind.VIDEO:
            found.update(
                videocodecid=_CODEC_IDS[track.codec],
                videodatarate=rate,
                width=track.width,
                height=track.height,
                framerate=track.frame_rate / 1000,
            )
        else:
            found.update(
                audiocodecid=_CODEC_IDS[track.codec],
                audiodatarate=rate,
                audiosamplerate=track.sample_rate,
                audiosamplesize=16,
                audiochannels=track.channels,
                stereo=track.channels > 1,
            )
    return EcmaArray((name, value) for name, value in found.items() if value or value is False)
