"""What each codec is called and where it can go, by table: the one place that knows them all."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from restreamer.errors import MediaError
from restreamer.media.aac import parse_asc
from restreamer.media.av1 import av1_name
from restreamer.media.hevc import hevc_name
from restreamer.media.mpeg2 import parse_sequence
from restreamer.media.opus import dops_for_channels, parse_dops
from restreamer.media.track import (
    AAC,
    AC3,
    ALAW,
    AV1,
    EAC3,
    H264,
    HEVC,
    MP2,
    MP3,
    MPEG2,
    OPUS,
    ULAW,
    VP9,
    Track,
    Tracks,
)
from restreamer.media.vp9 import vp9_name

#: Codecs that the MPEG-TS muxers carry.
MPEGTS_CODECS: Final = frozenset({H264, HEVC, MPEG2, AAC, MP3, MP2, OPUS, AC3, EAC3})
#: Codecs that go into fragmented MP4 (HLS with fMP4, DASH) and that players know there.
CMAF_CODECS: Final = frozenset({H264, HEVC, AV1, VP9, AAC, MP3, OPUS, AC3, EAC3})
#: Codecs of RTMP and FLV as everybody has them.
RTMP_LEGACY_CODECS: Final = frozenset({H264, AAC, MP3, ULAW, ALAW})
#: Codecs of RTMP and FLV with the enhancements for those that understand them.
RTMP_CODECS: Final = RTMP_LEGACY_CODECS | {HEVC, AV1, VP9, OPUS, AC3, EAC3}
#: Codecs that we have an RTP payload format for.
RTP_CODECS: Final = frozenset({H264, HEVC, AV1, VP9, AAC, OPUS, MP3, MP2, ULAW, ALAW})

_SHORT_NAMES: Final = {
    H264: "H.264",
    HEVC: "HEVC",
    AV1: "AV1",
    VP9: "VP9",
    MPEG2: "MPEG-2 video",
    AAC: "AAC",
    MP3: "MP3",
    MP2: "MPEG audio layer II",
    OPUS: "Opus",
    AC3: "AC-3",
    EAC3: "E-AC-3",
    ULAW: "G.711 mu-law",
    ALAW: "G.711 A-law",
}


def plain_name(codec: str) -> str:
    """What people call a FourCC: C{H.264}, C{E-AC-3}; the FourCC itself when it is not known."""
    return _SHORT_NAMES.get(codec, codec)


def plain_names(tracks: Tracks) -> str:
    """The codecs of a table for a message: C{H.264, AAC}."""
    return ", ".join(dict.fromkeys(plain_name(track.codec) for track in tracks)) or "no tracks"


def codec_string(track: Track) -> str:
    """The C{codecs} value of RFC 6381 section 3.3: C{avc1.640028}, C{hvc1.1.6.L93.B0}, C{mp4a.40.2}, C{ec-3}.

    @raise MediaError: for a codec that is not known or a configuration that cannot be read.
    """
    name = _NAMES.get(track.codec)
    if name is None:
        raise MediaError(f"codec {track.codec!r} has no known name")
    return name(track)


def shown_codec(track: Track) -> str:
    """L{codec_string} for people to read: the bare FourCC of what cannot be named."""
    try:
        return codec_string(track)
    except MediaError:
        return track.codec


def mpegts_can_carry(track: Track) -> bool:
    """Whether the MPEG-TS muxers can carry C{track}; the others are left out of the program."""
    if track.codec == AAC:
        try:
            return parse_asc(track.config).fits_adts
        except MediaError:
            return False
    if track.codec == OPUS:
        # Only the usual order of channels has a number there.
        try:
            config = parse_dops(track.config)
            return config.mapping == parse_dops(dops_for_channels(config.channels)).mapping
        except MediaError:
            return False
    return track.codec in MPEGTS_CODECS


def cmaf_can_carry(track: Track) -> bool:
    """Whether C{track} goes into CMAF segments: a codec players know there, with its configuration."""
    return track.codec in CMAF_CODECS and (bool(track.config) or track.codec == MP3)


def rtmp_can_carry(track: Track) -> bool:
    """Whether RTMP and FLV can carry C{track} to somebody who knows Enhanced RTMP."""
    return track.codec in RTMP_CODECS


def rtmp_legacy_can_carry(track: Track) -> bool:
    """Whether RTMP and FLV can carry C{track} to anybody."""
    return track.codec in RTMP_LEGACY_CODECS


def rtp_can_carry(track: Track) -> bool:
    """Whether RTSP can carry C{track}."""
    return track.codec in RTP_CODECS


def _h264_name(track: Track) -> str:
    if len(track.config) < 4:
        raise MediaError(f"avcC of {len(track.config)} bytes")
    return f"avc1.{track.config[1:4].hex().upper()}"


def _aac_name(track: Track) -> str:
    return f"mp4a.40.{parse_asc(track.config).signalled_type}"


#: Object types (ISO/IEC 14496-1 table 5) of MPEG-2 video by the profile in profile_and_level_indication.
_MPEG2_OBJECTS: Final = {5: 0x60, 4: 0x61, 3: 0x62, 2: 0x63, 1: 0x64}


def mpeg2_object(config: bytes) -> int:
    """The object type indication of MPEG-2 (or 0x6A of MPEG-1) video by its sequence header.

    @raise MediaError: it cannot be read.
    """
    profile = parse_sequence(config).profile
    if not profile:
        return 0x6A
    return 0x65 if profile & 0x80 else _MPEG2_OBJECTS.get(profile >> 4 & 7, 0x61)


def _mpeg2_name(track: Track) -> str:
    return f"mp4v.{mpeg2_object(track.config):02x}"


_NAMES: Final[dict[str, Callable[[Track], str]]] = {
    H264: _h264_name,
    HEVC: lambda track: hevc_name(track.config),
    AV1: lambda track: av1_name(track.config),
    VP9: lambda track: vp9_name(track.config),
    MPEG2: _mpeg2_name,
    AAC: _aac_name,
    MP3: lambda _: "mp4a.40.34",
    MP2: lambda _: "mp4a.40.33",
    OPUS: lambda _: "opus",
    AC3: lambda _: "ac-3",
    EAC3: lambda _: "ec-3",
    ULAW: lambda _: "ulaw",
    ALAW: lambda _: "alaw",
}
