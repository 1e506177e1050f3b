"""RTSP inside HTTP: the two halves of a tunnel."""

from __future__ import annotations

import base64

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase
from typing_extensions import override

from restreamer.rtsp.message import RtspError
from restreamer.rtsp.tunnel import Base64Stream, may_open, read_head
from restreamer.testing.media import make_frames
from test.rtsp.fakes import Peer, Rig


def head(verb: str, cookie: str = "abc") -> bytes:
    return f"{verb} /cam HTTP/1.0\r\nUser-Agent: x\r\nx-sessioncookie: {cookie}\r\n\r\n".encode()


class TunnelTests(SynchronousTestCase):
    """Two connections of one client."""

    @override
    def setUp(self) -> None:
        self.rig = Rig()
        self.answers, self.requests = self.rig.peer(), self.rig.peer()

    def open(self) -> None:
        self.answers.protocol.dataReceived(head("GET"))
        self.assertIn(b"200 OK", self.answers.wire.value())
        self.answers.wire.clear()
        self.requests.protocol.dataReceived(head("POST"))

    def ask(self, method: str, path: str = "/cam", **headers: str) -> int | None:
        text = base64.b64encode(self.answers.text(method, path, **headers).encode())
        for at in range(0, len(text), 7):
            self.requests.protocol.dataReceived(text[at : at + 7])
        for reply in self.answers.read():
            if "session" in reply.headers:
                self.answers.session = reply.header("session").partition(";")[0]
            return reply.status
        return None

    def test_play(self) -> None:
        self.open()
        self.assertEqual(self.ask("DESCRIBE"), 200)
        self.assertEqual(self.ask("SETUP", "/cam/trackID=1", Transport="RTP/AVP/TCP;interleaved=0-1"), 200)
        self.assertIsNone(self.ask("PLAY"))
        self.rig.core.streams["cam"].send(make_frames(0.1)[0])
        self.assertEqual([reply.status for reply in self.answers.read()], [200])
        self.assertEqual(self.requests.wire.value(), b"")
        self.answers.lose()
        self.assertTrue(self.requests.wire.disconnecting)
        self.requests.lose()
        self.assertEqual(self.rig.clock.getDelayedCalls(), [])

    def test_a_publisher_that_is_too_fast(self) -> None:
        """It is the half which brings the media that is not read for a while."""
        self.open()
        sdp = "v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=x\r\nt=0 0\r\nm=audio 0 RTP/AVP 0\r\na=control:a\r\n"
        text = self.answers.text("ANNOUNCE", "/pub", sdp, Content_Type="application/sdp")
        self.requests.protocol.dataReceived(base64.b64encode(text.encode()))
        self.answers.session = self.answers.read()[0].header("session").partition(";")[0]
        self.assertEqual(
            self.ask("SETUP", "/pub/a", Transport="RTP/AVP/TCP;interleaved=0-1;mode=record"), 200
        )
        self.assertEqual(self.ask("RECORD", "/pub"), 200)
        packets = base64.b64encode((b"$\0\0\x0d\x80" + bytes(12)) * 3000)
        for _ in range(12):
            self.requests.protocol.dataReceived(packets)
        self.assertEqual(self.requests.wire.producerState, "paused")
        self.rig.clock.pump([0.1] * 30)
        self.assertEqual(self.requests.wire.producerState, "producing")

    def test_the_head_in_pieces(self) -> None:
        for byte in head("GET"):
            self.answers.protocol.dataReceived(bytes((byte,)))
        self.assertIn(b"200 OK", self.answers.wire.value())

    def test_halves_that_find_no_other(self) -> None:
        self.requests.protocol.dataReceived(head("POST", "nobody"))
        self.assertTrue(self.requests.wire.disconnecting)
        self.answers.protocol.dataReceived(head("GET"))
        stranger = self.rig.peer("198.51.100.1")
        stranger.protocol.dataReceived(head("POST"))
        self.assertTrue(stranger.wire.disconnecting)
        waiting = self.rig.peer()
        waiting.protocol.dataReceived(head("GET"))
        self.rig.clock.pump([2.0] * 6)
        self.assertTrue(waiting.wire.disconnecting)
        for peer in (waiting, stranger, self.answers, self.requests):
            peer.lose()
        self.assertEqual(self.rig.clock.getDelayedCalls(), [])

    def test_what_is_no_base64(self) -> None:
        self.open()
        self.requests.protocol.dataReceived(b"****")
        self.assertTrue(self.requests.wire.disconnecting)

    def test_the_half_that_answers_ends_with_the_other(self) -> None:
        """Nothing can be asked any more: it does not hang about."""
        self.open()
        self.assertEqual(self.ask("OPTIONS"), 200)
        self.requests.lose()
        self.assertFalse(self.answers.wire.disconnecting)
        self.rig.clock.pump([1.0] * 10)
        self.assertTrue(self.answers.wire.disconnecting)

    def test_too_much_behind_a_request(self) -> None:
        self.open()
        text = base64.b64encode(b"$\x00\xff\xff" + b"x" * 60_000)
        broken: Peer = self.answers
        for _ in range(20):
            self.requests.protocol.dataReceived(text)
        self.assertLess(broken.protocol._reader.pending, 400_000)

    def test_other_http(self) -> None:
        """Whoever speaks HTTP is answered in HTTP."""
        for text in ("GET / HTTP/1.1\r\nHost: h\r\n\r\n", "PUT /a HTTP/1.0\r\n\r\n"):
            peer = self.rig.peer()
            peer.protocol.dataReceived(text.encode())
            self.assertTrue(peer.wire.value().startswith(b"HTTP/1.0 501 "), peer.wire.value())
            self.assertTrue(peer.wire.disconnecting)
        self.assertRaises(RtspError, read_head, b"GET " + b"x" * 20_000)

    def test_openings(self) -> None:
        for data, wanted in (
            (b"G", True),
            (b"GET", True),
            (b"GET_", False),
            (b"POST /", True),
            (b"PLAY", False),
        ):
            self.assertEqual(may_open(data), wanted, data)


class Base64Tests(SynchronousTestCase):
    """L{Base64Stream}."""

    @settings(deadline=None, max_examples=100, derandomize=True)
    @given(st.lists(st.binary(min_size=1, max_size=30), max_size=6), st.integers(1, 9))
    def test_any_pieces(self, requests: list[bytes], step: int) -> None:
        text = b"\r\n".join(base64.b64encode(request) for request in requests)
        stream = Base64Stream()
        found = b"".join(stream.decode(text[at : at + step]) for at in range(0, len(text), step))
        self.assertEqual(found, b"".join(requests))

    @settings(deadline=None, max_examples=100, derandomize=True)
    @given(st.binary(max_size=60))
    def test_anything(self, data: bytes) -> None:
        try:
            Base64Stream().decode(data)
        except RtspError:
            pass
