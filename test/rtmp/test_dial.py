"""L{restreamer.rtmp.dial}, and the deadlines of L{restreamer.rtmp.pull} and C{push}, by a clock."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from attrs import define, field
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionRefusedError
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.trial.unittest import SynchronousTestCase
from typing_extensions import override

from restreamer.live.push_target import PushTarget
from restreamer.media.frame import Frame
from restreamer.media.track import Tracks
from restreamer.rtmp.dial import elsewhere, reconnected
from restreamer.rtmp.pull import RtmpPull
from restreamer.rtmp.push import PAUSES, RtmpPush
from restreamer.rtmp.url import parse_url, without_secrets
from restreamer.sources.pull import PullTarget

HERE = parse_url("rtmp://h/live/cam?token=t")


@define
class Network:
    """Endpoints that connect when the test says so."""

    places: list[tuple[str, int, bool]] = field(factory=list)
    waiting: list[tuple[Any, Deferred[Any]]] = field(factory=list)

    def __call__(self, host: str, port: int, tls: bool) -> Network:
        self.places.append((host, port, tls))
        return self

    def connect(self, factory: Any) -> Deferred[Any]:
        made: Deferred[Any] = Deferred()
        self.waiting.append((factory, made))
        return made

    def accept(self) -> tuple[Any, StringTransport]:
        """Connect the newest attempt: its protocol and transport."""
        factory, made = self.waiting.pop()
        protocol = factory.buildProtocol(None)
        transport = StringTransport()
        protocol.makeConnection(transport)
        made.callback(protocol)
        return protocol, transport

    def refuse(self) -> None:
        """Nobody listens there."""
        self.waiting.pop()[1].errback(ConnectionRefusedError())


@define
class Sink:
    """Keeps how it ended."""

    ends: list[str] = field(factory=list)

    def configure(self, tracks: Tracks) -> None:
        """Nothing comes."""

    def dated(self, offset: int | None) -> None:
        """Nobody asks."""

    def push(self, frames: Sequence[Frame]) -> float:
        return 0.0

    def end(self, reason: str) -> None:
        self.ends.append(reason)


@define
class Running:
    """All that a push looks at of a stream."""

    running: bool = True


class PlaceTests(SynchronousTestCase):
    """Where servers send us."""

    def test_elsewhere(self) -> None:
        """RTMP URLs; never from TLS to plain."""
        there = elsewhere("rtmp://other:1936/live/cam?x=1", HERE)
        assert there is not None
        self.assertEqual((there.host, there.port, there.app, there.key), ("other", 1936, "live", "cam?x=1"))
        for bad in ("", "http://other/x", "rtmp:///x", "rtmp://[", "nonsense"):
            self.assertIsNone(elsewhere(bad, HERE), bad)
        secure = parse_url("rtmps://h/live/cam")
        self.assertIsNone(elsewhere("rtmp://other/live/cam", secure))
        self.assertIsNotNone(elsewhere("rtmps://other/live/cam", secure))

    def test_reconnected(self) -> None:
        """The key goes along; without an address, or with nonsense, the same place."""
        there = reconnected("rtmp://other/app/inner", HERE)
        self.assertEqual((there.host, there.app, there.key), ("other", "app/inner", "cam?token=t"))
        self.assertEqual(reconnected("", HERE), HERE)
        self.assertEqual(reconnected("file:///etc/passwd", HERE), HERE)
        for bad in ("http://other/live", "rtmp://[", "//[", "rtmp:///x"):
            self.assertEqual(reconnected(bad, HERE), HERE, bad)

    def test_relative_references(self) -> None:
        """A request to reconnect may say only what is different (Enhanced RTMP v2, "Reconnect Request")."""
        for here, reference, want in (
            ("rtmp://h:1936/live/cam?t=1", "//192.0.2.7/other", ("192.0.2.7", 1935, "other", False)),
            ("rtmp://h:1936/live/cam?t=1", "//192.0.2.7:1937/a/b", ("192.0.2.7", 1937, "a/b", False)),
            ("rtmp://h:1936/live/cam?t=1", "/other", ("h", 1936, "other", False)),
            ("rtmp://h:1936/live/cam?t=1", "other", ("h", 1936, "other", False)),
            ("rtmps://h/live/cam?t=1", "/other", ("h", 443, "other", True)),
            ("rtmps://h:444/live/cam?t=1", "//i/other", ("i", 443, "other", True)),
        ):
            with self.subTest(here=here, reference=reference):
                there = reconnected(reference, parse_url(here))
                self.assertEqual((there.host, there.port, there.app, there.tls), want)
                self.assertEqual(there.key, "cam?t=1")

    def test_what_servers_repeat(self) -> None:
        """The key and the parameters of our address are in no text that is shown, whoever wrote it."""
        url = parse_url("rtmp://h/live2/SECRET%2Fkey?sign=abc%3Dd&k=7")
        for words, want in (
            (
                "publishing to live2/SECRET%2Fkey is not configured",
                "publishing to live2/*** is not configured",
            ),
            ("stream live2/SECRET/key has a publisher", "stream live2/*** has a publisher"),
            ("bad SECRET%2Fkey?sign=abc%3Dd&k=7!", "bad ***!"),
            ("sign=abc%3Dd&k=7", "***"),
            ("abc=d is wrong, 7 is, 17 is not", "*** is wrong, *** is, 17 is not"),
            ("\x1b[31mred\nline", "?[31mred?line"),
            ("", ""),
        ):
            self.assertEqual(without_secrets(words, url), want)
        self.assertEqual(
            without_secrets("NetStream.Failed: no", parse_url("rtmp://h/live/")), "NetStream.Failed: no"
        )
        self.assertEqual(len(without_secrets("x" * 100_000, url)), 300)

    def test_urls(self) -> None:
        """RTMPS and its port."""
        self.assertEqual((parse_url("rtmps://h/live/cam").port, parse_url("rtmps://h:1/a/b").port), (443, 1))
        self.assertEqual(parse_url("rtmps://h/live/cam").tc_url, "rtmps://h/live")
        self.assertEqual(parse_url("rtmps://h:1935/live/cam").tc_url, "rtmps://h:1935/live")
        self.assertNotIn("token", repr(HERE))


class DeadlineTests(SynchronousTestCase):
    """Nothing waits for ever."""

    @override
    def setUp(self) -> None:
        self.clock = Clock()
        self.network = Network()
        self.lost: list[str] = []
        self.sink = Sink()

    def pull(self) -> RtmpPull:
        """A pull that has just begun."""
        target = PullTarget(shown="rtmp://h", scheme="rtmp", host="h", port=1935, path="/live/cam")
        return RtmpPull(target, self.sink, self.lost.append, self.clock, self.network, bytes)

    def push(self) -> RtmpPush:
        """A push that has just begun."""
        target = PushTarget(shown="rtmp://h", scheme="rtmp", host="h", port=1935, path="/live/cam")
        push = RtmpPush(target, "cam", lambda name: None, self.clock, self.network, random=bytes)
        push.follow(Running())  # type: ignore[arg-type]
        return push

    def test_no_connection(self) -> None:
        """10 s."""
        self.pull()
        self.clock.advance(9.9)
        self.assertEqual(self.lost, [])
        self.clock.advance(0.2)
        self.assertEqual(self.lost, ["no connection within 10 s"])
        self.assertEqual(len(self.sink.ends), 1)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_no_grant(self) -> None:
        """10 s from the very beginning, then a while to close."""
        self.pull()
        self.clock.advance(6.0)
        protocol, transport = self.network.accept()
        self.clock.advance(4.1)
        self.assertTrue(transport.disconnecting)
        self.assertEqual(self.lost, [])
        protocol.connectionLost()
        self.assertEqual(self.lost, ["the server did not answer in time"])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_garbage(self) -> None:
        """What is no RTMP ends it."""
        self.pull()
        protocol, transport = self.network.accept()
        protocol.dataReceived(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        self.assertTrue(transport.disconnecting)
        protocol.connectionLost()
        self.assertIn("protocol error", self.lost[0])

    def test_stop(self) -> None:
        """Nothing is reported; the connection is waited for."""
        pull = self.pull()
        protocol, transport = self.network.accept()
        stopping = pull.stop()
        assert stopping is not None
        self.assertTrue(transport.disconnecting)
        self.assertNoResult(stopping)
        protocol.connectionLost()
        self.successResultOf(stopping)
        self.assertEqual((self.lost, self.sink.ends), ([], ["stopped"]))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_push_pauses(self) -> None:
        """Each failed attempt is followed by a longer pause."""
        push = self.push()
        for count, pause in enumerate((*PAUSES, PAUSES[-1])):
            self.assertEqual(push.facts().state, "connecting")
            self.assertEqual(push.facts().retries, count)
            self.network.refuse()
            self.clock.advance(0)
            self.assertEqual(push.facts().state, "waiting")
            self.assertIn("no connection", push.facts().last_error)
            self.clock.advance(pause - 0.01)
            self.assertEqual(push.facts().state, "waiting")
            self.clock.advance(0.02)
        self.assertIsNone(push.stop())
        self.assertEqual(push.facts().state, "idle")
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_push_stops_while_waiting(self) -> None:
        """And nothing is left."""
        push = self.push()
        self.network.refuse()
        self.clock.advance(0)
        self.assertIsNone(push.stop())
        self.assertIsNone(push.stop())
        self.assertEqual(self.clock.getDelayedCalls(), [])
