"""The way in for other nodes: who is asked to upgrade, refused, or made to wait."""

from __future__ import annotations

from typing import cast

from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.logger import ILogObserver, LogEvent, formatEvent, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase
from typing_extensions import override

from restreamer.cluster.link_protocol import LinkProtocol
from restreamer.cluster.link_route import (
    FAILURE_SECONDS,
    MAX_FAILURES,
    MAX_SLOW,
    SLOW_SECONDS,
    link_route,
)
from restreamer.cluster.seams import LinkHandler
from restreamer.http1.reply import FullReply, HttpRequest, Reply, UpgradeReply
from restreamer.m4f.link import Authorised, Link
from restreamer.m4f.records import Record

UPGRADE = {"connection": "Upgrade", "upgrade": "m4f", "host": "x"}


class _Transport(StringTransport):
    @override
    def abortConnection(self) -> None:
        self.loseConnection()


class _Quiet:
    def link_up(self, link: object) -> None:
        pass

    def record(self, record: Record) -> None:
        pass

    def resumed(self) -> None:
        pass

    def beat(self) -> None:
        pass

    def link_down(self, reason: str) -> None:
        pass


class LinkRouteTests(SynchronousTestCase):
    @override
    def setUp(self) -> None:
        self.clock = Clock()
        self.keys = [b"k" * 32]

        self.authorised: list[Authorised] = []

        def handler(event: Authorised) -> LinkHandler:
            self.authorised.append(event)
            return _Quiet()

        self.route = link_route(b"n" * 16, lambda: self.keys, lambda: b"o" * 16, handler, self.clock)

    def ask(self, peer: str = "192.0.2.9", **headers: str) -> Reply | None:
        wanted = HttpRequest(method="GET", path="/m4f", headers={**UPGRADE, **headers}, peer=peer)
        reply = self.route(wanted)
        assert reply is None or isinstance(reply, Reply)
        return reply

    def begin(self, peer: str) -> tuple[LinkProtocol, _Transport]:
        """The upgrade is granted."""
        reply = self.ask(peer)
        assert isinstance(reply, UpgradeReply)
        protocol = reply.protocol()
        assert isinstance(protocol, LinkProtocol)
        transport = _Transport()
        protocol.makeConnection(transport)
        return protocol, transport

    def fail_once(self, peer: str) -> tuple[LinkProtocol, _Transport]:
        """Try with garbage for a proof."""
        protocol, transport = self.begin(peer)
        protocol.dataReceived(b"\xff" * 64)
        return protocol, transport

    def prove(self, peer: str, key: bytes) -> _Transport:
        """Try with a proof of C{key}."""
        protocol, transport = self.begin(peer)
        client = Link("client", b"c" * 16, [key], b"m" * 16)
        for _ in range(2):
            protocol.dataReceived(client.data_to_send())
            if not transport.disconnecting:
                client.receive(transport.value())
                transport.clear()
        return transport

    def test_other_paths(self) -> None:
        self.assertIsNone(self.route(HttpRequest(method="GET", path="/live/a/index.m3u8")))

    def test_no_upgrade(self) -> None:
        """A browser on the path is told what it is for."""
        reply = self.ask(upgrade="websocket")
        assert isinstance(reply, FullReply)
        self.assertEqual(reply.status, 426)
        self.assertIn(b"Connection: Upgrade\r\nUpgrade: m4f\r\n", reply.headers)

    def test_no_key(self) -> None:
        """Without a cluster_key nobody is let in."""
        self.keys.clear()
        reply = self.ask()
        assert isinstance(reply, FullReply)
        self.assertEqual(reply.status, 403)

    def test_failures_are_counted(self) -> None:
        """An address that fails again and again is told late; others, and this machine, are not."""
        for peer in ("192.0.2.9", "127.0.0.1"):
            for _ in range(MAX_FAILURES):
                self.assertTrue(self.fail_once(peer)[1].disconnecting)
        self.assertTrue(self.fail_once("192.0.2.10")[1].disconnecting)
        self.assertTrue(self.fail_once("127.0.0.1")[1].disconnecting)
        protocol, transport = self.fail_once("192.0.2.9")
        protocol.dataReceived(b"\xff" * 64)
        self.clock.advance(SLOW_SECONDS - 0.1)
        self.assertEqual((transport.disconnecting, transport.value()), (False, b""))
        self.clock.advance(0.2)
        self.assertTrue(transport.disconnecting)
        self.assertIn(b"not authorised", transport.value())
        self.clock.advance(FAILURE_SECONDS)
        self.assertTrue(self.fail_once("192.0.2.9")[1].disconnecting)

    def test_the_log_is_not_filled(self) -> None:
        """A node that tries for ever with a wrong key is told of once a minute."""
        said: list[LogEvent] = []
        observer = cast(ILogObserver, said.append)
        globalLogPublisher.addObserver(observer)
        self.addCleanup(globalLogPublisher.removeObserver, observer)
        for _ in range(40):
            self.prove("192.0.2.9", b"wrong" * 6)
            self.clock.advance(4)
        lines = [formatEvent(event) for event in said if "error" in event]
        self.assertEqual(len(lines), 3)
        self.assertIn("another cluster_key", lines[0])

    def test_guessing_stays_slow(self) -> None:
        """Many at once do not help: a few are tried, the others are told to come later, and why."""
        for _ in range(MAX_FAILURES):
            self.fail_once("192.0.2.9")
        slow = [self.fail_once("192.0.2.9") for _ in range(MAX_SLOW)]
        reply = self.ask("192.0.2.9")
        assert isinstance(reply, FullReply)
        self.assertEqual(reply.status, 429)
        self.assertIn(b"wrong cluster_key", reply.body)
        self.assertIsInstance(self.ask("192.0.2.10"), UpgradeReply)
        slow[0][0].connectionLost()
        self.fail_once("192.0.2.9")
        self.assertIsInstance(self.ask("192.0.2.9"), FullReply)
        self.clock.advance(SLOW_SECONDS)
        self.assertIsInstance(self.ask("192.0.2.9"), UpgradeReply)

    def test_the_right_key_behind_the_same_address(self) -> None:
        """A neighbour with a wrong key does not keep it out, nor slow it down."""
        for _ in range(MAX_FAILURES + MAX_SLOW - 1):
            self.prove("192.0.2.9", b"wrong" * 6)
        self.assertEqual(self.authorised, [])
        for _ in range(3 * MAX_SLOW):
            transport = self.prove("192.0.2.9", self.keys[0])
            self.assertFalse(transport.disconnecting)
        self.assertEqual(len(self.authorised), 3 * MAX_SLOW)
