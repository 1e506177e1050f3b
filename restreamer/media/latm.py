"""AAC in LATM and LOAS (ISO/IEC 14496-3 section 1.7): audio mux elements to raw frames (pure).

Read is what broadcasters send: one program of one layer, one frame in an element, frames that tell their
length (frameLengthType 0), the configuration in band, again and again. Anything else is refused, element by
element.
"""

from __future__ import annotations

from typing import Final

from attrs import frozen
from typing_extensions import override

from restreamer.errors import MediaError
from restreamer.media.aac import AacConfig, aac_track, read_asc
from restreamer.media.audio_frames import Frames, Measure
from restreamer.media.bits import BitReader

#: Bytes of the header of an AudioSyncStream: syncword 0x2B7 in 11 bits, audioMuxLengthBytes in 13.
HEADER_SIZE: Final = 3
#: What an element is taken to last before the first configuration.
_UNKNOWN: Final = (1024, 48_000)


@frozen
class MuxConfig:
    """What a StreamMuxConfig says (section 1.7.3.1).

    @ivar asc: the AudioSpecificConfig in bytes of its own.
    @ivar other_bits: bits of other data behind the frame.
    """

    asc: bytes
    config: AacConfig
    other_bits: int


def read_mux_config(bits: BitReader) -> MuxConfig:
    """Read a StreamMuxConfig.

    @raise MediaError: it is cut off, or of a kind that is not read.
    """
    version = bits.read(1)
    if version and bits.flag():
        raise MediaError("LATM of audioMuxVersionA 1 is not read")
    if version:
        _value(bits)
    bits.skip(1)
    sub_frames, programs, layers = bits.read(6), bits.read(4), bits.read(3)
    if sub_frames or programs or layers:
        raise MediaError(f"LATM of {sub_frames + 1} frames, {programs + 1} programs, {layers + 1} layers")
    size = _value(bits) if version else bits.left
    if size > bits.left:
        raise MediaError(f"LATM with a configuration of {size} bits, {bits.left} are left")
    # Where bytes begin in it is counted from its own beginning.
    begin = bits.position
    whole = bits.read(size) << -size % 8
    inner = BitReader(whole.to_bytes((size + 7) // 8, "big"))
    config = read_asc(inner, extended=bool(version))
    used = size if version else inner.position
    inner.position = 0
    asc = (inner.read(used) << -used % 8).to_bytes((used + 7) // 8, "big")
    bits.position = begin + used
    if bits.read(3):
        raise MediaError("LATM of a frameLengthType other than 0")
    bits.skip(8)
    other = 0
    if bits.flag():
        other = _value(bits) if version else _escaped(bits)
    if bits.flag():
        bits.skip(8)
    return MuxConfig(asc, config, other)


def _value(bits: BitReader) -> int:
    """LatmGetValue (table 1.45)."""
    return bits.read(8 * (bits.read(2) + 1))


def _escaped(bits: BitReader) -> int:
    """otherDataLenBits of version 0."""
    value = 0
    more = True
    while more:
        more = bits.flag()
        value = value << 8 | bits.read(8)
        if value > 1 << 16:
            raise MediaError("LATM with too much other data")
    return value


class LatmFrames(Frames):
    """Raw AAC frames from LOAS (AudioSyncStream, section 1.7.2)."""

    _sync = b"\x56"
    _shortest = HEADER_SIZE

    def __init__(self, track_id: int, language: str = "und") -> None:
        super().__init__(track_id, language)
        self._mux: MuxConfig | None = None

    @override
    def _measure(self, buffer: bytes, at: int) -> Measure | None:
        if buffer[at] != 0x56 or buffer[at + 1] & 0xE0 != 0xE0:
            raise MediaError("no LOAS syncword")
        size = (buffer[at + 1] & 0x1F) << 8 | buffer[at + 2]
        if size < 2:
            raise MediaError(f"LOAS element of {size} bytes")
        mux = self._mux
        samples, rate = (mux.config.frame_samples, mux.config.sample_rate) if mux is not None else _UNKNOWN
        return HEADER_SIZE + size, samples, rate

    @override
    def _take(self, buffer: bytes, at: int, size: int) -> bytes:
        bits = BitReader(buffer[at + HEADER_SIZE : at + size])
        if not bits.flag():
            self._configure(read_mux_config(bits))
        mux = self._mux
        if mux is None:
            raise MediaError("no LATM configuration has come yet")
        length = 0
        while (step := bits.read(8)) == 255:
            length += step
        length += step
        if not length or 8 * length + mux.other_bits > bits.left:
            raise MediaError(f"LATM frame of {length} bytes, {bits.left // 8} are left")
        return bits.read(8 * length).to_bytes(length, "big")

    def _configure(self, mux: MuxConfig) -> None:
        if self._mux is None or mux.asc != self._mux.asc:
            self._told(aac_track(self._track_id, mux.asc))
        self._mux = mux
