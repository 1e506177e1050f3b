"""Speeds of reads."""

from __future__ import annotations

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from restreamer.dvr.read_counters import ReadCounters


class ReadCountersTests(SynchronousTestCase):
    def test_the_last_seconds(self) -> None:
        """Each place has a speed of its own, over ten seconds; what is older is in the totals only."""
        clock = Clock()
        reads = ReadCounters(clock.seconds)
        self.assertLessEqual(abs(reads.speed("ram") - 0.0), 0.06 * 0.0)
        for _ in range(100):
            reads.add("local", 1000)
            clock.advance(0.25)
        reads.add("remote", 50_000)
        self.assertLessEqual(abs(reads.speed("local") - 4000.0), 0.06 * 4000.0)
        self.assertLessEqual(abs(reads.speed("remote") - 5000.0), 0.06 * 5000.0)
        clock.advance(5.0)
        self.assertLessEqual(abs(reads.speed("local") - 2000.0), 0.11 * 2000.0)
        clock.advance(5.0)
        self.assertEqual((reads.speed("local"), reads.speed("remote")), (0.0, 0.0))
        self.assertEqual(reads.bytes, {"local": 100_000, "remote": 50_000})
        self.assertEqual(reads.segments, {"local": 100, "remote": 1})

    def test_memory(self) -> None:
        """However often something is read, a few samples are kept."""
        clock = Clock()
        reads = ReadCounters(clock.seconds)
        for _ in range(10_000):
            reads.add("ram", 1)
            clock.advance(0.01)
        self.assertLess(len(reads._recent["ram"]), 25)
        self.assertLessEqual(abs(reads.speed("ram") - 100.0), 0.06 * 100.0)
