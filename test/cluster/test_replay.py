"""A clip that is published again is not the same content now: it is shown at once, marked as a break."""

from __future__ import annotations

from restreamer.media.timebase import TICKS_PER_SECOND
from test.cluster.test_rig import RigCase


class ReplayTests(RigCase):
    def test_a_publisher_begins_anew_at_a_crashed_origin(self) -> None:
        """All its frames are in the edge's window already, from seconds ago: followers do not wait until they
        have passed."""
        origin, edge = self.rig.chain("origin", "edge")
        self.rig.run(1)
        origin.publish("x")
        self.rig.run(9)
        origin.crash()
        self.rig.publishers.clear()
        again = self.rig.node("origin")
        again.publish("x")
        witness = edge.witness("x")
        self.rig.run(6)
        stream = edge.stream("x")
        assert stream is not None and stream.last_dts is not None
        self.assertLess(abs(edge.utc.ticks() - stream.last_dts), TICKS_PER_SECOND // 2)
        marks = [entry.number for entry in stream.window.retained if entry.discontinuity]
        self.assertEqual(len(marks), 1, marks)
        times = [frame.dts for frame in witness.frames if frame.track_id == 1]
        self.assertEqual(times, sorted(set(times)))
        self.assertGreater(len(times), 80)
