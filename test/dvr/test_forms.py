"""What URLs ask of archives: every form, the spellings of players, and what cannot be meant."""

from __future__ import annotations

import re
import time

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from restreamer.dvr.forms import (
    MAX_PLAYLIST,
    MAX_SHOW,
    ArchiveAsk,
    Container,
    Kind,
    Range,
    ask_from_query,
    asked_name,
    delayed,
    parse_archive_path,
    range_of,
)
from restreamer.errors import Reason, Refused
from restreamer.media.selection import TrackSelection

NOW = 1_700_000_000
AT = NOW - 7200

#: File, kind, start, duration, container, packaging, whole.
FILES = (
    (f"archive-{AT}-600.m3u8", Kind.FIXED, AT, 600, Container.HLS, "", False),
    (f"index-{AT}-600.m3u8", Kind.FIXED, AT, 600, Container.HLS, "", False),
    (f"video-{AT}-600.m3u8", Kind.FIXED, AT, 600, Container.HLS, "", True),
    (f"mono-{AT}-600.m3u8", Kind.FIXED, AT, 600, Container.HLS, "", True),
    (f"video-archive-{AT}-600.m3u8", Kind.FIXED, AT, 600, Container.HLS, "", True),
    (f"archive-{AT}-600.ts.m3u8", Kind.FIXED, AT, 600, Container.HLS, "ts", False),
    (f"archive-{AT}-600.fmp4.m3u8", Kind.FIXED, AT, 600, Container.HLS, "fmp4", False),
    (f"index.fmp4-{AT}-600.m3u8", Kind.FIXED, AT, 600, Container.HLS, "fmp4", False),
    (f"archive-{AT}-600.mpd", Kind.FIXED, AT, 600, Container.DASH, "", False),
    (f"archive-{AT}-600.ts", Kind.FIXED, AT, 600, Container.TS, "", False),
    (f"archive-{AT}-600.mp4", Kind.FIXED, AT, 600, Container.MP4, "", False),
    (f"archive-{AT}-now.m3u8", Kind.EVENT, AT, None, Container.HLS, "", False),
    (f"index-{AT}-now.m3u8", Kind.EVENT, AT, None, Container.HLS, "", False),
    (f"video-{AT}-now.m3u8", Kind.EVENT, AT, None, Container.HLS, "", True),
    (f"archive-{AT}-now.mpd", Kind.EVENT, AT, None, Container.DASH, "", False),
    ("rewind-7200.m3u8", Kind.REWIND, 7200, None, Container.HLS, "", False),
    ("rewind-7200.fmp4.m3u8", Kind.REWIND, 7200, None, Container.HLS, "fmp4", False),
    ("rewind-7200.mpd", Kind.REWIND, 7200, None, Container.DASH, "", False),
    (f"timeshift_abs-{AT}.m3u8", Kind.ABSOLUTE, AT, None, Container.HLS, "", False),
    (f"video-timeshift_abs-{AT}.m3u8", Kind.ABSOLUTE, AT, None, Container.HLS, "", True),
    (f"timeshift_abs-{AT}.ts", Kind.ABSOLUTE, AT, None, Container.TS, "", False),
    ("timeshift_rel-0.m3u8", Kind.RELATIVE, 0, None, Container.HLS, "", False),
    ("timeshift_rel-60.m3u8", Kind.RELATIVE, 60, None, Container.HLS, "", False),
    ("mono-timeshift_rel-60.m3u8", Kind.RELATIVE, 60, None, Container.HLS, "", True),
    ("timeshift_rel-60.ts", Kind.RELATIVE, 60, None, Container.TS, "", False),
)

#: A channel's URL, the type that is set for it, and what pvr.iptvsimple asks for when a moment of its past is
#: wanted: its own rules for this kind of server.
KODI = (
    ("http://h/s/mpegts?token=X", "fs", "http://h/s/timeshift_abs-{utc}.ts?token=X"),
    ("http://h/a/b/mpegts", "flussonic-ts", "http://h/a/b/timeshift_abs-{utc}.ts"),
    ("http://h/s/index.m3u8?token=X", "flussonic", "http://h/s/timeshift_rel-{offset}.m3u8?token=X"),
    ("http://h/s/index.m3u8", "flussonic-hls", "http://h/s/timeshift_rel-{offset}.m3u8"),
    ("http://h/s/mono.m3u8?token=X", "fs", "http://h/s/mono-timeshift_rel-{offset}.m3u8?token=X"),
    ("http://h/s/video.m3u8", "fs", "http://h/s/video-timeshift_rel-{offset}.m3u8"),
    ("http://h/s/playlist.m3u8", "fs", "http://h/s/playlist-timeshift_rel-{offset}.m3u8"),
    ("http://h/s/master.m3u8", "fs", "http://h/s/master-timeshift_rel-{offset}.m3u8"),
    ("http://h/s/index.ts.m3u8", "fs", "http://h/s/index.ts-timeshift_rel-{offset}.m3u8"),
    ("http://h/s/index.fmp4.m3u8", "fs", "http://h/s/index.fmp4-timeshift_rel-{offset}.m3u8"),
    ("http://h/s/index.ll.m3u8", "fs", "http://h/s/index.ll-timeshift_rel-{offset}.m3u8"),
    (
        "http://h/s/tracks-v1a1/mono.ts.m3u8",
        "fs",
        "http://h/s/tracks-v1a1/mono.ts-timeshift_rel-{offset}.m3u8",
    ),
)

#: Times that cannot be meant.
ABSURD = (
    "archive--5-60.m3u8",
    "archive-+5-60.m3u8",
    "archive-nan-60.m3u8",
    "archive-5.5-60.m3u8",
    "archive-1e9-60.m3u8",
    "archive-0x10-60.m3u8",
    "archive- 5-60.m3u8",
    f"archive-{AT}-0.m3u8",
    f"archive-{AT}--60.m3u8",
    f"archive-{AT}-nan.m3u8",
    f"archive-{AT}-inf.mpd",
    f"archive-{AT}-NOW.m3u8",
    f"archive-{AT}-60-60.m3u8",
    f"archive-{AT}.m3u8",
    f"archive-{AT}-.m3u8",
    f"archive-0-{10**12}.m3u8",
    f"archive-{AT}-{10 * 366 * 86_400}.ts",
    f"archive-{10**30}-60.m3u8",
    f"archive-{AT}-{10**30}.mp4",
    f"archive-{'9' * 1500}-60.m3u8",
    f"archive-{NOW + 90_000}-60.m3u8",
    f"video-{AT}-1e5.m3u8",
    "index--5-60.m3u8",
    "index-5-now-5.m3u8",
    "rewind-0.m3u8",
    "rewind--60.m3u8",
    "rewind-nan.m3u8",
    f"rewind-{10**10}.m3u8",
    f"timeshift_abs-{NOW + 60}.m3u8",
    "timeshift_abs-nan.ts",
    "timeshift_rel--5.ts",
    "timeshift_rel-5.5.m3u8",
    f"timeshift_rel-{10**10}.m3u8",
    "\u0661\u0662",
)


def parse(path: str, query: str = "") -> ArchiveAsk | None:
    return parse_archive_path(path, query, NOW)


class Forms(SynchronousTestCase):
    def test_files(self) -> None:
        for file, kind, start, duration, container, packaging, whole in FILES:
            for name in ("x", "live/one"):
                self.assertEqual(
                    parse(f"/{name}/{file}"),
                    ArchiveAsk(
                        name=name,
                        kind=kind,
                        start=start,
                        duration=duration,
                        container=container,
                        packaging=packaging,
                        whole=whole,
                    ),
                    file,
                )

    def test_words_are_read_back(self) -> None:
        for file, *_ in FILES:
            ask = parse(f"/x/{file}")
            assert ask is not None
            again = parse(f"/x/tracks-v1/mono-{ask.words}.ts.m3u8")
            assert again is not None
            self.assertEqual((again.kind, again.start, again.duration), (ask.kind, ask.start, ask.duration))
            self.assertTrue(again.inside)
            self.assertEqual(again.selection, TrackSelection.parse("v1"))
            self.assertEqual(again.name, "x")

    def test_old_forms(self) -> None:
        self.assertEqual(
            parse(f"/x/archive/{AT}/600/mpegts"),
            ArchiveAsk(name="x", kind=Kind.FIXED, start=AT, duration=600, container=Container.TS, paced=True),
        )
        self.assertEqual(
            parse(f"/a/x/timeshift_abs/{AT}"),
            ArchiveAsk(name="a/x", kind=Kind.ABSOLUTE, start=AT, container=Container.TS),
        )
        self.assertEqual(
            parse("/x/timeshift_rel/60"),
            ArchiveAsk(name="x", kind=Kind.RELATIVE, start=60, container=Container.TS),
        )

    def test_what_is_no_archive(self) -> None:
        for path in (
            "/x/index.m3u8",
            "/x/video.m3u8",
            "/x/mpegts",
            "/x/2023/11/14/22/13/20-05000.ts",
            "/x/2023/11/14/22/13/20-00480-1234567.ts",
            "/x/gap-5.ts",
            "/x/tracks-v1/init-00000000.mp4",
            "/x/tracks-v1/1234.m4s",
            "/x/embed.html",
            "/vod/index-of-films.mp4/index.m3u8",
            "/vod/video-one.m3u8",
            "/archive-5-5.m3u8",
            "/",
            "",
        ):
            self.assertIsNone(parse(path), path)

    def test_selection(self) -> None:
        ask = parse(f"/x/archive-{AT}-60.m3u8", "a=b&filter.tracks=v1a2")
        assert ask is not None
        self.assertEqual(ask.selection, TrackSelection.parse("v1a2"))
        inside = parse(f"/x/tracks-a1/mono-archive-{AT}-60.m3u8", "filter.tracks=v1")
        assert inside is not None
        self.assertEqual(inside.selection, TrackSelection.parse("a1"))
        self.assertRaises(Refused, parse, f"/x/archive-{AT}-60.m3u8", "filter.tracks=x")

    def test_utc(self) -> None:
        for file, container, whole in (
            ("index.m3u8", Container.HLS, False),
            ("video.m3u8", Container.HLS, True),
            ("index.mpd", Container.DASH, False),
        ):
            ask = parse(f"/x/{file}", f"token=t&utc={AT}&lutc={NOW}")
            assert ask is not None
            self.assertEqual((ask.kind, ask.start, ask.container), (Kind.EVENT, AT, container))
            self.assertIs(ask.whole, whole)
            old = NOW - MAX_SHOW - 1
            for query in (f"utc={old}&lutc={NOW}", f"utc={old}", f"utc={old}&lutc={NOW + 9999}"):
                over = parse(f"/x/{file}", query)
                assert over is not None
                self.assertEqual((over.kind, over.duration), (Kind.FIXED, MAX_SHOW))
        live = parse("/x/mpegts", f"utc={AT}&lutc={NOW}")
        assert live is not None
        self.assertEqual((live.kind, live.container), (Kind.ABSOLUTE, Container.TS))
        self.assertIsNone(parse("/x/index.m3u8", "utc="))
        self.assertIsNone(parse("/x/index.m3u8", "xutc=5"))
        for query in ("utc=nan", "utc=-5", "utc=5.5", f"utc={AT}&lutc=x", f"utc={NOW + 90_000}"):
            self.assertIs(self.assertRaises(Refused, parse, "/x/index.m3u8", query).reason, Reason.BAD_NAME)

    def test_kodi(self) -> None:
        """What pvr.iptvsimple makes of URLs of live streams."""
        for live, _, rewritten in KODI:
            url = rewritten.replace("{utc}", str(AT)).replace("{offset}", "7200")
            path, _, query = re.sub("^http://h", "", url).partition("?")
            ask = parse(path, query)
            assert ask is not None, url
            self.assertIn(ask.name, ("s", "a/b"))
            self.assertIs(ask.container, Container.TS if "mpegts" in live else Container.HLS)
            at = ask.start if ask.kind is Kind.ABSOLUTE else NOW - ask.start
            self.assertEqual(at, AT)
            self.assertIsNone(parse(live.removeprefix("http://h").partition("?")[0]))

    def test_absurd_times(self) -> None:
        """H14."""
        before = time.process_time()
        for file in ABSURD:
            if file.isdigit():
                refused = self.assertRaises(Refused, parse, f"/x/archive-{file}-60.m3u8")
            else:
                refused = self.assertRaises(Refused, parse, f"/x/{file}")
            self.assertIs(refused.reason, Reason.BAD_NAME, file)
            self.assertLess(len(refused.text), 120)
        for path in ("/x/archive/nan/5/mpegts", f"/x/archive/{AT}/0/mpegts", "/x/timeshift_abs/-5"):
            self.assertRaises(Refused, parse, path)
        self.assertLess(time.process_time() - before, 0.5)
        self.assertRaises(Refused, parse, f"/x y/archive-{AT}-60.m3u8")
        self.assertIsNone(parse("/" + "x" * 3000 + f"/archive-{AT}-60.m3u8"))

    def test_names(self) -> None:
        self.assertEqual(asked_name("/a/b/archive-x.m3u8"), "a/b")
        self.assertEqual(asked_name("/a/b/tracks-v1a1/archive-x.m3u8"), "a/b")
        self.assertEqual(asked_name("/tracks-v1/archive-x.m3u8"), "tracks-v1")

    def test_other_protocols(self) -> None:
        self.assertIsNone(ask_from_query("x", "token=t", NOW))
        ask = ask_from_query("x", f"from={AT}&filter.tracks=a1", NOW)
        assert ask is not None
        self.assertEqual((ask.kind, ask.start), (Kind.ABSOLUTE, AT))
        self.assertEqual(ask.selection, TrackSelection.parse("a1"))
        for query in (f"from={AT}&duration=60", f"from={AT}&to={AT + 60}"):
            ask = ask_from_query("x", query, NOW)
            assert ask is not None
            self.assertEqual((ask.kind, ask.duration), (Kind.FIXED, 60))
        for query in ("from=nan", f"from={AT}&to={AT}", f"from={AT}&duration=0", f"from={NOW + 5}"):
            self.assertRaises(Refused, ask_from_query, "x", query, NOW)

    @settings(deadline=None, max_examples=300, derandomize=True)
    @given(
        st.text(st.sampled_from("0123456789-+.enow archivdxtms_jpl8ufrbkh/?=&\u0661\0"), max_size=60),
        st.booleans(),
    )
    def test_anything(self, text: str, query: bool) -> None:
        """Refused, not ours, or a value with sane times."""
        try:
            ask = parse("/x/index.m3u8", f"utc={text}") if query else parse(f"/x/{text}")
        except Refused as refused:
            self.assertIs(refused.reason, Reason.BAD_NAME)
            return
        if ask is not None:
            self.assertGreaterEqual(ask.start, 0)
            self.assertLess(ask.start, NOW + 86_401)


class Ranges(SynchronousTestCase):
    def ask(self, file: str) -> ArchiveAsk:
        ask = parse(f"/x/{file}")
        assert ask is not None
        return ask

    def test_ranges(self) -> None:
        for file, found in (
            (f"archive-{AT}-60.m3u8", Range(AT, AT + 60, True, False)),
            (f"archive-{AT}-9000.m3u8", Range(AT, AT + 9000, False, False)),
            (f"archive-{AT}-now.m3u8", Range(AT, NOW + 1, False, False)),
            (f"archive-{NOW + 5}-now.m3u8", Range(NOW + 5, NOW + 6, False, False)),
            ("rewind-60.m3u8", Range(NOW - 60, NOW + 1, False, True)),
            ("timeshift_rel-60.m3u8", Range(NOW - 60, NOW - 60, False, True)),
            (f"timeshift_abs-{AT}.m3u8", Range(AT, AT, False, True)),
        ):
            self.assertEqual(range_of(self.ask(file), NOW), found, file)

    def test_too_long(self) -> None:
        """H14."""
        for file in (
            f"archive-0-{MAX_PLAYLIST + 2}.m3u8",
            "archive-0-now.m3u8",
            f"rewind-{MAX_PLAYLIST + 1}.m3u8",
        ):
            self.assertIs(
                self.assertRaises(Refused, range_of, self.ask(file), NOW).reason, Reason.BAD_NAME, file
            )
        self.assertEqual(range_of(self.ask(f"rewind-{MAX_PLAYLIST}.m3u8"), NOW).start, NOW - MAX_PLAYLIST)
        self.assertRaises(Refused, range_of, self.ask(f"archive-{AT}-60.m3u8"), NOW, 50)

    def test_delayed(self) -> None:
        found = delayed(self.ask(f"timeshift_abs-{AT}.m3u8"), NOW + 5)
        self.assertEqual((found.kind, found.start), (Kind.RELATIVE, 7205))
