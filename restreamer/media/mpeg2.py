"""MPEG-2 video, passed through: the sequence header and the kind of picture (ISO/IEC 13818-2 section 6.2)."""

from __future__ import annotations

from typing import Final

from attrs import frozen

from restreamer.errors import MediaError
from restreamer.media.bits import BitReader
from restreamer.media.track import MPEG2, Track, TrackKind

#: start_code_value (table 6-1).
PICTURE: Final = 0x00
EXTENSION: Final = 0xB5
SEQUENCE: Final = 0xB3
GROUP: Final = 0xB8

_SEQUENCE_CODE: Final = b"\x00\x00\x01\xb3"
_PICTURE_CODE: Final = b"\x00\x00\x01\x00"
_EXTENSION_CODE: Final = b"\x00\x00\x01\xb5"
_CODE: Final = b"\x00\x00\x01"
_SEQUENCE_EXTENSION: Final = 1
_INTRA: Final = 1
#: Longest sequence header with its extension: two matrices of 64 bytes, each field at its largest.
MAX_CONFIG: Final = 256
_HEADER_SIZE: Final = 12
#: frame_rate_code (table 6-4), frames/s times 1000.
_RATES: Final = (0, 23976, 24000, 25000, 29970, 30000, 50000, 59940, 60000)


@frozen(kw_only=True)
class Sequence:
    """What a sequence header and its extension say.

    @ivar width, height: pixels. @ivar frame_rate: frames/s times 1000.
    @ivar profile: profile_and_level_indication, 0 for MPEG-1. @ivar progressive: no interlaced pictures.
    """

    width: int
    height: int
    frame_rate: int
    profile: int
    progressive: bool


def sequence_header(data: bytes) -> bytes:
    """The sequence header of C{data} and its extension, from its start code on; empty when there is none."""
    begin = data.find(_SEQUENCE_CODE)
    if begin < 0:
        return b""
    end = data.find(_CODE, begin + 4)
    if end >= 0 and data.startswith(_EXTENSION_CODE, end):
        end = data.find(_CODE, end + 4)
    return data[begin : end if end >= 0 else len(data)]


def parse_sequence(config: bytes) -> Sequence:
    """Read a sequence header (section 6.2.2.1) and the extension behind it (section 6.2.2.3).

    @raise MediaError: it is none, cut off, too long, or has no size or frame rate.
    """
    if not _HEADER_SIZE <= len(config) <= MAX_CONFIG or not config.startswith(_SEQUENCE_CODE):
        raise MediaError(f"no MPEG-2 sequence header ({len(config)} bytes)")
    bits = BitReader(config[4:])
    width, height = bits.read(12), bits.read(12)
    bits.skip(4)
    rate_code = bits.read(4)
    if not 1 <= rate_code < len(_RATES):
        raise MediaError(f"MPEG-2 frame_rate_code {rate_code}")
    rate = _RATES[rate_code]
    profile, progressive = 0, True
    at = config.find(_EXTENSION_CODE, 4)
    if at >= 0:
        bits = BitReader(config[at + 4 :])
        if bits.read(4) == _SEQUENCE_EXTENSION:
            profile, progressive = bits.read(8), bits.flag()
            bits.skip(2)
            width |= bits.read(2) << 12
            height |= bits.read(2) << 12
            bits.skip(12 + 1 + 8 + 1)
            rate = rate * (bits.read(2) + 1) // (bits.read(5) + 1)
    if not width or not height:
        raise MediaError(f"MPEG-2 picture of {width}x{height}")
    return Sequence(width=width, height=height, frame_rate=rate, profile=profile, progressive=progressive)


def is_key(picture: bytes) -> bool:
    """Whether C{picture} is an I-picture (section 6.2.3: picture_coding_type 1)."""
    at = picture.find(_PICTURE_CODE)
    return 0 <= at < len(picture) - 5 and picture[at + 5] >> 3 & 7 == _INTRA


def mpeg2_track(track_id: int, picture: bytes, bandwidth: int = 0) -> Track:
    """The track of a stream one of whose pictures, with a sequence header before it, is C{picture}.

    @raise MediaError: as L{parse_sequence}.
    """
    config = sequence_header(picture)
    facts = parse_sequence(config)
    return Track(
        track_id=track_id,
        kind=TrackKind.VIDEO,
        codec=MPEG2,
        config=config,
        width=facts.width,
        height=facts.height,
        frame_rate=facts.frame_rate,
        bandwidth=bandwidth,
    )
