"""What codecs and clocks of publishers do wrong, through a whole ingest (rows C04 to C10).

Parts of them are tested where they are done: L{test.live.test_timeline}, L{test.live.test_ingest}; what two
nodes make of one encoder (C09) in L{test.cluster.test_splice}.
"""

from __future__ import annotations

from itertools import pairwise

from attrs import define, evolve, field
from twisted.trial.unittest import SynchronousTestCase
from typing_extensions import override

from restreamer.live.cmaf import CmafStreams, init_of
from restreamer.live.ingest import MAX_FRAME_BYTES
from restreamer.live.utc_clock import UtcClock
from restreamer.media.frame import Frame
from restreamer.mpegts.segment_muxer import mux_segment
from restreamer.testing.media import AVCC
from test.live.rig import AV, SECOND, D, Now, Origin, av, still_true

#: The pictures are of another profile, so all that is made of the track differs.
OTHER = (evolve(AV[0], config=AVCC[:3] + b"\x28" + AVCC[4:], width=320, height=180), AV[1])


@define
class SplitNow(Now):
    """UTC as a node has it: of a monotonic clock and a wall clock that somebody sets.

    @ivar mono: seconds; @ivar wall: what the wall clock is ahead of them.
    """

    mono: float = 1000.0
    wall: float = 1_700_000_000.0
    clock: UtcClock = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.clock = UtcClock(lambda: self.mono, lambda: self.mono + self.wall)

    @override
    def __call__(self) -> int:
        return self.clock.ticks()


class Rows(SynchronousTestCase):
    def test_c04_tracks_change_twice_within_a_gop(self) -> None:
        """Two breaks; each segment is packed with the tracks it was made of, also after the changes."""
        origin = Origin(segment_count=20)
        ingest = origin.publish()
        frames = av(20, gop=100)
        change = len(frames) // 4
        origin.play(ingest, frames[:change])
        ingest.configure(OTHER)
        origin.play(ingest, frames[change : change + 20])
        ingest.configure(AV)
        origin.play(ingest, frames[change + 20 :])
        ingest.end("done")
        made = [entry.segment for entry in origin.closed]
        self.assertEqual(sum(segment.discontinuity for segment in made), 2)
        self.assertEqual([segment.tracks[0].width for segment in made].count(320), 1)
        cmaf = CmafStreams().of(origin.stream)
        names = set()
        for entry in origin.closed:
            track = entry.segment.tracks[0]
            name, init = init_of(track)
            names.add(name)
            self.assertIn(track.config, init)
            self.assertEqual(cmaf.init("v1", name), init)
            self.assertTrue(cmaf.segment(entry, "v1"))
            self.assertTrue(mux_segment(entry.segment.tracks, entry.segment.frames()))
        self.assertEqual(len(names), 2)

    def test_c05_times_of_pictures(self) -> None:
        """DTS behind PTS, composition offsets below 0, DTS that stand still for 100 frames."""
        origin = Origin()
        ingest = origin.publish()
        frames = av(30, gop=25)
        pictures = [at for at, frame in enumerate(frames) if frame.track_id == 1]
        for place, at in enumerate(pictures):
            frame = frames[at]
            stood = frames[pictures[200]].dts if 200 <= place < 300 else frame.dts
            frames[at] = Frame(1, stood, (place % 5 - 3) * 3600, frame.key, frame.data)
        origin.play(ingest, frames)
        ingest.end("done")
        still_true(origin)
        shown = [f for entry in origin.closed for f in entry.segment.frames() if f.track_id == 1]
        self.assertEqual(len(shown), len(pictures))
        self.assertTrue(all(frame.pts >= frame.dts for frame in shown))

    def test_c06_segments_close_in_time(self) -> None:
        """Sound 10 s ahead of the pictures, or a track that stops: no segment waits for it."""
        for name, moved in (
            ("ahead", lambda f: f.dts + (f.track_id == 2) * 10 * SECOND),
            ("no sound", lambda f: None if f.track_id == 2 and f.dts > 12 * SECOND else f.dts),
            ("no pictures", lambda f: None if f.track_id == 1 and f.dts > 12 * SECOND else f.dts),
        ):
            with self.subTest(name):
                origin = Origin()
                ingest = origin.publish()
                begin, closings = origin.now.ticks, [origin.now.ticks]
                for frame in av(60, gop=25):
                    origin.now.ticks = begin + frame.dts
                    time = moved(frame)
                    if time is not None:
                        ingest.push([Frame(frame.track_id, time, frame.cts, frame.key, frame.data)])
                    if len(origin.closed) >= len(closings):
                        closings.append(origin.now.ticks)
                still_true(origin)
                self.assertGreater(len(closings), 8)
                self.assertLessEqual(max(b - a for a, b in pairwise(closings)), D + 3 * SECOND + SECOND // 10)

    def test_c07_sizes_and_counts(self) -> None:
        """Nothing, far too much, 10,000 of one moment: what comes after plays."""
        origin = Origin()
        ingest = origin.publish()
        huge = bytes(32 * 1024 * 1024)
        self.assertGreater(len(huge), MAX_FRAME_BYTES)
        ingest.push([Frame(1, 0, 0, True, b""), Frame(1, 0, 0, True, huge), Frame(2, 0, 0, True, b"")])
        self.assertEqual((ingest.counters.dropped, origin.stream.running), (3, False))
        origin.play(ingest, av(6))
        ingest.push([Frame(1, 6 * SECOND, 0, False, b"x") for _ in range(10_000)])
        origin.play(ingest, av(20, start=6 * SECOND))
        ingest.end("done")
        still_true(origin)
        self.assertGreaterEqual(len(origin.closed), 5)
        self.assertEqual(origin.faults, [])

    def test_c08_the_wall_clock_is_set(self) -> None:
        """By an hour, by ten years, back and forth: segments are cut as if nothing had been."""
        for steps in ((-3600.0,), (3600.0,), (315_360_000.0,), (3600.0, -7200.0, 1.0), (1.0, -1.0)):
            with self.subTest(steps):
                now = SplitNow()
                origin = Origin(segment_count=100, now=now)
                ingest = origin.publish()
                at = {(place + 1) * 250: step for place, step in enumerate(steps)}
                for index in range(25 * 120):
                    now.wall += at.get(index, 0.0)
                    now.mono += 0.04
                    ingest.push([Frame(1, index * 3600, 0, index % 25 == 0, b"x" * 50)])
                ingest.end("done")
                still_true(origin)
                self.assertFalse(any(entry.segment.discontinuity for entry in origin.closed))
                self.assertEqual({b - a for a, b in pairwise(origin.numbers)}, {1})

    def test_c09_a_publishers_clock_drifts(self) -> None:
        """100 ppm for two hours, either way: no break, no number left out, twice or back."""
        for rate in (0.9999, 1.0001):
            with self.subTest(rate):
                origin = Origin(segment_count=4)
                ingest = origin.publish()
                begin = origin.now.ticks
                for second in range(2 * 3600):
                    origin.now.ticks = begin + second * SECOND
                    ingest.push([Frame(1, round(second * SECOND * rate), 0, True, b"x")])
                ingest.end("done")
                still_true(origin)
                self.assertFalse(any(entry.segment.discontinuity for entry in origin.closed))
                self.assertEqual({b - a for a, b in pairwise(origin.numbers)}, {1})

    def test_c10_times_of_any_size(self) -> None:
        """What is muxed depends on a time's 33 bits alone, to the last one, whatever its size."""
        frames = av(3)
        for base in (1 << 33, 1 << 53, (1 << 53) + (1 << 33), 1 << 62):
            moved = [Frame(f.track_id, f.dts + base, f.cts, f.key, f.data) for f in frames]
            self.assertEqual(mux_segment(AV, moved), mux_segment(AV, frames), base)
