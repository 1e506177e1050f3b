"""Deterministic tracks and frames for tests: the same bytes on every call and every machine.

The pictures cannot be decoded (their slice data is a fixed pattern), but their NAL structure, sizes,
order and times are those of an encoder: closed GOPs, two B pictures between references, AAC of 1024
samples. The pattern never holds a zero byte, so no start code can appear inside.
"""

from __future__ import annotations

import random
from typing import Final

from restreamer.media.frame import Frame
from restreamer.media.timebase import TICKS_PER_SECOND
from restreamer.media.track import AAC, H264, MP3, Track, TrackKind

#: A UTC moment on every usual segment grid (2023-11-14T22:13:20Z).
START: Final = 1_700_000_000 * TICKS_PER_SECOND

#: An x264 High@3.0 configuration: 640x360, 25 frames/s, reordering allowed.
SPS: Final = bytes.fromhex("6764001eacd940a02ff97011000003000100000300320f162d96")
PPS: Final = bytes.fromhex("68ebe3cb22c0")
AVCC: Final = (
    bytes.fromhex("0164001effe1")
    + len(SPS).to_bytes(2, "big")
    + SPS
    + b"\x01"
    + len(PPS).to_bytes(2, "big")
    + PPS
    + bytes.fromhex("fdf8f800")
)
#: AAC-LC, 48 kHz, stereo.
ASC: Final = bytes.fromhex("1190")

_AAC_SAMPLES: Final = 1024
_AAC_RATE: Final = 48_000
_PATTERN_SIZE: Final = 65_521
_RANDOM: Final = random.Random(90_000)
_PATTERN: Final = bytes(1 + _RANDOM.randrange(255) for _ in range(_PATTERN_SIZE))
#: Two periods, so that any offset leaves a whole period to cut from.
_PATTERN_TWICE: Final = _PATTERN + _PATTERN


def h264_track(track_id: int = 1, bandwidth: int = 0) -> Track:
    """A video track of 640x360 at 25 frames/s."""
    return Track(
        track_id=track_id,
        kind=TrackKind.VIDEO,
        codec=H264,
        config=AVCC,
        width=640,
        height=360,
        frame_rate=25_000,
        bandwidth=bandwidth,
    )


def aac_track(track_id: int = 2, bandwidth: int = 0) -> Track:
    """A stereo AAC-LC track at 48 kHz."""
    return Track(
        track_id=track_id,
        kind=TrackKind.AUDIO,
        codec=AAC,
        config=ASC,
        timescale=_AAC_RATE,
        sample_rate=_AAC_RATE,
        channels=2,
        bandwidth=bandwidth,
    )


def mp3_track(track_id: int = 2) -> Track:
    """A stereo MP3 track at 48 kHz (MPEG-1 layer III)."""
    return Track(
        track_id=track_id,
        kind=TrackKind.AUDIO,
        codec=MP3,
        timescale=_AAC_RATE,
        sample_rate=_AAC_RATE,
        channels=2,
    )


def pattern(seed: int, size: int) -> bytes:
    """C{size} bytes without a zero, different for each C{seed}."""
    offset = seed * 7919 % _PATTERN_SIZE
    if size <= _PATTERN_SIZE:
        return _PATTERN_TWICE[offset : offset + size]
    return (_PATTERN[offset:] + _PATTERN * (size // _PATTERN_SIZE + 1))[:size]


def nal(header: int, seed: int, size: int) -> bytes:
    """One NAL unit of C{size} bytes (header included) behind its 4-byte length."""
    return size.to_bytes(4, "big") + bytes((header,)) + pattern(seed, size - 1)


def video_frames(
    seconds: float,
    *,
    fps: int = 25,
    gop: int = 50,
    bframes: bool = True,
    start: int = START,
    track_id: int = 1,
    bitrate: int = 400_000,
) -> list[Frame]:
    """Video access units in decoding order; the first has DTS C{start} and is a keyframe.

    @param seconds: length; @param gop: frames from keyframe to keyframe (closed GOPs).
    @param bframes: reorder by IPBB; PTS then runs one frame behind DTS at keyframes.
    @param bitrate: bits/s to aim at; keyframes take 8 shares, P 2, B 1.
    """
    frames = []
    count = round(seconds * fps)
    shares = 8 + (gop - 1) * (4 / 3 if bframes else 2)
    share = max(16.0, bitrate * gop / fps / 8 / shares)
    for index in range(count):
        within = index % gop
        dts = start + index * TICKS_PER_SECOND // fps
        if within == 0:
            data = nal(0x06, index, 24) + nal(0x65, index, int(share * 8))
            shown = index
        else:
            opened = index - within
            shown = opened + _shown_index(within, min(gop, count - opened)) if bframes else index
            reference = not bframes or shown >= index
            data = nal(0x41 if reference else 0x01, index, int(share * (2 if reference else 1)))
        delay = 1 if bframes else 0
        pts = start + (shown + delay) * TICKS_PER_SECOND // fps
        frames.append(Frame(track_id=track_id, dts=dts, cts=pts - dts, key=within == 0, data=data))
    return frames


def _shown_index(within: int, gop: int) -> int:
    """Place in display order of the picture decoded at C{within} of a GOP I PBB PBB …"""
    group, place = divmod(within - 1, 3)
    first = 1 + group * 3
    last = min(first + 2, gop - 1)
    return last if place == 0 else first + place - 1


def audio_frames(
    seconds: float, *, start: int = START, track_id: int = 2, bitrate: int = 96_000
) -> list[Frame]:
    """AAC frames of 1024 samples at 48 kHz (1920 ticks), the first at C{start}."""
    size = bitrate * _AAC_SAMPLES // _AAC_RATE // 8
    count = int(seconds * _AAC_RATE / _AAC_SAMPLES)
    return [
        Frame(
            track_id=track_id,
            dts=start + index * _AAC_SAMPLES * TICKS_PER_SECOND // _AAC_RATE,
            cts=0,
            key=True,
            data=b"\x21" + pattern(index + 17, size - 1 + index % 7),
        )
        for index in range(count)
    ]


def make_frames(
    seconds: float,
    fps: int = 25,
    gop: int = 50,
    bframes: bool = True,
    start: int = START,
    audio: bool = True,
    video_bitrate: int = 400_000,
) -> list[Frame]:
    """Frames of L{h264_track} (id 1) and, with C{audio}, L{aac_track} (id 2), interleaved in DTS order.

    At equal times video comes first, so the first frame is always a video keyframe at C{start}.
    """
    frames = video_frames(seconds, fps=fps, gop=gop, bframes=bframes, start=start, bitrate=video_bitrate)
    if audio:
        frames += audio_frames(seconds, start=start)
    frames.sort(key=lambda frame: (frame.dts, frame.track_id))
    return frames
