"""Secrets stay out of errors, warnings, reprs and excerpts."""

from __future__ import annotations

import traceback

from twisted.trial.unittest import SynchronousTestCase

from restreamer.config.excerpt import describe, line_of
from restreamer.config.load import parse
from restreamer.config.secrecy import masked, shown_url
from restreamer.errors import ConfigError

MASKED: list[tuple[str, str]] = [
    ("cluster_key abcd;", "cluster_key ****;"),
    ('cluster_key "a;b" x;', "cluster_key ***** *;"),
    ('cluster_key "a;b', "cluster_key ****"),
    ("cluster_key\n abcd;", "cluster_key\n ****;"),
    ("cluster_kye abcd;", "cluster_kye ****;"),
    ("Password abcd ; title x;", "Password **** ; title x;"),
    ("s { password abcd } a b;", "s { password **** } a b;"),
    ("edit_auth user pass;", "edit_auth **** ****;"),
    ("input rtsp://u:p@h/x;", "input **************;"),
    ("on_play http://h/?k=1;", "on_play *************;"),
    ("on_play securetoken://k;", "on_play ***************;"),
    ("push x key=abc;", "push x *******;"),
    ("input m4f://h/x;", "input m4f://h/x;"),
    ("on_play http://h/token x;", "on_play ************** *;"),
    ("only a; on_publish x;", "only a; on_publish *;"),
    ("push rtmp://h/live/key;", "push *****************;"),
    ("push m4f://h/%s;", "push m4f://h/%s;"),
    ("peer h { cluster_key abc; }", "peer h { cluster_key ***; }"),
    ("# password x\nhttp 80;", "# password x\nhttp 80;"),
]

LEAKS = [
    "cluster_key hunter2 hunter2x;",
    "cluster_key hunter2 { }",
    "cluster_key hunter2 }",
    "cluster_key hunter2\nhttp 80;",
    "cluster_key hunter2",
    'cluster_key "hunter2',
    'cluster_key "hunter2\\q";',
    'cluster_key "hunter2\\n";',
    "stream s { password hunter2 x; }",
    "stream s m4f://u:hunter2@h/x;",
    "stream s m4f://h/x?token=hunter2;",
    "stream s rtsp://u:hunter2@h/x rtsp://u:hunter2@h/y;",
    "stream s publish:// http://u:hunter2@h;",
    "rtsp://u:hunter2@h;",
    "stream s publish:// password=hunter2;",
    "stream s gopher://u:hunter2@h/x;",
    "source u:hunter2@h;",
    "source m4f://u:hunter2@h;",
    "cluster_kye hunter2;",
    "stream s { push rtmp://h/hunter2; }",
    "stream s { push rtmp://h/live/hunter2 x=1; }",
    "stream s { push rtmp://u:hunter2@h/; }",
    "cluster_key 0123456789abcdef; stream s { push m4f://u:hunter2@h/x; }",
    "cluster_key 0123456789abcdef; stream s { push m4f://h/x?k=hunter2; }",
    "stream s { on_play http://h/hunter2; on_play x; }",
    "stream s { url_prefix https://h/?k=hunter2; }",
    "peer h { cluster_key hunter2 hunter2; }",
    "peer u:hunter2@h;",
    "peer h { public https://u:hunter2@h; cluster_key abc; }",
    "balancer lb { peer u:hunter2@h; }",
]


class SecrecyTests(SynchronousTestCase):
    def test_masked_keeps_places(self) -> None:
        for text, expected in MASKED:
            with self.subTest(text):
                self.assertEqual(masked(text), expected)
                self.assertEqual(len(masked(text)), len(text))

    def test_shown_url(self) -> None:
        self.assertEqual(shown_url("rtsp://u:p@h/x?k=v"), "rtsp://***@h/x?***")
        self.assertEqual(shown_url("m4f://h/x"), "m4f://h/x")
        self.assertEqual(shown_url("u:p@h"), "***@h")

    def test_no_leak(self) -> None:
        for text in LEAKS:
            with self.subTest(text):
                error = self.assertRaises(ConfigError, parse, text)
                self.assertNotIn("hunter2", str(error))
                self.assertNotIn("hunter2", "".join(traceback.format_exception_only(error)))
                self.assertNotIn("hunter2", describe(error, text))

    def test_reprs(self) -> None:
        text = (
            "cluster_key hunter2-hunter2; source h { cluster_key hunter2-a; } stream s { input m4f://h/x; }"
            "stream t { password hunter2b; }live l { password hunter2c; } stream r rtsp://u:hunter2@h;"
            "stream q { input publish://; auth hunter2; }"
        )
        self.assertNotIn("hunter2", repr(parse(text)))

    def test_excerpt(self) -> None:
        text = "http 80;\n\tcluster_key abcd; htpp 1;\n"
        error = ConfigError("f", 2, 20, "htpp", "http")
        self.assertEqual(
            describe(error, text),
            "f:2:20: error: found 'htpp'\n    \tcluster_key ****; htpp 1;\n    \t"
            + " " * 18
            + "^~~~\n  expected: http",
        )

    def test_excerpt_of_a_long_line(self) -> None:
        text = "a " * 5000 + "X" + " b" * 5000
        lines = describe(ConfigError("f", 1, 10_001, "X", "y"), text).split("\n")
        self.assertTrue(all(len(each) < 120 for each in lines))
        self.assertEqual(lines[1][lines[2].index("^")], "X")

    def test_no_such_line(self) -> None:
        self.assertEqual(line_of("a", 2), "")
        self.assertEqual(
            describe(ConfigError("f", 9, 1, "x", "y"), "a"), "f:9:1: error: found 'x'\n  expected: y"
        )
