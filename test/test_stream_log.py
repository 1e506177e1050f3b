"""What the log says of streams, and how often."""

from __future__ import annotations

from typing import cast

from twisted.internet.task import Clock
from twisted.logger import ILogObserver, LogEvent, formatEvent, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase
from typing_extensions import override

from restreamer.live.stream import Stream, Traffic
from restreamer.live.window import LiveWindow
from restreamer.stream_log import FORCED_EVERY, ForcedLog, StreamLog


class Running:
    """A stream that runs."""

    name = "x"
    running = True
    local = False
    ended = False
    tracks = ()
    traffic = Traffic(bytes_in=7, segments=3)


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
        log = StreamLog(lambda name: None, Clock())
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

    def test_who_feeds_it(self) -> None:
        """The input that took the stream is named, though it says that it did only after it has."""
        clock, sources = Clock(), ["origin2:80"]
        log = StreamLog(lambda name: sources[0], clock)
        stream = cast(Stream, Running())
        log.stream_changed(stream)
        sources[0] = "origin1:80"
        self.assertEqual(self.told, [])
        clock.advance(0)
        self.assertEqual(self.told, ["stream x runs, from source origin1:80: "])
        log.stream_changed(stream)
        log.stream_removed(stream)
        clock.advance(0)
        self.assertEqual(self.told[1:], ["stream x has ended: 3 segments, 7 bytes taken"])
        self.assertEqual(clock.getDelayedCalls(), [])

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
