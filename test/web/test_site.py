"""The site behind the front, over real connections: hand-over, pages, API, TLS."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any, TypedDict

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from OpenSSL import crypto
from twisted.internet import reactor as _reactor
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint, connectProtocol, wrapClientTLS
from twisted.internet.protocol import Protocol
from twisted.internet.ssl import Certificate, CertificateOptions, optionsForClientTLS
from twisted.logger import formatEvent, globalLogPublisher
from twisted.protocols.tls import TLSMemoryBIOFactory
from twisted.python.failure import Failure
from twisted.trial.unittest import TestCase
from typing_extensions import override

from restreamer.http1.reply import FullReply, HttpRequest, Reply
from restreamer.web.api import ServerFacts, StreamApi
from restreamer.web.limits import FrontLimits
from restreamer.web.service import FrontFactory
from restreamer.web.site import make_site
from restreamer.web.v3.authority import Authority, Login
from restreamer.web.v3.endpoint import BASE, Access, Answered, Endpoint
from restreamer.web.v3.reading import probe_endpoints, stream_endpoints
from test.web.test_api import Names

reactor: Any = _reactor
BIG = bytes(range(256)) * 8000


class Fetch(Protocol):
    """Sends C{data}; C{done} fires with everything received when the connection is closed."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.got = b""
        self.done = Deferred[bytes]()

    @override
    def connectionMade(self) -> None:
        assert self.transport is not None
        self.transport.write(self.data)

    @override
    def dataReceived(self, data: bytes) -> None:
        self.got += data

    @override
    def connectionLost(self, reason: Failure | None = None) -> None:
        self.done.callback(self.got)


class Long(TypedDict):
    """A long body."""

    text: str


LONG = Endpoint(
    method="PUT",
    path="/long",
    summary="Takes much.",
    tag="t",
    handler=lambda call: Answered(204),
    access=Access.EDIT,
    body=Long,
    status=204,
    most_body=1_000_000,
)


def media(request: HttpRequest) -> Reply | None:
    if request.path == "/big":
        return FullReply(status=200, body=BIG)
    return None


def self_signed() -> tuple[Any, Any]:
    """A key and a certificate for localhost, as pyOpenSSL objects."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(datetime(2020, 1, 1))
        .not_valid_after(datetime(2120, 1, 1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    return crypto.PKey.from_cryptography_key(key), crypto.X509.from_cryptography(certificate)


class SiteCase(TestCase):
    ready = True

    @override
    def setUp(self) -> None:
        facts = ServerFacts(version="1.2", started_at=5, now=lambda: 7.5, ready=lambda: self.ready)
        self.logged: list[tuple[object, ...]] = []
        streams = StreamApi(Names(["a", "b/c"]), lambda: 0.0)
        site = make_site(
            [*stream_endpoints(streams), *probe_endpoints(facts), LONG],
            Authority(reactor, edit=Login("admin", "the-edit-password")),
            reactor,
            lambda *line: self.logged.append(line),
        )
        self.front = FrontFactory(reactor, [media], site, FrontLimits())
        self.events: list[str] = []
        observer: Any = self._remember
        globalLogPublisher.addObserver(observer)
        self.addCleanup(globalLogPublisher.removeObserver, observer)

    def _remember(self, event: dict[str, Any]) -> None:
        self.events.append(formatEvent(event))

    def listen(self, factory: Any) -> int:
        port = reactor.listenTCP(0, factory, interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        return int(port.getHost().port)

    async def fetch(self, data: bytes) -> bytes:
        fetch = Fetch(data)
        await connectProtocol(TCP4ClientEndpoint(reactor, "127.0.0.1", self.listen(self.front)), fetch)
        return await fetch.done

    async def get(self, path: str, method: str = "GET", *fields: str) -> tuple[int, str, bytes]:
        head = "\r\n".join([f"{method} {path} HTTP/1.1", "Host: h", *fields, "", ""])
        answer, _, body = (await self.fetch(head.encode())).partition(b"\r\n\r\n")
        return int(answer.split()[1]), answer.decode(), body

    async def test_api(self) -> None:
        status, head, body = await self.get("/streamer/api/v3/streams?limit=1&token=secret")
        self.assertEqual(status, 200)
        self.assertIn("Content-Type: application/json; charset=utf-8", head)
        self.assertIn("X-Content-Type-Options: nosniff", head)
        self.assertIn("Connection: close", head)
        self.assertNotIn("Access-Control", head)
        self.assertEqual(json.loads(body)["streams"][0]["name"], "a")
        status, _, body = await self.get("/streamer/api/v3/streams/b/c")
        self.assertEqual((status, json.loads(body)["name"]), (200, "b/c"))
        self.assertEqual(
            [line[1:4] for line in self.logged],
            [("GET", "/streamer/api/v3/streams", 200), ("GET", "/streamer/api/v3/streams/b/c", 200)],
        )
        self.assertFalse([event for event in self.events if "secret" in event])

    async def test_api_errors(self) -> None:
        for path, method, wanted in [
            ("/streamer/api/v3/streams/none", "GET", 404),
            ("/streamer/api/v3/streams/a", "DELETE", 405),
            ("/streamer/api/v3/streams?cursor=x", "GET", 400),
            ("/streamer/api/v3/other", "GET", 404),
            ("/streamer/api/v3", "GET", 404),
            ("/monitoring/other", "GET", 404),
            ("/streamer/api/v3/streams?" + "&".join(f"a{n}=1" for n in range(60)), "GET", 400),
        ]:
            status, head, body = await self.get(path, method)
            self.assertEqual((status, json.loads(body)["errors"][0]["status"]), (wanted, str(wanted)), path)
            self.assertEqual("Allow: GET, HEAD" in head, wanted == 405)

    async def test_probes(self) -> None:
        for path in ("/monitoring/liveness", "/streamer/api/v3/monitoring/readiness"):
            status, _, body = await self.get(path)
            self.assertEqual(status, 200)
            self.assertEqual(
                json.loads(body), {"now": 7500, "build": 0, "server_version": "1.2", "started_at": 5}
            )
        self.ready = False
        self.assertEqual((await self.get("/monitoring/readiness"))[0], 503)
        self.assertEqual((await self.get("/monitoring/liveness"))[0], 200)

    async def test_pages(self) -> None:
        for path, kind in [
            ("/", "text/html"),
            ("/a/embed.html?token=t", "text/html"),
            ("/b/c/embed.html", "text/html"),
            ("/-/status.js", "text/javascript"),
            ("/-/embed.js", "text/javascript"),
            ("/-/codecs.js", "text/javascript"),
            ("/-/players.js", "text/javascript"),
            ("/-/hls.min.js", "text/javascript"),
            ("/-/dash.mediaplayer.min.js", "text/javascript"),
            ("/-/style.css", "text/css"),
            ("/-/hls.LICENSE.txt", "text/plain"),
            ("/-/dash.LICENSE.txt", "text/plain"),
        ]:
            status, head, body = await self.get(path)
            self.assertEqual(status, 200, path)
            self.assertIn(f"Content-Type: {kind}", head)
            self.assertIn("Content-Security-Policy: default-src 'none'; script-src 'self';", head)
            player = "embed.html" in path
            self.assertEqual("frame-ancestors *" in head, player)
            self.assertIn(f"connect-src 'self'{' http: https:' if player else ''};", head)
            self.assertIn(f"media-src 'self' blob:{' http: https:' if player else ''};", head)
            self.assertNotIn("Server:", head)
            self.assertTrue(body)
            etag = head.split("ETag: ")[1].split("\r\n")[0]
            self.assertEqual((await self.get(path, "GET", f"If-None-Match: {etag}"))[0], 304)
        status, head, body = await self.get("/", "HEAD")
        self.assertEqual((status, body), (200, b""))
        self.assertIn("Content-Length: ", head)

    async def test_nothing_there(self) -> None:
        for path in [
            "/a/b",
            "/-/",
            "/-/none.js",
            "/-x/embed.html",
            "/embed.html",
            "/streamer",
            "/streamer/",
            "/streamer/x",
            "/a//embed.html",
            "/%3Cscript%3E/embed.html",
            "/a/embed.html/b",
        ]:
            status, _, body = await self.get(path)
            self.assertEqual(status, 404, path)
            self.assertNotIn(b"script", body)

    async def test_wrong_methods(self) -> None:
        """All but GET and HEAD are 405 (H12)."""
        for method in ("POST", "PUT", "TRACE", "OPTIONS", "BREW"):
            self.assertEqual((await self.get("/", method))[0], 405, method)

    async def test_bodies(self) -> None:
        """Long ones and chunks are refused at the head (H04)."""
        answer = await self.fetch(
            b"POST /monitoring/liveness HTTP/1.1\r\nHost: h\r\nContent-Length: 65536\r\n\r\n" + b"x" * 65536
        )
        self.assertTrue(answer.startswith(b"HTTP/1.1 405 "))
        answer = await self.fetch(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 65537\r\n\r\n" + b"x" * 10)
        self.assertTrue(answer.startswith(b"HTTP/1.1 413 "))
        answer = await self.fetch(b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n")
        self.assertTrue(answer.startswith(b"HTTP/1.1 411 "))
        answer = await self.fetch(b"PUT /big HTTP/1.1\r\nHost: h\r\nContent-Length: 99999999999\r\n\r\nx")
        self.assertTrue(answer.startswith(b"HTTP/1.1 413 "))

    async def test_long_bodies(self) -> None:
        """One is taken where it is of use, of who may ask; nobody else can fill the memory."""
        path = BASE + "/long"
        for size, password, status in (
            (100_000, b"the-edit-password", 204),
            (100_000, b"wrong", 413),
            (60_000, b"wrong", 401),
            (1_000_001, b"the-edit-password", 413),
        ):
            head = b"PUT %b HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\nContent-Length: %d\r\n"
            answer = await self.fetch(
                head % (path.encode(), size)
                + b"Authorization: Bearer %b\r\n\r\n" % password
                + b'{"text":"%b"}' % (b"x" * (size - 11))
            )
            self.assertEqual(answer[9:12], b"%d" % status, (size, password))

    async def test_media_then_site_on_one_connection(self) -> None:
        answer = await self.fetch(
            b"GET /big HTTP/1.1\r\nHost: h\r\n\r\nGET /monitoring/liveness HTTP/1.1\r\nHost: h\r\n\r\n"
            b"GET /big HTTP/1.1\r\nHost: h\r\n\r\n"
        )
        self.assertIn(BIG + b"HTTP/1.1 200 OK\r\n", answer)
        self.assertIn(b"\r\nConnection: close\r\n", answer.partition(BIG)[2])
        self.assertEqual(answer.count(b"HTTP/1.1 200 OK\r\n"), 2)
        self.assertEqual(self.front.counters.handed_over, 1)

    async def test_passed_on(self) -> None:
        """A route that answers only after a while finds that the site is to answer: it does; without a site
        the answer of the route stands.
        """
        late = Deferred[Reply]()

        async def leave_it(request: HttpRequest) -> Reply:
            return await late

        self.front.routes = (media, leave_it)
        fetched = self.fetch(
            b"GET /big HTTP/1.1\r\nHost: h\r\n\r\nGET /monitoring/liveness HTTP/1.1\r\nHost: h\r\n\r\n"
        )
        reactor.callLater(0, late.callback, FullReply(status=404, passed=True))
        answer = await fetched
        self.assertEqual(answer.count(b"HTTP/1.1 200 OK\r\n"), 2)
        self.assertIn(b'"server_version":"1.2"', answer)
        self.front.site = None
        answer = await self.fetch(b"GET /other HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
        self.assertIn(b"HTTP/1.1 404 ", answer)

    async def test_tls(self) -> None:
        key, certificate = self_signed()
        context = CertificateOptions(privateKey=key, certificate=certificate)
        port = self.listen(TLSMemoryBIOFactory(context, False, self.front))
        options = optionsForClientTLS("localhost", trustRoot=Certificate(certificate))
        endpoint = wrapClientTLS(options, TCP4ClientEndpoint(reactor, "127.0.0.1", port))
        fetch = Fetch(
            b"GET /big HTTP/1.1\r\nHost: h\r\n\r\n" * 3
            + b"GET /monitoring/liveness HTTP/1.1\r\nHost: h\r\n\r\n"
        )
        await connectProtocol(endpoint, fetch)
        answer = await fetch.done
        self.assertEqual(answer.count(BIG), 3)
        self.assertIn(b'"server_version":"1.2"', answer)
