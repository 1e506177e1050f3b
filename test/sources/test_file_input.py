"""A file played live, on a clock of the test's own."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from typing_extensions import override

import restreamer
from restreamer.media.frame import Frame
from restreamer.media.track import Tracks
from restreamer.sources.file_input import BURST, MAX_BEHIND, FileInput

DEMO = Path(restreamer.__file__).parent / "demo" / "demo.mp4"
ROUND = 16 * 90_000


class RecordingSink:
    """A L{restreamer.seams.FrameSink} that keeps what it got, with the time it came."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.tracks: list[Tracks] = []
        self.pushes: list[tuple[float, list[Frame]]] = []
        self.ends: list[str] = []
        self.hold = 0.0
        self.on_push: Callable[[], None] = lambda: None

    def configure(self, tracks: Tracks) -> None:
        self.tracks.append(tracks)

    def dated(self, offset: int | None) -> None:
        """Nobody asks."""

    def push(self, frames: Sequence[Frame]) -> float:
        self.pushes.append((self.clock.seconds(), list(frames)))
        self.on_push()
        return self.hold

    def end(self, reason: str) -> None:
        self.ends.append(reason)

    @property
    def frames(self) -> list[Frame]:
        return [frame for _, frames in self.pushes for frame in frames]


class SlowDisk:
    """An C{in_thread} whose work is done when the test says so."""

    def __init__(self) -> None:
        self.work: list[tuple[Deferred[Any], Callable[[], Any]]] = []

    def __call__(self, call: Callable[..., Any], *args: Any) -> Deferred[Any]:
        done: Deferred[Any] = Deferred()
        self.work.append((done, lambda: call(*args)))
        return done

    def answer(self) -> None:
        done, call = self.work.pop(0)
        try:
            result = call()
        except Exception:
            done.errback()
        else:
            done.callback(result)


def open_demo() -> int:
    return os.open(DEMO, os.O_RDONLY)


def open_files() -> int:
    folder = "/proc/self/fd"
    if not os.path.isdir(folder):
        return 0
    demo = os.path.realpath(DEMO)
    count = 0
    for name in os.listdir(folder):
        try:
            count += os.readlink(f"{folder}/{name}") == demo
        except OSError:
            continue
    return count


class FileInputTests(SynchronousTestCase):
    """Pacing, looping, errors and ends."""

    @override
    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(1000)
        self.sink = RecordingSink(self.clock)
        self.failures: list[str] = []
        self.assertEqual(0, open_files())

    def make(
        self, opener: Callable[[], int] = open_demo, loop: bool = True, disk: Any = maybeDeferred
    ) -> FileInput:
        made = FileInput(opener, self.sink, self.clock, disk, self.failures.append, loop)
        made.start()
        return made

    def near(self, wanted: float, got: float, most: float) -> None:
        self.assertLessEqual(abs(wanted - got), most, (wanted, got))

    def run_for(self, seconds: float, step: float = 0.005) -> None:
        for _ in range(round(seconds / step)):
            self.clock.advance(step)

    def test_paced(self) -> None:
        made = self.make()
        self.run_for(5)
        self.assertEqual(1, len(self.sink.tracks))
        self.assertEqual(2, len(self.sink.tracks[0]))
        for moment, frames in self.sink.pushes:
            for frame in frames:
                late = moment - 1000 - frame.dts / 90_000
                self.assertTrue(-0.0051 <= late <= 0.0051, late)
        self.near(5 * 90_000, self.sink.frames[-1].dts, 2000)
        self.successResultOf(made.stop())

    def test_sleeps_until_the_next_frame(self) -> None:
        made = self.make()
        calls = 0
        while self.clock.seconds() < 1010:
            self.clock.advance(max(0.0, self.clock.getDelayedCalls()[0].getTime() - self.clock.seconds()))
            calls += 1
        self.assertLess(calls, 10 * (25 + 47) + 5)
        self.successResultOf(made.stop())

    def test_loops_without_a_seam(self) -> None:
        made = self.make()
        self.run_for(40, 0.02)
        for track_id, step in ((1, 3600), (2, 1920)):
            times = [frame.dts for frame in self.sink.frames if frame.track_id == track_id]
            self.assertEqual({step}, {b - a for a, b in pairwise(times)})
            self.assertGreater(times[-1], 2 * ROUND)
        bodies = [frame.data for frame in self.sink.frames if frame.track_id == 1]
        self.assertEqual(bodies[:400], bodies[400:800])
        self.assertEqual(1, len(self.sink.tracks))
        self.successResultOf(made.stop())

    def test_once(self) -> None:
        self.make(loop=False)
        self.run_for(20, 0.02)
        self.assertEqual(1150, len(self.sink.frames))
        self.assertEqual(["end of file"], self.sink.ends)
        self.assertEqual([], self.failures)
        self.assertEqual([], self.clock.getDelayedCalls())
        self.assertEqual(0, open_files())

    def test_stop(self) -> None:
        made = self.make()
        self.run_for(1)
        count = len(self.sink.frames)
        self.successResultOf(made.stop())
        self.successResultOf(made.stop())
        self.run_for(1)
        self.assertEqual(count, len(self.sink.frames))
        self.assertEqual(["stopped"], self.sink.ends)
        self.assertEqual([], self.failures)
        self.assertEqual([], self.clock.getDelayedCalls())
        self.assertEqual(0, open_files())

    def test_stop_before_start(self) -> None:
        made = FileInput(open_demo, self.sink, self.clock, maybeDeferred, self.failures.append)
        self.successResultOf(made.stop())
        made.start()
        self.assertEqual(([], ["stopped"]), (self.sink.tracks, self.sink.ends))

    def test_stop_while_opening(self) -> None:
        disk = SlowDisk()
        made = self.make(disk=disk)
        stopped = made.stop()
        self.assertNoResult(stopped)
        disk.answer()
        self.successResultOf(stopped)
        self.assertEqual(([], ["stopped"], 0), (self.sink.tracks, self.sink.ends, open_files()))

    def test_stop_while_reading(self) -> None:
        disk = SlowDisk()
        made = self.make(disk=disk)
        disk.answer()
        stopped = made.stop()
        self.assertNoResult(stopped)
        disk.answer()
        self.successResultOf(stopped)
        self.assertEqual(0, open_files())

    def test_stopped_by_the_sink(self) -> None:
        stops: list[Deferred[None]] = []
        made = self.make()
        self.sink.on_push = lambda: stops.append(made.stop())
        self.run_for(1)
        self.assertEqual(["stopped"], self.sink.ends)
        self.assertEqual([], self.clock.getDelayedCalls())

    def test_reads_ahead(self) -> None:
        """A disk that takes 1 s for half a second of media, now and then, is not seen."""
        disk = SlowDisk()
        made = self.make(disk=disk)
        for _ in range(5):
            disk.answer()
        self.assertEqual([], disk.work)
        self.run_for(0.6)
        self.assertEqual(1, len(disk.work))
        self.run_for(0.9)
        self.assertGreater(self.sink.frames[-1].dts, 1.45 * 90_000)
        while disk.work:
            disk.answer()
        self.successResultOf(made.stop())

    def test_catches_up_in_bursts(self) -> None:
        disk = SlowDisk()
        made = self.make(disk=disk)
        for _ in range(6):
            if disk.work:
                disk.answer()
        self.run_for(4)
        behind = len(self.sink.pushes)
        while disk.work:
            disk.answer()
            self.clock.advance(0)
        self.run_for(0.1)
        self.assertTrue(all(len(frames) <= BURST for _, frames in self.sink.pushes[behind:]))
        self.near(4.1 * 90_000, self.sink.frames[-1].dts, 2500)
        stopped = made.stop()
        for _ in range(len(disk.work)):
            disk.answer()
        self.successResultOf(stopped)

    def test_far_behind_goes_on_from_here(self) -> None:
        made = self.make()
        self.run_for(1)
        before = self.sink.frames[-1].dts
        self.clock.advance(3600)
        self.assertLess(self.sink.frames[-1].dts, before + 90_000)
        self.run_for(1)
        self.near(before + 90_000, self.sink.frames[-1].dts, 5000)
        self.assertGreater(3600, MAX_BEHIND)
        self.successResultOf(made.stop())

    def test_sink_that_holds(self) -> None:
        made = self.make()
        self.sink.hold = 0.5
        self.run_for(3)
        moments = [moment for moment, _ in self.sink.pushes][1:]
        self.assertTrue(all(b - a >= 0.499 for a, b in pairwise(moments)))
        self.successResultOf(made.stop())

    def test_no_such_file(self) -> None:
        self.make(lambda: os.open("/nonexistent.mp4", os.O_RDONLY))
        self.assertEqual(1, len(self.failures))
        self.assertIn("No such file", self.failures[0])
        self.assertEqual(1, len(self.sink.ends))

    def test_no_mp4(self) -> None:
        path = self.mktemp()
        for content, text in ((b"", "empty"), (b"not an mp4 file at all, no", "says it has")):
            Path(path).write_bytes(content)
            self.make(lambda: os.open(path, os.O_RDONLY))
            self.assertIn(text, self.failures.pop())

    def test_file_cut_while_playing(self) -> None:
        path = self.mktemp()
        Path(path).write_bytes(DEMO.read_bytes())
        self.make(lambda: os.open(path, os.O_RDONLY))
        self.run_for(2)
        os.truncate(path, 100_000)
        self.run_for(10, 0.02)
        self.assertEqual(1, len(self.failures))
        self.assertIn("ends before", self.failures[0])
        self.assertEqual(self.failures, self.sink.ends)
        self.assertEqual([], self.clock.getDelayedCalls())

    def test_sink_that_raises(self) -> None:
        def trouble() -> None:
            if self.clock.seconds() > 1001:
                raise ValueError("trouble")

        self.make()
        self.sink.on_push = trouble
        self.run_for(2)
        self.assertEqual(["internal error"], self.failures)
        self.assertEqual(1, len(self.flushLoggedErrors(ValueError)))
        self.assertEqual(0, open_files())
