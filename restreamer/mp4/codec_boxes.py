"""The sample entry of a track, with the box of its codec's configuration, as init segments need it.

ISO/IEC 14496-12 section 8.5.2 for the entries, ISO/IEC 14496-15 for avcC and hvcC, the AV1, VP and Opus
bindings, ETSI TS 102 366 annex F for dac3 and dec3, ISO/IEC 14496-14 section 5.6 for esds.
"""

from __future__ import annotations

from collections.abc import Callable
from struct import Struct
from typing import Final

from restreamer.errors import MediaError
from restreamer.media.codecs import mpeg2_object
from restreamer.media.track import (
    AAC,
    AC3,
    AV1,
    EAC3,
    H264,
    HEVC,
    MP2,
    MP3,
    MPEG2,
    OPUS,
    VP9,
    Track,
    TrackKind,
)

#: Object type indications (ISO/IEC 14496-1 table 5).
OBJECT_AAC: Final = 0x40
OBJECT_MPEG2_AUDIO: Final = 0x69
OBJECT_MPEG1_AUDIO: Final = 0x6B

_VIDEO: Final = Struct(">6xH16xHHIIIH32xHh")
_AUDIO: Final = Struct(">6xH8xHHHHI")
_DPI_72: Final = 0x0048_0000
_VISUAL_STREAM: Final = 0x11
_AUDIO_STREAM: Final = 0x15
_LOWEST_MPEG1_RATE: Final = 32_000


def box(kind: bytes, *payload: bytes) -> bytes:
    """A box of C{payload} (section 4.2)."""
    body = b"".join(payload)
    return (8 + len(body)).to_bytes(4, "big") + kind + body


def sample_entry(track: Track) -> bytes:
    """The entry of C{track} for stsd: its FourCC, size or rate, and its configuration box.

    @raise MediaError: a codec that has no entry here, or a track without its configuration.
    """
    make = _CONFIGS.get(track.codec)
    if make is None:
        raise MediaError(f"codec {track.codec!r} has no MP4 sample entry here")
    if not track.config and track.codec not in (MP3, MP2):
        raise MediaError(f"track {track.track_id} of codec {track.codec!r} has no configuration")
    fourcc = _FOURCC.get(track.codec, track.codec.encode("ascii"))
    head = _video_head(track) if track.kind is TrackKind.VIDEO else _audio_head(track)
    return box(fourcc, head, make(track))


def _video_head(track: Track) -> bytes:
    """VisualSampleEntry (section 12.1.3) with no compressor name."""
    return _VIDEO.pack(1, track.width & 0xFFFF, track.height & 0xFFFF, _DPI_72, _DPI_72, 0, 1, 0x18, -1)


def _audio_head(track: Track) -> bytes:
    """AudioSampleEntry (section 12.2.3); a rate that 16 bits do not hold is written as 0."""
    rate = track.timescale if track.codec == AAC else track.sample_rate
    return _AUDIO.pack(1, track.channels or 2, 16, 0, 0, rate << 16 if rate <= 0xFFFF else 0)


def esds(object_type: int, specific: bytes, stream_type: int = _AUDIO_STREAM, bandwidth: int = 0) -> bytes:
    """The esds box of one elementary stream (ISO/IEC 14496-1 section 7.2.6).

    @param specific: DecoderSpecificInfo; none is written when it is empty. @param bandwidth: bits/s.
    """
    info = _descriptor(5, specific) if specific else b""
    rate = min(bandwidth, 0xFFFF_FFFF).to_bytes(4, "big")
    decoder = bytes((object_type, stream_type, 0, 0, 0)) + rate + rate + info
    stream = b"\x00\x00\x00" + _descriptor(4, decoder) + _descriptor(6, b"\x02")
    return box(b"esds", b"\x00\x00\x00\x00", _descriptor(3, stream))


def _descriptor(tag: int, payload: bytes) -> bytes:
    size = len(payload)
    return bytes(
        (tag, 0x80 | size >> 21 & 0x7F, 0x80 | size >> 14 & 0x7F, 0x80 | size >> 7 & 0x7F, size & 0x7F)
    ) + (payload)


def _mpeg_audio(track: Track) -> bytes:
    low = track.sample_rate < _LOWEST_MPEG1_RATE
    return esds(OBJECT_MPEG2_AUDIO if low else OBJECT_MPEG1_AUDIO, b"")


#: FourCC of the entry where it is not the codec's own.
_FOURCC: Final = {MP3: b"mp4a", MP2: b"mp4a", MPEG2: b"mp4v"}
_CONFIGS: Final[dict[str, Callable[[Track], bytes]]] = {
    H264: lambda track: box(b"avcC", track.config),
    HEVC: lambda track: box(b"hvcC", track.config),
    AV1: lambda track: box(b"av1C", track.config),
    VP9: lambda track: box(b"vpcC", b"\x01\x00\x00\x00", track.config),
    MPEG2: lambda track: esds(mpeg2_object(track.config), track.config, _VISUAL_STREAM),
    AAC: lambda track: esds(OBJECT_AAC, track.config),
    MP3: _mpeg_audio,
    MP2: _mpeg_audio,
    OPUS: lambda track: box(b"dOps", track.config),
    AC3: lambda track: box(b"dac3", track.config),
    EAC3: lambda track: box(b"dec3", track.config),
}
