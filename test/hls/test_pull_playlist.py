"""Playlists of other servers: what is read, and what is refused."""

from __future__ import annotations

import contextlib
from time import process_time

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from restreamer.errors import RemoteProtocolError
from restreamer.hls.pull_playlist import (
    MAX_LINE,
    MAX_LINES,
    MAX_PLAYLIST,
    MasterPlaylist,
    MediaPlaylist,
    Piece,
    Rendition,
    parse_playlist,
)

MEDIA = """#EXTM3U
#EXT-X-VERSION:7
#EXT-X-TARGETDURATION:5
#EXT-X-MEDIA-SEQUENCE:41
#EXT-X-MAP:URI="init.mp4",BYTERANGE="100@0"
#EXT-X-PROGRAM-DATE-TIME:2026-01-01T00:00:00.000Z
#EXTINF:4.960,title, with a comma
a.m4s
#EXT-X-DISCONTINUITY
#EXT-X-MAP:URI="init2.mp4"
#EXTINF:5,
#EXT-X-BYTERANGE:300@1000
all.m4s
#EXTINF:5
#EXT-X-BYTERANGE:200
all.m4s
#EXT-X-GAP
#EXTINF:5,

gone.m4s
"""
MASTER = """#EXTM3U
#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID="aac",NAME="de",LANGUAGE="de",DEFAULT=YES,URI="de.m3u8"
#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID="aac",NAME="in the pictures"
#EXT-X-MEDIA:TYPE=SUBTITLES,GROUP-ID="s",NAME="x",URI="s.m3u8"
#EXT-X-STREAM-INF:BANDWIDTH=100,CODECS="avc1.4d,mp4a.40.2"
low.m3u8
#EXT-X-STREAM-INF:AUDIO="aac",BANDWIDTH=3000,RESOLUTION=640x360
# a comment
high.m3u8?x=1
"""


class Reading(SynchronousTestCase):
    def test_media(self) -> None:
        for text in (MEDIA, MEDIA.replace("\n", "\r\n"), "\ufeff" + MEDIA):
            playlist = parse_playlist(text.encode())
            assert isinstance(playlist, MediaPlaylist)
            first, second, third, fourth = playlist.segments
            self.assertEqual((playlist.target, playlist.ended), (5.0, False))
            self.assertEqual((first.number, first.duration, first.piece), (41, 4.96, Piece("a.m4s")))
            self.assertEqual(first.init, Piece("init.mp4", 0, 100))
            self.assertEqual((second.piece, second.discontinuity), (Piece("all.m4s", 1000, 300), True))
            self.assertEqual(second.init, Piece("init2.mp4"))
            self.assertEqual((third.piece, third.discontinuity), (Piece("all.m4s", 1300, 200), False))
            self.assertEqual((fourth.number, fourth.gap), (44, True))
        ended = parse_playlist((MEDIA + "#EXT-X-ENDLIST").encode())
        self.assertTrue(isinstance(ended, MediaPlaylist) and ended.ended)

    def test_master(self) -> None:
        playlist = parse_playlist(MASTER.encode())
        assert isinstance(playlist, MasterPlaylist)
        self.assertEqual([v.uri for v in playlist.variants], ["high.m3u8?x=1", "low.m3u8"])
        self.assertEqual([v.audio for v in playlist.variants], ["aac", ""])
        self.assertEqual(playlist.renditions, (Rendition(group="aac", uri="de.m3u8", language="de"),))

    def test_refused(self) -> None:
        for text in (
            "",
            "<html>",
            "#EXTINF:5,\na.ts",
            "#EXTM3U\n#EXTINF:5,\na.ts",
            "#EXTM3U\n#EXT-X-TARGETDURATION:0\n",
            "#EXTM3U\n#EXT-X-TARGETDURATION:5\na.ts",
            "#EXTM3U\n#EXT-X-TARGETDURATION:nan\n",
            "#EXTM3U\n#EXT-X-TARGETDURATION:1e9\n",
            "#EXTM3U\n#EXT-X-TARGETDURATION:5\n#EXTINF:-1,\na.ts",
            "#EXTM3U\n#EXT-X-TARGETDURATION:5\n#EXTINF:inf,\na.ts",
            "#EXTM3U\n#EXT-X-TARGETDURATION:5\n#EXT-X-MEDIA-SEQUENCE:-1\n",
            "#EXTM3U\n#EXT-X-TARGETDURATION:5\n#EXT-X-MEDIA-SEQUENCE:" + "9" * 30,
            "#EXTM3U\n#EXT-X-TARGETDURATION:5\n#EXTINF:5,\na\n#EXT-X-MEDIA-SEQUENCE:9\n",
            '#EXTM3U\n#EXT-X-TARGETDURATION:5\n#EXT-X-KEY:METHOD=AES-128,URI="k"\n#EXTINF:5,\na.ts',
            '#EXTM3U\n#EXT-X-TARGETDURATION:5\n#EXT-X-MAP:BYTERANGE="5@0"\n',
            "#EXTM3U\n#EXT-X-TARGETDURATION:5\n#EXTINF:5,\n#EXT-X-BYTERANGE:0\na.ts",
            "#EXTM3U\n#EXT-X-TARGETDURATION:5\n#EXTINF:5,\n" + "a" * 5000,
            "#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\n",
            "#EXTM3U\n" + "\n" * MAX_LINES,
            "#EXTM3U\n" + "x" * MAX_PLAYLIST,
        ):
            with self.assertRaises(RemoteProtocolError, msg=text[:80]):
                parse_playlist(text.encode())
        with self.assertRaises(RemoteProtocolError):
            parse_playlist(b"#EXTM3U\n\xff\xfe")

    @settings(deadline=None, max_examples=200, derandomize=True)
    @given(st.lists(st.sampled_from((MEDIA + MASTER).splitlines()) | st.text(max_size=30), max_size=20))
    def test_any_lines(self, lines: list[str]) -> None:
        try:
            parse_playlist("\n".join(["#EXTM3U", *lines]).encode("utf-8", "replace"))
        except RemoteProtocolError:
            pass


class HostileLines(SynchronousTestCase):
    """What a server writes into one line costs no more than its length."""

    def test_a_long_run_of_name_characters(self) -> None:
        """It was searched from every place: 16 KB took seconds, and a megabyte an hour."""
        for tag in ("STREAM-INF", "MEDIA", "MAP", "KEY"):
            began = process_time()
            for junk in ("A-" * 7000, 'A="' * 5000, ' ="' * 5000, "A=1 " * 4000, ",A" * 7000):
                text = f"#EXTM3U\n#EXT-X-TARGETDURATION:5\n#EXT-X-{tag}:{junk}\nx\n"
                with contextlib.suppress(RemoteProtocolError):
                    parse_playlist(text.encode())
            self.assertLess(process_time() - began, 1.0, tag)

    def test_a_line_without_end(self) -> None:
        text = "#EXTM3U\n#EXT-X-STREAM-INF:" + "A" * MAX_LINE
        with self.assertRaises(RemoteProtocolError) as caught:
            parse_playlist(text.encode())
        self.assertIn("at most", str(caught.exception))

    def test_what_is_malformed_is_passed_over(self) -> None:
        text = '#EXTM3U\n#EXT-X-STREAM-INF:x y,BANDWIDTH=7, AUDIO="g, h",broken="a\nv.m3u8\n'
        playlist = parse_playlist(text.encode())
        assert isinstance(playlist, MasterPlaylist)
        self.assertEqual((playlist.variants[0].bandwidth, playlist.variants[0].audio), (7, "g, h"))
