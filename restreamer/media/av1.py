"""AV1: open bitstream units, the sequence header and the configuration record.

Sections are those of the AV1 bitstream specification; the record is that of the AV1 Codec ISO Media File
Format Binding, section 2.3. A unit (OBU) is a header of 1 or 2 bytes, a size that may be left out, and a
payload.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from attrs import frozen

from restreamer.errors import MediaError
from restreamer.media.bits import BitReader
from restreamer.media.track import AV1, Track, TrackKind

#: obu_type (section 6.2.2).
SEQUENCE_HEADER: Final = 1
TEMPORAL_DELIMITER: Final = 2
FRAME_HEADER: Final = 3
FRAME: Final = 6
TILE_LIST: Final = 8
PADDING: Final = 15

#: Units in one temporal unit.
MAX_OBUS: Final = 4096
MAX_SEQUENCE_HEADER: Final = 1024

_EXTENSION: Final = 0x04
_HAS_SIZE: Final = 0x02
_RECORD_HEAD: Final = 4
_MARKER_VERSION: Final = 0x81
_MAX_FRAME_RATE: Final = 1_000_000
#: colour of BT.709 in limited range, and "unspecified": neither needs to be said.
_PLAIN_COLOURS: Final = ((1, 1, 1), (2, 2, 2))


@frozen(kw_only=True)
class SequenceHeader:
    """What a sequence header says (section 5.5).

    @ivar profile: seq_profile; @ivar level, tier: of the first operating point.
    @ivar depth: bits per sample; @ivar mono: no chroma; @ivar subsampling: (x, y), 1 where halved.
    @ivar chroma_position: chroma_sample_position. @ivar colours: primaries, transfer, matrix.
    @ivar full_range: colour range. @ivar width, height: largest picture, pixels.
    @ivar frame_rate: frames/s times 1000, 0 when it does not say.
    @ivar still: a reduced still picture header.
    """

    profile: int
    level: int
    tier: int
    depth: int
    mono: bool
    subsampling: tuple[int, int]
    chroma_position: int
    colours: tuple[int, int, int]
    full_range: bool
    width: int
    height: int
    frame_rate: int
    still: bool


def obu_type(obu: bytes) -> int:
    """The type of a unit that is not empty."""
    return obu[0] >> 3 & 15


def leb128(value: int) -> bytes:
    """C{value} as written in units (section 4.10.5)."""
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def read_leb128(data: bytes, at: int) -> tuple[int, int]:
    """The number at C{at} and the offset behind it.

    @raise MediaError: it is cut off or longer than 8 bytes or 32 bits.
    """
    value = 0
    for place in range(8):
        if at >= len(data):
            raise MediaError("leb128 number is cut off")
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << 7 * place
        if not byte & 0x80:
            if value >> 32:
                break
            return value, at
    raise MediaError("leb128 number above 32 bits")


def split_obus(data: bytes) -> list[bytes]:
    """The units of C{data} as they stand, each with its header and size; one with no size is the last.

    @raise MediaError: a unit is cut off, or there are more than L{MAX_OBUS}.
    """
    found = []
    at = 0
    end = len(data)
    while at < end:
        begin = at
        head = data[at]
        if head & 0x80:
            raise MediaError("OBU with its forbidden bit set")
        at += 2 if head & _EXTENSION else 1
        if head & _HAS_SIZE:
            size, at = read_leb128(data, at)
            at += size
        else:
            at = max(at, end)
        if at > end:
            raise MediaError(f"OBU of {at - begin} bytes with {end - begin} left")
        found.append(data[begin:at])
        if len(found) > MAX_OBUS:
            raise MediaError(f"more than {MAX_OBUS} OBUs in one temporal unit")
    return found


def obu_payload(obu: bytes) -> bytes:
    """What a whole unit carries.

    @raise MediaError: it is cut off.
    """
    if not obu:
        raise MediaError("empty OBU")
    at = 2 if obu[0] & _EXTENSION else 1
    if not obu[0] & _HAS_SIZE:
        return obu[at:]
    size, at = read_leb128(obu, at)
    if at + size > len(obu):
        raise MediaError(f"OBU payload of {size} bytes with {len(obu) - at} left")
    return obu[at : at + size]


def with_size(obu: bytes) -> bytes:
    """A unit with its size field, which it may have already.

    @raise MediaError: it is cut off.
    """
    if not obu:
        raise MediaError("empty OBU")
    if obu[0] & _HAS_SIZE:
        return obu
    header = 2 if obu[0] & _EXTENSION else 1
    if header > len(obu):
        raise MediaError("OBU header is cut off")
    return bytes((obu[0] | _HAS_SIZE,)) + obu[1:header] + leb128(len(obu) - header) + obu[header:]


def with_sizes(obus: Iterable[bytes]) -> bytes:
    """Units one behind the other, each with its size field: the form frames have in this program.

    @raise MediaError: one is cut off.
    """
    return b"".join([with_size(obu) for obu in obus])


def without_size(obu: bytes) -> bytes:
    """A unit without its size field, as RTP carries it (RTP payload format for AV1, section 4.5).

    @raise MediaError: it is cut off.
    """
    if not obu:
        raise MediaError("empty OBU")
    if not obu[0] & _HAS_SIZE:
        return obu
    header = 2 if obu[0] & _EXTENSION else 1
    return bytes((obu[0] & ~_HAS_SIZE,)) + obu[1:header] + obu_payload(obu)


def parse_sequence_header(obu: bytes) -> SequenceHeader:
    """Read a whole sequence header unit.

    @raise MediaError: it is another unit, cut off, or reserved in what matters.
    """
    if not 3 <= len(obu) <= MAX_SEQUENCE_HEADER or obu_type(obu) != SEQUENCE_HEADER:
        raise MediaError(f"no AV1 sequence header ({len(obu)} bytes)")
    bits = BitReader(obu_payload(obu))
    profile = bits.read(3)
    if profile > 2:
        raise MediaError(f"AV1 profile {profile}")
    bits.skip(1)
    still = bits.flag()
    frame_rate = tier = 0
    if still:
        level = bits.read(5)
    else:
        level, tier, frame_rate = _operating_points(bits)
    width_bits, height_bits = bits.read(4) + 1, bits.read(4) + 1
    width, height = bits.read(width_bits) + 1, bits.read(height_bits) + 1
    _skip_tools(bits, still)
    depth, mono, colours, full_range, subsampling, position = _colour(bits, profile)
    return SequenceHeader(
        profile=profile,
        level=level,
        tier=tier,
        depth=depth,
        mono=mono,
        subsampling=subsampling,
        chroma_position=position,
        colours=colours,
        full_range=full_range,
        width=width,
        height=height,
        frame_rate=frame_rate,
        still=still,
    )


def _operating_points(bits: BitReader) -> tuple[int, int, int]:
    """(level, tier, frames/s times 1000): from timing info to the last operating point."""
    rate = delay_bits = 0
    model = False
    if bits.flag():
        units, scale = bits.read(32), bits.read(32)
        if bits.flag():
            units *= bits.ue() + 1
            rate = (scale * 1000 + units // 2) // units if units else 0
        model = bits.flag()
        if model:
            delay_bits = bits.read(5) + 1
            bits.skip(32 + 5 + 5)
    display_delay = bits.flag()
    level = tier = 0
    for index in range(bits.read(5) + 1):
        bits.skip(12)
        this_level = bits.read(5)
        this_tier = bits.read(1) if this_level > 7 else 0
        if not index:
            level, tier = this_level, this_tier
        if model and bits.flag():
            bits.skip(2 * delay_bits + 1)
        if display_delay and bits.flag():
            bits.skip(4)
    return level, tier, rate if rate <= _MAX_FRAME_RATE else 0


def _skip_tools(bits: BitReader, still: bool) -> None:
    """From frame_id_numbers_present_flag to enable_restoration."""
    if not still and bits.flag():
        bits.skip(7)
    bits.skip(3)
    if not still:
        bits.skip(4)
        order_hint = bits.flag()
        if order_hint:
            bits.skip(2)
        screen = 2 if bits.flag() else bits.read(1)
        if screen and not bits.flag():
            bits.skip(1)
        if order_hint:
            bits.skip(3)
    bits.skip(3)


def _colour(
    bits: BitReader, profile: int
) -> tuple[int, bool, tuple[int, int, int], bool, tuple[int, int], int]:
    """color_config (section 5.5.2): depth, mono, colours, full range, subsampling, chroma position."""
    high = bits.flag()
    depth = 10 if high else 8
    if profile == 2 and high and bits.flag():
        depth = 12
    mono = profile != 1 and bits.flag()
    colours = (bits.read(8), bits.read(8), bits.read(8)) if bits.flag() else (2, 2, 2)
    if mono:
        return depth, True, colours, bits.flag(), (1, 1), 0
    if colours == (1, 13, 0):
        return depth, False, colours, True, (0, 0), 0
    full_range = bits.flag()
    subsampling = (1, 1) if profile == 0 else (0, 0)
    if profile == 2:
        subsampling = (1, 0)
        if depth == 12:
            across = bits.read(1)
            subsampling = (across, bits.read(1) if across else 0)
    position = bits.read(2) if subsampling == (1, 1) else 0
    return depth, False, colours, full_range, subsampling, position


def av1c_from_sequence_header(obu: bytes) -> bytes:
    """The configuration record of a sequence header unit, which stands in it.

    @raise MediaError: as L{parse_sequence_header}.
    """
    facts = parse_sequence_header(obu)
    flags = facts.tier << 7 | (facts.depth > 8) << 6 | (facts.depth == 12) << 5 | facts.mono << 4
    flags |= facts.subsampling[0] << 3 | facts.subsampling[1] << 2 | facts.chroma_position
    return bytes((_MARKER_VERSION, facts.profile << 5 | facts.level, flags, 0)) + with_size(obu)


def sequence_header_of(av1c: bytes) -> bytes:
    """The sequence header unit in a configuration record.

    @raise MediaError: the record is cut off, of another version, or has none.
    """
    if len(av1c) < _RECORD_HEAD or av1c[0] != _MARKER_VERSION:
        raise MediaError(f"av1C of {len(av1c)} bytes is not of version 1")
    for obu in split_obus(av1c[_RECORD_HEAD:]):
        if obu_type(obu) == SEQUENCE_HEADER:
            return obu
    raise MediaError("av1C holds no sequence header")


def av1_track(track_id: int, av1c: bytes, bandwidth: int = 0) -> Track:
    """The track of a configuration record.

    @raise MediaError: the record or its sequence header is bad or missing.
    """
    facts = parse_sequence_header(sequence_header_of(av1c))
    return Track(
        track_id=track_id,
        kind=TrackKind.VIDEO,
        codec=AV1,
        config=av1c,
        width=facts.width,
        height=facts.height,
        frame_rate=facts.frame_rate,
        bandwidth=bandwidth,
    )


def av1_name(av1c: bytes) -> str:
    """The C{codecs} value of a record (AV1-ISOBMFF section 5): C{av01.0.04M.08}, longer for other colours.

    @raise MediaError: the record is bad.
    """
    if len(av1c) < _RECORD_HEAD or av1c[0] != _MARKER_VERSION:
        raise MediaError(f"av1C of {len(av1c)} bytes is not of version 1")
    profile, level, flags = av1c[1] >> 5, av1c[1] & 0x1F, av1c[2]
    depth = 8 if not flags & 0x40 else 12 if flags & 0x20 else 10
    name = f"av01.{profile}.{level:02d}{'H' if flags & 0x80 else 'M'}.{depth:02d}"
    try:
        facts = parse_sequence_header(sequence_header_of(av1c))
    except MediaError:
        return name
    plain = facts.colours in _PLAIN_COLOURS and not facts.full_range
    if plain and not facts.mono and facts.subsampling == (1, 1):
        return name
    chroma = f"{facts.subsampling[0]}{facts.subsampling[1]}{facts.chroma_position}"
    colours = ".".join(f"{number:02d}" for number in facts.colours)
    return f"{name}.{facts.mono:d}.{chroma}.{colours}.{facts.full_range:d}"


def is_key(obus: Sequence[bytes]) -> bool:
    """Whether the first frame among the units of a temporal unit is a shown key frame (section 5.9.2).

    @raise MediaError: a unit is cut off.
    """
    for obu in obus:
        if obu_type(obu) in (FRAME_HEADER, FRAME):
            payload = obu_payload(obu)
            # show_existing_frame, frame_type (2 bits, 0 is a key frame), show_frame
            return bool(payload) and payload[0] & 0xF0 == 0x10
    return False
