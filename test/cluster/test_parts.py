"""Low-latency parts on their way through the cluster: every node has them as soon as they are closed."""

from __future__ import annotations

from typing_extensions import override

from restreamer.hls.live_playlists import LivePlaylists
from restreamer.live.cmaf import CmafStream
from restreamer.live.tap import IdleTap
from restreamer.m4f.segment import Part, SegmentBuilder
from restreamer.testing.cluster_rig import RigNode
from test.cluster.test_rig import RigCase


class PartTap(IdleTap):
    """Keeps every part as it is closed, by segment number, and its bytes as a viewer gets them."""

    def __init__(self, node: RigNode) -> None:
        stream = node.stream("x")
        assert stream is not None
        self.parts: dict[int, list[Part]] = {}
        self.bodies: dict[tuple[int, int], bytes] = {}
        self._cmaf = CmafStream(stream)
        stream.attach(self)

    @override
    def part_closed(self, builder: SegmentBuilder) -> None:
        """Keep it."""
        number = builder.opening.number
        self.parts[number] = list(builder.parts)
        place = len(self._cmaf.open_parts("v1")) - 1
        body = self._cmaf.part(number, place, "v1")
        assert body is not None
        self.bodies[number, place] = body


class PartTests(RigCase):
    def play(self, cut: bool) -> list[PartTap]:
        nodes = self.rig.chain("origin", "middle", "edge")
        self.rig.run(1)
        _ = [node.witness("x") for node in nodes]
        nodes[0].publish("x")
        self.rig.run(5)
        self.nodes = nodes
        taps = [PartTap(node) for node in nodes]
        for _ in range(6 if cut else 1):
            self.rig.run(2.3)
            if cut:
                self.rig.network.cut_all("middle")
        self.rig.run(6)
        self.rig.settle()
        return taps

    def test_as_they_are_closed(self) -> None:
        origin, *others = self.play(cut=False)
        self.assertGreater(len(origin.bodies), 30)
        for other in others:
            for key, body in other.bodies.items():
                self.assertEqual(body, origin.bodies[key])
            self.assertGreater(len(other.bodies), len(origin.bodies) - 5)
        self.assertEqual({len(parts) for parts in list(origin.parts.values())[1:-1]}, {10})

    def test_links_that_break(self) -> None:
        """What a node has of an open segment when its link returns is not cut again."""
        origin, *others = self.play(cut=True)
        for other in others:
            for number, parts in other.parts.items():
                self.assertEqual(parts, origin.parts[number][: len(parts)])
            for key, body in other.bodies.items():
                self.assertEqual(body, origin.bodies[key])
        for node in self.nodes:
            stream = node.stream("x")
            assert stream is not None
            self.assertTrue(all(len(entry.segment.parts) == 10 for entry in stream.window.retained[:-1]))

    def test_playlists_agree(self) -> None:
        self.play(cut=False)
        texts = []
        for node in self.nodes:
            stream = node.stream("x")
            assert stream is not None
            texts.append(LivePlaylists().low_latency(stream, "v1", False).decode())
        self.assertEqual(len(set(texts)), 1, texts)
        self.assertIn("#EXT-X-PRELOAD-HINT", texts[0])
        self.assertIn("PART-TARGET=0.205", texts[0])
