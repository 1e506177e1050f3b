"""Streams on demand through a chain of nodes, names that nobody has, and names that are listed and broken."""

from __future__ import annotations

import http.client
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import ClassVar

from typing_extensions import override

from test.e2e.nodes import KEY, ROOT, Node, wait_until
from test.e2e.players import HttpStream, decode
from test.e2e.playlists import fetch, segment_bytes
from test.e2e.rtmp_wire import RefusalError, WireClient
from test.e2e.shared import LIVE, Stage, StageCase

ORIGIN = f"""
vod demo {{ storage {ROOT / "restreamer" / "demo"}; }}
ondemand film {{ input file://demo/demo.mp4; segment_duration 2; clients_timeout 1; }}
ondemand other {{ input file://demo/demo.mp4; segment_duration 2; clients_timeout 1; }}
ondemand crowd {{ input file://demo/demo.mp4; segment_duration 2; clients_timeout 1; }}
ondemand broken {{ input file://demo/missing.mp4; segment_duration 2; clients_timeout 1; }}
"""
#: From a request at the end of the chain to its first media, when nothing runs anywhere, seconds.
START_SECONDS = 1.0
#: What thousands of requests for nothing may leave behind, bytes.
GROWTH = 8 << 20
UNKNOWN = 10_000
UNKNOWN_RTMP = 300


def options(source: Node) -> str:
    """An edge of C{source} that lets go of streams soon."""
    return f"source 127.0.0.1:{source.http} {{ cluster_key {KEY}; clients_timeout 1; segment_count 6; }}"


class Chain(StageCase):
    """Origin, middle, edge; nothing runs until somebody asks the edge."""

    expected_alarms = ("missing.mp4",)
    origin: ClassVar[Node]
    middle: ClassVar[Node]
    edge: ClassVar[Node]

    @override
    @classmethod
    def build(cls, stage: Stage) -> None:
        cls.origin = stage.node("origin", LIVE + ORIGIN)
        cls.middle = stage.node("middle", options(cls.origin))
        cls.edge = stage.node("edge", options(cls.middle))
        wait_until(lambda: "broken" in cls.edge.streams(), 10.0, "the list came through")

    def running(self, name: str) -> list[str]:
        """The nodes on which C{name} runs."""
        return [node.name for node in (self.origin, self.middle, self.edge) if node.alive(name)]

    def test_starts_as_a_whole(self) -> None:
        """The first request starts all three nodes and is answered at the first keyframe; all end later."""
        self.assertEqual(self.running("film"), [])
        began = time.monotonic()
        with HttpStream(self.edge.http, "/film/mpegts") as viewer:
            self.assertEqual(viewer.status, 200)
            self.assertTrue(viewer.rest or viewer.read())
            self.assertLess(time.monotonic() - began, START_SECONDS)
            self.assertEqual(self.running("film"), ["origin", "middle", "edge"])
        wait_until(lambda: not self.running("film"), 12.0, "the chain ends")

    def test_every_protocol(self) -> None:
        """RTMP and HLS start it, too, without a refused state in between."""
        began = time.monotonic()
        client = WireClient.connect(self.edge.rtmp, "")
        self.addCleanup(client.close)
        client.play("other")
        client.expect(b"NetStream.Play.Start")
        self.assertLess(time.monotonic() - began, START_SECONDS)
        playlist = self.edge.get("/other/index.m3u8", timeout=12.0)
        self.assertEqual(playlist.status, 200)
        segment = fetch(self.edge, "other").segments[-1]
        self.assertEqual(
            segment_bytes(self.edge, "other", segment), segment_bytes(self.origin, "other", segment)
        )

    def test_crowd(self) -> None:
        """Many viewers of a cold stream at once are one start, and all of them get it."""
        with ThreadPoolExecutor(20) as pool:
            results = list(pool.map(lambda _: decode(self.edge.url("crowd", "tshttp"), 1.0), range(20)))
        self.assertEqual([result.complaints for result in results if result.complaints], [])
        self.assertTrue(all(result.frames > 20 for result in results))
        for node in (self.middle, self.edge):
            (source,) = node.get("/streamer/api/v3/cluster/sources").json()["sources"]
            self.assertEqual(source["stats"]["errors_connection_lost"], 0, source)
            told = node.streams()["crowd"]
            self.assertEqual(
                [(each["stats"]["state"], each["stats"]["input_switches"]) for each in told["inputs"]],
                [("feeding", 1)],
                told,
            )
            self.assertLess(told["stats"]["lag"], 500)

    def test_broken_name(self) -> None:
        """A stream that is listed and cannot start is refused soon, then at once; others notice nothing."""
        began = time.monotonic()
        answer = self.edge.get("/broken/mpegts", timeout=15.0)
        took = time.monotonic() - began
        self.assertEqual((answer.status, answer.headers.get("retry-after")), (503, "1"))
        self.assertLess(took, 5.0)
        self.assertNotIn(b"missing", answer.body)
        began = time.monotonic()
        for path in ("/broken/index.m3u8", "/broken/mpegts"):
            self.assertEqual(self.edge.get(path).status, 503)
        self.assertLess(time.monotonic() - began, 1.0)

    def test_names_nobody_has(self) -> None:
        """Ten thousand requests for such names leave nothing behind, over HTTP and RTMP."""
        self.refused(range(500), 20)
        before, descriptors = self.edge.rss(), self.edge.descriptors()
        statuses = self.refused(range(500, UNKNOWN), UNKNOWN_RTMP)
        self.assertEqual(set(statuses), {404, "refused"})
        self.assertLess(self.edge.rss() - before, GROWTH)
        # The journal may have been opened meanwhile: a database, its log and index.
        wait_until(lambda: self.edge.descriptors() <= descriptors + 6, 10.0, "descriptors are given back")
        self.assertEqual([name for name in self.edge.streams() if name.startswith("none")], [])

    def refused(self, names: range, plays: int) -> Counter[object]:
        """What requests for C{none0}… are answered."""
        found: Counter[object] = Counter()
        connection = http.client.HTTPConnection("127.0.0.1", self.edge.http, timeout=10.0)
        for index in names:
            kind = ("index.m3u8", "mpegts", "2026/11/22/13/05/07-05000.ts")[index % 3]
            connection.request("GET", f"/none{index}/{kind}")
            reply = connection.getresponse()
            reply.read()
            found[reply.status] += 1
        connection.close()
        for index in range(plays):
            client = WireClient.connect(self.edge.rtmp, "")
            client.play(f"none{index}")
            try:
                client.expect(b"NetStream.Play.Start")
                found["played"] += 1
            except RefusalError:
                found["refused"] += 1
            finally:
                client.close()
        return found
