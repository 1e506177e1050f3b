"""What a reload touches."""

from __future__ import annotations

import os
import re

import attrs
from twisted.trial.unittest import SynchronousTestCase

from restreamer.config.difference import (
    SOURCE_SETTINGS,
    STREAM_SETTINGS,
    Changes,
    Difference,
    compare,
)
from restreamer.config.load import parse
from restreamer.config.model import Configuration, SourceConfig, StreamConfig
from restreamer.config.words import LISTENERS

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
source three { backup v/z.mp4; push m4f://other/%s; }
peer near; peer far:81 { public edge.example; }
balancer lb { peer near; }
"""


def read(text: str) -> Configuration:
    return parse(text).configuration


def listening(**changes: Changes[tuple[str, int]]) -> dict[str, Changes[tuple[str, int]]]:
    """Changes of listeners; of the other kinds there are none."""
    return {word: changes.get(word, Changes()) for word in LISTENERS}


def nothing() -> Difference:
    return Difference(
        streams=Changes(),
        templates=Changes(),
        vods=Changes(),
        sources=Changes(),
        listeners=listening(),
        peers=Changes(),
        balancers=Changes(),
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
            "sources": Changes(changed={("three", 80): ("storages",)}),
        },
    ),
    ("input publish://; input f", "input f", {"templates": Changes(changed={"t": ("stream",)})}),
    (
        "cluster_key 0123456789abcdef;",
        "cluster_key 0123456789abcdeF;",
        {
            "globals": ("cluster_key",),
            "streams": Changes(changed={"m": ("inputs",)}),
            "sources": Changes(
                changed={("one", 80): ("cluster_key",), ("three", 80): ("cluster_key", "push")}
            ),
            "peers": Changes(changed={("near", 80): ("cluster_key",), ("far", 81): ("cluster_key",)}),
            "balancers": Changes(changed={"lb": ("peers",)}),
        },
    ),
    (
        "stream a publish://;",
        "stream a { input publish://; protocols hls; url_prefix /x; prepush 3; backup v/b; retry_limit 3; }",
        {
            "streams": Changes(
                changed={"a": ("retry_limit", "prepush", "protocols", "url_prefix", "backup")},
            )
        },
    ),
    (
        "stream a publish://;",
        "stream a { input publish:// priority=3; on_play http://a/; dvr /d 7d; push m4fs://o/a; }",
        {"streams": Changes(changed={"a": ("push", "auth", "dvr")})},
    ),
    ("stream m m4f://o/m;", "stream m m4fs://o:80/m;", {"streams": Changes(changed={"m": ("inputs",)})}),
    (
        "source one;",
        "source m4fs://one:80 { prefix p; source_timeout 5; protocols -rtmp; backup v/x.mp4; }",
        {
            "sources": Changes(
                changed={("one", 80): ("tls", "prefix", "source_timeout", "protocols", "backup")}
            )
        },
    ),
    ("source one;", "source one { priority 1; }", {}),
    ("source one;", "source one { priority 3; }", {"source_order": True}),
    (
        "http 80;",
        "http 80; https 443; ssl_certificate /c; ssl_ca /a;",
        {
            "listeners": listening(https=Changes(added=(("", 443),))),
            "globals": ("ssl_certificate", "ssl_certificate_key", "ssl_ca"),
        },
    ),
    (
        "public edge.example;",
        "public https://edge.example;",
        {"peers": Changes(changed={("far", 81): ("public",)})},
    ),
    ("peer far:81 {", "peer new; peer far:81 {", {"peers": Changes(added=(("new", 80),))}),
    (
        "balancer lb { peer near; }",
        "balancer lb { mode streams; peer near max_bitrate=1M; }",
        {"balancers": Changes(changed={"lb": ("mode", "peers")})},
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
    ("http 80;", "http 82;", {"listeners": listening(http=Changes(added=(("", 82),), removed=(("", 80),)))}),
    (
        "http 80;",
        "http 80 { api false; }",
        {"listeners": listening(http=Changes(changed={("", 80): ("api",)}))},
    ),
    ("rtmp 1935;", "", {"listeners": listening(rtmp=Changes(removed=(("", 1935),)))}),
]


class CompareTests(SynchronousTestCase):
    def test_settings_are_fields(self) -> None:
        for words, model in ((STREAM_SETTINGS, StreamConfig), (SOURCE_SETTINGS, SourceConfig)):
            self.assertEqual(words - {each.name for each in attrs.fields(model)}, set())
        rest = {each.name for each in attrs.fields(SourceConfig) if each.eq} - SOURCE_SETTINGS
        self.assertEqual(rest, {"host", "port", "tls", "cluster_key", "prefix", "backup"})

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

    def test_the_page_names_what_changes_at_once(self) -> None:
        root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
        with open(os.path.join(root, "docs", "operations.md"), encoding="utf-8") as file:
            text = file.read().partition("## Reload")[2].partition("\n## ")[0]
        rows = [line.split("|")[1:3] for line in text.splitlines() if line.startswith("|")]

        def told(kind: str) -> set[str]:
            return {
                word.replace("except", "except_")
                for what, happens in rows
                if what.endswith(f" of a {kind} ") and happens.startswith(" at once")
                for word in re.findall(r"`([a-z_]+)`", what)
            }

        self.assertEqual(told("source"), SOURCE_SETTINGS - {"auth"})
        self.assertEqual(told("stream"), STREAM_SETTINGS - {"auth", "password", "push"})

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
