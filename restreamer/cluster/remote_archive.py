"""The past of streams as the sources have it: what there is, hour by hour, and single segments.

All sources that may have a stream are asked what they hold, and what they say is put together. A segment is
asked for at those that listed it, one after the other: when one is lost, or hangs, in the middle of a
playback the next one goes on (L{restreamer.cluster.hedge}). What comes is checked against the row it was
asked by.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Protocol

from attrs import define, evolve, field
from twisted.internet.defer import Deferred, gatherResults
from twisted.python.failure import Failure

from restreamer.cluster.file_link import Answer, FileLink, SourceLostError
from restreamer.cluster.hedge import Everybody, FirstGood, Slowness
from restreamer.cluster.remote_files import FileSource
from restreamer.dvr.heads import header_of
from restreamer.dvr.seams import Holdings, Span
from restreamer.dvr.spans import join_spans
from restreamer.dvr.union import Unions, unite_holdings
from restreamer.errors import Reason, Refused, RemoteProtocolError
from restreamer.logs import Logger
from restreamer.m4f.hour_index import HourIndex, Row, decode_hour, hour_of
from restreamer.m4f.hour_layout import HOUR_TICKS
from restreamer.m4f.record_layout import MAX_HOURS
from restreamer.m4f.records import (
    ArchiveAsk,
    ArchiveHoldings,
    ArchiveHour,
    ArchiveHourAsk,
    ArchiveSegmentAsk,
    FileSegment,
    Record,
)
from restreamer.m4f.segment import Segment
from restreamer.media.timebase import TICKS_PER_SECOND
from restreamer.seams import Clock
from restreamer.vod.keep import Kept, SingleFlight

_log = Logger()

#: Seconds for which it is not asked again what a source holds, and longer the more hours that are.
HOLDINGS_SECONDS = 2.0
HOURS_PER_SECOND = 10_000
#: Likewise what an hour holds that is not over; that is; that is for long.
OPEN_SECONDS = 1.0
OVER_SECONDS = 30.0
OLD_SECONDS = 300.0
#: Hours after which one is over for long.
OLD_HOURS = 2
#: Seconds after its end for which an hour may still change by itself.
SETTLING = 60
#: Hours that are asked for ahead of who reads one after the other; of all readers together.
AHEAD = 6
MAX_AHEAD = 48
#: What a source once said stands in for it while it is away, seconds: of all that it holds, and of an hour.
HOLDINGS_LAST_WORD = 20.0
HOUR_LAST_WORD = 600.0
#: Headers that are asked for at once for one reader.
HEADERS_AT_ONCE = 4
#: Hours kept, bytes and pieces; holdings kept, hours and pieces.
HOUR_BYTES = 48 * 1024 * 1024
HOUR_PIECES = 4000
HELD_HOURS = 2_000_000
HELD_PIECES = 1000

_Path = tuple[bytes, ...]
_Kin = tuple[bytes, ...]


@define(eq=False)
class _HeldHour:
    """An hour as one source has it. @ivar index: None: the source has nothing of the stream."""

    index: HourIndex | None
    asked: float


@define(eq=False)
class _HeldHoldings:
    """What one source holds. @ivar holdings: None: nothing of the stream."""

    holdings: Holdings | None
    asked: float

    @property
    def hours(self) -> int:
        """How many hours there are."""
        return len(self.holdings.hours) if self.holdings is not None else 0


@define(eq=False)
class RemoteCounters:
    """What was asked of sources.

    @ivar asked: asks by kind (holdings, hour, segment). @ivar fetched, fetched_bytes: segments that came.
    @ivar damaged: answers of no use. @ivar hedged: times a source did not answer in time.
    """

    asked: Counter[str] = field(factory=Counter)
    fetched: int = 0
    fetched_bytes: int = 0
    damaged: int = 0
    hedged: int = 0


class ArchiveSources(Protocol):
    """Where the sources are."""

    def source_ids(self) -> set[bytes]:
        """Node ids of the sources, as far as they are known."""
        ...

    def asked_for_stream(self, name: str) -> list[FileSource]:
        """The sources to ask for the past of a stream, best first."""
        ...


class RemoteArchive:
    """What all sources hold; an L{restreamer.dvr.seams.ArchiveReader} by L{asked_by}.

    @param files: where the sources are. @param utc: UTC ticks now.
    @param link: by which link a source is asked: another one for what may take its time.
    @ivar counters: what was asked.
    """

    def __init__(
        self,
        node_id: bytes,
        files: ArchiveSources,
        clock: Clock,
        utc: Callable[[], int],
        link: Callable[[FileSource], FileLink] = lambda source: source.link,
    ) -> None:
        self.counters = RemoteCounters()
        self._node_id = node_id
        self._files = files
        self._clock = clock
        self._utc = utc
        self._link = link
        self._slow = Slowness(clock)
        self._held: Kept[tuple[str, str, _Kin], _HeldHoldings] = Kept(
            HELD_HOURS, HELD_PIECES, lambda held: 100 + held.hours
        )
        self._hours: Kept[tuple[str, str, int, _Kin], _HeldHour] = Kept(
            HOUR_BYTES, HOUR_PIECES, lambda held: held.index.cost if held.index is not None else 100
        )
        self._unions = Unions()
        self._holding: SingleFlight[tuple[str, _Kin, bool], Holdings] = SingleFlight()
        self._listing: SingleFlight[tuple[str, int, _Kin, bool], HourIndex] = SingleFlight()
        self._asked_ahead: set[tuple[str, int, _Kin]] = set()
        self._fetching: SingleFlight[tuple[str, int, int, _Kin], Segment] = SingleFlight()

    def asked_by(self, path: _Path, hurry: bool = False) -> RemoteReader:
        """The reader for somebody that other nodes stand behind: C{path}, empty for viewers of this node.

        @param hurry: there is something to show without the sources: a slow one is not waited for.
        """
        return RemoteReader(self, path, hurry)

    def may_have(self, name: str) -> bool:
        """Whether some source may have C{name}."""
        return bool(self._files.asked_for_stream(name))

    def kin(self, path: _Path) -> _Kin:
        """The sources that are not asked on behalf of C{path}: who has the same gets the same answers."""
        return tuple(sorted(self._files.source_ids().intersection(path))) if path else ()

    def forget(self) -> None:
        """The sources changed: ask again."""
        self._held.clear()
        self._hours.clear()
        self._unions.clear()

    async def holdings(self, name: str, path: _Path, hurry: bool = False) -> Holdings:
        """See L{restreamer.dvr.seams.ArchiveReader.holdings}."""
        flight = (name, self.kin(path), hurry)
        return await self._holding.run(flight, lambda: self._ask_holdings(name, path, hurry))

    async def hour(self, name: str, hour: int, path: _Path, hurry: bool = False) -> HourIndex:
        """See L{restreamer.dvr.seams.ArchiveReader.hour}."""
        self._read_ahead(name, hour, path, hurry)
        return await self._listed(name, hour, path, hurry)

    async def segment(self, name: str, row: Row, path: _Path) -> Segment:
        """See L{restreamer.dvr.seams.ArchiveReader.segment}."""
        flight = (name, row.number, row.checksum, self.kin(path))
        return await self._fetching.run(flight, lambda: self._ask_segment(name, row, path))

    async def header(self, name: str, row: Row, path: _Path) -> bytes | None:
        """The header of a segment, from a source that lists it; None: no one gives it."""
        kin, hour = self.kin(path), hour_of(row.start)
        sources = [
            source
            for source in self._files.asked_for_stream(name)
            if self._lists(source, name, hour, row, kin)
        ]
        sources.sort(key=self._is_slow)
        for source in sources:
            make = partial(
                _segment_ask, source.remote_name(name), hour, row, (*path, self._node_id), header=True
            )
            try:
                answer = await self._ask(source, "header", make)
            except (Refused, SourceLostError):
                continue
            # One that does not know of headers gives the segment.
            header = header_of(answer.encoded, row) if isinstance(answer, FileSegment) else None
            if header is not None:
                return header
            self._useless(source, f"the header of segment {row.number}", "it is another one")
        return None

    # Inside.

    async def _ask(self, source: FileSource, kind: str, make: Callable[[int], Record]) -> Answer:
        """Ask one source.

        @raise Refused: it has nothing. @raise SourceLostError: it cannot tell.
        """
        self.counters.asked[kind] += 1
        began = self._clock.seconds()
        try:
            answer = await self._link(source).ask(make)
        except Refused:
            self._slow.answered(source.address, began)
            raise
        except SourceLostError as error:
            _log.debug(
                "source {source} cannot be asked for its archive ({kind}): {error}",
                source=source.address,
                kind=kind,
                error=error,
            )
            raise
        self._slow.answered(source.address, began)
        return answer

    async def _everybody(
        self, sources: Sequence[FileSource], ask: Callable[[FileSource], Awaitable[bool]], hurry: bool
    ) -> None:
        """Ask several sources at once."""
        if sources:
            asking = Everybody(self._clock, ask, self._late, self._is_slow, hurry)
            await asking.run(sources)

    def _late(self, source: FileSource) -> None:
        self.counters.hedged += 1
        self._slow.late(source.address)

    def _is_slow(self, source: FileSource) -> bool:
        return self._slow.is_slow(source.address)

    def _useless(self, source: FileSource, what: str, error: object) -> None:
        self.counters.damaged += 1
        _log.warn(
            "source {source} gave {what} of no use: {error}", source=source.address, what=what, error=error
        )

    # What there is.

    async def _ask_holdings(self, name: str, path: _Path, hurry: bool) -> Holdings:
        kin = self.kin(path)
        sources = self._files.asked_for_stream(name)

        async def one(source: FileSource) -> bool:
            holdings: Holdings | None = None
            try:
                answer = await self._ask(
                    source,
                    "holdings",
                    partial(_holdings_ask, source.remote_name(name), (*path, self._node_id)),
                )
            except Refused:
                pass
            except SourceLostError:
                return False
            else:
                if not isinstance(answer, ArchiveHoldings):
                    self._useless(source, "holdings", type(answer).__name__)
                    return False
                holdings = _holdings_of(answer)
            self._held.put((source.address, name, kin), _HeldHoldings(holdings, self._clock.seconds()))
            return holdings is not None

        asking = [source for source in sources if not self._knows(source, name, kin)]
        told = [self._held.get((source.address, name, kin)) for source in sources if source not in asking]
        hurry = hurry or any(each is not None and each.holdings is not None for each in told)
        await self._everybody(asking, one, hurry)
        found: list[Holdings] = []
        lost = False
        for source in sources:
            held = self._held.get((source.address, name, kin))
            if held is None or self._clock.seconds() - held.asked > HOLDINGS_LAST_WORD + _patience(held):
                lost = True
                continue
            lost = lost or not self._knows(source, name, kin)
            if held.holdings is not None:
                found.append(held.holdings)
        if found:
            return unite_holdings(found, not lost)
        if lost:
            raise Refused(Reason.NOT_READY, "no source can be asked for its archive now")
        raise Refused(Reason.NOT_FOUND, "no source has an archive of this stream")

    def _knows(self, source: FileSource, name: str, kin: _Kin, seconds: float = 0.0) -> bool:
        """Whether it is known what a source holds, as of C{seconds} ago or so."""
        held = self._held.get((source.address, name, kin))
        return held is not None and self._clock.seconds() - held.asked < max(seconds, _patience(held))

    # Hours.

    async def _ask_hour(self, name: str, hour: int, path: _Path, hurry: bool) -> HourIndex:
        kin = self.kin(path)
        sources = self._files.asked_for_stream(name)
        now = hour_of(self._utc())
        if hour < 0 or hour > now + 1:
            return HourIndex(max(0, hour))
        over, fresh = self._fresh(hour)
        asking = []
        told = False
        for source in sources:
            held = self._hours.get((source.address, name, hour, kin))
            if held is not None and self._clock.seconds() - held.asked < fresh:
                told = told or bool(held.index)
            else:
                asking.append(source)
        if asking and over:
            # An hour that nobody has is not asked for: there are many more of those.
            try:
                await self.holdings(name, path, hurry)
            except Refused:
                pass
            asking = [source for source in asking if not self._lacks(source, name, hour, kin)]
        ask = partial(self._one_hour, name, hour, path, kin)
        await self._everybody(asking, ask, hurry or told)
        indexes: list[HourIndex] = []
        lost = False
        for source in sources:
            held = self._hours.get((source.address, name, hour, kin))
            age = self._clock.seconds() - held.asked if held is not None else 0.0
            # What was once said of an hour is better than nothing while its source is away.
            lost = lost or (source in asking and (held is None or age >= fresh))
            limit = max(fresh, HOUR_LAST_WORD) if source in asking else fresh
            if held is not None and held.index is not None and age < limit:
                indexes.append(held.index)
        if not any(map(len, indexes)) and lost:
            raise Refused(Reason.NOT_READY, "no source can be asked for its archive now")
        if not indexes and not any(self._has(source, name, kin) for source in sources):
            raise Refused(Reason.NOT_FOUND, "no source has an archive of this stream")
        united = self._unions.unite((name, kin), hour, indexes)
        return evolve(united, complete=False) if lost else united

    def _fresh(self, hour: int) -> tuple[bool, float]:
        """Whether an hour is over, and the seconds for which it is not asked for again."""
        if hour_of(self._utc() - SETTLING * TICKS_PER_SECOND) <= hour:
            return False, OPEN_SECONDS
        return True, OLD_SECONDS if hour < hour_of(self._utc()) - OLD_HOURS else OVER_SECONDS

    async def _one_hour(self, name: str, hour: int, path: _Path, kin: _Kin, source: FileSource) -> bool:
        key = (source.address, name, hour, kin)
        index: HourIndex | None = None
        asked = self._clock.seconds()
        try:
            answer = await self._ask(
                source,
                "hour",
                partial(_hour_ask, source.remote_name(name), hour, (*path, self._node_id)),
            )
        except Refused:
            if self._claims(source, name, hour, kin):
                # It says that it has the hour and does not give it: that is not taken for long for an answer.
                asked -= self._fresh(hour)[1] - OPEN_SECONDS
        except SourceLostError:
            return False
        else:
            try:
                index = _hour_of_answer(answer, hour)
            except RemoteProtocolError as error:
                self._useless(source, "an hour", error)
                return False
            held = self._hours.get(key)
            if held is not None and held.index is not None and _same(held.index, index):
                index = held.index
        self._hours.put(key, _HeldHour(index, asked))
        return bool(index)

    def _claims(self, source: FileSource, name: str, hour: int, kin: _Kin) -> bool:
        """Whether a source said that it has something of an hour."""
        held = self._held.get((source.address, name, kin))
        if held is None or held.holdings is None:
            return False
        hours = held.holdings.hours
        place = bisect_left(hours, hour)
        return place < len(hours) and hours[place] == hour

    def _lacks(self, source: FileSource, name: str, hour: int, kin: _Kin) -> bool:
        """Whether a source is known to have nothing of an hour."""
        held = self._held.get((source.address, name, kin))
        if held is None or not self._knows(source, name, kin, OVER_SECONDS):
            return False
        if held.holdings is None:
            return True
        hours = held.holdings.hours
        place = bisect_left(hours, hour)
        return held.holdings.complete and (place == len(hours) or hours[place] != hour)

    def _has(self, source: FileSource, name: str, kin: _Kin) -> bool:
        held = self._held.get((source.address, name, kin))
        return held is not None and held.holdings is not None

    def _listed(self, name: str, hour: int, path: _Path, hurry: bool) -> Awaitable[HourIndex]:
        flight = (name, hour, self.kin(path), hurry)
        return self._listing.run(flight, lambda: self._ask_hour(name, hour, path, hurry))

    def _read_ahead(self, name: str, hour: int, path: _Path, hurry: bool) -> None:
        """Who reads hour after hour (a long playlist) does not wait for the way to the source each time."""
        kin = self.kin(path)
        told: set[int] = set()
        for source in self._files.asked_for_stream(name):
            held = self._held.get((source.address, name, kin))
            if held is not None and held.holdings is not None:
                hours = held.holdings.hours
                place = bisect_left(hours, hour)
                before = hours[place - 1] if place else hour - 1
                if self._hours.get((source.address, name, before, kin)) is not None:
                    told.update(hours[place + 1 : place + 1 + AHEAD])
        for ahead in sorted(told)[:AHEAD]:
            if len(self._asked_ahead) >= MAX_AHEAD:
                return
            key = (name, ahead, kin)
            if key in self._asked_ahead or self._is_held(name, ahead, kin):
                continue
            self._asked_ahead.add(key)
            work = Deferred.fromCoroutine(_awaited(self._listed(name, ahead, path, hurry)))
            _ = work.addBoth(self._came_ahead, key)

    def _is_held(self, name: str, hour: int, kin: _Kin) -> bool:
        until = self._clock.seconds() - self._fresh(hour)[1]
        found = [
            self._hours.get((source.address, name, hour, kin))
            for source in self._files.asked_for_stream(name)
        ]
        return any(each is not None and each.asked > until for each in found)

    def _came_ahead(self, outcome: HourIndex | Failure, key: tuple[str, int, _Kin]) -> None:
        """Whoever wants it finds it; or asks, and is told what is wrong."""
        self._asked_ahead.discard(key)
        if isinstance(outcome, Failure) and outcome.check(Refused) is None:
            _log.failure("an hour could not be asked for ahead", outcome)

    # Segments.

    async def _ask_segment(self, name: str, row: Row, path: _Path) -> Segment:
        kin = self.kin(path)
        hour = hour_of(row.start)
        lost = False

        async def one(source: FileSource) -> Segment | None:
            nonlocal lost
            make = partial(_segment_ask, source.remote_name(name), hour, row, (*path, self._node_id))
            try:
                segment = _segment_of(await self._ask(source, "segment", make), row)
            except Refused:
                # It is gone there: so is what else was said of that hour.
                self._hours.drop((source.address, name, hour, kin))
                return None
            except SourceLostError:
                lost = True
                return None
            except RemoteProtocolError as error:
                self._useless(source, f"segment {row.number}", error)
                return None
            self.counters.fetched += 1
            self.counters.fetched_bytes += len(segment.encoded)
            return segment

        sources = self._files.asked_for_stream(name)
        listing = {source: self._lists(source, name, hour, row, kin) for source in sources}
        sources.sort(key=lambda source: (self._is_slow(source), not listing[source]))
        segment = await FirstGood(self._clock, sources, one, self._late).run()
        if segment is not None:
            return segment
        if lost:
            raise Refused(Reason.NOT_READY, "no source can be asked for the segment now")
        raise Refused(Reason.NOT_FOUND, "no source has the segment any more")

    def _lists(self, source: FileSource, name: str, hour: int, row: Row, kin: _Kin) -> bool:
        held = self._hours.get((source.address, name, hour, kin))
        if held is None or held.index is None:
            return False
        found = held.index.find(row.number)
        return found is not None and found.checksum == row.checksum


@define(eq=False)
class RemoteReader:
    """An L{restreamer.dvr.seams.ArchiveReader}: the sources, for whoever stands behind."""

    _archive: RemoteArchive
    _path: _Path
    _hurry: bool = False

    async def holdings(self, name: str) -> Holdings:
        """See the seam."""
        return await self._archive.holdings(name, self._path, self._hurry)

    async def hour(self, name: str, hour: int) -> HourIndex:
        """See the seam."""
        return await self._archive.hour(name, hour, self._path, self._hurry)

    async def segment(self, name: str, row: Row) -> Segment:
        """See the seam."""
        return await self._archive.segment(name, row, self._path)

    async def headers(self, name: str, rows: Sequence[Row]) -> Sequence[bytes | None]:
        """See the seam: some are asked for at once."""
        found: dict[Row, bytes | None] = {}
        left = iter(rows)

        async def some() -> None:
            for row in left:
                found[row] = await self._archive.header(name, row, self._path)

        await gatherResults([Deferred.fromCoroutine(some()) for _ in range(HEADERS_AT_ONCE)])
        return [found[row] for row in rows]


async def _awaited(work: Awaitable[HourIndex]) -> HourIndex:
    return await work


def _patience(held: _HeldHoldings) -> float:
    """Seconds for which holdings are not asked for again."""
    return HOLDINGS_SECONDS + held.hours / HOURS_PER_SECOND


def _same(one: HourIndex, other: HourIndex) -> bool:
    return (one.packed, one.packed_spans, one.tables, one.runs) == (
        other.packed,
        other.packed_spans,
        other.tables,
        other.runs,
    )


def _holdings_ask(name: str, path: _Path, number: int) -> Record:
    return ArchiveAsk(number, name, path)


def _hour_ask(name: str, hour: int, path: _Path, number: int) -> Record:
    return ArchiveHourAsk(number, name, hour, path)


def _segment_ask(name: str, hour: int, row: Row, path: _Path, number: int, header: bool = False) -> Record:
    return ArchiveSegmentAsk(number, name, hour, row.number, row.checksum, path, header)


def _holdings_of(answer: ArchiveHoldings) -> Holdings:
    return Holdings(
        hours=answer.hours,
        spans=join_spans([Span(*span) for span in answer.spans]),
        size=answer.size,
        complete=answer.complete and len(answer.hours) < MAX_HOURS,
    )


def _hour_of_answer(answer: Answer, hour: int) -> HourIndex:
    if not isinstance(answer, ArchiveHour):
        raise RemoteProtocolError("archive", "it answered something else")
    index = decode_hour(answer.encoded)
    if index.hour != hour:
        raise RemoteProtocolError("archive", f"it is hour {index.hour}, not {hour}")
    begin, end = hour * HOUR_TICKS, (hour + 1) * HOUR_TICKS
    for row in index.tuples():
        if not begin <= row[1] < end:
            raise RemoteProtocolError("archive", f"segment {row[0]} begins at {row[1]}, not within the hour")
    return index


def _segment_of(answer: Answer, row: Row) -> Segment:
    if not isinstance(answer, FileSegment):
        raise RemoteProtocolError("archive", "it answered something else")
    segment = Segment.parse(answer.encoded)
    if (segment.number, segment.checksum) != (row.number, row.checksum):
        raise RemoteProtocolError("archive", "it gave another segment")
    if (segment.start, segment.duration) != (row.start, row.duration):
        raise RemoteProtocolError("archive", "its list was not true of the segment")
    return segment
