"""Which access units of H.264 are single fields of a frame (ISO/IEC 14496-10 section 7.3.3; pure)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from attrs import frozen

from restreamer.errors import MediaError
from restreamer.media.bits import BitReader
from restreamer.media.h264_sps import parse_sps, unescape

#: Bytes of a slice in which its header's first fields are, emulation prevention included.
_SLICE_HEAD: Final = 24
_SLICES: Final = (1, 2, 5)
_IDR: Final = 5


@frozen
class Field:
    """One field. @ivar bottom: its parity. @ivar number: frame_num. @ivar idr: of an IDR picture."""

    bottom: bool
    number: int
    idr: bool


@frozen
class FieldSets:
    """What slices need of their parameter sets, by pic_parameter_set_id: bits of frame_num, and whether a
    colour plane is told before it. Sets of progressive video are not in it.
    """

    by_pps: dict[int, tuple[int, bool]]


def field_sets(sps: Sequence[bytes], pps: Sequence[bytes]) -> FieldSets:
    """What C{sps} and C{pps}, NAL units, say; those that cannot be read are left out."""
    known: dict[int, tuple[int, bool]] = {}
    for nal in sps:
        try:
            facts = parse_sps(nal)
        except MediaError:
            continue
        if not facts.frames_only:
            known[facts.sps_id] = (facts.frame_num_bits, facts.separate_planes)
    found: dict[int, tuple[int, bool]] = {}
    for nal in pps if known else ():
        bits = BitReader(unescape(nal[:_SLICE_HEAD])[1:])
        try:
            number, of = bits.ue(), bits.ue()
        except MediaError:
            continue
        if of in known:
            found[number] = known[of]
    return FieldSets(found)


def field_of(sets: FieldSets, nals: Sequence[bytes]) -> Field | None:
    """The field that an access unit is; None for a frame, and for both of its fields."""
    if not sets.by_pps:
        return None
    slices = [nal for nal in nals if nal and nal[0] & 0x1F in _SLICES]
    if not slices:
        return None
    first = _field(sets, slices[0])
    if first is None or len(slices) == 1:
        return first
    last = _field(sets, slices[-1])
    return first if last is None or last.bottom is first.bottom else None


def _field(sets: FieldSets, nal: bytes) -> Field | None:
    """The field a slice belongs to (section 7.3.3); None for one of a frame, or that cannot be read."""
    bits = BitReader(unescape(nal[:_SLICE_HEAD])[1:])
    try:
        bits.ue()
        bits.ue()
        told = sets.by_pps.get(bits.ue())
        if told is None:
            return None
        size, planes = told
        if planes:
            bits.skip(2)
        number = bits.read(size)
        if not bits.flag():
            return None
        return Field(bits.flag(), number, nal[0] & 0x1F == _IDR)
    except MediaError:
        return None
