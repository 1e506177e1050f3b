"""The pull against our own server, on wires in memory."""

from __future__ import annotations

import sys
from typing import Any

from attrs import evolve
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.error import ConnectionDone, ConnectionRefusedError
from twisted.internet.protocol import Protocol
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from typing_extensions import override

from restreamer.errors import Reason, Refused
from restreamer.media.frame import Frame
from restreamer.rtsp.pull import RtspPull
from restreamer.sources.pull import PullTarget
from restreamer.testing.media import make_frames
from test.rtsp.fakes import FakeSink, Peer, Rig, Wire

TARGET = PullTarget(shown="rtsp://h/cam", scheme="rtsp", host="192.0.2.1", port=554, path="/cam")


class Ends:
    """An endpoint that leads to a server in memory: bytes go over at each L{turn}."""

    def __init__(self, rig: Rig) -> None:
        self.rig = rig
        self.client: Any = None
        self.server: Peer | None = None
        self.wire = Wire("192.0.2.1")
        self.refused = False

    def connect(self, factory: Any) -> Deferred[Any]:
        if self.refused:
            return fail(ConnectionRefusedError())
        self.client = factory.buildProtocol(None)
        assert isinstance(self.client, Protocol)
        self.server = Peer(self.rig)
        self.client.makeConnection(self.wire)
        return succeed(self.client)

    def turn(self, times: int = 12) -> None:
        for _ in range(times):
            self.rig.clock.advance(0.01)
            server = self.server
            if server is None:
                continue
            sent, answered = self.wire.value(), server.wire.value()
            self.wire.clear()
            server.wire.clear()
            if sent:
                server.protocol.dataReceived(sent)
            if answered:
                self.client.dataReceived(answered)


class PullTests(SynchronousTestCase):
    """L{RtspPull}."""

    @override
    def setUp(self) -> None:
        self.rig = Rig(udp=False)
        self.ends = Ends(self.rig)
        self.sink = FakeSink(lambda reason: None)
        self.lost: list[str] = []
        self.asked: list[tuple[str, int, bool]] = []

    def pull(self, target: PullTarget = TARGET) -> RtspPull:
        def connect(host: str, port: int, tls: bool) -> Any:
            self.asked.append((host, port, tls))
            return self.ends

        made = RtspPull(target, self.sink, self.lost.append, self.rig.clock, connect)
        self.ends.turn()
        return made

    def send(self, frames: list[Frame]) -> None:
        stream = self.rig.core.streams["cam"]
        for frame in frames:
            stream.send(frame)
            self.ends.turn(1)

    def test_not_out_of_tls(self) -> None:
        """A server that refuses media in an encrypted connection is not asked for datagrams."""
        self.rig = Rig()
        self.ends = Ends(self.rig)
        asked: list[str] = []

        class Refusing(Peer):
            @override
            def __init__(self, rig: Rig, address: str = "192.0.2.7") -> None:
                super().__init__(rig, address)
                take = self.protocol.dataReceived

                def answered(data: bytes) -> None:
                    if data.startswith(b"SETUP"):
                        asked.append(data.decode())
                        self.wire.write(b"RTSP/1.0 461 Unsupported Transport\r\nCSeq: 3\r\n\r\n")
                    else:
                        take(data)

                self.protocol.dataReceived = answered  # type: ignore[method-assign]

        self.patch(sys.modules[__name__], "Peer", Refusing)
        self.pull(evolve(TARGET, tls=True, port=322))
        self.assertEqual(len(asked), 1)
        self.assertIn("RTP/AVP/TCP", asked[0])
        self.assertEqual(len(self.lost), 1)
        self.assertIn("461", self.lost[0])

    def test_frames_come(self) -> None:
        self.pull()
        source = make_frames(1.0)
        self.send(source)
        self.ends.turn()
        self.assertEqual(self.asked, [("192.0.2.1", 554, False)])
        [table] = self.sink.tables
        self.assertEqual([track.codec for track in table], ["avc1", "mp4a"])
        self.assertEqual([frame.data for frame in self.sink.frames], [frame.data for frame in source])
        self.assertEqual([frame.pts for frame in self.sink.frames], [frame.pts for frame in source])
        self.assertEqual(self.lost, [])

    def test_a_server_that_is_too_fast(self) -> None:
        """It is read at the rate of publishers."""
        self.pull()
        for _ in range(12):
            self.ends.client.dataReceived((b"$\0\0\x10\x80\x60\0\0" + bytes(12)) * 3000)
        self.assertEqual(self.ends.wire.producerState, "paused")

    def test_stop_says_teardown_and_reports_nothing(self) -> None:
        pull = self.pull()
        self.send(make_frames(0.2))
        pull.stop()
        self.ends.turn()
        self.assertEqual(self.rig.core.streams["cam"].viewers, [])
        self.assertIsNotNone(self.sink.ended)
        self.assertEqual(self.lost, [])

    def test_refusals(self) -> None:
        self.rig.core.refuse = Refused(Reason.NOT_FOUND, "no")
        self.pull()
        self.assertIn("404", self.lost[0])
        self.assertEqual(len(self.lost), 1)
        self.assertIsNotNone(self.sink.ended)

    def test_words_of_a_server(self) -> None:
        """They are shown without our URL's secrets, and without what does something to a terminal."""
        target = evolve(TARGET, user="me", password="pa%ss", query="key=s3cret&n=7")
        for words, shown in (
            ("No pa%ss s3cret for me", "No *** *** for ***"),
            ("\x9b31mRed cam?key=s3cret&n=7", "?31mRed cam?***"),
            ("s3cret" * 30, "***" * 21 + "*"),
        ):
            with self.subTest(words):
                self.setUp()
                made = RtspPull(target, self.sink, self.lost.append, self.rig.clock, lambda *_: self.ends)  # type: ignore[arg-type]
                self.addCleanup(made.stop)
                self.rig.clock.advance(0)
                self.ends.client.dataReceived(b"RTSP/1.0 200 OK\r\nCSeq: 1\r\n\r\n")
                self.ends.client.dataReceived(f"RTSP/1.0 404 {words}\r\nCSeq: 2\r\n\r\n".encode())
                self.assertEqual(len(self.lost), 1)
                self.assertIn(f"was answered with 404 {shown}", self.lost[0])
                self.assertNotIn("s3cret", self.lost[0])

    def test_no_connection(self) -> None:
        self.ends.refused = True
        self.pull()
        self.assertEqual(len(self.lost), 1)

    def test_a_server_that_says_nothing(self) -> None:
        self.rig.core.delay = Deferred()
        self.pull()
        self.rig.clock.advance(10.5)
        self.assertEqual(len(self.lost), 1)
        self.assertTrue(self.ends.wire.disconnecting)

    def test_silence(self) -> None:
        self.pull()
        self.send(make_frames(0.4))
        for _ in range(40):
            self.rig.clock.advance(0.3)
        self.assertEqual(self.lost, ["no media for 10 s"])

    def test_the_server_ends(self) -> None:
        self.pull()
        self.send(make_frames(0.4))
        self.ends.client.connectionLost(Failure(ConnectionDone()))
        self.assertEqual(len(self.lost), 1)
        self.assertIsNotNone(self.sink.ended)

    def test_signs_of_life(self) -> None:
        self.pull()
        for index in range(40):
            self.send([evolve(make_frames(0.1)[0], dts=make_frames(0.1)[0].dts + index * 90_000)])
            self.rig.clock.advance(1.0)
        self.ends.turn()
        self.assertEqual(self.lost, [])

    def test_any_answer(self) -> None:
        """Servers that break the protocol: the pull ends, nothing escapes."""
        for data in (
            b"RTSP/1.0 200 OK\r\nCSeq: x\r\n\r\n",
            b"HTTP/1.1 200 OK\r\n\r\n",
            b"RTSP/1.0 200 OK\r\nCSeq: 1\r\nContent-Length: 99999999\r\n\r\n",
            b"\x00" * 20_000,
        ):
            self.setUp()
            self.rig.core.delay = Deferred()
            self.pull()
            self.ends.client.dataReceived(data)
            self.assertTrue(self.ends.wire.disconnecting)
            self.ends.client.connectionLost(Failure(ConnectionDone()))
            self.assertEqual(len(self.lost), 1, data[:40])
