"""Tests of L{restreamer.mpegts.http_play} and of the refusals it shares with other routes."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import cast

from attrs import define, field
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from restreamer.errors import Reason, Redirected, Refused
from restreamer.http1.refusal import STATUS_OF_REASON, refusal_reply
from restreamer.http1.reply import EndlessReply, FullReply, HttpRequest, Reply
from restreamer.media.selection import TrackSelection
from restreamer.media.track import TrackKind, Tracks
from restreamer.mpegts.http_play import mpegts_route
from restreamer.seams import FeedViewer, OpenRequest, Playable, ViewerTransport


@define(eq=False)
class RecordingViewer:
    """A viewer that remembers that it left."""

    left: bool = False
    bytes_sent: int = 0

    def leave(self) -> None:
        """See L{FeedViewer.leave}."""
        self.left = True

    def write_aside(self, data: bytes) -> None:
        """See L{FeedViewer.write_aside}."""


@define(eq=False)
class RecordingStream:
    """A play point of one stream that remembers who asked."""

    refused: Refused | None = None
    untold: Refused | None = None
    selections: list[TrackSelection | None] = field(factory=list)
    asked: list[OpenRequest] = field(factory=list)
    joined: list[tuple[str, object]] = field(factory=list)
    viewer: RecordingViewer = field(factory=RecordingViewer)

    async def play(self, request: OpenRequest) -> Playable:
        """See L{restreamer.seams.PlayPoint.play}."""
        self.asked.append(request)
        if self.refused is not None:
            raise self.refused
        return self

    def tracks(self, container: str, selection: TrackSelection | None = None) -> Tracks:
        """See L{Playable.tracks}."""
        if self.untold is not None:
            raise self.untold
        return ()

    def join(
        self,
        container: str,
        transport: ViewerTransport,
        ended: Callable[[str], None],
        selection: TrackSelection | None = None,
    ) -> FeedViewer:
        """See L{Playable.join}."""
        if self.untold is not None:
            raise self.untold
        self.joined.append((container, transport))
        self.selections.append(selection)
        return self.viewer


class RouteTests(SynchronousTestCase):
    """C{/NAME/mpegts}."""

    def ask(self, stream: RecordingStream, request: HttpRequest) -> Reply:
        """The reply to a request that the route takes."""
        answer = mpegts_route(stream)(request)
        self.assertIsNotNone(answer)
        if isinstance(answer, FullReply):
            return answer
        coroutine = cast("Awaitable[Reply]", answer)

        async def wait() -> Reply:
            return await coroutine

        return self.successResultOf(Deferred.fromCoroutine(wait()))

    def test_not_ours(self) -> None:
        route = mpegts_route(RecordingStream())
        for path in (
            "/",
            "/mpegts",
            "//mpegts"[1:],
            "/cam",
            "/cam/mpegts/",
            "/cam/index.m3u8",
            "/cam/mpegts2",
        ):
            self.assertIsNone(route(HttpRequest(method="GET", path=path)), path)

    def test_play(self) -> None:
        stream = RecordingStream()
        reply = self.ask(
            stream,
            HttpRequest(
                method="GET",
                path="/a/cam-1/mpegts",
                query="x=1&token=s%2Bs+s&token=2",
                headers={"user-agent": "u" * 300, "referer": "r"},
                peer="192.0.2.1",
            ),
        )
        assert isinstance(reply, EndlessReply)
        for line in (
            b"Content-Type: video/mp2t",
            b"Cache-Control: no-store",
            b"Access-Control-Allow-Origin: *",
        ):
            self.assertIn(line + b"\r\n", reply.headers)
        request = stream.asked[0]
        self.assertEqual((request.name, request.action, request.proto), ("a/cam-1", "play", "tshttp"))
        self.assertEqual((request.peer, request.token, request.referer), ("192.0.2.1", "s+s s", "r"))
        self.assertEqual(len(request.user_agent), 256)
        self.assertNotIn("s+s", repr(request))
        self.assertEqual(stream.joined, [])
        transport = cast("ViewerTransport", object())
        stop = reply.start(transport, lambda reason: None)
        self.assertEqual(stream.joined, [("mpegts", transport)])
        self.assertFalse(stream.viewer.left)
        stop()
        self.assertTrue(stream.viewer.left)

    def test_selection(self) -> None:
        stream = RecordingStream()
        reply = self.ask(stream, HttpRequest(method="GET", path="/cam/mpegts", query="filter.tracks=a2v1&x"))
        assert isinstance(reply, EndlessReply)
        reply.start(cast("ViewerTransport", object()), lambda reason: None)
        self.assertEqual(stream.selections, [TrackSelection(((TrackKind.VIDEO, 1), (TrackKind.AUDIO, 2)))])

    def test_bad_selection(self) -> None:
        for value in ("x1", "v0", "v", "v1,a1", "v1a", "1", "v1" * 40, "v100", "v1%0a"):
            stream = RecordingStream()
            reply = self.ask(
                stream, HttpRequest(method="GET", path="/cam/mpegts", query=f"filter.tracks={value}")
            )
            assert isinstance(reply, FullReply)
            self.assertEqual((reply.status, stream.asked), (400, []), value)

    def test_no_such_track(self) -> None:
        stream = RecordingStream(untold=Refused(Reason.UNSUPPORTED, "nothing to carry"))
        reply = self.ask(stream, HttpRequest(method="GET", path="/cam/mpegts"))
        assert isinstance(reply, FullReply)
        self.assertEqual((reply.status, reply.body), (415, b"nothing to carry\n"))

    def test_gone_between_the_head_and_the_body(self) -> None:
        stream = RecordingStream()
        reply = self.ask(stream, HttpRequest(method="GET", path="/cam/mpegts"))
        assert isinstance(reply, EndlessReply)
        stream.untold = Refused(Reason.UNSUPPORTED, "nothing to carry")
        ended: list[str] = []
        reply.start(cast("ViewerTransport", object()), ended.append)()
        self.assertEqual(ended, ["nothing to carry"])

    def test_head(self) -> None:
        stream = RecordingStream()
        self.assertIsInstance(self.ask(stream, HttpRequest(method="HEAD", path="/cam/mpegts")), EndlessReply)
        self.assertEqual((len(stream.asked), stream.joined), (1, []))

    def test_other_methods(self) -> None:
        for method in ("POST", "PUT", "OPTIONS", "DELETE"):
            stream = RecordingStream()
            reply = self.ask(stream, HttpRequest(method=method, path="/cam/mpegts"))
            assert isinstance(reply, FullReply)
            self.assertEqual((reply.status, stream.asked), (405, []))
            self.assertIn(b"Allow: GET, HEAD, POST, PUT\r\n", reply.headers)

    def test_bad_name(self) -> None:
        stream = RecordingStream()
        for path in (
            "/-x/mpegts",
            "/a b/mpegts",
            "/a//b/mpegts",
            "/" + "a/" * 9 + "mpegts",
            "/" + "a" * 300 + "/mpegts",
        ):
            reply = self.ask(stream, HttpRequest(method="GET", path=path))
            assert isinstance(reply, FullReply)
            self.assertEqual(reply.status, 400, path)
        self.assertEqual(stream.asked, [])

    def test_refused(self) -> None:
        for reason, status in STATUS_OF_REASON.items():
            stream = RecordingStream(refused=Refused(reason, "no such thing"))
            reply = self.ask(stream, HttpRequest(method="GET", path="/cam/mpegts"))
            assert isinstance(reply, FullReply)
            self.assertEqual((reply.status, reply.body), (status, b"no such thing\n"))


class RefusalTests(SynchronousTestCase):
    """L{refusal_reply}."""

    def test_every_reason_has_a_status(self) -> None:
        expected = {
            Reason.BAD_NAME: 400,
            Reason.NOT_FOUND: 404,
            Reason.DENIED: 403,
            Reason.BUSY: 409,
            Reason.NOT_READY: 503,
            Reason.OVERLOADED: 503,
            Reason.UNSUPPORTED: 415,
        }
        self.assertEqual(expected, STATUS_OF_REASON)
        self.assertEqual(set(expected), set(Reason))

    def test_headers(self) -> None:
        for reason in Reason:
            reply = refusal_reply(Refused(reason, "text"))
            for line in (
                b"Content-Type: text/plain",
                b"Cache-Control: no-store",
                b"Access-Control-Allow-Origin: *",
            ):
                self.assertIn(line, reply.headers)
            self.assertTrue(reply.headers.endswith(b"\r\n"))
            self.assertEqual(b"Retry-After: 1\r\n" in reply.headers, reason is Reason.NOT_READY)
            self.assertEqual(b"Retry-After: 5\r\n" in reply.headers, reason is Reason.OVERLOADED)

    def test_redirected(self) -> None:
        """Another node has it: found there, with path and query, marked; nowhere without a request."""
        refused = Redirected("https://b.example:8443")
        for path, query, there in (
            ("/live/a/mpegts", "", "/live/a/mpegts?redirected=1"),
            ("/live/a/index.m3u8", "token=a%20b", "/live/a/index.m3u8?token=a%20b&redirected=1"),
            ("/a b/\u00fc", "", "/a%20b/%C3%BC?redirected=1"),
        ):
            reply = refusal_reply(refused, HttpRequest(method="GET", path=path, query=query))
            self.assertEqual(reply.status, 302)
            self.assertIn(f"Location: https://b.example:8443{there}\r\n".encode(), reply.headers)
            self.assertIn(b"Access-Control-Allow-Origin: *\r\n", reply.headers)
        self.assertEqual(refusal_reply(refused).status, 404)
