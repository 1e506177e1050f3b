"""Fills the archives of this node with what they lack and the sources have (C{dvr … replicate}).

What is missing is found by comparing hours, the newest first, so nothing is remembered over a restart. It is
fetched by number, as fast as L{RATE} allows for all streams together, over links of its own, and is recorded
by the same writer as live; a number that is there is never fetched, so two nodes can fill each other.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Hashable, Iterable

from attrs import define, field, frozen
from twisted.internet.defer import CancelledError, Deferred, DeferredSemaphore
from twisted.python.failure import Failure

from restreamer.dvr.recorded import Recorded
from restreamer.dvr.seams import ArchiveReader
from restreamer.dvr.writer import Writer, WriterState
from restreamer.errors import Reason, Refused
from restreamer.logs import Logger
from restreamer.m4f.hour_index import HourIndex, Row, hour_of
from restreamer.m4f.hour_layout import HOUR_TICKS
from restreamer.media.timebase import TICKS_PER_SECOND
from restreamer.seams import Clock

_log = Logger()

#: Bytes per second of all streams of a node: 20 Mbit/s.
RATE = 2_500_000
#: Segments on their way at once.
AT_ONCE = 2
#: Ticks after its end from which on a segment is missed: until then live may bring it.
SETTLE = 30 * TICKS_PER_SECOND
#: What is about to be deleted by age within this time is not fetched, ticks.
SPARED = 120 * TICKS_PER_SECOND
#: Seconds between two comparisons when nothing was missing; when something was; after a failure.
ROUND_SECONDS = 30.0
AGAIN_SECONDS = 2.0
REST_SECONDS = 10.0
#: Seconds for which an older hour that lacked nothing is not compared again.
COMPARED_SECONDS = 900.0
#: Seconds between two looks whether the disk takes more.
ROOM_SECONDS = 0.2
#: Bytes of one stream that may wait for the disk because of us: live comes first.
QUEUED_BYTES = 1_000_000
#: So many segments in a row that a source does not give now: it is away.
AWAY_IN_A_ROW = 5
#: Seconds after which what could not be had is asked for again: the source may have mended it.
GIVEN_UP_SECONDS = 6 * 3600.0
#: Numbers remembered that were fetched; so often at most, and not again within so many seconds.
MAX_TRIED = 20_000
TRIES = 2
WRITING_SECONDS = 60.0
#: The rate is measured over this time, seconds.
MEASURED_OVER = 10.0


@define(kw_only=True)
class ReplicatedStream:
    """An archive to be filled. Two with the same name and C{key} are taken to be the same.

    @ivar key: whatever the rest depends on (volume, port).
    @ivar source: the archives of its sources, by the links for that. @ivar local: this node's own.
    @ivar record: as L{Writer.record}. @ivar room: whether so many bytes may be recorded now (L{room_in}).
    @ivar since: UTC ticks from which on its depth keeps segments; None: all.
    """

    name: str
    key: Hashable = None
    source: ArchiveReader = field(eq=False)
    local: ArchiveReader = field(eq=False)
    record: Callable[[str, Recorded], bool] = field(eq=False)
    room: Callable[[int], bool] = field(eq=False, default=lambda size: True)
    since: Callable[[], int | None] = field(eq=False, default=lambda: None)


@define(kw_only=True)
class ReplicationFacts:
    """How it goes with one stream.

    @ivar state: C{looking}, C{fetching}, C{waiting} (the disk takes nothing now) or C{complete}.
    @ivar missing: segments still to be fetched, of the hours looked at so far.
    @ivar fetched, fetched_bytes: so far. @ivar gone: segments that no source gave.
    @ivar error: why it does not go on; empty: it does. @ivar filled: UTC ticks of the newest one fetched.
    """

    state: str = "looking"
    missing: int = 0
    fetched: int = 0
    fetched_bytes: int = 0
    gone: int = 0
    error: str = ""
    filled: int | None = None


def room_in(writer: Writer, name: str, alarm: Callable[[], bool] = lambda: False) -> Callable[[int], bool]:
    """Whether a writer takes more of a stream without a loss for live.

    @param alarm: the disk is too full, or otherwise not to be used more than needed.
    """

    def room(size: int) -> bool:
        if alarm() or writer.status.state is not WriterState.WORKING:
            return False
        status = writer.stream_status(name)
        return status is None or not status.queued or status.queued + size <= QUEUED_BYTES

    return room


class Pace:
    """Spreads bytes over time, for all who ask in turn."""

    def __init__(self, clock: Clock, rate: float) -> None:
        self._clock = clock
        self._rate = rate
        self._next = 0.0
        self._measured: deque[tuple[float, int]] = deque()

    def delay(self, size: int) -> float:
        """Seconds after which C{size} bytes may be fetched; they count as fetched then."""
        now = self._clock.seconds()
        begin = max(now, self._next)
        self._next = begin + size / self._rate
        return begin - now

    def came(self, size: int) -> None:
        """So many bytes came."""
        self._measured.append((self._clock.seconds(), size))
        self._forget()

    @property
    def speed(self) -> float:
        """Bytes per second lately."""
        self._forget()
        return sum([size for _, size in self._measured]) / MEASURED_OVER

    def _forget(self) -> None:
        old = self._clock.seconds() - MEASURED_OVER
        while self._measured and self._measured[0][0] <= old:
            self._measured.popleft()


@frozen
class _Tried:
    """A number that was fetched. @ivar at: when, last."""

    times: int
    at: float


@define(eq=False)
class _Job:
    """A stream at work. @ivar compared: hours that lacked nothing, and when. @ivar lacking: by hour."""

    stream: ReplicatedStream
    facts: ReplicationFacts = field(factory=ReplicationFacts)
    compared: dict[int, float] = field(factory=dict)
    lacking: dict[int, int] = field(factory=dict)
    tried: dict[int, _Tried] = field(factory=dict)
    work: Deferred[None] | None = None


class Replication:
    """The background job of a node.

    @param utc: UTC ticks now. @param rate: bytes per second for all streams.
    """

    def __init__(self, clock: Clock, utc: Callable[[], int], rate: float = RATE) -> None:
        self._clock = clock
        self._utc = utc
        self._pace = Pace(clock, rate)
        self._links = DeferredSemaphore(AT_ONCE)
        self._jobs: dict[str, _Job] = {}

    @property
    def speed(self) -> float:
        """Bytes per second that came lately, of all streams."""
        return self._pace.speed

    def facts(self, name: str) -> ReplicationFacts | None:
        """How it goes with a stream; None: it is not filled."""
        job = self._jobs.get(name)
        return job.facts if job is not None else None

    def set_streams(self, streams: Iterable[ReplicatedStream]) -> None:
        """These are filled from now on, and no others; one that is as it was goes on."""
        wanted = {stream.name: stream for stream in streams}
        for name in list(self._jobs):
            if name not in wanted:
                self.remove(name)
        for stream in wanted.values():
            self.add(stream)

    def add(self, stream: ReplicatedStream) -> None:
        """Fill the archive of a stream."""
        held = self._jobs.get(stream.name)
        if held is not None:
            if held.stream == stream:
                return
            self.remove(stream.name)
        job = self._jobs[stream.name] = _Job(stream)
        job.work = Deferred.fromCoroutine(self._run(job))
        _ = job.work.addErrback(self._failed, job)

    def remove(self, name: str) -> None:
        """Fill it no more."""
        job = self._jobs.pop(name, None)
        if job is not None and job.work is not None:
            job.work.cancel()

    def close(self) -> None:
        """Fill nothing any more."""
        for name in list(self._jobs):
            self.remove(name)

    # Inside.

    def _failed(self, failure: Failure, job: _Job) -> None:
        if failure.check(CancelledError) is None:
            job.facts.error = "internal error"
            _log.failure("replication of {name!r} failed", failure, name=job.stream.name)

    async def _sleep(self, seconds: float) -> None:
        waiting: Deferred[None] = Deferred(lambda _: timer.cancel())
        timer = self._clock.callLater(seconds, waiting.callback, None)
        await waiting

    async def _run(self, job: _Job) -> None:
        facts = job.facts
        while True:
            # Also so that nothing happens within L{add}, and that many streams do not begin as one.
            await self._sleep(min(AGAIN_SECONDS, 0.05 * len(self._jobs)))
            try:
                fetched = await self._round(job)
            except Refused as refused:
                facts.error = "" if refused.reason is Reason.NOT_FOUND else refused.text
                await self._sleep(REST_SECONDS)
                continue
            facts.error = ""
            if fetched:
                await self._sleep(AGAIN_SECONDS)
            else:
                facts.state = "complete"
                await self._sleep(ROUND_SECONDS)

    async def _round(self, job: _Job) -> bool:
        """Compare hours, newest first, until one lacks something, and fill that one.

        @return: whether something was fetched.
        """
        stream = job.stream
        held = await stream.source.holdings(stream.name)
        since = self._since(stream)
        hours = [hour for hour in held.hours if (hour + 1) * HOUR_TICKS > since]
        job.compared = {hour: at for hour, at in job.compared.items() if hour in hours}
        job.lacking = {hour: count for hour, count in job.lacking.items() if hour in hours}
        for hour in reversed(hours):
            compared = job.compared.get(hour)
            if compared is not None and self._clock.seconds() - compared < COMPARED_SECONDS:
                continue
            index = await stream.source.hour(stream.name, hour)
            missing = await self._missing(job, index)
            self._lacks(job, hour, len(missing))
            if missing:
                job.facts.state = "fetching"
                if await self._fill(job, index, missing):
                    return True
            if hour < hour_of(self._utc()) - 1:
                job.compared[hour] = self._clock.seconds()
        return False

    def _since(self, stream: ReplicatedStream) -> int:
        since = stream.since()
        return since + SPARED if since is not None else 0

    def _lacks(self, job: _Job, hour: int, count: int) -> None:
        job.lacking[hour] = count
        job.facts.missing = sum(job.lacking.values())

    async def _missing(self, job: _Job, index: HourIndex) -> list[Row]:
        """The rows of an hour of the source that are not here."""
        stream = job.stream
        try:
            own = await stream.local.hour(stream.name, index.hour)
        except Refused as refused:
            if refused.reason is not Reason.NOT_FOUND:
                raise
            own = HourIndex(index.hour)
        here = {row[0] for row in own.tuples()}
        since = self._since(stream)
        until = self._utc() - SETTLE
        return [
            row
            for row in index
            if row.number not in here
            and since <= row.start
            and row.end <= until
            and not self._tried(job, row.number)
        ]

    def _tried(self, job: _Job, number: int) -> bool:
        """Whether it was fetched: it is on its way to the disk, or the disk does not want it."""
        tried = job.tried.get(number)
        if tried is None:
            return False
        passed = self._clock.seconds() - tried.at
        return passed < (GIVEN_UP_SECONDS if tried.times >= TRIES else WRITING_SECONDS)

    async def _fill(self, job: _Job, index: HourIndex, missing: list[Row]) -> bool:
        """Fetch rows. @return: whether one came.

        @raise Refused: the source gives none of several in a row: it is away. One that it does not give now
            is left for later, and holds up no other.
        """
        came = False
        later: list[int] = []
        for place, row in enumerate(missing):
            self._lacks(job, index.hour, len(missing) - place)
            if row.start < self._since(job.stream):
                continue
            await self._room(job, row.size)
            try:
                came = await self._fetch(job, index, row) or came
            except Refused:
                later.append(row.number)
                if len(later) >= AWAY_IN_A_ROW:
                    raise
                continue
            self._note(job, later, 0)
            self._note(job, [row.number], 1)
            later = []
        self._note(job, later, 0)
        self._lacks(job, index.hour, 0)
        return came

    def _note(self, job: _Job, numbers: list[int], times: int) -> None:
        """These were asked for now. @param times: 1: they came, or are nowhere; 0: only not now."""
        for number in numbers:
            while len(job.tried) >= MAX_TRIED:
                del job.tried[next(iter(job.tried))]
            before = job.tried.pop(number, None)
            so_far = before.times if before is not None else 0
            job.tried[number] = _Tried(so_far + times, self._clock.seconds())

    async def _room(self, job: _Job, size: int) -> None:
        """Wait until the disk takes more."""
        while not job.stream.room(size):
            job.facts.state = "waiting"
            await self._sleep(ROOM_SECONDS)
        job.facts.state = "fetching"

    async def _fetch(self, job: _Job, index: HourIndex, row: Row) -> bool:
        stream, facts = job.stream, job.facts
        await self._sleep(self._pace.delay(row.size))
        await self._links.acquire()
        try:
            segment = await stream.source.segment(stream.name, row)
        except Refused as refused:
            if refused.reason is not Reason.NOT_FOUND:
                raise
            facts.gone += 1
            return False
        finally:
            self._links.release()
        self._pace.came(row.size)
        item = Recorded.of_row(segment, row, index.runs[row.run])
        while not stream.record(stream.name, item):
            facts.state = "waiting"
            await self._sleep(ROOM_SECONDS)
        facts.state = "fetching"
        facts.fetched += 1
        facts.fetched_bytes += row.size
        facts.filled = max(facts.filled or 0, row.end)
        return True
