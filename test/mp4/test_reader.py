"""Reading MP4 files: every form of every table, the demo medium, offsets and loops."""

from __future__ import annotations

import json
import shutil
import subprocess
from itertools import pairwise
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase
from typing_extensions import override

import restreamer
from restreamer.errors import MediaError
from restreamer.media.frame import Frame
from restreamer.media.track import TrackKind
from restreamer.mp4.reader import Mp4Reader
from restreamer.testing.media import ASC, AVCC, PPS, SPS
from test.mp4.build import audio, audio_entry, avc_entry, box, esds, full, mp4, nal_sample, video

DEMO = Path(restreamer.__file__).parent / "demo" / "demo.mp4"


def opened(data: bytes) -> Mp4Reader:
    return Mp4Reader(lambda offset, size: data[offset : offset + size], len(data))


def frames_of(data: bytes, track_id: int | None = None) -> list[Frame]:
    return [frame for frame in opened(data).frames() if track_id in (None, frame.track_id)]


class FormTests(SynchronousTestCase):
    """The same media out of every form of the tables."""

    @override
    def setUp(self) -> None:
        self.expected = frames_of(mp4(video(), audio()))

    def test_plain(self) -> None:
        reader = opened(mp4(video(), audio()))
        picture, sound = reader.tracks
        self.assertEqual(
            (1, TrackKind.VIDEO, "avc1", AVCC, 640, 360, 25000),
            (
                picture.track_id,
                picture.kind,
                picture.codec,
                picture.config,
                picture.width,
                picture.height,
                picture.frame_rate,
            ),
        )
        self.assertEqual(
            (2, TrackKind.AUDIO, "mp4a", ASC, 48000, 2, "eng"),
            (
                sound.track_id,
                sound.kind,
                sound.codec,
                sound.config,
                sound.sample_rate,
                sound.channels,
                sound.language,
            ),
        )
        self.assertEqual(36000, reader.duration)
        video_frames = [frame for frame in self.expected if frame.track_id == 1]
        self.assertEqual([3600 * n for n in range(10)], [frame.dts for frame in video_frames])
        self.assertEqual([n % 5 == 0 for n in range(10)], [frame.key for frame in video_frames])
        self.assertEqual(
            [nal_sample(n, 20 + n, key=n % 5 == 0) for n in range(10)], [f.data for f in video_frames]
        )
        audio_frames = [frame for frame in self.expected if frame.track_id == 2]
        self.assertEqual([1920 * n for n in range(18)], [frame.dts for frame in audio_frames])
        self.assertTrue(all(frame.key and not frame.cts for frame in audio_frames))
        self.assertEqual(sorted(frame.dts for frame in self.expected), [frame.dts for frame in self.expected])

    def test_same_media(self) -> None:
        moov_last = mp4(video(), audio(), moov_first=False)
        forms = {
            "moov last": moov_last,
            "64-bit sizes": mp4(video(), audio(), large=True),
            "mdat to the end of the file": mp4(video(), audio(), endless_mdat=True),
            "co64": mp4(video(co64=True), audio(co64=True)),
            "8-bit sizes": mp4(video(size_bits=8), audio(size_bits=8)),
            "16-bit sizes": mp4(video(size_bits=16), audio(size_bits=16)),
            "4-bit sizes": mp4(video(), audio(size_bits=4)),
            "chunks of many sizes": mp4(video(chunks=[1, 4, 4, 1]), audio(chunks=[2, 7, 1, 1, 7])),
            "one chunk": mp4(video(chunks=[10]), audio(chunks=[18])),
            "stts in pieces": mp4(video(stts=[(3, 512), (0, 9), (7, 512)]), audio(stts=[(1, 1024)] * 18)),
            "stts too long": mp4(video(stts=[(3, 512), (70, 512)]), audio(stts=[(18, 1024), (5, 7)])),
            "mdhd version 1": mp4(video(mdhd_version=1), audio(mdhd_version=1)),
            "audio first in the file": mp4(audio(), video()),
            "other boxes around": mp4(
                video(more=[full(b"sdtp", 0, bytes(10))]),
                audio(),
                front=box(b"ftyp", b"mp42\0\0\0\0") + box(b"free", bytes(99)) + box(b"uuid", bytes(16)),
                more=[box(b"udta", box(b"meta", b""))],
            ),
            "padding behind moov": moov_last + b"\0\0\0",
        }
        for name, data in forms.items():
            self.assertEqual(self.expected, frames_of(data), name)

    def test_constant_size(self) -> None:
        samples = [b"\x21\x10" + bytes((n,)) for n in range(18)]
        found = frames_of(mp4(audio(samples=samples, size_bits=0)))
        self.assertEqual(samples, [frame.data for frame in found])

    def test_no_stss_means_all_keys(self) -> None:
        self.assertTrue(all(frame.key for frame in frames_of(mp4(video(stss=None)))))

    def test_short_nal_lengths(self) -> None:
        for length_size in (1, 2):
            config = AVCC[:4] + bytes((0xFC | length_size - 1,)) + AVCC[5:]
            samples = [nal_sample(n, 20 + n, length_size, n % 5 == 0) for n in range(10)]
            data = mp4(video(entry=avc_entry(avcc=config), samples=samples), audio())
            self.assertEqual(self.expected, frames_of(data))
            self.assertEqual(AVCC, opened(data).tracks[0].config)

    def test_parameter_sets_in_the_samples(self) -> None:
        first = b"".join(len(nal).to_bytes(4, "big") + nal for nal in (SPS, PPS)) + nal_sample(0, key=True)
        samples = [first, *(nal_sample(n) for n in range(1, 10))]
        empty = AVCC[:5] + b"\xe0\x00"
        track = opened(mp4(video(entry=avc_entry(b"avc3", empty), samples=samples))).tracks[0]
        self.assertIn(SPS, track.config)
        self.assertIn(PPS, track.config)
        self.assertEqual((640, 360), (track.width, track.height))
        bare = mp4(video(entry=avc_entry(b"avc3", empty)))
        self.assertRaises(MediaError, opened, bare)

    def test_mp3(self) -> None:
        for entry in (
            audio_entry(esds(0x6B, b"")),
            audio_entry(esds(0x69, b"")),
            audio_entry(b"", kind=b".mp3", version=1),
        ):
            track = opened(mp4(audio(entry=entry))).tracks[0]
            self.assertEqual(
                (".mp3", b"", 48000, 2), (track.codec, track.config, track.sample_rate, track.channels)
            )

    def test_quicktime_sound_description(self) -> None:
        wave = box(b"wave", box(b"frma", b"mp4a"), esds())
        for version in (1, 2):
            track = opened(mp4(audio(entry=audio_entry(wave, version=version)))).tracks[0]
            self.assertEqual(("mp4a", ASC), (track.codec, track.config))

    def test_codecs_not_carried_are_left_out(self) -> None:
        lossless = audio(entry=audio_entry(box(b"alac", bytes(28)), kind=b"alac"))
        reader = opened(mp4(lossless, video()))
        self.assertEqual(("alac",), reader.skipped)
        self.assertEqual(1, len(reader.tracks))

    def test_empty_samples_are_left_out(self) -> None:
        samples = [b"" if n == 4 else b"\x21\x10" for n in range(18)]
        self.assertEqual(17, len(frames_of(mp4(audio(samples=samples)))))

    def test_slices(self) -> None:
        reader = opened(mp4(video(), audio()))
        for span, max_bytes, max_frames in (
            (1, 1 << 20, 100),
            (90000, 1, 100),
            (90000, 1 << 20, 1),
            (7000, 90, 3),
        ):
            slices = list(reader.batches(0, span, max_bytes, max_frames))
            self.assertEqual(self.expected, [frame for one in slices for frame in one])
            self.assertTrue(all(0 < len(one) <= max_frames for one in slices))
            self.assertTrue(all(one[-1].dts - one[0].dts < span for one in slices))


class TimeTests(SynchronousTestCase):
    """Offsets: composition, edit lists, loops."""

    def test_composition(self) -> None:
        shifts = [(1, 1024), (1, 2048), (1, 512), (2, 0), (5, 1024)]
        found = frames_of(mp4(video(ctts=shifts)))
        self.assertEqual([7200, 14400, 3600, 0, 0] + [7200] * 5, [frame.cts for frame in found])

    def test_composition_table_too_short(self) -> None:
        self.assertEqual([7200] + [0] * 9, [frame.cts for frame in frames_of(mp4(video(ctts=[(1, 1024)])))])

    def test_negative_composition(self) -> None:
        """Version 1: PTS stay where they are against the sound, DTS move forward."""
        shifts = [(1, 0), (1, 512), (1, -512), (7, 0)]
        data = mp4(video(ctts=shifts, ctts_version=1), audio())
        pictures = frames_of(data, 1)
        self.assertEqual([3600, 7200, 0] + [3600] * 7, [frame.cts for frame in pictures])
        self.assertEqual([0, 3600, 7200], [frame.dts for frame in pictures[:3]])
        self.assertEqual(3600, frames_of(data, 2)[0].dts)
        self.assertEqual(3600, pictures[0].pts)

    def test_edit_list_media_time(self) -> None:
        for version in (0, 1):
            data = mp4(video(edits=[(400, 1024)], edit_version=version), audio(edits=[(384, 1024)]))
            self.assertEqual(0, frames_of(data, 1)[0].dts)
            self.assertEqual(7200 - 1920, frames_of(data, 2)[0].dts)

    def test_empty_edits_delay(self) -> None:
        for version in (0, 1):
            edits = [(200, -1), (50, -1), (384, 0)]
            data = mp4(video(), audio(edits=edits, edit_version=version))
            self.assertEqual(22500, frames_of(data, 2)[0].dts)

    def test_duration_is_the_longest_track(self) -> None:
        self.assertEqual(36000, opened(mp4(video(), audio(18))).duration)
        self.assertEqual(21 * 1920, opened(mp4(video(), audio(21))).duration)
        # 44.1 kHz: 18 x 1024 samples are 37616.3 ticks
        slow = audio(18, timescale=44100, stts=[(18, 1024)])
        self.assertEqual(37617, opened(mp4(video(), slow)).duration)

    def test_delayed_track_counts_in_the_duration(self) -> None:
        data = mp4(video(), audio(edits=[(1000, -1), (384, 0)]))
        self.assertEqual(90000 + 18 * 1920, opened(data).duration)

    def test_last_sample_without_duration(self) -> None:
        self.assertEqual(36000, opened(mp4(video(stts=[(9, 512), (1, 0)]))).duration)

    def test_equal_times_rise(self) -> None:
        found = frames_of(mp4(video(stts=[(4, 0), (6, 512)])))
        self.assertEqual([0, 1, 2, 3, 4, 3600, 7200], [frame.dts for frame in found[:7]])

    def test_rounds_do_not_overlap(self) -> None:
        reader = opened(mp4(video(), audio(18, timescale=44100)))
        for track in reader.tracks:
            first = [f for one in reader.batches() for f in one if f.track_id == track.track_id]
            second = [
                f for one in reader.batches(reader.duration) for f in one if f.track_id == track.track_id
            ]
            self.assertEqual([frame.data for frame in first], [frame.data for frame in second])
            steps = [b.dts - a.dts for a, b in pairwise(first)]
            self.assertGreaterEqual(second[0].dts - first[-1].dts, min(steps))


class DemoTests(SynchronousTestCase):
    """The committed file."""

    def test_facts(self) -> None:
        data = DEMO.read_bytes()
        self.assertLessEqual(len(data), 700_000)
        reader = opened(data)
        self.assertEqual(16 * 90000, reader.duration)
        self.assertEqual((), reader.skipped)
        picture, sound = reader.tracks
        self.assertEqual((640, 360, 25000), (picture.width, picture.height, picture.frame_rate))
        self.assertEqual((48000, 2), (sound.sample_rate, sound.channels))
        pictures = frames_of(data, 1)
        self.assertEqual(400, len(pictures))
        self.assertEqual(750, len(frames_of(data, 2)))
        self.assertEqual([n % 50 == 0 for n in range(400)], [frame.key for frame in pictures])
        self.assertEqual([3600 * n for n in range(400)], sorted(frame.pts - 7200 for frame in pictures))

    def test_against_ffprobe(self) -> None:
        ffprobe = shutil.which("ffprobe")
        if ffprobe is None:
            self.skipTest("ffprobe is not installed")
        command = [ffprobe, "-v", "error", "-show_packets", "-of", "json", str(DEMO)]
        packets = json.loads(subprocess.run(command, capture_output=True, check=True, timeout=60).stdout)[
            "packets"
        ]
        for index, kind in enumerate(("video", "audio")):
            theirs = [packet for packet in packets if packet["codec_type"] == kind]
            ours = frames_of(DEMO.read_bytes(), index + 1)
            self.assertEqual([int(packet["size"]) for packet in theirs], [len(frame.data) for frame in ours])
            for key, value in (("dts_time", lambda f: f.dts), ("pts_time", lambda f: f.pts)):
                for packet, frame in zip(theirs, ours, strict=True):
                    self.assertEqual(round(float(packet[key]) * 1000) + 80, round(value(frame) / 90))
            self.assertEqual(["K" in packet["flags"] for packet in theirs], [frame.key for frame in ours])
