"""Connections that belong to sessions: counted, kicked in the words of their protocol, given up."""

from __future__ import annotations

from collections.abc import Callable

from attrs import define, field
from twisted.trial.unittest import SynchronousTestCase
from typing_extensions import override

from restreamer.errors import Reason, Redirected, Refused
from restreamer.http1.attended import attended
from restreamer.http1.play_request import play_request, shown_token
from restreamer.http1.reply import ChunkedReply, ChunkWriter, EndlessReply, FullReply, HttpRequest, Reply
from restreamer.rtmp.status import redirect
from restreamer.rtsp.refusal import refused
from restreamer.seams import Account, OpenRequest, ViewerTransport
from restreamer.testing.media import make_frames
from restreamer.viewers.attendance import Attendance
from test.rtmp.fakes import FakeCore as RtmpCore
from test.rtmp.test_protocol import CONFIGS, Server, frame
from test.rtmp.wire import command, play_opening, publish_opening
from test.rtsp.fakes import FakeCore as RtspCore
from test.rtsp.fakes import Rig
from test.viewers.viewing import FakeViewing
from test.web.wires import Visit


@define(eq=False)
class FakeSending:
    """A body that is being sent."""

    ended: Callable[[str], None]
    bytes_sent: int = 0
    left: int = 0

    def leave(self) -> None:
        """It stops."""
        self.left += 1


class AttendedTests(SynchronousTestCase):
    """Endless bodies of HTTP."""

    @override
    def setUp(self) -> None:
        self.viewing = FakeViewing()
        self.bodies: list[FakeSending] = []

    def begin(self, transport: ViewerTransport, ended: Callable[[str], None]) -> FakeSending:
        self.bodies.append(FakeSending(ended))
        return self.bodies[-1]

    def visit(self) -> Visit:
        """A client that is sent a body."""

        def route(request: HttpRequest) -> Reply:
            request.account.viewing = self.viewing
            return EndlessReply(headers=b"", start=attended(request.account, self.begin))

        visit = Visit(route)
        self.addCleanup(visit.close)
        visit.send(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")
        return visit

    def test_client_leaves(self) -> None:
        """Its bytes are known while it is there; then it is gone."""
        visit = self.visit()
        self.bodies[0].bytes_sent = 7
        self.assertEqual(self.viewing.sent, 7)
        visit.lose()
        self.assertEqual((self.viewing.detached, self.bodies[0].left), (1, 1))

    def test_body_ends(self) -> None:
        """The end of the body is the end of the connection."""
        visit = self.visit()
        self.bodies[0].ended("the stream has ended")
        self.assertTrue(visit.wire.closing)
        self.assertEqual(self.viewing.detached, 1)

    def test_kicked(self) -> None:
        """Who may not go on gets nothing more, and the connection closes."""
        visit = self.visit()
        self.viewing.kick("no")
        self.assertEqual((self.bodies[0].left, self.viewing.detached), (1, 1))
        self.assertTrue(visit.wire.closing)
        visit.lose()
        self.assertEqual(self.viewing.detached, 1)

    def test_over_before(self) -> None:
        """A session that ended before the body began."""
        self.viewing.over = "kicked"
        visit = self.visit()
        self.assertTrue(visit.wire.closing)
        self.assertEqual((self.bodies[0].left, len(self.viewing.links)), (1, 0))

    def test_refused_at_the_last_moment(self) -> None:
        """What was there a moment ago is gone: no session is attached."""
        ended: list[str] = []

        def begin(transport: ViewerTransport, over: Callable[[str], None]) -> FakeSending:
            raise Refused(Reason.NOT_FOUND, "gone")

        attended(Account(self.viewing), begin)(None, ended.append)()  # type: ignore[arg-type]
        self.assertEqual((ended, self.viewing.links), (["gone"], []))

    def test_without_session(self) -> None:
        """Bodies that belong to nobody."""
        for account in (None, Account()):
            stop = attended(account, self.begin)(None, lambda why: None)  # type: ignore[arg-type]
            stop()
            self.assertEqual(self.bodies[-1].left, 1)


class FrontTests(SynchronousTestCase):
    """Finite answers."""

    def ask(self, reply: Reply, method: str = "GET") -> tuple[FakeViewing, Visit]:
        """Get it."""
        viewing = FakeViewing()

        def route(request: HttpRequest) -> Reply:
            request.account.viewing = viewing
            return reply

        visit = Visit(route)
        self.addCleanup(visit.close)
        visit.send(f"{method} / HTTP/1.1\r\nHost: h\r\n\r\n".encode())
        return viewing, visit

    def test_full(self) -> None:
        """Bytes of the body; nothing of what is no media."""
        self.assertEqual(self.ask(FullReply(status=200, body=b"12345"))[0].counted, [5])
        self.assertEqual(self.ask(FullReply(status=200, body=b"12345"), "HEAD")[0].counted, [0])
        for status in (302, 404, 503):
            self.assertEqual(self.ask(FullReply(status=status, body=b"12345"))[0].counted, [])
        self.assertEqual(self.ask(FullReply(status=304))[0].counted, [0])

    def test_chunks(self) -> None:
        """Bytes of the pieces, when they are sent or the client is gone."""
        writers: list[tuple[ChunkWriter, Callable[[str], None]]] = []

        def start(writer: ChunkWriter, ended: Callable[[str], None]) -> Callable[[], None]:
            writers.append((writer, ended))
            writer.write(b"123")
            return lambda: None

        viewing, visit = self.ask(ChunkedReply(headers=b"", start=start))
        writers[0][1]("")
        visit.settle()
        self.assertEqual(viewing.counted, [3])
        viewing, visit = self.ask(ChunkedReply(headers=b"", start=start))
        visit.lose()
        self.assertEqual(viewing.counted, [3])

    def test_token_of_playlists(self) -> None:
        """What playlists append is the session's business."""
        request = HttpRequest(method="GET", path="/cam/index.m3u8", query="token=given")
        wanted = play_request("cam", "hls", request)
        self.assertEqual(shown_token(wanted), "given")
        request.account.viewing = FakeViewing("made")
        self.assertEqual(shown_token(wanted), "made")


class RtmpSessionCore(RtmpCore):
    """Every player has the session of the test."""

    viewing = FakeViewing()

    @override
    async def _gate(self, request: OpenRequest) -> None:
        await super()._gate(request)
        assert request.account is not None
        request.account.viewing = self.viewing if request.action == "play" else None


class RtmpTests(SynchronousTestCase):
    """Players of RTMP."""

    @override
    def setUp(self) -> None:
        core = RtmpSessionCore()
        self.viewing = RtmpSessionCore.viewing = FakeViewing()
        self.server = Server(core=core)
        self.source = self.server.connect(publish_opening() + CONFIGS + frame(0, True))
        self.client = self.server.connect(play_opening())
        self.client.wire.messages()

    def test_kicked(self) -> None:
        """The player is told that its play failed, and is closed."""
        self.assertEqual(len(self.viewing.links), 1)
        self.viewing.kick("the session was ended")
        self.assertEqual(self.client.wire.codes(), ["NetStream.Play.Failed"])
        self.assertTrue(self.client.wire.disconnecting)
        self.client.lose()
        self.assertEqual((self.viewing.detached, self.server.core.sinks[0].viewers), (1, []))

    def test_over_before(self) -> None:
        """A session that ended before the media began."""
        RtmpSessionCore.viewing = FakeViewing(over="kicked")
        client = self.server.connect(play_opening())
        self.assertIn("NetStream.Play.Failed", client.wire.codes())
        client.lose()
        self.assertEqual(RtmpSessionCore.viewing.links, [])

    def test_pause(self) -> None:
        """A pause is no end."""
        self.client.send(command("pause", 0, None, True, stream_id=1))
        self.assertEqual(len(self.viewing.links), 1)
        self.client.send(command("pause", 0, None, False, stream_id=1))
        self.assertEqual(len(self.viewing.links), 1)
        self.client.send(command("closeStream", 0, None, stream_id=1))
        self.assertEqual(self.viewing.detached, 1)

    def test_ends(self) -> None:
        """The end of the stream, and of the connection, are ends of the session."""
        other = self.server.connect(play_opening())
        other.lose()
        self.assertEqual(self.viewing.detached, 1)
        self.source.lose()
        self.assertEqual(self.viewing.detached, 2)

    def test_redirect(self) -> None:
        """An address of RTMP is handed on, one of HTTP cannot be."""
        found = redirect(Redirected(url="rtmp://b.example:1935/live/cam?token=x"), "a", "")
        assert found is not None
        self.assertEqual(
            (found.base, found.name, found.query), ("rtmp://b.example:1935", "live/cam", "token=x")
        )
        for url in ("https://b.example/cam", "rtmp://b.example"):
            self.assertIsNone(redirect(Redirected(url=url), "a", ""))
        found = redirect(Redirected("http://c", "rtmp://c:1935"), "a", "q=1")
        assert found is not None
        self.assertEqual((found.base, found.name, found.query), ("rtmp://c:1935", "a", "q=1"))


@define(eq=False)
class RtspSessionCore(RtspCore):
    """Every player has the session of the test."""

    viewing: FakeViewing = field(factory=FakeViewing)

    @override
    def play(self, request: OpenRequest):  # type: ignore[no-untyped-def]
        assert request.account is not None
        request.account.viewing = self.viewing
        return super().play(request)


class RtspTests(SynchronousTestCase):
    """Players of RTSP."""

    def test_life(self) -> None:
        """From PLAY, over a pause, to TEARDOWN."""
        core = RtspSessionCore()
        peer = Rig(core=core).peer()
        peer.ask("DESCRIBE")
        peer.set_up(1)
        self.assertEqual(core.viewing.links, [])
        peer.send(peer.text("PLAY"))
        core.streams["cam"].send(make_frames(0.2)[0])
        self.assertEqual(len(core.viewing.links), 1)
        peer.send(peer.text("PAUSE"))
        peer.send(peer.text("PLAY"))
        core.streams["cam"].send(make_frames(0.2)[0])
        self.assertEqual((len(core.viewing.links), core.viewing.detached), (1, 0))
        peer.send(peer.text("TEARDOWN"))
        self.assertEqual(core.viewing.detached, 1)

    def test_kicked(self) -> None:
        """The player hears goodbye and is closed."""
        core = RtspSessionCore()
        rig = Rig(core=core)
        peer = rig.peer()
        peer.ask("DESCRIBE")
        peer.set_up(1)
        peer.send(peer.text("PLAY"))
        core.streams["cam"].send(make_frames(0.2)[0])
        core.viewing.kick("the session was ended")
        self.assertEqual(core.streams["cam"].viewers, [])
        self.assertEqual(core.viewing.links, [])
        self.assertTrue(peer.protocol.closed)

    def test_redirect(self) -> None:
        """An address of RTSP is handed on, one of HTTP cannot be."""
        reply = refused(Redirected(url="rtsp://b/cam?token=x"), "rtsp://a/cam")
        self.assertEqual((reply.status, reply.headers), (302, {"Location": "rtsp://b/cam?token=x"}))
        self.assertEqual(refused(Redirected(url="http://b/cam"), "rtsp://a/cam").status, 403)


class AttendanceTests(SynchronousTestCase):
    """The part that RTMP and RTSP share."""

    def test_bytes(self) -> None:
        """Bytes are added up over pauses."""
        viewing = FakeViewing()
        attendance = Attendance(Account(viewing), lambda why: None)
        first, second = FakeSending(lambda why: None, 5), FakeSending(lambda why: None, 7)
        attendance.begin(first)  # type: ignore[arg-type]
        attendance.pause()
        attendance.begin(second)  # type: ignore[arg-type]
        self.assertEqual(viewing.sent, 12)
        attendance.end()
        attendance.end()
        self.assertEqual(viewing.detached, 1)
        attendance.begin(second)  # type: ignore[arg-type]
        self.assertEqual(viewing.links, [])
