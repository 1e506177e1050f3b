"""H.264: the decoder configuration record, parameter sets, and the two forms of NAL unit streams.

Inside the program a frame is NAL units behind 4-byte lengths (ISO/IEC 14496-15 section 5.3.4.2); the
functions here turn other length sizes into that, check it, and turn it into Annex B byte streams.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from typing import Final

from attrs import frozen

from restreamer.errors import MediaError
from restreamer.media.h264_sps import parse_sps, unescape
from restreamer.media.track import H264, Track, TrackKind

#: nal_unit_type values (ISO/IEC 14496-10 table 7-1).
NAL_SLICE: Final = 1
NAL_IDR: Final = 5
NAL_SEI: Final = 6
NAL_SPS: Final = 7
NAL_PPS: Final = 8
NAL_AUD: Final = 9

#: A record holds two or three short sets; it is repeated before every keyframe of every TS viewer.
MAX_RECORD: Final = 16_384
#: The record's own field allows 255; no encoder comes near.
MAX_PPS: Final = 64
#: NAL units in one access unit (an 8K picture of one slice per 1400 bytes stays below).
MAX_NALS: Final = 8192

START_CODE: Final = b"\x00\x00\x00\x01"

_RECORD_HEAD: Final = 6
_LENGTH: Final = struct.Struct(">I").unpack_from
_PROFILES_WITH_CHROMA: Final = frozenset({100, 110, 122, 144, 244})


@frozen(kw_only=True)
class AvcConfig:
    """An AVCDecoderConfigurationRecord (ISO/IEC 14496-15 section 5.3.3.1).

    @ivar profile, compat, level: AVCProfileIndication, profile_compatibility, AVCLevelIndication.
    @ivar length_size: bytes of each NAL length: 1, 2 or 4.
    @ivar sps, pps: whole NAL units, at least one each.
    """

    profile: int
    compat: int
    level: int
    length_size: int
    sps: tuple[bytes, ...]
    pps: tuple[bytes, ...]


def parse_avcc(record: bytes) -> AvcConfig:
    """Read a configuration record.

    @raise MediaError: when it is not version 1, has no SPS or no PPS, a reserved length size, a set of the
        wrong NAL type, or is shorter than it says or longer than L{MAX_RECORD}.
    """
    if not _RECORD_HEAD <= len(record) <= MAX_RECORD:
        raise MediaError(f"avcC of {len(record)} bytes, expected {_RECORD_HEAD} to {MAX_RECORD}")
    if record[0] != 1:
        raise MediaError(f"avcC version {record[0]}, expected 1")
    length_size = (record[4] & 3) + 1
    if length_size == 3:
        raise MediaError("avcC with the reserved NAL length size 3")
    sps, at = _sets(record, _RECORD_HEAD, record[5] & 0x1F, NAL_SPS)
    if at >= len(record):
        raise MediaError("avcC ends before its PPS count")
    pps, _ = _sets(record, at + 1, record[at], NAL_PPS)
    return AvcConfig(
        profile=record[1],
        compat=record[2],
        level=record[3],
        length_size=length_size,
        sps=sps,
        pps=pps,
    )


def _sets(record: bytes, at: int, count: int, nal_type: int) -> tuple[tuple[bytes, ...], int]:
    """C{count} parameter sets behind 2-byte lengths, and where they end."""
    if not 1 <= count <= MAX_PPS:
        raise MediaError(f"avcC with {count} parameter sets of NAL type {nal_type}, expected 1 to {MAX_PPS}")
    found = []
    for _ in range(count):
        size = int.from_bytes(record[at : at + 2], "big")
        at += 2
        nal = record[at : at + size]
        if not size or len(nal) != size:
            raise MediaError(f"avcC parameter set of {size} bytes with {len(nal)} left")
        if nal[0] & 0x1F != nal_type:
            raise MediaError(f"avcC parameter set of NAL type {nal[0] & 0x1F}, expected {nal_type}")
        found.append(nal)
        at += size
    return tuple(found), at


def normalise_avcc(record: bytes) -> bytes:
    """The checked record with lengthSizeMinusOne set to 3, everything else as it was.

    @raise MediaError: as L{parse_avcc}.
    """
    parse_avcc(record)
    return record[:4] + b"\xff" + record[5:]


def avcc_from_sets(sps: Sequence[bytes], pps: Sequence[bytes]) -> bytes:
    """A configuration record of NAL units that came by themselves (Annex B, SDP), with 4-byte lengths.

    @raise MediaError: when there is none of a kind, or they do not make a record.
    """
    if (
        not sps
        or not pps
        or len(sps) > 31
        or len(pps) > MAX_PPS
        or any(len(n) > 0xFFFF for n in (*sps, *pps))
    ):
        raise MediaError(f"{len(sps)} SPS and {len(pps)} PPS do not make an avcC")
    if len(sps[0]) < 4:
        raise MediaError(f"SPS of {len(sps[0])} bytes")
    plain = unescape(sps[0])[1:4]
    parts = [
        b"\x01",
        plain,
        b"\xff",
        bytes((0xE0 | len(sps),)),
        *_counted(sps),
        bytes((len(pps),)),
        *_counted(pps),
    ]
    if plain[0] in _PROFILES_WITH_CHROMA:
        parts.append(_chroma_part(sps[0]))
    record = b"".join(parts)
    parse_avcc(record)
    return record


def _chroma_part(sps: bytes) -> bytes:
    """The end of a high profile's record; left out, as older writers do, when the SPS cannot be read."""
    try:
        facts = parse_sps(sps)
    except MediaError:
        return b""
    return bytes((0xFC | facts.chroma_format, 0xF8 | facts.luma_depth - 8, 0xF8 | facts.chroma_depth - 8, 0))


def _counted(nals: Sequence[bytes]) -> Iterator[bytes]:
    return (len(nal).to_bytes(2, "big") + nal for nal in nals)


def avcc_from_annexb_sps_pps(data: bytes) -> bytes:
    """A configuration record of the distinct SPS and PPS in an Annex B byte stream.

    @raise MediaError: when there is none of a kind, or they do not make a record.
    """
    nals = dict.fromkeys(split_annexb(data))
    return avcc_from_sets(
        [nal for nal in nals if nal[0] & 0x1F == NAL_SPS], [nal for nal in nals if nal[0] & 0x1F == NAL_PPS]
    )


def split_annexb(data: bytes) -> list[bytes]:
    """The NAL units of a byte stream with start codes (ISO/IEC 14496-10 Annex B), none of them empty."""
    found = []
    at = data.find(b"\x00\x00\x01")
    while at >= 0:
        following = data.find(b"\x00\x00\x01", at + 3)
        nal = data[at + 3 : following if following >= 0 else len(data)].rstrip(b"\x00")
        if nal:
            found.append(nal)
            if len(found) > MAX_NALS:
                raise MediaError(f"more than {MAX_NALS} NAL units in one access unit")
        at = following
    return found


def h264_track(track_id: int, avcc: bytes, bandwidth: int = 0) -> Track:
    """The track of a configuration record, which is normalised on the way.

    Size and frame rate come from the first SPS and are 0 when it cannot be understood: the stream can be
    passed on without them.

    @raise MediaError: when the record itself is bad (L{parse_avcc}).
    """
    config = normalise_avcc(avcc)
    width = height = frame_rate = 0
    try:
        facts = parse_sps(parse_avcc(config).sps[0])
    except MediaError:
        pass
    else:
        width, height, frame_rate = facts.width, facts.height, facts.frame_rate
    return Track(
        track_id=track_id,
        kind=TrackKind.VIDEO,
        codec=H264,
        config=config,
        width=width,
        height=height,
        frame_rate=frame_rate,
        bandwidth=bandwidth,
    )


def relength(data: bytes, length_size: int) -> bytes:
    """NAL units behind C{length_size}-byte lengths (1 to 4) as NAL units behind 4-byte lengths.

    @return: C{data} itself, checked, when C{length_size} is 4.
    @raise MediaError: when the lengths do not fill C{data} exactly, or a NAL unit is empty.
    """
    if length_size == 4:
        split_nals(data)
        return data
    if not 1 <= length_size <= 3:
        raise MediaError(f"NAL length size {length_size}, expected 1 to 4")
    parts = []
    at = 0
    end = len(data)
    while at < end:
        size = int.from_bytes(data[at : at + length_size], "big")
        at += length_size
        if not 1 <= size <= end - at:
            raise MediaError(f"NAL unit of {size} bytes with {max(0, end - at)} left")
        parts.append(size.to_bytes(4, "big"))
        parts.append(data[at : at + size])
        at += size
        if len(parts) > 2 * MAX_NALS:
            raise MediaError(f"more than {MAX_NALS} NAL units in one access unit")
    return b"".join(parts)


def split_nals(data: bytes) -> list[tuple[int, int]]:
    """Offset and size of every NAL unit behind 4-byte lengths (the offset is past the length).

    @raise MediaError: when the lengths do not fill C{data} exactly, a NAL unit is empty, or there are more
        than L{MAX_NALS}. Empty C{data} gives an empty list.
    """
    found = []
    at = 0
    end = len(data)
    while at < end:
        if end - at < 5:
            raise MediaError(f"{end - at} bytes where a NAL unit should be")
        size = _LENGTH(data, at)[0]
        at += 4
        if not 1 <= size <= end - at:
            raise MediaError(f"NAL unit of {size} bytes with {end - at} left")
        found.append((at, size))
        if len(found) > MAX_NALS:
            raise MediaError(f"more than {MAX_NALS} NAL units in one access unit")
        at += size
    return found


def has_idr(data: bytes) -> bool:
    """Whether the access unit holds an IDR slice, so that decoding can begin there.

    @raise MediaError: as L{split_nals}.
    """
    return any(data[offset] & 0x1F == NAL_IDR for offset, _ in split_nals(data))


def annexb(data: bytes) -> tuple[bytearray, int, int]:
    """An access unit behind 4-byte lengths as an Annex B byte stream, each start code in its length's place.

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
        kind = data[at + 4] & 0x1F
        if kind == NAL_AUD and not at:
            begin = 4 + size
        types |= 1 << kind
        at += 4 + size
        if not size:
            break
    if at != end or count > MAX_NALS:
        raise MediaError(f"NAL units of {at} bytes in an access unit of {end}")
    return stream, begin, types
