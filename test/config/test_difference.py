"""What a reload touches."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from restreamer.config.difference import Changes, Difference, compare
from restreamer.config.load import parse
from restreamer.config.model import Configuration

BASE = """
http 80; http [::1]:81; rtmp 1935;
cluster_key 0123456789abcdef;
vod v { storage /v; }
stream a publish://;
stream f file://v/x.mp4;
stream m m4f://o/m;
template t { prefix t; input publish://; input file://v/y.mp4; }
source one;
source two { cluster_key fedcba9876543210; }
"""


def read(text: str) -> Configuration:
    return parse(text).configuration


def nothing() -> Difference:
    return Difference(
        streams=Changes(),
        templates=Changes(),
        vods=Changes(),
        sources=Changes(),
        http=Changes(),
        rtmp=Changes(),
    )


CASES: list[tuple[str, str, dict[str, object]]] = [
    # old text, new text, fields of the difference
    ("", "", {}),
    ("stream a publish://;", "stream  a  publish:// ; # moved", {}),
    ("stream a publish://;", "", {"streams": Changes(removed=("a",))}),
    ("stream a publish://;", "stream b publish://;", {"streams": Changes(added=("b",), removed=("a",))}),
    (
        "stream a publish://;",
        "stream a { input publish://; segment_duration 4; password p; }",
        {"streams": Changes(changed={"a": ("segment_duration", "password")})},
    ),
    (
        "stream a publish://;",
        "stream a { input publish://; title A; comment c; }",
        {"streams": Changes(changed={"a": ("title", "comment")})},
    ),
    (
        "storage /v;",
        "storage /w;",
        {
            "vods": Changes(changed={"v": ("storages",)}),
            "streams": Changes(changed={"f": ("storages",)}),
            "templates": Changes(changed={"t": ("storages",)}),
        },
    ),
    ("input publish://; input f", "input f", {"templates": Changes(changed={"t": ("stream",)})}),
    (
        "cluster_key 0123456789abcdef;",
        "cluster_key 0123456789abcdeF;",
        {
            "globals": ("cluster_key",),
            "streams": Changes(changed={"m": ("inputs",)}),
            "sources": Changes(changed={("one", 80): ("cluster_key",)}),
        },
    ),
    ("http 80;", "http 80; loglevel debug; state_dir /s;", {"globals": ("loglevel", "state_dir")}),
    (
        "source one;",
        "source one { only; }",
        {"sources": Changes(changed={("one", 80): ("only",)})},
    ),
    (
        "source one;",
        "source one:81;",
        {"sources": Changes(added=(("one", 81),), removed=(("one", 80),))},
    ),
    ("http 80;", "http 82;", {"http": Changes(added=(("", 82),), removed=(("", 80),))}),
    ("http 80;", "http 80 { api false; }", {"http": Changes(changed={("", 80): ("api",)})}),
    ("rtmp 1935;", "", {"rtmp": Changes(removed=(("", 1935),))}),
]


class CompareTests(SynchronousTestCase):
    def test_cases(self) -> None:
        for old, new, fields in CASES:
            with self.subTest(old=old, new=new):
                assert old in BASE
                found = compare(read(BASE), read(BASE.replace(old, new)))
                expected = nothing()
                for name, value in fields.items():
                    object.__setattr__(expected, name, value)
                self.assertEqual(found, expected)
                self.assertIs(bool(found), bool(fields))

    def test_order_of_sources(self) -> None:
        self.assertTrue(
            compare(
                read("cluster_key 0123456789abcdef; source a; source b;"),
                read("cluster_key 0123456789abcdef; source b; source a;"),
            ).source_order
        )
        found = compare(
            read("cluster_key 0123456789abcdef; source a; source b; source c;"),
            read("cluster_key 0123456789abcdef; source a; source x; source c;"),
        )
        self.assertFalse(found.source_order)

    def test_template_change_reaches_its_streams(self) -> None:
        text = (
            "template t { input publish://; segment_count 5; } stream a { template t; } stream b publish://;"
        )
        found = compare(read(text), read(text.replace("5", "6")))
        self.assertEqual(dict(found.streams.changed), {"a": ("segment_count",)})
