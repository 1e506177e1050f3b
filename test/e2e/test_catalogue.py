"""A thousand streams on a source: how soon an edge knows them, and what they cost while nobody watches."""

from __future__ import annotations

import statistics
import time
from typing import ClassVar

from typing_extensions import override

from bench import catalogue
from test.e2e.machine import Delays
from test.e2e.nodes import Node, wait_until
from test.e2e.players import HttpStream
from test.e2e.shared import Stage, StageCase

STREAMS = 1_000
RUNNING = 5
#: The whole list, and a new name, seconds.
LIST_SECONDS = 2.0
NEW_SECONDS = 0.1
#: What a node with a thousand idle streams may use: share of a core, and bytes beyond a node with none.
IDLE_LOAD = 0.05
IDLE_BYTES = 24 << 20


class ThousandStreams(StageCase):
    """A source with a thousand streams, of which few run, and an edge with C{only mylive/*}."""

    source: ClassVar[Node]
    empty: ClassVar[Node]
    edge: ClassVar[Node]

    @override
    @classmethod
    def build(cls, stage: Stage) -> None:
        cls.source = stage.node("source", catalogue.source_body(STREAMS, RUNNING), loglevel="info")
        cls.empty = stage.node("empty", "", loglevel="info")
        cls.edge = stage.node("edge", catalogue.edge_body(cls.source), loglevel="info")
        took = catalogue.seconds_until_listed(cls.edge, STREAMS, LIST_SECONDS)
        assert took < LIST_SECONDS

    def test_list_comes_back(self) -> None:
        """A source that dies and returns is listed whole again within two seconds of the new link."""
        self.source.kill()
        wait_until(lambda: catalogue.count(self.edge) == 0, 15.0, "its list is forgotten")
        self.source.start()
        self.source.wait_ready()
        catalogue.seconds_until_listed(self.edge, STREAMS, 20.0)
        whole = time.time()
        (told,) = self.edge.get("/streamer/api/v3/cluster/sources").json()["sources"]
        self.assertLess(whole - told["stats"]["opened_at"] / 1000, LIST_SECONDS)
        self.assertEqual(told["stats"]["errors_connection_lost"], 1)

    def test_a_new_name(self) -> None:
        """What is published on the source is on the edge a moment later."""
        with Delays() as delays:
            found = [catalogue.discovery(self.source, self.edge, f"mylive/new{index}") for index in range(5)]
        self.assertLess(statistics.median(found), NEW_SECONDS + delays.allowance, found)

    def test_idle_streams_cost_nothing(self) -> None:
        """Nine hundred and ninety-five idle streams are neither work nor memory."""
        (told,) = self.edge.get("/streamer/api/v3/cluster/sources").json()["sources"]
        stats = told["stats"]
        self.assertEqual((stats["total_streams"], stats["connected"]), (STREAMS, True))
        idle = self.stage.node("idle", catalogue.edge_body(self.source).replace("only mylive/*", "only"))
        catalogue.seconds_until_listed(idle, STREAMS, LIST_SECONDS)
        time.sleep(1.0)
        (share,) = catalogue.load([idle], 3.0)
        self.assertLess(share, IDLE_LOAD)
        self.assertLess(idle.rss() - self.empty.rss(), IDLE_BYTES)
        idle.stop()

    def test_any_of_them_starts(self) -> None:
        """The last of them plays when somebody asks."""
        with HttpStream(self.edge.http, f"/idle/s{STREAMS - RUNNING - 1}/mpegts") as viewer:
            self.assertEqual(viewer.status, 200)
            self.assertGreater(len(viewer.read_for(1.0)), 1_000)
