"""A raised segment_duration begins the numbers anew, at ingest and on every edge."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase
from typing_extensions import override

from restreamer.live.ingest import Ingest
from restreamer.live.ledger import Ledger
from restreamer.live.stream import Stream
from restreamer.live.window import LiveWindow
from restreamer.media.timebase import TICKS_PER_SECOND
from restreamer.testing.media import START, aac_track, h264_track, make_frames

NODE = b"n" * 16


class OtherGrid(SynchronousTestCase):
    @override
    def setUp(self) -> None:
        self.ledger = Ledger()
        self.stream = Stream("a", LiveWindow(4))
        self.now = START

    def _publish(self, seconds: int, run_id: int) -> list[int]:
        """Numbers of the window after a publish of 12 s with that segment_duration."""
        ingest = Ingest(
            stream=self.stream,
            run_id=run_id,
            node_id=NODE,
            segment_duration=seconds * TICKS_PER_SECOND,
            now=lambda: self.now,
            ledger=self.ledger,
            ended=lambda reason: None,
        )
        ingest.configure((h264_track(), aac_track()))
        began = self.now
        for frame in make_frames(12, start=0):
            self.now = began + frame.dts
            ingest.push([frame])
        ingest.end("left")
        return [entry.number for entry in self.stream.window.retained]

    def test_raised(self) -> None:
        """The window holds the new grid's numbers alone, near the clock."""
        before = self._publish(4, 1)
        after = self._publish(5, 2)
        self.assertLess(max(after), min(before))
        grid = self.now // (5 * TICKS_PER_SECOND)
        self.assertTrue(all(abs(number - grid) < 5 for number in after), (after, grid))

    def test_lowered(self) -> None:
        """Numbers rise by themselves."""
        before = self._publish(5, 1)
        after = self._publish(4, 2)
        self.assertGreater(max(after), max(before))

    def test_kept(self) -> None:
        """With the same grid a second publish goes on above the first."""
        before = self._publish(4, 1)
        after = self._publish(4, 2)
        self.assertTrue(set(before) & set(after))
        self.assertGreater(max(after), max(before))
