"""The balancer's choice and its answers."""

from __future__ import annotations

from collections.abc import Coroutine, Sequence
from typing import Any, cast

from attrs import define, field
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase
from typing_extensions import override

from restreamer.cluster.balancer import MODES, Balancer, balancer_route
from restreamer.cluster.peers import Peer, PublicPlace
from restreamer.errors import Reason, Refused
from restreamer.http1.reply import FullReply, HttpRequest
from restreamer.m4f.records import NodeLoad, StreamState
from restreamer.seams import Grant, OpenRequest


@define(eq=False)
class FakePeer:
    name: str
    load: NodeLoad = field(factory=NodeLoad)
    connected: bool = True
    names: tuple[str, ...] = ()
    sent: int = 0
    public: PublicPlace = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.public = PublicPlace(f"https://{self.name}:8443", self.name)

    def chosen(self) -> None:
        self.sent += 1

    def lists(self, name: str) -> StreamState | None:
        return StreamState.RUNNING if name in self.names else None


def pick(mode: str, *peers: tuple[FakePeer, int], name: str = "x") -> tuple[str, list[str]]:
    """The name of the peer, and of those between which chance decided."""
    offered: list[list[str]] = []

    def choose(able: Sequence[Peer]) -> Peer:
        offered.append([cast(FakePeer, peer).name for peer in able])
        return able[-1]

    picked = Balancer(mode, cast(Any, peers), choose).pick(name)
    return cast(FakePeer, picked).name, offered[0]


class PickTests(SynchronousTestCase):
    def test_modes(self) -> None:
        """Each mode compares its own figure; all others point the other way."""
        one = NodeLoad(clients=1, streams=9, bitrate_out=5_000_000)
        other = NodeLoad(clients=9, streams=1, bitrate_out=4_000_000)
        for mode, expected in (
            ("clients", "one"),
            ("streams", "other"),
            ("bitrate", "other"),
            ("usage", "one"),
        ):
            peers = (FakePeer("one", one), 40_000_000), (FakePeer("other", other), 10_000_000)
            self.assertEqual(pick(mode, *peers), (expected, [expected]), mode)
        self.assertEqual(set(MODES), {"clients", "streams", "bitrate", "usage"})

    def test_ties_are_left_to_chance(self) -> None:
        peers = [(FakePeer(name), 0) for name in "abc"]
        for mode in MODES:
            self.assertEqual(pick(mode, *peers)[1][:2], ["a", "b"], mode)
            for peer, _ in peers:
                peer.sent = 0

    def test_between_two_reports_viewers_are_spread(self) -> None:
        """Who was sent somewhere counts there, until the peer counts for itself."""
        one, other = FakePeer("one"), FakePeer("other")
        got = [pick("clients", (one, 0), (other, 0))[0] for _ in range(10)]
        self.assertEqual((got.count("one"), got.count("other")), (5, 5))

    def test_who_is_away_is_left_out(self) -> None:
        busy = FakePeer("busy", NodeLoad(clients=100))
        away = FakePeer("away", connected=False)
        self.assertEqual(pick("clients", (busy, 0), (away, 0))[0], "busy")
        refused = self.assertRaises(Refused, pick, "clients", (away, 0))
        self.assertIs(refused.reason, Reason.OVERLOADED)

    def test_who_lists_the_stream_comes_first(self) -> None:
        has = FakePeer("has", NodeLoad(clients=100), names=("x",))
        lacks = FakePeer("lacks")
        self.assertEqual(pick("clients", (has, 0), (lacks, 0))[0], "has")
        self.assertEqual(pick("clients", (has, 0), (lacks, 0), name="y")[0], "lacks")


@define(eq=False)
class Doorman:
    """A gate that keeps what it was asked."""

    asked: list[OpenRequest] = field(factory=list)
    closed: bool = False

    async def open(self, request: OpenRequest) -> Grant:
        self.asked.append(request)
        if self.closed:
            raise Refused(Reason.DENIED, "no")
        return Grant(request=request)


class RouteTests(SynchronousTestCase):
    @override
    def setUp(self) -> None:
        self.gate = Doorman()

    def route(self, path: str, method: str = "GET", query: str = "") -> FullReply | None:
        balancer = Balancer("clients", cast(Any, [(FakePeer("edge"), 0)]), lambda peers: peers[0])
        route = balancer_route(lambda: {"lb": balancer}, self.gate)
        reply = route(HttpRequest(method=method, path=path, query=query))
        if reply is None or isinstance(reply, FullReply):
            return reply
        given = self.successResultOf(Deferred.fromCoroutine(cast("Coroutine[Any, Any, Any]", reply)))
        assert isinstance(given, FullReply)
        return given

    def test_the_gate_comes_first(self) -> None:
        """Who may not play is not told where to play."""
        self.route("/lb/a/b/index.m3u8", query="token=t")
        (asked,) = self.gate.asked
        self.assertEqual((asked.name, asked.action, asked.proto, asked.token), ("a/b", "play", "hls", "t"))
        self.gate.closed = True
        refusal = self.failureResultOf(self.ask("/lb/a/mpegts"), Refused)
        self.assertIs(refusal.value.reason, Reason.DENIED)

    def ask(self, path: str) -> Deferred[Any]:
        """What becomes of a request."""
        balancer = Balancer("clients", cast(Any, [(FakePeer("edge"), 0)]), lambda peers: peers[0])
        reply = balancer_route(lambda: {"lb": balancer}, self.gate)(HttpRequest(method="GET", path=path))
        return Deferred.fromCoroutine(cast("Coroutine[Any, Any, Any]", reply))

    def test_redirects(self) -> None:
        for path, query, there in (
            ("/lb/a/index.m3u8", "", "https://edge:8443/a/index.m3u8"),
            ("/lb/a/b/mpegts", "token=a%20b&x", "https://edge:8443/a/b/mpegts?token=a%20b&x"),
            ("/lb/a b/ü.m3u8", "", "https://edge:8443/a%20b/%C3%BC.m3u8"),
        ):
            reply = self.route(path, query=query)
            assert reply is not None
            self.assertEqual(reply.status, 302)
            self.assertIn(f"Location: {there}\r\n".encode(), reply.headers)
            self.assertIn(b"Cache-Control: no-store\r\n", reply.headers)

    def test_not_its_own(self) -> None:
        for path in ("/lb/index.m3u8", "/lb/", "/lb", "/lbx/a/index.m3u8", "/a/index.m3u8"):
            self.assertIsNone(self.route(path), path)

    def test_methods(self) -> None:
        for method, status in (("HEAD", 302), ("OPTIONS", 204), ("POST", 405)):
            reply = self.route("/lb/a/index.m3u8", method)
            assert reply is not None
            self.assertEqual(reply.status, status)
