"""A huge answer from an archive and a live stream between the same two nodes: live does not wait for it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase
from typing_extensions import override

from restreamer.dvr.replication import Replication
from restreamer.m4f.hour_index import HourIndex
from restreamer.m4f.segment import SegmentBuilder
from restreamer.media.frame import Frame
from restreamer.media.timebase import TICKS_PER_SECOND
from restreamer.testing.cluster_rig import RigNode, Witness
from test.cluster.test_remote_archive import ArchiveRig
from test.dvr.memory_archive import FIRST

#: Seconds one way, with which a connection carries some 5 MB/s in the memory network.
DELAY = 0.05
#: Bytes of a frame of what is recorded: a segment has three of them.
LARGE = 4 << 20
#: A frame is late by so much at most because of the archive, seconds.
LATE = 0.1


def index_of(case: SynchronousTestCase, asking: Deferred[HourIndex]) -> HourIndex:
    """The answer that is there."""
    found: Any = asking
    index: HourIndex = case.successResultOf(found)
    return index


class Watch(Witness):
    """Follows a stream and keeps when each frame came.

    @ivar late: for each frame when it came, less its own time: equal ones are equally late, seconds.
    """

    def __init__(self, node: RigNode, name: str) -> None:
        self.late: list[float] = []
        self._node = node
        super().__init__(node.registry, name)

    @override
    def frames_added(self, builder: SegmentBuilder, frames: Sequence[Frame]) -> None:
        """Look at the clock."""
        now = self._node.clock.seconds()
        self.late.extend(now - frame.dts / TICKS_PER_SECOND for frame in frames)


class BesideLive(SynchronousTestCase):
    @override
    def setUp(self) -> None:
        self.rig = ArchiveRig()
        self.rig.network.delay = DELAY
        self.origin = self.rig.node("origin")
        self.origin.own.keep(range(FIRST, FIRST + 3), b"\x21" * LARGE)
        self.edge = self.rig.node("edge")
        self.edge.source("origin")
        self.publisher = self.origin.publish("live")
        self.watch = Watch(self.edge, "live")
        self.rig.run(4)

    @override
    def tearDown(self) -> None:
        self.rig.stop()
        self.rig.check()

    def test_frames_do_not_wait(self) -> None:
        """Segments of many megabytes on the wire for seconds; every live frame is as late as without them."""
        usual = max(self.watch.late[-25:])
        self.watch.late.clear()
        asking = self.edge.hour()
        self.rig.run_until(lambda: asking.called)
        rows = [*index_of(self, asking)]
        reading = [self.edge.segment(row) for row in rows]
        took = self.rig.run_until(lambda: all(each.called for each in reading))
        for row, each in zip(rows, reading, strict=True):
            segment = self.successResultOf(each)
            self.assertGreater(len(segment.encoded), 3 * LARGE)
            self.assertEqual(segment.checksum, row.checksum)
        self.assertGreater(took, 2.0, "they were on the wire for a while")
        self.assertGreater(len(self.watch.late), 25 * took, "and live went on")
        self.assertLess(max(self.watch.late) - usual, LATE)

    def test_replication(self) -> None:
        """What fills an archive from another one does not hold up live either (D16)."""
        usual = max(self.watch.late[-25:])
        self.watch.late.clear()
        self.edge.replication = Replication(self.edge.clock, self.edge.utc.ticks, rate=float(LARGE))
        self.edge.replicate()
        took = self.rig.run_until(lambda: len(self.edge.own.segments) == 3, 60)
        self.assertEqual(self.edge.own.segments, self.origin.own.segments)
        self.assertGreater(took, 5.0, "at the rate that is allowed")
        self.assertLess(max(self.watch.late) - usual, LATE)

    def test_the_links_stay(self) -> None:
        """Nor do heartbeats wait: no link is taken for lost, whatever is on the wire."""
        links = self.rig.network.between("edge", "origin")
        asking = self.edge.hour()
        self.rig.run_until(lambda: asking.called)
        reading = [self.edge.segment(row) for row in index_of(self, asking)]
        self.rig.run_until(lambda: all(each.called for each in reading))
        for each in reading:
            self.successResultOf(each)
        still = self.rig.network.between("edge", "origin")
        self.assertEqual([each for each in links if each not in still], [])
