"""Viewers of streams that another node has are sent there (RFC 2326 section 11.2)."""

from __future__ import annotations

from restreamer.errors import REDIRECTED, Reason, Redirected
from restreamer.rtsp.refusal import STATUS_OF_REASON, refused
from test.rtsp.case import ServerTestCase

THERE = Redirected("http://b.example", "", "rtsp://b.example:8554")


class RedirectTests(ServerTestCase):
    def test_describe(self) -> None:
        """The same stream and query, and the mark; the connection goes on."""
        self.rig.core.refuse = THERE
        reply = self.peer.ask("DESCRIBE", "/live/a%2db?token=t")
        self.assertEqual(reply.status, 302)
        self.assertEqual(reply.header("location"), f"rtsp://b.example:8554/live/a-b?token=t&{REDIRECTED}")
        self.assertEqual(self.peer.ask("OPTIONS").status, 200)

    def test_setup_alone(self) -> None:
        """A player that asks for no description is sent to the stream, not to the track."""
        self.rig.core.refuse = THERE
        reply = self.peer.set_up(1)
        self.assertEqual(
            (reply.status, reply.header("location")), (302, f"rtsp://b.example:8554/cam?{REDIRECTED}")
        )

    def test_nowhere_to_go(self) -> None:
        """No RTSP there, or a player that would be sent out of TLS: it is not found."""
        for error, url in (
            (Redirected("http://b.example", "rtmp://b.example:1935"), "rtsp://a.example/cam"),
            (THERE, "rtsps://a.example/cam"),
            (THERE, "rtsp://a.example/"),
            (THERE, "*"),
            (THERE, "http://a.example/cam"),
        ):
            reply = refused(error, url)
            self.assertEqual((reply.status, reply.header("location")), (404, ""), url)

    def test_every_reason_has_a_status(self) -> None:
        self.assertEqual(set(STATUS_OF_REASON), set(Reason))
