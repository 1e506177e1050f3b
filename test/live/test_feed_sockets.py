"""The fan-out over real sockets and Twisted's own TCP transport, slow readers among them."""

from __future__ import annotations

import random
import socket
from pathlib import Path
from typing import Any

from attrs import define, field
from OpenSSL import SSL
from twisted.internet import tcp
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.selectreactor import SelectReactor
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from typing_extensions import override

from restreamer.live.feed import FeedLimits
from restreamer.live.playout import Playout
from restreamer.live.stream import Stream
from restreamer.live.viewer import SealedViewer, Viewer
from restreamer.live.window import LiveWindow
from restreamer.m4f.records import RunInfo
from restreamer.m4f.segment import SegmentOpening
from restreamer.tls import ServerCertificate, load_certificate
from test.certificates import Authority
from test.live.rig import AV, NODE, D
from test.live.viewing import PACKET, PacketMuxer, Seen, aside, picture

RUN = RunInfo(1, 0, NODE, (NODE,))


class _Port:
    _realPortNumber = 0  # noqa: N815


class _Session(Protocol):
    """A protocol that plays: it leaves its feed when the connection is lost."""

    viewer: Viewer | None = None
    lost = False

    @override
    def connectionLost(self, reason: Any = None) -> None:
        self.lost = True
        if self.viewer is not None:
            self.viewer.leave()


@define(eq=False)
class Client:
    """The far end: what it read, and how much it reads at a time (0: nothing)."""

    socket: socket.socket
    session: _Session
    rate: int
    got: bytearray = field(factory=bytearray)
    tls: SSL.Connection | None = None

    def read(self, amount: int | None = None) -> None:
        wanted = self.rate if amount is None else amount
        while wanted > 0:
            try:
                data = (self.tls or self.socket).recv(min(wanted, 65_536))
            except SSL.ZeroReturnError:
                assert self.tls is not None
                self.tls.shutdown()
                return
            except (OSError, SSL.Error):
                return
            if not data:
                return
            self.got += data
            wanted -= len(data)


class SocketTests(SynchronousTestCase):
    """Sixty viewers and more on socket pairs."""

    #: Bytes that an entry is longer by on its way.
    more = 0

    @override
    def setUp(self) -> None:
        self.reactor = SelectReactor()
        self.addCleanup(self.close)
        self.clock = Clock()
        self.faults: list[str] = []
        self.stream = Stream("x", LiveWindow(4), faulted=lambda what, error: self.faults.append(repr(error)))
        self.muxer = PacketMuxer()
        limits = FeedLimits(max_bytes=600 * PACKET, max_seconds=8.0)
        self.playout = Playout(self.stream, self.clock, {"p": lambda title: self.muxer}, limits)
        self.writer = self.stream.begin_run(RUN, D, local=True)
        self.writer.open(SegmentOpening(1, 0, False, True, 0, AV))
        self.clients: list[Client] = []
        self.ended: list[str] = []
        self.frame = 0

    def close(self) -> None:
        for client in self.clients:
            client.socket.close()
        self.turn(3)
        for selectable in self.reactor.removeAll():
            selectable.connectionLost(None)
        self.assertEqual(self.faults, [])

    def turn(self, times: int = 1) -> None:
        for _ in range(times):
            self.reactor.iterate(0)

    def join(self, rate: int, buffer: int = 4096, before: bytes = b"") -> Client:
        ours, theirs = socket.socketpair()
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, buffer)
        for each in (ours, theirs):
            each.setblocking(False)
        session = _Session()
        client = Client(theirs, session, rate)
        self.clients.append(client)
        self.connect(ours, client)
        transport: Any = session.transport
        if before:
            transport.write(before)
        session.viewer = self.playout.join("p", transport, self.ended.append)
        return client

    def connect(self, ours: socket.socket, client: Client) -> None:
        port: Any = _Port()
        transport = tcp.Server(ours, client.session, ("", 0), port, 0, self.reactor)
        client.session.makeConnection(transport)

    def held(self, client: Client) -> int:
        """Bytes that the transport of a client holds."""
        transport: Any = client.session.transport
        return int(len(transport.dataBuffer) - transport.offset + transport._tempDataLen)

    def push(self, packets: int, key: bool = False) -> None:
        self.frame += 1
        self.writer.frames([picture(self.frame, packets, key)])

    def test_integrity(self) -> None:
        """Whole packets, in order, skips to keyframes and forward only; the fast ones miss nothing."""
        rng = random.Random(23)
        self.push(3, key=True)
        for index in range(60):
            self.join(1 << 20 if index % 2 else rng.randrange(PACKET, 16 * PACKET), before=aside(index))
        for second in range(60):
            for index in range(25):
                self.push(rng.randrange(1, 14), key=index == 0)
                self.turn()
                for client in self.clients:
                    client.read()
                if index % 5 == 0:
                    client = rng.choice(self.clients)
                    if client.session.viewer is not None:
                        client.session.viewer.write_aside(aside(100 + second))
            self.clock.advance(1)
        for _ in range(30):
            self.turn()
            for client in self.clients:
                client.read(1 << 20)
        skips = checked = 0
        for index, client in enumerate(self.clients):
            viewer = client.session.viewer
            assert viewer is not None
            dropped = client.session.lost
            seen = Seen().check(bytes(client.got), whole=not dropped)
            skips += seen.skips
            checked += seen.packets
            self.assertEqual(seen.asides[0], index)
            if not dropped:
                self.assertEqual((seen.last, seen.media), (self.muxer.number - 1, viewer.bytes_sent))
            if index % 2:
                self.assertEqual((seen.skips, dropped), (0, False))
        self.assertGreater(skips, 10)
        self.assertGreater(checked, 200_000)

    def test_a_reader_that_stops_is_cut_off_and_costs_one_entry(self) -> None:
        self.push(3, key=True)
        stopped, healthy = self.join(0), self.join(1 << 20)
        self.turn(2)
        for second in range(13):
            for index in range(25):
                self.push(4, key=index == 0)
                self.turn()
                healthy.read()
            self.assertLessEqual(self.held(stopped), 4 * PACKET + self.more, second)
            self.clock.advance(1)
        self.turn(3)
        self.assertTrue(stopped.session.lost)
        self.assertFalse(healthy.session.lost)
        self.assertEqual(self.ended, ["did not take what it was sent for 10 s"])
        self.assertEqual(self.playout.viewers, 1)

    def test_clients_that_vanish(self) -> None:
        self.push(3, key=True)
        for index in range(40):
            self.join(1 << 20 if index % 2 else 0)
        self.turn(2)
        for index in range(120):
            self.push(4, key=index % 25 == 0)
            if index % 3 == 0:
                self.clients[index // 3].socket.close()
            self.turn()
            for client in self.clients[index // 3 + 1 :]:
                client.read()
        self.turn(5)
        self.assertEqual([c.session.lost for c in self.clients], [True] * 40)
        self.assertEqual((self.playout.feeds(), self.stream.taps), ({}, 0))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_leaving_lets_the_connection_close(self) -> None:
        """After a leave the transport closes as soon as what it holds is read."""
        self.push(200, key=True)
        client = self.join(0)
        self.turn(2)
        viewer, transport = client.session.viewer, client.session.transport
        assert viewer is not None and transport is not None
        viewer.leave()
        transport.loseConnection()
        for _ in range(100):
            self.turn()
            client.read(1 << 20)
        self.assertTrue(client.session.lost)
        self.assertEqual(Seen().check(bytes(client.got)).packets, 200)


class TlsTests(SocketTests):
    """The same over TLS."""

    more = 2 * 100
    version = SSL.TLS1_3_VERSION

    @override
    def setUp(self) -> None:
        super().setUp()
        folder = Path(self.mktemp())
        folder.mkdir()
        files = Authority(folder).issue("node", "localhost")
        self.certificate = ServerCertificate()
        self.certificate.use(load_certificate(files.certificate, files.key), files.certificate, files.key)
        self.context = SSL.Context(SSL.TLS_CLIENT_METHOD)
        self.context.set_max_proto_version(self.version)

    @override
    def connect(self, ours: socket.socket, client: Client) -> None:
        port: Any = _Port()
        factory: Any = Factory.forProtocol(lambda: client.session)
        protocol: Any = self.certificate.wrap(factory, self.reactor).buildProtocol(None)
        transport = tcp.Server(ours, protocol, ("", 0), port, 0, self.reactor)
        protocol.makeConnection(transport)
        client.tls = SSL.Connection(self.context, client.socket)
        client.tls.set_connect_state()
        for _ in range(20):
            try:
                client.tls.do_handshake()
            except SSL.WantReadError:
                self.turn()
            else:
                break
        self.turn()

    @override
    def held(self, client: Client) -> int:
        transport: Any = client.session.transport
        below = transport.wire.transport
        return int(len(below.dataBuffer) - below.offset + below._tempDataLen)

    def test_large_entries(self) -> None:
        """More than one record each, into a socket that takes a part of one at a time."""
        self.push(700, key=True)
        client = self.join(20_000)
        self.assertIsInstance(client.session.viewer, SealedViewer)
        for index in range(20):
            self.push(300, key=index % 5 == 0)
            for _ in range(40):
                self.turn()
                client.read()
        seen = Seen().check(bytes(client.got))
        self.assertEqual((seen.last, seen.skips), (self.muxer.number - 1, 0))

    def test_others_write_in_between(self) -> None:
        """What the connection sends by itself keeps its place among the records of the media."""
        self.push(3, key=True)
        client = self.join(1 << 20)
        self.turn(2)
        transport: Any = client.session.transport
        for number in range(20):
            self.push(3)
            transport.write(aside(number))
            self.push(3)
            self.turn()
            self.push(3)
            client.read()
        self.turn(2)
        client.read()
        seen = Seen().check(bytes(client.got))
        self.assertEqual((seen.last, seen.skips), (self.muxer.number - 1, 0))
        self.assertEqual(seen.asides, list(range(20)))


class OldTlsTests(TlsTests):
    """The same with TLS 1.2."""

    version = SSL.TLS1_2_VERSION
