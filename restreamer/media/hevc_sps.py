"""The sequence parameter set of HEVC (ISO/IEC 23008-2 sections 7.3.2.2, 7.3.3, 7.3.4, 7.3.7, Annex E)."""

from __future__ import annotations

from typing import Final

from attrs import evolve, frozen

from restreamer.errors import MediaError
from restreamer.media.bits import BitReader
from restreamer.media.h264_sps import MAX_FRAME_RATE, MAX_SIDE, unescape

_MAX_SPS: Final = 8192
_NAL_SPS: Final = 33
_EXTENDED_SAR: Final = 255
#: Size of a chroma sample in luma samples, across and down, by chroma_format_idc (table 6-1).
_CHROMA_STEP: Final = ((1, 1), (2, 2), (2, 1), (1, 1))


@frozen(kw_only=True)
class HevcSps:
    """What a sequence parameter set says about the pictures.

    @ivar profile_space, tier, profile: general_profile_space, general_tier_flag, general_profile_idc.
    @ivar compat: the 32 general_profile_compatibility_flags; @ivar constraints: the 48 bits behind them.
    @ivar level: general_level_idc, 30 times the level.
    @ivar width, height: pixels inside the conformance window.
    @ivar frame_rate: frames/s times 1000, 0 when the VUI does not tell or tells nonsense.
    @ivar chroma_format: chroma_format_idc; @ivar luma_depth, chroma_depth: bits per sample.
    @ivar sub_layers: temporal layers; @ivar nested: sps_temporal_id_nesting_flag.
    """

    profile_space: int
    tier: int
    profile: int
    compat: int
    constraints: int
    level: int
    sub_layers: int
    nested: bool
    width: int = 0
    height: int = 0
    frame_rate: int = 0
    chroma_format: int = 1
    luma_depth: int = 8
    chroma_depth: int = 8


def parse_hevc_sps(nal: bytes) -> HevcSps:
    """Read a whole SPS NAL unit, its two header bytes included.

    @raise MediaError: when it is truncated or says what no decoder could do.
    """
    bits, general = _general(nal)
    deepest = general.sub_layers - 1
    _skip_sub_layers(bits, deepest)
    _at_most(bits.ue(), 15, "sps_seq_parameter_set_id")
    chroma_format = _at_most(bits.ue(), 3, "chroma_format_idc")
    separate = chroma_format == 3 and bits.flag()
    width, height = bits.ue(), bits.ue()
    if not 1 <= width <= MAX_SIDE or not 1 <= height <= MAX_SIDE:
        raise MediaError(f"HEVC picture of {width}x{height}, at most {MAX_SIDE} a side")
    if bits.flag():
        step_x, step_y = (1, 1) if separate else _CHROMA_STEP[chroma_format]
        width -= step_x * (bits.ue() + bits.ue())
        height -= step_y * (bits.ue() + bits.ue())
        if width < 1 or height < 1:
            raise MediaError("the conformance window leaves no picture")
    luma_depth = 8 + _at_most(bits.ue(), 8, "bit_depth_luma_minus8")
    chroma_depth = 8 + _at_most(bits.ue(), 8, "bit_depth_chroma_minus8")
    return evolve(
        general,
        width=width,
        height=height,
        frame_rate=_frame_rate(bits, deepest),
        chroma_format=chroma_format,
        luma_depth=luma_depth,
        chroma_depth=chroma_depth,
    )


def parse_profile(nal: bytes) -> HevcSps:
    """Read no more of an SPS than its profile, tier and level: no size, 4:2:0 of 8 bits.

    @raise MediaError: when it ends before or is another NAL unit.
    """
    return _general(nal)[1]


def _general(nal: bytes) -> tuple[BitReader, HevcSps]:
    """The beginning of an SPS up to general_level_idc, and a reader that stands behind it."""
    if not 16 <= len(nal) <= _MAX_SPS:
        raise MediaError(f"HEVC SPS of {len(nal)} bytes")
    if nal[0] >> 1 & 0x3F != _NAL_SPS:
        raise MediaError(f"HEVC NAL unit type {nal[0] >> 1 & 0x3F} is no SPS")
    bits = BitReader(unescape(nal)[2:])
    bits.skip(4)
    deepest = _at_most(bits.read(3), 6, "sps_max_sub_layers_minus1")
    return bits, HevcSps(
        nested=bits.flag(),
        profile_space=bits.read(2),
        tier=bits.read(1),
        profile=bits.read(5),
        compat=bits.read(32),
        constraints=bits.read(48),
        level=bits.read(8),
        sub_layers=deepest + 1,
    )


def _at_most(value: int, limit: int, name: str) -> int:
    if value > limit:
        raise MediaError(f"HEVC {name} is {value}, at most {limit}")
    return value


def _skip_sub_layers(bits: BitReader, deepest: int) -> None:
    """The part of profile_tier_level that is about the lower temporal layers (section 7.3.3)."""
    if not deepest:
        return
    present = [(bits.flag(), bits.flag()) for _ in range(deepest)]
    bits.skip(2 * (8 - deepest))
    for profile, level in present:
        bits.skip(88 * profile + 8 * level)


def _frame_rate(bits: BitReader, deepest: int) -> int:
    """Frames/s times 1000 from the VUI at the end of the set, 0 when it does not say or cannot be reached."""
    try:
        _skip_to_vui(bits, deepest)
        if not bits.flag():
            return 0
        units, scale = _vui_timing(bits)
    except MediaError:
        return 0
    if not units:
        return 0
    rate = (scale * 1000 + units // 2) // units
    return rate if rate <= MAX_FRAME_RATE else 0


def _skip_to_vui(bits: BitReader, deepest: int) -> None:
    order_bits = 4 + _at_most(bits.ue(), 12, "log2_max_pic_order_cnt_lsb_minus4")
    for _ in range(deepest + 1 if bits.flag() else 1):
        for _ in range(3):
            bits.ue()
    for _ in range(6):
        bits.ue()
    if bits.flag() and bits.flag():
        _skip_scaling_lists(bits)
    bits.skip(2)
    if bits.flag():
        bits.skip(8)
        bits.ue()
        bits.ue()
        bits.skip(1)
    pictures = 0
    for index in range(_at_most(bits.ue(), 64, "num_short_term_ref_pic_sets")):
        pictures = _skip_reference_set(bits, index, pictures)
    if bits.flag():
        bits.skip(_at_most(bits.ue(), 32, "num_long_term_ref_pics_sps") * (order_bits + 1))
    bits.skip(2)


def _skip_scaling_lists(bits: BitReader) -> None:
    """Section 7.3.4."""
    for size in range(4):
        for _ in range(2 if size == 3 else 6):
            if not bits.flag():
                bits.ue()
                continue
            for _ in range(min(64, 1 << 4 + 2 * size) + (size > 1)):
                bits.se()


def _skip_reference_set(bits: BitReader, index: int, before: int) -> int:
    """One st_ref_pic_set (section 7.3.7).

    @param before: pictures in the set before it. @return: pictures in this one.
    """
    if index and bits.flag():
        bits.skip(1)
        bits.ue()
        count = 0
        for _ in range(before + 1):
            if bits.flag() or bits.flag():
                count += 1
        return count
    negative = _at_most(bits.ue(), 16, "num_negative_pics")
    positive = _at_most(bits.ue(), 16, "num_positive_pics")
    for _ in range(negative + positive):
        bits.ue()
        bits.skip(1)
    return negative + positive


def _vui_timing(bits: BitReader) -> tuple[int, int]:
    """(num_units_in_tick, time_scale) of the VUI (section E.2.1), zeros when it has none."""
    if bits.flag() and bits.read(8) == _EXTENDED_SAR:
        bits.skip(32)
    if bits.flag():
        bits.skip(1)
    if bits.flag():
        bits.skip(4)
        if bits.flag():
            bits.skip(24)
    if bits.flag():
        bits.ue()
        bits.ue()
    bits.skip(3)
    if bits.flag():
        for _ in range(4):
            bits.ue()
    if not bits.flag():
        return 0, 0
    return bits.read(32), bits.read(32)
