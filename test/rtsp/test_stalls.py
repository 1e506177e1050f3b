"""Players that take too little, or vanish: real feeds over wires in memory, and a real server on sockets."""

from __future__ import annotations

import itertools
import socket
from typing import Any, cast

from attrs import define, field
from twisted.internet import reactor
from twisted.internet.address import IPv4Address
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import Clock, deferLater
from twisted.trial.unittest import SynchronousTestCase, TestCase
from typing_extensions import override

from restreamer.live.feed import STALL_SECONDS, FeedLimits
from restreamer.live.ingest import Ingest
from restreamer.live.playout import Playout
from restreamer.rtsp.limits import ServiceLimits
from restreamer.rtsp.message import Interleaved, MessageReader, Reply
from restreamer.rtsp.play_muxer import RtspFeedMuxer
from restreamer.rtsp.service import RtspFactory
from restreamer.testing.media import make_frames
from test.live.rig import SECOND, Origin
from test.rtsp.case import UDP
from test.rtsp.fakes import FakeCore, FakeStream, Peer, Rig

SECONDS = 60.0


@define(eq=False)
class SlowWire:
    """A TCP transport whose kernel takes C{room} bytes, as Twisted's behaves.

    @ivar got: what left the process. @ivar most: bytes that the transport held at most.
    """

    clock: Clock
    address: str
    room: int = 1 << 40
    got: bytearray = field(factory=bytearray)
    buffer: bytearray = field(factory=bytearray)
    most: int = 0
    aborted: bool = False
    disconnecting: bool = False
    _producer: Any = None
    _pulls: bool = False
    _asking: Any = None

    def getPeer(self) -> IPv4Address:  # noqa: N802
        return IPv4Address("TCP", self.address, 40_000)

    def getHost(self) -> IPv4Address:  # noqa: N802
        return IPv4Address("TCP", "192.0.2.1", 554)

    def write(self, data: bytes) -> None:
        if not self.aborted:
            self.buffer += data
            self.take(0)
            self.most = max(self.most, len(self.buffer))

    def take(self, amount: int) -> None:
        """The peer reads so many bytes more."""
        self.room += amount
        taken = min(self.room, len(self.buffer))
        self.room -= taken
        self.got += self.buffer[:taken]
        del self.buffer[:taken]
        if not self.buffer and self._pulls and self._asking is None:
            self._asking = self.clock.callLater(0, self._ask)

    def _ask(self) -> None:
        self._asking = None
        if self._pulls and not self.buffer and not self.aborted:
            self._producer.resumeProducing()

    def registerProducer(self, producer: Any, streaming: bool) -> None:  # noqa: N802
        assert self._producer is None
        self._producer, self._pulls = producer, not streaming
        if self._pulls:
            producer.resumeProducing()
            self.take(0)

    def unregisterProducer(self) -> None:  # noqa: N802
        self._producer, self._pulls = None, False

    def pauseProducing(self) -> None:
        """The server reads no more."""

    def resumeProducing(self) -> None:
        """The server reads on."""

    def loseConnection(self) -> None:  # noqa: N802
        self.disconnecting = True

    def abortConnection(self) -> None:  # noqa: N802
        self.aborted = self.disconnecting = True
        self.buffer.clear()


class SlowPlayer(Peer):
    """A player on a L{SlowWire} that has asked to play, interleaved."""

    def __init__(self, rig: Rig, address: str) -> None:
        super().__init__(rig, address)
        self.slow = SlowWire(rig.clock, address)

    def begin(self) -> None:
        """DESCRIBE to PLAY by the ordinary wire, media by the slow one."""
        self.ask("DESCRIBE")
        self.set_up(1)
        self.set_up(2)
        self.protocol.wire = self.slow
        self.protocol.produce()
        self.protocol.dataReceived(self.text("PLAY").encode())

    def messages(self) -> list[Interleaved]:
        """What came, behind the answer to PLAY; the last one may be cut off."""
        reply, *rest = MessageReader().receive(bytes(self.slow.got))
        assert isinstance(reply, Reply) and reply.status == 200
        return [each for each in rest if isinstance(each, Interleaved)]


class InterleavedTests(SynchronousTestCase):
    """Row S13, and the bounds of fan-out: a player is skipped to the newest keyframe, then ended."""

    @override
    def setUp(self) -> None:
        self.origin = Origin()
        self.core = FakeCore()
        self.rig = Rig(udp=True, core=self.core)
        self.playout = Playout(
            self.origin.stream, self.rig.clock, {"rtsp": RtspFeedMuxer}, FeedLimits(flush_interval=0.0)
        )
        self.core.streams["cam"] = cast(FakeStream, self.playout)
        self.ingest: Ingest = self.origin.publish()
        self.source = iter(make_frames(SECONDS, gop=25, video_bitrate=400_000))
        self.pushed = 0.0
        self.push(0.1)

    def push(self, seconds: float, *readers: tuple[SlowPlayer, int]) -> None:
        """Let time pass with its frames; C{readers} read so many bytes a second."""
        clock, origin = self.rig.clock, self.origin
        until = self.pushed + seconds
        begin = make_frames(0.1)[0].dts
        while self.pushed < until:
            frame = next(self.source)
            at = (frame.dts - begin) / SECOND
            step = max(0.0, at - self.pushed)
            self.pushed = max(self.pushed, at)
            clock.advance(step)
            origin.now.ticks = max(origin.now.ticks, frame.dts)
            self.ingest.push([frame])
            for reader, rate in readers:
                reader.slow.take(round(rate * step))
                clock.advance(0)

    def player(self, address: str) -> SlowPlayer:
        player = SlowPlayer(self.rig, address)
        player.begin()
        return player

    def test_one_that_stops_reading(self) -> None:
        """It is ended within its bounds; who reads beside it misses nothing."""
        good, bad = self.player("192.0.2.8"), self.player("192.0.2.9")
        self.push(1.0)
        self.assertTrue(bad.messages())
        bad.slow.room = 0
        self.push(STALL_SECONDS - 0.5)
        self.assertFalse(bad.slow.aborted)
        self.push(2.5)
        self.assertTrue(bad.slow.aborted)
        self.assertTrue(bad.protocol.closed)
        # One entry of its own, whatever the stream sent meanwhile.
        self.assertLess(bad.slow.most, 64 * 1024)
        self.assertEqual(self.playout.counters["rtsp"].dropped, 1)
        self.assertEqual(self.playout.viewers, 1)
        bad.protocol.connectionLost()
        self.assertEqual(self.rig.factory.connections, 1)
        self.assert_whole(good, jumps=0)

    def test_one_that_asks_and_does_not_read(self) -> None:
        """Its answers stand in line with its media: they keep it no longer, and do not pile up."""
        bad = self.player("192.0.2.9")
        self.push(1.0)
        bad.slow.room = 0
        for _ in range(24):
            self.push(0.5)
            for _ in range(20):
                if not bad.protocol.closed:
                    bad.protocol.dataReceived(bad.text("GET_PARAMETER").encode())
        self.assertTrue(bad.slow.aborted)
        self.assertLess(bad.slow.most, 256 * 1024)

    def test_one_that_is_too_slow(self) -> None:
        """A tenth of the rate: it jumps to a keyframe once, then it is ended (S13, H07)."""
        bad = self.player("192.0.2.9")
        self.push(1.0)
        bad.slow.room = 0
        rate = 6_000
        self.push(14.0, (bad, rate))
        self.assertEqual(self.playout.counters["rtsp"].skips, 1)
        self.assertFalse(bad.slow.aborted)
        self.assert_whole(bad, jumps=1)
        self.push(20.0, (bad, rate))
        self.assertTrue(bad.slow.aborted)
        self.assertEqual(self.playout.counters["rtsp"].dropped, 1)
        self.assertLess(bad.slow.most, 128 * 1024)

    def assert_whole(self, player: SlowPlayer, jumps: int) -> None:
        """Frames are whole, video's sequence numbers rise by one but for C{jumps}."""
        numbers = [int.from_bytes(each.data[2:4], "big") for each in player.messages() if each.channel == 0]
        self.assertGreater(len(numbers), 10)
        steps = [(after - before) & 0xFFFF for before, after in itertools.pairwise(numbers)]
        self.assertEqual(len([step for step in steps if step != 1]), jumps)
        self.assertTrue(all(step < 0x8000 for step in steps))

    def test_a_thousand_that_drop(self) -> None:
        """S05: players of a real feed that leave while they are sent to, in every stage; nothing is left."""
        left = (None, 0, 100)
        for index in range(1_000):
            player = SlowPlayer(self.rig, "192.0.2.9")
            if index % 4 == 3:
                player.ask("DESCRIBE")
                for number in (1, 2):
                    player.set_up(number, UDP)
                player.send(player.text("PLAY"))
            else:
                player.slow.room = left[index % 4] or 1 << 40
                player.begin()
            if index % 5 == 0:
                self.push(0.04)
            if index % 7 == 0 and index % 4 == 3:
                player.send(player.text("TEARDOWN"))
            player.protocol.connectionLost()
        self.assertEqual(self.playout.viewers, 0)
        self.assertEqual(len(self.playout.feeds()), 0)
        self.assertEqual(self.rig.factory.connections, 0)
        self.assertEqual((self.rig.datagrams.open, self.rig.factory.udp_share.tracks), ([], 0))
        self.rig.clock.advance(0.1)
        self.assertEqual(self.rig.clock.getDelayedCalls(), [])
        self.assertEqual(self.rig.factory.counters.failures, 0)


class SocketTests(TestCase):
    """Row S10 on sockets: a player over UDP that has gone leaves its connection open and says nothing."""

    timeout = 20

    @override
    def setUp(self) -> None:
        self.core = FakeCore()
        self.stream = self.core.streams["cam"] = FakeStream()
        limits = ServiceLimits(idle_seconds=0.5, tick_seconds=0.1)
        self.factory = RtspFactory(self.core, self.core, cast(IReactorTime, reactor), limits=limits)
        self.port = cast(Any, reactor).listenTCP(0, self.factory, interface="127.0.0.1")
        self.frames = iter(make_frames(SECONDS))

    @override
    async def tearDown(self) -> None:  # type: ignore[override]
        await self.port.stopListening()
        await self.factory.close_all("the test is over")
        await self.turns(0.01)

    async def turns(self, seconds: float) -> None:
        await deferLater(cast(IReactorTime, reactor), seconds, lambda: None)

    async def ask(self, connection: socket.socket, text: str) -> str:
        """Send a request; the answer."""
        connection.sendall(text.encode())
        answer = b""
        while b"\r\n\r\n" not in answer:
            await self.turns(0.005)
            try:
                answer += connection.recv(65_536)
            except BlockingIOError:
                continue
        return answer.decode("latin-1")

    async def player(self) -> tuple[socket.socket, socket.socket, socket.socket]:
        """Its connection, and its ports of RTP and RTCP."""
        connection = socket.create_connection(("127.0.0.1", self.port.getHost().port))
        connection.setblocking(False)
        ports = []
        for _ in range(2):
            made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            made.bind(("127.0.0.1", 0))
            made.setblocking(False)
            ports.append(made)
        ports.sort(key=lambda each: int(each.getsockname()[1]))
        for each in (connection, *ports):
            self.addCleanup(each.close)
        first, second = (int(each.getsockname()[1]) for each in ports)
        url = "rtsp://127.0.0.1/cam"
        transport = f"RTP/AVP;unicast;client_port={first}-{second}"
        answer = await self.ask(
            connection, f"SETUP {url}/trackID=1 RTSP/1.0\r\nCSeq: 1\r\nTransport: {transport}\r\n\r\n"
        )
        self.assertIn("server_port=", answer)
        self.reports = int(answer.partition("server_port=")[2].partition("-")[2].split("\r")[0].split(";")[0])
        self.session = session = answer.partition("Session: ")[2].partition(";")[0]
        connection.sendall(f"PLAY {url} RTSP/1.0\r\nCSeq: 2\r\nSession: {session}\r\n\r\n".encode())
        return connection, ports[0], ports[1]

    def received(self, port: socket.socket) -> int:
        count = 0
        while True:
            try:
                port.recv(65_536)
            except BlockingIOError:
                return count
            count += 1

    async def test_the_session_of_another_connection(self) -> None:
        """S01: the same machine, another connection, the right number: 454, and the player goes on."""
        victim, media, control = await self.player()
        report = b"\x80\xc9\x00\x01\x00\x00\x00\x01"
        other = socket.create_connection(("127.0.0.1", self.port.getHost().port))
        other.setblocking(False)
        self.addCleanup(other.close)
        for number, method in enumerate(("GET_PARAMETER", "PAUSE", "PLAY", "SETUP", "TEARDOWN", "RECORD"), 1):
            answer = await self.ask(
                other,
                f"{method} rtsp://127.0.0.1/cam RTSP/1.0\r\nCSeq: {number}\r\nSession: {self.session}\r\n"
                "Transport: RTP/AVP;unicast;client_port=5000-5001\r\n\r\n",
            )
            self.assertTrue(answer.startswith("RTSP/1.0 454 "), (method, answer))
        other.close()
        self.received(media)
        for _ in range(5):
            self.stream.send(next(self.frames))
            control.sendto(report, ("127.0.0.1", self.reports))
            await self.turns(0.02)
        self.assertGreater(self.received(media), 0)
        self.assertEqual(len(self.stream.viewers), 1)
        answer = await self.ask(
            victim,
            f"TEARDOWN rtsp://127.0.0.1/cam RTSP/1.0\r\nCSeq: 9\r\nSession: {self.session}\r\n\r\n",
        )
        self.assertIn("200 OK\r\nCSeq: 9", answer)

    async def test_a_player_that_vanishes(self) -> None:
        """Media stop within the bound, its ports are given back; one that reports is sent to."""
        gone, silent, _ = await self.player()
        _, heard, control = await self.player()
        reports, there = self.reports, 0
        report = b"\x80\xc9\x00\x01\x00\x00\x00\x01"
        self.assertEqual(self.factory.udp_share.tracks, 2)
        for _ in range(40):
            self.stream.send(next(self.frames))
            control.sendto(report, ("127.0.0.1", reports))
            await self.turns(0.05)
            there += self.received(silent)
            if self.factory.udp_share.tracks == 1 and self.factory.connections == 1:
                break
        self.assertEqual((self.factory.udp_share.tracks, self.factory.connections), (1, 1))
        self.assertGreater(there, 0)
        self.received(silent)
        self.received(heard)
        for _ in range(10):
            self.stream.send(next(self.frames))
            control.sendto(report, ("127.0.0.1", reports))
            await self.turns(0.05)
        self.assertEqual(self.received(silent), 0)
        self.assertGreater(self.received(heard), 0)
        while True:
            try:
                if not gone.recv(65_536):
                    break
            except BlockingIOError:
                await self.turns(0.01)
