"""Archives are filled with what they lack: by number, slowly, and once."""

from __future__ import annotations

from collections.abc import Sequence

from attrs import evolve
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from typing_extensions import override

from restreamer.dvr.recorded import Recorded
from restreamer.dvr.replication import (
    QUEUED_BYTES,
    SETTLE,
    SPARED,
    WRITING_SECONDS,
    ReplicatedStream,
    Replication,
    ReplicationFacts,
    room_in,
)
from restreamer.dvr.seams import Holdings
from restreamer.dvr.store import Store
from restreamer.dvr.stream_store import StreamStore
from restreamer.dvr.writer import Writer
from restreamer.errors import Reason, Refused
from restreamer.m4f.hour_index import HourIndex, Row
from restreamer.m4f.segment import Segment
from restreamer.media.timebase import TICKS_PER_SECOND
from test.dvr.memory_archive import FIRST, D, MemoryArchive
from test.dvr.recordings import FIRST_HOUR, HOUR, recorded, several
from test.dvr.simulated_disk import SimulatedDisk

COUNT = 3 * HOUR
SIZE = len(recorded(0).segment.encoded)


class StoreReader:
    """A store as an L{restreamer.dvr.seams.ArchiveReader}."""

    def __init__(self, store: StreamStore) -> None:
        self.store = store

    async def holdings(self, name: str) -> Holdings:
        return self.store.holdings()

    async def hour(self, name: str, hour: int) -> HourIndex:
        return self.store.hour(hour)

    async def segment(self, name: str, row: Row) -> Segment:
        return self.store.segment(row)

    async def headers(self, name: str, rows: Sequence[Row]) -> Sequence[bytes | None]:
        return [None] * len(rows)


class AwayReader(StoreReader):
    """A source that can be away. @ivar gone: numbers it does not give."""

    away = False
    gone: frozenset[int] = frozenset()
    #: Numbers it does not give now.
    busy: frozenset[int] = frozenset()

    @override
    async def holdings(self, name: str) -> Holdings:
        if self.away:
            raise Refused(Reason.NOT_READY, "away")
        return self.store.holdings()

    @override
    async def segment(self, name: str, row: Row) -> Segment:
        if self.away:
            raise Refused(Reason.NOT_READY, "away")
        if row.number in self.gone:
            raise Refused(Reason.NOT_FOUND, "gone")
        if row.number in self.busy:
            raise Refused(Reason.NOT_READY, "not now")
        self.fetched.append(row.number - FIRST)
        return self.store.segment(row)

    def __init__(self, store: StreamStore) -> None:
        super().__init__(store)
        self.fetched: list[int] = []


class ReplicationCase(SynchronousTestCase):
    @override
    def setUp(self) -> None:
        self.clock = Clock()
        self.disks = [SimulatedDisk(), SimulatedDisk()]
        self.theirs, self.ours = [Store("/d", disk).stream("cam") for disk in self.disks]
        self.source = AwayReader(self.theirs)
        self.room = True
        self.since: int | None = None
        self.replication = self.replicating()

    def replicating(self) -> Replication:
        made = Replication(self.clock, lambda: self.now(), rate=10 * SIZE)
        self.addCleanup(made.close)
        return made

    def now(self) -> int:
        return (FIRST + COUNT) * D + SETTLE + int(self.clock.seconds() * TICKS_PER_SECOND)

    def record(self, name: str, item: Recorded) -> bool:
        self.ours.append([item])
        return True

    def begin(self) -> None:
        self.replication.add(
            ReplicatedStream(
                name="cam",
                source=self.source,
                local=StoreReader(self.ours),
                record=self.record,
                room=lambda size: self.room,
                since=lambda: self.since,
            )
        )

    def pass_time(self, seconds: float) -> None:
        for _ in range(round(seconds / 0.05)):
            self.clock.advance(0.05)

    @property
    def facts(self) -> ReplicationFacts:
        facts = self.replication.facts("cam")
        assert facts is not None
        return facts


class FillTests(ReplicationCase):
    def test_a_gap(self) -> None:
        """Filled by number at the rate; the rows are those of the source; what is there is not fetched."""
        self.theirs.append(several(range(400)))
        self.ours.append(several([*range(100), *range(200, 400)]))
        self.begin()
        self.pass_time(4)
        self.assertTrue(20 <= self.facts.fetched <= 45, self.facts)
        self.assertLess(abs(self.facts.missing - (100 - self.facts.fetched)), 3)
        self.assertEqual(self.facts.state, "fetching")
        self.pass_time(14)
        self.assertEqual((self.facts.state, self.facts.missing), ("complete", 0))
        self.assertEqual(self.source.fetched, list(range(100, 200)))
        rows = [
            [row._replace(file=0, offset=0) for row in store.hour(FIRST_HOUR)]
            for store in (self.theirs, self.ours)
        ]
        self.assertEqual(*rows)
        self.assertEqual(self.theirs.hour(FIRST_HOUR).runs, self.ours.hour(FIRST_HOUR).runs)
        self.assertEqual((self.facts.fetched, self.facts.fetched_bytes), (100, 100 * SIZE))

    def test_the_newest_hour_first(self) -> None:
        """Also sealed ones, and what comes meanwhile."""
        for hour in range(3):
            self.theirs.append(several(range(hour * HOUR, hour * HOUR + 5)))
        self.theirs.seal(self.now())
        self.ours.append([recorded(HOUR)])
        self.ours.seal(self.now())
        self.begin()
        self.pass_time(20)
        self.assertEqual(
            self.source.fetched,
            [*range(2 * HOUR, 2 * HOUR + 5), *range(HOUR + 1, HOUR + 5), *range(5)],
        )
        self.theirs.append([recorded(2 * HOUR + 5)])
        self.pass_time(70)
        self.assertEqual(self.source.fetched[-1], 2 * HOUR + 5)
        self.assertEqual(len(self.source.fetched), 15)

    def test_what_live_will_bring(self) -> None:
        """The newest seconds are not fetched yet."""
        self.theirs.append(several([COUNT - 1, COUNT, COUNT + 1]))
        self.begin()
        self.clock.advance(0.1)
        self.pass_time(1)
        self.assertEqual(self.source.fetched, [COUNT - 1])

    def test_retention(self) -> None:
        """What would be deleted at once is left alone."""
        self.theirs.append(several(range(300)))
        self.since = (FIRST + 200) * D - SPARED
        self.begin()
        self.pass_time(30)
        self.assertEqual(self.source.fetched, list(range(200, 300)))

    def test_no_state(self) -> None:
        """Begun again in the middle, it goes on with what is left."""
        self.theirs.append(several(range(100)))
        self.begin()
        self.pass_time(5)
        self.replication.close()
        self.assertEqual(self.clock.getDelayedCalls(), [])
        before = len(self.source.fetched)
        self.replication = self.replicating()
        self.begin()
        self.pass_time(30)
        self.assertEqual(sorted(self.source.fetched), list(range(100)))
        self.assertLess(before, 100)

    def test_reload(self) -> None:
        """What is filled as before goes on; one that is filled in another way begins anew."""
        self.theirs.append(several(range(100)))
        self.begin()
        self.pass_time(3)
        before = self.facts
        stream = ReplicatedStream(
            name="cam", source=self.source, local=StoreReader(self.ours), record=self.record
        )
        self.replication.set_streams([stream])
        self.assertIs(self.facts, before)
        self.replication.set_streams([evolve(stream, key="other")])
        self.assertIsNot(self.facts, before)
        self.replication.set_streams([])
        self.assertIsNone(self.replication.facts("cam"))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_some_that_are_not_given_now(self) -> None:
        """They hold up no other, and are asked for again."""
        self.theirs.append(several(range(100)))
        bad = frozenset(FIRST + number for number in range(7, 100, 20))
        self.source.busy = bad
        self.begin()
        self.pass_time(60)
        self.assertEqual(sorted(self.source.fetched), [n for n in range(100) if FIRST + n not in bad])
        self.source.busy = frozenset()
        self.pass_time(4000)
        self.assertEqual(sorted(self.source.fetched), list(range(100)))

    def test_both_ways(self) -> None:
        """Two nodes fill each other and then are quiet."""
        self.theirs.append(several(range(40)))
        self.ours.append(several(range(20, 60)))
        back = AwayReader(self.ours)
        other = self.replicating()

        def record(name: str, item: Recorded) -> bool:
            self.theirs.append([item])
            return True

        other.add(ReplicatedStream(name="cam", source=back, local=StoreReader(self.theirs), record=record))
        self.begin()
        self.pass_time(200)
        self.assertEqual(sorted(self.source.fetched), list(range(20)))
        self.assertEqual(sorted(back.fetched), list(range(40, 60)))
        for store in (self.theirs, self.ours):
            self.assertEqual(len(store.hour(FIRST_HOUR)), 60)


class TroubleTests(ReplicationCase):
    def test_a_disk_that_is_full(self) -> None:
        self.theirs.append(several(range(10)))
        self.room = False
        self.begin()
        self.pass_time(10)
        self.assertEqual((self.facts.state, self.source.fetched), ("waiting", []))
        self.room = True
        self.pass_time(10)
        self.assertEqual((self.facts.state, len(self.source.fetched)), ("complete", 10))

    def test_a_source_that_goes(self) -> None:
        self.theirs.append(several(range(100)))
        self.begin()
        self.pass_time(3)
        self.source.away = True
        self.pass_time(20)
        self.assertEqual(self.facts.error, "away")
        self.source.away = False
        self.pass_time(60)
        self.assertEqual(sorted(self.source.fetched), list(range(100)))
        self.assertEqual((self.facts.state, self.facts.error), ("complete", ""))

    def test_what_nobody_gives(self) -> None:
        """Asked for twice and no more, and it does not hold up the rest."""
        self.theirs.append(several(range(10)))
        self.source.gone = frozenset([FIRST + 3])
        self.begin()
        self.pass_time(10 * WRITING_SECONDS)
        self.assertEqual(len(self.source.fetched), 9)
        self.assertEqual((self.facts.gone, self.facts.missing), (1, 0))

    def test_a_disk_that_forgets(self) -> None:
        """What was fetched and is not in the archive is fetched once more, and then no more."""
        self.theirs.append(several(range(10)))
        self.record = lambda name, item: True  # type: ignore[method-assign]
        self.begin()
        self.pass_time(3 * 3600)
        self.assertEqual(len(self.source.fetched), 20)

    def test_nothing_there(self) -> None:
        self.begin()
        self.pass_time(60)
        self.assertEqual((self.facts.error, self.source.fetched), ("", []))

    def test_many_streams_share_the_rate(self) -> None:
        sources = []
        for number in range(10):
            archive = MemoryArchive(name=f"s{number}")
            archive.keep(range(FIRST, FIRST + 50))
            sources.append(archive)
            self.replication.add(
                ReplicatedStream(
                    name=archive.name, source=archive, local=MemoryArchive(), record=lambda name, item: True
                )
            )
        self.pass_time(20)
        counts = [len(archive.reads) for archive in sources]
        self.assertLess(abs(sum(counts) - 200), 20)
        self.assertGreater(min(counts), 10)
        self.assertLess(abs(self.replication.speed - 10 * SIZE), 2 * SIZE)


class RoomTests(SynchronousTestCase):
    def test_live_comes_first(self) -> None:
        """Little of it waits for the disk, and nothing is given to one that is in trouble."""
        writer = Writer(Store("/d", SimulatedDisk()), interval=1000.0)
        alarm = False
        room = room_in(writer, "cam", lambda: alarm)
        self.assertTrue(room(10 * QUEUED_BYTES))
        writer.record("cam", recorded(0, bytes(QUEUED_BYTES // 8)))
        self.assertTrue(room(QUEUED_BYTES // 2))
        self.assertFalse(room(QUEUED_BYTES))
        alarm = True
        self.assertFalse(room(1))
        self.assertTrue(writer.stop(10))
