"""Publishers and players that no standard foresees, against a real core: what they cost is bounded, and what
they spoil is their own."""

from __future__ import annotations

from collections import Counter

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from typing_extensions import override

from restreamer.live import playout, registry
from restreamer.live.ingest import MANY_CHANGES
from restreamer.live.timeline import LONGEST_DELAY
from restreamer.m4f.layout import MAX_TRACKS
from restreamer.media.frame import Frame
from restreamer.media.timebase import TICKS_PER_SECOND
from restreamer.rtmp.message import Command, Video
from restreamer.rtmp.service import RtmpFactory
from restreamer.testing.media import ASC, AVCC
from restreamer.viewers import points
from test.flv.samples import AV1C, HVCC
from test.rtmp.core import RealCore
from test.rtmp.test_protocol import CONFIGS, NAL, Client, Wire, frame
from test.rtmp.wire import command, message, play_opening, publish_opening

NAME = "live/cam"
#: The same configuration with another level.
OTHER_AVCC = AVCC.replace(b"\x64\x00\x1e", b"\x64\x00\x1f", 1)


def video(body: bytes, at: int = 0) -> bytes:
    """A video message of a publisher."""
    return message(9, body, csid=6, stream_id=1, timestamp=at)


def audio(body: bytes, at: int = 0) -> bytes:
    """An audio message of a publisher."""
    return message(8, body, csid=4, stream_id=1, timestamp=at)


def avc(at: int, key: bool = False, offset: int = 0) -> bytes:
    """A picture of a publisher, with a composition offset in milliseconds."""
    head = (b"\x17" if key else b"\x27") + b"\1" + offset.to_bytes(3, "big", signed=True)
    return video(head + NAL, at)


class HostileCase(SynchronousTestCase):
    """A factory with a real core behind it, and a clock."""

    @override
    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(1_000_000)
        self.core = RealCore(self.clock)
        self.factory = RtmpFactory(self.core.publishing, self.core.playing, self.clock, random=bytes)

    @override
    def tearDown(self) -> None:
        self.assertEqual(self.core.faults, [])
        self.assertEqual(self.factory.connections, 0)

    def connect(self, data: bytes, host: str = "192.0.2.1") -> Client:
        """A new connection that sends C{data}."""
        protocol = self.factory.buildProtocol(None)
        assert protocol is not None
        wire = Wire(host)
        protocol.makeConnection(wire)
        client = Client(protocol, wire)
        self.addCleanup(self.lose, client)
        client.send(data)
        return client

    def lose(self, client: Client) -> None:
        """It is gone."""
        if client.protocol in self.factory._connections:
            client.lose()

    def publish(self) -> Client:
        """A publisher that was granted."""
        client = self.connect(publish_opening())
        self.assertEqual(client.wire.codes(), ["NetStream.Publish.Start"])
        return client

    def pump(self, player: Client) -> None:
        """The player's transport has room."""
        for _ in range(20):
            if player.wire.producer is not None:
                player.wire.producer.resumeProducing()

    def window_of(self) -> list[int]:
        """The numbers of closed segments."""
        return [entry.number for entry in self.core.stream(NAME).window.retained]


class HostileTests(HostileCase):
    """Publishers first, then players."""

    def test_a_configuration_that_changes_with_each_frame(self) -> None:
        """Numbers do not run away from the grid, however often the parameters of a stream change (R21)."""
        client = self.publish()
        client.send(CONFIGS + avc(0, True))
        stream = self.core.stream(NAME)
        duration = stream.segment_duration / TICKS_PER_SECOND
        seen: set[int] = set()
        for index in range(1, 1500):
            self.clock.advance(0.04)
            record = OTHER_AVCC if index % 2 else AVCC
            client.send(video(b"\x17\0\0\0\0" + record) + avc(40 * index, True))
            seen.update(self.window_of())
        self.assertFalse(client.wire.disconnecting)
        self.assertLessEqual(len(seen), 60 / duration + MANY_CHANGES + 2)
        self.assertLessEqual(max(seen) - min(seen), 60 / duration + MANY_CHANGES + 2)
        for index in range(1500, 1700):
            self.clock.advance(0.04)
            client.send(avc(40 * index, index % 25 == 0))
        held = stream.open
        assert held is not None
        self.assertGreater(len(stream.window.retained[-1].segment.frames()), 40)

    def test_tracks_by_the_thousand(self) -> None:
        """Ten thousand multitrack messages with every number and codec: as many tracks as a segment holds,
        and the first ones go on."""
        client = self.publish()
        client.send(CONFIGS + avc(0, True))
        for index in range(1, 250):
            self.clock.advance(0.04)
            number = bytes((index % 255 + 1,))
            opus = b"OpusHead\1\2\0\0\x80\xbb\0\0\0\0\0"
            client.send(
                b"".join(
                    (
                        video(b"\x96\x00hvc1" + number + HVCC, 40 * index),
                        video(b"\x96\x03hvc1" + number + NAL, 40 * index),
                        video(b"\x96\x00av01" + number + AV1C, 40 * index),
                        audio(b"\x95\x00mp4a" + number + ASC, 40 * index),
                        audio(b"\x95\x01mp4a" + number + b"raw", 40 * index),
                        audio(b"\x95\x00Opus" + number + opus, 40 * index),
                        audio(b"\x95\x01Opus" + number + b"raw", 40 * index) * 34,
                        avc(40 * index, index % 25 == 0),
                    )
                )
            )
        stream = self.core.stream(NAME)
        tables = [entry.segment.tracks for entry in stream.window.retained]
        self.assertTrue(tables)
        self.assertLessEqual(max(len(table) for table in tables), MAX_TRACKS)
        self.assertTrue(all(table[0].codec == "avc1" for table in tables))
        numbers = self.window_of()
        self.assertLess(max(numbers) - min(numbers), 24)
        self.assertFalse(client.wire.disconnecting)

    def test_composition_offsets_of_hours(self) -> None:
        """They are cut to what is believed, and everything still stands in order."""
        client = self.publish()
        client.send(CONFIGS)
        for index in range(300):
            self.clock.advance(0.04)
            offset = (0x7FFFFF, -0x800000, 0, 80)[index % 4]
            client.send(avc(40 * index, index % 25 == 0, offset))
        frames: list[Frame] = []
        for entry in self.core.stream(NAME).window.retained:
            frames += entry.segment.frames()
        self.assertGreater(len(frames), 100)
        self.assertTrue(all(0 <= each.cts <= LONGEST_DELAY for each in frames))
        times = [each.dts for each in frames]
        self.assertEqual(times, sorted(set(times)))

    def test_a_thousand_publishes_on_one_connection(self) -> None:
        """One name, one stream, no timer and no request is left of all that went before (R18, R20)."""
        self.patch(points, "MAX_AHEAD", 2000)
        client = self.publish()
        timers = len(self.clock.getDelayedCalls())
        for index in range(1000):
            again = command("createStream", 2) + command("publish", 3, None, "cam", "live", stream_id=1)
            client.send(CONFIGS + avc(40 * index, True) + command("deleteStream", 0, None, 1.0) + again)
            self.clock.advance(0.2)
        self.assertEqual(client.wire.codes().count("NetStream.Publish.Start"), 1000)
        self.assertFalse(client.wire.disconnecting)
        self.assertEqual(len(list(self.core.registry)), 1)
        self.assertLess(len(self.clock.getDelayedCalls()), timers + 8)
        connection = client.protocol._connection
        self.assertEqual((connection._requested, len(connection._streams)), ({}, 1))
        client.lose()
        self.clock.pump([10.0] * 12)
        self.assertEqual(list(self.core.registry), [])

    def test_a_new_name_all_the_time(self) -> None:
        """Publishes under ever new names are limited for an address, those there are at once in all, and a
        name is free as soon as its publisher has left (R20)."""
        self.patch(registry, "MAX_PUBLISHED", 50)
        codes = Counter[str]()
        clients = []
        for number in range(60):
            clients.append(self.connect(publish_opening(key=f"n{number}"), f"192.0.2.{number}"))
            codes.update(clients[-1].wire.codes())
        self.assertEqual(codes, {"NetStream.Publish.Start": 50, "NetConnection.Connect.Rejected": 10})
        for client in clients:
            self.lose(client)
        codes.clear()
        for number in range(1200):
            client = self.connect(publish_opening(key=f"m{number}") + CONFIGS + avc(0, True))
            codes.update(client.wire.codes())
            self.lose(client)
            self.clock.advance(0.01)
        self.assertLess(codes["NetConnection.Connect.Rejected"], 200)
        self.assertGreater(codes["NetStream.Publish.Start"], 1000)
        self.assertFalse(any(self.core.registry.claimed(f"m{number}") for number in range(1200)))
        self.clock.pump([10.0] * 12)
        self.assertEqual(list(self.core.registry), [])

    def test_choices_that_crowd_out_others(self) -> None:
        """When no more choices of tracks can be had, players of everything or of a choice there is go on."""
        self.patch(playout, "MAX_CHOICES", 2)
        source = self.publish()
        source.send(CONFIGS + avc(0, True))
        for key, code in (
            ("cam?filter.tracks=v1", "NetStream.Play.Start"),
            ("cam?filter.tracks=a1", "NetStream.Play.Start"),
            ("cam", "NetStream.Play.Start"),
            ("cam?filter.tracks=a1", "NetStream.Play.Start"),
            ("cam?fourcc=*", "NetStream.Play.Start"),
        ):
            player = self.connect(play_opening(key=key))
            self.assertEqual(player.wire.codes()[-1], code, key)
        nano = self.connect(play_opening(fourCcList=["*"], capsEx=12.0))
        self.assertEqual(nano.wire.codes(), ["NetConnection.Connect.Rejected"])

    def test_a_player_that_changes_its_wire(self) -> None:
        """Chunk sizes, windows, bandwidths and aborts in the middle of a play: it gets all pictures (R23)."""
        source = self.publish()
        source.send(CONFIGS + avc(0, True))
        player = self.connect(play_opening())
        got = [each for each in player.wire.messages() if isinstance(each, Video)]
        size = 128
        for index in range(1, 101):
            new = (1, 7, 128, 4096, 65_536, 1 << 20)[index % 6]
            window = (0, 1, 4096, 0x7FFFFFFF)[index % 4]
            player.send(
                message(1, new.to_bytes(4, "big"), csid=2, chunk=size)
                + message(5, window.to_bytes(4, "big"), csid=2, chunk=new)
                + message(6, window.to_bytes(4, "big") + bytes((index % 3,)), csid=2, chunk=new)
                + message(3, (index * 1_000_003).to_bytes(4, "big"), csid=2, chunk=new)
                + message(4, b"\0\3\0\0\0\1\0\0\x10\0", csid=2, chunk=new)
                + message(2, b"\0\0\0\7", csid=2, chunk=new)
            )
            size = new
            self.clock.advance(0.04)
            source.send(avc(40 * index, index % 25 == 0))
            self.pump(player)
            got += [each for each in player.wire.messages() if isinstance(each, Video)]
        self.assertFalse(player.wire.disconnecting)
        self.assertEqual([each.timestamp for each in got if each.payload[1] == 1], list(range(0, 4040, 40)))

    def test_sequences_in_an_odd_order(self) -> None:
        """Ends before beginnings, pictures before their configuration, metadata anywhere, reserved packet
        types: what can be shown is shown, and nobody is sent away."""
        client = self.publish()
        end = video(b"\x17\2\0\0\0") + video(b"\x92avc1") + audio(b"\x92mp4a")
        color = video(b"\x94avc1\x02\0\x09colorInfo\x03\0\0\x09") + video(b"\xd4avc1") + video(b"\xd1\0")
        reserved = video(b"\x9favc1x") + video(b"\x96\xf1avc1\0x") + audio(b"\x9fmp4ax") + audio(b"\x96mp4ax")
        odd = end + color + reserved
        client.send(odd + avc(0, True) + audio(b"\xaf\1raw") + odd + CONFIGS + odd)
        for index in range(1, 200):
            self.clock.advance(0.04)
            client.send(odd + avc(40 * index, index % 25 == 1) + odd)
        stream = self.core.stream(NAME)
        frames = [each for entry in stream.window.retained for each in entry.segment.frames()]
        self.assertGreater(len(frames), 50)
        self.assertEqual(sum(entry.segment.discontinuity for entry in stream.window.retained), 0)
        self.assertFalse(client.wire.disconnecting)
        answers = [each for each in client.wire.messages() if isinstance(each, Command)]
        self.assertEqual(answers, [])

    def test_a_codec_that_is_not_carried(self) -> None:
        """As the first track of its kind it is refused in words; as a further one it is passed over."""
        for body, codec in (
            (b"\x90fLaC" + bytes(34), "fLaC"),
            (b"\x91xHE9abc", "xHE9"),
            (b"\xb2abc", "flv:11"),
        ):
            client = self.publish()
            client.send(CONFIGS + avc(0, True) + audio(body))
            (said,) = [each for each in client.wire.messages() if isinstance(each, Command)]
            self.assertEqual(said.argument(0)["code"], "NetStream.Publish.Rejected")
            self.assertEqual(said.argument(0)["description"], f"audio codec {codec} is not supported")
            self.lose(client)
            self.clock.advance(1)
        client = self.publish()
        client.send(CONFIGS + avc(0, True) + audio(b"\x95\x00fLaC\1" + bytes(34)) + frame(40))
        self.assertEqual(client.wire.messages(), [])
        self.assertFalse(client.wire.disconnecting)
