"""Two nodes that record one stream: each fills from the other what it lacks, slowly, and once."""

from __future__ import annotations

import time
from collections.abc import Container
from pathlib import Path
from typing import Any, ClassVar

from attrs import evolve
from typing_extensions import override

from restreamer.dvr.recorded import Recorded
from restreamer.dvr.replication import RATE
from restreamer.dvr.store import Store
from restreamer.m4f.records import RunInfo
from restreamer.m4f.segment import SegmentBuilder, SegmentOpening
from restreamer.media.timebase import TICKS_PER_SECOND
from restreamer.testing.media import h264_track, video_frames
from test.e2e.nodes import Node, free_ports, wait_until
from test.e2e.shared import Stage, StageCase

STREAM = "x"
SECONDS = 2
#: Of all, and of a segment.
COUNT = 16
SIZE = 1_500_000
#: What the first node lacks, and the second one.
LACKS = (range(2, 4), range(5, 15))


def record(root: Path, begin: int, lacking: Container[int]) -> None:
    """An archive with a gap. @param begin: where it begins, UTC seconds."""
    track = h264_track()
    frames = video_frames(SECONDS, gop=50, start=0, bitrate=SIZE * 8 // SECONDS)
    store = Store(str(root))
    store.open()
    try:
        for place in range(COUNT):
            start = (begin + SECONDS * place) * TICKS_PER_SECOND
            number = start // (SECONDS * TICKS_PER_SECOND)
            builder = SegmentBuilder(SegmentOpening(number, start, False, True, 0, (track,)))
            builder.extend([evolve(frame, dts=frame.dts + start) for frame in frames])
            run = RunInfo(7, begin * TICKS_PER_SECOND, bytes(16), ())
            if place not in lacking:
                store.stream(STREAM).append([Recorded(builder.close(SECONDS * TICKS_PER_SECOND), run, False)])
    finally:
        store.close()


class BothWays(StageCase):
    """Each takes the stream from a publisher, or from the other one."""

    nodes: ClassVar[list[Node]]
    begin: ClassVar[int]

    @override
    @classmethod
    def build(cls, stage: Stage) -> None:
        ports = free_ports(4)
        cls.begin = int(time.time()) // 3600 * 3600 - 3600
        cls.nodes = []
        for place, name in enumerate(("first", "second")):
            root = stage.folder / f"{name}-archive"
            record(root, cls.begin, LACKS[place])
            other = ports[2 * (1 - place)]
            body = (
                f"stream {STREAM} {{ input publish://; input m4f://127.0.0.1:{other}/{STREAM}; "
                f"dvr {root} 1d 99% replicate; }}"
            )
            cls.nodes.append(stage.prepare(name, body, http=ports[2 * place], rtmp=ports[2 * place + 1]))
        for node in cls.nodes:
            node.start()
        for node in cls.nodes:
            node.wait_ready()

    def replication(self, node: Node) -> dict[str, Any]:
        """How it goes."""
        answer = node.get(f"/streamer/api/v3/streams/{STREAM}")
        found: dict[str, Any] = answer.json()["stats"]["dvr_info"]["replication"]
        return found

    def whole(self, node: Node) -> bool:
        """Whether there is no gap."""
        answer = node.get(f"/{STREAM}/recording_status.json?from=0&to=now")
        ranges = answer.json()[0]["ranges"] if answer.status == 200 else []
        return bool(ranges == [{"from": self.begin, "duration": SECONDS * COUNT}])

    def test_filled(self) -> None:
        """The second one is killed for some seconds in the middle, and goes on where it was."""
        first, second = self.nodes
        before = wait_until(
            lambda: told if (told := self.replication(second))["fetched"] >= 4 else None, 20.0, "it fetches"
        )
        self.assertFalse(self.whole(second))
        # What was fetched is on the disk a second later.
        time.sleep(1.2)
        second.kill()
        time.sleep(1.0)
        second.start()
        began = time.monotonic()
        second.wait_ready()
        wait_until(lambda: self.whole(second), 20.0, "the gap is filled")
        took = time.monotonic() - began
        after = self.replication(second)
        self.assertLessEqual(after["fetched"], len(LACKS[1]) - before["fetched"])
        self.assertEqual(after["gone"], 0)
        # The first one waits for nothing. The others as the rate says, whatever the link could carry.
        self.assertGreater(took, 0.9 * (after["fetched"] - 1) * SIZE / RATE)
        wait_until(lambda: self.whole(first), 20.0, "the other way, too")
        path = f"/{STREAM}/archive-{self.begin}-{SECONDS * COUNT}.ts"
        answers = [node.get(path, timeout=20.0) for node in self.nodes]
        self.assertEqual([each.status for each in answers], [200, 200])
        self.assertGreater(len(answers[0].body), COUNT * SIZE)
        self.assertTrue(answers[0].body == answers[1].body, "the same bytes")
