"""A node that goes over to other options of its sources: links that are needed as before are not touched."""

from __future__ import annotations

import os

from restreamer.config.load import load
from restreamer.config.model import Configuration
from restreamer.node import Node
from test.test_node import HOST, KEY, NodeCase, free_port, reactor, until


class SourceReloadTests(NodeCase):
    def edge(self, port: int, block: str, extra: str = "") -> Node:
        """A started node with one source."""
        node = Node(reactor, self.edge_config(port, block, extra))
        node.startService()
        self.addCleanup(self.stopped, node)
        return node

    def edge_config(self, port: int, block: str, extra: str = "") -> Configuration:
        path = os.path.join(self.folder, "edge.conf")
        with open(path, "w") as file:
            file.write(
                f"http {HOST}:{port}; cluster_key {KEY}; vod media {{ storage {self.folder}; }} {extra}\n"
                f"source {HOST}:{self.http} {{ {block} }}\n"
            )
        os.chmod(path, 0o600)
        return load(path).configuration

    async def test_lists_and_settings(self) -> None:
        origin = self.node(
            f"cluster_key {KEY}; stream a {{ input file://media/demo.mp4; segment_duration 1; }}\n"
            "stream b { input file://media/demo.mp4; segment_duration 1; }"
        )
        port = free_port()
        edge = self.edge(port, "only a;")
        registry = edge.core.registry
        await until(lambda: registry.find("a") is not None and registry.supply("b") is not None)
        (source,) = edge._sources.values()
        entry = registry.find("a")
        assert entry is not None
        await until(lambda: entry.stream.running)
        run = entry.stream.run
        edge.apply(
            self.edge_config(port, "only a; except b; segment_count 9; source_timeout 5; protocols hls;")
        )
        self.assertEqual(list(edge._sources.values()), [source])
        self.assertTrue(source.connected)
        self.assertIsNone(registry.supply("b"))
        self.assertIs(registry.find("a"), entry)
        self.assertEqual((entry.settings.segment_count, entry.stream.window.segment_count), (9, 9))
        self.assertEqual(entry.settings.protocols, {"hls"})
        frames = entry.stream.traffic.frames_in
        await until(lambda: entry.stream.traffic.frames_in > frames)
        self.assertIs(entry.stream.run, run)
        edge.apply(self.edge_config(port, "only; segment_count 9; source_timeout 5;"))
        await until(lambda: registry.supply("a") is not None and registry.supply("b") is not None)
        self.assertEqual(list(edge._sources.values()), [source])
        self.assertTrue(origin.running)

    async def test_what_needs_another_link(self) -> None:
        port = free_port()
        edge = self.edge(port, "")
        (source,) = edge._sources.values()
        for block in ("prefix p;", "prefix p; backup media/x.mp4;", f"prefix p; cluster_key {KEY}x;"):
            edge.apply(self.edge_config(port, block))
            (other,) = edge._sources.values()
            self.assertIsNot(other, source)
            source = other

    async def test_priority(self) -> None:
        port, second = free_port(), f"{HOST}:{free_port()}"
        edge = self.edge(port, "", f"source {second};")
        offers = {str(key[1]): each.offer for key, each in edge._sources.items()}
        edge.apply(self.edge_config(port, "priority 1;", f"source {second};"))
        first = edge.core.configuration.sources
        self.assertEqual([each.port for each in first], [int(second.rpartition(":")[2]), self.http])
        edge.apply(self.edge_config(port, "priority 1;", f"source {second} {{ priority 5; }}"))
        self.assertEqual(edge.core.configuration.sources[0].port, self.http)
        self.assertEqual(offers[str(self.http)].priority, 1)
        self.assertEqual(offers[second.rpartition(":")[2]].priority, 5)
        self.assertEqual([each.offer for each in edge._sources.values()], list(offers.values()))
