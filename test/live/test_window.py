"""The live window: order, gaps, what stays unlisted, repeats; and the ledger beside it."""

from __future__ import annotations

from hypothesis import example, given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase
from typing_extensions import override

from restreamer.hls.playlist import ListedGap, segment_lines
from restreamer.live import ledger as ledger_module
from restreamer.live.ledger import Ledger
from restreamer.live.window import HIDDEN_SEGMENTS, LiveWindow, WindowGap, WindowSegment
from restreamer.m4f.records import RunInfo
from restreamer.m4f.segment import Segment, SegmentBuilder, SegmentOpening
from restreamer.media.frame import Frame
from test.live.rig import AV, NODE, SECOND, D

RUN = RunInfo(1, 0, NODE, (NODE,))


def segment(
    number: int, duration: int = D, start: int | None = None, data: bytes = b"x", ds: int = 0
) -> Segment:
    start = number * D if start is None else start
    builder = SegmentBuilder(SegmentOpening(number, start, False, True, ds, AV))
    builder.add(Frame(1, start, 0, True, data))
    return builder.close(duration)


class WindowTests(SynchronousTestCase):
    """One window."""

    def filled(self, *numbers: int, count: int = 4) -> LiveWindow:
        window = LiveWindow(count)
        for number in numbers:
            self.assertIsNotNone(window.add(segment(number), RUN, D))
        return window

    def test_the_newest_are_listed_and_two_more_kept(self) -> None:
        window = self.filled(*range(100, 120))
        self.assertEqual([e.number for e in window.entries], [115, 116, 117, 118, 119])
        self.assertEqual([e.number for e in window.retained], [113, 114, 115, 116, 117, 118, 119])
        self.assertIsNone(window.find(112))
        late = window.find(113)
        assert late is not None
        self.assertEqual(late.number, 113)
        self.assertEqual((window.last_number, window.target_duration), (119, 7))

    def test_a_gap_begins_a_stretch_until_it_is_filled(self) -> None:
        window = self.filled(100, 101, 103, 104)
        begun = {e.number: e.stretch.number for e in window.retained if e.stretch is not None}
        self.assertEqual(begun, {100: 0, 101: 0, 103: 103, 104: 103})
        window.fill(segment(102), RUN, D)
        self.assertEqual({e.stretch for e in window.retained}, {window.retained[0].stretch})
        self.assertEqual({e.run.stretch for e in window.retained}, {window.retained[0].stretch})

    def test_a_longer_playlist_grows_at_its_end(self) -> None:
        """Raising segment_count lists nothing again that had left the playlist (RFC 8216 section 6.2.2)."""
        window = self.filled(*range(100, 120))
        window.segment_count = 6
        for number in range(120, 124):
            window.add(segment(number), RUN, D)
            listed = [e.number for e in window.entries]
            self.assertEqual(listed, list(range(max(115, number - 5), number + 1)))
        window.clear()
        window.add(segment(7), RUN, D)
        self.assertEqual([e.number for e in window.entries], [7])

    def test_version_rises_with_every_change(self) -> None:
        window = LiveWindow(4)
        versions = [window.version]
        for number in range(10):
            window.add(segment(number), RUN, D)
            versions.append(window.version)
        window.clear()
        versions.append(window.version)
        self.assertEqual(versions, sorted(set(versions)))
        self.assertEqual((window.entries, window.last, window.last_number), ((), None, None))

    def test_an_outage_within_the_window(self) -> None:
        window = self.filled(10, 11, 14)
        self.assertEqual(
            [type(e) for e in window.entries],
            [WindowSegment, WindowSegment, WindowGap, WindowGap, WindowSegment],
        )
        gap = window.entries[2]
        assert isinstance(gap, WindowGap)
        self.assertEqual((gap.number, gap.start, gap.duration), (12, 12 * D, D))
        lines = segment_lines(ListedGap(gap.number, gap.start, gap.duration, gap.discontinuity_sequence))
        self.assertIn("#EXT-X-GAP\n#EXTINF:5.000,\n", lines)

    def test_gaps_are_never_first(self) -> None:
        window = self.filled(10, 15)
        self.assertEqual([e.number for e in window.entries], [15])
        for number in (16, 17, 18, 19, 20):
            window.add(segment(number), RUN, D)
            self.assertIsInstance(window.entries[0], WindowSegment)

    def test_a_jump_beyond_the_window_costs_nothing(self) -> None:
        window = self.filled(10, 11, 10 + 10**9)
        self.assertEqual([e.number for e in window.entries], [10 + 10**9])
        window.add(segment(1 << 62, start=11 * D), RUN, D)
        self.assertEqual(window.last_number, 1 << 62)

    def test_gap_times_are_bounded_and_never_fall_back(self) -> None:
        window = LiveWindow(8)
        window.add(segment(10), RUN, D)
        window.add(segment(14, start=10 * D + 2 * SECOND), RUN, D)  # it begins before the other one ended
        gaps = [e for e in window.entries if isinstance(e, WindowGap)]
        self.assertEqual([g.duration for g in gaps], [D, D, D])

    def test_repeats_first_wins(self) -> None:
        window = self.filled(10, 11)
        self.assertIsNone(window.add(segment(11), RUN, D))
        self.assertEqual((window.repeats, window.mismatches), (1, 0))
        self.assertIsNone(window.add(segment(11, data=b"other"), RUN, D))
        self.assertIsNone(window.add(segment(3), RUN, D))
        self.assertEqual((window.repeats, window.mismatches), (3, 1))
        last = window.last
        assert last is not None
        self.assertEqual(last.segment.frames()[0].data, b"x")

    def test_target_duration_covers_every_segment_held(self) -> None:
        window = LiveWindow(2)
        window.add(segment(1, duration=12 * SECOND), RUN, 10 * SECOND)
        window.add(segment(9, duration=5 * SECOND), RUN, D)
        self.assertEqual(window.target_duration, 12)
        window.add(segment(10, duration=9 * SECOND), RUN, D)  # history of a run with another D
        self.assertGreaterEqual(window.target_duration, 9)
        for number in range(11, 20):
            window.add(segment(number), RUN, D)
        self.assertEqual(window.target_duration, 7)

    def test_fractions_of_a_second(self) -> None:
        window = LiveWindow(2)
        window.add(segment(1, duration=1), RUN, SECOND * 3 // 2)
        self.assertEqual(window.target_duration, 4)

    def test_packages_are_made_once(self) -> None:
        window = self.filled(1)
        made: list[Segment] = []

        def make(each: Segment) -> bytes:
            made.append(each)
            return b"packed"

        entry = window.last
        assert entry is not None
        self.assertIs(entry.packaged("ts", make), entry.packaged("ts", make))
        entry.packaged("mp4", make)
        self.assertEqual(made, [entry.segment] * 2)

    @settings(deadline=None, max_examples=80, derandomize=True)
    @example([(9, 1), (2, 1), (3, 7 * SECOND), (3, 7 * SECOND), (9, SECOND), (1, 7 * SECOND)], 2)
    @given(
        st.lists(st.tuples(st.integers(-3, 9), st.integers(1, 7 * SECOND)), max_size=30), st.integers(1, 6)
    )
    def test_any_numbers(self, steps: list[tuple[int, int]], count: int) -> None:
        """Listed numbers are consecutive, nothing listed falls back, bounds hold; a playlist is as short as
        it may be (RFC 8216 section 6.2.2).
        """
        window = LiveWindow(count)
        number = 1000
        start = number * D
        firsts = []
        for step, duration in steps:
            number += step
            start += max(0, step) * D
            window.add(segment(number, duration, start), RUN, D)
            numbers = [e.number for e in window.entries]
            self.assertEqual(numbers, list(range(numbers[0], numbers[0] + len(numbers))) if numbers else [])
            if len(numbers) > count:
                rest = sum(e.duration for e in window.entries[1:])
                self.assertLess(rest, 3 * window.target_duration * SECOND, "as many as must be")
            self.assertLessEqual(len(window.retained), max(count, len(numbers)) + HIDDEN_SEGMENTS)
            self.assertTrue(all(0 < e.duration <= window.target_duration * SECOND for e in window.entries))
            if numbers:
                firsts.append(numbers[0])
        self.assertEqual(firsts, sorted(firsts))


class ShownTests(SynchronousTestCase):
    """What is shown of segments after switches; late segments."""

    @override
    def setUp(self) -> None:
        self.window = LiveWindow(6)

    def add(
        self,
        number: int,
        run_id: int,
        flag: bool = False,
        sequence: int = 0,
        more: int = 0,
        fill: bool = False,
    ) -> tuple[bool, int, int] | None:
        opening = SegmentOpening(number, number * D, flag, True, sequence, AV)
        segment = SegmentBuilder(opening).close(D)
        take = self.window.fill if fill else self.window.add
        entry = take(segment, RunInfo(run_id, 0, NODE, (NODE,), more), D)
        if entry is None:
            return None
        return entry.discontinuity, entry.discontinuity_sequence, entry.run.discontinuities

    def test_one_run(self) -> None:
        """What the bytes say."""
        self.assertEqual(self.add(1, 1, sequence=4), (False, 4, 0))
        self.assertEqual(self.add(2, 1, sequence=4), (False, 4, 0))
        self.assertEqual(self.add(3, 1, True, 5), (True, 5, 0))

    def test_a_publisher_that_came_back(self) -> None:
        self.add(1, 1, sequence=4)
        self.assertEqual(self.add(2, 2, True, 5), (True, 5, 0))

    def test_switches(self) -> None:
        """One more at each, whatever the segments say; the sequence never falls."""
        self.add(1, 1, sequence=4)
        self.assertEqual(self.add(2, 2, False, 0), (True, 5, 5))
        self.assertEqual(self.add(3, 2, True, 1), (True, 6, 5))
        self.assertEqual(self.add(4, 1, False, 4), (True, 7, 3))
        self.assertEqual(self.add(5, 3, True, 90), (True, 8, -82))

    def test_the_first_of_a_window_is_what_the_node_before_shows(self) -> None:
        self.assertEqual(self.add(2, 2, False, 0, 5), (False, 5, 5))
        self.assertEqual(self.add(3, 2, True, 1, 5), (True, 6, 5))

    def test_a_gap_is_filled(self) -> None:
        self.add(1, 1)
        self.add(4, 1)
        version = self.window.version
        self.assertEqual(self.add(2, 1, fill=True), (False, 0, 0))
        self.assertGreater(self.window.version, version)
        kinds = [type(entry).__name__ for entry in self.window.entries]
        self.assertEqual(kinds, ["WindowSegment", "WindowSegment", "WindowGap", "WindowSegment"])
        self.assertEqual([e.number for e in self.window.retained], [1, 2, 4])
        self.assertEqual(self.add(5, 1, fill=True), (False, 0, 0))

    def test_there_is_no_place(self) -> None:
        """Held already, before the window, or where the window has no gap any more."""
        for number in (3, 4):
            self.add(number, 1)
        for number in (2, 3, 4):
            self.assertIsNone(self.add(number, 1, fill=True))
        self.assertEqual([e.number for e in self.window.entries], [3, 4])
        self.assertEqual(self.window.repeats, 3)
        self.add(1000, 1)
        self.assertIsNone(self.add(500, 1, fill=True))


class LedgerTests(SynchronousTestCase):
    """What outlives a restart."""

    def test_round_trip(self) -> None:
        ledger = Ledger()
        ledger.note("a", 5, 0)
        ledger.note("b", 7, 2)
        ledger.note("a", 6, 1)
        other = Ledger()
        self.assertEqual(other.restore(ledger.rows()), 2)
        self.assertEqual((other.last("a"), other.last("b"), other.last("c")), ((6, 1), (7, 2), None))
        self.assertFalse(other.changed)
        self.assertTrue(ledger.changed)

    def test_what_does_not_look_right_is_passed_over(self) -> None:
        ledger = Ledger()
        good = {"ok": [1, 2]}
        hostile: tuple[object, ...] = (
            None,
            [],
            "x",
            {"a": [1]},
            {"a": [1, 2, 3]},
            {"a": [-1, 0]},
            {"a": [1.5, 0]},
            {"a": "12"},
            {3: [1, 2]},
            {"a": [1 << 62, 0]},
            {"a": [True, None]},
        )
        for bad in hostile:
            self.assertEqual(ledger.restore(bad), 0, bad)
        self.assertEqual(ledger.restore(good), 1)

    def test_bounded(self) -> None:
        self.patch(ledger_module, "MAX_NAMES", 3)
        ledger = Ledger()
        for index in range(10):
            ledger.note("kept", index, 0)
            ledger.note(f"n{index}", index, 0)
        self.assertEqual(sorted(ledger.rows()), ["kept", "n8", "n9"])
        other = Ledger()
        other.restore({f"n{index}": [1, 1] for index in range(10)})
        self.assertLessEqual(len(other.rows()), 3)
