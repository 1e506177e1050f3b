"""What directives mean, and which ones are refused where."""

from __future__ import annotations

import os

from attrs import evolve
from twisted.trial.unittest import SynchronousTestCase

from restreamer.config.load import parse
from restreamer.config.model import Configuration, InputConfig, Listen, SourceConfig, StreamConfig
from restreamer.config.words import KNOWN, KNOWN_SCHEMES
from restreamer.errors import ConfigError

KEY = "0123456789abcdef"
PUBLISH = InputConfig(url="publish://", scheme="publish")


def read(text: str) -> Configuration:
    return parse(text).configuration


SOURCES: list[tuple[str, SourceConfig]] = [
    ("source streamer:8081 { }", SourceConfig(host="streamer", port=8081, cluster_key=KEY)),
    ("source streamer;", SourceConfig(host="streamer", port=80, cluster_key=KEY)),
    ("source m4f://h:1;", SourceConfig(host="h", port=1, cluster_key=KEY)),
    ("source [::1]:8081;", SourceConfig(host="::1", port=8081, cluster_key=KEY)),
    ("source h { cluster_key zyxwvutsrqponmlk; }", SourceConfig(host="h", cluster_key="zyxwvutsrqponmlk")),
    ("source h { only; }", SourceConfig(host="h", cluster_key=KEY, only=())),
    (
        "source h { only cbc football\n stream2; }",
        SourceConfig(host="h", cluster_key=KEY, only=("cbc", "football", "stream2")),
    ),
    (
        "source h { only mylive/*; only a a; except b; except c/*; }",
        SourceConfig(host="h", cluster_key=KEY, only=("mylive/*", "a"), except_=("b", "c/*")),
    ),
    (
        "source h { segment_count 7; source_timeout 1.5; clients_timeout false; }",
        SourceConfig(host="h", cluster_key=KEY, segment_count=7, source_timeout=1.5, clients_timeout=0.0),
    ),
]

STREAMS: list[tuple[str, StreamConfig]] = [
    ("stream s publish://;", StreamConfig(name="s", inputs=(PUBLISH,))),
    ("stream s { url publish://; }", StreamConfig(name="s", inputs=(PUBLISH,))),
    ("ondemand s publish://;", StreamConfig(name="s", inputs=(PUBLISH,), static=False)),
    ("ondemand s { input publish://; }", StreamConfig(name="s", inputs=(PUBLISH,), static=False)),
    (
        "stream s publish:// source_timeout=3;",
        StreamConfig(name="s", inputs=(evolve(PUBLISH, source_timeout=3.0),)),
    ),
    (
        'stream a/b.c-d { input publish://; title "T t"; comment c; static false; segment_duration 2s; '
        "segment_count 9; source_timeout 2m; clients_timeout 1h; password pw; disabled; }",
        StreamConfig(
            name="a/b.c-d",
            inputs=(PUBLISH,),
            title="T t",
            comment="c",
            static=False,
            segment_duration=2,
            segment_count=9,
            source_timeout=120.0,
            clients_timeout=3600.0,
            password="pw",
            disabled=True,
        ),
    ),
    (
        "stream s { input publish://; source_timeout 0; }",
        StreamConfig(name="s", inputs=(PUBLISH,), source_timeout=0.0),
    ),
    (
        "stream s { input m4f://O:81/a/b; } cluster_key 0123456789abcdef;",
        StreamConfig(
            name="s",
            inputs=(
                InputConfig(
                    url="m4f://O:81/a/b", scheme="m4f", host="o", port=81, path="a/b", cluster_key=KEY
                ),
            ),
        ),
    ),
    (
        'stream s { input "file://v/a b/c.mp4"; input FILE://v/x; } vod v { storage /x; }',
        StreamConfig(
            name="s",
            inputs=(
                InputConfig(url="file://v/a b/c.mp4", scheme="file", host="v", path="a b/c.mp4"),
                InputConfig(url="FILE://v/x", scheme="file", host="v", path="x"),
            ),
        ),
    ),
]

WRONG: list[tuple[str, int, int, str, str]] = [
    # text, line, column, found, part of expected
    ("htpp 80;", 1, 1, "htpp", "did you mean http?"),
    ("segment_count 4;", 1, 1, "segment_count", "segment_count belongs in a stream block"),
    ("stream s {\n segmnt_count 4;\n}", 2, 2, "segmnt_count", "did you mean segment_count?"),
    ("qqq;", 1, 1, "qqq", "cluster_key, drain_time, dvr, dvr_spool, edit_auth, event_sink, file"),
    ("http;", 1, 1, "http", "http PORT;"),
    ("http 80 81;", 1, 9, "81", "http PORT;"),
    ("http 0;", 1, 6, "0", "PORT (1-65535)"),
    ("http localhost:80;", 1, 6, "localhost:80", "ADDRESS:PORT"),
    ("http 80 { api maybe; }", 1, 15, "maybe", "true or false"),
    ("http 80 { api; api; }", 1, 16, "api", "the first is in line 1"),
    ("rtmp 80 { }", 1, 1, "rtmp {", "; after rtmp"),
    ("http 80;\nhttp 80;", 2, 6, "80", "http 80 has it"),
    ("http 80;\nrtmp 127.0.0.1:80;", 2, 6, "127.0.0.1:80", "http 80 has it (restreamer.conf:1)"),
    ("loglevel loud;", 1, 10, "loud", "none, debug, info"),
    ("loglevel info;\nloglevel info;", 2, 1, "loglevel", "each directive once; the first is in line 1"),
    ('cluster_key "";', 1, 13, '""', "not empty"),
    ("cluster_key a b;", 1, 15, "***", "cluster_key SECRET;"),
    ("cluster_key a {}", 1, 1, "cluster_key {", "; after cluster_key"),
    ("cluster_key abc\nhttp 80;", 2, 1, "http", "; to end the directive 'cluster_key' of line 1"),
    ("pulsedb /x\nstream s publish://;", 2, 1, "stream", "; to end the directive 'pulsedb' of line 1"),
    ("stream;", 1, 1, "stream", "stream NAME"),
    ("stream ../x publish://;", 1, 8, "../x", "a name: 1-255"),
    ("stream a//b publish://;", 1, 8, "a//b", "a name"),
    ("stream s publish://;\nstream s publish://;", 2, 8, "s", "each stream once; the first is in line 1"),
    ("stream s publish://;\nondemand s publish://;", 2, 10, "s", "each stream once"),
    ("stream s { input publish://; input publish://; }", 1, 36, "publish://", "each input of a stream once"),
    ("stream s { input; }", 1, 12, "input", "input URL;"),
    ("stream s /x.mp4;", 1, 10, "/x.mp4", "publish://"),
    ("stream s gopher://x;", 1, 10, "gopher://x", "publish://"),
    ("stream s publish://x;", 1, 10, "publish://x", "nothing behind it"),
    ("stream s publish:// sorce_timeout=3;", 1, 21, "sorce_timeout", "did you mean source_timeout?"),
    ("stream s publish:// source_timeout=x;", 1, 21, "source_timeout=x", "seconds from"),
    ("stream s publish:// source_timeout;", 1, 21, "source_timeout", "seconds from"),
    ("stream s publish:// source_timeout=1 source_timeout=2;", 1, 38, "source_timeout", "each option once"),
    ("stream s { input publish://\n title x; }", 2, 2, "title", "; to end the directive 'input'"),
    ("stream s { title a b; }", 1, 20, "b", "quotes"),
    ('stream s { title "a\\nb"; }', 1, 18, "a\nb", "in one line"),
    ("stream s { segment_duration 0; }", 1, 29, "0", "1 to 30 whole seconds"),
    ("stream s { segment_duration 5000; }", 1, 29, "5000", "1 to 30 whole seconds"),
    ("stream s { segment_duration 2.5; }", 1, 29, "2.5", "1 to 30 whole seconds"),
    ("stream s { segment_count 2; }", 1, 26, "2", "from 3 to 100"),
    ("stream s { segment_count 101; }", 1, 26, "101", "from 3 to 100"),
    ("stream s { segment_count \u0664; }", 1, 26, "\u0664", "from 3 to 100"),
    ("stream s { source_timeout -1; }", 1, 27, "-1", "seconds from"),
    ("stream s { source_timeout 0.01; }", 1, 27, "0.01", "seconds from"),
    ("stream s { source_timeout nan; }", 1, 27, "nan", "seconds from"),
    ("stream s { static maybe; }", 1, 19, "maybe", "true or false"),
    ("stream s { static; static; }", 1, 20, "static", "each directive once"),
    ('stream s { password ""; }', 1, 21, '""', "not empty"),
    ("stream s { password a b; }", 1, 23, "***", "password SECRET;"),
    ("stream s { template t; }", 1, 21, "t", "there are none"),
    ("template u { } stream s { template t; }", 1, 36, "t", "the name of a template (u)"),
    ("template t { template u; } template u { }", 1, 14, "template", "a word of a template block"),
    ("template t { } live t { }", 1, 21, "t", "each template once"),
    ("template t { prefix p; } live p { }", 1, 31, "p", "each prefix once"),
    ("template t { prefix /p; }", 1, 21, "/p", "a name"),
    ("live t { prefix p; }", 1, 10, "prefix", "a word of a live block"),
    ("stream s file://v/x.mp4;", 1, 10, "file://v/x.mp4", "a vod block after file:// (none so far)"),
    ("vod v { storage /x; } stream s file:///etc/passwd;", 1, 32, "file:///etc/passwd", "file://VOD/PATH"),
    ("vod v { storage /x; } stream s file://v/../x;", 1, 32, "file://v/../x", "without . and .. parts"),
    ("vod v { storage /x; } stream s file://v//x;", 1, 32, "file://v//x", "file://VOD/PATH"),
    ("vod v { storage /x; } stream s file://v/./x;", 1, 32, "file://v/./x", "file://VOD/PATH"),
    ("vod v { storage /x; } stream s file://v/;", 1, 32, "file://v/", "file://VOD/PATH"),
    ("vod v { storage /x; } stream s file://v;", 1, 32, "file://v", "file://VOD/PATH"),
    ('vod v { storage /x; } stream s "file://v/a\\\\b";', 1, 32, "file://v/a\\b", "file://VOD/PATH"),
    ("stream s m4f://h/x;", 1, 10, "m4f://h/x", "a cluster_key at the top level"),
    ("stream s m4f://h;", 1, 10, "m4f://h", "m4f://HOST[:PORT]/NAME"),
    ("stream s m4f://h/;", 1, 10, "m4f://h/", "m4f://HOST[:PORT]/NAME"),
    ("stream s m4f://h/a/../b;", 1, 10, "m4f://h/a/../b", "m4f://HOST[:PORT]/NAME"),
    ("stream s m4f://h/%s;", 1, 10, "m4f://h/%s", "m4f://HOST[:PORT]/NAME"),
    ("stream s m4f://u:p@h/x;", 1, 10, "m4f://***@h/x", "no user, no query"),
    ("stream s m4f://h/x?token=t;", 1, 10, "m4f://h/x?***", "m4f://HOST[:PORT]/NAME"),
    ("stream s m4f://::1/x;", 1, 10, "m4f://::1/x", "in brackets"),
    ("vod v { storage; }", 1, 9, "storage", "storage PATH;"),
    ("vod v { storage /x; }\nfile v { path /x; }", 2, 6, "v", "each vod once"),
    ('vod v { storage ""; }', 1, 17, "", "the path of a folder"),
    ("source;", 1, 1, "source", "source HOST[:PORT]"),
    ("source h;", 1, 8, "h", "a cluster_key, in its block or at the top level"),
    ("source ::1;", 1, 8, "::1", "in brackets"),
    ("source rtmp://h;", 1, 8, "rtmp://h", "source HOST[:PORT]"),
    ("source http://h/x;", 1, 8, "http://h/x", "source HOST[:PORT]"),
    ("source http://h?key=x;", 1, 8, "http://h?***", "source HOST[:PORT]"),
    (f"cluster_key {KEY}; source h; source H:80;", 1, 48, "h:80", "each source once"),
    (f"cluster_key {KEY}; source h {{ only */x; }}", 1, 47, "*/x", "prefix/*"),
    (f"cluster_key {KEY}; source h {{ only *; }}", 1, 47, "*", "prefix/*"),
    (f"cluster_key {KEY}; source h {{ only a*; }}", 1, 47, "a*", "prefix/*"),
    (f"cluster_key {KEY}; source h {{ only a/**; }}", 1, 47, "a/**", "prefix/*"),
    (f"cluster_key {KEY}; source h {{ only a/*/*; }}", 1, 47, "a/*/*", "prefix/*"),
    (f"cluster_key {KEY}; source h {{ except; }}", 1, 42, "except", "except NAME"),
    (f"cluster_key {KEY}; source h {{ title x; }}", 1, 42, "title", "title belongs in"),
    ('state_dir "";', 1, 11, "", "the path of a folder"),
    ("include x;", 1, 1, "include", "no include"),
    ("stream s { include x; }", 1, 12, "include", "no include"),
]


class DirectiveTests(SynchronousTestCase):
    def test_defaults(self) -> None:
        self.assertEqual(read(""), Configuration())
        stream = read("stream s publish://;").streams["s"]
        self.assertEqual((stream.segment_duration, stream.segment_ticks), (5, 450_000))
        self.assertEqual((stream.segment_count, stream.source_timeout, stream.static), (4, 60.0, True))

    def test_listeners(self) -> None:
        found = read("http 8080; http [::1]:8081 { api false; } rtmp 127.0.0.1:1935;")
        self.assertEqual(found.http, (Listen(port=8080), Listen(address="::1", port=8081, api=False)))
        self.assertEqual(found.rtmp, (Listen(address="127.0.0.1", port=1935),))

    def test_globals(self) -> None:
        found = parse(
            'cluster_key "a key with letters"; loglevel error; state_dir sub/../x;', "/etc/r/r.conf"
        )
        self.assertEqual(found.warnings, ())
        self.assertEqual(found.configuration.cluster_key, "a key with letters")
        self.assertEqual(found.configuration.loglevel, "error")
        self.assertEqual(found.configuration.state_dir, "/etc/r/x")

    def test_streams(self) -> None:
        for text, expected in STREAMS:
            with self.subTest(text):
                found = read(text)
                self.assertEqual(dict(found.streams), {expected.name: expected})

    def test_sources(self) -> None:
        for text, expected in SOURCES:
            with self.subTest(text):
                found = read(f"{text} cluster_key {KEY};")
                self.assertEqual(found.sources, (expected,))
                self.assertEqual(found.sources[0].cluster_key, expected.cluster_key)

    def test_vods(self) -> None:
        found = parse(
            "vod a { storage m; storage /n; } file b { paths x y; path z; }", "/c/r.conf"
        ).configuration
        self.assertEqual(found.vods["a"].storages, ("/c/m", "/n"))
        self.assertEqual(found.vods["b"].storages, ("/c/x", "/c/y", "/c/z"))
        here = parse("vod a { storage m; }").configuration
        self.assertEqual(here.vods["a"].storages, (os.path.abspath("m"),))

    def test_wrong(self) -> None:
        for text, line, column, found, expected in WRONG:
            with self.subTest(text):
                error = self.assertRaises(ConfigError, parse, text)
                self.assertEqual((error.line, error.column, error.found), (line, column, found))
                self.assertIn(expected, error.expected)

    def test_template_options_are_inherited(self) -> None:
        found = read(
            "stream own { template t; segment_count 8; input publish://; }"
            "stream all { template t; }"
            f"template t {{ input m4f://o/%s; segment_count 6; source_timeout 7; }} cluster_key {KEY};"
        )
        own, everything = found.streams["own"], found.streams["all"]
        self.assertEqual((own.segment_count, own.source_timeout, own.inputs), (8, 7.0, (PUBLISH,)))
        self.assertEqual((everything.segment_count, everything.template), (6, "t"))
        self.assertEqual((everything.inputs[0].url, everything.inputs[0].path), ("m4f://o/all", "all"))

    def test_live_is_a_template_to_publish_to(self) -> None:
        live = read("live l { segment_count 6; }").templates["l"]
        long = read("template l { prefix l; input publish://; segment_count 6; }").templates["l"]
        self.assertEqual(live, long)
        again = read("live l { input publish:// source_timeout=4; }").templates["l"]
        self.assertEqual(len(again.stream.inputs), 1)

    def test_ipv4_in_ipv6_is_the_same_listener(self) -> None:
        self.assertRaises(ConfigError, parse, "http 127.0.0.1:80; http [::ffff:127.0.0.1]:80;")


class WarningTests(SynchronousTestCase):
    def words(self, text: str) -> list[tuple[int, int, str]]:
        return [(each.line, each.column, each.word) for each in parse(text).warnings]

    def test_every_known_word_warns_in_its_block(self) -> None:
        heads = {
            "file": "%s",
            "http": "http 80 { %s }",
            "stream": "stream s { input publish://; %s }",
            "template": "template t { %s }",
            "live": "live l { %s }",
            "vod": "vod v { storage /x; %s }",
            "source": f"cluster_key {KEY}; source h {{ %s }}",
        }
        for block, head in heads.items():
            for word in sorted(KNOWN[block]):
                for form in (f"{word} x y=1 97%;", f"{word} name {{ whatever {{ }} z; }}"):
                    with self.subTest(block=block, form=form):
                        self.assertEqual([each[2] for each in self.words(head % form)], [word])
        for word in sorted(KNOWN["input"]):
            self.assertEqual(self.words(f"stream s publish:// {word}=1;"), [(1, 21, word)])

    def test_every_known_scheme_warns(self) -> None:
        for scheme in sorted(KNOWN_SCHEMES):
            with self.subTest(scheme):
                text = f"stream s {{ input publish://;\n input {scheme}://user:secret@h/x?k=secret; }}"
                found = parse(text)
                self.assertEqual(self.words(text), [(2, 8, f"{scheme}://")])
                self.assertEqual(found.configuration.streams["s"].inputs, (PUBLISH,))
                self.assertNotIn("secret", str(found))

    def test_open_door_is_said(self) -> None:
        found = parse("stream s { input publish://; drm classic; }")
        self.assertIn("nobody is kept out", found.warnings[0].text)
        self.assertEqual(str(found.warnings[0])[:25], "restreamer.conf:1:30: drm")

    def test_short_and_known_keys(self) -> None:
        self.assertEqual(self.words("cluster_key 0123456789abcde;"), [(1, 1, "cluster_key")])
        self.assertEqual(self.words(f"cluster_key {KEY};"), [])
        self.assertIn("everybody knows", parse("cluster_key restreamer-demo-key;").warnings[0].text)

    def test_nothing_to_play(self) -> None:
        self.assertEqual(self.words("stream s { }"), [(1, 1, "stream")])
        self.assertEqual(self.words("stream s { disabled; }"), [])

    def test_unserved_transport_leaves_the_source_out(self) -> None:
        text = f"cluster_key {KEY}; source m4s://h:443 {{ only; }} peer m4ss://h;"
        self.assertEqual((read(text).sources, read(text).peers), ((), ()))
        self.assertEqual([each[2] for each in self.words(text)], ["m4s://", "m4ss://"])

    def test_segment_duration_of_a_source(self) -> None:
        found = parse(f"cluster_key {KEY}; source h {{ segment_duration 3; }}").warnings
        self.assertIn("ingest node", found[0].text)

    def test_in_order_of_the_file(self) -> None:
        text = "stream s {\n drm x;\n}\nmysql 554;\nsnmp a b;"
        self.assertEqual([each[0] for each in self.words(text)], [1, 2, 4, 5])
