"""MPEG audio of layers III (MP3) and II: the frame header (MPEG-1, MPEG-2 and MPEG-2.5).

ISO/IEC 11172-3 section 2.4.1.3 and ISO/IEC 13818-3 section 2.4.2.3; MPEG-2.5 halves the rates once more.
"""

from __future__ import annotations

from typing import Final

from attrs import frozen

from restreamer.errors import MediaError
from restreamer.media.track import MP2, MP3, Track, TrackKind

HEADER_SIZE: Final = 4

#: Layer bits of the header to the layer; 3 is layer I, which nobody sends.
_LAYERS: Final = {1: 3, 2: 2}
_MPEG_1: Final = 3
#: ID bits to the divisor of the MPEG-1 sampling rates; 1 is reserved.
_RATE_DIVISOR: Final = {3: 1, 2: 2, 0: 4}
_RATES: Final = (44100, 48000, 32000)
#: kbit/s by bitrate_index; 0 is the free format, 15 forbidden.
_KBITS: Final = {
    (3, True): (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (2, True): (0, 32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (3, False): (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
    (2, False): (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}


@frozen(kw_only=True)
class Mp3Header:
    """The header of one frame.

    @ivar rate: Hz; @ivar channels: 1 or 2; @ivar samples: samples per channel in the frame, 1152 or 576.
    @ivar bitrate: bits/s; @ivar size: bytes of the whole frame; both 0 for the free format.
    @ivar mpeg1: MPEG-1 (else MPEG-2 or 2.5, the lower sampling rates). @ivar layer: 3 or 2.
    """

    rate: int
    channels: int
    samples: int
    bitrate: int
    size: int
    mpeg1: bool
    layer: int = 3


def parse_mpeg_audio_header(data: bytes) -> Mp3Header:
    """Read the frame header at the beginning of C{data}, of layer II or III.

    @raise MediaError: when it is shorter than 4 bytes, has no syncword, or is of layer I or reserved.
    """
    if len(data) < HEADER_SIZE:
        raise MediaError(f"MPEG audio frame of {len(data)} bytes")
    word = int.from_bytes(data[:HEADER_SIZE], "big")
    if word >> 21 != 0x7FF:
        raise MediaError("no MPEG audio syncword")
    version, layer = word >> 19 & 3, _LAYERS.get(word >> 17 & 3, 0)
    bitrate_index, rate_index = word >> 12 & 15, word >> 10 & 3
    if version not in _RATE_DIVISOR or not layer or bitrate_index == 15 or rate_index == 3:
        raise MediaError(f"MPEG audio header {word:08x} is not one of layer II or III")
    mpeg1 = version == _MPEG_1
    rate = _RATES[rate_index] // _RATE_DIVISOR[version]
    bitrate = 1000 * _KBITS[layer, mpeg1][bitrate_index]
    samples = 1152 if mpeg1 or layer == 2 else 576
    return Mp3Header(
        rate=rate,
        channels=1 if word >> 6 & 3 == 3 else 2,
        samples=samples,
        bitrate=bitrate,
        size=samples // 8 * bitrate // rate + (word >> 9 & 1) if bitrate else 0,
        mpeg1=mpeg1,
        layer=layer,
    )


def parse_mp3_header(data: bytes) -> Mp3Header:
    """Read the frame header at the beginning of C{data}.

    @raise MediaError: when it is shorter than 4 bytes, has no syncword, or is of another layer or reserved.
    """
    header = parse_mpeg_audio_header(data)
    if header.layer != 3:
        raise MediaError(f"MPEG audio of layer {header.layer}, expected III")
    return header


def mpeg_audio_track(track_id: int, first_frame: bytes, bandwidth: int = 0) -> Track:
    """The track of a stream of layer II or III that begins with C{first_frame}.

    @raise MediaError: as L{parse_mpeg_audio_header}.
    """
    header = parse_mpeg_audio_header(first_frame)
    return Track(
        track_id=track_id,
        kind=TrackKind.AUDIO,
        codec=MP3 if header.layer == 3 else MP2,
        timescale=header.rate,
        sample_rate=header.rate,
        channels=header.channels,
        bandwidth=bandwidth,
    )


def mp3_track(track_id: int, first_frame: bytes, bandwidth: int = 0) -> Track:
    """The track of a stream that begins with C{first_frame}.

    @raise MediaError: as L{parse_mp3_header}.
    """
    parse_mp3_header(first_frame)
    return mpeg_audio_track(track_id, first_frame, bandwidth)
