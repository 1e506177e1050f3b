"""Segments of the archives of sources on a disk of this node (C{cache PATH}), for all streams that share it.

It is an advantage or nothing: a disk that hangs, fails or is full costs whoever plays a moment once, and then
nothing; what the disk does not take in time is dropped.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

from attrs import define
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from restreamer.dvr.filesystem import Filesystem
from restreamer.dvr.segment_cache_folder import CacheFolder
from restreamer.failures import SaidLately
from restreamer.logs import Logger
from restreamer.m4f.hour_index import Row
from restreamer.m4f.segment import Segment
from restreamer.seams import Clock, Timer

_log = Logger()

#: Seconds that a read may take; then it is as if the segment were not there. And that a write may wait.
PATIENCE = 0.5
WRITE_PATIENCE = 5.0
#: Seconds after a failure until the disk is tried again.
REST = 5.0
#: Reads that wait at once; segments that wait to be written, bytes and pieces.
MAX_READS = 64
QUEUED_BYTES = 32 * 1024 * 1024
QUEUED_PIECES = 256
#: Seconds between two looks at what is old; while there is much to do.
TEND_SECONDS = 30.0
BUSY_SECONDS = 0.05
#: Segments whose requests are counted (C{misses=N}).
COUNTED = 20_000
#: Seconds after which a failure is told again.
_SAY_AGAIN = 60.0

#: Runs what blocks in a thread: L{restreamer.vod.disk.DiskThreads.call}.
Call = Callable[..., Deferred[Any]]


@define(eq=False)
class CacheFacts:
    """How a cache does.

    @ivar hits, misses: reads. @ivar size, count: bytes and number of its files. @ivar evictions: files that
        had to go. @ivar errors: failures of the disk, damaged files too. @ivar dropped: segments not kept
        because the disk is too slow or fails. @ivar error: why it does not work now; empty: it does.
    """

    hits: int
    misses: int
    size: int
    count: int
    evictions: int
    errors: int
    dropped: int
    error: str


class DiskCache:
    """The cache of one PATH.

    @param reading, writing: run what blocks, one after the other, for this cache alone, so that a disk that
        hangs holds up nothing else, and reads do not wait for writes. @param clock: of the reactor.
    @param age, size: see L{configure}. @param utc: seconds since the epoch.
    """

    def __init__(
        self,
        root: str,
        reading: Call,
        writing: Call,
        clock: Clock,
        age: int | None = None,
        size: int | None = None,
        utc: Callable[[], float] = time.time,
        files: Filesystem | None = None,
    ) -> None:
        self.root = root
        self._folder = CacheFolder(root, utc, age, size, files)
        self._reading = reading
        self._writing = writing
        self._clock = clock
        self._hits = self._misses = self._errors = self._dropped = 0
        self._reads = self._writes = self._queued = self._stuck = 0
        self._rest_until = 0.0
        self._error = ""
        self._said = SaidLately(_SAY_AGAIN, 16)
        self._asked: OrderedDict[tuple[str, int, int], int] = OrderedDict()
        self._tending: Timer | None = None
        self._closed = False

    def start(self) -> None:
        """Begin to look after it."""
        self._tend_after(BUSY_SECONDS)

    def configure(self, age: int | None, size: int | None) -> None:
        """@param age: seconds without use after which a segment goes. @param size: bytes of all."""
        self._folder.age = age
        self._folder.limit = size

    def for_stream(self, misses: int = 0) -> StreamCache:
        """A L{restreamer.dvr.archive.SegmentCache}. @param misses: keep from this request on."""
        return StreamCache(self, misses)

    @property
    def facts(self) -> CacheFacts:
        """How it does."""
        folder = self._folder
        return CacheFacts(
            hits=self._hits,
            misses=self._misses,
            size=folder.size,
            count=folder.count,
            evictions=folder.counters.evictions,
            errors=self._errors + folder.counters.damaged,
            dropped=self._dropped,
            error=self._error or ("the disk does not answer" if self._stuck else ""),
        )

    def close(self) -> Deferred[Any]:
        """Use it no more; fires when the folder is free for others."""
        self._closed = True
        if self._tending is not None and self._tending.active():
            self._tending.cancel()
        return self._writing(self._folder.close).addErrback(self._failed)

    async def get(self, name: str, row: Row) -> Segment | None:
        """The segment, if it is there and whole."""
        segment: Segment | None = None
        if self._works() and self._reads < MAX_READS:
            segment = await self._read(name, row)
        if segment is not None:
            self._hits += 1
        else:
            self._misses += 1
        return segment

    def put(self, name: str, row: Row, segment: Segment) -> None:
        """Keep it; never waits, never raises."""
        size = len(segment.encoded)
        if (
            not self._works()
            or self._writes >= QUEUED_PIECES
            or (self._writes and self._queued + size > QUEUED_BYTES)
        ):
            self._dropped += 1
            return
        self._writes += 1
        self._queued += size
        work = self._writing(self._folder.write, name, row, segment.encoded)
        self._watch(work, WRITE_PATIENCE)
        _ = work.addCallbacks(self._written, self._failed)
        _ = work.addBoth(self._wrote, size)

    def requests(self, name: str, row: Row) -> int:
        """Count a request for a segment that is not kept. @return: how many that were."""
        key = (name, row.number, row.checksum)
        count = self._asked.pop(key, 0) + 1
        self._asked[key] = count
        if len(self._asked) > COUNTED:
            self._asked.popitem(last=False)
        return count

    # Inside.

    def _works(self) -> bool:
        return not self._closed and not self._stuck and self._clock.seconds() >= self._rest_until

    def _read(self, name: str, row: Row) -> Deferred[Segment | None]:
        outcome: Deferred[Segment | None] = Deferred()
        work = self._reading(self._folder.read, name, row)
        self._reads += 1

        def done(result: Any) -> None:
            self._reads -= 1
            if isinstance(result, Failure):
                self._failed(result)
                result = None
            else:
                self._worked()
            if not outcome.called:
                outcome.callback(result)

        def late() -> None:
            if not outcome.called:
                outcome.callback(None)

        self._watch(work, PATIENCE, late)
        _ = work.addBoth(done)
        return outcome

    def _watch(self, work: Deferred[Any], patience: float, late: Callable[[], None] = lambda: None) -> None:
        """While C{work} takes too long, the disk is left alone."""
        stuck = False

        def waited() -> None:
            nonlocal stuck
            stuck = True
            self._stuck += 1
            late()

        timer = self._clock.callLater(patience, waited)

        def done(result: Any) -> Any:
            if timer.active():
                timer.cancel()
            if stuck:
                self._stuck -= 1
            return result

        _ = work.addBoth(done)

    def _written(self, kept: bool) -> None:
        self._worked()
        if not kept:
            self._dropped += 1

    def _wrote(self, _: object, size: int) -> None:
        self._writes -= 1
        self._queued -= size

    def _worked(self) -> None:
        self._error = ""

    def _failed(self, failure: Failure) -> None:
        """The disk failed: leave it alone for a while."""
        self._errors += 1
        self._rest_until = self._clock.seconds() + REST
        self._error = failure.getErrorMessage()
        if failure.check(OSError) is None:
            _log.failure("the segment cache {root} failed", failure, root=self.root)
        elif self._said.news(self._error, self._clock.seconds()):
            _log.warn("the segment cache {root} fails: {why}", root=self.root, why=self._error)

    # Looking after it.

    def _tend_after(self, seconds: float) -> None:
        if not self._closed:
            self._tending = self._clock.callLater(seconds, self._tend)

    def _tend(self) -> None:
        if not self._works():
            self._tend_after(REST)
            return
        try:
            work = self._writing(self._folder.tend)
            self._watch(work, WRITE_PATIENCE)
        except Exception:
            _log.failure("the segment cache {root} cannot be looked after", root=self.root)
            self._tend_after(REST)
            return
        _ = work.addCallbacks(self._tended, self._failed)
        _ = work.addBoth(lambda again: self._tend_after(BUSY_SECONDS if again else TEND_SECONDS))

    def _tended(self, again: bool) -> bool:
        self._worked()
        return again


@define(eq=False)
class StreamCache:
    """A cache as the streams with one C{misses} use it; a L{restreamer.dvr.archive.SegmentCache}."""

    _cache: DiskCache
    _misses: int

    async def get(self, name: str, row: Row) -> Segment | None:
        """See the seam."""
        return await self._cache.get(name, row)

    def put(self, name: str, row: Row, segment: Segment) -> None:
        """See the seam."""
        if self._misses <= 1 or self._cache.requests(name, row) >= self._misses:
            self._cache.put(name, row, segment)
