"""Tracks and frames of every codec that FLV carries: configurations of real encoders, frames of a pattern."""

from __future__ import annotations

from attrs import evolve

from restreamer.media.ac3 import ac3_track
from restreamer.media.av1 import av1_track
from restreamer.media.frame import Frame
from restreamer.media.g711 import g711_track
from restreamer.media.hevc import hevc_track, hvcc_from_sets
from restreamer.media.opus import dops_for_channels, opus_track
from restreamer.media.track import AC3, ALAW, AV1, EAC3, H264, HEVC, MP3, OPUS, ULAW, VP9, Track
from restreamer.media.vp9 import vp9_track
from restreamer.testing.media import START, aac_track, h264_track, mp3_track, pattern

#: x265, Main profile, 320x180.
HVCC = hvcc_from_sets(
    [bytes.fromhex("40010c01ffff01600000030090000003000003003c959809")],
    [bytes.fromhex("42010101600000030090000003000003003ca00a080b9f796566924caf016808000003000800000300c840")],
    [bytes.fromhex("4401c172b46240")],
)
#: SVT-AV1, 320x180, with its sequence header.
AV1C = bytes.fromhex("81000c000a0b0200000561e7f66017c002")
#: libvpx, 320x180: the record, and the beginning of its first keyframe.
VPCC = bytes.fromhex("000b820202020000")
VP9_KEY = bytes.fromhex("824983420013f00b360638241c184a00")
AC3_FRAME = bytes.fromhex("0b77480d0c402f842bc1c77aaf5e1be7") + bytes(368)
EAC3_FRAME = bytes.fromhex("0b7700bf3287c00021064060e3bd57af") + bytes(368)
MP3_FRAME = b"\xff\xfb\x94\x64" + bytes(380)

VIDEO = {
    H264: h264_track(1),
    HEVC: hevc_track(1, HVCC),
    AV1: av1_track(1, AV1C),
    VP9: vp9_track(1, VPCC, width=320, height=180),
}
AUDIO = {
    "mp4a": aac_track(2),
    MP3: mp3_track(2),
    OPUS: opus_track(2, dops_for_channels(2)),
    AC3: ac3_track(2, AC3_FRAME),
    EAC3: ac3_track(2, EAC3_FRAME),
    ULAW: g711_track(2, ULAW),
    ALAW: g711_track(2, ALAW, channels=2),
}


def with_id(track: Track, track_id: int) -> Track:
    """The same track under another id."""
    return evolve(track, track_id=track_id)


def data_of(track: Track, index: int, key: bool) -> bytes:
    """Body of a frame in the form the program holds it."""
    if track.codec in (H264, HEVC):
        body = pattern(index, 60)
        head = (b"\x65" if key else b"\x41") if track.codec == H264 else (b"\x26\x01" if key else b"\x02\x01")
        return (len(head) + len(body)).to_bytes(4, "big") + head + body
    if track.codec == AV1:
        frame = b"\x32\x40" + pattern(index, 64)
        return AV1C[4:] + frame if key else frame
    if track.codec == VP9:
        return VP9_KEY + pattern(index, 40) if key else b"\x86" + pattern(index, 40)
    whole = {MP3: MP3_FRAME, AC3: AC3_FRAME, EAC3: EAC3_FRAME}.get(track.codec)
    return whole if whole is not None else pattern(index, 80)


def frames_of(track: Track, count: int, start: int = START, step: int = 3600, gop: int = 10) -> list[Frame]:
    """C{count} frames; a reordering codec shows them one frame late."""
    late = step if track.codec in (H264, HEVC) else 0
    audio = track.sample_rate > 0
    return [
        Frame(track.track_id, start + n * step, late, audio or n % gop == 0, data_of(track, n, n % gop == 0))
        for n in range(count)
    ]
