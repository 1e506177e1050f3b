"""What links carry, and how far away their other end is."""

from __future__ import annotations

import socket
from typing import Any
from unittest import mock

from attrs import define
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from restreamer.cluster.link_protocol import LinkProtocol
from restreamer.cluster.traffic import LinkTraffic, round_trip
from restreamer.m4f.link import Link


@define
class Handled:
    """A transport with a handle, or one that wraps such a transport."""

    handle: Any = None
    transport: Any = None

    def getHandle(self) -> Any:  # noqa: N802
        return self.handle


class RoundTripTests(SynchronousTestCase):
    def connected(self) -> socket.socket:
        with socket.socket() as listening:
            listening.bind(("127.0.0.1", 0))
            listening.listen()
            client = socket.create_connection(listening.getsockname())
            server, _ = listening.accept()
        self.addCleanup(client.close)
        self.addCleanup(server.close)
        client.sendall(b"x")
        server.recv(1)
        return client

    def test_of_a_connection(self) -> None:
        client = self.connected()
        for transport in (Handled(client), Handled(object(), Handled(client))):
            found = round_trip(transport)
            assert found is not None
            self.assertTrue(0 < found < 1.0)

    def test_of_what_has_none(self) -> None:
        closed = self.connected()
        closed.close()
        for transport in (None, object(), Handled(), Handled(closed), Handled(object(), Handled(object()))):
            self.assertIs(round_trip(transport), None)
        with socket.socket() as fresh:
            self.assertIs(round_trip(Handled(fresh)), None)
        with mock.patch.object(socket, "TCP_INFO", None):
            self.assertIs(round_trip(Handled(self.connected())), None)


class CountTests(SynchronousTestCase):
    def test_both_ends_count_the_same(self) -> None:
        """Whatever the link says, to the last byte."""
        clock = Clock()
        here, there = LinkTraffic(), LinkTraffic()
        key = b"k" * 32

        def end(role: Any, traffic: LinkTraffic) -> LinkProtocol:
            node = role[:1].encode() * 16
            link = Link(role, node, [key], b"x" * 16, purpose="control")
            return LinkProtocol(link, lambda event: mock.Mock(), clock, 5.0, role, traffic=traffic)

        client, server = end("client", here), end("server", there)
        wires = [mock.Mock(), mock.Mock()]
        client.makeConnection(wires[0])
        server.makeConnection(wires[1])
        for _ in range(6):
            for wire, other in ((wires[0], server), (wires[1], client)):
                data = b"".join(call.args[0] for call in wire.write.call_args_list)
                wire.write.reset_mock()
                if data:
                    other.dataReceived(data)
        self.assertTrue(client.peer_id and server.peer_id)
        self.assertTrue(here.bytes_in and here.bytes_out)
        self.assertEqual((here.bytes_in, here.bytes_out), (there.bytes_out, there.bytes_in))
        self.assertIs(client.round_trip, None)
        for each in (client, server):
            each.connectionLost()
