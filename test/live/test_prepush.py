"""Viewers that begin in the past: how far back, out of what, and never across a break."""

from __future__ import annotations

import itertools
from typing import Any

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from typing_extensions import override

from restreamer.live.feed import FeedLimits
from restreamer.live.feed_log import FeedLog
from restreamer.live.history import history
from restreamer.live.playout import MAX_PREPUSH, Playout
from restreamer.live.stream import Stream, StreamWriter
from restreamer.live.window import LiveWindow
from restreamer.m4f.records import RunInfo
from restreamer.m4f.segment import SegmentOpening
from restreamer.media.frame import Frame
from restreamer.media.track import Tracks
from test.live.rig import AUDIO, AV, NODE, SECOND, D
from test.live.viewing import KEY, KernelTransport, PacketMuxer, packet


class Case(SynchronousTestCase):
    """Segments of 5 s, keyframes each second at the full second, ten frames a second."""

    @override
    def setUp(self) -> None:
        self.stream = Stream("x", LiveWindow(4))
        self.clock = Clock()
        self.playout = Playout(self.stream, self.clock, {"p": PacketMuxer}, FeedLimits())
        self.at = 0
        self.writer: StreamWriter
        self.begin(1)

    def begin(self, run_id: int) -> None:
        self.writer = self.stream.begin_run(RunInfo(run_id, 0, NODE, (NODE,)), D, local=True)

    def open(self, discontinuity: bool = False, tracks: Tracks = AV) -> None:
        self.writer.open(SegmentOpening(self.at // D, self.at, discontinuity, True, 0, tracks))

    def frames(self, seconds: int) -> None:
        for _ in range(seconds * 10):
            self.writer.frames([Frame(1, self.at, 0, self.at % SECOND == 0, b"x")])
            self.at += SECOND // 10

    def segments(self, count: int, **how: Any) -> None:
        for _ in range(count):
            self.open(**how)
            self.frames(5)
            self.writer.close(D)

    def reach(self, seconds: float) -> float:
        """How much older than the newest frame the first one of the history is, in seconds."""
        _, frames = history(self.stream, int(seconds * SECOND))
        self.assertTrue(frames[0].key)
        self.assertEqual([frame.dts for frame in frames], sorted(frame.dts for frame in frames))
        step = {after.dts - before.dts for before, after in itertools.pairwise(frames)}
        self.assertLessEqual(step, {SECOND // 10})
        return (frames[-1].dts - frames[0].dts) / SECOND


class HistoryTests(Case):
    def test_the_newest_keyframe_that_is_old_enough(self) -> None:
        self.segments(3)
        self.open()
        self.frames(2)
        for seconds, expected in ((0, 0.9), (0.5, 0.9), (0.9, 0.9), (1, 1.9), (3, 3.9), (7, 7.9), (12, 12.9)):
            self.assertAlmostEqual(self.reach(seconds), expected, 3, str(seconds))

    def test_bounded_by_the_window(self) -> None:
        self.segments(12)
        self.open()
        self.frames(1)
        # 5 listed (three target durations) and 2 more, and the open one.
        self.assertAlmostEqual(self.reach(1000), 35.9, 3)

    def test_between_segments(self) -> None:
        self.segments(2)
        self.assertAlmostEqual(self.reach(6), 6.9, 3)

    def test_never_over_a_discontinuity(self) -> None:
        self.segments(2)
        self.open(discontinuity=True)
        self.frames(2)
        self.assertAlmostEqual(self.reach(100), 1.9, 3)
        self.frames(3)
        self.writer.close(D)
        self.segments(1)
        self.assertAlmostEqual(self.reach(100), 9.9, 3)

    def test_never_over_another_run_or_other_tracks(self) -> None:
        self.segments(2)
        self.begin(2)
        self.segments(1)
        self.assertAlmostEqual(self.reach(100), 4.9, 3)
        self.segments(1, tracks=AV[:1])
        self.assertAlmostEqual(self.reach(100), 4.9, 3)

    def test_never_over_a_hole(self) -> None:
        self.segments(2)
        self.at += D
        self.segments(1)
        self.assertAlmostEqual(self.reach(100), 4.9, 3)

    def test_audio_alone(self) -> None:
        self.open(tracks=AUDIO)
        for _ in range(100):
            self.writer.frames([Frame(1, self.at, 0, True, b"x")])
            self.at += SECOND // 10
        _, frames = history(self.stream, 6 * SECOND)
        self.assertEqual(frames[-1].dts - frames[0].dts, 6 * SECOND)

    def test_nothing_yet(self) -> None:
        self.assertEqual(history(self.stream, SECOND), ((), []))
        self.open()
        self.assertEqual(history(self.stream, SECOND), (AV, []))


class ViewerTests(Case):
    """What is sent."""

    def join(self) -> bytes:
        transport = KernelTransport()
        self.playout.join("p", transport, lambda reason: None)
        transport.read(0)
        return bytes(transport.got)

    def pictures(self, got: bytes) -> int:
        return len(got) // len(packet(KEY, 0)) - 1

    def test_the_first_viewer_gets_it_from_the_window(self) -> None:
        self.segments(3)
        self.playout.prepush = 6.0
        self.assertEqual(self.pictures(self.join()), 70)

    def test_one_that_comes_later_gets_it_from_the_log(self) -> None:
        self.playout.prepush = 3.0
        self.open()
        self.frames(1)
        self.assertEqual(self.pictures(self.join()), 10)
        self.frames(1)
        self.assertEqual(self.pictures(self.join()), 20)
        for _ in range(60):
            self.clock.advance(1)
            self.frames(1)
        self.assertEqual(self.pictures(self.join()), 40)

    def test_off(self) -> None:
        self.segments(3)
        self.assertEqual(self.pictures(self.join()), 10)
        self.open()
        self.frames(2)
        self.assertEqual(self.pictures(self.join()), 10)

    def test_it_goes_on_live(self) -> None:
        self.segments(2)
        self.playout.prepush = 4.0
        transport = KernelTransport()
        self.playout.join("p", transport, lambda reason: None)
        transport.read(0)
        self.open()
        self.frames(2)
        transport.read(0)
        self.assertEqual(self.pictures(bytes(transport.got)), 50 + 20)

    def test_limits(self) -> None:
        base = FeedLimits()
        self.assertIs(base.reaching_back(0.0), base)
        longer = base.reaching_back(MAX_PREPUSH)
        self.assertEqual((longer.max_seconds, longer.max_bytes), (70.0, 7 * base.max_bytes))


class LogTests(SynchronousTestCase):
    def test_key_before(self) -> None:
        log = FeedLog(1 << 20, 10.0)
        self.assertIs(log.key_before(0), None)
        for at in range(5):
            log.mark(b"", b"", at * 10)
            log.append(b"x", 0.0)
        log.mark(b"", b"", 50)  # its entry is still to come
        for at, expected in ((-1, 0), (0, 0), (9, 0), (10, 10), (49, 40), (1000, 40)):
            key = log.key_before(at)
            assert key is not None
            self.assertEqual(key.at, expected, str(at))
