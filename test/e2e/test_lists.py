"""Streams from files and on demand, and what a source's white, gray and black lists make of them."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import ClassVar

from typing_extensions import override

from test.e2e.browser import Browser
from test.e2e.nodes import KEY, ROOT, Node, wait_until
from test.e2e.players import HttpStream, decode
from test.e2e.playlists import segment_bytes, wait_segments
from test.e2e.rtmp_wire import RefusalError, WireClient
from test.e2e.shared import LIVE, Stage, StageCase

FILES = f"""
vod demo {{ storage {ROOT / "restreamer" / "demo"}; }}
stream film {{ input file://demo/demo.mp4; segment_duration 3; segment_count 6; }}
ondemand later {{ input file://demo/demo.mp4; segment_duration 2; clients_timeout 1; }}
stream secret {{ input file://demo/demo.mp4; segment_duration 2; }}
"""


class Lists(StageCase):
    """An origin with streams from files; an edge that takes some at once, some on demand, one not at all."""

    origin: ClassVar[Node]
    edge: ClassVar[Node]

    @override
    @classmethod
    def build(cls, stage: Stage) -> None:
        cls.origin = stage.node("origin", LIVE + FILES)
        lists = "except secret; clients_timeout 1; segment_count 6;"
        cls.edge = stage.node("edge", f"source 127.0.0.1:{cls.origin.http} {{ cluster_key {KEY}; {lists} }}")
        cls.edge.wait_alive("film")

    def test_file_plays_round_and_round(self) -> None:
        """A file is a live stream: it plays on the edge, its segments are those of the origin."""
        playlist = wait_segments(self.edge, "film", 3)
        with ThreadPoolExecutor(3) as pool:
            urls = [self.edge.url("film", proto) for proto in ("tshttp", "rtmp", "hls")]
            for url, result in zip(urls, pool.map(lambda url: decode(url, 3.0), urls), strict=True):
                self.assertEqual(result.complaints, "", url)
                self.assertGreater(result.frames, 30, url)
        for segment in playlist.segments:
            self.assertEqual(
                segment_bytes(self.edge, "film", segment), segment_bytes(self.origin, "film", segment)
            )

    def test_film_in_a_browser(self) -> None:
        """What C{make run} shows: the film of the program moves in Chromium, on the edge's page."""
        wait_segments(self.edge, "film", 2)
        with Browser.open_or_skip() as browser:
            browser.go(f"http://127.0.0.1:{self.edge.http}/film/embed.html")
            browser.wait_advance(2.0, 25.0)

    def test_on_demand(self) -> None:
        """On demand there is on demand here: the first viewer starts both, and both end after him."""
        for node in (self.origin, self.edge):
            self.assertFalse(node.alive("later"), node.name)
        with HttpStream(self.edge.http, "/later/mpegts") as viewer:
            self.assertEqual(viewer.status, 200)
            self.assertGreater(len(viewer.read_for(1.0)), 1_000)
            self.assertTrue(self.origin.alive("later"))
        for node in (self.edge, self.origin):
            wait_until(lambda: not node.alive("later"), 8.0, f"the stream ends on {node.name}")  # noqa: B023

    def test_black_list(self) -> None:
        """What is on the black list is not there at all."""
        self.assertTrue(self.origin.alive("secret"))
        self.assertNotIn("secret", self.edge.streams())
        self.assertEqual(self.edge.get("/secret/mpegts").status, 404)

    def test_local_wins(self) -> None:
        """A local publish of a remote name hides the remote stream at once and gives it back when it ends."""
        local = self.stage.node(
            "local", f"{LIVE}\nsource 127.0.0.1:{self.origin.http} {{ cluster_key {KEY}; }}"
        )
        local.wait_alive("film")
        with self.stage.publish(self.origin, "live/both"):
            local.wait_alive("live/both")
            self.assertIs(remote(local), True)
            with self.stage.publish(local, "live/both"):
                wait_until(lambda: remote(local) is False, 5.0, "the local one is shown")
            wait_until(lambda: remote(local) is True, 5.0, "the remote one is shown again")
        local.stop()

    def test_unknown_names(self) -> None:
        """A name nobody has is refused at once over HTTP and RTMP, and leaves nothing behind."""
        before = set(self.edge.streams())
        for index in range(20):
            self.assertEqual(self.edge.get(f"/none{index}/index.m3u8").status, 404)
        client = WireClient.connect(self.edge.rtmp, "live")
        self.addCleanup(client.close)
        client.play("none")
        self.assertRaises(RefusalError, client.expect, b"NetStream.Play.Start")
        self.assertEqual(set(self.edge.streams()), before)


def remote(node: Node) -> bool | None:
    """Whether C{live/both} is alive on C{node} and comes from another node; None when it is not alive."""
    stats = node.streams().get("live/both", {}).get("stats", {})
    return bool(stats.get("remote")) if stats.get("alive") else None
