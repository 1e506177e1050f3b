"""The network to the used source swallows every packet, with no reset: viewers of the edge lose no frame."""

from __future__ import annotations

from typing import ClassVar

from typing_extensions import override

from test.e2e.crowd import Crowd
from test.e2e.network_namespace import Namespace
from test.e2e.nodes import KEY, Node, free_ports, wait_until
from test.e2e.playlists import check_reload, fetch, wait_segments
from test.e2e.shared import LIVE, Stage, StageCase, source_of
from test.e2e.test_failover import FREEZE_SECONDS, KILL_SECONDS

STREAMS = [f"live/hole{index}" for index in range(10)]


class BlackHole(StageCase):
    """Origin O; L, behind a cable of its own, and R restream it; edge E sources L first, then R."""

    namespace: ClassVar[Namespace]
    origin: ClassVar[Node]
    edge: ClassVar[Node]
    left: ClassVar[str]
    right: ClassVar[Node]

    @override
    @classmethod
    def build(cls, stage: Stage) -> None:
        cls.namespace = namespace = Namespace()
        stage.stack.callback(namespace.close)
        here, there = free_ports(2)
        cls.left = f"{namespace.inside}:{there}"
        cls.origin = stage.node("origin", f"http {namespace.outside}:{here};\n{LIVE}")
        left = stage.prepare(
            "left",
            f"http {cls.left};\nsource {namespace.outside}:{here} {{ cluster_key {KEY}; segment_count 6; }}",
            prefix=namespace.prefix,
        )
        left.start()
        left.wait_log("is up", 15.0)
        cls.right = stage.edge("right", cls.origin)
        cls.edge = stage.node(
            "edge", f"source {cls.left} {{ cluster_key {KEY}; segment_count 6; }}\n{source_of(cls.right)}"
        )
        for stream in STREAMS:
            stage.publish(cls.origin, stream)
        for stream in STREAMS:
            cls.edge.wait_alive(stream, 20.0)
            wait_segments(cls.edge, stream, 2)

    def uses(self, address: str, seconds: float) -> None:
        """Wait until the edge takes all streams from C{address}."""

        def all_of_them() -> bool:
            streams = self.edge.streams()
            return all(streams.get(each, {}).get("stats", {}).get("source_id") == address for each in STREAMS)

        wait_until(all_of_them, seconds, f"the edge takes all streams from {address}")

    def test_black_hole_and_back(self) -> None:
        """Noticed within two seconds; no frame lost, none twice, no discontinuity; the way back is silent."""
        self.uses(self.left, 20.0)
        before = [fetch(self.edge, stream) for stream in STREAMS]
        with Crowd([self.edge, self.origin], STREAMS, self.stage.folder, STREAMS[:2]) as crowd:
            self.namespace.black_hole()
            self.uses(f"127.0.0.1:{self.right.http}", 30.0)
            crowd.assert_silence(self.edge, FREEZE_SECONDS)
            crowd.mark()
            self.namespace.heal()
            self.uses(self.left, 40.0)
            crowd.assert_silence(self.edge, KILL_SECONDS, "the way back")
        crowd.compare(self.edge, self.origin)
        for old, stream in zip(before, STREAMS, strict=True):
            now = fetch(self.edge, stream)
            check_reload(old, now)
            numbers = [segment.number for segment in now.segments]
            self.assertEqual(numbers, list(range(numbers[0], numbers[-1] + 1)))
            for segment in now.segments:
                self.assertFalse(segment.gap or segment.discontinuity, now.text)
