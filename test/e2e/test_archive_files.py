"""A range of an archive as one file: the same bytes on the node that recorded it and an edge that did not."""

from __future__ import annotations

import http.client
from typing import ClassVar

from typing_extensions import override

from test.e2e.elementary import elementary_digests, is_run_of
from test.e2e.nodes import Node, get, wait_until
from test.e2e.players import decode
from test.e2e.publishers import Publisher
from test.e2e.samples import make
from test.e2e.shared import Stage, StageCase

STREAM = "live/past"
#: Seconds of a file.
SECONDS = 5


class Files(StageCase):
    """An origin that records, and an edge."""

    nodes: ClassVar[list[Node]]
    publisher: ClassVar[Publisher]
    start: ClassVar[int]

    @override
    @classmethod
    def build(cls, stage: Stage) -> None:
        root = stage.folder / "files"
        body = f"template live {{ prefix live; input publish://; segment_duration 1; dvr {root} 1d; }}"
        origin = stage.node("origin", body)
        cls.nodes = [origin, stage.edge("edge", origin)]
        cls.publisher = stage.publish(origin, STREAM)
        cls.start = 0

    @override
    def setUp(self) -> None:
        super().setUp()
        if not self.start:
            type(self).start = wait_until(self.recorded, 20.0, "enough is recorded")

    def recorded(self) -> int:
        """A moment with enough behind it; 0: not yet."""
        answer = get(self.nodes[0].http, f"/{STREAM}/recording_status.json")
        if answer.status != 200:
            return 0
        (told,) = answer.json()
        held = (told["ranges"] or [{"from": 0, "duration": 0}])[0]
        return int(held["from"]) + 1 if held["duration"] > SECONDS + 3 else 0

    def path(self, ending: str) -> str:
        return f"/{STREAM}/archive-{self.start}-{SECONDS}.{ending}"

    def check_media(self, node: Node, ending: str) -> bytes:
        """Fetch it, read it as a player does, and compare it with what was published."""
        answer = get(node.http, self.path(ending), timeout=15.0)
        self.assertEqual(answer.status, 200, answer.body[:200])
        folder = node.config.parent
        file = folder / f"{node.name}-{ending.replace('?', '-').replace('=', '-')}.{ending[:3].rstrip('?')}"
        file.write_bytes(answer.body)
        self.assertEqual(decode(str(file), 0).complaints, "", ending)
        original = make(self.publisher.sample)
        for track, codec, least in (("v:0", "h264", 25 * SECONDS), ("a:0", "aac", 46 * SECONDS)):
            published = elementary_digests(original, track, codec)
            seen = elementary_digests(file, track, codec)
            self.assertGreaterEqual(len(seen), least - 3, (ending, track))
            self.assertTrue(is_run_of(seen, published + published), (node.name, ending, track))
        return answer.body

    def test_media(self) -> None:
        """What was published, and nothing to complain of; the same everywhere."""
        for ending in ("mp4", "ts", "mp4?fragmented=true"):
            bodies = {self.check_media(node, ending) for node in self.nodes}
            self.assertEqual(len(bodies), 1, ending)
            self.assertEqual(b"moof" in bodies.pop()[:10_000], "fragmented" in ending)
        whole = get(self.nodes[1].http, self.path("mp4"), timeout=15.0).body
        self.assertLess(whole.index(b"moov"), whole.index(b"mdat"))

    def test_ranges(self) -> None:
        """A part is that part of the whole, whoever gives it."""
        whole = get(self.nodes[0].http, self.path("mp4"), timeout=15.0)
        size = len(whole.body)
        head = whole.body.index(b"mdat") + 12
        parts = [(0, 0), (head - 700, head + 70_000), (size // 3, size // 2), (size - 5, size - 1)]
        for node in self.nodes:
            for first, last in parts:
                headers = {"Range": f"bytes={first}-{last}"}
                part = get(node.http, self.path("mp4"), headers=headers, timeout=15.0)
                self.assertEqual(part.status, 206)
                self.assertEqual(part.headers["content-range"], f"bytes {first}-{last}/{size}")
                self.assertEqual(part.body, whole.body[first : last + 1])
            part = get(node.http, self.path("mp4"), headers={"Range": "bytes=-1000"}, timeout=15.0)
            self.assertEqual(part.body, whole.body[-1000:])
            beyond = get(node.http, self.path("mp4"), headers={"Range": f"bytes={size}-"})
            self.assertEqual(beyond.status, 416)
            self.assertEqual(beyond.headers["content-range"], f"bytes */{size}")
            self.check_head(node, size)

    def check_head(self, node: Node, size: int) -> None:
        """HEAD says the length and sends nothing."""
        connection = http.client.HTTPConnection("127.0.0.1", node.http, timeout=5.0)
        try:
            connection.request("HEAD", self.path("mp4"))
            reply = connection.getresponse()
            self.assertEqual((reply.status, reply.getheader("Content-Length")), (200, str(size)))
            self.assertEqual(reply.read(), b"")
        finally:
            connection.close()
