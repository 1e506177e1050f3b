"""The archives of sources, through a cluster on one clock."""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from typing import Any, TypeVar

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase
from typing_extensions import override

from restreamer.cluster.connector import Remote
from restreamer.cluster.file_catalogue import FileCatalogue
from restreamer.cluster.file_server import AskCounters, FileServer
from restreamer.cluster.hedge import PATIENCE, SLOW_SECONDS
from restreamer.cluster.origin import ControlServer
from restreamer.cluster.remote_archive import (
    HOLDINGS_SECONDS,
    HOUR_LAST_WORD,
    OLD_HOURS,
    OLD_SECONDS,
    OVER_SECONDS,
    RemoteArchive,
)
from restreamer.cluster.remote_files import RemoteFiles
from restreamer.cluster.seams import LinkHandler
from restreamer.dvr.archive import Archive
from restreamer.dvr.heads import header_of
from restreamer.dvr.recorded import Recorded
from restreamer.dvr.replication import ReplicatedStream, Replication
from restreamer.dvr.seams import Holdings
from restreamer.errors import Reason, Refused
from restreamer.live.ledger import Ledger
from restreamer.live.window import WindowSegment
from restreamer.m4f.hour_index import ArchivedRun, HourIndex, Row, TrackSpan, hour_of
from restreamer.m4f.link import Authorised
from restreamer.m4f.segment import Segment
from restreamer.m4f.upgrade import Place
from restreamer.testing.cluster_rig import KEY, ClusterRig, RigNode
from test.dvr.memory_archive import FIRST, D, MemoryArchive

T = TypeVar("T")
HOUR = hour_of(FIRST * D)


def nothing_in_windows(entry: WindowSegment) -> tuple[Row, ArchivedRun, Sequence[TrackSpan]]:
    raise AssertionError("there is no window")


class ArchiveNode(RigNode):
    """A node with an archive of its own.

    @ivar own: what it recorded. @ivar archive: all that it can play.
    """

    files: RemoteFiles

    def __init__(self, rig: ClusterRig, name: str, ledger: Ledger | None = None, key: bytes = KEY) -> None:
        super().__init__(rig, name, ledger, key)
        self.own = MemoryArchive()
        self.asks = AskCounters()
        self.files = RemoteFiles(self.node_id, self.clock)
        self.remote_archive = RemoteArchive(self.node_id, self.files, self.clock, self.utc.ticks)
        self.background = RemoteArchive(
            self.node_id, self.files, self.clock, self.utc.ticks, lambda source: source.background_link()
        )
        self.replication = Replication(self.clock, self.utc.ticks, rate=1000.0)
        self.archive = Archive(
            lambda name: (), nothing_in_windows, self.own, self.remote_archive, lambda name: None
        )

    def replicate(self) -> None:
        """Fill its archive."""

        def record(name: str, item: Recorded) -> bool:
            self.own.segments.setdefault(item.segment.number, item.segment)
            return True

        self.own.always = True
        self.replication.add(
            ReplicatedStream(name="cam", source=self.background.asked_by(()), local=self.own, record=record)
        )

    def holdings(self) -> Deferred[Holdings]:
        """Ask as a viewer's request does."""
        return Deferred.fromCoroutine(self.archive.holdings("cam"))

    def hour(self, hour: int = HOUR) -> Deferred[HourIndex]:
        """Likewise."""
        return Deferred.fromCoroutine(self.archive.hour("cam", hour))

    def segment(self, row: Row) -> Deferred[Segment]:
        """Likewise."""
        return Deferred.fromCoroutine(self.archive.segment("cam", row))

    def headers(self, rows: Sequence[Row]) -> Deferred[Sequence[bytes | None]]:
        """Likewise."""
        return Deferred.fromCoroutine(self.archive.headers("cam", rows))

    @override
    def _handler(self, event: Authorised) -> LinkHandler:
        if event.purpose == "control":
            return ControlServer(self.catalogue, self.utc.ticks, FileCatalogue(self.node_id, self.files))
        if event.purpose == "file":
            return FileServer(NoFiles(), self.utc.ticks, self.node_id, self.archive.asked_by, self.asks)
        return super()._handler(event)

    @override
    def stop(self) -> None:
        super().stop()
        self.replication.close()
        self.files.close()


class NoFiles:
    def takes(self, name: str) -> bool:
        return False

    def index(self, name: str) -> Awaitable[Any]:
        raise Refused(Reason.NOT_FOUND, "no files")

    def segment(self, name: str, version: int, number: int) -> Awaitable[Segment]:
        raise Refused(Reason.NOT_FOUND, "no files")


class ArchiveRig(ClusterRig):
    @override
    def node(self, name: str, ledger: Ledger | None = None, key: bytes = KEY, **_: Any) -> ArchiveNode:
        made = ArchiveNode(self, name, ledger, key)
        self.nodes[name] = made
        return made


class ArchiveCase(SynchronousTestCase):
    @override
    def setUp(self) -> None:
        self.rig = ArchiveRig()
        self.origin = self.rig.node("origin")
        self.origin.own.keep(range(FIRST, FIRST + 10))

    @override
    def tearDown(self) -> None:
        self.rig.stop()
        self.rig.check()

    def edge(self, name: str, *sources: str) -> ArchiveNode:
        node = self.rig.node(name)
        for source in sources:
            node.source(source)
        self.rig.run(1)
        return node

    def wait(self, work: Deferred[T], seconds: float = 15.0) -> T:
        done: list[Any] = []
        _ = work.addCallbacks(done.append, lambda failure: done.append(failure.value))
        self.rig.run_until(lambda: done, seconds)
        if isinstance(done[0], Exception):
            raise done[0]
        result: T = done[0]
        return result

    def refused(self, work: Deferred[Any], reason: Reason) -> None:
        with self.assertRaises(Refused) as caught:
            self.wait(work)
        self.assertIs(caught.exception.reason, reason, caught.exception)


class ReadingTests(ArchiveCase):
    def test_through_a_chain(self) -> None:
        """An edge without a disk, and one behind it, list and play what the origin has, byte by byte."""
        middle = self.edge("middle", "origin")
        far = self.edge("far", "middle")
        expected = self.wait(self.origin.hour())
        for node in (middle, far):
            self.assertEqual(self.wait(node.holdings()), self.wait(self.origin.holdings()))
            found = self.wait(node.hour())
            self.assertEqual(found.packed, expected.packed)
            for row in found:
                segment = self.wait(node.segment(row))
                self.assertEqual(segment.encoded, self.origin.own.segments[row.number].encoded)
        self.assertEqual(sorted(self.origin.own.reads), list(range(FIRST, FIRST + 10)), "each once")
        self.assertEqual(middle.archive.reads.segments["remote"], 10)

    def test_headers(self) -> None:
        """Cross the links without their segments, through a chain too; segments do as well."""
        middle = self.edge("middle", "origin")
        far = self.edge("far", "middle")
        index = self.wait(far.hour())
        rows = list(index)
        expected = [header_of(self.origin.own.segments[row.number].encoded, row) for row in rows]
        self.assertEqual(self.wait(far.headers(rows)), expected)
        self.assertEqual(self.origin.own.reads, [])
        self.assertEqual(far.remote_archive.counters.asked["header"], 10)
        self.assertEqual(middle.asks.segment_bytes, sum(len(each or b"") for each in expected))

        async def none(name: str, rows: Sequence[Row]) -> list[bytes | None]:
            return [None] * len(rows)

        self.origin.own.headers = none  # type: ignore[method-assign]
        self.assertEqual(self.wait(middle.headers(rows[:3])), expected[:3])
        self.assertEqual(sorted(self.origin.own.reads), [row.number for row in rows[:3]])

    def test_many_at_once_ask_once(self) -> None:
        edge = self.edge("edge", "origin")
        row = self.wait(edge.hour())[3]
        got = [edge.segment(row) for _ in range(100)]
        self.assertEqual({self.wait(each).number for each in got}, {row.number})
        self.assertEqual(self.origin.own.reads, [row.number])
        self.wait(edge.segment(row))
        self.assertEqual(edge.archive.reads.segments, {"remote": 1, "ram": 1})

    def test_nodes_that_are_sources_of_each_other(self) -> None:
        other = self.rig.node("other")
        other.own.keep(range(FIRST + 20, FIRST + 25))
        other.source("origin")
        self.origin.source("other")
        self.rig.run(1)
        for node in (other, self.origin):
            self.assertEqual(len(self.wait(node.hour())), 15)
            self.assertEqual(len(self.wait(node.holdings()).spans), 2)

    def test_nothing_is_recorded(self) -> None:
        edge = self.edge("edge", "origin")
        work = Deferred.fromCoroutine(edge.archive.holdings("other"))
        self.refused(work, Reason.NOT_FOUND)


class UnionTests(ArchiveCase):
    def test_ranges_and_hours_are_the_union(self) -> None:
        """What the edge recorded itself is read there; the rest at the source."""
        edge = self.edge("edge", "origin")
        edge.own.keep(range(FIRST + 5, FIRST + 15))
        held = self.wait(edge.holdings())
        self.assertEqual([(s.start, s.end) for s in held.spans], [(FIRST * D, (FIRST + 15) * D)])
        for row in self.wait(edge.hour()):
            self.wait(edge.segment(row))
        self.assertEqual(edge.archive.reads.segments, {"remote": 5, "local": 10})

    def test_what_is_damaged_here_is_asked_for(self) -> None:
        """D14."""
        edge = self.edge("edge", "origin")
        edge.own.keep(range(FIRST, FIRST + 10))
        edge.own.damaged.add(FIRST + 2)
        row = self.wait(edge.hour())[2]
        self.assertEqual(self.wait(edge.segment(row)).number, FIRST + 2)
        self.assertEqual(edge.archive.reads.segments, {"remote": 1})

    def test_two_sources(self) -> None:
        second = self.rig.node("second")
        second.own.keep(range(FIRST + 8, FIRST + 18))
        edge = self.edge("edge", "origin", "second")
        index = self.wait(edge.hour())
        rows = list(index)
        self.assertEqual([row.number for row in rows], list(range(FIRST, FIRST + 18)))
        for row in rows:
            self.wait(edge.segment(row))


class LostTests(ArchiveCase):
    def test_the_other_source_goes_on(self) -> None:
        """Killed in the middle of a playback: every further segment comes from the other one (M22)."""
        second = self.rig.node("second")
        second.own.keep(range(FIRST, FIRST + 10))
        edge = self.edge("edge", "origin", "second")
        index = self.wait(edge.hour())
        rows = list(index)
        for row in rows[:4]:
            self.wait(edge.segment(row))
        self.origin.crash()
        for row in rows[4:]:
            self.assertEqual(self.wait(edge.segment(row)).number, row.number)
        self.assertEqual(len(second.own.reads), 6)

    def test_dies_in_the_middle_of_a_segment(self) -> None:
        """Half a segment is none: the other source gives it whole; without one it is refused (M22)."""
        large = range(FIRST + 50, FIRST + 52)
        self.rig.network.delay = 0.05
        self.origin.own.keep(large, b"\x21" * 2_000_000)
        second = self.rig.node("second")
        second.own.keep(range(FIRST, FIRST + 10))
        edge = self.edge("edge", "origin", "second")
        second.own.keep(large[:1], b"\x21" * 2_000_000)
        rows = {row.number: row for row in self.wait(edge.hour())}
        asked = [edge.segment(rows[number]) for number in large]
        self.rig.run(0.5)
        self.assertFalse(any(each.called for each in asked), "both are on the wire")
        self.origin.crash()
        self.assertEqual(self.wait(asked[0]).checksum, rows[large[0]].checksum)
        self.refused(asked[1], Reason.NOT_READY)

    def test_nobody_is_there(self) -> None:
        """What is held here plays; what is not is refused for now, and comes when the source is back."""
        edge = self.edge("edge", "origin")
        index = self.wait(edge.hour())
        rows = list(index)
        self.wait(edge.segment(rows[0]))
        self.origin.crash()
        self.rig.run(OVER_SECONDS + HOLDINGS_SECONDS)
        self.refused(edge.holdings(), Reason.NOT_READY)
        self.assertEqual(len(self.wait(edge.hour())), 10, "what it once said")
        self.wait(edge.segment(rows[0]))
        self.refused(edge.segment(rows[1]), Reason.NOT_READY)
        edge.own.keep([FIRST + 30])
        self.assertFalse(self.wait(edge.holdings()).complete)

    def test_a_segment_that_is_gone(self) -> None:
        """M22."""
        edge = self.edge("edge", "origin")
        row = self.wait(edge.hour())[1]
        del self.origin.own.segments[row.number]
        self.refused(edge.segment(row), Reason.NOT_FOUND)

    def test_another_segment_of_the_number(self) -> None:
        """Nothing is given for a checksum that was not asked for."""
        edge = self.edge("edge", "origin")
        row = self.wait(edge.hour())[1]
        del self.origin.own.segments[row.number]
        self.origin.own.keep([row.number], b"other")
        self.refused(edge.segment(row), Reason.NOT_FOUND)

    def test_a_lost_list_is_good_for_a_while(self) -> None:
        """What is gone at the source is not listed for ever because the source is away."""
        edge = self.edge("edge", "origin")
        self.wait(edge.hour())
        self.origin.crash()
        self.assertTrue(self.wait(edge.hour()).complete)
        self.rig.run(HOUR_LAST_WORD / 2)
        index = self.wait(edge.hour())
        self.assertEqual((len(index), index.complete), (10, False))
        self.rig.run(HOUR_LAST_WORD / 2)
        self.refused(edge.hour(), Reason.NOT_READY)

    def test_a_segment_that_is_gone_is_not_listed_again(self) -> None:
        edge = self.edge("edge", "origin")
        row = self.wait(edge.hour())[1]
        del self.origin.own.segments[row.number]
        self.refused(edge.segment(row), Reason.NOT_FOUND)
        self.assertIsNone(self.wait(edge.hour()).find(row.number))


class HangingTests(ArchiveCase):
    """A source that stands still (SIGSTOP) says nothing, and no link breaks at once."""

    @override
    def setUp(self) -> None:
        super().setUp()
        self.second = self.rig.node("second")
        self.second.own.keep(range(FIRST, FIRST + 10))

    @override
    def tearDown(self) -> None:
        self.origin.thaw()
        self.rig.run(1)
        super().tearDown()

    def rows(self, edge: ArchiveNode) -> list[Row]:
        """What the edge lists."""
        index = self.wait(edge.hour())
        return list(index)

    def slowest(self, edge: ArchiveNode, rows: Sequence[Row]) -> float:
        """Seconds of the longest answer; a second passes between two."""
        slowest = 0.0
        for row in rows:
            began = self.rig.clock.seconds()
            self.assertEqual(self.wait(edge.segment(row)).number, row.number)
            slowest = max(slowest, self.rig.clock.seconds() - began)
            self.rig.run(1)
        return slowest

    def test_a_playback(self) -> None:
        """The other source goes on after a moment, once; later the first one is used again."""
        edge = self.edge("edge", "origin", "second")
        rows = self.rows(edge)
        self.assertLess(self.slowest(edge, rows[:2]), 0.2)
        self.origin.freeze()
        self.assertLess(self.slowest(edge, rows[2:3]), PATIENCE + 0.3)
        self.assertLess(self.slowest(edge, rows[3:7]), 0.2, "it is remembered")
        self.assertEqual(edge.remote_archive.counters.hedged, 1)
        self.origin.thaw()
        self.rig.run(SLOW_SECONDS)
        before = len(self.origin.own.reads)
        self.slowest(edge, rows[7:])
        self.assertEqual(len(self.origin.own.reads), before + 3)

    def test_lists(self) -> None:
        """What there is, and hours, do not wait for it either, also in a new playback."""
        edge = self.edge("edge", "origin", "second")
        self.origin.freeze()
        began = self.rig.clock.seconds()
        held = self.wait(edge.holdings())
        self.assertEqual((len(held.hours), held.complete), (1, False))
        self.assertEqual(len(self.wait(edge.hour())), 10)
        self.wait(edge.segment(self.wait(edge.hour())[0]))
        self.assertLess(self.rig.clock.seconds() - began, PATIENCE + 0.5)
        for _ in range(5):
            self.rig.run(HOLDINGS_SECONDS)
            began = self.rig.clock.seconds()
            self.wait(edge.holdings())
            self.assertLess(self.rig.clock.seconds() - began, 0.3)

    def test_what_is_here_does_not_wait(self) -> None:
        """The only source hangs: what the edge recorded itself is listed and played."""
        edge = self.edge("edge", "origin")
        edge.own.keep(range(FIRST, FIRST + 5))
        self.origin.freeze()
        began = self.rig.clock.seconds()
        self.assertFalse(self.wait(edge.holdings()).complete)
        index = self.wait(edge.hour())
        for row in index:
            self.wait(edge.segment(row))
        self.assertLess(self.rig.clock.seconds() - began, PATIENCE + 0.5)

    def test_nobody_else(self) -> None:
        """Refused for now, within the time of an ask; and again as soon as it goes on."""
        edge = self.edge("edge", "origin")
        rows = self.rows(edge)
        self.origin.freeze()
        self.refused(edge.segment(rows[0]), Reason.NOT_READY)
        self.origin.thaw()
        self.rig.run(2)
        self.wait(edge.segment(rows[0]))

    def test_through_a_node_between(self) -> None:
        """The node between has another source: the edge behind it does not wait long."""
        self.edge("middle", "origin", "second")
        edge = self.edge("edge", "middle")
        rows = self.rows(edge)
        self.origin.freeze()
        self.assertLess(self.slowest(edge, rows), PATIENCE + 0.5)


class CostTests(ArchiveCase):
    def test_hours_that_nobody_has(self) -> None:
        """Ten years of them, and absurd ones, are answered without an ask for each."""
        edge = self.edge("edge", "origin")
        self.wait(edge.hour())
        asked = edge.remote_archive.counters.asked["hour"]
        for hour in [*range(HOUR - 24 * 3650, HOUR, 24), -5, 1 << 40]:
            found = self.wait(edge.hour(hour))
            self.assertEqual(len(found), 0)
        self.assertEqual(edge.remote_archive.counters.asked["hour"], asked)

    def test_a_peer_that_asks_for_anything(self) -> None:
        """Absurd hours and numbers that a node behind asks for cost its source nothing."""
        middle = self.edge("middle", "origin")
        reader = middle.archive.asked_by((b"p" * 16,))
        for hour in (*range(0, HOUR, 10_000), HOUR + 1000, (1 << 32) - 1):
            self.assertEqual(len(self.wait(Deferred.fromCoroutine(reader.hour("cam", hour)))), 0)
        self.assertEqual(self.origin.asks.asked, {"holdings": self.origin.asks.asked["holdings"]})
        self.assertLess(self.origin.asks.asked["holdings"], 3)

    def test_a_long_list(self) -> None:
        """Hours that are read one after the other do not cost the way to the source each."""
        count = 48
        first = HOUR - count
        self.origin.own.keep([FIRST - 1800 * back for back in range(1, count + 1)])
        edge = self.edge("edge", "origin")
        self.wait(edge.holdings())
        self.rig.network.delay = 0.1
        began = self.rig.clock.seconds()
        for hour in range(first, HOUR):
            self.assertEqual(len(self.wait(edge.hour(hour))), 1)
        self.assertLess(self.rig.clock.seconds() - began, 0.2 * count / 3)
        self.rig.run(1)
        self.assertEqual(edge.remote_archive.counters.asked["hour"], count + 1, "and the next one")

    def test_many_edges_behind_a_node(self) -> None:
        """The node between asks once for all of them."""
        middle = self.edge("middle", "origin")
        edges = [self.edge(f"edge{number}", "middle") for number in range(5)]
        works = [edge.hour() for edge in edges]
        for index in map(self.wait, works):
            segments = [edge.segment(index[0]) for edge in edges]
            for each in segments:
                self.wait(each)
        self.assertEqual(self.origin.own.reads, [FIRST])
        self.assertEqual(self.origin.asks.asked, {"hour": 1, "segment": 1})
        self.assertEqual(middle.asks.asked["segment"], 5)
        self.assertEqual(self.origin.asks.segment_bytes, len(self.origin.own.segments[FIRST].encoded))

    def test_sources_of_each_other_ask_at_one_time(self) -> None:
        """Neither waits for the other's asking."""
        other = self.rig.node("other")
        other.source("origin")
        self.origin.source("other")
        self.rig.run(1)
        row = self.wait(self.origin.hour())[0]
        del self.origin.own.segments[row.number]
        began = self.rig.clock.seconds()
        works = [node.segment(row) for node in (other, self.origin)]
        for work in works:
            self.refused(work, Reason.NOT_FOUND)
        self.assertLess(self.rig.clock.seconds() - began, 1)

    def test_an_old_hour_is_asked_for_seldom(self) -> None:
        """And is the same as before, so that nothing is put together anew."""
        old = HOUR - 2 * OLD_HOURS
        first = FIRST - 2 * OLD_HOURS * 1800
        self.origin.own.keep(range(first, first + 5))
        edge = self.edge("edge", "origin")
        index = self.wait(edge.hour(old))
        self.rig.run(OVER_SECONDS * 2)
        self.assertIs(self.wait(edge.hour(old)), index)
        self.assertEqual(edge.remote_archive.counters.asked["hour"], 1)
        self.rig.run(OLD_SECONDS)
        self.assertIs(self.wait(edge.hour(old)), index)
        self.assertEqual(edge.remote_archive.counters.asked["hour"], 2)


class ReplicationTests(ArchiveCase):
    def test_an_outage(self) -> None:
        """What a node missed comes from the other one, slowly and by a link of its own (D16)."""
        size = len(self.origin.own.segments[FIRST].encoded)
        self.origin.own.keep(range(FIRST, FIRST + 100))
        edge = self.edge("edge", "origin")
        edge.own.keep([*range(FIRST, FIRST + 30), *range(FIRST + 70, FIRST + 100)])
        edge.replicate()
        took = self.rig.run_until(lambda: len(edge.own.segments) == 100, 60)
        self.assertLess(abs(took - 40 * size / 1000), 1.5)
        self.assertEqual(sorted(self.origin.own.reads), list(range(FIRST + 30, FIRST + 70)))
        self.assertEqual(edge.own.segments, self.origin.own.segments)
        self.assertEqual(edge.remote_archive.counters.asked, {})
        facts = edge.replication.facts("cam")
        assert facts is not None
        self.rig.run(5)
        self.assertEqual((facts.state, facts.fetched, facts.missing), ("complete", 40, 0))
        self.assertEqual(len(self.wait(edge.hour())), 100)

    def test_both_ways(self) -> None:
        other = self.edge("other", "origin")
        self.origin.source("other")
        other.own.keep(range(FIRST + 5, FIRST + 20))
        self.rig.run(1)
        for node in (self.origin, other):
            node.replicate()
        self.rig.run(60)
        self.assertEqual(self.origin.own.segments, other.own.segments)
        self.assertEqual(len(other.own.segments), 20)
        self.assertEqual(sorted(other.own.reads), list(range(FIRST + 10, FIRST + 20)))
        self.assertEqual(sorted(self.origin.own.reads), list(range(FIRST, FIRST + 5)))


class PortTests(SynchronousTestCase):
    def test_another_port(self) -> None:
        """C{replication_port}: the same node by another port, where that can be told."""
        made: list[Place] = []

        def elsewhere(place: Place) -> Any:
            made.append(place)
            return "endpoint"

        rest: dict[str, Any] = {"endpoint": "first", "key": b"k"}
        remote = Remote(address="a:80", place=Place("a", 80), elsewhere=elsewhere, **rest)
        other = remote.at_port(8002)
        self.assertEqual((other.address, other.endpoint, made), ("a:8002", "endpoint", [Place("a", 8002)]))
        self.assertIs(other.traffic, remote.traffic)
        self.assertIs(remote.at_port(80), remote)
        simple = Remote(address="a:80", **rest)
        self.assertIs(simple.at_port(8002), simple)
