"""L{restreamer.rtmp.connection}."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from restreamer.errors import LocalProtocolError, Reason, RemoteProtocolError
from restreamer.rtmp.chunk_reader import ChunkReader
from restreamer.rtmp.connection import WINDOW, ServerConnection
from restreamer.rtmp.events import (
    Connected,
    Event,
    PlayEnded,
    PlayPaused,
    PlayRequested,
    PlayResumed,
    PublishEnded,
    PublishRequested,
    RequestRefused,
)
from restreamer.rtmp.handshake import PACKET
from restreamer.rtmp.limits import WireLimits
from restreamer.rtmp.message import (
    Acknowledgement,
    Audio,
    Command,
    Data,
    Message,
    SetChunkSize,
    SetPeerBandwidth,
    UserControl,
    UserEvent,
    Video,
    WindowAckSize,
    decode,
)
from restreamer.rtmp.status import Redirect
from test.rtmp.wire import (
    HANDSHAKE,
    command,
    connect,
    cuts,
    events_of,
    message,
    play_opening,
    publish_opening,
    server,
)


class Peer:
    """Reads what the server sends."""

    def __init__(self, connection: ServerConnection) -> None:
        self._connection = connection
        self._skip = 2 * PACKET + 1
        self._reader = ChunkReader(WireLimits())

    def read(self) -> list[Message]:
        """New messages."""
        data = self._connection.data_to_send()
        skipped, self._skip = self._skip, max(0, self._skip - len(data))
        return [decode(raw, 65536) for raw in self._reader.receive(data[skipped:])]

    def statuses(self) -> list[tuple[str, str]]:
        """Level and code of each new onStatus."""
        return [
            (found.argument(0)["level"], found.argument(0)["code"])
            for found in self.read()
            if isinstance(found, Command) and found.name == "onStatus"
        ]


def opened(data: bytes, limits: WireLimits | None = None) -> tuple[ServerConnection, Peer, list[Event]]:
    """A server connection that received C{data}."""
    connection = server(limits)
    peer = Peer(connection)
    events = connection.receive(data)
    return connection, peer, events


def publishing(**more: Any) -> tuple[ServerConnection, Peer]:
    """A connection whose publish is granted."""
    connection, peer, events = opened(publish_opening(), **more)
    connection.accept_publish(events[-1].request)  # type: ignore[union-attr]
    peer.read()
    return connection, peer


def playing() -> tuple[ServerConnection, Peer]:
    """A connection whose play is granted."""
    connection, peer, events = opened(play_opening())
    connection.accept_play(events[-1].request)  # type: ignore[union-attr]
    peer.read()
    return connection, peer


class ConnectTests(SynchronousTestCase):
    """The connect command and what may come before it."""

    def test_answer(self) -> None:
        """Window, bandwidth, one chunk size, then the result with the Enhanced RTMP keys."""
        _, peer, events = opened(HANDSHAKE + connect("live?token=hush"))
        self.assertEqual(events, [Connected("live", "test")])
        window, bandwidth, chunk, result, done = peer.read()
        self.assertEqual(window, WindowAckSize(2_500_000))
        self.assertEqual(bandwidth, SetPeerBandwidth(2_500_000, 2))
        self.assertEqual(chunk, SetChunkSize(65536))
        assert isinstance(result, Command) and isinstance(done, Command)
        self.assertEqual((result.name, result.transaction), ("_result", 1.0))
        forwarded = dict.fromkeys(("avc1", "hvc1", "av01", "vp09"), 4.0)
        self.assertEqual(result.properties["videoFourCcInfoMap"], forwarded)
        self.assertEqual(result.properties["fourCcList"][:2], ["avc1", "hvc1"])
        self.assertEqual(result.properties["capsEx"], 15.0)
        self.assertEqual(result.argument(0)["code"], "NetConnection.Connect.Success")
        self.assertEqual(result.argument(0)["objectEncoding"], 0.0)
        self.assertEqual(done.name, "onBWDone")

    def test_object_encoding(self) -> None:
        """AMF3 is granted when asked for."""
        _, peer, _ = opened(HANDSHAKE + connect(objectEncoding=3.0))
        result = peer.read()[3]
        assert isinstance(result, Command)
        self.assertEqual(result.argument(0)["objectEncoding"], 3.0)

    def test_odd_connects(self) -> None:
        """Connect without app, without an object, with things of other types."""
        for properties in (None, {}, {"app": 5.0, "tcUrl": True, "flashVer": []}):
            _, _, events = opened(HANDSHAKE + command("connect", 1, properties))
            self.assertEqual(events, [Connected("", "")])

    def test_anything_else_before_connect(self) -> None:
        """Ends the connection (R17)."""
        for data in (
            command("createStream", 2),
            command("publish", 3, None, "cam", stream_id=1),
            command("play", 3, None, "cam", stream_id=1),
            message(9, b"\x17\1\0\0\0", csid=6, stream_id=1),
        ):
            connection = server()
            self.assertRaises(RemoteProtocolError, connection.receive, HANDSHAKE + data)

    def test_twice(self) -> None:
        """A second connect is answered with an error and changes nothing (R18)."""
        connection, peer, _ = opened(HANDSHAKE + connect("live"))
        peer.read()
        self.assertEqual(connection.receive(connect("other")), [])
        (error,) = peer.read()
        assert isinstance(error, Command)
        self.assertEqual(
            (error.name, error.argument(0)["code"]), ("_error", "NetConnection.Connect.Rejected")
        )
        events = connection.receive(command("createStream", 2) + command("play", 0, None, "x", stream_id=1))
        self.assertEqual(events[0].address.name, "live/x")  # type: ignore[union-attr]

    def test_chunk_size_before_connect(self) -> None:
        """As OBS does."""
        size = message(1, (4096).to_bytes(4, "big"), csid=2)
        _, _, events = opened(HANDSHAKE + size + message(20, connect()[12:140] + connect()[141:], chunk=4096))
        self.assertEqual(len(events), 1)

    def test_small_talk(self) -> None:
        """Each gets the answer its senders wait for."""
        connection, peer, _ = opened(HANDSHAKE + connect())
        peer.read()
        for name, wanted in (
            ("releaseStream", ["_result"]),
            ("FCPublish", ["_result", "onFCPublish"]),
            ("FCUnpublish", ["_result", "onFCUnpublish"]),
            ("FCSubscribe", ["onFCSubscribe"]),
            ("_checkbw", ["_result"]),
            ("getStreamLength", ["_result"]),
            ("receiveVideo", []),
            ("nonsense", ["_error"]),
        ):
            with self.subTest(name):
                self.assertEqual(connection.receive(command(name, 9, None, "cam")), [])
                found = peer.read()
                self.assertEqual([m.name for m in found if isinstance(m, Command)], wanted)
                for answer in found:
                    if isinstance(answer, Command) and answer.name[0] == "_":
                        self.assertEqual(answer.transaction, 9.0)

    def test_error_to_our_call_is_ignored(self) -> None:
        """Nothing is answered to an answer."""
        connection, peer, _ = opened(HANDSHAKE + connect())
        peer.read()
        connection.receive(command("_error", 4, None, {}) + command("onStatus", 0, None, {}))
        self.assertEqual(peer.read(), [])

    def test_streams_are_bounded(self) -> None:
        """Ids count from 1, are reused, and end at the limit."""
        connection, peer, _ = opened(HANDSHAKE + connect() + command("createStream", 2) * 8)
        ids = [m.argument(0) for m in peer.read() if isinstance(m, Command) and m.transaction == 2]
        self.assertEqual(ids, [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0])
        connection.receive(command("createStream", 3))
        self.assertEqual([m.name for m in peer.read() if isinstance(m, Command)], ["_error"])
        connection.receive(command("deleteStream", 0, None, 3.0) + command("createStream", 3))
        self.assertEqual([m.argument(0) for m in peer.read() if isinstance(m, Command)], [3.0])


class PublishTests(SynchronousTestCase):
    """Publishing."""

    def test_grant(self) -> None:
        """Stream begin and Publish.Start; media then comes as it is."""
        connection, peer, events = opened(publish_opening(key="cam?token=abc&password=p"))
        peer.read()
        request = events[-1]
        assert isinstance(request, PublishRequested)
        self.assertEqual(request.address.name, "live/cam")
        self.assertEqual((request.address.token, request.address.password), ("abc", "p"))
        self.assertEqual(connection.accept_publish(request.request), [])
        begin, status = peer.read()
        self.assertEqual(begin, UserControl(UserEvent.STREAM_BEGIN, 1))
        assert isinstance(status, Command)
        self.assertEqual((status.stream_id, status.argument(0)["code"]), (1, "NetStream.Publish.Start"))
        data = message(9, b"v", csid=6, stream_id=1, timestamp=5) + message(8, b"a", csid=4, stream_id=1)
        self.assertEqual(connection.receive(data), [Video(1, 5, b"v"), Audio(1, 0, b"a")])
        metadata = b"\x02\0\x0aonMetaData"
        self.assertEqual(connection.receive(message(18, metadata, stream_id=1)), [Data(1, ("onMetaData",))])
        self.assertEqual(
            connection.receive(message(15, b"\0" + metadata, stream_id=1)), [Data(1, ("onMetaData",))]
        )

    def test_media_before_the_grant(self) -> None:
        """Is held, bounded, and comes with the grant (R03)."""
        connection, _, events = opened(publish_opening() + message(9, b"early", csid=6, stream_id=1))
        request = events[-1].request  # type: ignore[union-attr]
        self.assertEqual(connection.accept_publish(request), [Video(1, 0, b"early")])
        connection, _, events = opened(publish_opening(), WireLimits(held_bytes=1000))
        flood = message(9, bytes(500), csid=6, stream_id=1)
        connection.receive(flood)
        self.assertRaises(RemoteProtocolError, connection.receive, flood)

    def test_refusals(self) -> None:
        """Each reason has its code."""
        for reason, code in (
            (Reason.BUSY, "NetStream.Publish.BadName"),
            (Reason.BAD_NAME, "NetStream.Publish.BadName"),
            (Reason.DENIED, "NetStream.Publish.Denied"),
            (Reason.NOT_FOUND, "NetStream.Publish.Denied"),
            (Reason.OVERLOADED, "NetConnection.Connect.Rejected"),
            (Reason.UNSUPPORTED, "NetStream.Publish.Rejected"),
            (Reason.NOT_READY, "NetStream.Failed"),
        ):
            connection, peer, events = opened(publish_opening())
            request = events[-1].request  # type: ignore[union-attr]
            connection.refuse(request, reason, "text")
            self.assertEqual(peer.statuses(), [("error", code)])
            self.assertFalse(connection.pending(request))
            self.assertRaises(LocalProtocolError, connection.accept_publish, request)

    def test_bad_names(self) -> None:
        """Are refused by the connection itself (R25)."""
        for key in ("../x", "a b", "", "x" * 300):
            _, peer, events = opened(publish_opening(app="", key=key))
            self.assertIsInstance(events[-1], RequestRefused)
            self.assertEqual(peer.statuses(), [("error", "NetStream.Publish.BadName")])

    def test_without_stream(self) -> None:
        """A publish on a stream nobody made is refused."""
        _, peer, events = opened(HANDSHAKE + connect() + command("publish", 0, None, "cam", stream_id=1))
        self.assertIsInstance(events[-1], RequestRefused)
        self.assertEqual(peer.statuses(), [("error", "NetStream.Publish.Rejected")])

    def test_one_per_connection(self) -> None:
        """A second publish, or a play, on the same connection is refused (R18)."""
        connection, peer = publishing()
        connection.receive(command("createStream", 4))
        events = connection.receive(command("publish", 5, None, "other", stream_id=2))
        self.assertIsInstance(events[0], RequestRefused)
        events = connection.receive(command("play", 5, None, "cam", stream_id=1))
        self.assertIsInstance(events[0], RequestRefused)
        self.assertEqual(
            peer.statuses(), [("error", "NetStream.Publish.BadName"), ("error", "NetStream.Play.Failed")]
        )
        self.assertEqual(connection.receive(message(9, b"v", csid=6, stream_id=1)), [Video(1, 0, b"v")])

    def test_every_end(self) -> None:
        """deleteStream by number or by name, closeStream, publish(false)."""
        for data in (
            command("deleteStream", 0, None, 1.0),
            command("deleteStream", 0, None, "cam"),
            command("closeStream", 0, None, stream_id=1),
            command("publish", 0, None, False, stream_id=1),
        ):
            connection, peer = publishing()
            self.assertEqual(connection.receive(data), [PublishEnded()])
            self.assertEqual(peer.statuses(), [("status", "NetStream.Unpublish.Success")])
            self.assertEqual(connection.receive(message(9, b"v", csid=6, stream_id=1)), [])

    def test_end_before_the_grant(self) -> None:
        """The request is void."""
        connection, _, events = opened(publish_opening())
        request = events[-1].request  # type: ignore[union-attr]
        self.assertEqual(connection.receive(command("deleteStream", 0, None, 1.0)), [PublishEnded()])
        self.assertFalse(connection.pending(request))

    def test_foreign_streams(self) -> None:
        """Deleting what is not ours does nothing (R26)."""
        connection, _ = publishing()
        number: Any
        for number in (2.0, 0.0, -1.0, 1e18, float("nan"), None, {}):
            self.assertEqual(connection.receive(command("deleteStream", 0, None, number)), [])
        self.assertEqual(connection.receive(message(9, b"v", csid=6, stream_id=1)), [Video(1, 0, b"v")])
        self.assertEqual(connection.receive(message(9, b"v", csid=6, stream_id=7)), [])

    def test_again(self) -> None:
        """After an unpublish the same stream can publish again."""
        connection, peer = publishing()
        connection.receive(command("closeStream", 0, None, stream_id=1))
        events = connection.receive(command("publish", 0, None, "cam", stream_id=1))
        connection.accept_publish(events[0].request)  # type: ignore[union-attr]
        self.assertEqual(peer.statuses()[-1], ("status", "NetStream.Publish.Start"))

    def test_kicked(self) -> None:
        """The publisher is told, and what it still sends is nothing."""
        connection, peer = publishing()
        connection.end_publish("NetStream.Failed", "reload")
        self.assertEqual(peer.statuses(), [("error", "NetStream.Failed")])
        self.assertEqual(connection.receive(message(9, b"v", csid=6, stream_id=1)), [])
        connection.end_publish("NetStream.Failed", "reload")
        self.assertEqual(peer.read(), [])

    def test_aggregate(self) -> None:
        """Its parts are messages of their own."""
        connection, _ = publishing()
        tag = b"\x09\0\0\1" + bytes(7) + b"v" + bytes(4)
        events = connection.receive(message(22, tag * 2, csid=6, stream_id=1, timestamp=7))
        self.assertEqual(events, [Video(1, 7, b"v")] * 2)


class PlayTests(SynchronousTestCase):
    """Playing."""

    def test_grant(self) -> None:
        """Stream begin, Reset, Start, sample access."""
        connection, peer, events = opened(play_opening(app="static", key="cam"))
        peer.read()
        request = events[-1]
        assert isinstance(request, PlayRequested)
        self.assertEqual(request.address.name, "cam")
        connection.accept_play(request.request)
        begin, reset, start, access = peer.read()
        self.assertEqual(begin, UserControl(UserEvent.STREAM_BEGIN, 1))
        assert isinstance(reset, Command) and isinstance(start, Command)
        self.assertEqual(reset.argument(0)["code"], "NetStream.Play.Reset")
        self.assertEqual(start.argument(0)["code"], "NetStream.Play.Start")
        self.assertEqual(access, Data(1, ("|RtmpSampleAccess", True, True)))

    def test_refusals(self) -> None:
        """Each reason has its code."""
        for reason, code in (
            (Reason.NOT_FOUND, "NetStream.Play.StreamNotFound"),
            (Reason.BAD_NAME, "NetStream.Play.StreamNotFound"),
            (Reason.DENIED, "NetStream.Play.Failed"),
            (Reason.NOT_READY, "NetStream.Play.Failed"),
            (Reason.OVERLOADED, "NetConnection.Connect.Rejected"),
        ):
            connection, peer, events = opened(play_opening())
            connection.refuse(events[-1].request, reason, "text")  # type: ignore[union-attr]
            self.assertEqual(peer.statuses(), [("error", code)])

    def test_redirects(self) -> None:
        """Who has the stream instead: the tcUrl to connect to, and the whole URL, marked."""
        for name, query, tc_url, url in (
            ("live/a/b", "", "rtmp://x:1935/live/a", "rtmp://x:1935/live/a/b?redirected=1"),
            ("a", "token=t", "rtmp://x:1935/static", "rtmp://x:1935/static/a?token=t&redirected=1"),
        ):
            connection, peer, events = opened(play_opening())
            request = events[-1].request  # type: ignore[union-attr]
            redirect = Redirect("rtmp://x:1935", name, query)
            connection.refuse(request, Reason.NOT_FOUND, "elsewhere", redirect)
            (said,) = [each for each in peer.read() if isinstance(each, Command) and each.name == "onStatus"]
            told = said.argument(0)
            self.assertEqual((told["level"], told["code"]), ("error", "NetConnection.Connect.Rejected"))
            self.assertEqual(told["ex"], {"code": 302, "redirect": tc_url, "redirect2": url})
            self.assertEqual(told["description"], f"elsewhere: {tc_url}/{name.rpartition('/')[2]}")
            self.assertNotIn("token", repr(redirect))

    def test_on_another_stream(self) -> None:
        """Only message stream 1 can play: its bytes are shared."""
        data = HANDSHAKE + connect() + command("createStream", 2) * 2
        _, peer, events = opened(data + command("play", 3, None, "cam", stream_id=2))
        self.assertIsInstance(events[-1], RequestRefused)
        self.assertEqual(peer.statuses(), [("error", "NetStream.Play.Failed")])

    def test_pause(self) -> None:
        """Pause and resume each once; doubled ones do nothing."""
        connection, peer = playing()
        pause = command("pause", 0, None, True, 0.0, stream_id=1)
        resume = command("pause", 0, None, False, 0.0, stream_id=1)
        self.assertEqual(connection.receive(pause + pause), [PlayPaused()])
        self.assertEqual(connection.receive(resume + resume), [PlayResumed()])
        self.assertEqual(
            [code for _, code in peer.statuses()],
            ["NetStream.Pause.Notify", "NetStream.Unpause.Notify", "NetStream.Play.Start"],
        )

    def test_seek(self) -> None:
        """Is confirmed and changes nothing."""
        connection, peer = playing()
        self.assertEqual(connection.receive(command("seek", 0, None, 1000.0, stream_id=1)), [])
        self.assertEqual(peer.statuses(), [("status", "NetStream.Seek.Notify")])

    def test_other_name(self) -> None:
        """A play on a playing stream ends the old one and asks for the new (R26)."""
        connection, _ = playing()
        ended, asked = connection.receive(command("play", 0, None, "other", stream_id=1))
        self.assertEqual(ended, PlayEnded())
        self.assertEqual(asked.address.name, "live/other")  # type: ignore[union-attr]

    def test_publish_while_playing(self) -> None:
        """Is refused."""
        connection, _ = playing()
        events = connection.receive(command("publish", 0, None, "cam", stream_id=1))
        self.assertIsInstance(events[0], RequestRefused)

    def test_ends(self) -> None:
        """By the player and by the server."""
        connection, _ = playing()
        self.assertEqual(connection.receive(command("deleteStream", 0, None, 1.0)), [PlayEnded()])
        connection, peer = playing()
        connection.end_play("over")
        self.assertEqual(
            peer.statuses(), [("status", "NetStream.Play.UnpublishNotify"), ("status", "NetStream.Play.Stop")]
        )
        connection.end_play("over")
        self.assertEqual(peer.read(), [])

    def test_media_from_a_player(self) -> None:
        """Is ignored."""
        connection, _ = playing()
        self.assertEqual(connection.receive(message(9, b"v", csid=6, stream_id=1)), [])
        self.assertEqual(connection.ignored, 1)


class ControlTests(SynchronousTestCase):
    """Acknowledgements, pings, limits."""

    def test_acknowledgements(self) -> None:
        """One for each window, at most one for each read; sizes 0 and 1 do no harm (R23)."""
        connection, peer = publishing()
        big = message(9, bytes(1_300_000), csid=6, stream_id=1)
        connection.receive(big)
        self.assertEqual(peer.read(), [])
        connection.receive(big)
        (ack,) = peer.read()
        self.assertEqual(ack, Acknowledgement(connection.received))
        self.assertGreaterEqual(connection.received, WINDOW)
        for size in (0, 1):
            connection.receive(message(5, size.to_bytes(4, "big"), csid=2))
            for _ in range(100):
                connection.receive(message(9, b"v", csid=6, stream_id=1))
            self.assertLessEqual(len(peer.read()), 1)

    def test_pings(self) -> None:
        """Are answered; ours are sent; short ones are ignored."""
        connection, peer = publishing()
        connection.receive(message(4, b"\0\6\0\0\0\x2a", csid=2) + message(4, b"\0\6\0", csid=2))
        self.assertEqual(peer.read(), [UserControl(UserEvent.PING_RESPONSE, 42)])
        connection.ping(2**32 + 7)
        self.assertEqual(peer.read(), [UserControl(UserEvent.PING_REQUEST, 7)])

    def test_reconnect_request(self) -> None:
        """Enhanced RTMP's status on stream 0."""
        connection, peer = publishing()
        connection.request_reconnect("rtmp://other/live")
        connection.request_reconnect()
        first, second = peer.read()
        assert isinstance(first, Command) and isinstance(second, Command)
        self.assertEqual(first.stream_id, 0)
        self.assertEqual(first.argument(0)["code"], "NetConnection.Connect.ReconnectRequest")
        self.assertEqual(first.argument(0)["tcUrl"], "rtmp://other/live")
        self.assertNotIn("tcUrl", second.argument(0))

    def test_hostile_commands(self) -> None:
        """Deep AMF ends the connection, a huge data message does not (R12, R24)."""
        connection, _ = publishing()
        deep = b"\x02\0\1x\x00" + bytes(8) + b"\x03\0\1a" * 10_000
        self.assertRaises(RemoteProtocolError, connection.receive, message(20, deep))
        connection, _ = publishing()
        self.assertEqual(connection.receive(message(18, bytes(1024 * 1024), stream_id=1)), [])
        self.assertEqual(connection.receive(message(9, b"v", csid=6, stream_id=1)), [Video(1, 0, b"v")])

    def test_data_nobody_reads(self) -> None:
        """Time codes and captions come with every frame: not looked into, and no command (R24)."""
        connection, _ = publishing()
        before = connection.commands
        timecode = message(18, b"\x02\0\4onFI\x0a\xff\xff\xff\xff", stream_id=1)
        self.assertEqual(connection.receive(timecode * 5), [])
        self.assertEqual((connection.commands, connection.ignored), (before, 5))
        connection.receive(message(18, b"\x02\0\x0aonMetaData", stream_id=1))
        self.assertEqual(connection.commands, before + 1)

    def test_commands_in_one_read(self) -> None:
        """The limit holds inside a read, so that a read cannot keep us busy (R26)."""
        connection, peer = playing()
        peer.read()
        connection.allowed_commands = connection.commands + 10
        self.assertRaises(RemoteProtocolError, connection.receive, command("createStream", 7) * 1000)
        self.assertEqual(len(peer.read()), 10)

    def test_memory_before_a_publish(self) -> None:
        """Who has not asked to publish can make us hold little (R03); who publishes, a long frame."""
        long = message(9, bytes(1024 * 1024), csid=6, stream_id=1)
        connection, _, _ = opened(HANDSHAKE + connect())
        self.assertRaises(RemoteProtocolError, connection.receive, long)
        connection, _ = playing()
        self.assertRaises(RemoteProtocolError, connection.receive, long)
        connection, _, _ = opened(publish_opening())
        connection.receive(long)
        connection, _ = publishing()
        self.assertEqual(len(connection.receive(long)), 1)
        connection.receive(command("deleteStream", 5, None, 1.0))
        self.assertRaises(RemoteProtocolError, connection.receive, long)

    def test_every_command_is_counted(self) -> None:
        """So that the owner can limit floods (R26)."""
        connection, _ = playing()
        before = connection.commands
        connection.receive(message(4, b"\0\3\0\0\0\1\0\0\0\0", csid=2) * 5)
        connection.receive(command("pause", 0, None, True, stream_id=1) * 5)
        self.assertEqual(connection.commands - before, 10)


SCRIPT = (
    publish_opening(key="cam?token=x")
    + message(18, b"\x02\0\x0d@setDataFrame", stream_id=1)
    + message(9, bytes(1000), csid=6, stream_id=1, timestamp=0xFFFFFF)
    + message(8, bytes(300), csid=4, stream_id=1)
    + command("FCUnpublish", 5, None, "cam")
    + command("deleteStream", 6, None, 1.0)
)


COMMANDS = [
    "connect",
    "createStream",
    "deleteStream",
    "closeStream",
    "publish",
    "play",
    "pause",
    "seek",
    "FCPublish",
    "getStreamLength",
    "receiveAudio",
    "x",
]


class PropertyTests(SynchronousTestCase):
    """Any fragmentation, any bytes."""

    def test_any_fragmentation(self) -> None:
        """The same events and the same bytes out."""
        whole = server()
        events = whole.receive(SCRIPT)
        sent = whole.data_to_send()
        for seed in range(20):
            connection = server()
            self.assertEqual(events_of(connection, list(cuts(SCRIPT, seed))), events)
            self.assertEqual(connection.data_to_send(), sent)

    @settings(deadline=None, max_examples=100, derandomize=True)
    @given(
        st.lists(
            st.tuples(
                st.sampled_from(COMMANDS),
                st.sampled_from([None, True, False, 1.0, 2.0, "cam", "?", {}]),
                st.sampled_from([0, 1, 2, 9]),
                st.sampled_from(["", "accept", "refuse"]),
            ),
            max_size=25,
        )
    )
    def test_any_commands(self, steps: list[tuple[str, Any, int, str]]) -> None:
        """Any order of commands and answers gives events or the one error, and at most one activity."""
        connection, _, _ = opened(HANDSHAKE + connect())
        asked: list[PublishRequested | PlayRequested] = []
        for name, argument, stream_id, answer in steps:
            for event in connection.receive(command(name, 5, None, argument, stream_id=stream_id)):
                if isinstance(event, PublishRequested | PlayRequested):
                    asked.append(event)
            waiting = [event for event in asked if connection.pending(event.request)]
            self.assertLessEqual(len(waiting), 1)
            for event in waiting:
                if answer == "refuse":
                    connection.refuse(event.request, Reason.DENIED, "no")
                elif answer == "accept" and isinstance(event, PublishRequested):
                    connection.accept_publish(event.request)
                elif answer == "accept":
                    connection.accept_play(event.request)
        connection.data_to_send()

    @settings(deadline=None, max_examples=150, derandomize=True)
    @given(st.sampled_from([b"", HANDSHAKE, HANDSHAKE + connect(), SCRIPT]), st.binary(max_size=300))
    def test_any_bytes(self, start: bytes, rest: bytes) -> None:
        """Events or the one error."""
        connection = server()
        try:
            connection.receive(start + rest)
        except RemoteProtocolError:
            pass
