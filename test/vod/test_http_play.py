"""The route of HTTP MPEG-TS of files."""

from __future__ import annotations

from collections.abc import Coroutine
from pathlib import Path
from typing import Any, cast

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from typing_extensions import override

from restreamer.errors import Reason, Refused
from restreamer.http1.play_request import query_value
from restreamer.http1.reply import EndlessReply, FullReply, HttpRequest, Reply
from restreamer.seams import Grant, OpenRequest
from restreamer.vod.http_play import file_mpegts_route
from test.vod.fakes import Threads, film, film_of_vp9, library, packaged
from test.vod.test_paced import Transport


class Doorman:
    """A gate that remembers, and refuses a token."""

    def __init__(self) -> None:
        self.asked: list[OpenRequest] = []

    async def open(self, request: OpenRequest) -> Grant:
        self.asked.append(request)
        if request.token == "bad":
            raise Refused(Reason.DENIED, "no")
        return Grant(request=request)


class RouteTests(SynchronousTestCase):
    @override
    def setUp(self) -> None:
        folder = Path(self.mktemp()).absolute()
        folder.mkdir()
        (folder / "a b.mp4").write_bytes(film())
        (folder / "text.mp4").write_bytes(b"hello")
        (folder / "vp9.mp4").write_bytes(film_of_vp9())
        self.clock = Clock()
        self.files = packaged(library(folder, self.clock, Threads()))
        self.gate = Doorman()
        self.streams: set[str] = set()
        self.full = False
        self.route = file_mpegts_route(
            self.files, self.gate, self.clock, self.streams.__contains__, lambda: self.full
        )

    def ask(self, path: str, method: str = "GET", query: str = "", **headers: str) -> Reply | None:
        reply = self.route(
            HttpRequest(method=method, path=path, query=query, peer="192.0.2.1", headers=headers)
        )
        if reply is None or isinstance(reply, FullReply):
            return reply
        return self.successResultOf(Deferred.fromCoroutine(cast("Coroutine[Any, Any, Reply]", reply)))

    def status(self, path: str, **how: str) -> int:
        reply = self.ask(path, **how)
        assert isinstance(reply, FullReply), reply
        return reply.status

    def test_plays(self) -> None:
        reply = self.ask("/films/a b.mp4/mpegts", query="x=1&token=t%20t", **{"user-agent": "U"})
        assert isinstance(reply, EndlessReply)
        self.assertIn(b"Content-Type: video/mp2t\r\n", reply.headers)
        (asked,) = self.gate.asked
        self.assertEqual(
            (asked.name, asked.proto, asked.action, asked.token, asked.user_agent, asked.peer),
            ("films/a b.mp4", "tshttp", "play", "t t", "U", "192.0.2.1"),
        )
        transport, ends = Transport(), list[str]()
        reply.start(transport, ends.append)
        for _ in range(1000):
            transport.drain()
            self.clock.advance(0.1)
        self.assertEqual(ends, ["end of file"])
        index = self.successResultOf(Deferred.fromCoroutine(self.files.index("films/a b.mp4")))
        bodies = [
            self.successResultOf(
                Deferred.fromCoroutine(self.files.ts("films/a b.mp4", index.version, n))
            ).body
            for n in range(len(index))
        ]
        self.assertEqual(bytes(transport.data), b"".join(bodies))
        self.assertEqual(len(transport.data) % 188, 0)

    def test_not_ours(self) -> None:
        for path in (
            "/films/mpegts",
            "/live/x/mpegts",
            "/mpegts",
            "/films/a b.mp4",
            "/films/a b.mp4/index.m3u8",
        ):
            self.assertIsNone(self.ask(path), path)
        self.streams.add("films/a b.mp4")
        self.assertIsNone(self.ask("/films/a b.mp4/mpegts"))
        self.assertEqual(self.gate.asked, [])

    def test_refused(self) -> None:
        self.assertEqual(self.status("/films/none.mp4/mpegts"), 404)
        self.assertEqual(self.status("/films/text.mp4/mpegts"), 415)
        reply = self.ask("/films/vp9.mp4/mpegts")
        assert isinstance(reply, FullReply)
        self.assertEqual((reply.status, b"VP9" in reply.body), (415, True))
        self.assertEqual(self.status("/films/a b.mp4/mpegts", method="POST"), 405)
        self.assertEqual(self.status("/films/a b.mp4/mpegts", query="token=bad"), 403)
        self.assertEqual(self.status("/films/none.mp4/mpegts", query="token=bad"), 403)
        self.full = True
        self.assertEqual(self.status("/films/a b.mp4/mpegts"), 503)

    def test_nothing_is_kept_when_memory_is_short(self) -> None:
        name = "films/a b.mp4"
        library_of = self.files._libraries[0]
        for crowded, kept in ((False, 1), (True, 0)):
            self.patch(self.files, "_crowded", lambda crowded=crowded: crowded)
            index = self.successResultOf(Deferred.fromCoroutine(self.files.index(name)))
            self.successResultOf(Deferred.fromCoroutine(self.files.ts(name, index.version, int(crowded))))
            self.assertEqual(len(self.files._kept), kept)
            self.assertEqual(len(library_of._segments), kept)  # type: ignore[attr-defined]

    def test_tokens(self) -> None:
        for query, token in (
            ("", ""),
            ("a=b", ""),
            ("token=x&token=y", "x"),
            ("token=%2F+", "/ "),
            ("token", ""),
        ):
            self.assertEqual(query_value(query, "token"), token)
        self.assertEqual(len(query_value("token=" + "x" * 9999, "token")), 1024)
