"""A real encoder's stream through the muxers and a real decoder (skipped where there is none)."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from restreamer.media.aac import SAMPLE_RATES
from restreamer.media.frame import Frame
from restreamer.media.h264 import avcc_from_annexb_sps_pps, h264_track, split_annexb
from restreamer.media.track import Tracks
from restreamer.mpegts.live_muxer import MpegTsFeedMuxer
from restreamer.mpegts.segment_muxer import mux_segment
from restreamer.testing.media import START, aac_track
from restreamer.testing.ts_reader import read_ts

ENCODE = (
    "ffmpeg -v error -y -f lavfi -i testsrc2=s=320x180:r=25 -f lavfi -i sine=r=48000 -t 4 -ac 2 "
    "-map 0:v -c:v libx264 -pix_fmt yuv420p -bf 0 -g 50 -x264-params aud=1 -f h264 {0}/v.h264 "
    "-map 1:a -t 4 -c:a aac -f adts {0}/a.aac"
)
MASK = (1 << 33) - 1


def encoded(folder: Path) -> tuple[Tracks, list[Frame]]:
    """Four seconds of picture and sound, made and cut into frames."""
    subprocess.run(ENCODE.format(folder).split(), check=True, timeout=60, stdin=subprocess.DEVNULL)
    video = (folder / "v.h264").read_bytes()
    tracks = (h264_track(1, avcc_from_annexb_sps_pps(video)), aac_track())
    frames = []
    units: list[list[bytes]] = []
    for unit in split_annexb(video):
        if unit[0] & 31 == 9:
            units.append([])
        elif unit[0] & 31 not in (7, 8):
            units[-1].append(unit)
    for number, parts in enumerate(units):
        data = b"".join(len(part).to_bytes(4, "big") + part for part in parts)
        key = any(part[0] & 31 == 5 for part in parts)
        frames.append(Frame(track_id=1, dts=START + number * 3600, cts=0, key=key, data=data))
    sound = (folder / "a.aac").read_bytes()
    assert SAMPLE_RATES[sound[2] >> 2 & 15] == 48000
    at = number = 0
    while at < len(sound):
        size = (sound[at + 3] & 3) << 11 | sound[at + 4] << 3 | sound[at + 5] >> 5
        time = START + number * 1920
        frames.append(Frame(track_id=2, dts=time, cts=0, key=True, data=sound[at + 7 : at + size]))
        at += size
        number += 1
    frames.sort(key=lambda frame: (frame.dts, frame.track_id))
    return tracks, frames


class DecoderTests(SynchronousTestCase):
    """ffmpeg reads what we write without a word, with every time as it was."""

    if shutil.which("ffmpeg") is None or shutil.which("ffprobe") is None:
        skip = "needs ffmpeg and ffprobe"

    def check(self, data: bytes, frames: list[Frame]) -> None:
        """Decode C{data} and compare its packets with C{frames}."""
        path = Path(self.mktemp())
        path.write_bytes(data)
        read_ts(data)
        decoded = subprocess.run(
            ["ffmpeg", "-v", "error", "-i", str(path), "-f", "null", "-"],
            capture_output=True,
            timeout=60,
            stdin=subprocess.DEVNULL,
        )
        self.assertEqual((decoded.returncode, decoded.stderr), (0, b""))
        probed = subprocess.run(
            ["ffprobe", "-v", "error", "-show_packets", "-show_streams", "-of", "json", str(path)],
            capture_output=True,
            timeout=60,
            stdin=subprocess.DEVNULL,
        )
        self.assertEqual(probed.stderr, b"")
        report = json.loads(probed.stdout)
        self.assertEqual([s["codec_name"] for s in report["streams"]], ["h264", "aac"])
        for index, track_id in ((0, 1), (1, 2)):
            seen = [(p["dts"], p["pts"]) for p in report["packets"] if p["stream_index"] == index]
            self.assertEqual(seen, [(f.dts & MASK, f.pts & MASK) for f in frames if f.track_id == track_id])

    def test_segments_and_live(self) -> None:
        folder = Path(self.mktemp())
        folder.mkdir()
        tracks, frames = encoded(folder)
        self.assertEqual(len([frame for frame in frames if frame.track_id == 1]), 100)
        half = START + 180_000
        first = [frame for frame in frames if frame.dts < half]
        second = [frame for frame in frames if frame.dts >= half]
        self.assertTrue(second[0].key and second[0].track_id == 1)
        self.check(mux_segment(tracks, first, title="t") + mux_segment(tracks, second, title="t"), frames)
        muxer = MpegTsFeedMuxer("t")
        muxer.configure(tracks, START, False)
        self.check(b"".join(map(muxer.mux, frames)), frames)
