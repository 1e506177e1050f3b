"""Links between shells: who gets in, who is too slow, who says nothing, who says nonsense."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from attrs import define, field
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from typing_extensions import override

from restreamer.cluster.connector import LONGEST_PAUSE, Node, Remote, link_service, pause_before
from restreamer.cluster.link_protocol import (
    AUTHORISE_SECONDS,
    PULLER_IDLE_SECONDS,
    SOURCE_IDLE_SECONDS,
    STALL_SECONDS,
)
from restreamer.cluster.link_route import link_route
from restreamer.cluster.seams import LinkWriter
from restreamer.errors import RemoteProtocolError
from restreamer.http1.reply import FullReply, HttpRequest, UpgradeReply
from restreamer.m4f.link import Authorised
from restreamer.m4f.records import Goodbye, Ping, Pull, PullAccepted, Record, RunInfo, encode_record
from restreamer.testing.cluster_rig import Doorway
from restreamer.testing.memory_network import HIGH_WATER, IN_FLIGHT, MemoryNetwork, MemoryTransport

KEY, OTHER = b"k" * 32, b"o" * 32
CLIENT, SERVER = b"c" * 16, b"s" * 16
ACCEPTED = PullAccepted("x", RunInfo(1, 0, SERVER, (SERVER,)), "", 90_000)


@define(eq=False)
class Speaker:
    """Either end's handler: keeps what happens.

    @ivar on_record: may raise. @ivar beats: pings sent; C{silent}: none are.
    """

    clock: Clock
    name: str = ""
    silent: bool = False
    fruitful: bool = False
    link: LinkWriter | None = None
    records: list[Record] = field(factory=list)
    ups: list[float] = field(factory=list)
    downs: list[tuple[float, str]] = field(factory=list)
    resumes: int = 0
    on_record: Callable[[Record], object] = lambda record: None
    on_up: Callable[[LinkWriter], object] = lambda link: None

    def link_up(self, link: LinkWriter) -> None:
        self.link = link
        self.ups.append(self.clock.seconds())
        self.on_up(link)

    def record(self, record: Record) -> None:
        if not isinstance(record, Ping):
            self.records.append(record)
        self.on_record(record)

    def resumed(self) -> None:
        self.resumes += 1

    def beat(self) -> None:
        if self.link is not None and not self.silent:
            self.link.send(Ping(0))

    def link_down(self, reason: str) -> None:
        self.link = None
        self.downs.append((self.clock.seconds(), reason))


class Stranger(Protocol):
    """A server that does what the test says."""

    def __init__(self, react: Callable[[Stranger, bytes], object]) -> None:
        self.react = react
        self.lost = False

    @override
    def connectionMade(self) -> None:
        self.react(self, b"")

    @override
    def dataReceived(self, data: bytes) -> None:
        self.react(self, data)

    @override
    def connectionLost(self, reason: Any = None) -> None:
        self.lost = True


class LinkCase(SynchronousTestCase):
    @override
    def setUp(self) -> None:
        self.clock = Clock()
        self.network = MemoryNetwork(self.clock)
        self.client = Speaker(self.clock, "client")
        self.servers: list[Speaker] = []
        self.server_silent = False
        self.server_key = KEY
        self.on_server_up: Callable[[LinkWriter], object] = lambda link: None
        self.nonces = 0
        self.route = link_route(
            SERVER, lambda: [self.server_key] if self.server_key else [], self.nonce, self.handler, self.clock
        )
        self.network.listen("there", lambda: Doorway(self.route))
        self.service = self.make_service()

    def nonce(self) -> bytes:
        self.nonces += 1
        return self.nonces.to_bytes(16, "big")

    def handler(self, event: Authorised) -> Speaker:
        self.assertEqual((event.peer_node_id, event.purpose), (CLIENT, "media"))
        made = Speaker(self.clock, "server", self.server_silent)
        made.on_up = self.on_server_up
        self.servers.append(made)
        return made

    def make_service(self) -> Any:
        node = Node(
            node_id=CLIENT,
            nonce=self.nonce,
            uniform=lambda low, high: high,
            clock=self.clock,
            utc=lambda: 0,
        )
        remote = Remote(address="there:80", endpoint=self.network.endpoint("here", "there"), key=KEY)
        return link_service(node, remote, "media", self.client)

    def pass_time(self, seconds: float) -> None:
        self.clock.pump([0.01] * round(seconds * 100))

    def start(self, seconds: float = 0.1) -> None:
        self.service.startService()
        self.pass_time(seconds)

    def stop(self) -> None:
        stopped = self.service.stopService()
        self.pass_time(STALL_SECONDS + 3)
        self.successResultOf(stopped)
        self.assertEqual(self.network.connections, [])
        self.assertEqual([str(call) for call in self.clock.getDelayedCalls()], [])

    @property
    def wire(self) -> MemoryTransport:
        """The client's end."""
        return self.network.connections[0]


class GoodTests(LinkCase):
    """Two nodes of one cluster."""

    def test_up_and_records_both_ways(self) -> None:
        self.start()
        (server,) = self.servers
        assert self.client.link is not None and server.link is not None
        self.assertEqual((self.client.link.peer_id, server.link.peer_id), (SERVER, CLIENT))
        self.client.link.send(Pull("x"))
        server.link.send(ACCEPTED)
        self.pass_time(0.05)
        self.assertEqual((server.records, self.client.records), ([Pull("x")], [ACCEPTED]))
        self.pass_time(30)
        self.assertEqual((len(self.client.ups), self.client.downs), (1, []))
        self.stop()
        self.assertEqual((len(self.client.downs), len(server.downs)), (1, 1))

    def test_byte_by_byte(self) -> None:
        self.network.largest_piece = 1
        self.start(1)
        assert self.servers[0].link is not None
        self.servers[0].link.send(ACCEPTED)
        self.pass_time(0.5)
        self.assertEqual(self.client.records, [ACCEPTED])
        self.stop()

    def test_a_lost_link_returns(self) -> None:
        self.client.on_record = lambda record: setattr(self.client, "fruitful", True)
        self.on_server_up = lambda link: link.send(ACCEPTED)
        self.start()
        for _ in range(5):
            self.wire.cut()
            self.pass_time(0.6)
        self.assertEqual((len(self.client.ups), len(self.client.downs)), (6, 5))
        self.stop()

    def test_goodbye(self) -> None:
        self.start()
        (server,) = self.servers
        assert server.link is not None
        link = server.link
        link.close("that was all")
        link.close("again")
        link.send(ACCEPTED)
        self.pass_time(0.05)
        self.assertEqual(self.client.records, [Goodbye(0, "that was all")])
        self.assertEqual(self.client.downs[0][1], "that was all")
        self.assertEqual(len(server.downs), 1)
        self.stop()

    def test_stopped_at_any_moment(self) -> None:
        """While connecting, asking, proving, or up: it stops, and nobody is left who thinks it is up."""
        for moment in range(40):
            self.setUp()
            self.service.startService()
            self.clock.pump([0.0005] * moment)
            stopped = self.service.stopService()
            self.pass_time(1)
            self.successResultOf(stopped)
            self.assertIsNone(self.client.link, moment)
            self.assertEqual(len(self.client.ups), len(self.client.downs))
            self.pass_time(15)
            self.assertEqual([str(call) for call in self.clock.getDelayedCalls()], [], moment)
            self.assertEqual(self.network.connections, [])

    def test_restarted_at_any_moment(self) -> None:
        for moment in range(0, 40, 3):
            self.setUp()
            self.service.startService()
            self.clock.pump([0.0005] * moment)
            _ = self.service.stopService()
            self.service.startService()
            self.pass_time(1)
            self.assertIsNotNone(self.client.link, moment)
            self.assertEqual(len(self.network.connections), 1)
            self.stop()


class BadTests(LinkCase):
    """Peers as they should not be. M01, M05, M09."""

    def refused(self, seconds: float = 30) -> int:
        """How often it was tried in that time; the link never comes up."""
        before = self.network.attempts
        self.start(seconds)
        self.assertEqual(self.client.ups, [])
        attempts = self.network.attempts - before
        self.stop()
        return attempts

    def stranger(self, react: Callable[[Stranger, bytes], object]) -> list[Stranger]:
        made: list[Stranger] = []

        def accept() -> Stranger:
            made.append(Stranger(react))
            return made[-1]

        self.network.listen("there", accept)
        return made

    def test_wrong_key(self) -> None:
        self.server_key = OTHER
        attempts = self.refused()
        self.assertEqual(self.servers, [])
        self.assertTrue(3 <= attempts <= 12, attempts)

    def test_no_key_there(self) -> None:
        self.server_key = b""
        self.assertLessEqual(self.refused(), 12)

    def test_nobody_listens(self) -> None:
        self.network.unlisten("there")
        self.assertLessEqual(self.refused(), 12)

    def test_accepts_and_closes(self) -> None:
        def react(stranger: Stranger, data: bytes) -> None:
            assert stranger.transport is not None
            stranger.transport.loseConnection()

        self.stranger(react)
        self.assertLessEqual(self.refused(), 12)

    def test_answers_nothing(self) -> None:
        made = self.stranger(lambda stranger, data: None)
        self.start(AUTHORISE_SECONDS - 0.1)
        self.assertEqual([each.lost for each in made], [False])
        self.pass_time(0.3)
        self.assertTrue(made[0].lost)
        self.assertEqual(self.client.ups, [])
        self.stop()

    def test_answers_nonsense(self) -> None:
        for answer in (
            b"\0" * 100,
            b"HTTP/1.1 200 OK\r\n\r\n",
            b"HTTP/1.1 101 x\r\nUpgrade: websocket\r\n\r\n",
            b"HTTP/1.1 101 x\r\nUpgrade: m4f\r\n\r\n" + b"\xff" * 50,
            b"HTTP/1.1 101 x\r\nUpgrade: m4f\r\n\r\n" + b"\x02\0\xff\xff\xff\xff",
            b"x" * 20_000,
        ):
            self.setUp()

            def react(stranger: Stranger, data: bytes, answer: bytes = answer) -> None:
                assert stranger.transport is not None
                if data:
                    stranger.transport.write(answer)

            self.stranger(react)
            self.assertLessEqual(self.refused(), 12, answer[:40])

    def test_upgrades_and_says_no_more(self) -> None:
        def react(stranger: Stranger, data: bytes) -> None:
            assert stranger.transport is not None
            if data.startswith(b"GET"):
                stranger.transport.write(b"HTTP/1.1 101 x\r\nUpgrade: m4f\r\n\r\n")

        made = self.stranger(react)
        self.start(AUTHORISE_SECONDS + 0.1)
        self.assertTrue(made[0].lost)
        self.stop()

    def test_a_client_that_says_nothing(self) -> None:
        lost: list[float] = []

        class Mute(Protocol):
            @override
            def connectionMade(self) -> None:
                assert self.transport is not None
                self.transport.write(
                    b"GET /m4f HTTP/1.1\r\nHost: x\r\nUpgrade: m4f\r\nConnection: Upgrade\r\n\r\n"
                )

            @override
            def connectionLost(mute, reason: Any = None) -> None:  # noqa: N805
                lost.append(self.clock.seconds())

        made = self.network.connect("here", "there", Factory.forProtocol(Mute))
        self.pass_time(10)
        self.successResultOf(made)
        self.assertEqual(len(lost), 1)
        self.assertTrue(AUTHORISE_SECONDS <= lost[0] <= AUTHORISE_SECONDS + 0.1)
        self.assertEqual((self.network.connections, self.clock.getDelayedCalls()), ([], []))

    def test_gives_nothing_after_it_let_us_in(self) -> None:
        """Authorised and closed, again and again: backed off from like one that is down."""
        self.on_server_up = lambda link: link.close("no")
        before = self.network.attempts
        self.start(60)
        self.assertTrue(4 <= self.network.attempts - before <= 20, self.network.attempts - before)
        self.assertEqual(len(self.client.ups), len(self.client.downs))
        self.stop()

    def test_nonsense_once_authorised(self) -> None:
        self.start()
        server = self.servers[0]
        assert server.link is not None
        server.link.send_encoded(b"\x20\0\xff\xff\xff\xff")
        self.pass_time(0.1)
        self.assertEqual(len(self.client.downs), 1)
        self.stop()

    def test_a_handler_that_refuses_a_record(self) -> None:
        def refuse(record: Record) -> None:
            if not isinstance(record, Ping):
                raise RemoteProtocolError("test", "no")

        self.client.on_record = refuse
        self.start()
        server = self.servers[0]
        assert server.link is not None
        server.link.send_encoded(encode_record(ACCEPTED) * 3)
        self.pass_time(0.1)
        self.assertEqual((self.client.records, self.client.downs[0][1]), ([ACCEPTED], "test: no"))
        self.stop()

    def test_nothing_is_told_after_an_abort_or_a_close(self) -> None:
        for end in ("abort", "close"):
            self.setUp()

            def stop(record: Record, end: str = end) -> None:
                if not isinstance(record, Ping):
                    assert self.client.link is not None
                    getattr(self.client.link, end)("enough")

            self.client.on_record = stop
            self.start()
            server = self.servers[0]
            assert server.link is not None
            server.link.send_encoded(encode_record(ACCEPTED) * 3)
            self.pass_time(0.1)
            self.assertEqual((self.client.records, self.client.downs[0][1]), ([ACCEPTED], "enough"))
            self.stop()

    def test_a_fault_of_ours_closes_that_link(self) -> None:
        def fail(record: Record) -> None:
            if not isinstance(record, Ping):
                raise ZeroDivisionError

        self.client.on_record = fail
        self.start()
        assert self.servers[0].link is not None
        self.servers[0].link.send(ACCEPTED)
        self.pass_time(0.1)
        self.assertEqual(self.client.downs[0][1], "internal error")
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.stop()

    def test_route(self) -> None:
        for request, status in (
            (HttpRequest(method="GET", path="/m4f"), 426),
            (
                HttpRequest(method="POST", path="/m4f", headers={"upgrade": "m4f", "connection": "upgrade"}),
                426,
            ),
        ):
            reply = self.route(request)
            assert isinstance(reply, FullReply)
            self.assertEqual(reply.status, status)
        self.assertIsNone(self.route(HttpRequest(method="GET", path="/other")))
        good = HttpRequest(method="GET", path="/m4f", headers={"upgrade": "m4f", "connection": "upgrade"})
        self.assertIsInstance(self.route(good), UpgradeReply)
        self.server_key = b""
        reply = self.route(good)
        assert isinstance(reply, FullReply)
        self.assertEqual(reply.status, 403)


class SilenceTests(LinkCase):
    """Peers that stand still."""

    def test_a_source_is_lost_after_exactly_1_8_s(self) -> None:
        for offset in (0.0, 0.13, 0.27, 0.41):
            self.setUp()
            self.server_silent = True
            self.start(0.3 + offset)
            server = self.servers[0]
            assert server.link is not None
            server.link.send(Ping(0))
            sent = self.clock.seconds()
            self.pass_time(3)
            after = self.client.downs[0][0] - sent
            self.assertTrue(SOURCE_IDLE_SECONDS <= after <= SOURCE_IDLE_SECONDS + 0.05, after)
            self.stop()

    def test_a_loop_that_was_held_up(self) -> None:
        """The timer comes late, and what the source sent is read after it: the source is not lost."""
        self.start()
        turns: list[Callable[[], object]] = []
        later = self.clock.callLater

        def in_turns(delay: float, call: Callable[..., Any], *args: Any) -> Any:
            if delay:
                return later(delay, call, *args)
            turns.append(call)
            return later(1000.0, lambda: None)

        protocol = self.wire.protocol._link
        self.patch(self.clock, "callLater", in_turns)
        watch = protocol._watch
        assert watch is not None
        watch.cancel()
        protocol._heard -= 2.0
        protocol._watch_silence()
        self.assertEqual((len(turns), self.client.downs), (1, []))
        protocol.dataReceived(encode_record(Ping(0)))
        turns.pop()()
        self.assertEqual((turns, self.client.downs), ([], []))
        protocol._heard -= 2.0
        protocol._silent()
        self.assertIn("silent", protocol._reason)

    def test_any_byte_counts(self) -> None:
        self.server_silent = True
        self.start()
        server = self.servers[0]
        for _ in range(10):
            assert server.link is not None
            server.link.send(Ping(0))
            self.pass_time(1.7)
        self.assertEqual(self.client.downs, [])
        self.stop()

    def test_a_puller_is_lost_after_6_s(self) -> None:
        self.client.silent = True
        self.start()
        began = self.clock.seconds()
        self.pass_time(7)
        after = self.servers[0].downs[0][0] - began
        self.assertTrue(PULLER_IDLE_SECONDS - 0.2 <= after <= PULLER_IDLE_SECONDS + 0.1, after)
        self.stop()

    def test_a_network_that_swallows_everything(self) -> None:
        self.start()
        self.network.silence("here", "there")
        self.pass_time(2)
        self.assertEqual(len(self.client.downs), 1)
        self.pass_time(6)
        self.assertEqual(len(self.servers[0].downs), 1)
        self.network.heal("here", "there")
        self.pass_time(20)
        self.assertIsNotNone(self.client.link)
        self.stop()

    def test_paused_and_resumed(self) -> None:
        self.start()
        server = self.servers[0]
        link = server.link
        assert link is not None
        self.wire.stop_reading()
        data = encode_record(Goodbye(0, "x" * 1000)) * 400
        link.send_encoded(data)
        self.assertTrue(link.paused)
        self.assertEqual(self.wire.peer.held, len(data) - IN_FLIGHT)
        self.assertGreater(self.wire.peer.held, HIGH_WATER)
        self.wire.read_on()
        self.pass_time(0.1)
        self.assertEqual((link.paused, server.resumes), (False, 1))
        self.assertEqual(len(self.client.records), 400)
        self.stop()

    def test_a_peer_that_reads_nothing_is_cut_off(self) -> None:
        """It still says that it lives, but takes nothing: ten seconds."""
        self.start()
        server = self.servers[0]
        link = server.link
        assert link is not None
        self.client.silent = False
        self.wire.stop_reading()
        self.wire.protocol._link._idle = 1000.0
        link.send_encoded(encode_record(Goodbye(0, "x" * 1000)) * 400)
        began = self.clock.seconds()
        self.pass_time(13)
        after = server.downs[0][0] - began
        self.assertTrue(STALL_SECONDS <= after <= STALL_SECONDS + 0.6, after)
        self.assertIn("did not read", server.downs[0][1])
        self.stop()

    def test_goodbye_to_one_who_does_not_read(self) -> None:
        self.start()
        server = self.servers[0]
        link = server.link
        assert link is not None
        self.wire.stop_reading()
        self.wire.protocol._link._idle = 1000.0
        link.send_encoded(encode_record(Goodbye(0, "x" * 1000)) * 400)
        link.close("bye")
        self.pass_time(STALL_SECONDS + 0.5)
        self.assertEqual(len(server.downs), 1)
        self.stop()


class PauseTests(SynchronousTestCase):
    """Pauses between attempts."""

    def test_bounded_and_with_jitter(self) -> None:
        longest = [pause_before(attempt, lambda low, high: high) for attempt in range(1000)]
        shortest = [pause_before(attempt, lambda low, high: low) for attempt in range(1000)]
        self.assertEqual(max(longest), LONGEST_PAUSE)
        self.assertEqual(longest, sorted(longest))
        self.assertLess(longest[1], 0.5)
        self.assertEqual(set(shortest), {0.05})
