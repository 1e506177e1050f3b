"""What each codec is called and where it can go, by table: the one place that knows them all."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from restreamer.errors import MediaError
from restreamer.media.aac import parse_asc
from restreamer.media.track import AAC, H264, MP3, Track

#: Codecs that the MPEG-TS muxers carry.
MPEGTS_CODECS: Final = frozenset({H264, AAC, MP3})


def codec_string(track: Track) -> str:
    """The C{codecs} value of RFC 6381 section 3.3: C{avc1.640028}, C{mp4a.40.2}, C{mp4a.40.34}.

    @raise MediaError: for a codec that is not known or a configuration that cannot be read.
    """
    name = _NAMES.get(track.codec)
    if name is None:
        raise MediaError(f"codec {track.codec!r} has no known name")
    return name(track)


def mpegts_can_carry(track: Track) -> bool:
    """Whether the MPEG-TS muxers can carry C{track}; the others are left out of the program."""
    if track.codec != AAC:
        return track.codec in MPEGTS_CODECS
    try:
        return parse_asc(track.config).fits_adts
    except MediaError:
        return False


def _h264_name(track: Track) -> str:
    if len(track.config) < 4:
        raise MediaError(f"avcC of {len(track.config)} bytes")
    return f"avc1.{track.config[1:4].hex().upper()}"


def _aac_name(track: Track) -> str:
    return f"mp4a.40.{parse_asc(track.config).signalled_type}"


def _mp3_name(_: Track) -> str:
    return "mp4a.40.34"


_NAMES: Final[dict[str, Callable[[Track], str]]] = {H264: _h264_name, AAC: _aac_name, MP3: _mp3_name}
