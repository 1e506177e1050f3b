"""AAC: the AudioSpecificConfig and the ADTS header that replaces it in MPEG-TS.

Sections are those of ISO/IEC 14496-3.
"""

from __future__ import annotations

from typing import Final

from attrs import field, frozen

from restreamer.errors import MediaError
from restreamer.media.bits import BitReader
from restreamer.media.track import AAC, Track, TrackKind

#: Sampling rates by index (table 1.18); 13 and 14 are reserved, 15 says that 24 bits of Hz follow.
SAMPLE_RATES: Final = (
    96000,
    88200,
    64000,
    48000,
    44100,
    32000,
    24000,
    22050,
    16000,
    12000,
    11025,
    8000,
    7350,
)
#: Speakers by channelConfiguration (table 1.19); None is reserved, 0 means a program config element tells.
_CHANNELS: Final = (0, 1, 2, 3, 4, 5, 6, 8, None, None, None, 7, 8, 24, 8, None)

#: Lower limits of the ranges in which a rate of its own uses the tables of an index (table 4.82).
_RATE_BORDERS: Final = (92017, 75132, 55426, 46009, 37566, 27713, 23004, 18783, 13856, 11502, 9391, 0)

MIN_RATE: Final = 1000
MAX_RATE: Final = 384_000
ADTS_SIZE: Final = 7
#: aac_frame_length has 13 bits (section 1.A.2.2.1).
MAX_ADTS_FRAME: Final = 8191

_MAX_CONFIG: Final = 1024
_ESCAPE: Final = 15
_AOT_SBR: Final = 5
_AOT_PS: Final = 29
_AOT_BSAC: Final = 22
#: Object types whose configuration is a GASpecificConfig (table 1.15).
_GENERAL_AUDIO: Final = frozenset({1, 2, 3, 4, 6, 7, 17, 19, 20, 21, 22, 23})
_SYNC_SBR: Final = 0x2B7
_SYNC_PS: Final = 0x548


@frozen(kw_only=True)
class AacConfig:
    """What an AudioSpecificConfig says (section 1.6.2.1).

    @ivar object_type: Audio Object Type of the core coder (2 is AAC-LC).
    @ivar sample_rate: Hz of the core coder; @ivar output_rate: Hz after SBR, equal without it.
    @ivar channels: speakers after decoding, 0 when the codec itself tells.
    @ivar channel_config: channelConfiguration as written.
    @ivar frame_samples: samples of the core coder in a frame: 1024 or 960 (512 or 480 for low delay).
    @ivar sbr, ps: signalled, in either way.
    @ivar pce: the program config element as a syntactic element to put before each raw frame in ADTS;
        empty when C{channel_config} is not 0.
    """

    object_type: int
    sample_rate: int
    output_rate: int
    channels: int
    channel_config: int
    frame_samples: int
    sbr: bool = False
    ps: bool = False
    pce: bytes = field(default=b"", repr=False)

    @property
    def fits_adts(self) -> bool:
        """Whether ADTS can carry it: its profile field knows the object types 1 to 4."""
        return 1 <= self.object_type <= 4 and self.channel_config < 8

    @property
    def signalled_type(self) -> int:
        """The object type for a C{codecs} parameter (RFC 6381): 29 with PS, 5 with SBR, else the core's."""
        if self.ps:
            return _AOT_PS
        return _AOT_SBR if self.sbr else self.object_type


def parse_asc(config: bytes) -> AacConfig:
    """Read an AudioSpecificConfig.

    @raise MediaError: when it is truncated, or gives a reserved or impossible rate or channel layout.
    """
    if not 2 <= len(config) <= _MAX_CONFIG:
        raise MediaError(f"AudioSpecificConfig of {len(config)} bytes, expected 2 to {_MAX_CONFIG}")
    return read_asc(BitReader(config), extended=True)


def read_asc(bits: BitReader, extended: bool) -> AacConfig:
    """Read an AudioSpecificConfig that begins where C{bits} begin, and leave them at its end.

    @param extended: it ends where C{bits} do, so SBR may be signalled behind the core's configuration.
    @raise MediaError: as L{parse_asc}.
    """
    object_type = _object_type(bits)
    rate = output_rate = _rate(bits)
    channel_config = bits.read(4)
    channels = _CHANNELS[channel_config]
    if channels is None:
        raise MediaError(f"reserved AAC channel configuration {channel_config}")
    sbr = object_type in (_AOT_SBR, _AOT_PS)
    ps = object_type == _AOT_PS
    if sbr:
        output_rate = _rate(bits)
        object_type = _object_type(bits)
        if object_type == _AOT_BSAC:
            bits.skip(4)
    samples, pce = 1024, b""
    if object_type in _GENERAL_AUDIO:
        short = bits.flag()
        samples = (480 if short else 512) if object_type == 23 else (960 if short else 1024)
        if bits.flag():
            bits.skip(14)
        bits.skip(1)
        if channel_config == 0:
            channels, pce = _program_config(bits)
        if extended and object_type <= 4 and not sbr:
            sbr, ps, output_rate = _backward_compatible(bits, rate)
    if ps and channels == 1:
        channels = 2
    return AacConfig(
        object_type=object_type,
        sample_rate=rate,
        output_rate=output_rate,
        channels=channels,
        channel_config=channel_config,
        frame_samples=samples,
        sbr=sbr,
        ps=ps,
        pce=pce,
    )


def _object_type(bits: BitReader) -> int:
    """GetAudioObjectType, section 1.6.2.1 table 1.16."""
    value = bits.read(5)
    if value == 31:
        value = 32 + bits.read(6)
    if not value:
        raise MediaError("AAC object type 0")
    return value


def _rate(bits: BitReader) -> int:
    index = bits.read(4)
    rate = bits.read(24) if index == _ESCAPE else SAMPLE_RATES[index] if index < len(SAMPLE_RATES) else 0
    if not MIN_RATE <= rate <= MAX_RATE:
        raise MediaError(f"AAC sampling rate {rate} Hz (index {index})")
    return rate


def _program_config(bits: BitReader) -> tuple[int, bytes]:
    """Speakers of a program_config_element (section 4.4.1.1), and the element for a raw data block."""
    channels, size, head, comment = _read_element(bits)
    width = 3 + size
    padding = -width % 8
    element = ((5 << size | head) << padding).to_bytes((width + padding) // 8, "big")
    return channels, element + comment


def _read_element(bits: BitReader) -> tuple[int, int, int, bytes]:
    """A program_config_element behind its id: speakers, the bits of its first part and what they are, and
    the comment with its size, which begins at a byte border."""
    begin = bits.position
    bits.skip(4 + 2 + 4)
    front, side, back = bits.read(4), bits.read(4), bits.read(4)
    lfe, associated, coupling = bits.read(2), bits.read(3), bits.read(4)
    if bits.flag():
        bits.skip(4)
    if bits.flag():
        bits.skip(4)
    if bits.flag():
        bits.skip(3)
    channels = lfe
    for _ in range(front + side + back):
        channels += 2 if bits.flag() else 1
        bits.skip(4)
    bits.skip(4 * (lfe + associated) + 5 * coupling)
    size = bits.position - begin
    bits.position = begin
    head = bits.read(size)
    bits.align()
    comment_size = bits.read(8)
    comment = bits.read(8 * comment_size).to_bytes(comment_size, "big")
    if not channels:
        raise MediaError("AAC program config element without channels")
    return channels, size, head, bytes((comment_size,)) + comment


def adts_config(header: bytes, raw: bytes) -> tuple[bytes, int]:
    """The AudioSpecificConfig that an ADTS header stands for (section 1.A.2.2.1).

    @param header: its first L{ADTS_SIZE} bytes; @param raw: the raw frame behind it, which begins with a
        program config element when the header names no channels.
    @return: the configuration, and the bytes of that element in C{raw}, 0 without one.
    @raise MediaError: the channels are told nowhere.
    """
    object_type, index = (header[2] >> 6) + 1, header[2] >> 2 & 15
    channel_config = (header[2] & 1) << 2 | header[3] >> 6
    begin = object_type << 11 | index << 7 | channel_config << 3
    if channel_config:
        return begin.to_bytes(2, "big"), 0
    bits = BitReader(raw[:_MAX_CONFIG])
    if bits.read(3) != 5:
        raise MediaError("AAC with channel configuration 0 and no program config element")
    _, size, head, comment = _read_element(bits)
    padding = -size % 8
    config = ((begin << size | head) << padding).to_bytes(2 + (size + padding) // 8, "big")
    return config + comment, bits.position // 8


def _backward_compatible(bits: BitReader, rate: int) -> tuple[bool, bool, int]:
    """SBR and PS signalled behind the end of the core's configuration (section 1.6.6.1)."""
    if bits.left < 16 or bits.read(11) != _SYNC_SBR or bits.read(5) != _AOT_SBR:
        return False, False, rate
    if bits.left < 5 or not bits.flag():
        return False, False, rate
    index = bits.read(4)
    output_rate = SAMPLE_RATES[index] if index < len(SAMPLE_RATES) else 0
    if index == _ESCAPE and bits.left >= 24:
        output_rate = bits.read(24)
    if not MIN_RATE <= output_rate <= MAX_RATE:
        return False, False, rate
    ps = bits.left >= 12 and bits.read(11) == _SYNC_PS and bits.flag()
    return True, ps, output_rate


def aac_track(track_id: int, asc: bytes, bandwidth: int = 0) -> Track:
    """The track of an AudioSpecificConfig.

    @raise MediaError: as L{parse_asc}.
    """
    config = parse_asc(asc)
    return Track(
        track_id=track_id,
        kind=TrackKind.AUDIO,
        codec=AAC,
        config=asc,
        timescale=config.sample_rate,
        sample_rate=config.output_rate,
        channels=config.channels,
        bandwidth=bandwidth,
    )


def rate_index(rate: int) -> int:
    """The sampling rate index whose tables C{rate} uses: its own, or the nearest by table 4.82."""
    if rate in SAMPLE_RATES:
        return SAMPLE_RATES.index(rate)
    return next(index for index, border in enumerate(_RATE_BORDERS) if rate >= border)


def adts_prefix(config: AacConfig) -> int:
    """The fixed part of the ADTS header (section 1.A.2.2.1) with frame length 0, as a 56-bit number.

    Add C{aac_frame_length << 13} for a frame's header. MPEG-4, no CRC, buffer fullness of variable rate.

    @raise MediaError: when ADTS cannot carry the configuration.
    """
    if not config.fits_adts:
        raise MediaError(
            f"ADTS cannot carry AAC object type {config.object_type}, channels {config.channel_config}"
        )
    fixed = 0xFFF1 << 14 | (config.object_type - 1) << 12 | rate_index(config.sample_rate) << 8
    return (fixed | config.channel_config << 4) << 26 | 0x7FF << 2


def adts_header(config: AacConfig, frame_size: int) -> bytes:
    """The 7 bytes before a raw frame of C{frame_size} bytes (with L{AacConfig.pce}, count it in).

    @raise MediaError: when ADTS cannot carry the configuration or the frame is too long.
    """
    size = frame_size + ADTS_SIZE
    if size > MAX_ADTS_FRAME or frame_size < 1:
        raise MediaError(f"AAC frame of {frame_size} bytes, ADTS carries 1 to {MAX_ADTS_FRAME - ADTS_SIZE}")
    return (adts_prefix(config) | size << 13).to_bytes(ADTS_SIZE, "big")
