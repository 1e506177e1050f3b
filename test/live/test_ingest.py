"""What an ingest makes of the frames it is given, good and bad."""

from __future__ import annotations

import time
from unittest import mock

from attrs import evolve
from twisted.trial.unittest import SynchronousTestCase

from restreamer.live import run_cutter as module
from restreamer.live.ingest import MAX_FRAME_BYTES, Ingest
from restreamer.live.ledger import Ledger
from restreamer.live.window import WindowSegment
from restreamer.media.frame import Frame
from restreamer.media.track import TrackKind
from restreamer.testing.media import START, h264_track
from test.live.rig import AV, SECOND, D, Origin, av, still_true


class GoodTests(SynchronousTestCase):
    """Frames as they should be."""

    def test_what_goes_in_comes_out(self) -> None:
        origin = Origin()
        ingest = origin.publish()
        frames = av(31, gop=25, start=123)
        origin.play(ingest, frames)
        ingest.end("done")
        still_true(origin)
        out = [frame for entry in origin.closed for frame in entry.segment.frames()]
        self.assertEqual(out, origin.tap.frames)
        offset = out[0].dts - frames[0].dts
        self.assertEqual(
            [(f.track_id, f.dts - offset, f.cts, f.key, f.data) for f in out],
            [(f.track_id, f.dts, f.cts, f.key, f.data) for f in frames],
        )
        self.assertEqual(offset, START - 123)
        for before, after in zip(origin.closed, origin.closed[1:], strict=False):
            self.assertEqual(before.segment.end, after.start)
        self.assertEqual(origin.ends, ["done"])

    def test_any_batching_gives_the_same_segments(self) -> None:
        found = []
        for size in (1, 3, 50, 10_000):
            origin = Origin()
            ingest = origin.publish()
            frames = av(23, gop=25)
            for at in range(0, len(frames), size):
                ingest.push(frames[at : at + size])
            ingest.end("done")
            found.append([entry.segment.encoded for entry in origin.closed])
        self.assertEqual(found[1:], found[:1] * 3)

    def test_the_run(self) -> None:
        origin = Origin()
        ingest = origin.publish()
        self.assertFalse(origin.stream.running)
        ingest.push(av(1)[:1])
        run = origin.stream.run
        assert run is not None
        self.assertEqual((run.run_id, run.run_start, run.path), (1, START, (b"n" * 16,)))
        self.assertTrue(origin.stream.running and origin.stream.local)
        ingest.end("gone")
        self.assertFalse(origin.stream.running)
        self.assertEqual(origin.tap.events[-1], "lost 1 gone")

    def test_the_publishers_date(self) -> None:
        """A run begins when its first frame was made, if the publisher says so."""
        origin = Origin()
        ingest = origin.publish()
        ingest.dated(START - SECOND - 500)
        ingest.push(av(3, start=500))
        run = origin.stream.run
        assert run is not None
        self.assertEqual(run.run_start, START - SECOND)
        ingest.end("gone")
        self.assertEqual(origin.closed[0].segment.start, START - SECOND)

    def test_the_publishers_date_is_not_before_what_was_shown(self) -> None:
        """Another publisher takes over that says it is a second late: time goes on where it was."""
        origin = Origin()
        first = origin.publish()
        first.push(av(1))
        first.end("gone")
        shown = origin.stream.shown_end()
        assert shown is not None
        origin.now.ticks = shown + 900
        second = origin.publish()
        second.dated(shown - SECOND)
        second.push(av(3))
        run = origin.stream.run
        assert run is not None
        self.assertGreater(run.run_start, shown)
        self.assertLess(run.run_start, shown + 10)

    def test_end_is_idempotent_and_final(self) -> None:
        origin = Origin()
        ingest = origin.publish()
        ingest.push(av(1))
        ingest.end("a")
        ingest.end("b")
        self.assertEqual(ingest.push(av(1)), 0.0)
        self.assertEqual(origin.ends, ["a"])
        self.assertEqual(len(origin.closed), 1)
        self.assertIsNone(origin.stream.open)

    def test_end_before_any_frame(self) -> None:
        origin = Origin()
        origin.publish().end("early")
        self.assertEqual((origin.ends, origin.closed, origin.tap.events), (["early"], [], []))

    def test_the_name_is_given_back_whatever_happens(self) -> None:
        origin = Origin()
        ingest = origin.publish()
        ingest.push(av(1))
        with mock.patch.object(type(origin.stream.open), "close", side_effect=ZeroDivisionError):
            self.assertRaises(ZeroDivisionError, ingest.end, "left")
        self.assertEqual(origin.ends, ["left"])

    def test_a_second_run_of_the_name(self) -> None:
        origin = Origin()
        for pause in (0, 3, 0, 700):
            ingest = origin.publish()
            origin.play(ingest, av(7, gop=25))
            ingest.end("left")
            origin.now.ticks += pause * SECOND
        still_true(origin)
        first: dict[int, WindowSegment] = {}
        for entry in origin.closed:
            first.setdefault(entry.run.run_id, entry)
        self.assertEqual([e.segment.discontinuity for e in first.values()], [False, True, True, True])
        self.assertEqual([e.discontinuity_sequence for e in first.values()], [0, 1, 2, 3])
        self.assertEqual(len(origin.closed), len(set(origin.numbers)))

    def test_the_ledger_outlives_stream_and_process(self) -> None:
        origin = Origin()
        ingest = origin.publish()
        origin.play(ingest, av(7))
        ingest.end("left")
        rows = origin.ledger.rows()
        origin.ledger = Ledger()
        self.assertEqual(origin.ledger.restore(rows), 1)
        origin.new_stream()
        origin.now.ticks -= 3600 * SECOND  # and the clock stepped back
        ingest = origin.publish()
        origin.play(ingest, av(7))
        ingest.end("left")
        still_true(origin)
        self.assertEqual([e.discontinuity_sequence for e in origin.closed], [0, 0, 1, 1])

    def test_bandwidth_is_measured_and_does_not_break_the_run(self) -> None:
        origin = Origin()
        ingest = origin.publish()
        origin.play(ingest, av(31))
        tables = [entry.segment.tracks for entry in origin.closed]
        self.assertEqual([t.bandwidth for t in tables[0]], [0, 0])
        self.assertTrue(all(t.bandwidth % 10_000 == 0 and t.bandwidth > 0 for t in tables[1]))
        self.assertEqual(sum(e.segment.discontinuity for e in origin.closed), 0)


class ParameterTests(SynchronousTestCase):
    """Tracks that change, come and go (C04, R21, L03)."""

    def play_and_change(self, *changes: tuple[object, ...]) -> Origin:
        origin = Origin()
        ingest = origin.publish()
        at = 0
        for tracks in (AV, *changes):
            ingest.configure(tracks)  # type: ignore[arg-type]
            known = {track.track_id for track in tracks}  # type: ignore[attr-defined]
            origin.play(ingest, [f for f in av(1.2, gop=25, start=at) if f.track_id in known], at)
            at += 12 * SECOND // 10
        ingest.end("done")
        still_true(origin)
        return origin

    def test_change_makes_a_segment_and_a_discontinuity(self) -> None:
        other = (evolve(AV[0], config=AV[0].config + b"\0"), AV[1])
        origin = self.play_and_change(other, AV)
        firsts = [(e.segment.tracks[0].config, e.segment.discontinuity) for e in origin.closed]
        self.assertEqual(firsts, [(AV[0].config, False), (other[0].config, True), (AV[0].config, True)])
        self.assertEqual([e.discontinuity_sequence for e in origin.closed], [0, 1, 2])

    def test_twice_within_one_gop(self) -> None:
        origin = Origin()
        ingest = origin.publish()
        frames = av(10, gop=250)
        for index, frame in enumerate(frames):
            if index in (100, 110):
                ingest.configure((evolve(AV[0], config=bytes([index])), AV[1]))
            origin.play(ingest, [frame], origin.now.ticks - START)
        ingest.end("done")
        self.assertEqual([e.segment.discontinuity for e in origin.closed][:3], [False, True, True])
        self.assertEqual([e.segment.independent for e in origin.closed][:3], [True, False, False])

    def test_hints_alone_change_nothing(self) -> None:
        origin = self.play_and_change((evolve(AV[0], language="fra", bandwidth=1), AV[1]))
        self.assertEqual(sum(e.segment.discontinuity for e in origin.closed), 0)

    def test_tracks_come_and_go(self) -> None:
        origin = self.play_and_change(AV[:1], AV, AV[1:])
        self.assertEqual([len(e.segment.tracks) for e in origin.closed], [2, 1, 2, 1])
        self.assertEqual([e.segment.independent for e in origin.closed], [True] * 4)

    def test_configured_twice_before_the_first_frame(self) -> None:
        origin = Origin()
        ingest = origin.publish()
        ingest.configure(AV[:1])
        origin.play(ingest, av(7, audio=False))
        self.assertEqual([e.segment.discontinuity for e in origin.closed], [False])

    def test_more_than_m4f_carries(self) -> None:
        origin = Origin()
        ingest = origin.publish()
        many = [evolve(h264_track(index), kind=TrackKind.AUDIO) for index in range(1, 40)]
        many[3] = evolve(many[3], config=b"x" * 70_000)
        ingest.configure(tuple(many))
        for index in range(1, 40):
            ingest.push([Frame(index, 0, 0, True, b"x")])
        ingest.end("done")
        self.assertEqual(origin.faults, [])
        self.assertEqual(len(origin.closed[0].segment.tracks), 32)
        self.assertEqual(ingest.counters.dropped, 7)

    def test_no_tracks(self) -> None:
        origin = Origin()
        ingest = origin.publish()
        ingest.configure(())
        ingest.push(av(1))
        ingest.end("done")
        self.assertEqual((origin.closed, ingest.counters.dropped), ([], len(av(1))))


class BadTests(SynchronousTestCase):
    """Frames as they should not be (C05 to C07)."""

    def fresh(self) -> tuple[Origin, Ingest]:
        origin = Origin()
        return origin, origin.publish()

    def test_unknown_empty_and_huge_frames_are_dropped(self) -> None:
        origin, ingest = self.fresh()
        for bad in (
            Frame(9, 0, 0, True, b"x"),
            Frame(1, 0, 0, True, b""),
            Frame(1, 1 << 60, 0, True, b"x" * (MAX_FRAME_BYTES + 1)),
        ):
            ingest.push([bad])
        self.assertEqual((ingest.counters.dropped, origin.tap.events), (3, []))
        origin.play(ingest, av(7))
        self.assertEqual(len(origin.closed), 1)

    def test_before_the_tracks_are_known(self) -> None:
        origin = Origin(tracks=())
        ingest = origin.publish()
        ingest.push(av(1))
        self.assertEqual(ingest.counters.dropped, len(av(1)))
        self.assertEqual(origin.tap.events, [])

    def test_late_frames_keep_rising(self) -> None:
        origin, ingest = self.fresh()
        frames = av(12)
        for at in range(10, len(frames) - 3, 17):
            frames[at], frames[at + 2] = frames[at + 2], frames[at]
        origin.play(ingest, frames)
        ingest.end("done")
        still_true(origin)
        self.assertEqual(sum(len(e.segment.frames()) for e in origin.closed), len(frames))

    def test_ten_thousand_frames_of_one_time(self) -> None:
        origin, ingest = self.fresh()
        ingest.push([Frame(1, 5, 0, index == 0, b"x") for index in range(10_000)])
        ingest.end("done")
        still_true(origin)

    def test_size_cap(self) -> None:
        origin, ingest = self.fresh()
        with mock.patch.object(module, "MAX_SEGMENT_BYTES", 50_000):
            for batch in (1, 40):
                frames = [Frame(1, index * 90, 0, index == 0, b"x" * 7_000) for index in range(40)]
                for at in range(0, 40, batch):
                    ingest.push(frames[at : at + batch])
        ingest.end("done")
        for entry in origin.closed:
            self.assertLessEqual(sum(len(f.data) for f in entry.segment.frames()), 50_000)
        still_true(origin)
        self.assertEqual(ingest.counters.forced, sum(not e.segment.independent for e in origin.closed))

    def test_count_cap(self) -> None:
        origin, ingest = self.fresh()
        with mock.patch.object(module, "MAX_SEGMENT_FRAMES", 100):
            ingest.push([Frame(1, index, 0, False, b"x") for index in range(1_000)])
        ingest.end("done")
        self.assertEqual([len(e.segment.frames()) for e in origin.closed], [100] * 10)
        still_true(origin)

    def test_segments_without_a_keyframe_are_told_of(self) -> None:
        """One keyframe every 12 s: each end by force is told, with the count; ends at keyframes are not."""
        for gop, forced in ((50, False), (300, True)):
            with self.subTest(gop=gop):
                origin, ingest = self.fresh()
                told: list[int] = []
                ingest.forced = told.append
                origin.play(ingest, av(40, gop=gop))
                ingest.end("done")
                self.assertEqual(told, list(range(1, len(told) + 1)))
                self.assertEqual(len(told), sum(not e.segment.independent for e in origin.closed))
                self.assertEqual(bool(told), forced)

    def test_a_push_costs_the_same_per_frame(self) -> None:
        """Thousands of frames in one push must not be looked at again for each of them."""
        frames = [Frame(2, index * 1920, 0, True, b"x" * 20) for index in range(8_000)]
        took = []
        for size in (100, 8_000):
            _, ingest = self.fresh()
            begin = time.process_time()
            for at in range(0, len(frames), size):
                ingest.push(frames[at : at + size])
            took.append(time.process_time() - begin)
        self.assertLess(took[1], 4 * took[0] + 0.05)

    def test_a_clock_that_jumps_all_the_time_makes_no_storm(self) -> None:
        origin, ingest = self.fresh()
        for index in range(25 * 20):
            origin.now.ticks += 3600
            ingest.push([Frame(1, (index % 2) * 40 * SECOND + index * 3600, 0, True, b"x")])
        ingest.end("done")
        still_true(origin)
        self.assertLess(len(origin.closed), 30)

    def test_audio_ten_seconds_ahead(self) -> None:
        origin, ingest = self.fresh()
        frames = [
            Frame(f.track_id, f.dts + (f.track_id == 2) * 10 * SECOND, f.cts, f.key, f.data)
            for f in av(40, gop=25)
        ]
        for frame in frames:
            origin.now.ticks = max(origin.now.ticks, START + frame.dts - (frame.track_id == 2) * 10 * SECOND)
            self.assertEqual(ingest.push([frame]), 0.0)
        ingest.end("done")
        still_true(origin)
        self.assertLess(len(origin.closed), 12)
        self.assertLessEqual(ingest.counters.forced, 2)

    def test_a_track_stops(self) -> None:
        for gone in (1, 2):
            origin, ingest = self.fresh()
            origin.play(ingest, [f for f in av(60, gop=25) if f.track_id != gone or f.dts < 7 * SECOND])
            still_true(origin)
            self.assertGreaterEqual(len(origin.closed), 7)

    def test_times_of_any_size_are_exact(self) -> None:
        for base in (1 << 33, 1 << 53, 1 << 63, -(1 << 40)):
            origin, ingest = self.fresh()
            origin.play(ingest, av(11, gop=25, start=base))
            ingest.end("done")
            still_true(origin)
            self.assertEqual([e.start for e in origin.closed], [START, START + D, START + 2 * D])

    def test_drift_is_marked_at_a_boundary_only(self) -> None:
        origin, ingest = self.fresh()
        for frame in av(400, gop=25, audio=False):
            origin.now.ticks = START + frame.dts * 10 // 8
            ingest.push([frame])
        ingest.end("done")
        still_true(origin)
        breaks = [e for e in origin.closed if e.segment.discontinuity]
        self.assertGreater(len(breaks), 3)
        self.assertTrue(all(e.segment.independent for e in breaks))
        self.assertEqual(ingest.counters.discontinuities, len(breaks))

    def test_a_segment_m4f_refuses_is_thrown_away_and_the_run_goes_on(self) -> None:
        origin, ingest = self.fresh()
        frames = av(20, gop=25)
        origin.play(ingest, frames[:100])
        assert origin.stream.open is not None
        origin.stream.open.frames.append(Frame(77, 0, 0, True, b"stranger"))
        origin.play(ingest, frames[100:])
        ingest.end("done")
        self.assertEqual(len(origin.faults), 1)
        still_true(origin)
        self.assertEqual(len(origin.closed), 3)
