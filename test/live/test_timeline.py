"""Publishers' clocks: jumps, wraps, drift, tracks apart, and what comes out."""

from __future__ import annotations

import itertools

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from restreamer.live.timeline import DRIFT_LIMIT, LEAD_LIMIT, LONGEST_DELAY, Timeline
from restreamer.live.utc_clock import SLEW, UtcClock
from restreamer.media.frame import Frame
from restreamer.testing.media import START
from test.live.rig import SECOND

STEP = 3600
_SETTINGS = settings(deadline=None, max_examples=60, derandomize=True)


def frame(dts: int, track: int = 1, cts: int = 0) -> Frame:
    return Frame(track, dts, cts, True, b"x")


class Player:
    """Feeds a timeline frame by frame, UTC passing by the step of the frames."""

    def __init__(self, start: int = START) -> None:
        self.timeline = Timeline()
        self.now = start
        self.given: list[Frame] = []
        self.breaks: list[int] = []

    def take(self, dts: int, track: int = 1, cts: int = 0, after: int = STEP) -> Frame:
        self.now += after
        mapped, broken = self.timeline.map(frame(dts, track, cts), self.now)
        if broken:
            self.breaks.append(len(self.given))
        self.given.append(mapped)
        return mapped

    def lags(self) -> tuple[int, int]:
        """Least and most ticks that frames came after their own time."""
        return -self.timeline.lead, self.now - self.given[-1].dts


class DatedTests(SynchronousTestCase):
    """Publishers that say what UTC their clock shows (rows S19, C09)."""

    def test_plausible_or_not(self) -> None:
        """What is told counts from 2 s before to 0.5 s after the arrival."""
        year = 365 * 86_400 * SECOND
        for late, heeded in (
            (0, True),
            (SECOND, True),
            (2 * SECOND, True),
            (2 * SECOND + 900, False),
            (10 * SECOND, False),
            (-SECOND // 2, True),
            (-SECOND // 2 - 900, False),
            (10 * year, False),
            (-10 * year, False),
            (START + 2_208_988_800 * SECOND, False),  # NTP 0
        ):
            player = Player()
            arrival = START + STEP
            player.timeline.told = arrival - late - 777_600
            first = player.take(777_600)
            self.assertEqual(first.dts, arrival - late if heeded else arrival, late)

    def test_nothing_moves_but_at_an_anchor(self) -> None:
        player = Player()
        first = player.take(0)
        player.timeline.told = START - 3 * SECOND
        self.assertEqual(player.take(STEP).dts - first.dts, STEP)
        # A jump of the clock: a new anchor, where the publisher says.
        player.timeline.told = player.now + SECOND - 900 * SECOND
        jumped = player.take(900 * SECOND, after=2 * SECOND)
        self.assertEqual((player.breaks, jumped.dts), ([2], player.now - SECOND))

    def test_never_back(self) -> None:
        """Neither behind what this run gave, nor behind what was shown before."""
        player = Player()
        player.timeline.earliest = START + 900_000
        player.timeline.told = START
        self.assertEqual(player.take(0).dts, START + 900_000)
        player.timeline.told = player.now - 90 * SECOND
        jumped = player.take(85 * SECOND)
        self.assertEqual(player.breaks, [1])
        self.assertGreater(jumped.dts, player.given[0].dts)

    def test_what_is_dated_back_is_no_drift(self) -> None:
        """A source 2 s behind is not anchored again and again; one that falls behind further is."""
        player = Player()
        player.timeline.told = START + STEP - 2 * SECOND
        for index in range(40):
            player.take(index * SECOND, after=SECOND if index else STEP)
            self.assertFalse(player.timeline.boundary(player.now), index)
        player.timeline.told = None
        behind = []
        for index in range(40, 160):
            player.take(index * SECOND, after=SECOND * 11 // 10)
            behind.append(player.timeline.boundary(player.now))
        self.assertTrue(50 < behind.index(True) < 110)


class JumpTests(SynchronousTestCase):
    """R11: what a publisher's timestamps may do."""

    def test_an_undisturbed_run_keeps_every_distance(self) -> None:
        for origin in (0, 1, -5 * SECOND, 1 << 33, 1 << 53, 1 << 63, 1 << 80):
            player = Player()
            for index in range(300):
                player.take(origin + index * STEP, cts=index % 3 * STEP)
            first = player.given[0]
            self.assertEqual(first.dts, START + STEP)
            self.assertEqual([f.dts - first.dts for f in player.given], [i * STEP for i in range(300)])
            self.assertEqual([f.cts for f in player.given], [i % 3 * STEP for i in range(300)])
            self.assertEqual((player.breaks, player.timeline.anchors, player.timeline.lifted), ([], 1, 0))

    def test_anchors_lie_on_whole_microseconds(self) -> None:
        """Whatever tick it is; else browsers round the first picture to before zero and lose its segment."""
        for tick in range(9):
            player = Player(START + tick)
            given = [player.take(90 * 41 * n) for n in range(3)]
            given += [player.take(7 + SECOND * n) for n in (4, 0)]  # jumps back: a new anchor
            self.assertEqual(player.breaks, [4])
            self.assertEqual([each.dts % 9 for each in (*given[:3], given[4])], [0] * 4, tick)

    def test_a_millisecond_back_is_lifted_and_pts_kept(self) -> None:
        player = Player()
        player.take(0)
        player.take(STEP)
        lifted = player.take(STEP - 90, cts=3 * STEP)
        self.assertEqual(lifted.dts, player.given[1].dts + 1)
        self.assertEqual(lifted.pts, player.given[0].dts + STEP - 90 + 3 * STEP)
        self.assertEqual((player.breaks, player.timeline.lifted), ([], 1))

    def test_jumps_make_one_discontinuity(self) -> None:
        for jump in (-10 * SECOND, -100 * SECOND, 86_400 * SECOND, 6 * SECOND, -(1 << 40), 1 << 62):
            player = Player()
            for index in range(250):
                player.take(1000 * SECOND + index * STEP)
            for index in range(250):
                player.take(1000 * SECOND + 250 * STEP + jump + index * STEP)
            self.assertEqual(player.breaks, [250], jump)
            self.assertEqual(player.timeline.anchors, 2)
            dts = [f.dts for f in player.given]
            self.assertEqual(dts, sorted(set(dts)))
            self.assertLess(abs(player.now - player.given[-1].dts), SECOND)

    def test_to_zero(self) -> None:
        player = Player()
        for index in range(100):
            player.take(50 * SECOND + index * STEP)
        for index in range(100):
            player.take(index * STEP)
        self.assertEqual(player.breaks, [100])

    def test_silence_is_no_jump(self) -> None:
        player = Player()
        player.take(0)
        player.take(60 * SECOND, after=60 * SECOND)
        self.assertEqual(player.breaks, [])
        self.assertEqual(player.given[1].dts - player.given[0].dts, 60 * SECOND)

    def test_both_tracks_jump_and_late_frames_of_the_old_clock_come_between(self) -> None:
        for jump in (-30 * SECOND, 400 * SECOND):
            player = Player()
            for index in range(100):
                player.take(40 * SECOND + index * STEP, 1)
                player.take(40 * SECOND + index * STEP, 2, after=0)
            base = 40 * SECOND + jump
            player.take(base + 100 * STEP, 1)
            player.take(40 * SECOND + 100 * STEP, 2, after=0)  # the audio is still on the old clock
            player.take(base + 101 * STEP, 1)
            late = player.take(40 * SECOND + 101 * STEP, 2, after=0)
            self.assertLess(abs(late.dts - player.now), SECOND)
            for index in range(102, 200):
                player.take(base + index * STEP, 1)
                player.take(base + index * STEP, 2, after=0)
            self.assertEqual(player.breaks, [200], "one break for both tracks")
            self.assertEqual(player.given[-1].dts, player.given[-2].dts, "the tracks are together again")

    def test_audio_far_from_video_is_no_storm(self) -> None:
        for apart in (10 * SECOND, 3600 * SECOND, -3600 * SECOND, 1 << 50):
            player = Player()
            for index in range(500):
                player.take(index * STEP, 1)
                player.take(index * STEP + apart, 2, after=0)
            self.assertEqual(player.breaks, [1], apart)
            self.assertLess(abs(player.timeline.lead), SECOND)
            for track in (1, 2):
                dts = [f.dts for f in player.given if f.track_id == track]
                self.assertEqual([b - a for a, b in itertools.pairwise(dts)], [STEP] * 499)

    def test_audio_a_little_ahead_stays_in_time(self) -> None:
        player = Player()
        for index in range(100):
            player.take(index * STEP + 2 * SECOND, 2)
            player.take(index * STEP, 1, after=0)
        self.assertEqual(player.breaks, [])
        self.assertEqual(player.given[-2].dts - player.given[-1].dts, 2 * SECOND)

    def test_a_track_whose_clock_stands_still(self) -> None:
        player = Player()
        for index in range(25 * 100):
            player.take(index * STEP, 2)
            player.take(0, 1, after=0)
        self.assertEqual(len(player.breaks), 3)
        self.assertLess(abs(player.given[-1].dts - player.now), 31 * SECOND)

    def test_equal_times_rise_by_ticks(self) -> None:
        player = Player()
        for _ in range(10_000):
            player.take(77, after=0)
        dts = [f.dts for f in player.given]
        self.assertEqual(dts, list(range(dts[0], dts[0] + 10_000)))

    def test_composition_offsets(self) -> None:
        player = Player()
        self.assertEqual(player.take(0, cts=-STEP).cts, 0)
        self.assertEqual(player.take(STEP, cts=1 << 40).cts, LONGEST_DELAY)
        self.assertEqual(player.take(2 * STEP, cts=5).cts, 5)

    def test_pts_before_dts_in_every_picture(self) -> None:
        player = Player()
        for index in range(100):
            player.take(index * STEP, cts=(index % 4 - 2) * STEP)
        self.assertTrue(all(f.pts >= f.dts for f in player.given))

    @_SETTINGS
    @given(
        st.lists(
            st.tuples(
                st.integers(1, 3),
                st.one_of(
                    st.integers(-200, 200),
                    st.integers(-(1 << 34), 1 << 34),
                    st.sampled_from([-(1 << 63), 1 << 63, 0]),
                ),
                st.integers(0, 40 * SECOND),
                st.integers(-(1 << 31), 1 << 31),
            ),
            max_size=60,
        )
    )
    def test_anything(self, steps: list[tuple[int, int, int, int]]) -> None:
        """DTS rises in each track, stays near UTC, and a discontinuity begins after everything before it."""
        player = Player()
        source = 0
        last: dict[int, int] = {}
        newest: int | None = None
        for track, step, after, cts in steps:
            source += step
            mapped = player.take(source, track, cts, after)
            self.assertGreater(mapped.dts, last.get(track, -1))
            last[track] = mapped.dts
            if player.breaks and player.breaks[-1] == len(player.given) - 1 and newest is not None:
                self.assertGreater(mapped.dts, newest)
            newest = mapped.dts if newest is None else max(newest, mapped.dts)
            self.assertTrue(0 <= mapped.cts <= LONGEST_DELAY)
            self.assertLess(player.timeline.lead, 400 * SECOND)


class PaceTests(SynchronousTestCase):
    """Clocks that run at another speed."""

    def test_a_file_sent_at_once_is_paced(self) -> None:
        """Held back by what L{Timeline.wait} asks for, the publisher never gets far ahead."""
        player = Player()
        waited = 0.0
        index = 0
        while player.now < START + 600 * SECOND:
            player.take(index * STEP, after=0)
            index += 1
            wait = player.timeline.wait()
            self.assertLessEqual(wait, 1.0)
            waited += wait
            player.now += int(wait * SECOND) + 1
        self.assertLessEqual(player.timeline.lead, LEAD_LIMIT + STEP + 1)
        self.assertEqual(player.breaks, [])
        self.assertGreater(waited, 590)

    def test_real_time_is_never_held(self) -> None:
        player = Player()
        for index in range(1000):
            player.take(index * STEP)
            self.assertEqual(player.timeline.wait(), 0.0)

    def drift(self, seconds: int, rate: float, late: int = 0) -> tuple[Player, list[int]]:
        """Segments of 5 s of a publisher whose clock runs at C{rate}; where it was anchored anew."""
        player = Player()
        anchored = []
        boundary = 0
        for index in range(seconds * 25):
            source = int(index * STEP * rate)
            mapped = player.take(source)
            if mapped.dts - boundary >= 5 * SECOND:
                if player.timeline.boundary(player.now):
                    before = player.given[-2].dts
                    mapped = player.timeline.reanchor(mapped, source, player.now)
                    self.assertGreater(mapped.dts, before)
                    player.given[-1] = mapped
                    anchored.append(index)
                boundary = mapped.dts
        return player, anchored

    def test_a_slow_clock_is_anchored_anew_at_a_boundary(self) -> None:
        player, anchored = self.drift(600, 0.9)
        self.assertGreater(len(anchored), 3)
        self.assertLess(player.now - player.given[-1].dts, DRIFT_LIMIT + 45 * SECOND // 5)
        dts = [f.dts for f in player.given]
        self.assertEqual(dts, sorted(set(dts)))

    def test_late_for_half_a_minute_before_anything_is_done(self) -> None:
        """Ten seconds lost: the window in which the run began does not count, the next one does."""
        player = Player()
        player.take(0)
        player.now += 10 * SECOND
        moved = []
        for index in range(1, 25 * 75):
            player.take(index * STEP)
            if player.timeline.boundary(player.now):
                moved.append(player.now - START)
        self.assertEqual([at // SECOND for at in moved], [60])

    def test_100_ppm_for_hours_is_left_alone_until_5_seconds(self) -> None:
        player = Player()
        hours = 10
        for index in range(hours * 3600):
            player.take(int(index * SECOND * 0.9999), after=SECOND)
            self.assertFalse(index % 5 == 0 and player.timeline.boundary(player.now))
        self.assertLess(abs(player.now - player.given[-1].dts), DRIFT_LIMIT)

    def test_two_sources_300_ms_apart_keep_their_distance(self) -> None:
        one, other = Player(), Player(START + 3 * SECOND // 10)
        for index in range(500):
            one.take(index * STEP)
            other.take(1 << 50 | index * STEP)
        self.assertEqual(other.given[-1].dts - one.given[-1].dts, 3 * SECOND // 10)

    def test_a_link_that_is_late_now_and_then_is_no_drift(self) -> None:
        player = Player()
        for index in range(25 * 300):
            player.take(index * STEP, after=STEP)
            if index % 500 == 499:
                player.now += 20 * SECOND  # the network stood still, then everything comes at once
                for more in range(index + 1, index + 501):
                    _mapped, broken = player.timeline.map(frame(more * STEP), player.now)
                    self.assertFalse(broken)
                break
        self.assertFalse(player.timeline.boundary(player.now))

    def test_reanchoring_moves_all_tracks(self) -> None:
        player = Player()
        for index in range(100):
            player.take(index * STEP, 1)
            player.take(index * STEP, 2, after=0)
        player.now += 20 * SECOND
        picture = player.take(100 * STEP, 1)
        moved = player.timeline.reanchor(picture, 100 * STEP, player.now)
        self.assertEqual(moved.dts, player.now)
        sound = player.take(100 * STEP, 2, after=0)
        self.assertEqual(sound.dts, moved.dts)


class UtcClockTests(SynchronousTestCase):
    """C08: the wall clock steps, the frame clock does not."""

    def run_for(self, seconds: int, wall_step: float) -> tuple[UtcClock, list[float], list[float]]:
        mono, offset = [100.0], [1_700_000_000.0]
        clock = UtcClock(lambda: mono[0], lambda: mono[0] + offset[0])
        values, steps = [clock.seconds()], []
        for index in range(seconds * 10):
            mono[0] += 0.1
            if index == 50:
                offset[0] += wall_step
            values.append(clock.seconds())
            steps.append(values[-1] - values[-2])
        return clock, values, steps

    def test_steps_are_slewed(self) -> None:
        for step in (-3600.0, 3600.0, 315_360_000.0, -1.0, 1.0, 0.0):
            clock, values, steps = self.run_for(300, step)
            self.assertTrue(all(0.1 * (1 - SLEW) - 1e-6 <= each <= 0.1 * (1 + SLEW) + 1e-6 for each in steps))
            self.assertEqual(values, sorted(values))
            left = abs(clock.error())
            self.assertLess(abs(left - max(0.0, abs(step) - 295 * SLEW)), 0.1)

    def test_reading_twice_at_once_changes_nothing(self) -> None:
        clock = UtcClock(lambda: 5.0, lambda: 77.0)
        self.assertEqual({clock.seconds() for _ in range(5)}, {77.0})
        self.assertEqual(clock.ticks(), 77 * SECOND)

    def test_a_monotonic_clock_that_falls_back_is_ignored(self) -> None:
        times = iter([10.0, 10.0, 5.0, 6.0, 7.0])
        clock = UtcClock(lambda: next(times), lambda: 1000.0)
        before = clock.seconds()
        self.assertGreaterEqual(clock.seconds(), before)
        self.assertGreaterEqual(clock.seconds(), before)
