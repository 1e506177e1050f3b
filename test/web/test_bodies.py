"""Bodies both ways at the front: uploads into a sink, answers written piece by piece."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from typing_extensions import override

from restreamer.errors import Reason, Refused
from restreamer.http1.reply import (
    ChunkedReply,
    ChunkWriter,
    FullReply,
    HttpRequest,
    Reply,
    Uploader,
    UploadReply,
    UploadSink,
)
from restreamer.web.delivery import SLICE
from restreamer.web.limits import FrontLimits
from test.web.test_front import FrontCase, get
from test.web.wires import Visit

DONE = FullReply(status=200, body=b"thanks")


class Sink:
    """Keeps what it is given."""

    def __init__(self, uploader: Uploader) -> None:
        self.uploader = uploader
        self.got = b""
        self.ends: list[bool] = []
        self.wait = 0.0

    def data(self, data: bytes) -> float:
        self.got += data
        if self.got.endswith(b"STOP"):
            self.uploader.answer(FullReply(status=409, body=b"enough"))
        return self.wait

    def ended(self, complete: bool) -> None:
        self.ends.append(complete)
        if complete:
            self.uploader.answer(DONE)


def post(*fields: str, body: bytes = b"", path: str = "/up", version: str = "1.1") -> bytes:
    return "\r\n".join([f"POST {path} HTTP/{version}", "Host: h", *fields, "", ""]).encode() + body


class Uploads(FrontCase):
    @override
    def setUp(self) -> None:
        self.sinks: list[Sink] = []
        self.gate: Deferred[None] | None = None

    def route(self, request: HttpRequest) -> Reply | None:
        if request.path == "/small":
            return DONE
        if request.path != "/up":
            return None
        return UploadReply(start=self.start)

    async def start(self, uploader: Uploader) -> UploadSink:
        if self.gate is not None:
            await self.gate
        self.sinks.append(Sink(uploader))
        return self.sinks[-1]

    def test_length_and_the_connection_goes_on(self) -> None:
        visit = self.visit(self.route)
        visit.send(post("Content-Length: 10", body=b"01234"))
        self.assertEqual((self.sinks[0].got, visit.got), (b"01234", b""))
        visit.send(b"56789" + get())
        self.assertEqual((self.sinks[0].got, self.sinks[0].ends), (b"0123456789", [True]))
        self.assertEqual(visit.statuses(), [200, 200])
        self.assertFalse(visit.wire.closing)
        visit.send(get())
        self.assertEqual(visit.statuses(), [200, 200, 200])
        self.assertEqual(visit.factory.counters.uploads, 1)
        self.assert_gone(visit)

    def test_chunks_and_continue(self) -> None:
        visit = self.visit(self.route)
        visit.send(post("Transfer-Encoding: chunked", "Expect: 100-continue"))
        self.assertEqual(visit.got, b"HTTP/1.1 100 Continue\r\n\r\n")
        visit.send(b"5\r\nhello\r\n0\r")
        self.assertEqual(self.sinks[0].got, b"hello")
        visit.send(b"\n\r\n" + get())
        self.assertEqual(visit.statuses(), [100, 200, 200])

    def test_no_body(self) -> None:
        visit = self.visit(self.route)
        visit.send(post() + get())
        self.assertEqual((self.sinks[0].ends, visit.statuses()), ([True], [200, 200]))

    def test_refused_before_anything_is_read(self) -> None:
        """The gate comes before the body (H04)."""
        visit = self.visit(self.route)
        self.gate = Deferred()
        visit.send(post("Transfer-Encoding: chunked", "Expect: 100-continue"))
        self.assertEqual(visit.got, b"")
        self.gate.errback(Refused(Reason.DENIED, "not you"))
        visit.settle()
        self.assertEqual((visit.statuses(), self.sinks), ([403], []))
        self.assertTrue(visit.wire.half_closed)

    def test_what_comes_before_the_grant_waits(self) -> None:
        visit = self.visit(self.route)
        gate = self.gate = Deferred()
        visit.send(post("Content-Length: 100000"))
        for _ in range(100_000 // 1000):
            visit.send(b"x" * 1000)
            if not visit.wire.reading:
                break
        self.assertFalse(visit.wire.reading)
        gate.callback(None)
        visit.settle()
        self.assertTrue(visit.wire.reading)
        left = 100_000 - len(self.sinks[0].got)
        self.assertGreater(left, 50_000)
        visit.send(b"x" * left)
        self.assertEqual((self.sinks[0].ends, visit.statuses()), ([True], [200]))

    def test_the_sink_answers_at_once(self) -> None:
        visit = self.visit(self.route)
        visit.send(post("Content-Length: 1000", body=b"some STOP"))
        visit.send(b"more")
        self.assertEqual((self.sinks[0].got, self.sinks[0].ends), (b"some STOP", []))
        self.assertEqual(visit.statuses(), [409])
        self.assertIn(b"Connection: close", visit.got)
        self.assertTrue(visit.wire.half_closed)
        self.sinks[0].uploader.answer(DONE)
        self.assertEqual(visit.statuses(), [409])
        visit.pass_time(3)
        self.assertTrue(visit.wire.lost)
        self.assert_gone(visit)

    def test_a_sink_may_hold_the_client_back(self) -> None:
        visit = self.visit(self.route)
        visit.send(post("Content-Length: 1000"))
        self.sinks[0].wait = 2.0
        visit.send(b"x" * 10)
        self.assertFalse(visit.wire.reading)
        visit.pass_time(1)
        self.assertFalse(visit.wire.reading)
        visit.pass_time(1.5)
        self.assertTrue(visit.wire.reading)
        visit.send(b"x" * 10)
        visit.lose()
        self.assertEqual(self.sinks[0].ends, [False])
        self.assert_gone(visit)

    def test_a_silent_client_is_sent_away(self) -> None:
        visit = self.visit(self.route)
        visit.send(post("Content-Length: 1000", body=b"x"))
        for _ in range(4):
            visit.pass_time(10)
            visit.send(b"x")
        self.assertEqual(self.sinks[0].ends, [])
        visit.pass_time(21)
        visit.read()
        self.assertEqual((self.sinks[0].ends, visit.statuses()), ([False], [408]))
        self.assertEqual(visit.factory.counters.upload_timeouts, 1)
        visit.pass_time(3)
        self.assert_gone(visit)

    def test_malformed_chunks(self) -> None:
        visit = self.visit(self.route)
        visit.send(post("Transfer-Encoding: chunked", body=b"2\r\nab\r\nnonsense\r\n"))
        self.assertEqual((self.sinks[0].got, self.sinks[0].ends), (b"ab", [False]))
        self.assertEqual(visit.statuses(), [400])

    def test_leaving_while_it_is_decided(self) -> None:
        visit = self.visit(self.route)
        self.gate = Deferred()
        visit.send(post("Content-Length: 5"))
        visit.lose()
        self.assertEqual(self.sinks, [])
        self.assert_gone(visit)

    def test_draining(self) -> None:
        visit = self.visit(self.route)
        visit.send(post("Content-Length: 1000", body=b"x"))
        _ = visit.factory.drain(10.0)
        visit.settle()
        self.assertEqual((self.sinks[0].ends, visit.statuses()), ([False], [503]))
        visit.pass_time(3)
        self.assert_gone(visit)

    def test_other_answers_to_a_body(self) -> None:
        """Nothing but an upload takes a body (H04)."""
        visit = self.visit(self.route)
        visit.send(post("Content-Length: 5", path="/small", body=b"12345"))
        self.assertEqual(visit.statuses(), [413])


class Chunks(FrontCase):
    @override
    def setUp(self) -> None:
        self.writer: Any = None
        self.ended: Callable[[str], None] = lambda reason: None
        self.stops = 0
        self.at_once: list[bytes] = []

    def stop(self) -> None:
        self.stops += 1

    def start(self, writer: ChunkWriter, ended: Callable[[str], None]) -> Callable[[], None]:
        self.writer, self.ended = writer, ended
        for piece in self.at_once:
            writer.write(piece)
        if self.at_once:
            ended("")
        return self.stop

    def route(self, request: HttpRequest) -> Reply | None:
        if request.path == "/small":
            return DONE
        return ChunkedReply(headers=b"Content-Type: video/mp4\r\n", start=self.start)

    def begin(self, *fields: str, version: str = "1.1", **more: Any) -> Visit:
        visit = self.visit(self.route, **more)
        visit.send(get("/open", *fields, version=version))
        return visit

    def test_pieces_then_the_next_request(self) -> None:
        visit = self.begin()
        head = b"HTTP/1.1 200 OK\r\nContent-Type: video/mp4\r\nTransfer-Encoding: chunked\r\n\r\n"
        self.assertEqual(visit.got, head)
        self.writer.write(b"one")
        self.writer.write(b"")
        visit.settle()
        self.assertEqual(visit.got, head + b"3\r\none\r\n")
        visit.send(get())
        self.writer.write(b"x" * 26)
        self.ended("")
        self.writer.write(b"late")
        visit.settle()
        body = b"3\r\none\r\n1a\r\n" + b"x" * 26 + b"\r\n0\r\n\r\n"
        self.assertTrue(visit.got.startswith(head + body + b"HTTP/1.1 200 OK"))
        self.assertEqual((self.stops, visit.statuses()), (0, [200, 200]))
        self.assert_gone(visit)

    def test_all_at_once_and_big(self) -> None:
        self.at_once = [b"a" * 3_000_000, b"b" * 10]
        visit = self.begin()
        self.assertTrue(visit.got.endswith(b"a\r\na\r\nbbbbbbbbbb\r\n0\r\n\r\n"))
        self.assertLessEqual(visit.wire.largest, SLICE)
        self.assertEqual(visit.got.partition(b"\r\n\r\n")[2].count(b"a"), 3_000_001)
        visit.send(get())
        self.assertEqual(visit.statuses(), [200, 200])

    def test_http_1_0(self) -> None:
        self.at_once = [b"one", b"two"]
        visit = self.begin("Connection: keep-alive", version="1.0")
        self.assertTrue(visit.got.endswith(b"Connection: close\r\n\r\nonetwo"))
        self.assertTrue(visit.wire.lost)

    def test_head(self) -> None:
        visit = self.visit(self.route)
        visit.send(b"HEAD /open HTTP/1.1\r\nHost: h\r\n\r\n")
        self.assertIn(b"Transfer-Encoding: chunked", visit.got)
        self.assertIsNone(self.writer)
        visit.send(get())
        self.assertEqual(visit.statuses(), [200, 200])

    def test_the_writer_fails(self) -> None:
        visit = self.begin()
        self.writer.write(b"one")
        self.ended("the stream is gone")
        visit.settle()
        self.assertTrue(visit.wire.aborted)
        self.assertNotIn(b"0\r\n\r\n", visit.got)
        self.assertEqual((self.stops, visit.factory.counters.cut_bodies), (0, 1))
        self.assert_gone(visit)

    def test_the_client_leaves(self) -> None:
        visit = self.begin()
        visit.lose()
        self.assertEqual(self.stops, 1)
        self.ended("")
        self.writer.write(b"nothing")
        self.assert_gone(visit)

    def test_a_client_that_does_not_read(self) -> None:
        visit = self.begin(limits=FrontLimits(stall_timeout=4.0))
        visit.pass_time(10)
        self.assertFalse(visit.wire.lost)
        self.writer.write(b"x" * 8_000_000)
        visit.pass_time(7)
        self.assertTrue(visit.wire.lost)
        self.assertEqual(self.stops, 1)
        self.assert_gone(visit)

    def test_a_body_does_not_last_for_ever(self) -> None:
        visit = self.begin(limits=FrontLimits(body_timeout=30.0))
        visit.pass_time(29)
        self.assertFalse(visit.wire.lost)
        visit.pass_time(4)
        self.assertTrue(visit.wire.lost)
        self.assertEqual(self.stops, 1)
