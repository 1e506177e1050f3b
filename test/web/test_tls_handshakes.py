"""TLS at the front, by hand: handshakes that do not come, do not end or are begun again (H18)."""

from __future__ import annotations

from typing import Any, cast

from OpenSSL import SSL
from twisted.internet.error import ConnectionLost
from twisted.internet.ssl import CertificateOptions
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.protocols.tls import TLSMemoryBIOFactory
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from typing_extensions import override

from restreamer.web.limits import FrontLimits
from restreamer.web.service import FrontFactory
from test.web.test_front import get, media
from test.web.test_site import self_signed

#: The head of a record that announces a client hello of 512 bytes, and its first bytes.
HALF_HELLO = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(20)


class Wire(StringTransport):
    """A transport that knows whether it was aborted."""

    def __init__(self) -> None:
        super().__init__()
        self.aborted = False

    @override
    def abortConnection(self) -> None:
        self.aborted = True
        super().abortConnection()


class HandshakeTests(SynchronousTestCase):
    """A front behind TLS on transports in memory."""

    @override
    def setUp(self) -> None:
        self.clock = Clock()
        self.front = FrontFactory(self.clock, [media], limits=FrontLimits(close_timeout=2.0))
        key, certificate = self_signed()
        options = CertificateOptions(privateKey=key, certificate=certificate)
        self.factory = TLSMemoryBIOFactory(options, False, cast(Any, self.front), self.clock)

    def connect(self) -> tuple[Any, Wire]:
        """A connection that has said nothing."""
        protocol: Any = self.factory.buildProtocol(None)
        wire = Wire()
        protocol.makeConnection(wire)
        return protocol, wire

    def finish(self, *protocols: Any) -> None:
        """They are gone: nothing is left, and nothing was our fault."""
        for protocol in protocols:
            protocol.connectionLost(Failure(ConnectionLost()))
        self.clock.advance(10)
        self.assertEqual((self.front.connections, self.front.counters.failures), (0, 0))
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_deadline(self) -> None:
        """Nothing, half a hello, or one byte a second: 5 s in all, then a moment to close."""
        silent, half, slow = (self.connect() for _ in range(3))
        half[0].dataReceived(HALF_HELLO)
        for second in range(4):
            slow[0].dataReceived(HALF_HELLO[second : second + 1])
            self.clock.advance(1)
        wires = [wire for _, wire in (silent, half, slow)]
        self.assertFalse(any(wire.disconnecting or wire.aborted for wire in wires))
        self.clock.advance(1.1)
        self.clock.advance(2.1)
        self.assertTrue(all(wire.disconnecting or wire.aborted for wire in wires))
        self.finish(silent[0], half[0], slow[0])

    def test_what_is_no_tls(self) -> None:
        """Ends the connection at once."""
        for data in (get(), b"\0" * 100, b"\x16\x03\x01\xff\xff" + bytes(100), b"\x80\x2e\x01\x00\x02"):
            protocol, wire = self.connect()
            protocol.dataReceived(data)
            self.assertTrue(wire.disconnecting or wire.aborted, data[:5])
            self.finish(protocol)

    def pump(self, client: SSL.Connection, protocol: Any, wire: Wire) -> bytes:
        """Carry bytes both ways until neither has any; what the client has read."""
        got = b""
        for _ in range(50):
            self.clock.advance(0)
            try:
                client.do_handshake()
            except SSL.WantReadError:
                pass
            try:
                while True:
                    got += client.recv(65_536)
            except (SSL.WantReadError, SSL.ZeroReturnError):
                pass
            try:
                protocol.dataReceived(client.bio_read(1 << 20))
            except SSL.WantReadError:
                if not wire.value():
                    break
            data = wire.value()
            wire.clear()
            if data:
                client.bio_write(data)
        return got

    def client(self, version: int, name: bytes = b"") -> SSL.Connection:
        """A client of exactly this version of TLS."""
        context = SSL.Context(SSL.TLS_METHOD)
        context.set_min_proto_version(version)
        context.set_max_proto_version(version)
        client = SSL.Connection(context, None)
        if name:
            client.set_tlsext_host_name(name)
        client.set_connect_state()
        return client

    def test_any_server_name(self) -> None:
        """A name nobody has, or none: the one certificate there is."""
        for name in (b"", b"nobody.example", b"a" * 255, b"\xff\xfe"):
            protocol, wire = self.connect()
            client = self.client(SSL.TLS1_3_VERSION, name)
            self.pump(client, protocol, wire)
            client.send(get())
            self.assertIn(b"hello", self.pump(client, protocol, wire), name)
            self.finish(protocol)

    def test_renegotiation(self) -> None:
        """A client of TLS 1.2 that asks for another handshake is refused it."""
        protocol, wire = self.connect()
        client = self.client(SSL.TLS1_2_VERSION)
        self.pump(client, protocol, wire)
        client.send(get())
        self.assertIn(b"hello", self.pump(client, protocol, wire))
        client.renegotiate()
        error = self.assertRaises(SSL.Error, self.pump, client, protocol, wire)
        self.assertIn("no renegotiation", str(error))
        self.finish(protocol)

    def test_left_without_a_word(self) -> None:
        """Connections that are cut in the middle of everything leave nothing behind."""
        for _ in range(50):
            begun = self.connect()
            begun[0].dataReceived(HALF_HELLO)
            protocol, wire = self.connect()
            client = self.client(SSL.TLS1_3_VERSION)
            self.pump(client, protocol, wire)
            client.send(get("/big"))
            protocol.dataReceived(client.bio_read(1 << 20))
            self.finish(begun[0], protocol)
