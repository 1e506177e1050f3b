"""The HLS routes of archives: segments are those of live, lists come in every form a client takes."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Awaitable, Callable
from typing import Any

from attrs import define, field
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from typing_extensions import override

from restreamer.dvr.timeline import ArchiveHours
from restreamer.errors import Reason, Refused
from restreamer.hls.archive_body import Packed
from restreamer.hls.archive_routes import archive_hls_routes
from restreamer.hls.routes import hls_routes
from restreamer.http1.reply import ChunkedReply, FullReply, HttpRequest, Reply
from restreamer.live.stream import Stream
from restreamer.live.window import LiveWindow
from restreamer.m4f.hour_index import Row
from restreamer.m4f.records import RunInfo
from restreamer.m4f.segment import Segment
from restreamer.media.timebase import TICKS_PER_SECOND
from restreamer.mpegts.segment_muxer import mux_segment
from restreamer.seams import Grant, OpenRequest
from test.dvr.fake_archive import TRACKS, D, FakeArchive, Made, filled, made
from test.e2e.playlists import parse

BASE = 1_700_006_400 - 100
N = BASE // 5


@define(eq=False)
class Node:
    """A gate, and the watch point of one live stream."""

    stream: Stream | None = None
    asked: list[OpenRequest] = field(factory=list)
    watched: int = 0
    refusal: Refused | None = None

    async def open(self, request: OpenRequest) -> Grant:
        self.asked.append(request)
        if self.refusal is not None:
            raise self.refusal
        return Grant(request=request)

    async def watch(self, request: OpenRequest) -> Stream:
        self.watched += 1
        if self.stream is None:
            raise Refused(Reason.NOT_FOUND, "there is no such stream")
        return self.stream


class Writer:
    """Takes chunks. @ivar waiting: bytes that are not sent."""

    def __init__(self) -> None:
        self.parts: list[bytes] = []
        self.waiting = 0

    def write(self, data: bytes) -> None:
        self.parts.append(data)


class RoutesCase(SynchronousTestCase):
    @override
    def setUp(self) -> None:
        self.clock: Any = Clock()
        self.node = Node()
        self.threads = 0

    async def in_thread(self, call: Callable[..., Any], *args: Any) -> Any:
        self.threads += 1
        return call(*args)

    def serve(self, archive: FakeArchive, now: float = BASE + 10_000) -> None:
        self.archive = archive
        self.clock.advance(now - self.clock.seconds())

        def utc() -> int:
            return int(self.clock.seconds() * TICKS_PER_SECOND)

        self.live = hls_routes(self.node, mux_segment, self.clock)
        self.routes = archive_hls_routes(
            ArchiveHours(archive, utc, self.clock.seconds),
            self.node,
            mux_segment,
            self.in_thread,
            self.clock,
            utc,
            live=self.live,
            window=lambda name: self.node.stream.window if self.node.stream is not None else None,
        )

    def answer(self, path: str, query: str = "", method: str = "GET", **headers: str) -> Reply | None:
        outcome = self.routes.route(HttpRequest(method=method, path=path, query=query, headers=headers))
        if isinstance(outcome, Awaitable):

            async def wait() -> Any:
                return await outcome

            found: list[Any] = []
            _ = Deferred.fromCoroutine(wait()).addBoth(found.append)
            if hasattr(found[0], "raiseException"):
                found[0].raiseException()
            return found[0]  # type: ignore[no-any-return]
        return outcome

    def full(self, path: str, query: str = "", **headers: str) -> FullReply:
        reply = self.answer(path, query, **headers)
        assert isinstance(reply, FullReply)
        return reply

    def refused(self, path: str, query: str = "") -> Reason:
        refused: Refused = self.assertRaises(Refused, self.answer, path, query)
        return refused.reason


class Segments(RoutesCase):
    """An hour boundary lies after the fifth one."""

    @override
    def setUp(self) -> None:
        super().setUp()
        self.segments = [
            made(
                (BASE + 75 + index * 5) * TICKS_PER_SECOND,
                breaks=index == 3,
                sequence=int(index >= 3),
            )
            for index in range(8)
        ]
        archive = FakeArchive()
        for segment in self.segments:
            archive.keep(segment)
        self.serve(archive)

    def uris(self, path: str) -> list[str]:
        return [each.uri for each in parse(self.full(path).body.decode()).segments]

    def live_stream(self, count: int) -> None:
        """A live stream whose window holds the newest ones."""
        stream = self.node.stream = Stream("x", LiveWindow(count))
        for segment in self.segments[-count:]:
            stream.window.add(segment, RunInfo(1, self.segments[0].start, b"n" * 16, ()), D)

    def test_what_live_gave(self) -> None:
        """Each file that a list names has the bytes and the tag that live gives."""
        whole = f"archive-{BASE + 75}-40"
        files = self.uris(f"/x/{whole}.m3u8")
        files += [f"tracks-v1/{uri}" for uri in self.uris(f"/x/tracks-v1/mono-{whole}.ts.m3u8")]
        for track in ("v1", "a1"):
            path = f"/x/tracks-{track}/mono-{whole}.fmp4.m3u8"
            files += [f"tracks-{track}/{uri}" for uri in self.uris(path)]
            text = self.full(path).body.decode()
            files.append(f"tracks-{track}/{text.partition('MAP:URI=')[2].split(chr(34))[1]}")
        self.assertEqual(len(set(files)), 34)
        archived = [self.full(f"/x/{file}") for file in files]
        self.assertEqual(self.node.watched, 0)
        self.assertTrue(all(each.part for each in self.node.asked[-34:]))
        self.live_stream(8)
        for file, reply in zip(files, archived, strict=True):
            live = self.live(HttpRequest(method="GET", path=f"/x/{file}"))
            assert isinstance(live, Awaitable)
            said = self.successResultOf(Deferred.fromCoroutine(_result(live)))
            self.assertEqual(said, reply, file)
            self.assertEqual(reply.status, 200)

    def test_the_window_gives_its_own(self) -> None:
        self.live_stream(3)
        old, new = self.segments[1], self.segments[6]
        self.full(f"/x/tracks-v1/{old.number}.m4s")
        self.assertEqual(self.node.watched, 0)
        for number in (new.number, new.number + 1, new.number + 2):
            self.full(f"/x/tracks-v1/{number}.m4s")
        self.assertEqual(self.node.watched, 3)
        self.assertEqual(self.archive.asked.count(new.number), 0)
        self.assertEqual(self.full(f"/x/tracks-v1/{self.segments[0].number - 1}.m4s").status, 404)
        self.assertEqual(self.node.watched, 3)

    def test_made_once(self) -> None:
        path = f"/x/tracks-v1/{self.segments[0].number}.m4s"
        first = self.full(path)
        self.assertIs(self.full(path).body, first.body)
        self.assertEqual(self.archive.asked.count(self.segments[0].number), 1)

    def test_read_once_for_a_crowd(self) -> None:
        held: list[Deferred[None]] = []
        whole = self.archive.segment

        async def segment(name: str, row: Row) -> Segment:
            held.append(Deferred())
            await held[-1]
            return await whole(name, row)

        self.patch(self.archive, "segment", segment)
        path = f"/x/tracks-v1/{self.segments[0].number}.m4s"
        found: list[Any] = []
        for _ in range(100):
            outcome = self.routes.route(HttpRequest(method="GET", path=path))
            assert isinstance(outcome, Awaitable)
            _ = Deferred.fromCoroutine(_result(outcome)).addBoth(found.append)
        self.assertEqual(len(held), 1)
        self.assertEqual(found, [])
        held[0].callback(None)
        self.assertEqual([reply.status for reply in found], [200] * 100)
        self.assertEqual(self.threads, 1)
        self.routes.forget()
        self.patch(self.archive, "segment", whole)
        self.assertEqual(self.full(path), found[0])

    def test_missing(self) -> None:
        """Not there, or only nearly; the second time nobody is asked."""
        for file in (
            "2023/11/14/23/59/35-05001.ts",
            "2023/11/14/23/59/36-05000.ts",
            "2020/11/14/23/59/35-05000.ts",
            "2023/13/14/23/59/35-05000.ts",
            "gap-5.ts",
            f"tracks-v1/{self.segments[0].number - 1}.m4s",
            "tracks-v1/0.m4s",
            f"tracks-v2/{self.segments[0].number}.m4s",
            "tracks-v2/2023/11/14/23/59/35-05000.ts",
            "tracks-v1/init-00000000.mp4",
        ):
            for _ in range(2):
                try:
                    self.assertEqual(self.full(f"/x/{file}").status, 404, file)
                except Refused as refused:
                    self.assertIs(refused.reason, Reason.NOT_FOUND)
        asked = len(self.archive.asked)
        self.full("/x/2023/11/14/23/59/36-05000.ts")
        self.assertEqual(len(self.archive.asked), asked)

    def test_of_a_stream_on_demand(self) -> None:
        """What no archive has yet may be live soon: the stream is asked for."""
        self.assertRaises(Refused, self.answer, f"/x/tracks-v1/{self.segments[-1].number + 1}.m4s")
        self.assertEqual(self.node.watched, 1)
        self.assertEqual(self.full("/x/2023/11/14/22/59/36-05000.ts").status, 404)
        self.assertEqual(self.node.watched, 1)

    def test_damaged(self) -> None:
        self.archive.damaged.add(self.segments[2].number)
        self.assertEqual(self.full(f"/x/tracks-v1/{self.segments[2].number}.m4s").status, 404)
        self.assertEqual(self.routes.files.damaged, 1)
        self.assertEqual(self.full(f"/x/tracks-v1/{self.segments[3].number}.m4s").status, 200)

    def test_away(self) -> None:
        """M22."""
        self.archive.refusal = Refused(Reason.NOT_READY, "the source is away")
        for file in (
            f"tracks-v1/{self.segments[2].number}.m4s",
            "2023/11/14/23/59/35-05000.ts",
            "tracks-v1/init-00000000.mp4",
            f"archive-{BASE}-60.m3u8",
        ):
            self.assertIs(self.refused(f"/x/{file}"), Reason.NOT_READY, file)

    def test_the_gate_is_asked(self) -> None:
        self.node.refusal = Refused(Reason.DENIED, "no")
        for file in (f"archive-{BASE}-60.m3u8", f"tracks-v1/{self.segments[2].number}.m4s"):
            self.assertIs(self.refused(f"/x/{file}", "token=t"), Reason.DENIED)
            self.assertEqual(self.node.asked[-1].token, "t")
            self.assertEqual(self.node.asked[-1].action, "play")
        self.assertEqual(self.archive.asked, [])

    @settings(deadline=None, max_examples=150, derandomize=True)
    @given(
        st.sampled_from(["", "tracks-v1/", "tracks-a1/", "tracks-v9/", "tracks-v1a1/"]),
        st.text(st.sampled_from("0123456789-/.abcdef+%\u0661 now"), max_size=40),
        st.sampled_from([".ts", ".m4s", ".mp4", ".m3u8", ".ts.m3u8", ".fmp4.m3u8", ""]),
        st.sampled_from(
            ["", "archive-", "rewind-", "timeshift_rel-", "2023/11/14/23/59/", "init-", "340001"]
        ),
    )
    def test_any_path(self, folder: str, text: str, ending: str, begin: str) -> None:
        """An answer, a refusal, or not ours; few hours are looked at."""
        self.archive.asked.clear()
        try:
            reply = self.answer(f"/x/{folder}{begin}{text}{ending}", "token=t")
        except Refused:
            reply = None
        self.assertIsInstance(reply, (FullReply, type(None)))
        self.assertLess(len(self.archive.asked), 10)

    def test_others_go_on(self) -> None:
        self.live_stream(4)
        self.assertIn(b"#EXTINF", self.full("/x/index.m3u8").body)
        self.assertIsNone(self.answer("/x/embed.html"))
        self.assertIsNone(self.answer("/other/archive-5-5.m3u8"))
        self.assertIsNone(self.answer("/other/archive-nan-5.m3u8"))
        self.assertIsNone(self.answer("/x/archive-5-5.mp4"))
        self.assertIs(self.refused("/x/archive-nan-5.m3u8"), Reason.BAD_NAME)
        self.assertIs(self.refused("/x/archive-5-5.m3u8"), Reason.NOT_FOUND)
        self.assertEqual(self.full("/x/index.m3u8", f"utc={BASE + 75}").body.count(b"#EXTINF"), 8)
        for method, status in (("POST", 405), ("OPTIONS", 204)):
            reply = self.answer("/x/archive-5-5.m3u8", method=method)
            self.assertEqual(getattr(reply, "status", 0), status)


async def _result(waited: Awaitable[Reply]) -> Reply:
    return await waited


class Numbers(RoutesCase):
    """A segment by its number: few hours are loaded, whatever is between them."""

    def test_few_hours(self) -> None:
        step = TICKS_PER_SECOND * 60
        numbers = [
            each for each in range(28_000_000, 28_000_000 + 60 * 720, 7) if not 100 < each % 9000 < 5000
        ]
        self.serve(filled(Made(each, each * step, step, False, 0) for each in numbers), 29_000_000 * 60)
        files = self.routes.files
        for number in (numbers[0], numbers[-1], numbers[5], numbers[2000], numbers[777]):
            self.archive.asked.clear()
            self.clock.advance(1000)
            self.full_or_404(f"/x/tracks-v1/{number}.m4s")
            hours = {each for each in self.archive.asked if isinstance(each, int) and each < 1_000_000}
            self.assertLessEqual(len(hours), 4, number)
            self.assertEqual(self.archive.asked[-1], number)
        self.archive.asked.clear()
        for number in range(28_008_200, 28_008_250):
            self.full_or_404(f"/x/tracks-v1/{number}.m4s")
        self.assertLessEqual(len(self.archive.asked), 60)
        self.assertEqual(files.damaged, 5)

    def full_or_404(self, path: str) -> None:
        try:
            self.full(path)
        except Refused as refused:
            self.assertIs(refused.reason, Reason.NOT_FOUND)

    def test_init_of_an_old_hour(self) -> None:
        """Looked for in a month; a wrong name costs the hours once."""
        step = TICKS_PER_SECOND * 1200
        first = BASE // 1200
        rows = [Made(first + at, (first + at) * step, step, False, 0, TRACKS) for at in range(2000)]
        archive = filled(rows)
        old = made((BASE - 50) * TICKS_PER_SECOND, tracks=(TRACKS[1],))
        archive.keep(old)
        self.serve(archive, BASE + 3_000_000)
        path = f"/x/tracks-v1/mono-archive-{BASE}-3600.fmp4.m3u8"
        init = self.full(path).body.decode().partition("MAP:URI=")[2].split('"')[1]
        self.archive.asked.clear()
        self.assertEqual(self.full(f"/x/tracks-v1/{init}").status, 200)
        self.assertLessEqual(len(self.archive.asked), 1)
        for wrong in range(3):
            self.full_or_404(f"/x/tracks-v1/init-0000000{wrong}.mp4")
        self.assertLessEqual(len(self.archive.asked), 250)


class Lists(RoutesCase):
    @override
    def setUp(self) -> None:
        super().setUp()
        rows = [
            Made(N + index, (BASE + index * 5) * TICKS_PER_SECOND, D, False, 0) for index in range(14_000)
        ]
        self.serve(filled(rows), BASE + 100_000)
        self.long = f"/x/archive-{BASE}-70000.m3u8"

    def body(self, path: str, query: str = "", **headers: str) -> bytes:
        """Of an answer piece by piece."""
        reply = self.answer(path, query, **headers)
        assert isinstance(reply, ChunkedReply)
        writer = Writer()
        ended: list[str] = []
        reply.start(writer, ended.append)
        while not ended:
            self.clock.advance(0.01)
        self.assertEqual(ended, [""])
        self.assertGreater(len(writer.parts), 15)
        self.assertLess(max(map(len, writer.parts)), 200_000)
        return b"".join(writer.parts)

    def test_every_form(self) -> None:
        plain = self.body(self.long)
        self.assertEqual(len(parse(plain.decode()).segments), 14_000)
        zipped = self.full(self.long, **{"accept-encoding": "gzip, br"})
        self.assertEqual(gzip.decompress(zipped.body), plain)
        one = zlib.decompressobj(31)
        self.assertEqual(one.decompress(zipped.body), plain)
        self.assertTrue(one.eof)
        self.assertEqual(one.unused_data, b"")
        self.assertLess(len(zipped.body), len(plain) // 10)
        self.assertTrue(zipped.etag.endswith('-gz"'))
        self.assertIn(b"Content-Encoding: gzip\r\n", zipped.headers)
        self.assertIn(b"Vary: Accept-Encoding\r\n", zipped.headers)
        self.assertIn(b"max-age=3600\r\n", zipped.headers)
        self.assertIs(self.full(self.long, **{"accept-encoding": "gzip"}), zipped)
        with_token = self.body(self.long, "token=t")
        self.assertEqual(with_token, plain.replace(b".ts\n", b".ts?token=t\n"))
        both = self.body(self.long, "token=t", **{"accept-encoding": "gzip"})
        self.assertEqual(gzip.decompress(both), with_token)
        # The second time nothing is compressed but what is no whole hour.
        packed: list[int] = []
        make = Packed.of

        def counting(text: bytes, level: int = 4) -> Packed:
            packed.append(len(text))
            return make(text, level)

        self.patch(Packed, "of", counting)
        self.assertEqual(self.body(self.long, "token=t", **{"accept-encoding": "gzip"}), both)
        self.assertLess(sum(packed), len(plain) // 8)
        packed.clear()
        self.body(self.long, "token=u", **{"accept-encoding": "gzip"})
        self.assertGreater(sum(packed), len(plain))
        reply = self.answer(self.long, "token=t")
        assert isinstance(reply, ChunkedReply)
        self.assertIn(b"private, max-age=3600\r\n", reply.headers)

    def test_short(self) -> None:
        path = f"/x/archive-{BASE}-100.m3u8"
        plain = self.full(path)
        self.assertTrue(plain.etag)
        self.assertEqual(gzip.decompress(self.full(path, **{"accept-encoding": "gzip"}).body), plain.body)
        token = self.full(path, "token=t", **{"accept-encoding": "gzip"})
        self.assertEqual(gzip.decompress(token.body), plain.body.replace(b".ts\n", b".ts?token=t\n"))
        self.assertEqual(token.etag, "")
        for refused in ("gzip;q=0", "br", "", "gzip; q=0.0"):
            self.assertEqual(self.full(path, **{"accept-encoding": refused}).body, plain.body)

    def test_no_faster_than_it_is_taken(self) -> None:
        reply = self.answer(self.long)
        assert isinstance(reply, ChunkedReply)
        writer = Writer()
        ended: list[str] = []
        _ = reply.start(writer, ended.append)
        writer.waiting = 1 << 20
        for _ in range(10):
            self.clock.advance(0.1)
        self.assertLessEqual(len(writer.parts), 2)
        writer.waiting = 0
        self.clock.advance(0.1)
        self.assertEqual(ended, [""])
        writer = Writer()
        writer.waiting = 1 << 20
        reply.start(writer, self.fail)()
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_growing(self) -> None:
        self.assertIn(b"max-age=1\r\n", self.full(f"/x/archive-{BASE + 69_000}-40000.m3u8").headers)
        self.assertIn(b"no-store\r\n", self.full(f"/x/timeshift_abs-{BASE}.m3u8").headers)
