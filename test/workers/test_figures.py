"""What the main process makes of the figures of its workers."""

from __future__ import annotations

from collections.abc import Mapping

from twisted.trial.unittest import SynchronousTestCase

from restreamer.workers.figures import Row, Totals
from restreamer.workers.messages import Figures


def figures(sent: int, **streams: int) -> Figures:
    """Of a worker that sent so much in all, and so much of each stream to two viewers."""
    rows: Mapping[str, tuple[int, Mapping[str, Row]]] = {
        name: (size, {"mpegts": (2, 3, 0, 0, size, 0.1)}) for name, size in streams.items()
    }
    return Figures(sent=sent, connections=1, resident=1, late=0.0, cpu=0.0, streams=rows)


class Counters(SynchronousTestCase):
    """They do not go back while there is the stream."""

    def test_added(self) -> None:
        totals = Totals()
        totals.told(1, figures(100, a=60))
        totals.told(2, figures(50, a=40, b=10))
        self.assertEqual((totals.sent, totals.stream_sent("a"), totals.stream_sent("b")), (150, 100, 10))
        self.assertEqual(totals.containers("a"), {"mpegts": (4, 6, 0, 0, 100, 0.1)})

    def test_a_worker_dies(self) -> None:
        totals = Totals()
        totals.told(1, figures(100, a=60))
        totals.told(2, figures(50, a=40))
        totals.gone(1)
        self.assertEqual((totals.sent, totals.stream_sent("a")), (150, 100))
        self.assertEqual(totals.containers("a"), {"mpegts": (2, 6, 0, 0, 100, 0.1)})
        totals.told(1, figures(5, a=5))
        self.assertEqual((totals.sent, totals.stream_sent("a")), (155, 105))
        totals.gone(3)

    def test_a_worker_lets_a_stream_go(self) -> None:
        """Nobody watches it there; then somebody does again."""
        totals = Totals()
        told = []
        for one in (
            figures(100, a=60),
            figures(100),
            figures(120, a=20),
            figures(130, a=30),
            figures(131, a=1),
        ):
            totals.told(1, one)
            told.append(totals.stream_sent("a"))
        self.assertEqual(told, [60, 60, 80, 90, 91])
        self.assertEqual(totals.containers("a")["mpegts"][0], 2)

    def test_streams_that_are_gone(self) -> None:
        """What was kept of them goes."""
        here = {"a", "b"}
        totals = Totals(here.__contains__)
        totals.told(1, figures(100, a=60))
        totals.gone(1)
        here.remove("a")
        totals.told(1, figures(100, b=60))
        totals.gone(1)
        self.assertEqual((totals.stream_sent("a"), totals.stream_sent("b")), (0, 60))
