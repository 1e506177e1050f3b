"""What anybody can cause does not fill the log."""

from __future__ import annotations

from twisted.logger import LogLevel, capturedLogs, formatEvent

from test.rtsp.case import ServerTestCase


class LogTests(ServerTestCase):
    """Lines at info."""

    def lines(self, rounds: int) -> list[str]:
        with capturedLogs() as events:
            for _ in range(rounds):
                peer = self.rig.peer("192.0.2.9")
                self.assertEqual(peer.ask("DESCRIBE", "/nothing").status, 404)
                peer.lose()
        return [
            text for event in events if event["log_level"] >= LogLevel.info and (text := formatEvent(event))
        ]

    def test_refused_requests(self) -> None:
        """Each costs lines; of one address few are said, and how many were not."""
        self.assertEqual(len(self.lines(50)), 6)
        self.rig.clock.advance(10.5)
        [line] = self.lines(1)
        self.assertIn("DESCRIBE of nothing refused: no such stream (94 lines about it left out)", line)

    def test_what_is_served_is_told(self) -> None:
        self.lines(50)
        with capturedLogs() as events:
            peer = self.playing(self.rig.peer("192.0.2.9"))
            peer.lose()
        self.assertEqual(sum(" closed after " in (formatEvent(event) or "") for event in events), 1)
