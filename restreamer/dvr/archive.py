"""The past of streams as one timeline: live window, memory, cache, disks and sources.

What is known of an hour is the union of what this node recorded, what its window still holds and what its
sources have; of two segments with one number this node's own is shown. A segment is read from the nearest
place that has it, once however many want it, and is verified wherever it comes from.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol

from attrs import define, evolve

from restreamer.dvr.heads import header_of
from restreamer.dvr.read_counters import ReadCounters
from restreamer.dvr.seams import ArchiveReader, Holdings, Span
from restreamer.dvr.spans import join_spans
from restreamer.dvr.union import Unions, unite_holdings
from restreamer.errors import LocalProtocolError, Reason, Refused
from restreamer.live.window import WindowSegment
from restreamer.logs import Logger
from restreamer.m4f.hour_index import ArchivedRun, HourBuilder, HourIndex, Row, TrackSpan, hour_of
from restreamer.m4f.segment import Segment
from restreamer.vod.keep import Kept, SingleFlight

_log = Logger()

#: Canonical segments kept in memory, bytes and pieces.
SEGMENT_BYTES = 64 * 1024 * 1024
SEGMENT_PIECES = 4000
#: Segments that are read at a time, and those of one stream: one whose source hangs takes no more.
MAX_READING = 2048
MAX_OF_STREAM = 128
#: Seconds for which holdings say that not everybody was asked after an hour of which that is true; streams of
#: which it is remembered.
DOUBTFUL_SECONDS = 10.0
MAX_DOUBTFUL = 1000

_Path = tuple[bytes, ...]


class RemoteArchives(Protocol):
    """The sources."""

    def asked_by(self, path: _Path, hurry: bool = False) -> ArchiveReader:
        """The reader for somebody that other nodes stand behind.

        @param hurry: there is something to show without the sources: a slow one is not waited for.
        """
        ...

    def kin(self, path: _Path) -> Hashable:
        """Equal for all C{path} for which the same sources are asked."""
        ...

    def may_have(self, name: str) -> bool:
        """Whether some source may have C{name}."""
        ...


class SegmentCache(Protocol):
    """Segments of sources kept on a disk (C{cache PATH})."""

    def get(self, name: str, row: Row) -> Awaitable[Segment | None]:
        """The segment, if it is there and whole."""
        ...

    def put(self, name: str, row: Row, segment: Segment) -> None:
        """Keep it; never waits, never raises."""
        ...


class LocalArchive(ArchiveReader, Protocol):
    """What this node recorded."""

    def records(self, name: str) -> bool:
        """Whether the configuration gives C{name} a place on disk, cheap."""
        ...


class CopiedArchives(Protocol):
    """Object stores that what was recorded here was copied to. See L{ArchiveReader}."""

    def records(self, name: str) -> bool:
        """Whether the configuration copies C{name} anywhere, cheap."""
        ...

    def holdings(self, name: str, hurry: bool = False) -> Awaitable[Holdings]:
        """What there is. @param hurry: there is something to show without: a slow one is not waited for."""
        ...

    def hour(self, name: str, hour: int, hurry: bool = False) -> Awaitable[HourIndex]:
        """One hour."""
        ...

    def segment(self, name: str, row: Row) -> Awaitable[Segment]:
        """One segment."""
        ...

    def headers(self, name: str, rows: Sequence[Row]) -> Awaitable[Sequence[bytes | None]]:
        """The headers of segments."""
        ...


class DescribeSegment(Protocol):
    """Makes the row of a closed segment of a live window."""

    def __call__(self, entry: WindowSegment) -> tuple[Row, ArchivedRun, Sequence[TrackSpan]]:
        """The row, the run and the tracks."""
        ...


@define(eq=False)
class _Asked:
    """What became of asking everybody. @ivar away: somebody could not tell."""

    away: bool = False

    @contextmanager
    def one(self) -> Iterator[None]:
        """One is asked; no is an answer too."""
        try:
            yield
        except Refused as refused:
            self.away = self.away or refused.reason is not Reason.NOT_FOUND

    def nothing(self) -> Refused:
        """Why there is nothing to show."""
        if self.away:
            return Refused(Reason.NOT_READY, "nobody who may have the archive can be asked now")
        return Refused(Reason.NOT_FOUND, "nothing of this stream is recorded")


class Archive:
    """All of it, for viewers of this node; L{asked_by} for other nodes.

    @param window: the closed segments in memory of a stream, oldest first. @param local: this node's disks.
    @param remote: the sources. @param cache: the disk cache of a stream, if the configuration gives one.
    @param crowded: whether memory is short: nothing is kept then. @param copies: the object stores.
    @param seconds: of a monotonic clock.
    @ivar reads: where segments came from.
    """

    def __init__(
        self,
        window: Callable[[str], Sequence[WindowSegment]],
        describe: DescribeSegment,
        local: LocalArchive,
        remote: RemoteArchives,
        cache: Callable[[str], SegmentCache | None],
        crowded: Callable[[], bool] = lambda: False,
        copies: CopiedArchives | None = None,
        seconds: Callable[[], float] = lambda: 0.0,
    ) -> None:
        self.reads = ReadCounters(seconds)
        self._window = window
        self._describe = describe
        self._local = local
        self._remote = remote
        self._cache = cache
        self._crowded = crowded
        self._copies = copies
        self._segments: Kept[tuple[str, int, int], Segment] = Kept(
            SEGMENT_BYTES, SEGMENT_PIECES, lambda segment: len(segment.encoded)
        )
        self._reading: SingleFlight[tuple[str, int, int, Hashable], Segment] = SingleFlight(
            MAX_READING, MAX_READING * 4, lambda flight: flight[0], MAX_OF_STREAM
        )
        self._unions = Unions()
        self._doubtful: Kept[str, float] = Kept(MAX_DOUBTFUL, MAX_DOUBTFUL, lambda until: 1)
        self._seconds = seconds

    def takes(self, name: str) -> bool:
        """See L{restreamer.dvr.seams.Archives.takes}."""
        return self._local.records(name) or self._remote.may_have(name)

    def asked_by(self, path: _Path) -> AskedArchive:
        """The reader that serves another node: C{path} is not asked in turn."""
        return AskedArchive(self, path)

    async def holdings(self, name: str, path: _Path = ()) -> Holdings:
        """See L{restreamer.dvr.seams.ArchiveReader.holdings}."""
        found: list[Holdings] = []
        asked = _Asked()
        window = self._window(name)
        if self._local.records(name):
            with asked.one():
                found.append(await self._local.holdings(name))
        if self._copies is not None and self._copies.records(name):
            with asked.one():
                found.append(await self._copies.holdings(name, bool(found)))
        if self._remote.may_have(name):
            with asked.one():
                found.append(await self._remote.asked_by(path, bool(found)).holdings(name))
        if not found:
            raise asked.nothing()
        held = unite_holdings(found, not asked.away and not self._in_doubt(name))
        if not window:
            return held
        hours = held.hours
        if any(hour_of(entry.start) > hours[-1] for entry in window) if hours else True:
            hours = tuple(sorted({*hours, *[hour_of(entry.start) for entry in window]}))
        live = [Span(entry.start, entry.start + entry.duration) for entry in window]
        return Holdings(
            hours=hours, spans=join_spans([*held.spans, *live]), size=held.size, complete=held.complete
        )

    async def hour(self, name: str, hour: int, path: _Path = ()) -> HourIndex:
        """See L{restreamer.dvr.seams.ArchiveReader.hour}."""
        indexes: list[HourIndex] = []
        asked = _Asked()
        live = [entry for entry in self._window(name) if hour_of(entry.start) == hour]
        if self._local.records(name):
            with asked.one():
                indexes.append(await self._local.hour(name, hour))
        if self._copies is not None and self._copies.records(name):
            with asked.one():
                indexes.append(await self._copies.hour(name, hour, bool(live) or any(map(len, indexes))))
        if self._remote.may_have(name):
            hurry = bool(live) or any(map(len, indexes))
            with asked.one():
                indexes.append(await self._remote.asked_by(path, hurry).hour(name, hour))
        if not live and (not indexes or (asked.away and not any(map(len, indexes)))):
            raise asked.nothing()
        complete = not asked.away and all(index.complete for index in indexes)
        united = self._unions.unite((name, self._remote.kin(path)), hour, indexes)
        if united.complete != complete:
            united = evolve(united, complete=complete)
        if not complete:
            # An hour does not say so to other nodes: holdings do.
            self._doubtful.put(name, self._seconds() + DOUBTFUL_SECONDS)
        missing = [entry for entry in live if united.find(entry.number) is None]
        if not missing:
            return united
        together = HourBuilder(hour)
        try:
            together.take(united)
            for entry in missing:
                row, run, spans = self._describe(entry)
                together.add(row, entry.segment.tracks, run, spans)
        except LocalProtocolError as error:
            _log.warn("an hour of {name!r} is shown in part: {error}", name=name, error=error)
        return evolve(together.build(), complete=complete)

    async def segment(self, name: str, row: Row, path: _Path = ()) -> Segment:
        """See L{restreamer.dvr.seams.ArchiveReader.segment}."""
        for entry in self._window(name):
            if entry.number == row.number and entry.segment.checksum == row.checksum:
                self.reads.add("ram", row.size)
                return entry.segment
        key = (name, row.number, row.checksum)
        held = self._segments.get(key)
        if held is not None:
            self.reads.add("ram", row.size)
            return held
        flight = (*key, self._remote.kin(path))
        return await self._reading.run(flight, lambda: self._read(name, row, path))

    async def headers(self, name: str, rows: Sequence[Row], path: _Path = ()) -> Sequence[bytes | None]:
        """See L{restreamer.dvr.seams.ArchiveReader.headers}: from the nearest place that has them."""
        window = {entry.number: entry.segment for entry in self._window(name)}
        found: dict[Row, bytes | None] = {}
        for row in rows:
            held = window.get(row.number)
            if held is None or held.checksum != row.checksum:
                held = self._segments.get((name, row.number, row.checksum))
            found[row] = header_of(held.encoded, row) if held is not None else None
        places: list[Callable[[Sequence[Row]], Awaitable[Sequence[bytes | None]]]] = []
        if self._local.records(name):
            places.append(lambda lacking: self._local_headers(name, lacking))
        copies = self._copies
        if copies is not None and copies.records(name):
            places.append(lambda lacking: copies.headers(name, lacking))
        if self._remote.may_have(name):
            places.append(lambda lacking: self._remote.asked_by(path).headers(name, lacking))
        for ask in places:
            lacking = [row for row in rows if found[row] is None]
            if lacking:
                try:
                    found.update(zip(lacking, await ask(lacking), strict=True))
                except Refused as refused:
                    _log.debug("headers of {name!r}: {error}", name=name, error=refused)
        return [found[row] for row in rows]

    async def _local_headers(self, name: str, rows: Sequence[Row]) -> Sequence[bytes | None]:
        """Where they lie here, this node's own index tells."""
        indexes = {hour: await self._local.hour(name, hour) for hour in {hour_of(row.start) for row in rows}}
        own = [indexes[hour_of(row.start)].find(row.number) for row in rows]
        mine = [
            each
            for each, row in zip(own, rows, strict=True)
            if each is not None and each.checksum == row.checksum
        ]
        read = dict(zip(mine, await self._local.headers(name, mine), strict=True)) if mine else {}
        return [read.get(each) if each is not None else None for each in own]

    async def find(self, name: str, hours: Sequence[int], number: int) -> Row | None:
        """See L{restreamer.dvr.seams.Archives.find}."""
        refusal: Refused | None = None
        for hour in hours:
            try:
                row = (await self.hour(name, hour)).find(number)
            except Refused as refused:
                if refusal is None or refused.reason is not Reason.NOT_FOUND:
                    refusal = refused
                continue
            if row is not None:
                return row
        if refusal is not None:
            raise refusal
        return None

    def _in_doubt(self, name: str) -> bool:
        """Whether not everybody told of an hour lately."""
        until = self._doubtful.get(name)
        return until is not None and self._seconds() < until

    def forget(self) -> None:
        """Give the memory of segments and unions back."""
        self._segments.clear()
        self._unions.clear()

    # Inside.

    async def _read(self, name: str, row: Row, path: _Path) -> Segment:
        cache = self._cache(name)
        segment = await cache.get(name, row) if cache is not None else None
        place = "cache"
        if segment is None:
            segment, place = await self._read_on(name, row, path)
            if place == "remote" and cache is not None:
                cache.put(name, row, segment)
        self.reads.add(place, row.size)
        if self._crowded():
            self._segments.clear()
        else:
            self._segments.put((name, row.number, row.checksum), segment)
        return segment

    async def _read_on(self, name: str, row: Row, path: _Path) -> tuple[Segment, str]:
        """From this node's disks, or else from a source: also when what lies here is damaged.

        C{row} may be of a source or of the window: where it lies here, this node's own index tells.
        """
        refusal: Refused | None = None
        if self._local.records(name):
            try:
                own = (await self._local.hour(name, hour_of(row.start))).find(row.number)
                if own is not None and own.checksum == row.checksum:
                    return await self._local.segment(name, own), "local"
            except Refused as refused:
                refusal = refused
        if self._copies is not None and self._copies.records(name):
            try:
                return await self._copies.segment(name, row), "s3"
            except Refused as refused:
                if refusal is None or refused.reason is not Reason.NOT_FOUND:
                    refusal = refused
        if self._remote.may_have(name):
            try:
                return await self._remote.asked_by(path).segment(name, row), "remote"
            except Refused as refused:
                if refusal is None or refused.reason is not Reason.NOT_FOUND:
                    refusal = refused
        raise refusal if refusal is not None else Refused(Reason.NOT_FOUND, "the segment is not recorded")


@define(eq=False)
class AskedArchive:
    """An L{Archive} as another node asks it. @ivar path: the nodes that ask."""

    _archive: Archive
    _path: _Path

    async def holdings(self, name: str) -> Holdings:
        """See the seam."""
        return await self._archive.holdings(name, self._path)

    async def hour(self, name: str, hour: int) -> HourIndex:
        """See the seam."""
        return await self._archive.hour(name, hour, self._path)

    async def segment(self, name: str, row: Row) -> Segment:
        """See the seam."""
        return await self._archive.segment(name, row, self._path)

    async def headers(self, name: str, rows: Sequence[Row]) -> Sequence[bytes | None]:
        """See the seam."""
        return await self._archive.headers(name, rows, self._path)
