"""Streams and their writers: power, faults of followers, whole segments copied in."""

from __future__ import annotations

from attrs import evolve
from twisted.trial.unittest import SynchronousTestCase
from typing_extensions import override

from restreamer.live.stream import Stream, StreamWriter
from restreamer.live.window import LiveWindow
from restreamer.m4f.records import RunInfo
from restreamer.m4f.segment import Segment, SegmentBuilder, SegmentOpening
from restreamer.media.frame import Frame
from test.live.rig import AV, NODE, D, RecordingTap

RUN = RunInfo(1, 0, NODE, (NODE,))
OTHER = RunInfo(2, 0, NODE, (NODE,))


def opening(number: int, discontinuity: bool = False) -> SegmentOpening:
    return SegmentOpening(number, number * D, discontinuity, True, 0, AV)


def frames(number: int, count: int = 6) -> list[Frame]:
    """A picture and a sound by turns; the first picture and the one in the middle are keyframes."""
    return [
        Frame(
            1 + index % 2,
            number * D + index * 100,
            0,
            index in (0, 4) or index % 2 == 1,
            b"%d.%d" % (number, index),
        )
        for index in range(count)
    ]


def closed(number: int, count: int = 6) -> Segment:
    builder = SegmentBuilder(opening(number))
    builder.extend(frames(number, count))
    return builder.close(D)


class _Case(SynchronousTestCase):
    @override
    def setUp(self) -> None:
        self.faults: list[str] = []
        self.stream = Stream("x", LiveWindow(4), faulted=lambda what, error: self.faults.append(repr(error)))
        self.tap = RecordingTap()
        self.stream.attach(self.tap)

    def begin(self, run: RunInfo = RUN) -> StreamWriter:
        return self.stream.begin_run(run, D, local=False)

    def write(self, writer: StreamWriter, number: int, count: int = 6) -> Segment | None:
        writer.open(opening(number))
        for frame in frames(number, count):
            writer.frames([frame])
        return writer.close(D)


class WriterTests(_Case):
    """Who may write."""

    def test_a_segment(self) -> None:
        self.assertEqual(self.write(self.begin(), 7), closed(7))
        self.assertEqual(self.tap.events, ["run 1", "open 7", *["frames 1"] * 6, "close 7"])
        traffic = self.stream.traffic
        self.assertEqual((traffic.frames_in, traffic.segments, traffic.runs, traffic.refused), (6, 1, 1, 0))
        self.assertEqual(traffic.bytes_in, sum(len(f.data) for f in frames(7)))

    def test_a_superseded_writer_has_no_power(self) -> None:
        old = self.begin()
        old.open(opening(7))
        old.frames(frames(7)[:2])
        new = self.begin(OTHER)
        self.assertEqual((old.in_power, new.in_power, self.stream.open), (False, True, None))
        before = list(self.tap.events)
        old.open(opening(8))
        old.frames(frames(8))
        self.assertIsNone(old.close(D))
        old.copy(closed(9), RUN)
        old.lose("late")
        self.assertEqual(self.tap.events, before)
        self.assertEqual(self.stream.window.entries, ())
        self.assertEqual(self.write(new, 7), closed(7))

    def test_the_same_run_goes_on_in_its_open_segment(self) -> None:
        old = self.begin()
        old.open(opening(7))
        old.frames(frames(7)[:2])
        old.lose("cut")
        self.assertFalse(self.stream.running)
        new = self.begin(evolve(RUN, path=(NODE, NODE)))
        self.assertFalse(old.in_power)
        new.frames(frames(7)[2:])
        self.assertEqual(new.close(D), closed(7))
        self.assertEqual([e for e in self.tap.events if e.startswith("run")], ["run 1"])
        self.assertEqual(self.tap.frames, frames(7))

    def test_frames_and_close_without_an_open_segment(self) -> None:
        writer = self.begin()
        writer.frames(frames(7))
        self.assertIsNone(writer.close(D))
        self.assertEqual(self.tap.events, ["run 1"])

    def test_checksum(self) -> None:
        writer = self.begin()
        for checksum, result in ((closed(7).checksum, closed(7)), (1, None)):
            writer.open(opening(7 + (result is None)))
            writer.frames(frames(7 + (result is None)))
            self.assertEqual(writer.close(D, checksum), result)
        self.assertEqual([e.number for e in self.stream.window.entries], [7])
        self.assertIsNone(self.stream.open)

    def test_running(self) -> None:
        told: list[bool] = []
        self.stream.watch_running(lambda stream: told.append(stream.running))
        writer = self.begin()
        writer.open(opening(7))
        self.assertEqual(told, [])
        writer.frames(frames(7))
        writer.frames(frames(7))
        writer.lose("cut")
        writer.lose("again")
        self.assertEqual(told, [True, False])
        self.assertEqual(self.tap.events[-1], "lost 1 cut")
        self.begin().frames(frames(7))
        self.stream.finish("gone")
        self.assertEqual(told, [True, False, True, False])

    def test_an_ended_stream_takes_nothing(self) -> None:
        writer = self.begin()
        writer.open(opening(7))
        self.stream.finish("gone")
        self.stream.finish("again")
        self.assertEqual(self.tap.events[-1], "ended gone")
        self.assertFalse(writer.in_power)
        late = self.begin(OTHER)
        self.assertFalse(late.in_power)
        self.assertIsNone(self.write(late, 8))
        self.assertEqual((self.stream.run, self.stream.taps), (RUN, 0))


class FollowerTests(_Case):
    """Taps that fail, come and go while they are told."""

    def test_a_faulty_tap_is_dropped_and_told(self) -> None:
        class Faulty(RecordingTap):
            ends = 0

            @override
            def segment_closed(self, entry: object) -> None:
                raise ZeroDivisionError

            @override
            def stream_ended(self, reason: str) -> None:
                self.ends += 1
                raise KeyError(reason)

        bad, good = Faulty(), RecordingTap()
        self.stream.attach(bad, first=True)
        self.stream.attach(good)
        writer = self.begin()
        self.write(writer, 7)
        self.write(writer, 8)
        self.assertEqual(self.faults, ["ZeroDivisionError()", "KeyError('internal error')"])
        self.assertEqual((bad.ends, self.stream.taps), (1, 2))
        self.assertEqual(good.events, self.tap.events)
        self.stream.finish("gone")
        self.assertEqual(bad.ends, 1)

    def test_a_tap_that_left_meanwhile_is_not_told(self) -> None:
        other = RecordingTap()
        self.tap.on_frames = lambda: self.stream.detach(other)
        self.stream.attach(other)
        self.write(self.begin(), 7)
        self.assertEqual(other.events, ["run 1", "open 7"])

    def test_first_is_first(self) -> None:
        order: list[str] = []
        for name in ("viewers", "links"):
            tap = RecordingTap()
            tap.on_frames = lambda name=name: order.append(name)  # type: ignore[misc]
            self.stream.attach(tap, first=name == "links")
        writer = self.begin()
        writer.open(opening(7))
        writer.frames(frames(7))
        self.assertEqual(order, ["links", "viewers"])


class CopyTests(_Case):
    """Whole segments: history, and what an interrupted link missed."""

    def test_history_enters_the_window_only(self) -> None:
        writer = self.begin()
        for number in (5, 6, 7):
            writer.copy(closed(number), RUN)
            self.assertTrue(self.stream.catching_up)
        self.assertEqual(self.tap.events, ["run 1", "close 5", "close 6", "close 7"])
        self.assertFalse(self.stream.running)
        writer.open(opening(8))
        self.assertFalse(self.stream.catching_up)
        writer.frames(frames(8)[:1])
        self.assertEqual(self.tap.frames, frames(8)[:1])
        self.assertEqual([e.number for e in self.stream.window.entries], [5, 6, 7])

    def test_what_was_missed_is_replayed(self) -> None:
        for held in range(7):
            self.setUp()
            writer = self.begin()
            self.write(writer, 6)
            writer.open(opening(7))
            writer.frames(frames(7)[:held])
            writer.lose("cut")
            writer = self.begin()
            for number in (7, 8):
                writer.copy(closed(number), RUN)
            self.assertEqual(self.tap.frames, [*frames(6), *frames(7), *frames(8)])
            self.assertEqual([e.segment for e in self.stream.window.retained], [closed(n) for n in (6, 7, 8)])
            self.assertEqual([e for e in self.tap.events if e[:5] == "open "], ["open 6", "open 7", "open 8"])

    def test_a_copy_of_what_is_held_is_refused(self) -> None:
        writer = self.begin()
        self.write(writer, 7)
        writer.copy(closed(7), RUN)
        writer.copy(closed(7, 4), RUN)
        writer.copy(closed(3), RUN)
        window = self.stream.window
        self.assertEqual((self.stream.traffic.refused, window.repeats, window.mismatches), (3, 3, 1))
        self.assertEqual(self.tap.frames, frames(7))
        self.assertEqual([e.number for e in window.entries], [7])

    def test_history_after_a_hole_is_not_shown_to_viewers(self) -> None:
        writer = self.begin()
        self.write(writer, 6)
        writer = self.begin(OTHER)
        writer.copy(closed(8), OTHER)
        writer.copy(closed(9), OTHER)
        self.assertEqual(self.tap.frames, frames(6))
        self.assertEqual([e.run.run_id for e in self.stream.window.retained], [1, 2, 2])

    def test_the_tail_of_another_run_is_passed_over(self) -> None:
        writer = self.begin()
        self.write(writer, 6)
        writer = self.begin(OTHER)
        writer.copy(closed(7), RUN)
        writer.copy(closed(8), OTHER)
        self.assertEqual(self.tap.frames, [*frames(6), *frames(8)])
        self.assertEqual([e.run.run_id for e in self.stream.window.retained], [1, 1, 2])

    def test_catching_up_ends_with_what_is_live(self) -> None:
        writer = self.begin()
        writer.open(opening(7))
        writer.frames(frames(7)[:2])
        writer.copy(closed(7), RUN)
        self.assertTrue(self.stream.catching_up)
        writer.frames(frames(8))
        self.assertFalse(self.stream.catching_up)

    def test_catching_up_ends_with_the_link(self) -> None:
        writer = self.begin()
        writer.copy(closed(7), RUN)
        writer.lose("cut")
        self.assertFalse(self.stream.catching_up)


class RecentTests(_Case):
    """What a new viewer begins with."""

    def test_from_the_newest_keyframe_of_the_open_segment(self) -> None:
        writer = self.begin()
        self.assertEqual(self.stream.recent(), ((), []))
        writer.open(opening(7))
        self.assertEqual(self.stream.recent(), (AV, []))
        writer.frames(frames(7)[:3])
        self.assertEqual(self.stream.recent(), (AV, frames(7)[:3]))
        writer.frames(frames(7)[3:])
        self.assertEqual(self.stream.recent(), (AV, frames(7)[4:]))

    def test_from_the_closed_one_when_the_open_one_has_none(self) -> None:
        writer = self.begin()
        self.write(writer, 7)
        self.assertEqual(self.stream.recent(), (AV, frames(7)[4:]))
        tracks = (evolve(AV[0], bandwidth=5), AV[1])
        writer.open(SegmentOpening(8, 8 * D, False, False, 0, tracks))
        writer.frames(frames(8)[1:2])
        self.assertEqual(self.stream.recent(), (tracks, [*frames(7)[4:], frames(8)[1]]))

    def test_not_across_a_break(self) -> None:
        for number, discontinuity in ((8, True), (9, False)):
            self.setUp()
            writer = self.begin()
            self.write(writer, 7)
            writer.open(opening(number, discontinuity))
            writer.frames(frames(number)[1:2])
            self.assertEqual(self.stream.recent(), (AV, []))

    def test_not_of_another_run(self) -> None:
        self.write(self.begin(), 7)
        self.begin(OTHER)
        self.assertEqual(self.stream.recent(), (AV, []))

    def test_audio_alone_gives_the_last_frames(self) -> None:
        writer = self.begin()
        writer.open(SegmentOpening(7, 7 * D, False, True, 0, AV[1:]))
        sound = [Frame(2, 7 * D + index, 0, True, b"s") for index in range(200)]
        writer.frames(sound)
        self.assertEqual(self.stream.recent(), (AV[1:], sound[-51:]))
