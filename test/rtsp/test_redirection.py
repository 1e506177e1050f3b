"""Pulls that are sent elsewhere (RFC 2326 section 11.3)."""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Any

from attrs import define, evolve, field
from twisted.internet.defer import Deferred, succeed
from twisted.internet.error import ConnectionDone
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from typing_extensions import override

from restreamer.rtsp.pull import RtspPull
from restreamer.rtsp.redirection import MAX_REDIRECTIONS, elsewhere
from restreamer.sources.pull import PullTarget
from restreamer.testing.media import make_frames
from test.rtsp.fakes import FakeSink, Peer, Rig, Wire

HERE = PullTarget(
    shown="rtsp://a.example/cam",
    scheme="rtsp",
    host="a.example",
    port=554,
    path="/cam",
    query="token=old",
    user="u",
    password="s3cret",
    options={"transport": "tcp"},
)


class ElsewhereTests(SynchronousTestCase):
    """L{elsewhere}."""

    def test_where(self) -> None:
        for location, host, port, tls, path, query in (
            ("rtsp://b.example/x/y", "b.example", 554, False, "/x/y", ""),
            ("rtsp://b.example:8554/x?token=new", "b.example", 8554, False, "/x", "token=new"),
            ("RTSPS://B.example/x", "b.example", 322, True, "/x", ""),
            ("rtsp://[2001:db8::1]:8554", "2001:db8::1", 8554, False, "", ""),
        ):
            there = elsewhere(location, HERE)
            assert there is not None
            self.assertEqual(
                (there.host, there.port, there.tls, there.path, there.query), (host, port, tls, path, query)
            )
            self.assertEqual(there.options, HERE.options)
            self.assertNotIn("new", there.shown)

    def test_where_not(self) -> None:
        for location in (
            "",
            "/cam2",
            "//b.example/cam",
            "http://b.example/cam",
            "file:///etc/passwd",
            "rtspu://b.example/cam",
            "rtsp://",
            "rtsp:///cam",
            "rtsp://b.example:0/cam",
            "rtsp://b.example:99999/cam",
            "rtsp://b.example:x/cam",
            "rtsp://[::1/cam",
            "rtsp://b.example/a b",
            "rtsp://b.example/\u00fc",
            "rtsp://b.example/" + "x" * 2048,
        ):
            self.assertIsNone(elsewhere(location, HERE), location)

    def test_not_out_of_tls(self) -> None:
        here = evolve(HERE, tls=True, port=322)
        self.assertIsNone(elsewhere("rtsp://a.example/cam", here))
        self.assertIsNotNone(elsewhere("rtsps://a.example/cam", here))

    def test_whose_login(self) -> None:
        """Ours goes to nobody else; the other one's own is used."""
        for location, login in (
            ("rtsp://A.example/other", ("u", "s3cret")),
            ("rtsp://a.example:554/other", ("u", "s3cret")),
            ("rtsp://a.example:8554/other", ("", "")),
            ("rtsps://a.example/other", ("", "")),
            ("rtsp://b.example/other", ("", "")),
            ("rtsp://a.example.org/other", ("", "")),
            ("rtsp://a.example@b.example/other", ("a.example", "")),
            ("rtsp://x:y%40z@b.example/other", ("x", "y@z")),
        ):
            there = elsewhere(location, HERE)
            assert there is not None
            self.assertEqual((there.user, there.password), login, location)
            self.assertNotIn("y%40z", there.shown)


@define(eq=False)
class Place:
    """A server. @ivar answer: to a request, without CSeq; None: a real server answers.

    @ivar heard: what it was asked, of all connections.
    """

    answer: Callable[[str], str] | None = None
    heard: str = ""


@define(eq=False)
class _Line:
    """One connection."""

    place: Place
    client: Any
    wire: Wire
    server: Peer | None
    closed: bool = False


@define(eq=False)
class Net:
    """Servers by host; bytes go over at each L{turn}."""

    rig: Rig
    places: dict[str, Place]
    asked: list[str] = field(factory=list)
    lines: list[_Line] = field(factory=list)
    _host: str = ""

    def connect(self, host: str, port: int, tls: bool) -> Any:
        self.asked.append(f"{host}:{port}")
        return _Endpoint(self, host)

    def turn(self, times: int = 40) -> None:
        for _ in range(times):
            self.rig.clock.advance(0.01)
            for line in list(self.lines):
                self._carry(line)

    def _carry(self, line: _Line) -> None:
        sent = line.wire.value()
        line.wire.clear()
        line.place.heard += sent.decode()
        answered = b""
        if line.server is not None:
            if sent:
                line.server.protocol.dataReceived(sent)
            answered = line.server.wire.value()
            line.server.wire.clear()
        elif sent and line.place.answer is not None:
            for request in sent.decode().split("\r\n\r\n")[:-1]:
                number = request.partition("CSeq: ")[2].partition("\r\n")[0]
                first, _, rest = line.place.answer(request).partition("\r\n")
                if first:
                    answered += f"{first}\r\nCSeq: {number}\r\n{rest}\r\n".encode()
        if answered:
            line.client.dataReceived(answered)
        if line.wire.disconnecting and not line.closed:
            line.closed = True
            line.client.connectionLost(Failure(ConnectionDone()))


@define
class _Endpoint:
    net: Net
    host: str

    def connect(self, factory: Any) -> Deferred[Any]:
        place = self.net.places[self.host]
        client, wire = factory.buildProtocol(None), Wire("192.0.2.1")
        server = Peer(self.net.rig) if place.answer is None else None
        self.net.lines.append(_Line(place, client, wire, server))
        client.makeConnection(wire)
        return succeed(client)


def to(location: str, status: int = 302, method: str = "DESCRIBE") -> Callable[[str], str]:
    """Answers of a server that sends everybody to C{location}."""

    def answer(request: str) -> str:
        if request.startswith(method):
            return f"RTSP/1.0 {status} Moved\r\nLocation: {location}\r\n"
        return "RTSP/1.0 200 OK\r\nPublic: OPTIONS, DESCRIBE\r\n"

    return answer


def silent(request: str) -> str:
    """Nothing is answered."""
    return ""


class PullTests(SynchronousTestCase):
    """L{RtspPull}."""

    @override
    def setUp(self) -> None:
        self.rig = Rig(udp=False)
        self.sink = FakeSink(lambda reason: None)
        self.lost: list[str] = []

    def pull(self, **places: Place) -> Net:
        net = Net(self.rig, {f"{name}.example": place for name, place in places.items()})
        self.pulling = RtspPull(HERE, self.sink, self.lost.append, self.rig.clock, net.connect)
        net.turn()
        return net

    def assert_plays(self, net: Net) -> None:
        for frame in make_frames(0.5):
            self.rig.core.streams["cam"].send(frame)
            net.turn(1)
        self.assertEqual(self.lost, [])
        self.assertTrue(self.sink.frames)

    def assert_nothing_left(self, net: Net) -> None:
        for line in net.lines:
            if line.server is not None:
                line.server.lose()
        net.turn()
        self.rig.clock.advance(10)
        self.assertEqual(self.rig.clock.getDelayedCalls(), [])

    def test_followed(self) -> None:
        """Each status, as an answer to DESCRIBE and to OPTIONS."""
        for status in (301, 302, 303, 307):
            for method in ("DESCRIBE", "OPTIONS"):
                self.setUp()
                there = Place()
                net = self.pull(a=Place(to("rtsp://b.example:8554/cam", status, method)), b=there)
                self.assertEqual(net.asked, ["a.example:554", "b.example:8554"])
                self.assertIn("DESCRIBE rtsp://b.example:8554/cam RTSP/1.0", there.heard)
                self.assert_plays(net)
                self.pulling.stop()
                self.assertEqual(self.lost, [])
                self.assert_nothing_left(net)

    def test_the_login_stays_where_it_belongs(self) -> None:
        """A server asks for a password, then sends us to another one, which asks too."""
        asks = 'RTSP/1.0 401 Unauthorized\r\nWWW-Authenticate: Basic realm="x"\r\n'

        def first(request: str) -> str:
            return to("rtsp://b.example/cam")(request) if "Authorization" in request else asks

        here, there = Place(first), Place(lambda request: asks)
        net = self.pull(a=here, b=there)
        login = base64.b64encode(b"u:s3cret").decode()
        self.assertIn(login, here.heard)
        self.assertNotIn("Authorization", there.heard)
        self.assertNotIn("token=old", there.heard)
        self.assertEqual(len(self.lost), 1)
        self.assertIn("401", self.lost[0])
        self.assertNotIn("s3cret", repr(self.lost))
        self.assert_nothing_left(net)

    def test_round_and_round(self) -> None:
        net = self.pull(a=Place(to("rtsp://b.example/cam")), b=Place(to("rtsp://a.example/cam")))
        self.assertEqual(len(net.asked), MAX_REDIRECTIONS + 1)
        self.assertEqual(len(self.lost), 1)
        self.assertIn("redirections", self.lost[0])
        self.assertEqual([line.closed for line in net.lines], [True] * (MAX_REDIRECTIONS + 1))
        self.assert_nothing_left(net)

    def test_not_followed(self) -> None:
        for location, status in (("http://b.example/cam", 302), ("", 302), ("rtsp://b.example/cam", 305)):
            self.setUp()
            net = self.pull(a=Place(to(location, status)), b=Place())
            self.assertEqual(net.asked, ["a.example:554"])
            self.assertEqual(len(self.lost), 1)
            self.assertIn(str(status), self.lost[0])
            self.assert_nothing_left(net)

    def test_stopped_on_the_way(self) -> None:
        """Nothing is told after C{stop}, wherever it was."""
        net = self.pull(a=Place(to("rtsp://b.example/cam")), b=Place(silent))
        self.pulling.stop()
        self.assertEqual((self.lost, self.sink.ended), ([], "stopped"))
        self.assert_nothing_left(net)
        self.assertEqual(self.lost, [])

    def test_one_deadline_for_the_whole_way(self) -> None:
        net = self.pull(a=Place(to("rtsp://b.example/cam")), b=Place(silent))
        self.assertEqual(len(net.asked), 2)
        self.rig.clock.advance(9)
        self.assertEqual(self.lost, [])
        self.rig.clock.advance(1)
        self.assertEqual(len(self.lost), 1)
        self.assert_nothing_left(net)
