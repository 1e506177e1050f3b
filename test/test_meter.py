"""Rates of counters."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from restreamer.meter import Meter


class MeterTests(SynchronousTestCase):
    def test_needs_two_samples(self) -> None:
        meter = Meter()
        self.assertIs(meter.rate, None)
        meter.sample(5.0, 100)
        self.assertIs(meter.rate, None)
        meter.sample(5.0, 200)
        self.assertIs(meter.rate, None)

    def test_the_last_seconds(self) -> None:
        meter = Meter(10.0)
        for second in range(100):
            meter.sample(second, 1000 * second if second < 50 else 50_000)
            if second == 40:
                self.assertEqual(meter.rate, 1000.0)
        self.assertEqual((meter.rate, meter.total), (0.0, 50_000))
        self.assertLess(len(meter._samples), 20)

    def test_a_counter_that_lost_a_part(self) -> None:
        """A stream that ended takes its bytes with it; what the others take still counts."""
        meter = Meter(10.0)
        for second, count in enumerate((0, 1000, 2000, 500, 1500)):
            meter.sample(second, count)
        self.assertEqual((meter.total, meter.rate), (3000, 750.0))

    def test_samples_far_apart(self) -> None:
        meter = Meter(10.0)
        meter.sample(0.0, 0)
        meter.sample(100.0, 100)
        self.assertEqual(meter.rate, 1.0)
        meter.sample(200.0, 300)
        self.assertEqual(meter.rate, 2.0)

    @settings(deadline=None, max_examples=100, derandomize=True)
    @given(st.lists(st.tuples(st.floats(0, 100), st.integers(0, 1 << 40)), max_size=50))
    def test_never_negative(self, steps: list[tuple[float, int]]) -> None:
        meter = Meter(10.0)
        now = 0.0
        for step, count in steps:
            now += step
            meter.sample(now, count)
            self.assertGreaterEqual(meter.rate or 0.0, 0.0)
