"""The sequence parameter set of H.264 (ISO/IEC 14496-10 sections 7.3.2.1.1, 7.4.2.1.1, Annex E)."""

from __future__ import annotations

import re
from typing import Final

from attrs import frozen

from restreamer.errors import MediaError
from restreamer.media.bits import BitReader

#: Longest side of a picture that any level allows, rounded up (level 6.2, table A-1).
MAX_SIDE: Final = 16_896
#: Frame rates above this are taken for a mistake: the rate is then unknown.
MAX_FRAME_RATE: Final = 1_000_000

_MAX_SPS: Final = 8192
_NAL_SPS: Final = 7
_EXTENDED_SAR: Final = 255
_EMULATION: Final = re.compile(rb"\x00\x00\x03")
#: Profiles whose SPS carries chroma format, bit depths and scaling lists.
_HIGH_PROFILES: Final = frozenset({100, 110, 122, 244, 44, 83, 86, 118, 128, 138, 139, 134, 135})
#: Size of a chroma sample in luma samples, across and down, by chroma_format_idc (table 6-1).
_CHROMA_STEP: Final = ((1, 1), (2, 2), (2, 1), (1, 1))


@frozen(kw_only=True)
class Sps:
    """What a sequence parameter set says about the pictures.

    @ivar profile, compat, level: profile_idc, the constraint flags' byte, level_idc.
    @ivar width, height: pixels after cropping.
    @ivar frame_rate: frames/s times 1000, 0 when the VUI does not tell or tells nonsense.
    @ivar chroma_format: chroma_format_idc, 1 is 4:2:0; @ivar luma_depth, chroma_depth: bits per sample.
    @ivar frames_only: no field coding. @ivar sps_id: seq_parameter_set_id.
    @ivar frame_num_bits: of frame_num in slices. @ivar separate_planes: separate_colour_plane_flag.
    """

    profile: int
    compat: int
    level: int
    width: int
    height: int
    frame_rate: int
    chroma_format: int
    luma_depth: int
    chroma_depth: int
    frames_only: bool
    sps_id: int = 0
    frame_num_bits: int = 4
    separate_planes: bool = False


def unescape(nal: bytes) -> bytes:
    """A NAL unit without its emulation prevention bytes (section 7.3.1)."""
    return _EMULATION.sub(b"\x00\x00", nal)


def parse_sps(nal: bytes) -> Sps:
    """Read a whole SPS NAL unit, header byte included.

    @raise MediaError: when it is truncated or says what no decoder could do.
    """
    if not 4 <= len(nal) <= _MAX_SPS:
        raise MediaError(f"SPS of {len(nal)} bytes")
    if nal[0] & 0x1F != _NAL_SPS:
        raise MediaError(f"NAL unit type {nal[0] & 0x1F} is no SPS")
    bits = BitReader(unescape(nal)[1:])
    profile, compat, level = bits.read(8), bits.read(8), bits.read(8)
    sps_id = _at_most(bits.ue(), 31, "seq_parameter_set_id")
    chroma_format, luma_depth, chroma_depth, separate = 1, 8, 8, False
    if profile in _HIGH_PROFILES:
        chroma_format = _at_most(bits.ue(), 3, "chroma_format_idc")
        separate = chroma_format == 3 and bits.flag()
        luma_depth = 8 + _at_most(bits.ue(), 6, "bit_depth_luma_minus8")
        chroma_depth = 8 + _at_most(bits.ue(), 6, "bit_depth_chroma_minus8")
        bits.skip(1)
        if bits.flag():
            _skip_scaling_lists(bits, 12 if chroma_format == 3 else 8)
    frame_num_bits = 4 + _at_most(bits.ue(), 12, "log2_max_frame_num_minus4")
    _skip_picture_order(bits)
    _at_most(bits.ue(), 16, "max_num_ref_frames")
    bits.skip(1)
    across = bits.ue() + 1
    down = bits.ue() + 1
    frames_only = bits.flag()
    if not frames_only:
        bits.skip(1)
    bits.skip(1)
    width = across * 16
    height = down * (16 if frames_only else 32)
    if width > MAX_SIDE or height > MAX_SIDE:
        raise MediaError(f"picture of {width}x{height}, at most {MAX_SIDE} a side")
    if bits.flag():
        step_x, step_y = (1, 1) if separate else _CHROMA_STEP[chroma_format]
        if not frames_only:
            step_y *= 2
        width -= step_x * (bits.ue() + bits.ue())
        height -= step_y * (bits.ue() + bits.ue())
        if width < 1 or height < 1:
            raise MediaError("cropping leaves no picture")
    return Sps(
        profile=profile,
        compat=compat,
        level=level,
        width=width,
        height=height,
        frame_rate=_frame_rate(bits),
        chroma_format=chroma_format,
        luma_depth=luma_depth,
        chroma_depth=chroma_depth,
        frames_only=frames_only,
        sps_id=sps_id,
        frame_num_bits=frame_num_bits,
        separate_planes=separate,
    )


def _at_most(value: int, limit: int, name: str) -> int:
    if value > limit:
        raise MediaError(f"SPS {name} is {value}, at most {limit}")
    return value


def _skip_scaling_lists(bits: BitReader, count: int) -> None:
    """Section 7.3.2.1.1.1."""
    for index in range(count):
        if not bits.flag():
            continue
        last = following = 8
        for _ in range(16 if index < 6 else 64):
            if following:
                following = (last + bits.se()) % 256
            last = following or last


def _skip_picture_order(bits: BitReader) -> None:
    kind = _at_most(bits.ue(), 2, "pic_order_cnt_type")
    if kind == 0:
        _at_most(bits.ue(), 12, "log2_max_pic_order_cnt_lsb_minus4")
    elif kind == 1:
        bits.skip(1)
        bits.se()
        bits.se()
        for _ in range(_at_most(bits.ue(), 255, "num_ref_frames_in_pic_order_cnt_cycle")):
            bits.se()


def _frame_rate(bits: BitReader) -> int:
    """Frames/s times 1000 from the VUI that follows (section E.1.1), 0 when it does not say."""
    try:
        if not bits.flag():
            return 0
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
        if not bits.flag():
            return 0
        units, scale = bits.read(32), bits.read(32)
    except MediaError:
        return 0
    if not units:
        return 0
    rate = (scale * 1000 + units) // (2 * units)
    return rate if rate <= MAX_FRAME_RATE else 0
