"""The way in for other nodes: who is asked to upgrade, refused, or made to wait."""

from __future__ import annotations

from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.trial.unittest import SynchronousTestCase
from typing_extensions import override

from restreamer.cluster.link_protocol import LinkProtocol
from restreamer.cluster.link_route import FAILURE_SECONDS, MAX_FAILURES, link_route
from restreamer.cluster.seams import LinkHandler
from restreamer.http1.reply import FullReply, HttpRequest, Reply, UpgradeReply
from restreamer.m4f.link import Authorised

UPGRADE = {"connection": "Upgrade", "upgrade": "m4f", "host": "x"}


class _Transport(StringTransport):
    @override
    def abortConnection(self) -> None:
        self.loseConnection()


class LinkRouteTests(SynchronousTestCase):
    @override
    def setUp(self) -> None:
        self.clock = Clock()
        self.keys = [b"k" * 32]

        def nobody(event: Authorised) -> LinkHandler:
            raise AssertionError("nobody is authorised here")

        self.route = link_route(b"n" * 16, lambda: self.keys, lambda: b"o" * 16, nobody, self.clock)

    def ask(self, peer: str = "192.0.2.9", **headers: str) -> Reply | None:
        wanted = HttpRequest(method="GET", path="/m4f", headers={**UPGRADE, **headers}, peer=peer)
        reply = self.route(wanted)
        assert reply is None or isinstance(reply, Reply)
        return reply

    def fail_once(self, peer: str) -> int:
        """Try with garbage for a proof: the status of the upgrade."""
        reply = self.ask(peer)
        if isinstance(reply, FullReply):
            return reply.status
        assert isinstance(reply, UpgradeReply)
        protocol = reply.protocol()
        assert isinstance(protocol, LinkProtocol)
        transport = _Transport()
        protocol.makeConnection(transport)
        protocol.dataReceived(b"\xff" * 64)
        self.assertTrue(transport.disconnecting)
        return 101

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
        """An address that fails again and again has to wait; others, and this machine, do not."""
        answers = [self.fail_once("192.0.2.9") for _ in range(MAX_FAILURES + 2)]
        self.assertEqual(answers, [101] * MAX_FAILURES + [429] * 2)
        self.assertEqual(self.fail_once("192.0.2.10"), 101)
        self.assertEqual({self.fail_once("127.0.0.1") for _ in range(MAX_FAILURES + 2)}, {101})
        self.clock.advance(FAILURE_SECONDS)
        self.assertEqual(self.fail_once("192.0.2.9"), 101)
