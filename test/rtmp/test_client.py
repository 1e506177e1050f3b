"""L{restreamer.rtmp.client} and L{restreamer.rtmp.client_protocol}."""

from __future__ import annotations

from attrs import define, evolve, field
from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from restreamer.errors import LocalProtocolError, Reason, RemoteProtocolError
from restreamer.media.frame import Frame
from restreamer.media.track import Tracks
from restreamer.rtmp.client import Action, ClientConnection, ClientEvent, Ended, Ready, ReconnectAsked
from restreamer.rtmp.client_protocol import RtmpClientProtocol
from restreamer.rtmp.connection import ServerConnection
from restreamer.rtmp.events import Event, PlayRequested, PublishRequested
from restreamer.rtmp.handshake import NONCE
from restreamer.rtmp.message import Audio, Data, Video
from restreamer.rtmp.play_muxer import RtmpFeedMuxer
from restreamer.rtmp.to_media import FlvToMedia, NewTracks, Output
from restreamer.rtmp.url import parse_url
from restreamer.testing.media import START, aac_track, h264_track, make_frames
from test.rtmp.wire import server

URL = parse_url("rtmp://h/live/cam?token=abc")
TRACKS: Tracks = (h264_track(1, 2_000_000), aac_track(2, 96_000))


@define
class Pair:
    """A client and a server joined in memory."""

    action: Action
    digest: bool = False
    granted: bool = True
    client: ClientConnection = field(init=False)
    server: ServerConnection = field(init=False)
    at_client: list[ClientEvent] = field(factory=list)
    at_server: list[Event] = field(factory=list)

    def __attrs_post_init__(self) -> None:
        self.client = ClientConnection(URL, self.action, bytes(NONCE), digest=self.digest)
        self.server = server()
        self.pump()

    def pump(self) -> None:
        """Carry bytes both ways until neither has any."""
        while True:
            there = self.client.data_to_send()
            for event in self.server.receive(there) if there else []:
                self.at_server.append(event)
                if isinstance(event, PublishRequested | PlayRequested) and not self.granted:
                    self.server.refuse(event.request, Reason.DENIED, "no")
                elif isinstance(event, PublishRequested):
                    self.server.accept_publish(event.request)
                elif isinstance(event, PlayRequested):
                    self.server.accept_play(event.request)
            back = self.server.data_to_send()
            if back:
                self.at_client += self.client.receive(back)
            if not there and not back:
                return


def media_of(events: list[Event] | list[ClientEvent]) -> list[Output]:
    """Tracks and frames of the media among C{events}."""
    media = FlvToMedia()
    return [out for event in events if isinstance(event, Audio | Video | Data) for out in media.take(event)]


class ClientTests(SynchronousTestCase):
    """The machine against the server's."""

    def test_publish(self) -> None:
        """Tracks and frames arrive as they were sent, in milliseconds."""
        for digest in (False, True):
            pair = Pair(Action.PUBLISH, digest)
            self.assertEqual(pair.at_client, [Ready()])
            frames = make_frames(1.0)
            pair.client.configure(TRACKS, "title")
            for frame in frames:
                pair.client.send(frame)
            pair.pump()
            tracks, *found = media_of(pair.at_server)
            assert isinstance(tracks, NewTracks)
            self.assertEqual([t.config for t in tracks.tracks], [t.config for t in TRACKS])
            self.assertEqual([t.bandwidth for t in tracks.tracks], [2_000_000, 96_000])
            self.assertEqual(
                found,
                [evolve(f, dts=f.dts - START) for f in frames],
            )
            pair.client.close()
            pair.pump()
            self.assertEqual(type(pair.at_server[-1]).__name__, "PublishEnded")

    def test_play(self) -> None:
        """The shared bytes of a feed are read."""
        pair = Pair(Action.PLAY)
        self.assertEqual(pair.at_client[0], Ready())
        muxer = RtmpFeedMuxer("live/cam")
        muxer.configure(TRACKS, START, False)
        frames = make_frames(1.0)
        data = muxer.join_prefix() + b"".join(muxer.mux(frame) for frame in frames)
        found = media_of(pair.client.receive(data))
        self.assertEqual([out.data for out in found if isinstance(out, Frame)], [f.data for f in frames])

    def test_refused(self) -> None:
        """The code and the words arrive, once."""
        for action, code in (
            (Action.PUBLISH, "NetStream.Publish.Denied"),
            (Action.PLAY, "NetStream.Play.Failed"),
        ):
            pair = Pair(action, granted=False)
            self.assertEqual(pair.at_client, [Ended(code, "no")])
            self.assertRaises(LocalProtocolError, pair.client.configure, TRACKS)

    def test_ended(self) -> None:
        """By the server, on both sides."""
        pair = Pair(Action.PLAY)
        pair.server.end_play("over")
        pair.pump()
        self.assertEqual(pair.at_client[-1], Ended("NetStream.Play.UnpublishNotify", "over"))
        pair = Pair(Action.PUBLISH)
        pair.server.end_publish("NetStream.Failed", "over")
        pair.pump()
        self.assertEqual(pair.at_client[-1], Ended("NetStream.Failed", "over"))

    def test_reconnect_and_ping(self) -> None:
        """The one is told, the other answered."""
        pair = Pair(Action.PLAY)
        pair.server.request_reconnect("rtmp://other/live")
        before = pair.server.commands
        pair.server.ping(5)
        pair.pump()
        self.assertEqual(pair.at_client[-1], ReconnectAsked("rtmp://other/live"))
        self.assertEqual(pair.server.commands, before + 1)

    def test_not_before_ready(self) -> None:
        """Media before the grant, or on a player, is our mistake."""
        client = ClientConnection(URL, Action.PUBLISH, bytes(NONCE))
        self.assertRaises(LocalProtocolError, client.send, make_frames(0.1)[0])
        self.assertRaises(LocalProtocolError, Pair(Action.PLAY).client.configure, TRACKS)

    def test_not_rtmp(self) -> None:
        """Another protocol's answer is refused."""
        client = ClientConnection(URL, Action.PLAY, bytes(NONCE))
        self.assertRaises(RemoteProtocolError, client.receive, b"HTTP/1.1 400 Bad Request\r\n")


@define
class Owner:
    """Records what a client protocol says."""

    said: list[object] = field(factory=list)

    def ready(self, client: RtmpClientProtocol) -> None:
        self.said.append("ready")

    def received(self, events: list[ClientEvent]) -> None:
        self.said += events

    def ended(self, reason: str) -> None:
        self.said.append(reason)


class ClientProtocolTests(SynchronousTestCase):
    """The shell."""

    def connected(
        self, action: Action = Action.PUBLISH
    ) -> tuple[RtmpClientProtocol, StringTransport, Owner, Clock]:
        """A client with a connection."""
        owner, clock, wire = Owner(), Clock(), StringTransport()
        protocol = RtmpClientProtocol(URL, action, owner, clock, bytes)
        protocol.makeConnection(wire)
        return protocol, wire, owner, clock

    def pump(
        self, protocol: RtmpClientProtocol, wire: StringTransport, machine: ServerConnection
    ) -> list[Event]:
        """Carry bytes both ways, granting a publish."""
        found: list[Event] = []
        while data := wire.value():
            wire.clear()
            for event in machine.receive(data):
                found.append(event)
                if isinstance(event, PublishRequested):
                    machine.accept_publish(event.request)
            protocol.dataReceived(machine.data_to_send())
        return found

    def test_publish(self) -> None:
        """Ready, frames in one write, goodbye."""
        protocol, wire, owner, clock = self.connected()
        machine = server()
        self.pump(protocol, wire, machine)
        self.assertEqual(owner.said, ["ready"])
        protocol.configure(TRACKS)
        protocol.send_frames(make_frames(0.5))
        self.assertGreater(len(self.pump(protocol, wire, machine)), 30)
        protocol.close("done")
        self.assertTrue(wire.disconnecting)
        protocol.connectionLost(Failure(ConnectionDone()))
        self.assertEqual(owner.said, ["ready", "done"])
        self.assertEqual(clock.getDelayedCalls(), [])

    def test_refused(self) -> None:
        """The owner is told the server's words without the key that they repeat."""
        protocol, wire, owner, _ = self.connected()
        machine = server()
        while data := wire.value():
            wire.clear()
            for event in machine.receive(data):
                if isinstance(event, PublishRequested):
                    machine.refuse(event.request, Reason.BUSY, "stream live/cam?token=abc has a publisher")
            protocol.dataReceived(machine.data_to_send())
        protocol.connectionLost(Failure(ConnectionDone()))
        self.assertEqual(owner.said[-1], "NetStream.Publish.BadName: stream live/*** has a publisher")

    def test_too_late(self) -> None:
        """A server that does not answer is given up."""
        protocol, wire, owner, clock = self.connected()
        clock.advance(10)
        self.assertTrue(wire.disconnecting)
        protocol.connectionLost(Failure(ConnectionDone()))
        self.assertEqual(owner.said, ["the server did not answer in time"])

    def test_protocol_error(self) -> None:
        """Closes and says why."""
        protocol, _, owner, clock = self.connected(Action.PLAY)
        protocol.dataReceived(b"SSH-2.0\r\n")
        protocol.connectionLost(Failure(ConnectionDone()))
        self.assertIn("protocol error", str(owner.said[0]))
        self.assertEqual(clock.getDelayedCalls(), [])

    def test_blocked(self) -> None:
        """Follows the transport's buffer."""
        protocol, _, _, _ = self.connected()
        protocol.pauseProducing()
        self.assertTrue(protocol.blocked)
        protocol.resumeProducing()
        self.assertFalse(protocol.blocked)
        protocol.close()
