"""Options of a source's block: they hold for every stream that is taken through it."""

from __future__ import annotations

import time
from typing import ClassVar

from typing_extensions import override

from test.e2e.browser import CELLS, Browser
from test.e2e.nodes import KEY, Node, get, wait_until
from test.e2e.players import HttpStream
from test.e2e.playlists import wait_segments
from test.e2e.rtmp_wire import RefusalError, WireClient
from test.e2e.shared import LIVE, Stage, StageCase, source_of

STREAM = "live/options"
PREFIX = "https://cdn.example.net/video"
PREPUSH = 5.0


class Options(StageCase):
    """One origin; edges that differ in their options; an edge of an edge that gives nothing on."""

    origin: ClassVar[Node]
    plain: ClassVar[Node]
    ahead: ClassVar[Node]
    closed: ClassVar[Node]
    behind: ClassVar[Node]

    @override
    @classmethod
    def build(cls, stage: Stage) -> None:
        def edge(name: str, options: str) -> Node:
            return stage.node(
                name,
                f"source 127.0.0.1:{cls.origin.http} {{ cluster_key {KEY}; segment_count 6; {options} }}",
            )

        cls.origin = stage.node("origin", LIVE)
        cls.plain = edge("plain", "")
        cls.ahead = edge("ahead", f"prepush {PREPUSH:.0f}; url_prefix {PREFIX};")
        cls.closed = edge("closed", "protocols -rtmp -m4f -mpegts;")
        cls.behind = stage.node("behind", source_of(cls.closed))
        stage.publish(cls.origin, STREAM)
        for node in (cls.plain, cls.ahead, cls.closed):
            node.wait_alive(STREAM)
            wait_segments(node, STREAM, 5)

    def test_url_prefix(self) -> None:
        """Segments are at the prefix, by the stream's name; everything else in the playlist is the same."""
        plain = wait_segments(self.plain, STREAM, 3)
        text = get(self.ahead.http, f"/{STREAM}/index.m3u8").body.decode()
        uris = [line for line in text.splitlines() if line and not line.startswith("#")]
        self.assertTrue(uris and all(uri.startswith(f"{PREFIX}/{STREAM}/20") for uri in uris), text)
        self.assertIn(plain.segments[-1].uri, text)
        path = uris[-1].removeprefix(PREFIX)
        self.assertEqual(get(self.ahead.http, path).status, 200)

    def test_protocols(self) -> None:
        """What is excluded is refused; HLS is left; other nodes are not even told of the stream."""
        self.assertEqual(get(self.closed.http, f"/{STREAM}/mpegts").status, 403)
        self.assertEqual(get(self.closed.http, f"/{STREAM}/index.m3u8").status, 200)
        client = WireClient.connect(self.closed.rtmp, "live")
        self.addCleanup(client.close)
        client.play("options")
        self.assertRaises(RefusalError, client.expect, b"NetStream.Play.Start")
        sources = "/streamer/api/v3/cluster/sources"

        def connected() -> bool:
            return bool(get(self.behind.http, sources).json()["sources"][0]["stats"]["connected"])

        wait_until(connected, 5.0, "the edge behind is connected")
        self.assertEqual(self.behind.streams(), {})
        self.assertEqual(get(self.behind.http, f"/{STREAM}/index.m3u8").status, 404)

    def test_prepush(self) -> None:
        """A viewer begins some seconds in the past, so it has more at once than one who begins at the newest
        keyframe."""
        rate = self.bytes_at_once(self.plain, 4.0) / 4.0
        burst = self.bytes_at_once(self.ahead, 0.4)
        self.assertGreater(burst, 0.7 * PREPUSH * rate)

    def test_status_page(self) -> None:
        """The page of an edge shows its source, and how late the stream comes from it."""
        with Browser.open_or_skip() as browser:
            browser.go(f"http://127.0.0.1:{self.plain.http}/")

            def shown() -> list[list[str]] | None:
                found: list[list[str]] = browser.run(CELLS)
                return found if len(found) == 2 else None

            stream, source = wait_until(shown, 10.0, "a row of each table")
        self.assertEqual((stream[0], stream[1]), (STREAM, "running"), stream)
        self.assertTrue(stream[6].isdigit(), stream)
        self.assertEqual(source[:3], [f"m4f://127.0.0.1:{self.origin.http}", "connected", "1 / 1"])

    def bytes_at_once(self, node: Node, seconds: float) -> int:
        """Bytes that a new viewer of C{node} gets within C{seconds}."""
        with HttpStream(node.http, f"/{STREAM}/mpegts", timeout=5.0) as viewer:
            until = time.monotonic() + seconds
            got = len(viewer.rest)
            while time.monotonic() < until:
                got += len(viewer.read())
            return got
