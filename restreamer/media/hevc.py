"""HEVC: the decoder configuration record and the forms of its access units.

Inside the program a frame is NAL units behind 4-byte lengths (ISO/IEC 14496-15 section 8.3.2), as for H.264;
L{relength} and L{split_nals} serve both.
"""

from __future__ import annotations

from collections.abc import Sequence
from struct import Struct
from typing import Final

from attrs import field, frozen

from restreamer.errors import MediaError
from restreamer.media.h264 import MAX_NALS, MAX_PPS, MAX_RECORD, START_CODE
from restreamer.media.h264 import relength as relength
from restreamer.media.h264 import split_nals as split_nals
from restreamer.media.hevc_sps import HevcSps, parse_hevc_sps, parse_profile
from restreamer.media.track import HEVC, Track, TrackKind

#: nal_unit_type values (ISO/IEC 23008-2 table 7-1); 16 to 23 are the random access points.
NAL_IRAP_FIRST: Final = 16
NAL_IRAP_LAST: Final = 23
NAL_VPS: Final = 32
NAL_SPS: Final = 33
NAL_PPS: Final = 34
NAL_AUD: Final = 35
#: The first type that is no slice.
NAL_NO_SLICE: Final = 32

IRAP_TYPES: Final = sum(1 << kind for kind in range(NAL_IRAP_FIRST, NAL_IRAP_LAST + 1))
PARAMETER_SETS: Final = 1 << NAL_VPS | 1 << NAL_SPS | 1 << NAL_PPS

_HEAD: Final = Struct(">BBI6sBHBBBBHBB")
_MAX_ARRAYS: Final = 16
_LENGTH: Final = Struct(">I").unpack_from


@frozen(kw_only=True)
class HevcConfig:
    """An HEVCDecoderConfigurationRecord (ISO/IEC 14496-15 section 8.3.3.1).

    @ivar profile_space, tier, profile, compat, level: general_* of the profile, tier and level.
    @ivar constraints: the six bytes of general_constraint_indicator_flags.
    @ivar frame_rate: frames/s times 1000 by avgFrameRate, 0 when it does not tell.
    @ivar length_size: bytes of each NAL length: 1, 2 or 4.
    @ivar vps, sps, pps: whole NAL units, at least one SPS and one PPS.
    """

    profile_space: int
    tier: int
    profile: int
    compat: int
    constraints: bytes
    level: int
    frame_rate: int
    length_size: int
    vps: tuple[bytes, ...] = field(repr=False)
    sps: tuple[bytes, ...] = field(repr=False)
    pps: tuple[bytes, ...] = field(repr=False)


def nal_type(nal: bytes) -> int:
    """nal_unit_type of a NAL unit that is not empty."""
    return nal[0] >> 1 & 0x3F


def parse_hvcc(record: bytes) -> HevcConfig:
    """Read a configuration record; arrays of other NAL types (SEI) are passed over.

    @raise MediaError: when it is not version 1, has no SPS or no PPS, a reserved length size, a set of the
        wrong NAL type, or is shorter than it says or longer than L{MAX_RECORD}.
    """
    if not _HEAD.size <= len(record) <= MAX_RECORD:
        raise MediaError(f"hvcC of {len(record)} bytes, expected {_HEAD.size} to {MAX_RECORD}")
    head = _HEAD.unpack_from(record)
    version, space_tier_profile, compat, constraints, level = head[:5]
    average, layers_and_length, arrays = head[10:]
    # Some writers of the record's drafts left the version at 0.
    if version > 1:
        raise MediaError(f"hvcC version {version}, expected 1")
    length_size = (layers_and_length & 3) + 1
    if length_size == 3:
        raise MediaError("hvcC with the reserved NAL length size 3")
    if arrays > _MAX_ARRAYS:
        raise MediaError(f"hvcC with {arrays} arrays, at most {_MAX_ARRAYS}")
    sets = _arrays(record, arrays)
    if not sets[NAL_SPS] or not sets[NAL_PPS]:
        raise MediaError(f"hvcC with {len(sets[NAL_SPS])} SPS and {len(sets[NAL_PPS])} PPS")
    return HevcConfig(
        profile_space=space_tier_profile >> 6,
        tier=space_tier_profile >> 5 & 1,
        profile=space_tier_profile & 0x1F,
        compat=compat,
        constraints=constraints,
        level=level,
        frame_rate=(average * 1000 + 128) // 256,
        length_size=length_size,
        vps=tuple(sets[NAL_VPS]),
        sps=tuple(sets[NAL_SPS]),
        pps=tuple(sets[NAL_PPS]),
    )


def _arrays(record: bytes, count: int) -> dict[int, list[bytes]]:
    """The parameter sets by NAL type."""
    found: dict[int, list[bytes]] = {NAL_VPS: [], NAL_SPS: [], NAL_PPS: []}
    at = _HEAD.size
    for _ in range(count):
        if at + 3 > len(record):
            raise MediaError("hvcC ends inside an array's head")
        kind = record[at] & 0x3F
        units = int.from_bytes(record[at + 1 : at + 3], "big")
        at += 3
        if units > MAX_PPS:
            raise MediaError(f"hvcC array of {units} NAL units, at most {MAX_PPS}")
        for _ in range(units):
            size = int.from_bytes(record[at : at + 2], "big")
            at += 2
            nal = record[at : at + size]
            if size < 3 or len(nal) != size:
                raise MediaError(f"hvcC parameter set of {size} bytes with {len(nal)} left")
            at += size
            if kind in found:
                if nal_type(nal) != kind:
                    raise MediaError(f"hvcC parameter set of NAL type {nal_type(nal)}, expected {kind}")
                found[kind].append(nal)
    return found


def normalise_hvcc(record: bytes) -> bytes:
    """The checked record of version 1 with lengthSizeMinusOne set to 3, everything else as it was.

    @raise MediaError: as L{parse_hvcc}.
    """
    parse_hvcc(record)
    return b"\x01" + record[1:21] + bytes((record[21] | 3,)) + record[22:]


def hvcc_from_sets(vps: Sequence[bytes], sps: Sequence[bytes], pps: Sequence[bytes]) -> bytes:
    """A configuration record of NAL units that came by themselves (Annex B, SDP), with 4-byte lengths.

    An SPS that cannot be read beyond its profile and level still makes one: 4:2:0 of 8 bits is taken.

    @raise MediaError: when there is no SPS or PPS, the first SPS has no profile, or they make no record.
    """
    nals = (*vps, *sps, *pps)
    if not sps or not pps or max(map(len, (vps, sps, pps))) > MAX_PPS or any(len(n) > 0xFFFF for n in nals):
        raise MediaError(f"{len(vps)} VPS, {len(sps)} SPS and {len(pps)} PPS do not make an hvcC")
    try:
        facts = parse_hevc_sps(sps[0])
    except MediaError:
        facts = parse_profile(sps[0])
    arrays = [(kind, units) for kind, units in ((NAL_VPS, vps), (NAL_SPS, sps), (NAL_PPS, pps)) if units]
    parts = [_record_head(facts, len(arrays))]
    for kind, units in arrays:
        parts.append(bytes((0x80 | kind,)) + len(units).to_bytes(2, "big"))
        parts += [len(nal).to_bytes(2, "big") + nal for nal in units]
    record = b"".join(parts)
    parse_hvcc(record)
    return record


def _record_head(facts: HevcSps, arrays: int) -> bytes:
    """Segmentation, parallelism and average frame rate are left at 0, which says nothing about them."""
    return _HEAD.pack(
        1,
        facts.profile_space << 6 | facts.tier << 5 | facts.profile,
        facts.compat,
        facts.constraints.to_bytes(6, "big"),
        facts.level,
        0xF000,
        0xFC,
        0xFC | facts.chroma_format,
        0xF8 | facts.luma_depth - 8 & 7,
        0xF8 | facts.chroma_depth - 8 & 7,
        0,
        facts.sub_layers << 3 | facts.nested << 2 | 3,
        arrays,
    )


def hevc_track(track_id: int, hvcc: bytes, bandwidth: int = 0) -> Track:
    """The track of a configuration record, which is normalised on the way.

    Size and frame rate come from the first SPS and are 0 when it cannot be understood.

    @raise MediaError: when the record itself is bad (L{parse_hvcc}).
    """
    config = normalise_hvcc(hvcc)
    parsed = parse_hvcc(config)
    width = height = 0
    frame_rate = parsed.frame_rate
    try:
        facts = parse_hevc_sps(parsed.sps[0])
    except MediaError:
        pass
    else:
        width, height, frame_rate = facts.width, facts.height, facts.frame_rate or frame_rate
    return Track(
        track_id=track_id,
        kind=TrackKind.VIDEO,
        codec=HEVC,
        config=config,
        width=width,
        height=height,
        frame_rate=frame_rate,
        bandwidth=bandwidth,
    )


def hevc_name(hvcc: bytes) -> str:
    """The C{codecs} value of a record (ISO/IEC 14496-15 Annex E.3): C{hvc1.1.6.L93.B0}.

    @raise MediaError: the record is too short.
    """
    if len(hvcc) < _HEAD.size:
        raise MediaError(f"hvcC of {len(hvcc)} bytes")
    _, first, compat, constraints, level = _HEAD.unpack_from(hvcc)[:5]
    reversed_compat = int(f"{compat:032b}"[::-1], 2)
    space = ("", "A", "B", "C")[first >> 6]
    name = f"hvc1.{space}{first & 0x1F}.{reversed_compat:X}.{'H' if first & 0x20 else 'L'}{level}"
    return "".join((name, *(f".{byte:X}" for byte in constraints.rstrip(b"\x00"))))


def has_irap(data: bytes) -> bool:
    """Whether the access unit holds a random access picture (IDR, CRA, BLA).

    @raise MediaError: as L{split_nals}.
    """
    return any(IRAP_TYPES >> (data[at] >> 1 & 0x3F) & 1 for at, _ in split_nals(data))


def annexb(data: bytes) -> tuple[bytearray, int, int]:
    """An access unit behind 4-byte lengths as a byte stream, each start code in its length's place.

    @return: the byte stream; the offset past a leading access unit delimiter (0 without one); and the set
        of NAL unit types seen, as bits C{1 << nal_unit_type}.
    @raise MediaError: as L{split_nals}.
    """
    stream = bytearray(data)
    at = begin = types = count = 0
    end = len(data)
    last = end - 5
    while at <= last and count <= MAX_NALS:
        count += 1
        size = _LENGTH(data, at)[0]
        stream[at : at + 4] = START_CODE
        kind = data[at + 4] >> 1 & 0x3F
        if kind == NAL_AUD and not at:
            begin = 4 + size
        types |= 1 << kind
        at += 4 + size
        if not size:
            break
    if at != end or count > MAX_NALS:
        raise MediaError(f"NAL units of {at} bytes in an access unit of {end}")
    return stream, begin, types
