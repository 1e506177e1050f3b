"""HLS of files: playlists that end, segments whose name is their content."""

from __future__ import annotations

import re
from array import array
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, cast

from attrs import evolve
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from typing_extensions import override

from restreamer.errors import Reason, Refused
from restreamer.hls import file_routes
from restreamer.hls.file_playlist import (
    file_master_playlist,
    file_playlist,
    file_segment_uri,
    parse_file_segment_uri,
)
from restreamer.hls.file_routes import file_hls_routes
from restreamer.http1.reply import FullReply, HttpRequest
from restreamer.m4f.file_index import FileIndex
from restreamer.media.timebase import TICKS_PER_SECOND
from restreamer.testing.media import aac_track, h264_track
from test.vod.fakes import Threads, film, film_of_vp9, library, packaged
from test.vod.test_http_play import Doorman

INDEX = FileIndex(
    0xABC,
    900_000,
    (h264_track(), aac_track()),
    array("I", [6 * TICKS_PER_SECOND, 4 * TICKS_PER_SECOND, 49_545]),
    array("I", [600_000, 400_000, 1]),
)


class PlaylistTests(SynchronousTestCase):
    def test_media(self) -> None:
        self.assertEqual(
            file_playlist(INDEX),
            "#EXTM3U\n#EXT-X-VERSION:3\n#EXT-X-PLAYLIST-TYPE:VOD\n#EXT-X-TARGETDURATION:6\n"
            "#EXT-X-MEDIA-SEQUENCE:0\n"
            "#EXTINF:6.000,\n0-0000000000000abc.ts\n"
            "#EXTINF:4.000,\n1-0000000000000abc.ts\n"
            "#EXTINF:0.551,\n2-0000000000000abc.ts\n"
            "#EXT-X-ENDLIST\n",
        )

    def test_target_duration(self) -> None:
        """No EXTINF rounds to more than it (RFC 8216 section 4.3.3.1)."""
        for ticks, target in ((1, 1), (45_000, 1), (134_954, 1), (135_000, 2), (494_955, 6), (5_400_000, 60)):
            index = FileIndex(1, 0, (), array("I", [ticks]), array("I", [1]))
            self.assertIn(f"TARGETDURATION:{target}\n", file_playlist(index), ticks)

    def test_master(self) -> None:
        text = file_master_playlist("video.m3u8", INDEX)
        self.assertTrue(text.endswith("\nvideo.m3u8\n"), text)
        self.assertIn("BANDWIDTH=912032,", text)
        self.assertIn("CODECS=", text)

    def test_names(self) -> None:
        self.assertEqual(parse_file_segment_uri(file_segment_uri(0xABC, 17)), (0xABC, 17))
        for wrong in (
            "01-0000000000000abc.ts",
            "1-abc.ts",
            "1-0000000000000ABC.ts",
            "x.ts",
            "-1-" + "0" * 16,
        ):
            self.assertIsNone(parse_file_segment_uri(wrong))


class RouteTests(SynchronousTestCase):
    @override
    def setUp(self) -> None:
        folder = Path(self.mktemp()).absolute()
        (folder / "sub").mkdir(parents=True)
        (folder / "sub" / "ä b.mp4").write_bytes(film())
        (folder / "vp9.mp4").write_bytes(film_of_vp9())
        self.name = "films/sub/ä b.mp4"
        self.gate = Doorman()
        self.streams: set[str] = set()
        self.threads = Threads()
        files = packaged(library(folder, Clock(), Threads()))
        self.route = file_hls_routes(files, self.gate, self.threads, self.streams.__contains__)

    def ask(self, file: str, method: str = "GET", query: str = "", name: str = "") -> FullReply | None:
        reply = self.route(HttpRequest(method=method, path=f"/{name or self.name}/{file}", query=query))
        if reply is None or isinstance(reply, FullReply):
            return reply
        got = self.successResultOf(Deferred.fromCoroutine(cast("Coroutine[Any, Any, FullReply]", reply)))
        assert isinstance(got, FullReply)
        return got

    def good(self, file: str, **how: str) -> FullReply:
        reply = self.ask(file, **how)
        assert reply is not None
        return reply

    def uris(self) -> list[str]:
        text = self.good("index.m3u8").body.decode()
        return [line for line in text.splitlines() if not line.startswith("#")]

    def test_playlists(self) -> None:
        index = self.good("index.m3u8")
        self.assertEqual((index.status, index.body.count(b"#EXTINF")), (200, 4))
        self.assertIn(
            b"mpegurl\r\nCache-Control: max-age=5\r\nAccess-Control-Allow-Origin: *\r\n", index.headers
        )
        self.assertTrue(index.etag)
        for same in ("playlist.m3u8", "video.m3u8", "mono.m3u8"):
            self.assertEqual(self.good(same).body, index.body)
        self.assertIn(b"EXT-X-STREAM-INF", self.good("master.m3u8").body)
        self.assertIs(self.good("index.m3u8"), index)
        self.assertEqual({(asked.name, asked.proto) for asked in self.gate.asked}, {(self.name, "hls")})

    def test_segments(self) -> None:
        uris = self.uris()
        replies = [self.good(uri) for uri in uris]
        self.assertEqual({reply.status for reply in replies}, {200})
        self.assertTrue(all(reply.body[0] == 0x47 and len(reply.body) % 188 == 0 for reply in replies))
        self.assertEqual(len({reply.etag for reply in replies}), 4)
        self.assertEqual([asked.part for asked in self.gate.asked], [False] + [True] * 4)
        self.assertIn(b"immutable", replies[0].headers)
        self.assertIs(self.good(uris[0]).body, replies[0].body)

    def test_not_there(self) -> None:
        (first, *_) = self.uris()
        self.assertEqual(self.good("0" + first).status, 404)
        for uri in ("9" + first[1:], first[:-4] + "f.ts"):
            self.refused(uri)
        self.refused("index.m3u8", name="films/none.mp4")

    def test_nothing_that_can_be_carried(self) -> None:
        for file in ("video.m3u8", "index.ts.m3u8"):
            refused = self.refused(file, name="films/vp9.mp4")
            self.assertEqual((refused.reason, "VP9" in refused.text), (Reason.UNSUPPORTED, True))

    def test_cmaf(self) -> None:
        """Each track has a playlist, and every file that a playlist names is there."""
        master = self.good("index.fmp4.m3u8").body.decode()
        self.assertIn("\ntracks-v1/mono.fmp4.m3u8\n", master)
        self.assertIn("CODECS=", master)
        for track in re.findall(r"tracks-(\w\d)/", master):
            text = self.good(f"tracks-{track}/mono.fmp4.m3u8").body.decode()
            self.assertEqual(text.count("#EXTINF"), self.good("index.m3u8").body.count(b"#EXTINF"))
            self.assertTrue(text.endswith("#EXT-X-ENDLIST\n"))
            files = re.findall(r"init-\w+\.mp4|\d+-\w+\.m4s", text)
            self.assertEqual(len(files), 5)
            replies = [self.good(f"tracks-{track}/{file}") for file in files]
            self.assertEqual({reply.status for reply in replies}, {200})
            self.assertIn(b"video/mp4" if track == "v1" else b"audio/mp4", replies[0].headers)
            self.assertEqual([reply.body[4:8] for reply in replies], [b"ftyp", *[b"moof"] * 4])
            self.assertEqual(len({reply.etag for reply in replies}), 5)
        self.assertTrue(all(asked.proto == "hls" for asked in self.gate.asked))
        token = self.good("tracks-v1/mono.fmp4.m3u8", query="token=t").body.decode()
        self.assertEqual(token.count(".m4s?token=t\n") + token.count('.mp4?token=t"'), 5)

    def test_cmaf_where_codecs_ask_for_it(self) -> None:
        text = self.good("index.m3u8", name="films/vp9.mp4").body
        self.assertIn(b"tracks-v1/mono.fmp4.m3u8", text)
        self.assertIn(b".m4s", self.good("tracks-v1/mono.fmp4.m3u8", name="films/vp9.mp4").body)

    def test_cmaf_that_is_not_there(self) -> None:
        text = self.good("tracks-v1/mono.fmp4.m3u8").body.decode()
        first = re.findall(r"\d+-\w+\.m4s", text)[0]
        self.assertEqual(self.refused("tracks-v2/mono.fmp4.m3u8").reason, Reason.NOT_FOUND)
        self.assertEqual(self.good("tracks-v1/init-00000000.mp4").status, 404)
        self.assertEqual(self.good(f"tracks-v2/{first}").status, 404)
        self.refused(f"tracks-v1/9{first[1:]}")
        self.assertIsNone(self.ask("tracks-v1/1.m4s"))

    def refused(self, file: str, query: str = "", name: str = "") -> Refused:
        reply = self.route(HttpRequest(method="GET", path=f"/{name or self.name}/{file}", query=query))
        work = Deferred.fromCoroutine(cast("Coroutine[Any, Any, FullReply]", reply))
        refused: Refused = self.failureResultOf(work, Refused).value
        return refused

    def test_not_ours(self) -> None:
        for file in ("x.m3u8", "x.ts", "0-abc.ts", "mpegts", "a.mpd"):
            self.assertIsNone(self.ask(file))
        self.assertIsNone(self.ask("index.m3u8", name="films"))
        self.assertIsNone(self.ask("index.m3u8", name="live/x"))
        self.streams.add(self.name)
        self.assertIsNone(self.ask("index.m3u8"))
        self.assertEqual(self.gate.asked, [])

    def test_methods_and_tokens(self) -> None:
        (first, *_) = self.uris()
        self.assertEqual(self.good("index.m3u8", method="OPTIONS").status, 204)
        self.assertEqual(self.good(first, method="POST").status, 405)
        reply = self.good("index.m3u8", query="token=a%26b")
        self.assertEqual(reply.body.count(b".ts?token=a%26b\n"), 4)
        self.assertIn(b"private", reply.headers)
        self.refused("index.m3u8", query="token=bad")
        self.refused(first, query="token=bad")

    def test_a_long_one_is_written_in_a_thread(self) -> None:
        self.patch(file_routes, "_LONG", 3)
        self.assertEqual(self.good("index.m3u8").status, 200)
        self.assertEqual(self.good("index.m3u8").status, 200)
        self.assertEqual(self.threads.calls, ["_body"])

    def test_a_crowd_gets_one_long_one(self) -> None:
        """All who ask before it is written get the same."""
        self.patch(file_routes, "_LONG", 3)
        self.threads.hold = True
        path = f"/{self.name}/index.m3u8"
        asks = [
            Deferred.fromCoroutine(cast("Coroutine[Any, Any, FullReply]", reply))
            for reply in [self.route(HttpRequest(method="GET", path=path)) for _ in range(50)]
        ]
        self.assertEqual(self.threads.calls, ["_body"])
        self.threads.run()
        self.assertEqual(len({self.successResultOf(ask).body for ask in asks}), 1)

    def test_two_of_a_kind_need_a_master(self) -> None:
        tracks = (h264_track(), aac_track(), evolve(aac_track(), track_id=3))
        body = file_routes._body(FileIndex(1, 0, tracks, INDEX.durations, INDEX.sizes), "suitable")
        self.assertIn(b"video.m3u8\n", body)
