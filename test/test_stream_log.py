"""What the log says of streams, and how often."""

from __future__ import annotations

from typing import cast

from twisted.internet.task import Clock
from twisted.logger import ILogObserver, LogEvent, formatEvent, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase
from typing_extensions import override

from restreamer.live.stream import Stream
from restreamer.live.window import LiveWindow
from restreamer.stream_log import FORCED_EVERY, ForcedLog, StreamLog


class StreamLogTests(SynchronousTestCase):
    @override
    def setUp(self) -> None:
        self.told: list[str] = []

        def observer(event: LogEvent) -> None:
            if event.get("log_namespace") == "restreamer.stream_log":
                self.told.append(formatEvent(event))

        seen = cast(ILogObserver, observer)
        globalLogPublisher.addObserver(seen)
        self.addCleanup(globalLogPublisher.removeObserver, seen)

    def test_nothing_of_a_stream_that_never_was(self) -> None:
        """One that is tried again and again and gives nothing does not end again and again."""
        log = StreamLog(lambda name: None)
        stream = Stream("x", LiveWindow(4))
        log.stream_changed(stream)
        log.stream_removed(stream)
        self.assertEqual(self.told, [])
        stream.traffic.bytes_in = 7
        log.stream_changed(stream)
        log.stream_removed(stream)
        self.assertEqual(
            self.told,
            [
                "stream x has lost its input and waits for it",
                "stream x has ended: 0 segments, 7 bytes taken",
            ],
        )

    def test_forced_segments(self) -> None:
        """The first of a run, then at most once a minute."""
        clock = Clock()
        log = ForcedLog(clock)
        first, second = log.of_run("a"), log.of_run("b")
        for count in range(1, 100):
            first(count)
            clock.advance(FORCED_EVERY / 30)
        second(1)
        counts = [line.split("keyframe, ")[1].split(" so far")[0] for line in self.told]
        self.assertEqual(counts, ["1", "31", "61", "91", "1"])
        self.assertTrue(self.told[0].startswith("stream a: a segment ended without a keyframe, 1 so far: "))
        self.assertIn("keyframe every 2 s", self.told[0])
