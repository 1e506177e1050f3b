"""A crowd watches one past at an edge, and a source of it is killed in the middle."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import ClassVar

from typing_extensions import override

from test.e2e.nodes import Node, get, wait_until
from test.e2e.shared import Stage, StageCase, source_of

STREAM = "live/crowd"
VIEWERS = 100


class Crowd(StageCase):
    """An origin and a second node record one stream; an edge has both as sources and records nothing."""

    nodes: ClassVar[list[Node]]

    @override
    @classmethod
    def build(cls, stage: Stage) -> None:
        first = stage.folder / "first"
        second = stage.folder / "second"
        live = f"template live {{ prefix live; input publish://; segment_duration 1; dvr {first} 1d; }}"
        origin = stage.node("origin", live)
        other = stage.node("other", source_of(origin).replace("}", f" dvr {second} 1d; }}"))
        edge = stage.edge("edge", origin, other)
        cls.nodes = [origin, other, edge]
        stage.publish(origin, STREAM)

    def held(self, node: Node) -> tuple[int, int]:
        """Where the past begins, and how long it is, seconds."""
        answer = get(node.http, f"/{STREAM}/recording_status.json")
        ranges = answer.json()[0]["ranges"] if answer.status == 200 else []
        return (ranges[0]["from"], ranges[0]["duration"]) if ranges else (0, 0)

    def remote(self) -> int:
        """Segments that the edge has fetched from its sources."""
        stats = get(self.nodes[2].http, "/streamer/api/v3/config/stats").json()
        return int(stats["dvr"]["reads"]["remote"]["segments"])

    def watch(self, path: str) -> list[bytes]:
        """One viewer: the playlist, then each of its segments."""
        edge = self.nodes[2].http
        playlist = get(edge, path, timeout=20.0)
        self.assertEqual(playlist.status, 200, playlist.body)
        names = [line for line in playlist.body.decode().splitlines() if not line.startswith("#")]
        bodies = []
        for name in names:
            segment = get(edge, f"/{STREAM}/{name}", timeout=20.0)
            self.assertEqual(segment.status, 200, (name, segment.body[:200]))
            bodies.append(segment.body)
        return bodies

    def test_watched_by_many(self) -> None:
        """Each segment is fetched once; after the origin is gone the other node gives the rest."""
        origin, other, _ = self.nodes
        wait_until(lambda: self.held(other)[1] >= 26, 45.0, "both have enough")
        # Nothing of it is in a live window of the edge any more.
        start = self.held(other)[0] + 1
        before = self.remote()
        with ThreadPoolExecutor(VIEWERS) as pool:
            crowd = list(pool.map(self.watch, [f"/{STREAM}/archive-{start}-5.m3u8"] * VIEWERS))
        first = crowd[0]
        self.assertGreaterEqual(len(first), 5)
        self.assertTrue(all(bodies == first for bodies in crowd), "the same bytes for everybody")
        self.assertEqual(self.remote() - before, len(first), "each segment came once")

        origin.kill()
        before = self.remote()
        bodies = self.watch(f"/{STREAM}/archive-{start}-11.m3u8")
        self.assertGreaterEqual(len(bodies), 10)
        self.assertEqual(bodies[: len(first)], first)
        self.assertGreaterEqual(self.remote() - before, len(bodies) - len(first))
