"""The HTTP front: answers, order, limits, deadlines, slow readers, and what it hands over."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.address import IPv4Address
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.protocol import Protocol
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.logger import capturedLogs, formatEvent
from twisted.trial.unittest import SynchronousTestCase
from typing_extensions import override

from restreamer.errors import Reason, Refused
from restreamer.http1.reply import EndlessReply, FullReply, HttpRequest, Reply, UpgradeReply
from restreamer.seams import ViewerTransport
from restreamer.web.delivery import SLICE
from restreamer.web.front import FrontProtocol
from restreamer.web.limits import FrontLimits, Room
from restreamer.web.service import FrontFactory, RefusingProtocol
from test.web.wires import Visit, Wire

SMALL = FullReply(status=200, headers=b"A: b\r\n", body=b"hello", etag='"a"')
BIG = FullReply(status=200, headers=b"A: b\r\n", body=bytes(range(256)) * 16_000, etag='"b"')


def get(path: str = "/small", *fields: str, version: str = "1.1") -> bytes:
    return "\r\n".join([f"GET {path} HTTP/{version}", "Host: h", *fields, "", ""]).encode()


def media(request: HttpRequest) -> Reply | None:
    return {"/small": SMALL, "/big": BIG}.get(request.path)


class FrontCase(SynchronousTestCase):
    def visit(self, *routes: Any, **more: Any) -> Visit:
        visit = Visit(*(routes or (media,)), **more)
        self.addCleanup(visit.close)
        return visit

    def assert_gone(self, visit: Visit) -> None:
        """The connection is over and nothing of it is left."""
        visit.lose()
        self.assertEqual(visit.clock.getDelayedCalls(), [])
        self.assertEqual(visit.factory.connections, 0)


class Answers(FrontCase):
    def test_small(self) -> None:
        visit = self.visit()
        visit.send(get())
        self.assertEqual(
            visit.got,
            b'HTTP/1.1 200 OK\r\nA: b\r\nETag: "a"\r\nAccept-Ranges: bytes\r\nContent-Length: 5\r\n\r\nhello',
        )
        self.assertFalse(visit.wire.closing)
        self.assertEqual(visit.wire.writes, 0)
        visit.send(get("/small", 'If-None-Match: "a"'))
        self.assertEqual(visit.statuses(), [200, 304])
        self.assertEqual(visit.factory.counters.requests, 2)
        self.assert_gone(visit)

    def test_big_is_pulled_in_slices(self) -> None:
        visit = self.visit()
        visit.send(get("/big"))
        self.assertTrue(visit.got.endswith(b"\r\n\r\n" + BIG.body))
        self.assertLessEqual(visit.wire.largest, SLICE)
        self.assertIsNone(visit.wire.producer)
        visit.send(get())
        self.assertEqual(visit.statuses()[-1], 200)
        self.assertEqual(visit.wire.writes, -(-(len(BIG.body) - self.taken_at_once()) // SLICE))

    def taken_at_once(self) -> int:
        """Bytes of BIG's body a fresh socket takes in the first call."""
        wire = Wire()
        self.addCleanup(wire.client.close)
        self.addCleanup(wire.socket.close)
        head = (
            b'HTTP/1.1 200 OK\r\nA: b\r\nETag: "b"\r\nAccept-Ranges: bytes\r\nContent-Length: 4096000\r\n\r\n'
        )
        return wire.socket.sendmsg([head, BIG.body]) - len(head)

    def test_range_and_head(self) -> None:
        visit = self.visit()
        visit.send(get("/big", "Range: bytes=10-13"))
        self.assertTrue(visit.got.endswith(b"\r\n\r\n" + BIG.body[10:14]))
        visit.send(get("/big", "Range: bytes=99999999-"))
        visit.send(b"HEAD /big HTTP/1.1\r\nHost: h\r\n\r\n")
        self.assertEqual(visit.statuses(), [206, 416, 200])
        self.assertTrue(visit.got.endswith(b"Content-Length: 4096000\r\n\r\n"))

    def test_pipelined_answers_keep_their_order(self) -> None:
        visit = self.visit()
        visit.send((get("/big") + get()) * 2)
        bodies = [part.partition(b"\r\n\r\n")[2] for part in visit.got.split(b"HTTP/1.1 ")[1:]]
        self.assertEqual(bodies, [BIG.body, SMALL.body] * 2)

    def test_keep_alive_of_http_1_0(self) -> None:
        visit = self.visit()
        visit.send(get("/small", "Connection: keep-alive", version="1.0"))
        self.assertIn(b"Connection: keep-alive\r\n", visit.got)
        self.assertFalse(visit.wire.closing)
        visit.send(get(version="1.0"))
        self.assertIn(b"Connection: close\r\n", visit.got)
        self.assertTrue(visit.wire.lost)
        self.assert_gone(visit)

    def test_close_after_the_body(self) -> None:
        visit = self.visit()
        visit.send(get("/big", "Connection: close") + get())
        self.assertEqual(visit.statuses(), [200])
        self.assertTrue(visit.got.endswith(BIG.body))
        self.assertTrue(visit.wire.lost)

    def test_requests_per_connection(self) -> None:
        visit = self.visit(limits=FrontLimits(requests=3))
        visit.send(get() * 5)
        self.assertEqual(visit.statuses(), [200, 200, 200])
        self.assertEqual(visit.got.count(b"Connection: close"), 1)
        self.assertTrue(visit.wire.lost)

    def test_nothing_wants_it_and_no_site(self) -> None:
        visit = self.visit()
        visit.send(get("/other"))
        self.assertEqual(visit.statuses(), [404])

    def test_refused_and_failed_routes(self) -> None:
        def route(request: HttpRequest) -> Reply | None:
            if request.path == "/refused":
                raise Refused(Reason.DENIED, "not you")
            raise ValueError("a bug")

        visit = self.visit(route)
        visit.send(get("/refused"))
        visit.send(get("/bug?token=secret"))
        self.assertEqual(visit.statuses(), [403, 500])
        self.assertIn(b"not you", visit.got)
        self.assertNotIn(b"a bug", visit.got)
        self.assertEqual(visit.factory.counters.failures, 1)
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)
        self.assertFalse(visit.wire.closing)

    def test_access_log_has_no_query(self) -> None:
        lines: list[tuple[object, ...]] = []
        visit = self.visit(access_log=lambda *line: lines.append(line))
        visit.send(get("/small?token=secret"))
        self.assertEqual(lines, [("192.0.2.1", "GET", "/small", 200, 5)])


class Waiting(FrontCase):
    @override
    def setUp(self) -> None:
        self.waits: list[Deferred[Reply]] = []
        self.cancelled = 0

    def route(self, request: HttpRequest) -> Awaitable[Reply]:
        async def wait() -> Reply:
            waiting = Deferred[Reply]()
            self.waits.append(waiting)
            try:
                return await waiting
            except CancelledError:
                self.cancelled += 1
                raise

        return wait()

    def test_answer_comes_later(self) -> None:
        visit = self.visit(self.route)
        visit.send(get("/1") + get("/2"))
        self.assertEqual((visit.got, len(self.waits)), (b"", 1))
        self.waits[0].callback(SMALL)
        visit.settle()
        self.assertEqual((visit.statuses(), len(self.waits)), ([200], 2))
        self.waits[1].errback(Refused(Reason.NOT_READY, "later"))
        visit.settle()
        self.assertEqual(visit.statuses(), [200, 503])
        self.assertIn(b"Retry-After", visit.got)
        visit.send(get("/3"))
        self.waits[2].errback(KeyError("bug"))
        visit.settle()
        self.assertEqual(visit.statuses(), [200, 503, 500])
        self.assertEqual(len(self.flushLoggedErrors(KeyError)), 1)
        self.assert_gone(visit)

    def test_client_leaves(self) -> None:
        visit = self.visit(self.route)
        visit.send(get())
        visit.lose()
        self.assertEqual(self.cancelled, 1)
        self.assert_gone(visit)

    def test_deferred_and_other_awaitables(self) -> None:
        deferred = Deferred[Reply]()
        visit = self.visit(lambda request: deferred)
        visit.send(get())
        deferred.callback(SMALL)
        visit.settle()
        self.assertEqual(visit.statuses(), [200])

        async def now() -> Reply:
            return SMALL

        visit = self.visit(lambda request: now())
        visit.send(get() * 100)
        self.assertEqual(visit.statuses(), [200] * 100)

    def test_wait_is_bounded(self) -> None:
        visit = self.visit(self.route)
        visit.send(get())
        visit.pass_time(31)
        visit.read()
        self.assertEqual((visit.statuses(), self.cancelled), ([503], 1))
        visit.pass_time(5)
        self.assertTrue(visit.wire.lost)
        self.assert_gone(visit)

    def test_later_requests_wait_unread(self) -> None:
        visit = self.visit(self.route, limits=FrontLimits(buffered=1000))
        visit.send(get())
        visit.send(get() * 20)
        self.assertTrue(visit.wire.reading)
        visit.send(get() * 20)
        self.assertFalse(visit.wire.reading)
        for _ in range(41):
            self.waits.pop().callback(SMALL)
            visit.settle()
        self.assertEqual(visit.statuses(), [200] * 41)
        self.assertTrue(visit.wire.reading)

    def test_a_body_is_refused_before_anything_is_awaited(self) -> None:
        visit = self.visit(self.route)
        visit.send(b"POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 10000000000\r\n\r\nabc")
        self.assertEqual((visit.statuses(), self.waits), ([413], []))
        self.assertTrue(visit.wire.half_closed)
        visit.send(b"x" * 1000)
        self.assertFalse(visit.wire.lost)
        visit.pass_time(3)
        self.assertTrue(visit.wire.lost)
        self.assert_gone(visit)


class Hostile(FrontCase):
    def test_floods_are_not_news(self) -> None:
        """What is no request costs a line; of one address few of them are said."""
        factory = FrontFactory(Clock(), ())
        with capturedLogs() as events:
            for _ in range(50):
                protocol = factory.buildProtocol(IPv4Address("TCP", "192.0.2.9", 1))
                assert protocol is not None
                protocol.makeConnection(StringTransport())
                protocol.dataReceived(b"\x16\x03\x01")
        self.assertEqual(sum("refused: 400" in (formatEvent(event) or "") for event in events), 6)

    def test_bad_heads_are_answered_and_closed(self) -> None:
        """Each with its status (H12)."""
        for data, status in [
            (b"get / HTTP/1.1\r\n", 400),
            (b"GET / HTTP/1.1\r\n\r\n", 400),
            (b"GET /" + b"a" * 20_000, 414),
            (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),
            (b"\x16\x03\x01", 400),
            (get("/a") + b"\0", 404),
        ]:
            visit = self.visit()
            visit.send(data)
            self.assertEqual(visit.statuses()[0], status, data[:20])
            visit.pass_time(6)
            self.assertTrue(visit.wire.lost)
            self.assert_gone(visit)

    def test_another_host(self) -> None:
        """The host of an absolute address is not looked at, and in no answer (H02)."""
        for target in (b"http://evil.example/small", b"HTTPS://evil.example:1/small"):
            visit = self.visit()
            visit.send(get())
            usual = visit.got
            visit.send(b"GET " + target + b" HTTP/1.1\r\nHost: evil.example\r\n\r\n")
            self.assertEqual(visit.got, usual * 2)
            self.assertNotIn(b"evil", visit.got)
            self.assert_gone(visit)

    def test_huge_bodies_nobody_asked_for(self) -> None:
        """10 GB, or chunks without end: refused at the head, and what comes all the same is bounded (H04)."""
        for method in ("POST", "PUT", "PATCH", "GET"):
            for field in ("Content-Length: 10000000000", "Transfer-Encoding: chunked"):
                visit = self.visit()
                visit.protocol.dataReceived(get("/small", field).replace(b"GET", method.encode(), 1))
                visit.read()
                self.assertIn(visit.statuses()[0], (405, 411, 413), (method, field))
                for _ in range(200):
                    if visit.wire.lost or visit.wire.closing:
                        break
                    visit.protocol.dataReceived(b"fff\r\n" + b"x" * 4095 + b"\r\n")
                self.assertEqual(visit.statuses()[1:], [])
                visit.pass_time(6)
                self.assertTrue(visit.wire.lost)
                self.assert_gone(visit)

    def test_a_dribbled_head_has_ten_seconds(self) -> None:
        """However slowly it comes, from its first byte on (H03)."""
        visit = self.visit()
        visit.pass_time(25)
        for byte in b"GET /sma":
            visit.send(bytes([byte]))
            visit.pass_time(1)
        self.assertFalse(visit.wire.half_closed)
        visit.send(b"l")
        visit.pass_time(2)
        visit.read()
        self.assertEqual(visit.statuses(), [408])
        self.assertEqual(visit.factory.counters.head_timeouts, 1)
        visit.pass_time(3)
        self.assert_gone(visit)

    def test_idle_is_closed_and_activity_is_not(self) -> None:
        visit = self.visit()
        for _ in range(10):
            visit.send(get())
            visit.pass_time(20)
        self.assertFalse(visit.wire.closing)
        visit.pass_time(11)
        self.assertTrue(visit.wire.lost)
        self.assertEqual(visit.statuses(), [200] * 10)
        self.assert_gone(visit)

    def test_pipelining_gives_others_their_turn(self) -> None:
        """Sixteen answers in a turn of the reactor, and nothing more is read (H05)."""
        visit = self.visit(limits=FrontLimits(requests=10**6))
        visit.protocol.dataReceived(get() * 500)
        visit.read()
        self.assertEqual(len(visit.statuses()), 16)
        self.assertFalse(visit.wire.reading)
        visit.protocol.dataReceived(get())
        visit.settle()
        self.assertEqual(len(visit.statuses()), 501)
        self.assertTrue(visit.wire.reading)

    def test_a_reader_that_stops_is_aborted(self) -> None:
        """After ten seconds without a byte (H06)."""
        visit = self.visit()
        visit.protocol.dataReceived(get("/big"))
        visit.pass_time(16)
        self.assertTrue(visit.wire.aborted)
        self.assertEqual(visit.factory.counters.stalled, 1)
        self.assertLessEqual(visit.wire.largest, SLICE)
        self.assert_gone(visit)

    def test_a_slow_reader_is_served(self) -> None:
        visit = self.visit()
        visit.protocol.dataReceived(get("/big"))
        for _ in range(10):
            visit.read(65536)
            visit.pass_time(8)
        self.assertFalse(visit.wire.aborted)
        visit.settle()
        self.assertTrue(visit.got.endswith(BIG.body))

    def test_leaving_in_the_middle_of_a_body(self) -> None:
        """Neither producer nor timer is left (H17)."""
        clock = Clock()
        factory = FrontFactory(clock, [media])
        for _ in range(300):
            visit = Visit(factory=factory, clock=clock)
            visit.protocol.dataReceived(get("/big"))
            visit.close()
        self.assertEqual((clock.getDelayedCalls(), factory.connections), ([], 0))

    def test_the_peer_resets(self) -> None:
        visit = self.visit()
        visit.wire.client.close()
        visit.protocol.dataReceived(get())
        self.assertTrue(visit.wire.aborted)
        visit.lose()
        self.assert_gone(visit)

    def test_connection_limits(self) -> None:
        clock = Clock()
        factory = FrontFactory(clock, [media], limits=FrontLimits(per_address=2))
        visits = [Visit(factory=factory, clock=clock) for _ in range(2)]
        refusal = factory.buildProtocol(visits[0].wire.getPeer())
        assert isinstance(refusal, RefusingProtocol)
        transport = StringTransport()
        refusal.makeConnection(transport)
        self.assertTrue(transport.value().startswith(b"HTTP/1.1 503 "))
        self.assertTrue(transport.disconnecting)
        clock.advance(6)
        visits[0].close()
        self.assertIsInstance(factory.buildProtocol(visits[1].wire.getPeer()), FrontProtocol)
        self.assertEqual((factory.counters.accepted, factory.counters.refused), (3, 1))
        visits[1].close()

    def test_descriptors_run_out(self) -> None:
        """The oldest idle connection makes room; without one the new one is told to come back (H20)."""
        clock = Clock()
        factory = FrontFactory(clock, [media], limits=FrontLimits(reserve=0))
        begun, idle = (Visit(factory=factory, clock=clock) for _ in range(2))
        begun.send(b"GET /sm")
        factory._descriptors = 0
        late = Visit(factory=factory, clock=clock)
        idle.settle()
        self.assertEqual((begun.wire.lost, idle.wire.lost, late.wire.lost), (False, True, False))
        late.send(b"GET")
        later = Visit(factory=factory, clock=clock)
        later.settle()
        self.assertEqual((later.statuses(), later.wire.lost), ([503], True))
        self.assertEqual((factory.counters.evicted, factory.counters.refused), (1, 1))
        begun.send(b"all HTTP/1.1\r\nHost: h\r\n\r\n")
        self.assertEqual(begun.statuses(), [200])
        for visit in (begun, idle, late, later):
            visit.close()
        self.assertEqual(clock.getDelayedCalls(), [])

    def test_room_for_links_alone(self) -> None:
        """When viewers have all that is theirs, other nodes still come in, to a number of their own (H20)."""
        for limits in (FrontLimits(reserve=2000), FrontLimits(connections=2, reserve=6)):
            clock = Clock()
            factory = FrontFactory(clock, [media], limits=limits)
            full = [Visit(factory=factory, clock=clock) for _ in range(2)]
            for visit in full:
                visit.send(b"GET /sm")
            if limits.connections > 2:
                # Above all that there are: the numbers of these sockets are another matter.
                factory._descriptors = max(visit.wire.socket.fileno() for visit in full) - 2
            viewer = Visit(factory=factory, clock=clock)
            viewer.send(get())
            self.assertEqual(viewer.statuses(), [503])
            link = Visit(factory=factory, clock=clock)
            link.send(get("/m4f", "Connection: Upgrade", "Upgrade: m4f"))
            self.assertEqual(link.statuses(), [404], "no route of this test, but it was asked")
            self.assertIn(b"Connection: close", link.got)
            silent = Visit(factory=factory, clock=clock)
            silent.pass_time(limits.link_timeout + 0.1, 0.1)
            self.assertTrue(silent.wire.lost)
            self.assertEqual(factory.counters.refused, 1)
            for visit in (*full, viewer):
                visit.close()
            self.assertEqual(clock.getDelayedCalls(), [])

    def test_low_descriptors_are_free_but_too_many_connections_open(self) -> None:
        """A free number below the bound does not mean that there is room (H20)."""
        clock = Clock()
        factory = FrontFactory(clock, [media])
        visits = [Visit(factory=factory, clock=clock) for _ in range(4)]
        factory._descriptors = 4
        self.assertIs(factory.has_room(3), Room.YES)
        self.assertEqual(factory.counters.evicted, 0)
        factory._descriptors = 3
        self.assertIs(factory.has_room(0), Room.YES)
        for visit in visits:
            visit.settle()
        self.assertEqual([visit.wire.lost for visit in visits], [True, True, False, False])

    @settings(deadline=None, max_examples=60, derandomize=True)
    @given(st.lists(st.binary(max_size=60) | st.sampled_from([get(), get("/big"), b"\r\n"]), max_size=8))
    def test_random_bytes_never_raise(self, pieces: list[bytes]) -> None:
        visit = Visit(media)
        for piece in pieces:
            if not visit.wire.lost:
                visit.send(piece)
        visit.close()
        self.assertEqual(visit.clock.getDelayedCalls(), [])


class Endless(FrontCase):
    @override
    def setUp(self) -> None:
        self.stopped = 0
        self.transport: Any = None
        self.ended: Callable[[str], None] | None = None

    def route(self, request: HttpRequest) -> Reply:
        def start(transport: ViewerTransport, ended: Callable[[str], None]) -> Callable[[], None]:
            self.transport, self.ended = transport, ended

            def stop() -> None:
                self.stopped += 1

            return stop

        return EndlessReply(headers=b"Content-Type: video/mp2t\r\n", start=start)

    def test_bytes_until_the_client_leaves(self) -> None:
        visit = self.visit(self.route)
        visit.send(get())
        self.assertEqual(
            visit.got, b"HTTP/1.1 200 OK\r\nContent-Type: video/mp2t\r\nConnection: close\r\n\r\n"
        )
        self.transport.write(b"media")
        visit.pass_time(3600, 60)
        self.assertFalse(visit.wire.closing)
        visit.lose()
        self.assertEqual(self.stopped, 1)
        self.assert_gone(visit)

    def test_stream_ends(self) -> None:
        visit = self.visit(self.route)
        visit.send(get())
        assert self.ended is not None
        self.ended("over")
        self.ended("over")
        visit.settle()
        self.assertTrue(visit.wire.lost)
        self.assertEqual(self.stopped, 0)
        self.assert_gone(visit)

    def test_head(self) -> None:
        visit = self.visit(self.route)
        visit.send(b"HEAD / HTTP/1.1\r\nHost: h\r\n\r\n")
        self.assertIsNone(self.transport)
        self.assertTrue(visit.wire.lost)

    def test_a_client_that_keeps_talking_is_cut(self) -> None:
        visit = self.visit(self.route)
        visit.send(get())
        for _ in range(5):
            visit.send(b"x" * 65536)
        self.assertTrue(visit.wire.aborted)
        self.assertEqual(self.stopped, 1)

    def test_start_fails(self) -> None:
        def start(transport: object, ended: object) -> Callable[[], None]:
            raise ValueError("no")

        visit = self.visit(lambda request: EndlessReply(headers=b"", start=start))
        visit.send(get())
        self.assertTrue(visit.wire.aborted)
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)
        self.assert_gone(visit)


class Upgraded(Protocol):
    """Takes a connection over."""

    def __init__(self) -> None:
        self.seen: list[object] = []

    @override
    def connectionMade(self) -> None:
        self.seen.append("made")

    @override
    def dataReceived(self, data: bytes) -> None:
        self.seen.append(data)

    @override
    def connectionLost(self, reason: object = None) -> None:
        self.seen.append("lost")


class Upgrades(FrontCase):
    def test_upgrade(self) -> None:
        upgraded = Upgraded()
        headers = b"Upgrade: m4f\r\nConnection: Upgrade\r\n"
        visit = self.visit(lambda request: UpgradeReply(headers=headers, protocol=lambda: upgraded))
        visit.send(get("/link", "Upgrade: m4f", "Connection: Upgrade") + b"\x01\x02")
        self.assertEqual(visit.got, b"HTTP/1.1 101 Switching Protocols\r\n" + headers + b"\r\n")
        visit.send(b"\x03")
        visit.pass_time(3600, 60)
        visit.lose()
        self.assertEqual(upgraded.seen, ["made", b"\x01\x02", b"\x03", "lost"])
        self.assert_gone(visit)


class Draining(FrontCase):
    def test_drain(self) -> None:
        clock = Clock()
        wait = Deferred[Reply]()
        factory = FrontFactory(clock, [lambda request: wait if request.path == "/wait" else SMALL])
        idle, busy = Visit(factory=factory, clock=clock), Visit(factory=factory, clock=clock)
        idle.send(get())
        busy.send(get("/wait"))
        done = factory.drain(10)
        idle.settle()
        self.assertTrue(idle.wire.lost)
        self.assertNoResult(done)
        wait.callback(SMALL)
        busy.settle()
        self.assertEqual(busy.statuses(), [200])
        self.assertIn(b"Connection: close", busy.got)
        self.successResultOf(done)
        self.assertIsNone(factory.buildProtocol(busy.wire.getPeer()))
        self.assertEqual(clock.getDelayedCalls(), [])
        for visit in (idle, busy):
            visit.close()

    def test_what_does_not_end_is_cut(self) -> None:
        clock = Clock()
        factory = FrontFactory(clock, [lambda request: Deferred()])
        visit = Visit(factory=factory, clock=clock)
        visit.send(get())
        done = factory.drain(10)
        visit.pass_time(11)
        self.successResultOf(done)
        visit.close()
