"""Publishers that send more than their timestamps say, or come and go."""

from __future__ import annotations

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from restreamer.live.feed import FeedLimits
from restreamer.live.ingest import Ingest
from restreamer.live.ledger import Ledger
from restreamer.live.playout import Playout
from restreamer.live.registry import EMPTY_SECONDS, StreamRegistry, StreamSettings
from restreamer.live.stream import Stream
from restreamer.live.window import MAX_WINDOW_BYTES, MIN_SEGMENTS, LiveWindow
from restreamer.media.frame import Frame
from restreamer.media.timebase import TICKS_PER_SECOND
from restreamer.testing.media import START, h264_track, nal

NODE = b"n" * 16


class HostilePublisher(SynchronousTestCase):
    def _ingest(self, stream: Stream) -> Ingest:
        self.now = START
        ingest = Ingest(
            stream=stream,
            run_id=1,
            node_id=NODE,
            segment_duration=2 * TICKS_PER_SECOND,
            now=lambda: self.now,
            ledger=Ledger(),
            ended=lambda reason: None,
        )
        ingest.configure((h264_track(),))
        return ingest

    def test_timestamps_that_stand_still(self) -> None:
        """Megabytes at one timestamp fill a bounded window, not the memory."""
        stream = Stream("a", LiveWindow(6))
        ingest = self._ingest(stream)
        picture = nal(0x65, 1, 1_000_000)
        for _ in range(220):
            ingest.push([Frame(1, 0, 0, True, picture)])
        held = [len(entry.segment.encoded) for entry in stream.window.retained]
        self.assertGreaterEqual(len(held), MIN_SEGMENTS)
        self.assertLess(sum(held), MAX_WINDOW_BYTES + 26 * 1024 * 1024)

    def test_a_clock_that_stands_still_closes_segments(self) -> None:
        """Frames that come in real time with one timestamp still become segments."""
        stream = Stream("a", LiveWindow(6))
        ingest = self._ingest(stream)
        for _ in range(25 * 60):
            ingest.push([Frame(1, 0, 0, True, nal(0x65, 1, 500))])
            self.now += TICKS_PER_SECOND // 25
        self.assertGreaterEqual(stream.traffic.segments, 5)

    def test_names_that_never_bring_a_segment(self) -> None:
        """A name whose publisher left at once is free again within seconds."""
        clock = Clock()
        registry = StreamRegistry(
            clock,
            Ledger(),
            lambda stream: Playout(stream, clock, {}, FeedLimits()),
            lambda what, error: self.fail(f"{what}: {error}"),
        )
        registry.obtain("live/nothing", StreamSettings(source_timeout=60.0))
        clock.advance(EMPTY_SECONDS)
        self.assertEqual(len(registry), 0)
        self.assertEqual(clock.getDelayedCalls(), [])
