"""L{restreamer.rtmp.pull} and L{restreamer.rtmp.push} between two real cores, plain and over TLS."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from attrs import define, field
from twisted.internet import reactor as global_reactor
from twisted.internet.defer import maybeDeferred
from twisted.internet.endpoints import TCP4ClientEndpoint, TCP4ServerEndpoint, wrapClientTLS
from twisted.internet.protocol import Protocol, ServerFactory
from twisted.internet.ssl import Certificate, optionsForClientTLS, trustRootFromCertificates
from twisted.internet.task import deferLater
from twisted.trial.unittest import TestCase
from typing_extensions import override

from restreamer.errors import Redirected
from restreamer.live.push_target import PushTarget
from restreamer.media.frame import Frame
from restreamer.media.track import AAC, HEVC, OPUS, Tracks
from restreamer.rtmp.pull import RtmpPull
from restreamer.rtmp.push import RtmpPush
from restreamer.rtmp.service import RtmpFactory
from restreamer.seams import FrameSink, OpenRequest
from restreamer.sources.pull import PullTarget
from restreamer.testing.media import START, aac_track, h264_track, make_frames
from restreamer.tls import ServerCertificate, load_certificate
from test.certificates import Authority
from test.flv.samples import AUDIO, VIDEO, frames_of, with_id
from test.rtmp.core import RealCore

reactor: Any = global_reactor


@define
class Sink:
    """Keeps what a pull brings."""

    tables: list[Tracks] = field(factory=list)
    frames: list[Frame] = field(factory=list)
    ends: list[str] = field(factory=list)

    def configure(self, tracks: Tracks) -> None:
        self.tables.append(tracks)

    def dated(self, offset: int | None) -> None:
        """Nobody asks."""

    def push(self, frames: Sequence[Frame]) -> float:
        self.frames += frames
        return 0.0

    def end(self, reason: str) -> None:
        self.ends.append(reason)


class Two(TestCase):
    """Two cores, each with a listener."""

    timeout = 30

    @override
    async def setUp(self) -> None:  # type: ignore[override]
        self.here, self.there = RealCore(reactor), RealCore(reactor)
        self.lost: list[str] = []
        self.sinks: list[FrameSink] = []
        self.factory = RtmpFactory(self.there.publishing, self.there.playing, reactor)
        self.roots: Certificate | None = None
        self.port = await self.listen(self.factory)

    async def listen(self, factory: Any) -> int:
        """Serve C{factory} on a free port until the end of the test."""
        listening = await TCP4ServerEndpoint(reactor, 0, interface="127.0.0.1").listen(factory)
        self.addCleanup(lambda: maybeDeferred(listening.stopListening))
        if isinstance(factory, RtmpFactory):
            self.addCleanup(factory.close_all, "the test is over")
        self.addCleanup(self.here.registry.close)
        self.addCleanup(self.there.registry.close)
        return int(getattr(listening.getHost(), "port", 0))

    def connect(self, host: str, port: int, tls: bool) -> Any:
        """An endpoint, TLS verified against the test's own authority."""
        endpoint = TCP4ClientEndpoint(reactor, host, port)
        if not tls:
            return endpoint
        assert self.roots is not None
        return wrapClientTLS(optionsForClientTLS(host, trustRootFromCertificates([self.roots])), endpoint)

    def pull(self, sink: Sink, name: str = "/live/cam", tls: bool = False, port: int = 0) -> RtmpPull:
        """A pull from the other core that ends with the test."""
        target = PullTarget(
            shown="rtmp://there/live",
            scheme="rtmp",
            host="127.0.0.1",
            port=port or self.port,
            path=name,
            tls=tls,
        )
        pull = RtmpPull(target, sink, self.lost.append, reactor, self.connect)
        self.addCleanup(lambda: maybeDeferred(pull.stop))
        return pull

    def push(self, name: str = "cam", there: str = "/live/cam", port: int = 0, **options: str) -> RtmpPush:
        """A push into the other core that ends with the test."""
        target = PushTarget(
            shown="rtmp://there/live",
            scheme="rtmp",
            host="127.0.0.1",
            port=port or self.port,
            path=there,
            options=options,
        )
        push = RtmpPush(target, name, self.here.find, reactor, self.connect, key="k")
        self.addCleanup(lambda: maybeDeferred(push.stop))
        return push

    async def publish(self, core: RealCore, name: str, tracks: Tracks) -> FrameSink:
        """A publisher of C{core}."""
        sink = await core.publishing.publish(
            OpenRequest(name=name, action="publish", proto="rtmp", peer="test"), lambda reason: None
        )
        sink.configure(tracks)
        self.sinks.append(sink)
        self.addCleanup(sink.end, "the test is over")
        return sink

    async def until(self, ready: Callable[[], object], seconds: float = 10.0) -> None:
        """Wait until C{ready()} is true."""
        for _ in range(int(seconds * 50)):
            if ready():
                return
            await deferLater(reactor, 0.02)
        self.fail("it did not happen in time")


AV = (h264_track(), aac_track())


def shape(frames: Sequence[Frame]) -> list[tuple[int, int, int, bool, bytes]]:
    """Frames with times counted from the first one's."""
    first = frames[0].dts
    return [(f.track_id, f.dts - first, f.cts, f.key, f.data) for f in frames]


class PullTests(Two):
    """From the other core to a sink."""

    async def test_pull(self) -> None:
        """Tracks, frames and times to the tick; the end of the stream is told once."""
        frames = make_frames(2.0)
        published = await self.publish(self.there, "live/cam", AV)
        published.push(frames[:5])
        sink = Sink()
        pull = self.pull(sink)
        await self.until(lambda: sink.frames)
        published.push(frames[5:])
        await self.until(lambda: len(sink.frames) == len(frames))
        self.assertEqual(shape(sink.frames), shape(frames))
        self.assertEqual([t.codec for t in sink.tables[-1]], ["avc1", "mp4a"])
        self.there.registry.remove("live/cam", "gone")
        await self.until(lambda: self.lost)
        self.assertEqual(len(sink.ends), 1)
        self.assertIsNone(pull.stop())
        self.assertEqual(len(self.lost), 1)

    async def test_every_codec_and_track(self) -> None:
        """Several tracks of codecs beyond the legacy ones."""
        tracks = (VIDEO[HEVC], AUDIO[AAC], with_id(AUDIO[OPUS], 65))
        frames = sorted((f for t in tracks for f in frames_of(t, 30)), key=lambda f: (f.dts, f.track_id))
        published = await self.publish(self.there, "live/cam", tracks)
        published.push(frames[:12])
        sink = Sink()
        self.pull(sink)
        await self.until(lambda: sink.frames)
        published.push(frames[12:])
        await self.until(lambda: len(sink.frames) == len(frames))
        self.assertEqual(shape(sink.frames), shape(frames))
        self.assertEqual([t.config for t in sink.tables[-1]], [t.config for t in tracks])

    async def test_refused(self) -> None:
        """The server's words are the reason."""
        sink = Sink()
        self.pull(sink, "/live/none")
        await self.until(lambda: self.lost)
        self.assertIn("NetStream.Play.StreamNotFound", self.lost[0])
        self.assertEqual(len(sink.ends), 1)

    async def test_nobody_listens(self) -> None:
        """A refused connection is lost, later, once."""
        sink = Sink()
        self.pull(sink, port=1)
        self.assertEqual(self.lost, [])
        await self.until(lambda: self.lost)
        self.assertIn("no connection", self.lost[0])

    async def test_stop_while_connecting(self) -> None:
        """Nothing is reported."""
        sink = Sink()
        pull = self.pull(sink)
        self.assertIsNone(pull.stop())
        await deferLater(reactor, 0.05)
        self.assertEqual((self.lost, sink.ends), ([], ["stopped"]))

    async def test_redirect(self) -> None:
        """Another node has it: it is pulled from there."""

        class Elsewhere:
            def __init__(self, port: int) -> None:
                self.port = port

            async def play(self, request: OpenRequest) -> Any:
                raise Redirected("http://127.0.0.1:1", f"rtmp://127.0.0.1:{self.port}")

        published = await self.publish(self.there, "live/cam", AV)
        published.push(make_frames(1.0))
        first = RtmpFactory(self.there.publishing, Elsewhere(self.port), reactor)
        sink = Sink()
        self.pull(sink, port=await self.listen(first))
        await self.until(lambda: sink.frames)
        self.assertEqual(self.lost, [])

    async def test_reconnect_request(self) -> None:
        """The server is going down gracefully: a new connection follows, the sink stays."""
        frames = make_frames(4.0)
        published = await self.publish(self.there, "live/cam", AV)
        published.push(frames[:40])
        sink = Sink()
        self.pull(sink)
        await self.until(lambda: sink.frames)
        accepted = self.factory.counters.accepted
        self.factory.request_reconnect()
        await self.until(lambda: self.factory.counters.accepted > accepted)
        count = len(sink.frames)
        published.push(frames[40:])
        await self.until(lambda: len(sink.frames) > count + 40)
        self.assertEqual((self.lost, sink.ends), ([], []))

    async def test_tls(self) -> None:
        """RTMPS with a certificate of the tests' own authority; another authority's is refused."""
        folder = Path(self.mktemp())
        folder.mkdir()
        ours, theirs = Authority(folder), Authority(folder, "other")
        files = ours.issue("server", "127.0.0.1")
        listener = ServerCertificate()
        listener.use(load_certificate(files.certificate, files.key), files.certificate, files.key)
        port = await self.listen(listener.wrap(self.factory, reactor))
        published = await self.publish(self.there, "live/cam", AV)
        published.push(make_frames(1.0))
        self.roots = Certificate.loadPEM(Path(ours.path).read_bytes())
        sink = Sink()
        self.pull(sink, tls=True, port=port)
        await self.until(lambda: sink.frames)
        self.assertEqual(self.lost, [])
        self.roots = Certificate.loadPEM(Path(theirs.path).read_bytes())
        self.pull(Sink(), tls=True, port=port)
        await self.until(lambda: self.lost)
        await self.factory.close_all("the test is over")


class PushTests(Two):
    """From one core into the other."""

    async def test_push(self) -> None:
        """The other core has the same stream, to the tick; it ends when it is stopped."""
        frames = make_frames(2.0)
        published = await self.publish(self.here, "cam", AV)
        published.push(frames[:5])
        push = self.push()
        self.assertEqual(push.facts().state, "idle")
        push.follow(self.here.stream("cam"))
        self.assertEqual(push.facts().state, "connecting")
        await self.until(lambda: push.facts().state == "pushing")
        published.push(frames[5:])
        stream_of = self.there.registry.find

        def arrived() -> list[Frame]:
            entry = stream_of("live/cam")
            return entry.stream.recent()[1] if entry is not None else []

        await self.until(lambda: arrived() and arrived()[-1].data == frames[-1].data)
        found = arrived()
        self.assertEqual(shape(found), shape(frames[-len(found) :]))
        self.assertGreater(push.facts().bytes, 50_000)
        sent = push.facts().bytes
        stopped = push.stop()
        assert stopped is not None
        await stopped
        self.assertEqual((push.facts().state, push.facts().bytes), ("idle", sent))
        await self.until(lambda: self.factory.connections == 0)
        self.assertFalse(self.there.registry.claimed("live/cam"))

    async def test_codecs(self) -> None:
        """A server that says what it reads gets every codec and track."""
        tracks = (VIDEO[HEVC], AUDIO[AAC], with_id(AUDIO[OPUS], 65))
        published = await self.publish(self.here, "cam", tracks)
        frames = sorted((f for t in tracks for f in frames_of(t, 10)), key=lambda f: (f.dts, f.track_id))
        published.push(frames)
        push = self.push()
        push.follow(self.here.stream("cam"))
        await self.until(lambda: self.there.registry.find("live/cam") is not None)
        await self.until(lambda: self.there.stream("live/cam").tracks)
        found = self.there.stream("live/cam").tracks
        self.assertEqual([t.codec for t in found], [t.codec for t in tracks])

    async def test_refused_and_again(self) -> None:
        """The name is taken there: told, tried again, taken when it is free."""
        other = await self.publish(self.there, "live/cam", AV)
        published = await self.publish(self.here, "cam", AV)
        published.push(make_frames(1.0))
        push = self.push()
        push.follow(self.here.stream("cam"))
        await self.until(lambda: push.facts().state == "waiting")
        self.assertIn("BadName", push.facts().last_error)
        other.end("left")
        await self.until(lambda: push.facts().state == "pushing")
        self.assertEqual(push.facts().retries, 1)

    async def test_input_lost(self) -> None:
        """The push goes on for a while, then ends; it begins again with the stream."""
        self.patch_linger()
        published = await self.publish(self.here, "cam", AV)
        published.push(make_frames(1.0))
        stream = self.here.stream("cam")
        push = self.push()
        push.follow(stream)
        await self.until(lambda: push.facts().state == "pushing")
        published.end("left")
        push.follow(stream)
        self.assertEqual(push.facts().state, "pushing")
        await self.until(lambda: push.facts().state == "idle" and self.factory.connections == 0)
        again = await self.publish(self.here, "cam", AV)
        again.push(make_frames(1.0, start=START + 90_000 * 5))
        push.follow(stream)
        await self.until(lambda: push.facts().state == "pushing")

    def patch_linger(self) -> None:
        """Nobody wants to wait for seconds here."""
        self.patch(__import__("restreamer.rtmp.push", fromlist=["push"]), "LINGER_SECONDS", 0.1)

    async def test_nothing_can_be_sent(self) -> None:
        """A server without Enhanced RTMP cannot have HEVC, unless the target says so."""

        class Silent(Protocol):
            """Accepts and says nothing."""

        silent = ServerFactory.forProtocol(Silent)
        port = await self.listen(silent)
        published = await self.publish(self.here, "cam", AV)
        published.push(make_frames(1.0))
        push = self.push(port=port)
        push.follow(self.here.stream("cam"))
        await deferLater(reactor, 0.05)
        self.assertEqual(push.facts().state, "connecting")
        await maybeDeferred(push.stop)
        await self.until(lambda: push.facts().state == "idle")

    async def test_reconnect_request(self) -> None:
        """The server asks for another connection: it gets one at once."""
        published = await self.publish(self.here, "cam", AV)
        published.push(make_frames(1.0))
        push = self.push()
        push.follow(self.here.stream("cam"))
        await self.until(lambda: push.facts().state == "pushing")
        self.factory.request_reconnect()
        await self.until(lambda: self.factory.counters.publishes == 2)
        await self.until(lambda: push.facts().state == "pushing")
        self.assertEqual(push.facts().last_error, "")
