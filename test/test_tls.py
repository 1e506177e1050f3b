"""TLS: which files are taken, what a listener shows, whom a link believes, what a failure is called."""

from __future__ import annotations

from collections.abc import Coroutine
from pathlib import Path
from typing import Any, cast

from twisted.internet import reactor as global_reactor
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import HostnameEndpoint
from twisted.internet.protocol import Factory, Protocol
from twisted.logger import ILogObserver, LogEvent, formatEvent, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase, TestCase
from typing_extensions import override

from restreamer.cluster.connector import AuthorisingEndpoint, Node, Remote
from restreamer.cluster.link_route import link_route
from restreamer.m4f.link import Authorised
from restreamer.m4f.records import Record
from restreamer.m4f.upgrade import Place
from restreamer.tls import (
    MAX_FILE,
    ServerCertificate,
    TlsEndpoint,
    TlsError,
    TrustedCertificates,
    load_certificate,
    load_trusted,
)
from restreamer.web.limits import FrontLimits
from restreamer.web.service import FrontFactory
from test.certificates import Authority, CertificateFiles

reactor: Any = global_reactor
KEY = b"k" * 32


class FileTests(SynchronousTestCase):
    @override
    def setUp(self) -> None:
        self.folder = Path(self.mktemp())
        self.folder.mkdir()
        self.authority = Authority(self.folder)
        self.files = self.authority.issue("node", "localhost")

    def write(self, name: str, data: bytes) -> str:
        path = self.folder / name
        path.write_bytes(data)
        return str(path)

    def test_certificates(self) -> None:
        good = self.files
        load_certificate(good.certificate, good.key)
        both = Path(good.certificate).read_bytes() + Path(good.key).read_bytes()
        load_certificate(self.write("both.pem", both), "")
        other = self.authority.issue("other", "localhost")
        secret = self.authority.issue("secret", "localhost", passphrase=b"x")
        for certificate, key, words in (
            ("", "", "ssl_certificate is not set"),
            (str(self.folder / "none"), good.key, "none: cannot be read: No such file"),
            (good.certificate, str(self.folder), "cannot be read: Is a directory"),
            (self.write("junk", b"junk"), good.key, "junk: no certificate in PEM form"),
            (good.certificate, self.write("junk", b"junk"), "junk: not the key of"),
            (good.certificate, other.key, "other.key: not the key of"),
            (secret.certificate, secret.key, "without passphrase"),
            (self.write("big", b"x" * (MAX_FILE + 1)), good.key, "larger than 1 MiB"),
        ):
            error = self.assertRaises(TlsError, load_certificate, certificate, key)
            self.assertIn(words, str(error))

    def test_trusted(self) -> None:
        self.assertIsNone(load_trusted(""))
        self.assertEqual(len(load_trusted(self.authority.path) or ()), 1)
        more = Authority(self.folder, "more")
        several = Path(self.authority.path).read_bytes() + b"a comment\n" + Path(more.path).read_bytes()
        self.assertEqual(len(load_trusted(self.write("several", several)) or ()), 2)
        whole = Path(more.path).read_bytes()
        for data, words in (
            (b"", "no certificate in PEM form"),
            (whole[:-40], "has no end"),
            (whole.replace(b"MII", b"MXX"), "is unusable"),
        ):
            error = self.assertRaises(TlsError, load_trusted, self.write("bad", data))
            self.assertIn(words, str(error))


class Quiet:
    """Either end's handler."""

    fruitful = False

    def link_up(self, link: Any) -> None:
        self.link = link

    def record(self, record: Record) -> None:
        pass

    def resumed(self) -> None:
        pass

    def beat(self) -> None:
        pass

    def link_down(self, reason: str) -> None:
        pass


class LinkTests(TestCase):
    """Links between a front on TLS and a connector, over real connections."""

    timeout = 10

    @override
    def setUp(self) -> None:
        folder = Path(self.mktemp())
        folder.mkdir()
        self.authority = Authority(folder)
        self.certificate = ServerCertificate()
        self.trusted = TrustedCertificates()
        self.trusted.use(load_trusted(self.authority.path))

        def handler(event: Authorised) -> Quiet:
            return Quiet()

        route = link_route(b"s" * 16, lambda: [KEY], lambda: b"n" * 16, handler, reactor)
        self.front = FrontFactory(reactor, [route])

    def show(self, files: CertificateFiles) -> None:
        """The listener shows C{files} from now on."""
        self.certificate.use(load_certificate(files.certificate, files.key), files.certificate, files.key)

    def listen(self, interface: str = "127.0.0.1", tls: bool = True) -> int:
        factory = self.certificate.wrap(self.front, reactor) if tls else self.front
        port = reactor.listenTCP(0, factory, interface=interface)
        self.addCleanup(self.finish, port)
        return int(port.getHost().port)

    async def finish(self, port: Any) -> None:
        await port.stopListening()
        if self.front.connections:
            await self.front.drain(0.1)

    async def attempt(self, port: int, host: str, name: str = "", tls: bool = True) -> str:
        """Connect to C{host} as if it were C{name}: what went wrong, empty when the link is up."""
        inner = HostnameEndpoint(reactor, host, port)
        node = Node(
            node_id=b"c" * 16,
            nonce=lambda: b"m" * 16,
            uniform=lambda a, b: a,
            clock=reactor,
            utc=lambda: 0,
        )
        remote = Remote(
            address=Place(host, port).authority,
            endpoint=TlsEndpoint(inner, name or host, self.trusted) if tls else inner,
            key=KEY,
        )
        endpoint = AuthorisingEndpoint(node, remote, "control", Quiet())
        lost: Deferred[None] = Deferred()

        class Presence(Protocol):
            @override
            def connectionLost(self, reason: Any = None) -> None:
                lost.callback(None)

        try:
            presence = await endpoint.connect(Factory.forProtocol(Presence))
        except Exception as error:
            return str(error)
        presence.transport.loseConnection()
        await lost
        return ""

    def test_up(self) -> Deferred[None]:
        async def run() -> None:
            self.show(self.authority.issue("node", "localhost", "127.0.0.1", "::1"))
            port = self.listen()
            self.assertEqual(await self.attempt(port, "127.0.0.1"), "")
            self.assertEqual(await self.attempt(port, "127.0.0.1", "localhost"), "")
            self.assertEqual(await self.attempt(self.listen("::1"), "::1"), "")

        return _run(run())

    def test_not_believed(self) -> Deferred[None]:
        async def run() -> None:
            port = self.listen()
            self.show(self.authority.issue("node", "other.example", "127.0.0.3"))
            for name in ("localhost", "127.0.0.1"):
                why = await self.attempt(port, "127.0.0.1", name)
                self.assertEqual(why, "upgrade: the TLS certificate is not for this host name")
            self.show(self.authority.issue("node", "localhost", days=-1))
            self.assertIn("or has expired", await self.attempt(port, "127.0.0.1", "localhost"))
            self.show(self.authority.issue("node", "localhost"))
            self.assertEqual(await self.attempt(port, "127.0.0.1", "localhost"), "")
            self.trusted.use(None)
            self.assertIn("not signed by a CA", await self.attempt(port, "127.0.0.1", "localhost"))

        return _run(run())

    def test_turned_away(self) -> Deferred[None]:
        """A front that is closing, or full, takes no connection over TLS either, and nothing breaks."""

        async def run() -> None:
            self.show(self.authority.issue("node", "localhost"))
            self.front.limits = FrontLimits(connections=0, reserve=0)
            port = self.listen()
            self.assertIn("status 503", await self.attempt(port, "127.0.0.1", "localhost"))
            self.front.draining = True
            self.assertNotEqual(await self.attempt(port, "127.0.0.1", "localhost"), "")

        return _run(run())

    def test_no_tls_there(self) -> Deferred[None]:
        async def run() -> None:
            port = self.listen(tls=False)
            self.assertIn("TLS", await self.attempt(port, "127.0.0.1"))

        return _run(run())

    def test_handshakes_that_fail(self) -> Deferred[None]:
        """The listener says why, once for each reason, whoever makes them fail and how often (H18)."""
        said: list[str] = []

        def hear(event: LogEvent) -> None:
            if "TLS handshake" in str(event.get("log_format")):
                said.append(formatEvent(event))

        observer = cast(ILogObserver, hear)
        globalLogPublisher.addObserver(observer)
        self.addCleanup(globalLogPublisher.removeObserver, observer)

        async def send(port: int, data: bytes) -> None:
            lost: Deferred[None] = Deferred()

            class Stranger(Protocol):
                @override
                def connectionMade(self) -> None:
                    assert self.transport is not None
                    self.transport.write(data)

                @override
                def connectionLost(self, reason: Any = None) -> None:
                    lost.callback(None)

            await HostnameEndpoint(reactor, "127.0.0.1", port).connect(Factory.forProtocol(Stranger))
            await lost

        async def run() -> None:
            self.show(self.authority.issue("node", "localhost"))
            port = self.listen()
            self.assertEqual(await self.attempt(port, "127.0.0.1", "localhost"), "")
            self.assertEqual(said, [])
            for _ in range(3):
                await send(port, b"\0" * 100)
                await send(port, b"GET / HTTP/1.1\r\n\r\n")
            self.assertEqual(len(said), 2, said)
            self.assertTrue(all(line.startswith("TLS handshake with 127.0.0.1 failed: ") for line in said))
            self.assertIn("http request", said[1])

        return _run(run())

    def test_tls_there_and_not_here(self) -> Deferred[None]:
        """A link without TLS to a port that wants it: what to do about it is said."""

        async def run() -> None:
            self.show(self.authority.issue("node", "localhost"))
            why = await self.attempt(self.listen(), "127.0.0.1", tls=False)
            self.assertIn("does that port speak TLS?", why)

        return _run(run())


def _run(coroutine: Coroutine[Any, Any, None]) -> Deferred[None]:
    return Deferred.fromCoroutine(coroutine)
