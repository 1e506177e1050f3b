"""The HLS routes over real windows: what is asked of the gate, what is answered, what is cached."""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from typing_extensions import override

from restreamer.errors import Reason, Refused
from restreamer.hls.routes import hls_routes
from restreamer.http1.play_request import query_value
from restreamer.http1.reply import FullReply, HttpRequest
from restreamer.live.stream import Stream
from restreamer.live.window import LiveWindow
from restreamer.m4f.records import RunInfo
from restreamer.m4f.segment import SegmentBuilder, SegmentOpening
from restreamer.media.frame import Frame
from restreamer.media.timebase import TICKS_PER_SECOND
from restreamer.media.track import Tracks
from restreamer.seams import OpenRequest
from restreamer.testing.media import START, aac_track, h264_track
from test.viewers.viewing import FakeViewing

_D = 5 * TICKS_PER_SECOND
_RUN = RunInfo(1, START, b"n" * 16, ())
_TRACKS = (h264_track(1, 1_000_000), aac_track(2, 100_000))


class Streams:
    """A watch point over a dictionary; remembers what it was asked."""

    def __init__(self) -> None:
        self.streams: dict[str, Stream] = {}
        self.asked: list[OpenRequest] = []
        self.packed: list[tuple[int, str, bool]] = []

    async def watch(self, request: OpenRequest) -> Stream:
        self.asked.append(request)
        stream = self.streams.get(request.name)
        if stream is None:
            raise Refused(Reason.NOT_FOUND, "there is no such stream")
        return stream

    def pack(
        self, tracks: Tracks, frames: Sequence[Frame], *, title: str = "", discontinuity: bool = False
    ) -> bytes:
        self.packed.append((frames[0].dts, title, discontinuity))
        return b"G" + b"".join(frame.data for frame in frames)

    def add(self, name: str, tracks: Tracks = _TRACKS) -> Stream:
        stream = self.streams[name] = Stream(name, LiveWindow(4))
        for index in range(8):
            grow(stream, index, tracks)
        return stream


def grow(stream: Stream, index: int, tracks: Tracks = _TRACKS) -> None:
    start = START + index * _D
    builder = SegmentBuilder(SegmentOpening(start // _D, start, index == 5, True, int(index >= 5), tracks))
    builder.add(Frame(1, start, 3600, True, b"segment %d" % index))
    stream.window.add(builder.close(_D), _RUN, _D)


class Routes(SynchronousTestCase):
    @override
    def setUp(self) -> None:
        self.streams = Streams()
        self.clock: Any = Clock()
        self.stream = self.streams.add("live/one")
        self.route = hls_routes(self.streams, self.streams.pack, self.clock)

    def ask(self, path: str, query: str = "", method: str = "GET", **headers: str) -> FullReply | None:
        """What the route answers; None when the request is not its own."""
        outcome = self.route(
            HttpRequest(method=method, path=path, query=query, headers=headers, peer="192.0.2.1")
        )
        if isinstance(outcome, Awaitable):
            outcome = self.successResultOf(Deferred.fromCoroutine(_result(outcome)))
        assert outcome is None or isinstance(outcome, FullReply)
        return outcome

    def test_how_far_a_viewer_is(self) -> None:
        """A segment that is given tells the session of its end; a playlist or what is not there does not."""
        line = [each for each in self.body("/live/one/index.m3u8").splitlines() if each.endswith(".ts")][-1]
        number = self.stream.window.last_number
        viewing = FakeViewing()
        for path, status in (
            ("index.m3u8", 200),
            (line, 200),
            (f"tracks-v1/{number}.m4s", 200),
            ("2020/01/01/00/00/00-05000.ts", 404),
            ("tracks-v1/1.m4s", 404),
        ):
            request = HttpRequest(
                method="GET", path=f"/live/one/{path}", query="", headers={}, peer="192.0.2.1"
            )
            request.account.viewing = viewing
            outcome: Any = self.route(request)
            reply: Any = self.successResultOf(Deferred.fromCoroutine(_result(outcome)))
            self.assertEqual(reply.status, status, path)
        self.assertEqual(viewing.shown, [START + 8 * _D] * 2)

    def body(self, path: str, query: str = "") -> str:
        reply = self.ask(path, query)
        assert reply is not None
        self.assertEqual(reply.status, 200)
        return reply.body.decode()

    def uris(self, playlist: str) -> list[str]:
        return [line for line in playlist.splitlines() if not line.startswith("#")]

    def test_media_playlist_under_its_names(self) -> None:
        playlist = self.body("/live/one/index.m3u8")
        for file in ("playlist.m3u8", "video.m3u8", "mono.m3u8"):
            self.assertEqual(self.body(f"/live/one/{file}"), playlist)
        self.assertEqual(len(self.uris(playlist)), 5, "three target durations")
        self.assertIn("#EXT-X-TARGETDURATION:7\n", playlist)
        self.assertIn(f"#EXT-X-MEDIA-SEQUENCE:{(START + 3 * _D) // _D}\n", playlist)
        reply = self.ask("/live/one/index.m3u8")
        assert reply is not None
        self.assertIn(b"Content-Type: application/vnd.apple.mpegurl\r\n", reply.headers)
        self.assertIn(b"Access-Control-Allow-Origin: *\r\n", reply.headers)
        self.assertIn(b"Cache-Control: max-age=1\r\n", reply.headers)

    def test_rendered_once_per_version(self) -> None:
        first = self.ask("/live/one/index.m3u8")
        self.assertIs(self.ask("/live/one/index.m3u8"), first)
        grow(self.stream, 8)
        second = self.ask("/live/one/index.m3u8")
        assert first is not None and second is not None
        self.assertIsNot(second, first)
        self.assertNotEqual(second.etag, first.etag)

    def test_url_prefix(self) -> None:
        """Segments are fetched from the outer cache; the body is shared, and anew when the option changes."""
        plain = self.ask("/live/one/index.m3u8")
        relative = self.uris(self.body("/live/one/index.m3u8"))
        for prefix, base in (
            ("https://cdn.example.com", "https://cdn.example.com/live/one/"),
            ("https://cdn.example.com:8443/a b/", "https://cdn.example.com:8443/a%20b/live/one/"),
            ("//c\n#EXT-X-ENDLIST", "//c%0A#EXT-X-ENDLIST/live/one/"),
        ):
            self.stream.url_prefix = prefix
            self.assertEqual(self.uris(self.body("/live/one/index.m3u8")), [base + uri for uri in relative])
        self.assertIs(self.ask("/live/one/index.m3u8"), self.ask("/live/one/index.m3u8"))
        self.assertIn(f"{base}{relative[0]}?token=t\n", self.body("/live/one/index.m3u8", "token=t"))
        self.assertEqual(self.uris(self.body("/live/one/master.m3u8")), ["video.m3u8"])
        segment = self.ask(f"/live/one/{relative[0]}")
        assert segment is not None and plain is not None
        self.assertEqual(segment.status, 200)
        self.stream.url_prefix = ""
        again = self.ask("/live/one/index.m3u8")
        assert again is not None
        self.assertEqual(again.body, plain.body)

    def test_segments(self) -> None:
        uris = self.uris(self.body("/live/one/index.m3u8"))
        reply = self.ask(f"/live/one/{uris[1]}")
        assert reply is not None
        self.assertEqual((reply.status, reply.body), (200, b"Gsegment 4"))
        self.assertIn(b"Content-Type: video/mp2t\r\n", reply.headers)
        self.assertIn(b"immutable", reply.headers)
        again = self.ask(f"/live/one/{uris[1]}")
        assert again is not None
        self.assertIs(again.body, reply.body)
        self.assertEqual(again.etag, reply.etag)
        self.assertEqual(self.streams.packed, [(START + 4 * _D, "live/one", False)])

    def test_unlisted_segments_are_still_there_and_expired_ones_are_not(self) -> None:
        for index, status in [(0, 404), (1, 200), (2, 200), (3, 200), (7, 200), (8, 404)]:
            second = 20 + 5 * index
            uri = f"2023/11/14/22/{13 + second // 60}/{second % 60:02d}-05000.ts"
            reply = self.ask(f"/live/one/{uri}")
            assert reply is not None
            self.assertEqual(reply.status, status, index)
        for path in ["gap-1.ts", "2023/11/14/22/13/40-04999.ts", "2023/11/14/22/13/40-05000-1.ts"]:
            reply = self.ask(f"/live/one/{path}")
            assert reply is not None
            self.assertEqual(reply.status, 404)
            self.assertIn(b"Cache-Control: max-age=1\r\n", reply.headers)

    def test_master(self) -> None:
        master = self.body("/live/one/master.m3u8")
        self.assertIn('CODECS="avc1.64001E,mp4a.40.2"', master)
        self.assertEqual(self.uris(master), ["video.m3u8"])
        self.streams.add("two", (*_TRACKS, aac_track(3)))
        self.assertEqual(self.uris(self.body("/two/index.m3u8")), ["tracks-v1a1/mono.ts.m3u8"])
        self.assertEqual(len(self.uris(self.body("/two/video.m3u8"))), 5)

    def test_token_is_handed_down_and_never_forges_a_line(self) -> None:
        plain = self.body("/live/one/index.m3u8")
        playlist = self.body("/live/one/index.m3u8", "x=1&token=a%0Ab%26%2F")
        self.assertEqual(playlist.replace("?token=a%0Ab%26%2F", ""), plain)
        self.assertTrue(all(uri.endswith(".ts?token=a%0Ab%26%2F") for uri in self.uris(playlist)))
        self.assertTrue(self.body("/live/one/master.m3u8", "token=t").endswith("video.m3u8?token=t\n"))
        reply = self.ask("/live/one/index.m3u8", "token=t")
        assert reply is not None
        self.assertIn(b"Cache-Control: private", reply.headers)
        self.assertEqual(self.body("/live/one/index.m3u8"), plain)

    def test_the_gate_is_asked_every_time(self) -> None:
        uri = self.uris(self.body("/live/one/index.m3u8"))[0]
        self.ask(f"/live/one/{uri}", "token=t", **{"user-agent": "p" * 999, "referer": "r"})
        playlist, segment = self.streams.asked
        self.assertEqual((playlist.name, playlist.action, playlist.proto), ("live/one", "play", "hls"))
        self.assertEqual((segment.name, segment.token, segment.peer), ("live/one", "t", "192.0.2.1"))
        self.assertEqual((len(segment.user_agent), segment.referer), (256, "r"))

    def test_refusals(self) -> None:
        for path, reason in [("/none/index.m3u8", Reason.NOT_FOUND)]:
            outcome = self.route(HttpRequest(method="GET", path=path))
            assert isinstance(outcome, Awaitable)
            failure = self.failureResultOf(Deferred.fromCoroutine(_result(outcome)), Refused)
            self.assertEqual(failure.value.reason, reason)
        for path in ["/-x/index.m3u8", "/a b/index.m3u8", "/a//index.m3u8", "/" + "a/" * 9 + "index.m3u8"]:
            with self.assertRaises(Refused):
                self.route(HttpRequest(method="GET", path=path))

    def test_stream_without_segments(self) -> None:
        self.streams.streams["new"] = Stream("new", LiveWindow(4))
        outcome = self.route(HttpRequest(method="GET", path="/new/index.m3u8"))
        assert isinstance(outcome, Awaitable)
        self.failureResultOf(Deferred.fromCoroutine(_result(outcome)), Refused)

    def test_not_ours(self) -> None:
        for path in ["/", "/index.m3u8", "/a/other.m3u8", "/a/b.ts", "/a/1.ts", "/a/mpegts", "/a/index.mpd"]:
            self.assertIsNone(self.ask(path), path)
        self.assertEqual(self.streams.asked, [])

    def test_methods(self) -> None:
        preflight = self.ask("/live/one/index.m3u8", method="OPTIONS")
        assert preflight is not None
        self.assertEqual(preflight.status, 204)
        self.assertIn(b"Access-Control-Allow-Headers: Range", preflight.headers)
        refused = self.ask("/live/one/index.m3u8", method="POST")
        assert refused is not None
        self.assertEqual(refused.status, 405)
        self.assertIn(b"Allow: GET, HEAD, OPTIONS\r\n", refused.headers)
        self.assertEqual(self.streams.asked, [])

    @settings(deadline=None, max_examples=200, derandomize=True)
    @given(
        st.lists(
            st.sampled_from(
                ["/", "live", "one", "index.m3u8", ".ts", "-", ".", "gap-1", "2023/11/14/22/13/20"]
            )
            | st.text(max_size=5),
            max_size=8,
        ).map("".join),
        st.sampled_from(["GET", "HEAD", "OPTIONS", "DELETE"]),
    )
    def test_random_paths_never_raise(self, path: str, method: str) -> None:
        try:
            outcome = self.route(HttpRequest(method=method, path="/" + path))
            if isinstance(outcome, Awaitable):
                result = Deferred.fromCoroutine(_result(outcome))
                _ = result.addErrback(lambda failure: failure.trap(Refused))
                self.successResultOf(result)
        except Refused:
            pass

    def test_windows_are_not_kept(self) -> None:
        self.body("/live/one/index.m3u8")
        routes: Any = getattr(self.route, "__self__")  # noqa: B009
        self.assertEqual(len(routes._known), 1)
        self.streams.streams.clear()
        del self.stream
        self.assertEqual(len(routes._known), 0)


class Queries(SynchronousTestCase):
    def test_table(self) -> None:
        for query, value in [
            ("", ""),
            ("token=a", "a"),
            ("x=1&token=a+b%20c&token=d", "a b c"),
            ("xtoken=a", ""),
            ("token", ""),
            ("token=%", "%"),
            ("token=%ff", "\ufffd"),
        ]:
            self.assertEqual(query_value(query, "token"), value, query)


async def _result(outcome: Awaitable[Any]) -> Any:
    return await outcome
