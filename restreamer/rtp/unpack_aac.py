"""RTP payloads into raw AAC frames: MPEG4-GENERIC (RFC 3640) and MP4A-LATM (RFC 6416)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from restreamer.errors import MediaError
from restreamer.media.aac import aac_track, parse_asc
from restreamer.media.bits import BitReader
from restreamer.media.track import Track
from restreamer.media.video_units import Unit
from restreamer.rtp.unpack_nal import TimedUnit

#: Bytes of one access unit of audio.
MAX_FRAME: Final = 16_384
#: Access units of one packet.
MAX_UNITS: Final = 64
_MAX_CONFIG: Final = 1024


class _AacUnpacker:
    """What both formats share.

    @ivar track: the track. @ivar dropped: access units left out.
    """

    def __init__(self, track: Track, clock: int) -> None:
        self.track = track
        config = parse_asc(track.config)
        #: A frame's length in units of the RTP clock.
        self._step = config.frame_samples * clock // config.sample_rate
        self._told = False
        self._part = bytearray()
        self.dropped = 0

    @property
    def track_known(self) -> bool:
        """Whether the track's configuration is known already: always."""
        return True

    def _unit(self, data: bytes) -> Unit:
        told, self._told = self._told, True
        return Unit(data, True, None if told else self.track)


class GenericAacUnpacker(_AacUnpacker):
    """Access units behind their headers (RFC 3640 section 3.2.1), one or more in a packet, or one in many."""

    def __init__(self, track_id: int, clock: int, parameters: Mapping[str, str]) -> None:
        """@param parameters: of C{a=fmtp}.

        @raise MediaError: no configuration, or field sizes that cannot be.
        """
        super().__init__(aac_track(track_id, _config(parameters)), clock)
        self._size_bits = _bits(parameters, "sizelength")
        self._index_bits = _bits(parameters, "indexlength")
        self._delta_bits = _bits(parameters, "indexdeltalength")
        if not self._size_bits:
            raise MediaError("AAC without AU sizes (constantsize) is not read")
        self._timestamp = 0

    def packet(self, payload: bytes, marker: bool, timestamp: int, lost: bool) -> list[TimedUnit]:
        """Take one payload; the access units that are whole with it."""
        if lost or timestamp != self._timestamp:
            self._part.clear()
        self._timestamp = timestamp
        sizes, at = self._sizes(payload)
        if not sizes:
            self.dropped += 1
            return []
        if len(sizes) == 1 and sizes[0] > len(payload) - at:
            return self._fragment(sizes[0], payload[at:], timestamp)
        if self._part and len(sizes) == 1:
            return self._fragment(sizes[0], payload[at:], timestamp)
        found: list[TimedUnit] = []
        for index, size in enumerate(sizes):
            if not size or at + size > len(payload):
                self.dropped += 1
                break
            found.append((timestamp, index * self._step, self._unit(payload[at : at + size])))
            at += size
        return found

    def _fragment(self, size: int, part: bytes, timestamp: int) -> list[TimedUnit]:
        """A part of an access unit of C{size} bytes."""
        if size > MAX_FRAME or len(self._part) + len(part) > size:
            self._part.clear()
            self.dropped += 1
            return []
        self._part += part
        if len(self._part) < size:
            return []
        data = bytes(self._part)
        self._part.clear()
        return [(timestamp, 0, self._unit(data))]

    def _sizes(self, payload: bytes) -> tuple[list[int], int]:
        """The sizes of the access units, and where the first one begins; none: the headers are wrong."""
        if len(payload) < 3:
            return [], 0
        bits = payload[0] << 8 | payload[1]
        at = 2 + (bits + 7 >> 3)
        if at >= len(payload):
            return [], 0
        whole = int.from_bytes(payload[2:at], "big") >> 8 * (at - 2) - bits
        first = self._size_bits + self._index_bits
        following = self._size_bits + self._delta_bits
        if bits < first or (bits - first) % following or (bits - first) // following >= MAX_UNITS:
            return [], 0
        sizes = []
        left, width, index = bits, first, self._index_bits
        while left:
            left -= width
            sizes.append(whole >> left + index & (1 << self._size_bits) - 1)
            width, index = following, self._delta_bits
        return sizes, at


class LatmUnpacker(_AacUnpacker):
    """Audio mux elements whose configuration came with the description (RFC 6416 section 6.1, cpresent=0)."""

    def __init__(self, track_id: int, clock: int, parameters: Mapping[str, str]) -> None:
        """@param parameters: of C{a=fmtp}.

        @raise MediaError: the configuration is in band, missing, or of a kind that is not read.
        """
        if parameters.get("cpresent", "1") != "0":
            raise MediaError("LATM with its configuration in band is not read")
        asc, self._frames = _stream_mux_config(_config(parameters))
        super().__init__(aac_track(track_id, asc), clock)

    def packet(self, payload: bytes, marker: bool, timestamp: int, lost: bool) -> list[TimedUnit]:
        """Take one payload; the access units that are whole with it."""
        if lost:
            self._part.clear()
        if len(self._part) + len(payload) > MAX_FRAME * self._frames:
            self._part.clear()
            self.dropped += 1
            return []
        self._part += payload
        if not marker:
            return []
        data = bytes(self._part)
        self._part.clear()
        found: list[TimedUnit] = []
        at = 0
        for index in range(self._frames):
            size = 0
            while at < len(data):
                size += data[at]
                at += 1
                if data[at - 1] != 255:
                    break
            if not size or at + size > len(data):
                self.dropped += 1
                break
            found.append((timestamp, index * self._step, self._unit(data[at : at + size])))
            at += size
        return found


def _config(parameters: Mapping[str, str]) -> bytes:
    text = parameters.get("config", "").strip('"')
    if not text or len(text) > 2 * _MAX_CONFIG:
        raise MediaError(f"AAC configuration of {len(text) // 2} bytes")
    try:
        return bytes.fromhex(text)
    except ValueError:
        raise MediaError("the AAC configuration is no hexadecimal number")


def _bits(parameters: Mapping[str, str], name: str) -> int:
    text = parameters.get(name, "0")
    if not text.isascii() or not text.isdecimal() or len(text) > 2 or int(text) > 32:
        raise MediaError(f"{name} is no number of bits")
    return int(text)


def _stream_mux_config(config: bytes) -> tuple[bytes, int]:
    """The AudioSpecificConfig of a StreamMuxConfig (ISO/IEC 14496-3 section 1.7.3), and frames per element.

    @raise MediaError: several programs or layers, another version, or a program config element.
    """
    bits = BitReader(config)
    version, same = bits.read(1), bits.flag()
    frames, programs, layers = bits.read(6) + 1, bits.read(4), bits.read(3)
    if version or not same or programs or layers:
        raise MediaError("LATM of several programs or layers is not read")
    begin = bits.position
    object_type, rate, channels = bits.read(5), bits.read(4), bits.read(4)
    size = 13
    if rate == 15:
        rate = bits.read(24)
        size += 24
    if object_type in (5, 29):
        size += 9
        if bits.read(4) == 15:
            size += 24
            bits.skip(24)
        object_type = bits.read(5)
    if object_type != 2 or not channels:
        raise MediaError(f"AAC object type {object_type} with channel configuration {channels} in LATM")
    # GASpecificConfig of AAC-LC: three flags.
    size += 3
    bits.position = begin
    asc = bits.read(size) << -size % 8
    return asc.to_bytes((size + 7) // 8, "big"), frames
