"""A past range as RTMP and RTSP players see it, from the node that recorded it and an edge that did not."""

from __future__ import annotations

import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from typing import ClassVar

from typing_extensions import override

from test.e2e.elementary import elementary_digests, is_run_of
from test.e2e.nodes import Node, free_ports, get, wait_until
from test.e2e.publishers import Publisher
from test.e2e.samples import make
from test.e2e.shared import Stage, StageCase

STREAM = "live/replayed"
#: Seconds of the range.
SECONDS = 3


class Players(StageCase):
    """An origin that records, and an edge."""

    nodes: ClassVar[list[Node]]
    ports: ClassVar[dict[str, int]]
    publisher: ClassVar[Publisher]

    @override
    @classmethod
    def build(cls, stage: Stage) -> None:
        root = stage.folder / "replayed"
        body = f"template live {{ prefix live; input publish://; segment_duration 1; dvr {root} 1d; }}"
        first, second = free_ports(2)
        origin = stage.node("origin", f"rtsp 127.0.0.1:{first};\n{body}")
        cls.nodes = [origin, stage.edge("edge", origin, body=f"rtsp 127.0.0.1:{second};")]
        cls.ports = {"origin": first, "edge": second}
        cls.publisher = stage.publish(origin, STREAM)

    def recorded(self) -> int:
        """A moment with enough behind it; 0: not yet."""
        answer = get(self.nodes[0].http, f"/{STREAM}/recording_status.json")
        if answer.status != 200:
            return 0
        (told,) = answer.json()
        held = (told["ranges"] or [{"from": 0, "duration": 0}])[0]
        return int(held["from"]) + 1 if held["duration"] > SECONDS + 3 else 0

    def play(self, node: Node, scheme: str, start: int) -> tuple[Node, str, list[str], list[str], float]:
        """Play until it ends by itself; digests of what came, and the seconds it took."""
        port = node.rtmp if scheme == "rtmp" else self.ports[node.name]
        file = node.config.parent / f"{node.name}-{scheme}"
        url = f"{scheme}://127.0.0.1:{port}/{STREAM}?from={start}&to={start + SECONDS}"
        # Each way of RTSP on one of the nodes.
        how = ["-rtsp_transport", "tcp" if node is self.nodes[0] else "udp"] if scheme == "rtsp" else []
        # Without time stamps: of B frames RTSP tells no decoding times.
        command = ["ffmpeg", "-v", "error", "-y", *how, "-i", url]
        command += ["-map", "0:v", "-c", "copy", "-f", "h264", f"{file}.h264"]
        command += ["-map", "0:a", "-c", "copy", "-f", "matroska", f"{file}.mka"]
        began = time.monotonic()
        ran = subprocess.run(command, timeout=14.0, capture_output=True, check=False)
        self.assertEqual(ran.returncode, 0, (node.name, scheme, ran.stderr[-300:]))
        took = time.monotonic() - began
        video = elementary_digests(f"{file}.h264", "v:0", "h264")
        return node, scheme, video, elementary_digests(f"{file}.mka", "a:0", "aac"), took

    def test_same(self) -> None:
        """Everything of the range as it was published, in the time it takes; then the end."""
        start = wait_until(self.recorded, 20.0, "enough is recorded")
        wanted = [(node, scheme) for node in self.nodes for scheme in ("rtmp", "rtsp")]
        with ThreadPoolExecutor() as pool:
            played = list(pool.map(lambda each: self.play(each[0], each[1], start), wanted))
        original = make(self.publisher.sample)
        for place, (track, codec, least) in enumerate((("v:0", "h264", 25), ("a:0", "aac", 46))):
            published = elementary_digests(original, track, codec)
            for node, scheme, video, audio, took in played:
                seen = (video, audio)[place]
                self.assertGreaterEqual(len(seen), least * SECONDS - 3, (node.name, scheme, track))
                self.assertTrue(is_run_of(seen, published + published), (node.name, scheme, track))
                self.assertLess(took, SECONDS + 5.0)
                self.assertGreater(took, SECONDS - 1.5)
