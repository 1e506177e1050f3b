"""How busy a node says it is."""

from __future__ import annotations

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from restreamer.cluster.node_load import HOLDS_SECONDS, LoadGauge
from restreamer.m4f.records import NodeLoad


class GaugeTests(SynchronousTestCase):
    def test_measured_once_a_second(self) -> None:
        """However many links tell it."""
        clock = Clock()
        measured: list[NodeLoad] = []

        def measure() -> NodeLoad:
            measured.append(NodeLoad(clients=len(measured)))
            return measured[-1]

        gauge = LoadGauge(clock.seconds, measure)
        for _ in range(100):
            self.assertEqual(gauge.load().clients, 0)
        clock.advance(HOLDS_SECONDS)
        self.assertEqual(gauge.load().clients, 1)
        clock.advance(HOLDS_SECONDS / 2)
        self.assertEqual(gauge.load().clients, 1)
        self.assertEqual(len(measured), 2)
