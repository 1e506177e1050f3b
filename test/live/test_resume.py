"""What continuous outputs leave out after a run took over."""

from __future__ import annotations

from attrs import evolve
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from typing_extensions import override

from restreamer.live.feed import FeedLimits
from restreamer.live.playout import Playout
from restreamer.live.resume import Resumption, Sent, newest_by_kind
from restreamer.live.stream import Stream
from restreamer.live.window import LiveWindow
from restreamer.m4f.records import RunInfo
from restreamer.m4f.segment import SegmentOpening
from restreamer.media.frame import Frame
from restreamer.media.track import Tracks
from restreamer.testing.media import START
from test.live.rig import AUDIO, AV, NODE, D, av
from test.live.viewing import KernelTransport, PacketMuxer

SECOND = 90_000
VIDEO = frozenset({1})


def sent(frames: list[Frame], video: frozenset[int] = VIDEO) -> dict[bool, Sent]:
    found: dict[bool, Sent] = {}
    newest_by_kind(frames, video, found)
    return found


class ResumptionTests(SynchronousTestCase):
    """Frames in, frames out."""

    def test_where_it_goes_on(self) -> None:
        """At the first keyframe that is later, each track once."""
        before = av(4, gop=25)
        for shift in (-3 * SECOND, -SECOND - 7, -1, 0, 1, 3_000, SECOND):
            after = [evolve(f, dts=f.dts + 3 * SECOND + shift) for f in av(6, gop=25)]
            kept = Resumption(sent(before)).later(after, VIDEO)
            first = kept[0]
            self.assertTrue(first.key and first.track_id == 1)
            for track in (1, 2):
                times = [f.dts for f in [*before, *kept] if f.track_id == track]
                self.assertEqual(times, sorted(set(times)), shift)
            pictures = [f.pts for f in before if f.track_id == 1]
            self.assertGreater(min(f.pts for f in kept if f.track_id == 1), max(pictures))
            earlier = [f for f in after if f.track_id == 1 and f.key and f.dts < first.dts]
            newest = max(f.dts for f in before)
            self.assertTrue(all(f.dts <= newest or f.pts <= max(pictures) for f in earlier), shift)
            self.assertEqual(kept[-1], after[-1])

    def test_the_same_run_is_back(self) -> None:
        """Nothing of another one went out meanwhile: it goes on behind the last frame sent, if that comes."""
        frames = av(6, gop=50)
        for first, whole in ((0, True), (210, True), (230, False)):
            resumption = Resumption(sent(frames[:221]))
            self.assertEqual(resumption.later([f for f in av(1) if not f.key], VIDEO), [])
            resumption.back = True
            kept = resumption.later(frames[first:], VIDEO)
            if whole:
                self.assertEqual(kept, frames[221:])
            else:
                self.assertTrue(kept[0].key and kept[0].track_id == 1)

    def test_another_clock(self) -> None:
        """More than 30 s below: it begins at once."""
        before = [evolve(f, dts=f.dts + 60 * SECOND) for f in av(4)]
        after = av(4)
        self.assertEqual(Resumption(sent(before)).later(after, VIDEO), after)

    def test_nothing_was_sent(self) -> None:
        after = av(1)[3:]
        self.assertEqual(Resumption({}).later(after, VIDEO), after)

    def test_audio_alone(self) -> None:
        before = [f for f in av(4) if f.track_id == 2]
        after = [evolve(f, dts=f.dts + 3 * SECOND + 5) for f in before]
        kept = Resumption(sent(before, frozenset())).later(after, frozenset())
        self.assertEqual(kept, [f for f in after if f.dts > before[-1].dts])

    def test_one_by_one(self) -> None:
        before, after = av(3), [evolve(f, dts=f.dts + SECOND) for f in av(5)]
        resumption = Resumption(sent(before))
        kept = [each for frame in after for each in resumption.later([frame], VIDEO)]
        self.assertEqual(kept, Resumption(sent(before)).later(after, VIDEO))
        self.assertTrue(resumption.over)


class FeedTests(SynchronousTestCase):
    """The same at a real feed; the segments themselves stay whole."""

    @override
    def setUp(self) -> None:
        self.stream = Stream("x", LiveWindow(4))
        self.muxed: list[Frame] = []
        muxer = PacketMuxer()
        original = muxer.mux

        def mux(frame: Frame) -> bytes:
            self.muxed.append(frame)
            return original(frame)

        muxer.mux = mux  # type: ignore[method-assign]
        self.playout = Playout(self.stream, Clock(), {"p": lambda title: muxer}, FeedLimits())

    def write(self, run_id: int, number: int, frames: list[Frame], tracks: Tracks = AV) -> None:
        run = self.stream.run
        if run is None or run.run_id != run_id:
            self.writer = self.stream.begin_run(RunInfo(run_id, START, NODE, (NODE,)), D, local=False)
        self.writer.open(SegmentOpening(number, frames[0].dts, False, True, 0, tracks))
        for frame in frames:
            self.writer.frames([frame])
        self.writer.close(D)

    def test_a_switch(self) -> None:
        first = av(5, gop=25)
        self.write(1, 7, first[:10])
        self.playout.join("p", KernelTransport(), lambda reason: None)
        self.write(1, 8, first[10:])
        second = [evolve(f, dts=f.dts + 3 * SECOND + 50) for f in av(5, gop=25)]
        self.write(2, 9, second)
        third = [evolve(f, dts=f.dts + 7 * SECOND) for f in av(5, gop=25)]
        self.write(3, 10, third)
        for track in (1, 2):
            times = [f.dts for f in self.muxed if f.track_id == track]
            self.assertEqual(times, sorted(set(times)))
        self.assertIn(second[-1], self.muxed)
        self.assertIn(third[-1], self.muxed)
        self.assertEqual(
            [len(e.segment.frames()) for e in self.stream.window.retained][2:], [len(second), len(third)]
        )

    def test_a_number_that_was_closed_here(self) -> None:
        """The window keeps the first; viewers get what is later than they saw."""
        first = av(5, gop=25)
        self.write(1, 7, first[:10])
        self.playout.join("p", KernelTransport(), lambda reason: None)
        self.write(1, 8, first[10:])
        second = [evolve(f, dts=f.dts + 3 * SECOND) for f in av(5, gop=25)]
        self.write(2, 8, second)
        self.assertEqual([e.run.run_id for e in self.stream.window.retained], [1, 1])
        self.assertIn(second[-1], self.muxed)

    def test_audio_alone(self) -> None:
        sound = [evolve(f, track_id=1) for f in av(5) if f.track_id == 2]
        self.write(1, 7, sound[:10], AUDIO)
        self.playout.join("p", KernelTransport(), lambda reason: None)
        self.write(1, 8, sound[10:], AUDIO)
        again = [evolve(f, dts=f.dts + 4 * SECOND) for f in sound]
        self.write(2, 9, again, AUDIO)
        times = [f.dts for f in self.muxed]
        self.assertEqual(times, sorted(set(times)))
        self.assertEqual(self.muxed[-1], again[-1])
