"""What each codec is called in SDP, and the packer of each: tracks to payload formats.

Encoding names, clocks and format parameters as the payload formats register them.
"""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Final, Protocol

from attrs import frozen

from restreamer.errors import MediaError
from restreamer.media.aac import parse_asc
from restreamer.media.h264 import parse_avcc
from restreamer.media.hevc import parse_hvcc
from restreamer.media.opus import parse_dops
from restreamer.media.track import (
    AAC,
    ALAW,
    AV1,
    H264,
    HEVC,
    MP2,
    MP3,
    OPUS,
    ULAW,
    VP9,
    Track,
    TrackKind,
)
from restreamer.rtp.pack_av1 import Av1Packer
from restreamer.rtp.pack_frames import AacPacker, G711Packer, MpegAudioPacker, OpusPacker, Vp9Packer
from restreamer.rtp.pack_nal import H264Packer, HevcPacker, Piece

#: First of the payload types that mean what the SDP says (RFC 3551 section 3).
DYNAMIC: Final = 96
PCMU: Final = 0
PCMA: Final = 8
MPA: Final = 14


class Packer(Protocol):
    """Frames of one track into payloads. @ivar clock: Hz of the RTP clock."""

    clock: int

    def pieces(self, data: bytes, key: bool) -> list[Piece]:
        """The payloads of one frame, each in two parts; empty when it cannot be sent."""
        ...


@frozen(kw_only=True)
class Format:
    """How a track is told in SDP.

    @ivar payload_type: 0..127. @ivar encoding: with clock and channels, as in C{a=rtpmap}.
    @ivar parameters: of C{a=fmtp}; empty: there is no such line.
    """

    payload_type: int
    encoding: str
    parameters: str = ""


def packer_of(track: Track) -> Packer:
    """What packs C{track}'s frames.

    @raise MediaError: there is no payload format for its codec, or its configuration cannot be read.
    """
    make = _PACKERS.get(track.codec)
    if make is None:
        raise MediaError(f"codec {track.codec!r} has no RTP payload format here")
    return make(track)


def format_of(track: Track, index: int) -> Format:
    """How C{track} is told.

    @param index: place among the tracks, from 0: the dynamic payload type is L{DYNAMIC} more.
    @raise MediaError: as L{packer_of}.
    """
    tell = _FORMATS.get(track.codec)
    if tell is None:
        raise MediaError(f"codec {track.codec!r} has no RTP payload format here")
    return tell(track, DYNAMIC + index)


def can_carry(track: Track) -> bool:
    """Whether C{track} can go by RTP. Raises nothing."""
    try:
        packer_of(track)
        format_of(track, 0)
    except MediaError:
        return False
    return True


def _base64(nal: bytes) -> str:
    return base64.b64encode(nal).decode()


def _h264(track: Track, payload_type: int) -> Format:
    config = parse_avcc(track.config)
    level = config.sps[0][1:4].hex().upper()
    sets = ",".join(map(_base64, (*config.sps, *config.pps)))
    return Format(
        payload_type=payload_type,
        encoding="H264/90000",
        parameters=f"packetization-mode=1;profile-level-id={level};sprop-parameter-sets={sets}",
    )


def _hevc(track: Track, payload_type: int) -> Format:
    config = parse_hvcc(track.config)
    parameters = ";".join(
        f"sprop-{name}=" + ",".join(map(_base64, nals))
        for name, nals in (("vps", config.vps), ("sps", config.sps), ("pps", config.pps))
        if nals
    )
    return Format(payload_type=payload_type, encoding="H265/90000", parameters=parameters)


def _av1(track: Track, payload_type: int) -> Format:
    parameters = ""
    if len(track.config) >= 3:
        profile, level = track.config[1] >> 5, track.config[1] & 0x1F
        parameters = f"profile={profile};level-idx={level};tier={track.config[2] >> 7}"
    return Format(payload_type=payload_type, encoding="AV1/90000", parameters=parameters)


def _vp9(track: Track, payload_type: int) -> Format:
    parameters = f"profile-id={track.config[0]}" if track.config else ""
    return Format(payload_type=payload_type, encoding="VP9/90000", parameters=parameters)


def _aac(track: Track, payload_type: int) -> Format:
    parse_asc(track.config)
    rate, channels = track.sample_rate or 48_000, track.channels or 2
    return Format(
        payload_type=payload_type,
        encoding=f"mpeg4-generic/{rate}/{channels}",
        parameters="streamtype=5;profile-level-id=1;mode=AAC-hbr;sizelength=13;indexlength=3;indexdeltalength=3;"
        f"config={track.config.hex().upper()}",
    )


def _opus(track: Track, payload_type: int) -> Format:
    if parse_dops(track.config).family:
        raise MediaError("Opus of more than two channels has no RTP payload format")
    stereo = int(track.channels != 1)
    return Format(
        payload_type=payload_type,
        encoding="opus/48000/2",
        parameters=f"sprop-stereo={stereo};stereo={stereo}",
    )


def _mpeg_audio(track: Track, payload_type: int) -> Format:
    return Format(payload_type=MPA, encoding="MPA/90000")


def _g711(track: Track, payload_type: int) -> Format:
    name, static = ("PCMU", PCMU) if track.codec == ULAW else ("PCMA", PCMA)
    rate, channels = track.sample_rate or 8000, track.channels or 1
    usual = (rate, channels) == (8000, 1)
    return Format(
        payload_type=static if usual else payload_type,
        encoding=f"{name}/{rate}" + ("" if channels == 1 else f"/{channels}"),
    )


_FORMATS: Final[dict[str, Callable[[Track, int], Format]]] = {
    H264: _h264,
    HEVC: _hevc,
    AV1: _av1,
    VP9: _vp9,
    AAC: _aac,
    MP3: _mpeg_audio,
    MP2: _mpeg_audio,
    OPUS: _opus,
    ULAW: _g711,
    ALAW: _g711,
}
_PACKERS: Final[dict[str, Callable[[Track], Packer]]] = {
    H264: H264Packer,
    HEVC: HevcPacker,
    AV1: Av1Packer,
    VP9: Vp9Packer,
    AAC: AacPacker,
    MP3: MpegAudioPacker,
    MP2: MpegAudioPacker,
    OPUS: OpusPacker,
    ULAW: G711Packer,
    ALAW: G711Packer,
}


def kind_word(track: Track) -> str:
    """The media word of an m-line."""
    return "video" if track.kind is TrackKind.VIDEO else "audio"
