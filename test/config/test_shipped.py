"""The shipped files load, and the page on the configuration says all there is."""

from __future__ import annotations

import glob
import os
import re

from twisted.trial.unittest import SynchronousTestCase

from restreamer.config import model, shared_options, stream_options
from restreamer.config.load import Loaded, load, parse
from restreamer.config.resolve import resolve_stream
from restreamer.config.words import (
    BALANCER_MODES,
    KNOWN,
    KNOWN_NODE_SCHEMES,
    KNOWN_PROTOCOLS,
    KNOWN_PUSH_SCHEMES,
    KNOWN_SCHEMES,
    LOG_LEVELS,
    PROTOCOL_ALIASES,
    PROTOCOLS,
    PUSH_SCHEMES,
    SERVED,
    SERVED_SCHEMES,
)

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
EXPLAINED = 0.3


def shipped(name: str) -> Loaded:
    return load(os.path.join(ROOT, "conf", name), examples=True)


def page() -> str:
    with open(os.path.join(ROOT, "docs", "config.md"), encoding="utf-8") as file:
        return file.read()


#: Words that warn of an example's secret.
EXAMPLES = {"allow", "cluster_key", "on_play"}


class ShippedTests(SynchronousTestCase):
    def test_every_file_loads_and_is_explained(self) -> None:
        paths = sorted(glob.glob(os.path.join(ROOT, "conf", "*.conf")))
        self.assertEqual(
            [os.path.basename(each) for each in paths],
            [
                "authorised.conf",
                "demo-edge.conf",
                "demo-origin.conf",
                "edge.conf",
                "origin.conf",
                "record-to-s3.conf",
                "restreamer.conf",
            ],
        )
        for path in paths:
            with self.subTest(path):
                loaded = load(path, examples=True)
                # Only that the key of the examples is no secret.
                self.assertEqual({each.word for each in loaded.warnings} - EXAMPLES, set())
                with open(path, encoding="utf-8") as file:
                    lines = [line.strip() for line in file if line.strip()]
                self.assertTrue(sum(line.startswith("#") for line in lines) > EXPLAINED * len(lines))
                self.assertTrue(all(len(line) <= 120 for line in lines))

    def test_commented_examples_are_right_too(self) -> None:
        for path in glob.glob(os.path.join(ROOT, "conf", "*.conf")):
            with open(path, encoding="utf-8") as file:
                text = file.read()
            text = re.sub(r"(?m)^( *)# ((?:  )*(?:[a-z_]+ [^ \n]*.*[;{]|\}))$", r"\1\2", text)
            with self.subTest(path):
                self.assertEqual(
                    {each.word for each in parse(text, path).warnings} - EXAMPLES,
                    set(),
                )

    def test_default(self) -> None:
        loaded = shipped("restreamer.conf")
        self.assertEqual(loaded.warnings, ())
        self.assertEqual([each.port for each in loaded.configuration.http], [8080])
        self.assertEqual([each.port for each in loaded.configuration.rtmp], [1935])
        stream = resolve_stream(loaded.configuration, "live/x")
        assert stream is not None
        self.assertTrue(stream.takes_publisher)

    def test_demo_fits_together(self) -> None:
        origin, edge = shipped("demo-origin.conf").configuration, shipped("demo-edge.conf").configuration
        self.assertEqual([each.port for each in (*origin.http, *origin.rtmp)], [8080, 1935])
        self.assertEqual([each.port for each in (*edge.http, *edge.rtmp)], [8081, 1936])
        self.assertEqual(edge.sources[0].key, ("127.0.0.1", 8080))
        self.assertEqual(edge.sources[0].cluster_key, origin.cluster_key)
        found = origin.streams["demo"].inputs[0]
        path = os.path.join(origin.vods[found.host].storages[0], found.path)
        self.assertTrue(os.path.isfile(path), path)

    def test_record_to_s3(self) -> None:
        stream = resolve_stream(shipped("record-to-s3.conf").configuration, "live/x")
        assert stream is not None and stream.dvr is not None and stream.dvr.copy is not None
        self.assertEqual((stream.dvr.root, stream.dvr.copy_depth), ("/var/lib/restreamer/dvr", 30 * 86400))
        self.assertNotIn("SECRET", repr(stream) + str(stream.dvr.copy))

    def test_origin_and_edge_fit_together(self) -> None:
        origin, edge = shipped("origin.conf").configuration, shipped("edge.conf").configuration
        self.assertEqual({each.cluster_key for each in edge.sources}, {origin.cluster_key})


class PageTests(SynchronousTestCase):
    def section(self, title: str) -> str:
        match = re.search(rf"(?ms)^##+ {re.escape(title)}\n(.*?)(?=^## |^### |\Z)", page())
        assert match is not None, title
        return match[1]

    def test_every_served_word_is_documented(self) -> None:
        titles = {
            "file": "Top level",
            "input": "Inputs",
            "backup": "Backup",
            "push": "Push",
            "member": "balancer block",
            "dvr option": "Recording",
            "cache option": "Segment cache",
        }
        for block, words in SERVED.items():
            section = self.section(titles.get(block, f"{block} block"))
            for word in words:
                with self.subTest(block=block, word=word):
                    self.assertTrue(re.search(rf"`{word}\b", section), f"{word} in {block}")
        for scheme in SERVED_SCHEMES:
            self.assertIn(f"`{scheme}://", self.section("Inputs"))
        for scheme in PUSH_SCHEMES:
            self.assertIn(f"`{scheme}://", self.section("Push"))
        for word in (*PROTOCOLS, *PROTOCOL_ALIASES):
            self.assertIn(f"`{word}`", self.section("stream block"))
        for word in BALANCER_MODES:
            self.assertIn(f"`{word}` (" if word != "streams" else "`streams`", self.section("balancer block"))

    def test_limits_are_true(self) -> None:
        section = self.section("stream block")
        self.assertIn(f"repeatable up to {stream_options.MAX_INPUTS} times", section)
        self.assertIn(f"repeatable up to {shared_options.MAX_PUSHES} times", section)
        self.assertIn(f"at most {shared_options.MAX_PREPUSH};", section)
        for title in ("Inputs", "source block"):
            self.assertIn(
                f"{shared_options.MIN_PRIORITY} to {shared_options.MAX_PRIORITY}", self.section(title)
            )
        self.assertIn(f"({model.DEFAULT_HTTPS_PORT} when not given)", self.section("Inputs"))

    def test_every_known_word_is_listed(self) -> None:
        titles = {
            "file": "At the top level",
            "http": "In an http block",
            "vod": "In a vod block",
            "source": "In a source block",
            "peer": "In a peer block",
            "balancer": "In a balancer block",
            "input": "As options of an input",
            "push": "As options of a push",
            "dvr": "In a dvr block",
            "event_sink": "In an event_sink block",
            "dvr option": "As options of a dvr",
        }
        for block, words in KNOWN.items():
            if not words:
                continue
            listed = set(
                re.findall(
                    r"`([a-z0-9_]+)`", self.section(titles.get(block, "In stream, template and live blocks"))
                )
            )
            self.assertEqual(listed, words, block)
        inputs, pushes, rest = re.split(r"\n(?=Pushes|A `source`)", self.section("URL schemes"))
        self.assertEqual(set(re.findall(r"`([a-z0-9-]+)://`", inputs)), KNOWN_SCHEMES)
        self.assertEqual(set(re.findall(r"`([a-z0-9-]+)://`", pushes)), KNOWN_PUSH_SCHEMES)
        self.assertEqual(set(re.findall(r"`([a-z0-9-]+)://`", rest)), KNOWN_NODE_SCHEMES)
        listed = set(re.findall(r"`([a-z0-9]+)`", self.section("Protocols")))
        self.assertEqual(listed - {"protocols"}, KNOWN_PROTOCOLS)

    def test_defaults_and_ranges_are_true(self) -> None:
        section = self.section("stream block")
        for word, value in [
            ("segment_duration", model.DEFAULT_SEGMENT_DURATION),
            ("segment_count", model.DEFAULT_SEGMENT_COUNT),
            ("source_timeout", round(model.DEFAULT_SOURCE_TIMEOUT)),
            ("clients_timeout", round(model.DEFAULT_CLIENTS_TIMEOUT)),
        ]:
            self.assertTrue(re.search(rf"`{word} [A-Z]+;` \| `{value}` \|", section), word)
        self.assertIn(f"{shared_options.MIN_SEGMENT_COUNT} to {shared_options.MAX_SEGMENT_COUNT}", section)
        self.assertIn(
            f"{stream_options.MIN_SEGMENT_DURATION} to {stream_options.MAX_SEGMENT_DURATION}", section
        )
        self.assertIn(", ".join(f"`{each}`" for each in LOG_LEVELS[:-1]), self.section("Top level"))
        self.assertIn(f"port {model.DEFAULT_HTTP_PORT}", self.section("Top level"))

    def test_every_example_is_right(self) -> None:
        examples = re.findall(r"(?ms)^```\n(.*?)^```", page())
        self.assertTrue(len(examples) >= 8)
        for example in examples:
            if example.startswith("$") or "include" in example:
                continue
            text = example
            if "cluster_key" not in example.split("source")[0]:
                text += "cluster_key 0123456789abcdef;"
            if "vod" not in example:
                text += "vod movies { storage /x; }"
            with self.subTest(example):
                self.assertEqual({each.word for each in parse(text).warnings} - EXAMPLES, set())
