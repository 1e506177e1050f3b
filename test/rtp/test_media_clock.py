"""Several RTP clocks put together (rows S19)."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from restreamer.media.timebase import TICKS_PER_SECOND
from restreamer.rtp.media_clock import Synchroniser, TrackClock
from restreamer.rtp.rtcp import ntp_of_ticks

UTC = 1_800_000_000 * TICKS_PER_SECOND


class TrackClockTests(SynchronousTestCase):
    """L{TrackClock}."""

    def test_wraps(self) -> None:
        clock = TrackClock(90_000)
        first = clock.ticks(0xFFFFFF00)
        self.assertEqual(clock.ticks(0x100) - first, 0x200)
        self.assertEqual(clock.ticks(0xFFFFFF00), first)

    def test_other_rates(self) -> None:
        clock = TrackClock(48_000)
        first = clock.ticks(1024)
        self.assertEqual(clock.ticks(2048) - first, 1920)
        self.assertEqual(clock.ticks(2048, later=1024) - first, 3840)

    def test_a_report_does_not_move_it(self) -> None:
        clock = TrackClock(90_000)
        clock.ticks(1000)
        self.assertEqual(clock.peek(500), 500)
        self.assertEqual(clock.ticks(1001), 1001)


class SynchroniserTests(SynchronousTestCase):
    """L{Synchroniser}."""

    def test_one_track_waits_for_its_date_only(self) -> None:
        sync = Synchroniser(1)
        self.assertIsNone(sync.offset(0, 5000, 10.0))
        self.assertFalse(sync.overdue(10.29))
        self.assertTrue(sync.overdue(10.31))
        self.assertEqual(sync.offset(0, 5000, 10.31), -5000)
        self.assertIsNone(sync.utc)

    def test_one_track_and_its_report(self) -> None:
        """Before the first frame, as most send it, or soon behind it."""
        for late in (False, True):
            sync = Synchroniser(1)
            if late:
                self.assertIsNone(sync.offset(0, 5000, 10.0))
            sync.reported(0, ntp_of_ticks(UTC), 4000)
            self.assertEqual(sync.offset(0, 5000, 10.1), UTC - 4000)
            self.assertEqual(sync.utc, 0)

    def test_what_utc_is(self) -> None:
        """By the newest report, whatever the tracks were put together by."""
        sync = Synchroniser(2)
        self.assertIsNone(sync.offset(0, 1000, 10.0))
        self.assertIsNone(sync.offset(1, 2000, 10.0))
        sync.reported(0, ntp_of_ticks(UTC), 1000)
        self.assertIsNone(sync.utc)
        self.assertEqual(sync.offset(0, 90_000, 11.0), -1000)
        self.assertEqual(sync.utc, UTC, "one report dates both")
        sync.reported(0, ntp_of_ticks(UTC + 450_010), 451_000)
        self.assertEqual(sync.utc, UTC + 10)
        sync.reported(0, 0, 500_000)
        self.assertEqual(sync.utc, UTC + 10, "0 says nothing")
        sync.reset()
        self.assertIsNone(sync.utc)

    def test_reports_put_tracks_together(self) -> None:
        sync = Synchroniser(2)
        self.assertIsNone(sync.offset(0, 1000, 0.0))
        self.assertIsNone(sync.offset(1, 500_000, 0.3))
        sync.reported(0, ntp_of_ticks(UTC), 1000)
        sync.reported(1, ntp_of_ticks(UTC + 900), 500_000)
        self.assertEqual(sync.offset(0, 1000, 0.4), UTC - 1000)
        self.assertEqual(sync.offset(1, 500_000, 0.4), UTC + 900 - 500_000)

    def test_without_reports_arrival_counts_after_a_second(self) -> None:
        sync = Synchroniser(2)
        self.assertIsNone(sync.offset(0, 1000, 5.0))
        self.assertIsNone(sync.offset(1, 77, 5.5))
        self.assertTrue(sync.overdue(6.0))
        self.assertEqual(sync.offset(0, 1000, 6.0), -1000)
        self.assertEqual(sync.offset(1, 77, 6.0), 45_000 - 77)

    def test_reports_that_come_late_move_the_second_track_once(self) -> None:
        sync = Synchroniser(2)
        sync.offset(0, 0, 0.0)
        sync.offset(1, 0, 0.0)
        sync.offset(0, 90_000, 1.0)
        sync.reported(0, ntp_of_ticks(UTC), 0)
        sync.reported(1, ntp_of_ticks(UTC + 9000), 0)
        self.assertEqual((sync.offset(0, 0, 2.0), sync.offset(1, 0, 2.0)), (0, 9000))
        sync.reported(1, ntp_of_ticks(UTC + 18_000), 0)
        self.assertEqual(sync.offset(1, 0, 2.0), 9000)

    def test_rtp_info_needs_no_reports(self) -> None:
        """They are waited for, for a moment, to date the frames."""
        sync = Synchroniser(2)
        sync.begins(0, 700)
        sync.begins(1, 900)
        self.assertIsNone(sync.offset(0, 800, 0.0))
        self.assertTrue(sync.overdue(0.3))
        self.assertEqual(sync.offset(0, 800, 0.3), -700)
        self.assertEqual(sync.offset(1, 1000, 0.3), -900)

    def test_clocks_that_are_wrong_do_not_count(self) -> None:
        for wrong in (0, ntp_of_ticks(UTC + 10 * 365 * 86_400 * TICKS_PER_SECOND)):
            sync = Synchroniser(2)
            sync.offset(0, 0, 0.0)
            sync.offset(1, 0, 0.0)
            sync.reported(0, ntp_of_ticks(UTC), 0)
            sync.reported(1, wrong, 0)
            self.assertFalse(sync.locked)
            self.assertEqual((sync.offset(0, 90_000, 1.0), sync.offset(1, 90_000, 1.0)), (0, 0))
