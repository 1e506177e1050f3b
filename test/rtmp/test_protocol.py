"""L{restreamer.rtmp.protocol} and L{restreamer.rtmp.service} on in-memory transports."""

from __future__ import annotations

from attrs import define, field
from twisted.internet.address import IPv4Address
from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.internet.testing import EventLoggingObserver, StringTransport
from twisted.logger import LogLevel, formatEvent, globalLogPublisher
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from typing_extensions import override

from restreamer.errors import Reason, Refused
from restreamer.logs import GATE
from restreamer.rtmp.chunk_reader import ChunkReader
from restreamer.rtmp.handshake import NONCE, PACKET
from restreamer.rtmp.limits import ServiceLimits, WireLimits
from restreamer.rtmp.message import Audio, Command, Data, Message, UserControl, UserEvent, Video, decode
from restreamer.rtmp.protocol import RtmpServerProtocol
from restreamer.rtmp.service import RtmpFactory
from restreamer.testing.media import ASC, AVCC
from test.rtmp.fakes import FakeCore, FakeSink
from test.rtmp.wire import HANDSHAKE, command, connect, message, play_opening, publish_opening

NAL = b"\0\0\0\x02\x65\x88"
CONFIGS = message(9, b"\x17\0\0\0\0" + AVCC, csid=6, stream_id=1) + message(
    8, b"\xaf\0" + ASC, csid=4, stream_id=1
)


def frame(at: int, key: bool = False) -> bytes:
    """A video frame of a publisher."""
    return message(9, (b"\x17" if key else b"\x27") + b"\1\0\0\0" + NAL, csid=6, stream_id=1, timestamp=at)


class Wire(StringTransport):
    """A transport that counts writes and reads the server's messages."""

    def __init__(self, host: str) -> None:
        super().__init__(peerAddress=IPv4Address("TCP", host, 5000))
        self.writes = 0
        self.aborted = False
        self._skip = 2 * PACKET + 1
        self._reader = ChunkReader(WireLimits())

    @override
    def write(self, data: bytes) -> None:
        self.writes += 1
        super().write(data)

    @override
    def abortConnection(self) -> None:
        self.aborted = True
        super().abortConnection()

    def messages(self) -> list[Message]:
        """What the server sent since the last call."""
        data = self.value()
        self.clear()
        skipped, self._skip = self._skip, max(0, self._skip - len(data))
        return [decode(raw, 65536) for raw in self._reader.receive(data[skipped:])]

    def codes(self) -> list[str]:
        """The codes of the onStatus messages among them."""
        return [
            found.argument(0)["code"]
            for found in self.messages()
            if isinstance(found, Command) and found.name == "onStatus"
        ]


@define
class Client:
    """One connection of the server under test."""

    protocol: RtmpServerProtocol
    wire: Wire

    def send(self, data: bytes) -> None:
        self.protocol.dataReceived(data)

    def lose(self) -> None:
        self.protocol.connectionLost(Failure(ConnectionDone()))


@define
class Server:
    """A factory with a fake core and clock, and what it logged."""

    limits: ServiceLimits = field(factory=ServiceLimits)
    clock: Clock = field(factory=Clock)
    core: FakeCore = field(factory=FakeCore)
    factory: RtmpFactory = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.factory = RtmpFactory(self.core, self.core, self.clock, self.limits, random=bytes)

    def connect(self, data: bytes = b"", host: str = "192.0.2.1") -> Client:
        """A new connection that sends C{data}."""
        protocol = self.factory.buildProtocol(IPv4Address("TCP", host, 5000))
        assert protocol is not None
        wire = Wire(host)
        protocol.makeConnection(wire)
        client = Client(protocol, wire)
        if data:
            client.send(data)
        return client


class ProtocolCase(SynchronousTestCase):
    """Catches log events; checks that no timer and no connection is left behind."""

    @override
    def setUp(self) -> None:
        self.server = Server()
        self.events = EventLoggingObserver()
        globalLogPublisher.addObserver(self.events)
        self.addCleanup(globalLogPublisher.removeObserver, self.events)

    def logged(self) -> str:
        """Everything logged, as text."""
        return "\n".join(formatEvent(event) for event in self.events)

    def finish(self, *clients: Client) -> None:
        """All connections end: nothing is left."""
        for client in clients:
            client.lose()
        self.assertEqual(self.server.factory.connections, 0)
        self.assertEqual(self.server.clock.getDelayedCalls(), [])
        self.assertEqual(self.server.core.live, {})


class PublishTests(ProtocolCase):
    """Publishers."""

    def test_publish(self) -> None:
        """Opening answered in two writes at most, frames of one read pushed in one call."""
        client = self.server.connect(publish_opening(key="cam?token=hush"))
        self.assertLessEqual(client.wire.writes, 2)
        self.assertEqual(client.wire.codes(), ["NetStream.Publish.Start"])
        (request,) = self.server.core.requests
        self.assertEqual(
            (request.name, request.action, request.proto, request.peer, request.token, request.user_agent),
            ("live/cam", "publish", "rtmp", "192.0.2.1", "hush", "test"),
        )
        (sink,) = self.server.core.sinks
        client.send(CONFIGS + frame(0, True) + frame(40) + frame(80))
        self.assertEqual((sink.pushes, len(sink.frames)), (1, 3))
        self.assertEqual([track.track_id for track in sink.tables[0]], [1, 2])
        self.assertEqual(client.wire.messages(), [])
        client.send(command("FCUnpublish", 0, None, "cam") + command("deleteStream", 0, None, 1.0))
        self.assertEqual(sink.ended, "the publisher unpublished")
        self.finish(client)
        self.assertNotIn("hush", self.logged())
        self.assertIn("publish live/cam closed after", self.logged())

    def test_slow_gate(self) -> None:
        """Media before the grant is kept; nothing is answered before it."""
        self.server.core.hold = True
        client = self.server.connect(publish_opening() + CONFIGS + frame(0, True))
        self.assertEqual(client.wire.codes(), [])
        client.send(frame(40))
        self.server.clock.advance(9)
        self.server.core.waiting[0].callback(None)
        self.assertEqual(client.wire.codes(), ["NetStream.Publish.Start"])
        self.assertEqual(len(self.server.core.sinks[0].frames), 2)
        self.finish(client)

    def test_lost_during_the_gate(self) -> None:
        """The gate's answer is cancelled; nothing is left."""
        self.server.core.hold = True
        client = self.server.connect(publish_opening())
        self.finish(client)
        self.assertEqual(self.server.core.sinks, [])

    def test_unpublished_during_the_gate(self) -> None:
        """Likewise, and another publish may follow."""
        self.server.core.hold = True
        client = self.server.connect(publish_opening())
        client.send(command("closeStream", 0, None, stream_id=1))
        client.send(command("publish", 0, None, "cam", stream_id=1))
        self.server.core.waiting[1].callback(None)
        self.assertEqual(client.wire.codes()[-1], "NetStream.Publish.Start")
        self.assertEqual(len(self.server.core.sinks), 1)
        self.finish(client)

    def test_busy(self) -> None:
        """A second publisher is refused, the first goes on (R19)."""
        first = self.server.connect(publish_opening())
        second = self.server.connect(publish_opening())
        self.assertEqual(second.wire.codes(), ["NetStream.Publish.BadName"])
        self.assertTrue(second.wire.disconnecting)
        first.send(CONFIGS + frame(0, True))
        self.assertEqual(len(self.server.core.sinks[0].frames), 1)
        self.assertIn("refused: busy", self.logged())
        self.assertEqual(self.server.factory.counters.refused, 1)
        self.finish(first, second)

    def test_bad_name(self) -> None:
        """Refused with no question to the core (R25)."""
        client = self.server.connect(publish_opening(key="../../etc"))
        self.assertEqual(client.wire.codes(), ["NetStream.Publish.BadName"])
        self.assertEqual(self.server.core.requests, [])
        self.finish(client)

    def test_kick(self) -> None:
        """The core sends a publisher away: status, a moment to read it, close."""
        client = self.server.connect(publish_opening() + CONFIGS + frame(0, True))
        (sink,) = self.server.core.sinks
        client.wire.messages()
        sink.kick("the stream was removed")
        self.assertEqual(client.wire.codes(), ["NetStream.Failed"])
        self.assertEqual(sink.ended, "told to leave: the stream was removed")
        client.send(frame(40))
        self.assertFalse(client.wire.disconnecting)
        self.server.clock.advance(0.5)
        self.assertTrue(client.wire.disconnecting)
        self.server.clock.advance(5)
        self.assertTrue(client.wire.aborted)
        self.finish(client)

    def test_runs_ahead(self) -> None:
        """When the core asks for it the publisher is not read for a while, and not idle meanwhile."""
        client = self.server.connect(publish_opening() + CONFIGS)
        (sink,) = self.server.core.sinks
        sink.wait = 2.0
        client.send(frame(0, True))
        self.assertEqual(client.wire.producerState, "paused")
        self.server.clock.advance(1.9)
        self.assertEqual(client.wire.producerState, "paused")
        self.server.clock.advance(0.2)
        self.assertEqual(client.wire.producerState, "producing")
        self.finish(client)

    def test_idle(self) -> None:
        """30 s without a byte ends a publisher; a byte every 29 s keeps it."""
        client = self.server.connect(publish_opening() + CONFIGS)
        for at in range(3):
            self.server.clock.pump([14.5, 14.5])
            client.send(frame(at, True))
        self.assertIsNone(self.server.core.sinks[0].ended)
        self.server.clock.pump([15, 15.1])
        self.assertIn("sent nothing", self.server.core.sinks[0].ended or "")
        self.assertEqual(self.server.factory.counters.timeouts, 1)
        self.finish(client)

    def test_unsupported_codec(self) -> None:
        """The publisher is told which codec and sent away."""
        client = self.server.connect(publish_opening())
        client.wire.messages()
        client.send(message(9, b"\x90vvc1cfg", csid=6, stream_id=1))
        (status,) = client.wire.messages()
        assert isinstance(status, Command)
        self.assertEqual(status.argument(0)["code"], "NetStream.Publish.Rejected")
        self.assertEqual(status.argument(0)["description"], "video codec vvc1 is not supported")
        self.assertIn("video codec vvc1", self.server.core.sinks[0].ended or "")
        self.finish(client)

    def test_too_many_wrong_passwords(self) -> None:
        """An address that brought ten wrong passwords in a minute is refused without asking (R20)."""
        self.server.core.refusal = Refused(Reason.DENIED, "no")
        guess = publish_opening(key="cam?password=guess")
        clients = [self.server.connect(guess) for _ in range(12)]
        self.assertEqual(len(self.server.core.requests), 10)
        self.assertEqual(clients[9].wire.codes(), ["NetStream.Publish.Denied"])
        self.assertEqual(clients[11].wire.codes(), ["NetConnection.Connect.Rejected"])
        other = self.server.connect(guess, host="192.0.2.2")
        self.assertEqual(other.wire.codes(), ["NetStream.Publish.Denied"])
        open_to_all = self.server.connect(publish_opening())
        self.assertEqual(open_to_all.wire.codes(), ["NetStream.Publish.Denied"])
        self.finish(*clients, other, open_to_all)
        self.server.clock.advance(61)
        late = self.server.connect(guess)
        self.assertEqual(late.wire.codes(), ["NetStream.Publish.Denied"])
        self.finish(late)

    def test_retrying_is_not_guessing(self) -> None:
        """An encoder that comes back while its old connection still holds the name may try as it likes (R19),
        and one that tries all the time during a block is not blocked for ever."""
        key = "cam?password=right"
        self.server.core.refusal = Refused(Reason.BUSY, "busy")
        for _ in range(30):
            self.server.connect(publish_opening(key=key)).lose()
            self.server.clock.advance(1)
        self.server.core.refusal = Refused(Reason.DENIED, "no")
        for _ in range(10):
            self.server.connect(publish_opening(key=key)).lose()
        self.server.core.refusal = None
        for _ in range(12):
            self.server.clock.advance(4.9)
            blocked = self.server.connect(publish_opening(key=key))
            self.assertEqual(blocked.wire.codes(), ["NetConnection.Connect.Rejected"])
            blocked.lose()
        self.server.clock.advance(4.9)
        client = self.server.connect(publish_opening(key=key))
        self.assertEqual(client.wire.codes(), ["NetStream.Publish.Start"])
        self.finish(client)

    def test_publishes_of_one_address(self) -> None:
        """Too many publishes from one address wait; refusing them does not count as failures (R20)."""
        self.server = Server(ServiceLimits(publishes=20))
        for number in range(20):
            client = self.server.connect(publish_opening(key=f"cam{number}"))
            self.assertEqual(client.wire.codes(), ["NetStream.Publish.Start"])
            client.lose()
        for _ in range(20):
            client = self.server.connect(publish_opening())
            self.assertEqual(client.wire.codes(), ["NetConnection.Connect.Rejected"])
            self.assertTrue(client.wire.disconnecting)
            client.lose()
        other = self.server.connect(publish_opening(), host="192.0.2.2")
        self.assertEqual(other.wire.codes(), ["NetStream.Publish.Start"])
        self.finish(other)
        self.server.clock.advance(3.1)
        again = self.server.connect(publish_opening())
        self.assertEqual(again.wire.codes(), ["NetStream.Publish.Start"])
        self.finish(again)

    def test_faster_than_any_stream(self) -> None:
        """A publisher whose time stands still is read at a bounded rate, and not cut for being unread."""
        self.server = Server(ServiceLimits(publisher_rate=100_000, publisher_burst=200_000))
        client = self.server.connect(publish_opening() + CONFIGS)
        nal = (50_000).to_bytes(4, "big") + bytes((0x65,)) * 50_000
        long = message(9, b"\x17\1\0\0\0" + nal, csid=6, stream_id=1)
        states = []
        for _ in range(5):
            client.send(long)
            states.append(client.wire.producerState)
        self.assertEqual(states, ["producing"] * 3 + ["paused"] * 2)
        self.server.clock.advance(1.0)
        self.assertEqual(client.wire.producerState, "producing")
        for _ in range(100):
            client.send(frame(0))
            self.server.clock.advance(1.0)
        self.assertEqual(client.wire.producerState, "producing")
        self.finish(client)

    def test_tiny_frames_without_end(self) -> None:
        """They cost work and hardly bytes: a publisher is read as slowly as if each were longer."""
        client = self.server.connect(publish_opening() + CONFIGS)
        tiny = message(8, b"\xaf\1r", csid=4, stream_id=1)
        read = tiny * (65_536 // len(tiny))
        reads = 0
        for _ in range(1000):
            if client.wire.producerState == "producing":
                client.send(read)
                reads += 1
            self.server.clock.advance(0.01)
        self.assertLess(reads, 50)
        self.server.clock.advance(2)
        self.assertEqual(client.wire.producerState, "producing")
        self.finish(client)

    def test_many_tracks_are_not_too_many_messages(self) -> None:
        """Ten pictures and ten sounds at once, sixty and fifty times a second, are read as they come."""
        client = self.server.connect(publish_opening() + CONFIGS)
        picture = message(9, b"\x27\1\0\0\0" + (900).to_bytes(4, "big") + bytes(900), csid=6, stream_id=1)
        for _ in range(600):
            client.send(picture * 10 + message(8, b"\xaf\1raw", csid=4, stream_id=1) * 9)
            self.assertEqual(client.wire.producerState, "producing")
            self.server.clock.advance(1 / 60)
        self.finish(client)

    def test_dropped_frames_are_counted(self) -> None:
        """Frames without configuration."""
        client = self.server.connect(publish_opening() + frame(0, True) + frame(40))
        self.finish(client)
        self.assertEqual(self.server.factory.counters.dropped_frames, 2)


class PlayTests(ProtocolCase):
    """Players."""

    def publisher(self) -> Client:
        """A publisher with one keyframe."""
        return self.server.connect(publish_opening() + CONFIGS + frame(0, True))

    def test_play(self) -> None:
        """Statuses, metadata, headers and the keyframe, then what comes."""
        source = self.publisher()
        client = self.server.connect(play_opening())
        kinds = [type(found) for found in client.wire.messages()]
        at = kinds.index(Data)
        self.assertEqual(kinds[at:], [Data, Data, Video, Audio, Video])
        source.send(frame(40))
        self.assertEqual(client.wire.messages(), [Video(1, 40, b"\x27\1\0\0\0" + NAL)])
        self.finish(client, source)
        self.assertEqual(self.server.factory.counters.plays, 1)

    def test_not_found(self) -> None:
        """Refused with its code, closed, logged."""
        client = self.server.connect(play_opening())
        self.assertEqual(client.wire.codes(), ["NetStream.Play.StreamNotFound"])
        self.assertTrue(client.wire.disconnecting)
        self.assertIn("play live/cam closed", self.logged())
        self.finish(client)

    def test_stream_ends(self) -> None:
        """The player is told and the connection closed."""
        source = self.publisher()
        client = self.server.connect(play_opening())
        client.wire.messages()
        source.lose()
        self.assertEqual(client.wire.codes(), ["NetStream.Play.UnpublishNotify", "NetStream.Play.Stop"])
        self.assertTrue(client.wire.disconnecting)
        self.finish(client)

    def test_pause_and_resume(self) -> None:
        """A paused player gets nothing and comes back at the newest keyframe."""
        source = self.publisher()
        client = self.server.connect(play_opening())
        client.send(command("pause", 0, None, True, stream_id=1))
        client.wire.messages()
        source.send(frame(40) + frame(80, True))
        self.assertEqual(client.wire.messages(), [])
        client.send(command("pause", 0, None, False, stream_id=1))
        found = client.wire.messages()
        self.assertEqual(found[-1], Video(1, 80, b"\x17\1\0\0\0" + NAL))
        self.finish(client, source)

    def test_closes_and_plays_again(self) -> None:
        """A player may go from stream to stream on one connection."""
        source = self.publisher()
        client = self.server.connect(play_opening())
        client.send(command("closeStream", 0, None, stream_id=1))
        self.assertEqual(self.server.core.sinks[0].viewers, [])
        client.send(command("play", 0, None, "cam", stream_id=1))
        self.assertEqual(len(self.server.core.sinks[0].viewers), 1)
        client.lose()
        self.assertEqual(self.server.core.sinks[0].viewers, [])
        self.finish(source)

    def test_lost_during_the_gate(self) -> None:
        """Nothing joins."""
        source = self.publisher()
        self.server.core.hold = True
        client = self.server.connect(play_opening())
        client.lose()
        self.assertEqual(self.server.core.sinks[0].viewers, [])
        self.finish(source)

    def test_slow_gate_has_no_deadline_here(self) -> None:
        """The play point bounds its own wait."""
        source = self.publisher()
        self.server.core.hold = True
        client = self.server.connect(play_opening())
        self.server.clock.advance(11)
        source.send(frame(40))
        self.server.core.waiting[-1].callback(None)
        self.assertIn("NetStream.Play.Start", client.wire.codes())
        self.finish(client, source)

    def test_command_flood(self) -> None:
        """A player that floods commands is closed; one that does not is never (R26)."""
        source = self.publisher()
        client = self.server.connect(play_opening())
        for _ in range(10):
            client.send(command("seek", 0, None, 1.0, stream_id=1) * 90)
            self.server.clock.advance(20)
            source.send(frame(40))
        self.assertFalse(client.wire.disconnecting)
        for _ in range(12):
            client.send(command("seek", 0, None, 1.0, stream_id=1) * 90)
        self.assertTrue(client.wire.disconnecting)
        self.assertEqual(self.server.factory.counters.protocol_errors, 1)
        self.finish(client, source)

    def test_pings(self) -> None:
        """Players are pinged, in order with the media."""
        source = self.publisher()
        client = self.server.connect(play_opening())
        client.wire.messages()
        self.server.clock.advance(20)
        source.send(frame(40))
        ping, video = client.wire.messages()
        self.assertEqual(ping, UserControl(UserEvent.PING_REQUEST, 20_000))
        self.assertIsInstance(video, Video)
        self.finish(client, source)


class DeadlineTests(ProtocolCase):
    """Deadlines (R15)."""

    def test_floods_are_not_news(self) -> None:
        """Few lines are said of connections that ask for nothing; of a publisher of that address all."""
        for _ in range(50):
            self.server.connect(b"\xff" * 100).lose()
        client = self.server.connect(publish_opening())
        self.finish(client)
        closed = [
            event
            for event in self.events
            if " closed after " in event["log_format"] and event["log_level"] >= LogLevel.info
        ]
        self.assertEqual(len(closed), 7)
        self.assertIn("publish", closed[-1]["what"])

    def test_silent_connections_are_not_news(self) -> None:
        """A connection that said nothing is told of at debug level, one that said anything at info."""
        self.addCleanup(setattr, GATE, "level", GATE.level)
        GATE.set("debug")
        self.server.connect().lose()
        self.server.connect(b"\x03").lose()
        closed = [event["log_level"].name for event in self.events if " closed after " in event["log_format"]]
        self.assertEqual(closed, ["debug", "info"])

    def test_handshake(self) -> None:
        """Nothing, a dribble, or no C2: closed after 5 s in all, aborted if it does not drain (R15)."""
        silent = self.server.connect()
        dribbling = self.server.connect(b"\x03")
        half = self.server.connect(HANDSHAKE[: PACKET + 1])
        self.assertEqual(len(half.wire.value()), 2 * PACKET + 1)
        for _ in range(49):
            self.server.clock.advance(0.1)
            dribbling.send(b"\0")
        self.assertFalse(silent.wire.disconnecting or dribbling.wire.disconnecting)
        self.server.clock.advance(0.2)
        clients = (silent, dribbling, half)
        self.assertTrue(all(client.wire.disconnecting for client in clients))
        self.server.clock.advance(5)
        self.assertTrue(all(client.wire.aborted for client in clients))
        self.assertEqual(self.server.factory.counters.timeouts, 3)
        self.finish(*clients)

    def test_no_request(self) -> None:
        """10 s from the handshake to a publish or play, whatever else is said."""
        client = self.server.connect(HANDSHAKE + connect())
        self.server.clock.advance(6)
        client.send(command("createStream", 2))
        self.server.clock.advance(3.9)
        self.assertFalse(client.wire.disconnecting)
        self.server.clock.advance(0.2)
        self.assertTrue(client.wire.disconnecting)
        self.assertIn("neither publish nor play", self.logged())
        self.finish(client)

    def test_after_an_unpublish(self) -> None:
        """The same deadline begins again."""
        client = self.server.connect(publish_opening() + command("closeStream", 0, None, stream_id=1))
        self.server.clock.advance(10.1)
        self.assertTrue(client.wire.disconnecting)
        self.finish(client)


class ContainmentTests(ProtocolCase):
    """Nothing leaves the connection it happened on."""

    def test_protocol_error(self) -> None:
        """Closed, counted, logged in one line; others go on."""
        good = self.server.connect(publish_opening() + CONFIGS)
        bad = self.server.connect(b"GET / HTTP/1.1\r\n\r\n")
        self.assertTrue(bad.wire.disconnecting)
        self.assertEqual(self.server.factory.counters.protocol_errors, 1)
        good.send(frame(0, True))
        self.assertEqual(len(self.server.core.sinks[0].frames), 1)
        self.assertIn("protocol error: handshake", self.logged())
        self.finish(good, bad)

    def test_before_connect(self) -> None:
        """Whatever is said before connect ends the connection, and the core is not asked (R17)."""
        clients = []
        for name in (
            "createStream",
            "publish",
            "play",
            "FCPublish",
            "releaseStream",
            "deleteStream",
            "pause",
        ):
            early = command(name, 3, None, "cam", stream_id=1) + publish_opening()[len(HANDSHAKE) :]
            clients.append(self.server.connect(HANDSHAKE + early))
            self.assertTrue(clients[-1].wire.disconnecting, name)
        self.assertEqual((self.server.core.requests, self.server.core.live), ([], {}))
        self.assertEqual(self.server.factory.counters.protocol_errors, len(clients))
        self.finish(*clients)

    def test_crashing_sink(self) -> None:
        """An error of ours is logged whole and ends this publisher."""
        client = self.server.connect(publish_opening() + CONFIGS)
        (sink,) = self.server.core.sinks
        self.patch(FakeSink, "push", lambda *args: 1 / 0)
        client.send(CONFIGS.replace(b"\x11\x90", b"\x12\x10") + frame(0, True))
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertEqual(sink.ended, "internal error")
        self.assertEqual(self.server.factory.counters.failures, 1)
        self.finish(client)

    def test_crashing_gate(self) -> None:
        """Likewise for the core's answer."""
        self.server.core.crash = ZeroDivisionError()
        client = self.server.connect(publish_opening())
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertTrue(client.wire.disconnecting)
        self.finish(client)

    def test_data_after_the_end(self) -> None:
        """Is not looked at."""
        client = self.server.connect(b"\x00")
        client.send(publish_opening())
        self.assertEqual(self.server.core.requests, [])
        self.finish(client)


class FactoryTests(ProtocolCase):
    """Limits and the end."""

    def test_limits(self) -> None:
        """Per address and in all."""
        self.server = Server(ServiceLimits(connections=3, per_address=2))
        clients = [self.server.connect(), self.server.connect()]
        build = self.server.factory.buildProtocol
        self.assertIsNone(build(IPv4Address("TCP", "192.0.2.1", 1)))
        clients.append(self.server.connect(host="192.0.2.2"))
        self.assertIsNone(build(IPv4Address("TCP", "192.0.2.3", 1)))
        self.assertEqual(self.server.factory.counters.turned_away, 2)
        clients.pop(0).lose()
        clients.append(self.server.connect())
        self.finish(*clients)

    def test_close_all(self) -> None:
        """Publishers and players are told; the answer comes when all are gone. A request to connect again
        (Enhanced RTMP v2, "Reconnect Request") comes first, to those who announced that they know it."""
        source = self.server.connect(publish_opening(capsEx=1.0) + CONFIGS + frame(0, True))
        client = self.server.connect(play_opening(capsEx=15.0))
        legacy = self.server.connect(publish_opening(key="other", capsEx=14.0) + CONFIGS)
        for each in (source, client, legacy):
            each.wire.messages()
        self.server.factory.request_reconnect("rtmp://other/live")
        gone = self.server.factory.close_all("the server is stopping")
        self.assertNoResult(gone)
        self.assertEqual(source.wire.codes(), ["NetConnection.Connect.ReconnectRequest", "NetStream.Failed"])
        self.assertEqual(
            client.wire.codes(),
            [
                "NetConnection.Connect.ReconnectRequest",
                "NetStream.Play.UnpublishNotify",
                "NetStream.Play.Stop",
            ],
        )
        self.assertEqual(legacy.wire.codes(), ["NetStream.Failed"])
        for each in (source, client, legacy):
            each.lose()
        self.successResultOf(gone)
        self.successResultOf(self.server.factory.close_all("again"))
        self.finish()

    def test_nonce(self) -> None:
        """The handshake's random bytes are asked for, once per connection."""
        asked: list[int] = []

        def random(size: int) -> bytes:
            asked.append(size)
            return bytes(size)

        factory = RtmpFactory(self.server.core, self.server.core, self.server.clock, random=random)
        factory.buildProtocol(IPv4Address("TCP", "192.0.2.1", 1))
        self.assertEqual(asked, [NONCE])
