"""VP9: what a keyframe's header says, and the configuration record.

Sections are those of the VP9 bitstream specification; the record is that of the VP Codec ISO Media File
Format Binding, here without the four bytes of version and flags before it.
"""

from __future__ import annotations

from typing import Final

from attrs import frozen

from restreamer.errors import MediaError
from restreamer.media.bits import BitReader
from restreamer.media.track import VP9, Track, TrackKind

RECORD_SIZE: Final = 8

_HEADER: Final = 16
_SYNC: Final = 0x498342
_RGB: Final = 7
#: color_space (section 7.2.2) to colour primaries, transfer and matrix of ISO/IEC 23091-2.
_COLOURS: Final = {
    0: (2, 2, 2),
    1: (6, 6, 6),
    2: (1, 1, 1),
    3: (6, 6, 6),
    4: (7, 7, 7),
    5: (9, 2, 9),
    6: (2, 2, 2),
    7: (1, 13, 0),
}
#: Ten times the level, largest picture in luma samples, and luma samples per second (annex A).
_LEVELS: Final = (
    (10, 36_864, 829_440),
    (11, 73_728, 2_764_800),
    (20, 122_880, 4_608_000),
    (21, 245_760, 9_216_000),
    (30, 552_960, 20_736_000),
    (31, 983_040, 36_864_000),
    (40, 2_228_224, 83_558_400),
    (41, 2_228_224, 160_432_128),
    (50, 8_912_896, 311_951_360),
    (51, 8_912_896, 588_251_136),
    (52, 8_912_896, 1_176_502_272),
    (60, 35_651_584, 1_176_502_272),
    (61, 35_651_584, 2_353_004_544),
)
_HIGHEST_LEVEL: Final = 62
#: Frames/s times 1000 that a level is chosen for when nobody says.
_USUAL_RATE: Final = 30_000


@frozen(kw_only=True)
class Vp9Header:
    """What the uncompressed header of a keyframe says (section 6.2).

    @ivar profile, depth: 0 to 3, bits per sample. @ivar subsampling: (x, y), 1 where halved.
    @ivar colour_space: color_space. @ivar full_range: colour range. @ivar width, height: pixels.
    """

    profile: int
    depth: int
    subsampling: tuple[int, int]
    colour_space: int
    full_range: bool
    width: int
    height: int


def is_key(frame: bytes) -> bool:
    """Whether C{frame}, or the first frame of a superframe, is a keyframe."""
    if not frame or frame[0] >> 6 != 2:
        return False
    # The bits after the marker and profile, which has one more when it is 3: show_existing_frame, frame_type.
    return not frame[0] & (0x06 if frame[0] & 0x30 == 0x30 else 0x0C)


def parse_keyframe(frame: bytes) -> Vp9Header:
    """Read the header of a keyframe.

    @raise MediaError: it is none, or cut off.
    """
    if not is_key(frame):
        raise MediaError("no VP9 keyframe")
    bits = BitReader(frame[:_HEADER])
    bits.skip(2)
    profile = bits.read(1) | bits.read(1) << 1
    bits.skip(4 + (profile == 3))
    if bits.read(24) != _SYNC:
        raise MediaError("VP9 keyframe without its sync code")
    depth = 8
    if profile >= 2:
        depth = 12 if bits.flag() else 10
    space = bits.read(3)
    subsampling = (1, 1)
    if space != _RGB:
        full_range = bits.flag()
        if profile & 1:
            subsampling = (bits.read(1), bits.read(1))
            bits.skip(1)
    else:
        full_range = True
        if profile & 1:
            subsampling = (0, 0)
            bits.skip(1)
    return Vp9Header(
        profile=profile,
        depth=depth,
        subsampling=subsampling,
        colour_space=space,
        full_range=full_range,
        width=bits.read(16) + 1,
        height=bits.read(16) + 1,
    )


def level_of(width: int, height: int, frame_rate: int = 0) -> int:
    """Ten times the lowest level for pictures of that size.

    @param frame_rate: frames/s times 1000, 0 for the usual 30.
    """
    size = width * height
    per_second = size * (frame_rate or _USUAL_RATE) // 1000
    for level, picture, rate in _LEVELS:
        if size <= picture and per_second <= rate:
            return level
    return _HIGHEST_LEVEL


def vpcc_from_keyframe(frame: bytes, frame_rate: int = 0) -> bytes:
    """The configuration record of a keyframe, its level by picture size.

    @param frame_rate: frames/s times 1000, 0 when unknown. @raise MediaError: as L{parse_keyframe}.
    """
    facts = parse_keyframe(frame)
    # 4:2:0 with chroma where luma is, as decoders take it; 4:2:2; 4:4:4 (4:4:0 has no number of its own).
    chroma = {(1, 1): 1, (1, 0): 2, (0, 0): 3}.get(facts.subsampling, 3)
    level = level_of(facts.width, facts.height, frame_rate)
    packed = facts.depth << 4 | chroma << 1 | facts.full_range
    return bytes((facts.profile, level, packed, *_COLOURS[facts.colour_space], 0, 0))


def vp9_track(track_id: int, vpcc: bytes, bandwidth: int = 0, width: int = 0, height: int = 0) -> Track:
    """The track of a configuration record, which tells no picture size.

    @param width, height: pixels, 0 when unknown. @raise MediaError: the record is cut off or impossible.
    """
    if len(vpcc) < RECORD_SIZE or vpcc[0] > 3 or vpcc[2] >> 4 not in (8, 10, 12):
        raise MediaError(f"vpcC of {len(vpcc)} bytes cannot be read")
    return Track(
        track_id=track_id,
        kind=TrackKind.VIDEO,
        codec=VP9,
        config=vpcc[: RECORD_SIZE - 2] + b"\x00\x00",
        width=width,
        height=height,
        bandwidth=bandwidth,
    )


def vp9_name(vpcc: bytes) -> str:
    """The C{codecs} value of a record: C{vp09.00.31.08}, longer for other colours and chroma.

    @raise MediaError: the record is cut off.
    """
    if len(vpcc) < RECORD_SIZE:
        raise MediaError(f"vpcC of {len(vpcc)} bytes")
    profile, level, packed, *colours = vpcc[:6]
    name = f"vp09.{profile:02d}.{level:02d}.{packed >> 4:02d}"
    chroma, full_range = packed >> 1 & 7, packed & 1
    if chroma <= 1 and not full_range and colours in ([1, 1, 1], [2, 2, 2]):
        return name
    return f"{name}.{chroma:02d}." + ".".join(f"{number:02d}" for number in (*colours, full_range))
