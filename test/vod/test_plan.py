"""Files cut into segments: a pure function of the file, whatever is asked first."""

from __future__ import annotations

import random
from array import array
from itertools import pairwise

from attrs import evolve
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from restreamer.errors import MediaError
from restreamer.m4f.segment import Segment
from restreamer.media.frame import Frame
from restreamer.media.timebase import TICKS_PER_SECOND
from restreamer.mp4.reader import Mp4Reader
from restreamer.vod import plan as plan_module
from restreamer.vod.plan import FILE_BASE, FORCED_TICKS, FilePlan, build_segment, plan_file
from test.mp4.build import Trak, audio, box, mp4, nal_sample, video

_SETTINGS = settings(deadline=None, max_examples=60, derandomize=True)
D = TICKS_PER_SECOND


def reading(data: bytes) -> Mp4Reader:
    return Mp4Reader(lambda at, size: data[at : at + size], len(data))


def planned(data: bytes, ticks: int = D) -> FilePlan:
    return plan_file(reading(data), len(data), ticks)


def segment(data: bytes, plan: FilePlan, number: int) -> Segment:
    return build_segment(plan, number, lambda at, size: data[at : at + size])


def moved(frames: list[Frame], ticks: int) -> list[Frame]:
    return [Frame(f.track_id, f.dts + ticks, f.cts, f.key, f.data) for f in frames]


@st.composite
def films(draw: st.DrawFn) -> bytes:
    """Files of a video and perhaps an audio track, with keyframes, B-frames and holes anywhere."""
    count = draw(st.integers(1, 120))
    keys = sorted({1, *draw(st.lists(st.integers(1, count), max_size=20))})
    samples = [nal_sample(n, 20 + n % 13, key=n + 1 in keys) for n in range(count)]
    first = draw(st.integers(1, count))
    stts = [(first, draw(st.integers(100, 3000))), (count - first, draw(st.integers(100, 9000)))]
    changes = {"samples": samples, "stts": stts, "stss": keys}
    if draw(st.booleans()):
        changes["ctts"] = [(1, draw(st.integers(0, 2000))) for _ in range(count)]
    traks = [video(count, **changes)]
    if draw(st.booleans()):
        traks.append(audio(draw(st.integers(1, 200))))
    return mp4(*traks, moov_first=draw(st.booleans()))


class PlanTests(SynchronousTestCase):
    @_SETTINGS
    @given(films(), st.sampled_from([D // 4, D, 5 * D]), st.randoms(use_true_random=False))
    def test_the_segments_are_the_file(self, data: bytes, ticks: int, chance: random.Random) -> None:
        """In any order of asking: the same bytes, all frames once, one segment after the other."""
        plan = planned(data, ticks)
        order = list(range(len(plan.index)))
        chance.shuffle(order)
        made = {number: segment(data, plan, number) for number in order}
        again = planned(data, ticks)
        self.assertEqual(again.index, plan.index)
        frames: list[Frame] = []
        at = plan.index.start
        for number in range(len(plan.index)):
            one = made[number]
            self.assertEqual(segment(data, again, number).encoded, one.encoded)
            self.assertEqual(Segment.parse(one.encoded), one)
            self.assertEqual(
                (one.number, one.start, one.duration), (number, at, plan.index.durations[number])
            )
            self.assertEqual(sum(len(frame.data) for frame in one.frames()), plan.index.sizes[number])
            self.assertEqual(one.frames()[0].dts, at)
            at = one.end
            frames += one.frames()
        self.assertEqual(frames, moved(list(reading(data).frames()), FILE_BASE))
        self.assertGreaterEqual(at, frames[-1].dts)

    @_SETTINGS
    @given(films(), st.sampled_from([D // 4, D]))
    def test_cut_at_the_first_keyframe_of_a_piece(self, data: bytes, ticks: int) -> None:
        plan = planned(data, ticks)
        keys = [f.dts for f in reading(data).frames() if f.key and f.track_id == 1]
        starts = [start - FILE_BASE for start in plan.index.starts()[:-1]]
        for before, start in pairwise(starts):
            if start - before < FORCED_TICKS:
                line = (before // ticks + 1) * ticks
                self.assertEqual(start, next(key for key in keys if key >= line))

    def test_the_cuts(self) -> None:
        """25 frames/s, a keyframe every 5: cuts at 0, 1, 2 s."""
        data = mp4(video(60), audio(110))
        plan = planned(data)
        self.assertEqual(plan.index.durations[:2], array("I", [D, D]))
        self.assertEqual(plan.index.start, FILE_BASE)
        self.assertEqual(plan.independent, b"\1\1\1")

    def test_audio_alone(self) -> None:
        data = mp4(audio(300))
        plan = planned(data, 2 * D)
        self.assertEqual(len(plan.index), 4)
        for start, line in zip(plan.index.starts()[1:-1], (2, 4, 6), strict=True):
            self.assertTrue(0 <= start - FILE_BASE - line * D < 1920, start)

    def test_by_force(self) -> None:
        """One keyframe in 100 s: cut at 60 s, and the second segment says that nobody can begin there."""
        data = mp4(video(100, stts=[(100, 12800)], stss=[1]))
        plan = planned(data)
        self.assertEqual([ticks // D for ticks in plan.index.durations], [60, 40])
        self.assertEqual([segment(data, plan, n).independent for n in (0, 1)], [True, False])

    def test_large_and_many(self) -> None:
        self.patch(plan_module, "FORCED_BYTES", 300)
        self.patch(plan_module, "FORCED_FRAMES", 7)
        data = mp4(video(60, stss=[1]))
        plan = planned(data, 10 * D)
        self.assertTrue(all(size <= 300 for size in plan.index.sizes))
        made = [segment(data, plan, number) for number in range(len(plan.index))]
        self.assertTrue(all(one.frame_count <= 7 for one in made))
        self.assertEqual(sum(one.frame_count for one in made), 60)

    def test_the_version_is_the_files(self) -> None:
        one = planned(mp4(video(60)))
        self.assertEqual(one.index.version, planned(mp4(video(60))).index.version)
        others = {
            planned(mp4(video(60)), 2 * D).index.version,
            planned(mp4(video(60), moov_first=False)).index.version,
            planned(mp4(video(60)) + b"\0\0\0\x08free").index.version,
            planned(mp4(video(61))).index.version,
        }
        self.assertEqual(len(others | {one.index.version}), 5)

    def test_the_bandwidth_is_that_of_the_whole_file(self) -> None:
        plan = planned(mp4(video(50), audio(94)))
        for track in plan.index.tracks:
            self.assertGreater(track.bandwidth, 0)
        self.assertEqual(plan.index.tracks, segment(mp4(video(50), audio(94)), plan, 1).tracks)

    def test_costs(self) -> None:
        short, long = planned(mp4(video(50))), planned(mp4(video(5000)))
        self.assertGreater(long.cost, short.cost)
        self.assertLess(long.cost, 5000 * 21 + 60_000)

    def test_limits(self) -> None:
        for trak, what in (
            (video(2, stts=[(2, 12800 * 4000)], stss=[1, 2]), "for an hour"),
            (video(2, samples=[b"", b""], chunks=[2]), "empty"),
        ):
            with self.assertRaises(MediaError) as caught:
                planned(mp4(trak))
            self.assertIn(what, str(caught.exception))
        self.patch(plan_module, "MAX_ROWS", 50)
        self.assertRaises(MediaError, planned, mp4(video(60)))
        self.patch(plan_module, "MAX_ROWS", 1000)
        self.patch(plan_module, "MAX_FILE_SEGMENTS", 2)
        self.assertRaises(MediaError, planned, mp4(video(60)), D // 5)


class HostileTests(SynchronousTestCase):
    """Damaged files (reliability row A13): one kind of error."""

    def test_rows(self) -> None:
        whole = mp4(video(60), audio(100))
        for data in (
            b"",
            b"\0" * 64,
            whole[: len(whole) // 2],
            whole[:-10],
            mp4(video(60), moov_first=False)[:-10],
            box(b"ftyp", b"isom") + b"\xff\xff\xff\xffmoov",
            box(b"ftyp", b"isom") + b"\0\0\0\1moov" + b"\xff" * 8,
            box(b"ftyp", b"isom") + b"\0\0\0\4moov",
            box(b"ftyp", b"isom") + b"\0\0\0\0moov",
            mp4(),
        ):
            self.assertRaises(MediaError, planned, data)

    @_SETTINGS
    @given(st.integers(0, 10_000), st.integers(0, 255), st.integers(0, 30))
    def test_any_byte_changed(self, place: int, value: int, count: int) -> None:
        """A file that reads is cut into segments that are made, or refused: nothing else happens."""
        data = bytearray(mp4(video(30), audio(50)))
        for step in range(count):
            data[(place + 37 * step) % len(data)] = value
        whole = bytes(data)
        try:
            plan = planned(whole)
            for number in range(len(plan.index)):
                segment(whole, plan, number)
        except MediaError:
            pass

    def test_a_file_that_shrinks(self) -> None:
        data = mp4(video(60))
        plan = planned(data)
        self.assertRaises(MediaError, segment, data[:-10], plan, len(plan.index) - 1)

    def test_a_sample_that_does_not_hold_together(self) -> None:
        samples = [nal_sample(n, key=n == 0) for n in range(10)]
        samples[4] = b"\xff\xff\xff\xff" + samples[4][4:]
        trak: Trak = evolve(video(10), samples=samples)
        data = mp4(trak)
        self.assertRaises(MediaError, segment, data, planned(data), 0)
