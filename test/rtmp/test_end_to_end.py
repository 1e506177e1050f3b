"""Real sockets: our client both ways, and the usual programs where they are installed."""

from __future__ import annotations

import json
import os
import shutil
import socket
from typing import Any

from attrs import define, field
from twisted.internet import reactor as global_reactor
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint, TCP4ServerEndpoint, connectProtocol
from twisted.internet.task import deferLater
from twisted.internet.utils import getProcessOutputAndValue
from twisted.trial.unittest import SkipTest, TestCase
from typing_extensions import override

from restreamer.media.frame import Frame
from restreamer.rtmp.client import Action, ClientEvent
from restreamer.rtmp.client_protocol import RtmpClientProtocol
from restreamer.rtmp.message import Audio, Data, Video
from restreamer.rtmp.service import RtmpFactory
from restreamer.rtmp.to_media import FlvToMedia
from restreamer.rtmp.url import parse_url
from restreamer.testing.media import START, aac_track, h264_track, make_frames
from test.rtmp.fakes import FakeCore

reactor: Any = global_reactor


@define
class Owner:
    """Waits for what a client protocol says."""

    is_ready: Deferred[None] = field(factory=Deferred)
    is_over: Deferred[str] = field(factory=Deferred)
    events: list[ClientEvent] = field(factory=list)

    def ready(self, client: RtmpClientProtocol) -> None:
        self.is_ready.callback(None)

    def received(self, events: list[ClientEvent]) -> None:
        self.events += events

    def ended(self, reason: str) -> None:
        self.is_over.callback(reason)


class EndToEndTests(TestCase):
    """A server with a miniature core on a free port."""

    timeout = 30

    @override
    async def setUp(self) -> None:  # type: ignore[override]
        self.core = FakeCore()
        self.factory = RtmpFactory(self.core, self.core, reactor)
        endpoint = TCP4ServerEndpoint(reactor, 0, interface="127.0.0.1")
        self.listening = await endpoint.listen(self.factory)
        self.port = getattr(self.listening.getHost(), "port", 0)

    @override
    async def tearDown(self) -> None:  # type: ignore[override]
        await self.stop()
        self.assertEqual(self.factory.connections, 0)

    async def stop(self) -> None:
        """Stop as a node does: no new connections, ask everybody to reconnect, close."""
        stopped = self.listening.stopListening()
        if stopped is not None:
            await stopped
        self.factory.request_reconnect()
        await self.factory.close_all("the server is stopping")

    def url(self, key: str) -> str:
        """The URL of a stream here."""
        return f"rtmp://127.0.0.1:{self.port}/live/{key}"

    async def client(self, action: Action, key: str) -> tuple[RtmpClientProtocol, Owner]:
        """Our own client, ready."""
        owner = Owner()
        protocol = RtmpClientProtocol(parse_url(self.url(key)), action, owner, reactor, os.urandom)
        endpoint = TCP4ClientEndpoint(reactor, "127.0.0.1", self.port)
        await connectProtocol(endpoint, protocol)
        await owner.is_ready
        return protocol, owner

    async def until(self, ready: Any, seconds: float = 10.0) -> None:
        """Wait until C{ready()} is true."""
        for _ in range(int(seconds * 50)):
            if ready():
                return
            await deferLater(reactor, 0.02)
        self.fail("it did not happen in time")

    async def test_own_client(self) -> None:
        """Publish and play: the same frames, without delay by small writes."""
        frames = make_frames(2.0)
        publisher, published = await self.client(Action.PUBLISH, "cam")
        publisher.configure((h264_track(), aac_track()))
        publisher.send_frames(frames[:10])
        await self.until(lambda: self.core.sinks and len(self.core.sinks[0].frames) == 10)
        started = reactor.seconds()
        _, played = await self.client(Action.PLAY, "cam")
        self.assertLess(reactor.seconds() - started, 0.5)
        publisher.send_frames(frames[10:])
        await self.until(lambda: len(played.events) >= len(frames))
        publisher.close()
        await published.is_over
        self.assertIn("UnpublishNotify", await played.is_over)
        media = FlvToMedia()
        found: list[Frame] = []
        for event in played.events:
            if isinstance(event, Audio | Video | Data):
                found += [out for out in media.take(event) if isinstance(out, Frame)]
        self.assertEqual([frame.data for frame in found], [frame.data for frame in frames])
        self.assertEqual([f.dts for f in found], [f.dts - START for f in frames])

    async def test_no_delay(self) -> None:
        """TCP_NODELAY is set from the start."""
        client = socket.create_connection(("127.0.0.1", self.port))
        try:
            await self.until(lambda: self.factory.connections == 1)
            (protocol,) = self.factory._connections
            assert protocol.transport is not None
            self.assertTrue(protocol.transport.getTcpNoDelay())  # type: ignore[attr-defined]
        finally:
            client.close()
        await self.until(lambda: self.factory.connections == 0)

    async def test_stop(self) -> None:
        """Stopping asks everybody to reconnect, ends them, and waits."""
        _, owner = await self.client(Action.PUBLISH, "cam")
        await self.stop()
        self.assertEqual(self.factory.connections, 0)
        self.assertIn("stopping", await owner.is_over)
        self.assertEqual(self.core.live, {})

    async def test_usual_programs(self) -> None:
        """ffmpeg publishes H.264 with B-frames and AAC; ffprobe and rtmpdump play it back."""
        if shutil.which("ffmpeg") is None or shutil.which("ffprobe") is None:
            raise SkipTest("ffmpeg is not installed")
        publishing = self.run_program(
            "ffmpeg",
            "-v error -re -f lavfi -i testsrc2=s=160x90:r=25 -f lavfi -i sine=r=48000 -t 4 -c:v libx264"
            " -preset ultrafast -bf 2 -g 25 -c:a aac -f flv",
            self.url("ff?token=abc"),
        )
        await self.until(lambda: self.core.sinks and len(self.core.sinks[0].frames) > 20)
        probing = self.run_program(
            "ffprobe",
            "-v error -of json -show_entries stream=codec_name,width,has_b_frames,sample_rate"
            " -show_entries packet=stream_index,pts,dts,flags",
            self.url("ff"),
        )
        dump = self.mktemp()
        if shutil.which("rtmpdump") is not None:
            await self.run_program("rtmpdump", f"-q --live -o {dump} --stop 1 -r", self.url("ff"))
            with open(dump, "rb") as file:
                head = file.read()
            self.assertEqual(head[:5], b"FLV\x01\x05")
            self.assertGreater(len(head), 5000)
        (sink,) = self.core.sinks
        output = json.loads(await probing)
        await publishing
        picture, sound = sorted(output["streams"], key=lambda stream: str(stream["codec_name"]), reverse=True)
        self.assertEqual((picture["codec_name"], picture["width"]), ("h264", 160))
        self.assertGreaterEqual(picture["has_b_frames"], 1)
        self.assertEqual((sound["codec_name"], sound["sample_rate"]), ("aac", "48000"))
        packets = output["packets"]
        self.assertGreater(len(packets), 150)
        for index in (0, 1):
            times = [packet["dts"] for packet in packets if packet["stream_index"] == index]
            self.assertEqual(times, sorted(times))
        self.assertTrue(any(packet["pts"] > packet["dts"] for packet in packets))
        await self.until(lambda: sink.ended is not None)
        self.assertEqual(len([frame for frame in sink.frames if frame.track_id == 1]), 100)
        self.assertEqual(self.core.requests[0].token, "abc")
        self.assertEqual(self.factory.counters.protocol_errors, 0)

    def run_program(self, program: str, options: str, url: str) -> Deferred[bytes]:
        """Run C{program}; its standard output."""
        path = shutil.which(program)
        assert path is not None
        return Deferred.fromCoroutine(self._output(path, [*options.split(), url]))

    async def _output(self, path: str, arguments: list[str]) -> bytes:
        output, _, _ = await getProcessOutputAndValue(path, arguments, env=os.environ)
        return bytes(output)
