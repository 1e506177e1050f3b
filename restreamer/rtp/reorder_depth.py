"""How many pictures come before one that is shown earlier: what turns presentation times into decoding times.

H.264: ISO/IEC 14496-10 sections 7.3.2.1.1, E.1.1; HEVC: ISO/IEC 23008-2 section 7.3.2.2.
"""

from __future__ import annotations

from restreamer.errors import MediaError
from restreamer.media.bits import BitReader
from restreamer.media.h264 import parse_avcc
from restreamer.media.h264_sps import unescape
from restreamer.media.hevc import parse_hvcc
from restreamer.media.track import H264, HEVC, Track

#: No level allows more.
MAX_DEPTH = 16

_BASELINE = 66
_HIGH_PROFILES = frozenset({100, 110, 122, 244, 44, 83, 86, 118, 128, 138, 139, 134, 135})


def reorder_depth(track: Track) -> int | None:
    """Pictures by which decoding order may differ from the order of presentation.

    @return: None when the configuration does not tell.
    """
    try:
        if track.codec == H264:
            return _h264(parse_avcc(track.config).sps[0])
        if track.codec == HEVC:
            return _hevc(parse_hvcc(track.config).sps[0])
    except MediaError:
        return None
    return 0


def _h264(sps: bytes) -> int | None:
    bits = BitReader(unescape(sps)[1:])
    profile = bits.read(8)
    bits.skip(16)
    bits.ue()
    if profile == _BASELINE:
        return 0
    if profile in _HIGH_PROFILES:
        chroma = bits.ue()
        if chroma == 3:
            bits.skip(1)
        bits.ue()
        bits.ue()
        bits.skip(1)
        if bits.flag():
            for index in range(12 if chroma == 3 else 8):
                if bits.flag():
                    _skip_scaling_list(bits, 16 if index < 6 else 64)
    bits.ue()
    order = bits.ue()
    if order == 2:
        return 0
    if order == 0:
        bits.ue()
    else:
        bits.skip(1)
        bits.se()
        bits.se()
        for _ in range(min(bits.ue(), 255)):
            bits.se()
    bits.ue()
    bits.skip(1)
    bits.ue()
    bits.ue()
    if not bits.flag():
        bits.skip(1)
    bits.skip(1)
    if bits.flag():
        for _ in range(4):
            bits.ue()
    return _restriction(bits) if bits.flag() else None


def _skip_scaling_list(bits: BitReader, size: int) -> None:
    last = following = 8
    for _ in range(size):
        if following:
            following = (last + bits.se()) % 256
        last = following or last


def _restriction(bits: BitReader) -> int | None:
    """max_num_reorder_frames of the VUI; None without bitstream restrictions."""
    if bits.flag() and bits.read(8) == 255:
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
    if bits.flag():
        bits.skip(65)
    models = False
    for _ in range(2):
        if bits.flag():
            models = True
            _skip_hrd(bits)
    if models:
        bits.skip(1)
    bits.skip(1)
    if not bits.flag():
        return None
    bits.skip(1)
    for _ in range(4):
        bits.ue()
    return min(bits.ue(), MAX_DEPTH)


def _skip_hrd(bits: BitReader) -> None:
    count = min(bits.ue(), 31) + 1
    bits.skip(8)
    for _ in range(count):
        bits.ue()
        bits.ue()
        bits.skip(1)
    bits.skip(20)


def _hevc(sps: bytes) -> int | None:
    bits = BitReader(unescape(sps)[2:])
    bits.skip(4)
    deepest = bits.read(3)
    bits.skip(1 + 96)
    if deepest:
        present = [(bits.flag(), bits.flag()) for _ in range(deepest)]
        bits.skip(2 * (8 - deepest))
        for profile, level in present:
            bits.skip(88 * profile + 8 * level)
    bits.ue()
    if bits.ue() == 3:
        bits.skip(1)
    bits.ue()
    bits.ue()
    if bits.flag():
        for _ in range(4):
            bits.ue()
    for _ in range(3):
        bits.ue()
    depth = 0
    for _ in range(deepest + 1 if bits.flag() else 1):
        bits.ue()
        depth = bits.ue()
        bits.ue()
    return min(depth, MAX_DEPTH)
