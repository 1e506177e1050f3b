"""The UTC grid: numbers and boundaries of any trace."""

from __future__ import annotations

import itertools

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from restreamer.live.grid import (
    GAIN_TICKS,
    PATIENCE_TICKS,
    SLACK_TICKS,
    SegmentCutter,
    force_line,
    segment_number,
)
from restreamer.live.ingest import Ingest
from restreamer.media.frame import Frame
from test.live.rig import AUDIO, AV, SECOND, Origin, av, still_true

_SETTINGS = settings(deadline=None, max_examples=60, derandomize=True)


def cut(grid: int, start: int, keys: list[int], last: int | None = None) -> list[tuple[int, int, int]]:
    """(number, start, end) of the closed segments of a video whose pictures come every 40 ms."""
    cutter = SegmentCutter(grid, last)
    number = cutter.open(start, keyframe=True)
    wanted = set(keys)
    found = []
    for dts in range(start + 3600, max(keys) + 1, 3600):
        if cutter.ends_before(dts, dts in wanted, video=True):
            found.append((number, cutter.start, dts))
            number = cutter.open(dts, keyframe=dts in wanted)
    return found


class NumberTests(SynchronousTestCase):
    """The pure functions."""

    def test_numbers(self) -> None:
        for start, grid, last, number in (
            (0, 10, None, 0),
            (99, 10, None, 9),
            (100, 10, None, 10),
            (100, 10, 9, 10),
            (100, 10, 10, 11),
            (100, 10, 2**40, 2**40 + 1),
            (-1, 10, None, -1),
        ):
            self.assertEqual(segment_number(start, grid, last), number)

    def test_force_comes_first_of_two(self) -> None:
        grid = 5 * SECOND
        self.assertEqual(force_line(2, 10 * SECOND, grid), 17 * SECOND)
        self.assertEqual(force_line(2, 14 * SECOND, grid), 20 * SECOND - SECOND // 2)

    def test_audio_beside_video_is_patient(self) -> None:
        grid = 5 * SECOND
        cutter = SegmentCutter(grid)
        cutter.open(0, keyframe=True)
        force = 7 * SECOND
        self.assertFalse(cutter.ends_before(force + PATIENCE_TICKS - 1, False, True, beside=True))
        self.assertTrue(cutter.ends_before(force, False, True))
        self.assertTrue(cutter.ends_before(force + PATIENCE_TICKS, False, True, beside=True))
        cutter.open(9 * SECOND + 10, keyframe=True)  # number 1, the line after is at 15 s
        self.assertTrue(cutter.ends_before(15 * SECOND - 1, False, True, beside=True))


class CutterTests(SynchronousTestCase):
    """One run of video, no clock involved."""

    @_SETTINGS
    @given(
        d=st.integers(1, 12),
        phase=st.integers(0, 12 * 25),
        gop=st.integers(1, 12 * 25),
    )
    def test_consecutive_while_keyframes_are_at_most_d_apart(self, d: int, phase: int, gop: int) -> None:
        gop = min(gop, d * 25)
        start = 1000 * d * SECOND + phase % (d * 25) * 3600
        keys = [start + index * gop * 3600 for index in range(80 * 25 // gop)]
        segments = cut(d * SECOND, start, keys)
        for (number, begin, end), (following, _, _) in itertools.pairwise(segments):
            self.assertEqual(following, number + 1)
            self.assertEqual(number, begin // (d * SECOND), "on the grid")
            self.assertLess(end - begin, (d + 2) * SECOND + 3600)

    @_SETTINGS
    @given(
        d=st.integers(1, 12),
        gops=st.lists(st.integers(1, 30 * 25), min_size=1, max_size=12),
        ahead=st.integers(0, 8),
    )
    def test_any_keyframes(self, d: int, gops: list[int], ahead: int) -> None:
        grid = d * SECOND
        start = 1000 * grid + 7 * 3600
        keys = [start]
        while keys[-1] < start + 90 * SECOND:
            keys.extend(keys[-1] + gop * 3600 * (index + 1) for index, gop in enumerate(gops[:1]))
            gops = gops[1:] + gops[:1]
        segments = cut(grid, start, keys, last=1000 + ahead)
        for (number, _, end), (following, begin, _) in itertools.pairwise(segments):
            self.assertGreater(following, number)
            self.assertEqual(end, begin)
        for _, begin, end in segments:
            self.assertLess(end - begin, grid + 2 * SECOND + 3600)

    @_SETTINGS
    @given(d=st.integers(1, 10), gop=st.integers(1, 250), ahead=st.integers(1, 6), phase=st.integers(0, 250))
    def test_returns_to_the_grid(self, d: int, gop: int, ahead: int, phase: int) -> None:
        """Ahead of the grid, every segment is longer than D by half a second or more until it is back."""
        grid = d * SECOND
        gop = min(gop, d * 25)
        start = 1000 * grid + phase % (d * 25) * 3600
        keys = [start + index * gop * 3600 for index in range((d * (ahead + 2) * 4 * d + 60) * 25 // gop)]
        segments = cut(grid, start, keys, last=1000 + ahead)
        back = [number * grid <= begin + SLACK_TICKS for number, begin, _ in segments]
        self.assertIn(True, back)
        first = back.index(True)
        self.assertTrue(all(back[first:]))
        for number, begin, end in segments[:first]:
            if end < (number + 1) * grid:
                self.assertGreaterEqual(end - begin, grid + GAIN_TICKS)
        self.assertLessEqual(first, (ahead + 1) * grid // GAIN_TICKS + 1)

    def test_keyframes_as_rare_as_segments(self) -> None:
        """One keyframe every D, times in milliseconds, any phase: forced twice at most, in the beginning."""
        for phase in range(0, 2000, 1):
            cutter = SegmentCutter(2 * SECOND)
            start = 2000 * SECOND + phase * 90
            numbers = [cutter.open(start, keyframe=True)]
            starts = [start]
            for index in range(1, 16 * 25):
                dts = start + (index * 40 + (index * 7 + phase) % 3 - 1) * 90
                if cutter.ends_before(dts, index % 50 == 0, video=True):
                    numbers.append(cutter.open(dts, keyframe=index % 50 == 0))
                    starts.append(dts)
            near = phase <= 2 or 2000 - phase <= 6
            self.assertLessEqual(cutter.forced, 2 if near else 0, phase)
            durations = [(b - a) // 90 for a, b in itertools.pairwise(starts)]
            if not near:
                self.assertTrue(all(abs(each - 2000) <= 2 for each in durations), (phase, durations))
                self.assertEqual(numbers, list(range(1000, 1000 + len(numbers))))

    def test_files_round_and_round(self) -> None:
        """One keyframe every D, and an earlier one where the file begins again: nothing is forced."""
        for length in (290, 315, 325):
            for phase in range(0, 50, 2):
                start = 2000 * SECOND + phase * 3600
                keys = [
                    start + (times * length + index) * 3600
                    for times in range(4)
                    for index in range(0, length, 50)
                ]
                found = cut(2 * SECOND, start, keys)
                self.assertLessEqual({begin for _, begin, _ in found}, set(keys), (length, phase))
                self.assertEqual([number for number, _, _ in found], list(range(1000, 1000 + len(found))))

    def test_ahead_by_little_is_not_forced(self) -> None:
        """Keyframes every 2 s, D = 5: a segment that began 1.9 s before its cell ends at a keyframe."""
        start = 1000 * 5 * SECOND - 19 * SECOND // 10 // 3600 * 3600
        cutter = SegmentCutter(5 * SECOND, 999)
        cutter.open(start, keyframe=True)
        for index in range(1, 100 * 25):
            dts = start + index * 3600
            if cutter.ends_before(dts, index % 50 == 0, video=True):
                cutter.open(dts, keyframe=index % 50 == 0)
        self.assertEqual(cutter.forced, 0)

    def test_audio_alone_ends_at_the_line_and_nothing_is_forced(self) -> None:
        for last in (None, 1003):
            cutter = SegmentCutter(5 * SECOND, last)
            start = 5000 * SECOND
            numbers = [cutter.open(start)]
            starts = [start]
            for dts in range(start, start + 80 * SECOND, 1920):
                if cutter.ends_before(dts, True, video=False):
                    numbers.append(cutter.open(dts))
                    starts.append(dts)
            self.assertEqual(cutter.forced, 0)
            self.assertEqual(numbers, list(range(numbers[0], numbers[0] + len(numbers))))
            late = [begin - number * 5 * SECOND for number, begin in zip(numbers, starts, strict=True)]
            self.assertTrue(0 <= late[-1] < 1920, "begins at the line")


Event = tuple[str, int, int]


def events() -> st.SearchStrategy[list[Event]]:
    """Runs of frames (seconds, pictures per GOP), silence, restarts with and without memory, clock steps."""
    return st.lists(
        st.one_of(
            st.tuples(st.just("play"), st.integers(1, 25), st.sampled_from([1, 12, 25, 50, 125, 200, 2000])),
            st.tuples(st.just("silence"), st.integers(0, 30), st.just(0)),
            st.tuples(st.just("leave"), st.integers(0, 12), st.just(0)),
            st.tuples(st.just("restart"), st.integers(0, 12), st.just(0)),
            st.tuples(st.just("forget"), st.integers(0, 12), st.just(0)),
            st.tuples(st.just("source"), st.integers(-100_000, 100_000), st.just(0)),
            st.tuples(st.just("utc"), st.integers(-3, 3), st.just(0)),
            st.tuples(st.just("burst"), st.integers(1, 4), st.sampled_from([25, 50])),
        ),
        min_size=1,
        max_size=9,
    )


class TraceTests(SynchronousTestCase):
    """Whole ingests over any trace of frames, silence, restarts and clock steps."""

    def drive(self, trace: list[Event], d: int, audio: bool) -> None:
        origin = Origin(segment_duration=d * SECOND, tracks=AV if audio else AV[:1])
        ingest: Ingest | None = None
        source = 0
        for kind, amount, gop in trace:
            if kind in ("play", "burst"):
                if ingest is None:
                    ingest = origin.publish()
                frames = av(amount, gop, source, audio)
                if kind == "play":
                    origin.play(ingest, frames)
                else:
                    ingest.push(frames)
                source += amount * SECOND
            elif kind == "silence":
                origin.now.ticks += amount * SECOND
                source += amount * SECOND
            elif kind == "source":
                source = max(0, source + amount * SECOND)
            elif kind == "utc":
                # The frame clock is slewed: what is left of a step is a little more or less time that passed.
                origin.now.ticks += amount * SECOND // 100
            else:
                if ingest is not None:
                    ingest.end("left")
                    ingest = None
                origin.now.ticks += amount * SECOND
                if kind == "restart":
                    origin.new_stream()
                elif kind == "forget":
                    last = origin.numbers[-1] if origin.numbers else 0
                    origin.now.ticks = max(origin.now.ticks, (last + 1) * origin.segment_duration)
                    origin.forget()
            still_true(origin)
        if ingest is not None:
            ingest.end("left")
        still_true(origin)
        self.assertEqual(origin.faults, [])

    @settings(deadline=None, max_examples=50, derandomize=True)
    @given(events(), st.sampled_from([1, 2, 5, 10]), st.booleans())
    def test_any_trace(self, trace: list[Event], d: int, audio: bool) -> None:
        self.drive(trace, d, audio)

    @settings(deadline=None, max_examples=25, derandomize=True)
    @given(
        st.lists(st.tuples(st.integers(1, 20), st.integers(0, 8)), min_size=1, max_size=5),
        st.sampled_from([25, 50, 125]),
    )
    def test_discontinuities_are_counted_over_restarts(self, runs: list[tuple[int, int]], gop: int) -> None:
        origin = Origin()
        for seconds, pause in runs:
            ingest = origin.publish()
            origin.play(ingest, av(seconds, gop))
            ingest.end("left")
            origin.now.ticks += pause * SECOND
            origin.new_stream()
        count = 0
        for index, entry in enumerate(origin.closed):
            begins = index > 0 and entry.run.run_id != origin.closed[index - 1].run.run_id
            count += begins
            self.assertEqual(entry.segment.discontinuity, begins)
            self.assertEqual(entry.discontinuity_sequence, count)

    def test_numbers_are_those_of_utc_and_consecutive(self) -> None:
        origin = Origin()
        ingest = origin.publish()
        origin.play(ingest, av(120, gop=50))
        numbers = origin.numbers
        self.assertEqual(numbers, list(range(numbers[0], numbers[0] + len(numbers))))
        self.assertEqual(numbers[0], origin.closed[0].start // origin.segment_duration)
        self.assertEqual(ingest.counters.forced, 0)

    def test_rare_keyframes_with_audio_that_runs_ahead(self) -> None:
        for phase in range(0, 5000, 111):
            origin = Origin()
            origin.now.ticks += phase * 90
            ingest = origin.publish()
            frames = av(40, gop=125)
            frames.sort(key=lambda f: f.dts - (f.track_id == 2) * 9000)
            for frame in frames:
                ingest.push([frame])
                origin.now.ticks += 10 * 90
            still_true(origin)
            numbers = origin.numbers
            self.assertEqual(numbers, list(range(numbers[0], numbers[0] + len(numbers))))
            self.assertLessEqual(ingest.counters.forced, 2 if phase > 4800 else 0, phase)

    def test_no_keyframe_at_all(self) -> None:
        origin = Origin()
        ingest = origin.publish()
        frames = [Frame(f.track_id, f.dts, f.cts, f.track_id == 2, f.data) for f in av(60, 10_000)]
        origin.play(ingest, frames)
        still_true(origin)
        independent = [entry.segment.independent for entry in origin.closed]
        self.assertEqual(independent, [False] * len(origin.closed))
        self.assertEqual(ingest.counters.forced, len(origin.closed))
        self.assertTrue(all(entry.duration <= 7 * SECOND for entry in origin.closed))

    def test_no_keyframe_at_all_late_in_a_cell(self) -> None:
        for phase in range(0, 5000, 177):
            origin = Origin()
            origin.now.ticks += phase * 90
            ingest = origin.publish()
            origin.play(ingest, [Frame(f.track_id, f.dts, f.cts, False, f.data) for f in av(40, audio=False)])
            still_true(origin)
            numbers = origin.numbers
            self.assertEqual(numbers, list(range(numbers[0], numbers[0] + len(numbers))))

    def test_forced_cuts_are_marked_and_counted(self) -> None:
        origin = Origin()
        ingest = origin.publish()
        origin.play(ingest, av(90, gop=25 * 20))
        still_true(origin)
        dependent = [entry for entry in origin.closed if not entry.segment.independent]
        self.assertEqual(ingest.counters.forced, len(dependent) + (not self._open_is_independent(origin)))
        self.assertGreater(len(dependent), 5)

    def _open_is_independent(self, origin: Origin) -> bool:
        assert origin.stream.open is not None
        return origin.stream.open.opening.independent

    def test_audio_alone(self) -> None:
        origin = Origin(tracks=AUDIO)
        ingest = origin.publish()
        frames = [Frame(1, f.dts, 0, True, f.data) for f in av(63, start=777) if f.track_id == 2]
        origin.play(ingest, frames)
        still_true(origin)
        self.assertEqual(ingest.counters.forced, 0)
        for entry in origin.closed[1:]:
            self.assertTrue(0 <= entry.start - entry.number * origin.segment_duration < 1920)
            self.assertTrue(entry.segment.independent)

    def test_comes_back_to_the_grid_after_quick_restarts(self) -> None:
        origin = Origin()
        for _ in range(4):
            ingest = origin.publish()
            origin.play(ingest, av(0.5))
            ingest.end("left")
        last = origin.closed[-1]
        self.assertGreater(last.number, last.start // origin.segment_duration)
        ingest = origin.publish()
        origin.play(ingest, av(200, gop=50))
        still_true(origin)
        last = origin.closed[-1]
        self.assertEqual(last.number, last.start // origin.segment_duration)
        self.assertEqual(ingest.counters.forced, 0)
