"""Memory, cache, disks and sources as one timeline."""

from __future__ import annotations

from collections.abc import Coroutine, Hashable
from typing import Any, TypeVar

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase
from typing_extensions import override

from restreamer.dvr.archive import DOUBTFUL_SECONDS, Archive, SegmentCache
from restreamer.dvr.recorded import describe
from restreamer.dvr.seams import ArchiveReader, Holdings, Span
from restreamer.dvr.union import Unions, unite_holdings, unite_hours
from restreamer.errors import Reason, Refused
from restreamer.live.window import WindowSegment
from restreamer.m4f import hour_layout
from restreamer.m4f.hour_index import HourBuilder, HourIndex, Row, TrackSpan, hour_of
from restreamer.m4f.segment import Segment
from test.dvr.memory_archive import FIRST, RUN, D, MemoryArchive, row, segment
from test.dvr.recordings import RUN as RUN_INFO

T = TypeVar("T")
HOUR = hour_of(FIRST * D)


class Place(MemoryArchive):
    """Somebody who can be away, and answers when told to.

    @ivar away: nothing can be had now. @ivar waiting: for this.
    """

    def __init__(self) -> None:
        super().__init__()
        self.away = False
        self.waiting: Deferred[None] | None = None

    @override
    def records(self, name: str) -> bool:
        return self.away or super().records(name)

    def may_have(self, name: str) -> bool:
        return self.records(name)

    def asked_by(self, path: tuple[bytes, ...], hurry: bool = False) -> ArchiveReader:
        self.hurried = hurry
        return self

    def kin(self, path: tuple[bytes, ...]) -> Hashable:
        return path

    @override
    def _check(self, name: str) -> None:
        if self.away:
            raise Refused(Reason.NOT_READY, "away")
        if not self.segments:
            raise Refused(Reason.NOT_FOUND, "nothing")

    @override
    async def segment(self, name: str, of: Row) -> Segment:
        if self.waiting is not None:
            await self.waiting
        return await super().segment(name, of)


class Cache:
    def __init__(self) -> None:
        self.kept: dict[int, Segment] = {}

    async def get(self, name: str, of: Row) -> Segment | None:
        return self.kept.get(of.number)

    def put(self, name: str, of: Row, made: Segment) -> None:
        self.kept[of.number] = made


class ArchiveCase(SynchronousTestCase):
    @override
    def setUp(self) -> None:
        self.local, self.remote = Place(), Place()
        self.window: list[WindowSegment] = []
        self.cache = Cache()
        self.crowded = False
        self.seconds = 0.0
        self.archive = Archive(
            lambda name: self.window if name == "cam" else (),
            describe,
            self.local,
            self.remote,
            self.cache_of,
            lambda: self.crowded,
            seconds=lambda: self.seconds,
        )

    def cache_of(self, name: str) -> SegmentCache | None:
        return self.cache

    def show(self, *numbers: int) -> None:
        self.window = [WindowSegment(segment(number), RUN_INFO, 2, False, 0) for number in sorted(numbers)]

    def of(self, work: Coroutine[Deferred[Any], Any, T]) -> T:
        return self.successResultOf(Deferred.fromCoroutine(work))

    def hour(self, hour: int = HOUR) -> HourIndex:
        return self.of(self.archive.hour("cam", hour))

    def read(self, number: int) -> Segment:
        found = self.of(self.archive.segment("cam", row(segment(number))))
        self.assertEqual(found, segment(number))
        return found

    def refused(self, work: Coroutine[Deferred[Any], Any, Any], reason: Reason) -> None:
        failure = self.failureResultOf(Deferred.fromCoroutine(work), Refused)
        self.assertIs(failure.value.reason, reason)


class PlacesTests(ArchiveCase):
    def test_the_nearest_place(self) -> None:
        """Memory, the cache, the disk, a source: each is counted; what a source gave is kept."""
        self.show(FIRST)
        self.cache.kept[FIRST + 1] = segment(FIRST + 1)
        self.local.keep(range(FIRST, FIRST + 3))
        self.remote.keep(range(FIRST, FIRST + 5))
        for number in range(FIRST, FIRST + 4):
            self.read(number)
        reads = self.archive.reads
        self.assertEqual(reads.segments, {"ram": 1, "cache": 1, "local": 1, "remote": 1})
        self.assertEqual(set(reads.bytes.values()), {len(segment(FIRST).encoded)})
        self.assertEqual(set(self.cache.kept), {FIRST + 1, FIRST + 3}, "what the disk has is not kept twice")
        for number in range(FIRST, FIRST + 4):
            self.read(number)
        self.assertEqual(reads.segments["ram"], 5)
        self.archive.forget()
        self.read(FIRST + 3)
        self.assertEqual(reads.segments["cache"], 2)

    def test_read_once(self) -> None:
        """However many want it; for nodes with other ways it is asked for apart."""
        self.remote.keep([FIRST])
        self.remote.waiting = Deferred()
        wanted = row(segment(FIRST))
        got = [Deferred.fromCoroutine(self.archive.segment("cam", wanted)) for _ in range(100)]
        other = Deferred.fromCoroutine(self.archive.asked_by((b"a" * 16,)).segment("cam", wanted))
        self.remote.waiting.callback(None)
        for each in (*got, other):
            self.assertEqual(self.successResultOf(each), segment(FIRST))
        self.assertEqual(len(self.remote.reads), 2)

    def test_damaged_here(self) -> None:
        """It comes from a source; when none has it, nothing false does."""
        self.local.keep([FIRST, FIRST + 1])
        self.local.damaged = {FIRST, FIRST + 1}
        self.remote.keep([FIRST])
        self.read(FIRST)
        self.assertEqual(self.archive.reads.segments, {"remote": 1})
        self.refused(self.archive.segment("cam", row(segment(FIRST + 1))), Reason.NOT_FOUND)
        self.remote.away = True
        self.refused(self.archive.segment("cam", row(segment(FIRST + 1))), Reason.NOT_READY)

    def test_an_hour_in_doubt(self) -> None:
        """One who did not tell of an hour is back: for a while nobody is told that this is all there is."""
        self.remote.keep(range(FIRST, FIRST + 3))
        self.local.keep(range(FIRST, FIRST + 2))
        self.assertTrue(self.of(self.archive.hour("cam", HOUR)).complete)
        self.remote.away = True
        index = self.of(self.archive.hour("cam", HOUR))
        self.assertEqual((len(index), index.complete), (2, False))
        self.remote.away = False
        self.assertFalse(self.of(self.archive.holdings("cam")).complete)
        self.seconds += DOUBTFUL_SECONDS
        self.assertTrue(self.of(self.archive.holdings("cam")).complete)

    def test_a_disk_that_fails(self) -> None:
        """What cannot be read here comes from a source: lists, and segments (D05)."""
        self.local.keep([FIRST, FIRST + 1])
        self.remote.keep([FIRST, FIRST + 1])
        self.local.away = True
        self.assertEqual(len(self.hour()), 2)
        self.assertFalse(self.of(self.archive.holdings("cam")).complete)
        self.read(FIRST)
        self.assertEqual(self.archive.reads.segments, {"remote": 1})
        self.local.away = False
        self.read(FIRST + 1)
        self.assertEqual(self.archive.reads.segments, {"remote": 1, "local": 1})

    def test_a_row_of_a_source(self) -> None:
        """Says nothing of where the segment lies here: this node's own index is asked."""
        self.local.keep([FIRST])
        asked: list[Row] = []
        read = self.local.segment

        async def watched(name: str, of: Row) -> Segment:
            asked.append(of)
            return await read(name, of)

        self.local.segment = watched  # type: ignore[method-assign]
        theirs = row(segment(FIRST))._replace(file=7, offset=99)
        self.of(self.archive.segment("cam", theirs))
        self.remote.keep([FIRST + 1])
        self.read(FIRST + 1)
        self.assertEqual([(each.number, each.file, each.offset) for each in asked], [(FIRST, 0, 0)])

    def test_memory_is_short(self) -> None:
        self.remote.keep([FIRST, FIRST + 1])
        self.read(FIRST)
        self.crowded = True
        self.cache.kept.clear()
        self.read(FIRST + 1)
        self.read(FIRST)
        self.assertEqual(self.archive.reads.segments, {"remote": 3})

    def test_no_cache(self) -> None:
        self.cache_of = lambda name: None  # type: ignore[method-assign]
        self.archive = Archive(lambda name: (), describe, self.local, self.remote, self.cache_of)
        self.remote.keep([FIRST])
        self.read(FIRST)


class UnionTests(ArchiveCase):
    def test_hours(self) -> None:
        """This node's rows stand before those of sources, and the window's fill the end."""
        self.local.keep(range(FIRST + 2, FIRST + 5), b"\x21own")
        self.remote.keep(range(FIRST, FIRST + 4))
        self.show(FIRST + 4, FIRST + 5)
        index = self.hour()
        self.assertEqual([each.number for each in index], list(range(FIRST, FIRST + 6)))
        own = segment(FIRST + 2, b"\x21own")
        self.assertEqual(
            [each.checksum == segment(each.number).checksum for each in index][:3], [True] * 2 + [False]
        )
        self.assertEqual(index[2].checksum, own.checksum)
        self.assertEqual(index[4].size, len(segment(FIRST + 4, b"\x21own").encoded))
        self.assertEqual(len(self.hour(HOUR + 1)), 0)

    def test_the_same_union_is_made_once(self) -> None:
        self.local.keep([FIRST])
        self.remote.keep([FIRST + 1])
        parts = [self.of(place.hour("cam", HOUR)) for place in (self.local, self.remote)]
        unions = Unions()
        first = unions.unite("cam", HOUR, parts)
        self.assertIs(unions.unite("cam", HOUR, parts), first)
        self.assertIsNot(unions.unite("other", HOUR, parts), first)
        self.assertEqual(len(unions.unite("cam", HOUR, [parts[0], HourIndex(HOUR)])), 1)

    def test_one_that_has_all_is_given_as_it_is(self) -> None:
        self.local.keep(range(FIRST, FIRST + 10))
        self.remote.keep(range(FIRST + 2, FIRST + 10))
        parts = [self.of(place.hour("cam", HOUR)) for place in (self.local, self.remote)]
        self.assertIs(unite_hours(HOUR, parts), parts[0])
        self.assertEqual(len(unite_hours(HOUR, [])), 0)

    def test_more_than_an_hour_can_hold(self) -> None:
        """Two sources that lie: what fits is shown."""
        self.patch(hour_layout, "MAX_ROWS", 15)
        parts = []
        for first in (FIRST, FIRST + 10):
            builder = HourBuilder(HOUR)
            for number in range(first, first + 10):
                builder.add(row(segment(number)), segment(number).tracks, RUN, [TrackSpan(1, 1, 0, D, 6)])
            parts.append(builder.build())
        self.assertEqual(len(unite_hours(HOUR, parts)), 15)
        self.local.keep(range(FIRST, FIRST + 15))
        self.show(FIRST + 20)
        self.assertEqual(len(self.hour()), 15)

    def test_holdings(self) -> None:
        self.local.keep(range(FIRST + 5, FIRST + 10))
        self.remote.keep(range(FIRST, FIRST + 6))
        self.show(FIRST + 10, FIRST + 1800)
        held = self.of(self.archive.holdings("cam"))
        self.assertEqual(
            held.spans,
            (Span(FIRST * D, (FIRST + 11) * D), Span((FIRST + 1800) * D, (FIRST + 1801) * D)),
        )
        self.assertEqual((held.hours, held.complete), ((HOUR, HOUR + 1), True))
        self.assertTrue(self.remote.hurried, "there is something to show")
        self.remote.away = True
        self.assertFalse(self.of(self.archive.holdings("cam")).complete)

    def test_very_many_hours(self) -> None:
        """What is the same is not put together again."""
        hours = tuple(range(500_000))
        one = Holdings(hours=hours, spans=(Span(0, 1),), size=1)
        self.assertIs(unite_holdings([one], True), one)
        both = unite_holdings([one, Holdings(hours=hours, spans=(Span(0, 1),), size=2)], False)
        self.assertIs(both.hours, hours)
        self.assertEqual((both.size, both.complete), (2, False))


class AwayTests(ArchiveCase):
    def test_nothing(self) -> None:
        """Not recorded is another thing than not to be had now."""
        self.refused(self.archive.holdings("cam"), Reason.NOT_FOUND)
        self.refused(self.archive.hour("cam", HOUR), Reason.NOT_FOUND)
        self.refused(self.archive.segment("cam", row(segment(FIRST))), Reason.NOT_FOUND)
        self.assertFalse(self.archive.takes("cam"))
        self.remote.away = True
        self.assertTrue(self.archive.takes("cam"))
        self.refused(self.archive.holdings("cam"), Reason.NOT_READY)
        self.refused(self.archive.hour("cam", HOUR), Reason.NOT_READY)
        self.refused(self.archive.segment("cam", row(segment(FIRST))), Reason.NOT_READY)

    def test_what_is_here_plays(self) -> None:
        """An hour of which nothing is here is refused for now: it is not empty for certain."""
        self.local.keep([FIRST])
        self.remote.away = True
        self.assertEqual(len(self.hour()), 1)
        self.read(FIRST)
        self.refused(self.archive.hour("cam", HOUR - 5), Reason.NOT_READY)
        self.refused(self.archive.segment("cam", row(segment(FIRST + 1))), Reason.NOT_READY)

    def test_only_the_window(self) -> None:
        self.local.always = True
        self.remote.away = True
        self.show(FIRST)
        self.assertEqual(len(self.hour()), 1)
        self.assertFalse(self.remote.hurried is False)

    def test_find(self) -> None:
        """An hour that cannot be had does not hide the next one."""
        self.local.keep([FIRST])
        find = self.archive.find
        found = self.of(find("cam", [HOUR, HOUR + 1], FIRST))
        assert found is not None
        self.assertEqual(found.number, FIRST)
        self.assertIsNone(self.of(find("cam", [HOUR], FIRST + 1)))
        self.remote.away = True
        found = self.of(find("cam", [HOUR - 1, HOUR], FIRST))
        assert found is not None
        self.refused(find("cam", [HOUR - 1, HOUR], FIRST + 1), Reason.NOT_READY)
