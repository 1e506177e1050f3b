"""What the log says of a reload."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from restreamer.config.difference import compare
from restreamer.config.load import parse
from restreamer.tap import summary


class SummaryTests(SynchronousTestCase):
    def test_listeners_and_streams(self) -> None:
        old = parse("http 80; rtsp 554; stream a publish://;").configuration
        new = parse("http 80 { api false; } rtmp 1935; stream b publish://; loglevel debug;").configuration
        self.assertEqual(
            summary(compare(old, new)),
            "streams added: 1, streams removed: 1, http changed: 1, rtmp added: 1, rtsp removed: 1, loglevel",
        )

    def test_nothing(self) -> None:
        same = parse("http 80;").configuration
        self.assertEqual(summary(compare(same, same)), "nothing changed")
