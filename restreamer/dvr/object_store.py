"""Archives in object stores: what was copied there is read from there when it is not on a disk any more.

Nothing here waits for an object store. One that is away delays neither recording nor what lies on the disk.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, TypeVar

from attrs import define, frozen
from twisted.internet.defer import Deferred, FirstError, gatherResults
from twisted.python.failure import Failure

from restreamer.config.model import S3Config
from restreamer.dvr.heads import read_header
from restreamer.dvr.object_expiry import Aged, ObjectExpiry
from restreamer.dvr.s3_client import ObjectMissingError, ObjectStoreError, S3Bucket
from restreamer.dvr.s3_hour import (
    MAX_DAY_OBJECT,
    MAX_HOUR_OBJECT,
    CopiedHour,
    data_object,
    days_prefix,
    decode_copied,
    first_hour,
    hour_object,
)
from restreamer.dvr.seams import Holdings
from restreamer.dvr.spans import join_spans
from restreamer.dvr.store import Store
from restreamer.dvr.summary import FileFacts, HourFacts, decode_summary
from restreamer.dvr.upload import HourUpload
from restreamer.dvr.upload_thread import UploadStatus, UploadThread, Work
from restreamer.errors import Reason, Refused, RemoteProtocolError
from restreamer.logs import Logger
from restreamer.m4f.hour_index import HourIndex, Row, hour_of
from restreamer.m4f.segment import Segment
from restreamer.vod.disk import DiskThreads
from restreamer.vod.keep import Kept, SingleFlight

_log = Logger()
T = TypeVar("T")
#: Days of a stream, by object: its tag and what it says.
_Days = Mapping[str, tuple[str, tuple[HourFacts, ...]]]

#: Threads that read from one object store, what may wait for them, and how long it waits, seconds.
READERS = 8
MAX_READS = 1000
READ_SECONDS = 20.0
#: Headers that one thread reads, one after the other.
HEADS_AT_ONCE = 8
#: What there is is asked again so often; after a failure, seconds.
LIST_SECONDS = 60.0
AWAY_SECONDS = 15.0
#: Who has something to show without an object store waits so long for it, seconds.
HURRY_SECONDS = 2.0
#: Hour indexes in memory, and streams whose holdings are remembered.
HOUR_BYTES = 32 * 1024 * 1024
HOURS = 1000
STREAMS = 1000


@frozen(kw_only=True)
class ObjectStoreFacts:
    """How it goes with an object store.

    @ivar where: endpoint, bucket and prefix, without a secret. @ivar upload: how copying goes.
    @ivar read_segments, read_bytes: read from there; @ivar damaged: segments that were not as they should be.
    @ivar read_error: why the last reading failed; empty: it did not.
    """

    where: str
    upload: UploadStatus
    read_segments: int
    read_bytes: int
    damaged: int
    read_error: str

    @property
    def alarm(self) -> str:
        """What an operator must know; empty: all is well."""
        return self.upload.error or self.read_error


@frozen
class _Held:
    """What a stream has there. @ivar asked: seconds. @ivar days: by object, its tag and what it says."""

    asked: float
    days: _Days
    holdings: Holdings | None


class ObjectStore:
    """One object store: what copies to it, and an L{restreamer.dvr.seams.ArchiveReader} of what is there.

    @param reactor: for time and for coming back from threads. @param rate: bytes/s of copying at most.
    @raise ObjectStoreError: the client for it is not installed.
    """

    def __init__(
        self, reactor: Any, config: S3Config, rate: float | None = None, bucket: S3Bucket | None = None
    ) -> None:
        self.config = config
        self._reactor = reactor
        self._bucket = bucket or S3Bucket(config)
        self.uploads = UploadThread(
            partial(HourUpload, self._bucket),
            rate,
            changed=self._changed,
            expiry=partial(ObjectExpiry, self._bucket),
        )
        self._threads = DiskThreads(reactor, READERS)
        self._reading = 0
        self._held: Kept[str, _Held] = Kept(STREAMS, STREAMS, lambda _: 1)
        self._hours: Kept[tuple[str, int], CopiedHour] = Kept(
            HOUR_BYTES, HOURS, lambda held: held.index.cost + 200 * len(held.files)
        )
        self._listing: SingleFlight[str, Holdings] = SingleFlight()
        self._opening: SingleFlight[tuple[str, int], CopiedHour] = SingleFlight()
        self._away_until = 0.0
        self._segments = 0
        self._bytes = 0
        self._damaged = 0
        self._read_error = ""

    async def holdings(self, name: str) -> Holdings:
        """See the seam."""
        held = self._held.get(name)
        if held is None or self._reactor.seconds() - held.asked >= LIST_SECONDS:
            return await self._listing.run(name, lambda: self._list(name))
        if held.holdings is None:
            raise Refused(Reason.NOT_FOUND, "nothing of this stream is in the object store")
        return held.holdings

    async def hour(self, name: str, hour: int) -> HourIndex:
        """See the seam."""
        held = await self.holdings(name)
        if hour not in held.hours:
            return HourIndex(hour)
        return (await self._copied(name, hour)).index

    async def segment(self, name: str, row: Row) -> Segment:
        """See the seam. C{row} may be of somebody else: where the segment lies, the copied hour tells."""
        hour = hour_of(row.start)
        if hour not in (await self.holdings(name)).hours:
            raise Refused(Reason.NOT_FOUND, "the segment is not in the object store")
        copied = await self._copied(name, hour)
        own = copied.index.find(row.number)
        if own is None or own.checksum != row.checksum:
            raise Refused(Reason.NOT_FOUND, "the segment is not in the object store")
        where = data_object(name, hour, copied.files[own.file])
        encoded = await self._ask(self._bucket.get_range, where, own.offset, own.size)
        try:
            segment = Segment.parse(encoded)
        except RemoteProtocolError:
            segment = None
        if segment is None or (segment.number, segment.checksum) != (row.number, row.checksum):
            self._damaged += 1
            raise Refused(Reason.NOT_FOUND, "the segment is damaged in the object store")
        self._segments += 1
        self._bytes += own.size
        return segment

    async def headers(self, name: str, rows: Sequence[Row]) -> Sequence[bytes | None]:
        """See the seam: ranged requests, some at once."""
        held = (await self.holdings(name)).hours
        places: list[tuple[str, Row] | None] = []
        for row in rows:
            hour = hour_of(row.start)
            copied = await self._copied(name, hour) if hour in held else None
            own = copied.index.find(row.number) if copied is not None else None
            if copied is None or own is None or own.checksum != row.checksum:
                places.append(None)
            else:
                places.append((data_object(name, hour, copied.files[own.file]), own))
        shares = [places[first : first + HEADS_AT_ONCE] for first in range(0, len(places), HEADS_AT_ONCE)]
        asking = [Deferred.fromCoroutine(self._ask(self._heads, share)) for share in shares]
        try:
            read: list[list[bytes | None]] = await gatherResults(asking, consumeErrors=True)
        except FirstError as error:
            error.subFailure.raiseException()
        return [each for share in read for each in share]

    def _heads(self, places: Sequence[tuple[str, Row] | None]) -> list[bytes | None]:
        """In a thread."""
        found: list[bytes | None] = []
        for place in places:
            header = None
            if place is not None:
                where, row = place

                def read(offset: int, size: int, where: str = where, row: Row = row) -> bytes:
                    return self._bucket.get_range(where, row.offset + offset, size)

                try:
                    header = read_header(read, row)
                except ObjectMissingError:
                    pass
            found.append(header)
        return found

    @property
    def facts(self) -> ObjectStoreFacts:
        """How it goes."""
        return ObjectStoreFacts(
            where=str(self.config),
            upload=self.uploads.status,
            read_segments=self._segments,
            read_bytes=self._bytes,
            damaged=self._damaged,
            read_error=self._read_error,
        )

    async def soon(self, work: Coroutine[Any, Any, T]) -> T:
        """What C{work} gives, if that is soon.

        @raise Refused: NOT_READY: it takes too long; nobody waits for the next ones either.
        """
        waiting: Deferred[T] = Deferred.fromCoroutine(work)
        _ = waiting.addTimeout(HURRY_SECONDS, self._reactor, onTimeoutCancel=self._is_slow)
        return await waiting

    def stop(self) -> None:
        """Copy no more."""
        self.uploads.stop()

    def forget(self) -> None:
        """Give the memory of indexes back."""
        self._hours.clear()

    # Inside.

    async def _list(self, name: str) -> Holdings:
        known = self._held.get(name)
        days = known.days if known is not None else {}
        try:
            # All that grows with the archive is done in the thread.
            now, holdings, changed = await self._ask(self._look, name, days)
        except Refused:
            if known is not None and known.holdings is not None:
                # What was there a moment ago is there still, though nothing can be read of it now.
                return known.holdings
            raise
        for hour in changed:
            self._hours.drop((name, hour))
        self._held.put(name, _Held(self._reactor.seconds(), now, holdings))
        if holdings is None:
            raise Refused(Reason.NOT_FOUND, "nothing of this stream is in the object store")
        return holdings

    def _look(self, name: str, known: _Days) -> tuple[_Days, Holdings | None, list[int]]:
        """In a thread: the days of a stream, what they hold, and the hours of those that changed."""
        now = self._read_days(name, known)
        facts = sorted([each for _, day in now.values() for each in day], key=lambda each: each.hour)
        if not facts:
            return now, None, []
        holdings = Holdings(
            hours=tuple([each.hour for each in facts]),
            spans=join_spans([span for each in facts for span in each.spans]),
            size=sum([each.size for each in facts]),
        )
        # A day that did not change is the very one that was there.
        changed = [each.hour for key, day in now.items() if known.get(key) is not day for each in day[1]]
        return now, holdings, changed

    def _read_days(self, name: str, known: _Days) -> _Days:
        """In a thread: the days of a stream; those that did not change are not read again."""
        found: dict[str, tuple[str, tuple[HourFacts, ...]]] = {}
        for each in self._bucket.names(days_prefix(name)):
            first = first_hour(name, each.name)
            if first is None:
                continue
            held = known.get(each.name)
            if held is None or held[0] != each.etag:
                try:
                    facts = decode_summary(self._bucket.get(each.name, MAX_DAY_OBJECT))
                except (ObjectMissingError, RemoteProtocolError):
                    continue
                held = each.etag, tuple([one for one in facts if first <= one.hour < first + 24])
            found[each.name] = held
        return found

    async def _copied(self, name: str, hour: int) -> CopiedHour:
        key = name, hour
        held = self._hours.get(key)
        if held is not None:
            return held
        return await self._opening.run(key, lambda: self._open(name, hour))

    async def _open(self, name: str, hour: int) -> CopiedHour:
        encoded = await self._ask(self._bucket.get, hour_object(name, hour), MAX_HOUR_OBJECT)
        try:
            copied = decode_copied(encoded, hour)
        except RemoteProtocolError:
            self._damaged += 1
            raise Refused(Reason.NOT_FOUND, "the index of the hour is damaged in the object store") from None
        self._hours.put((name, hour), copied)
        return copied

    async def _ask(self, call: Callable[..., T], *args: Any) -> T:
        """What the store answers, from a thread.

        @raise Refused: NOT_FOUND; NOT_READY: the store is away; OVERLOADED.
        """
        if self._reactor.seconds() < self._away_until:
            raise Refused(Reason.NOT_READY, "the object store cannot be asked now")
        if self._reading >= MAX_READS:
            raise Refused(Reason.OVERLOADED, "too much is read from the object store")
        self._reading += 1
        waiting: Deferred[T] = self._threads.call(call, *args)
        _ = waiting.addTimeout(READ_SECONDS, self._reactor, onTimeoutCancel=_late)
        try:
            found = await waiting
        except ObjectMissingError:
            raise Refused(Reason.NOT_FOUND, "it is not in the object store any more") from None
        except ObjectStoreError as error:
            # Those that come next do not wait as long.
            self._away_until = self._reactor.seconds() + AWAY_SECONDS
            self._failed(str(error))
            raise Refused(Reason.NOT_READY, "the object store cannot be asked now") from None
        finally:
            self._reading -= 1
        self._read_error = ""
        return found

    def _is_slow(self, _: object, seconds: float) -> Failure:
        self._away_until = self._reactor.seconds() + AWAY_SECONDS
        self._failed(f"it did not answer within {seconds:.0f} s")
        return Failure(Refused(Reason.NOT_READY, "the object store is slow"))

    def _failed(self, text: str) -> None:
        if text != self._read_error:
            _log.error("object store {where}: reading: {text}", where=str(self.config), text=text)
        self._read_error = text

    def _changed(self, error: str) -> None:
        self._reactor.callFromThread(self._tell, error)

    def _tell(self, error: str) -> None:
        """One line when something went wrong, and one when it is right again."""
        where = str(self.config)
        if error:
            _log.error(
                "object store {where}: {error}; recording goes on, and it is tried again",
                where=where,
                error=error,
            )
        else:
            _log.info("object store {where}: copying goes on", where=where)


class ObjectStores:
    """All object stores of a configuration.

    @param rate: bytes/s of copying to each at most; None: no limit.
    """

    def __init__(self, reactor: Any, rate: float | None = None) -> None:
        self._reactor = reactor
        self._rate = rate
        self._stores: dict[S3Config, ObjectStore] = {}

    def configure(self, configs: Iterable[S3Config]) -> None:
        """Use these from now on, and no others."""
        wanted = set(configs)
        for config in self._stores.keys() - wanted:
            self._stores.pop(config).stop()
        for config in wanted - self._stores.keys():
            try:
                self._stores[config] = ObjectStore(self._reactor, config, self._rate)
            except (ObjectStoreError, ValueError) as error:
                text = str(error) if isinstance(error, ObjectStoreError) else "not the address of a store"
                _log.error("object store {where}: {error}", where=str(config), error=text)

    def find(self, config: S3Config | None) -> ObjectStore | None:
        """The object store of C{copy=…}."""
        return self._stores.get(config) if config is not None else None

    def offer(self, work: Mapping[S3Config, Work], aged: Mapping[S3Config, Sequence[Aged]]) -> None:
        """What is to be copied where: all that is recorded with C{copy=…}, by where it goes.

        @param aged: likewise what is to be deleted there when it is too old.
        """
        for config, store in self._stores.items():
            store.uploads.offer(work.get(config, ()), aged.get(config, ()))

    def is_copied(self, config: S3Config, store: Store, name: str, hour: int) -> bool:
        """Whether an hour may be deleted here; blocks. See L{HourUpload.is_copied}."""
        found = self._stores.get(config)
        return found is not None and found.uploads.upload.is_copied(store, name, hour)

    def is_file_copied(self, config: S3Config, store: Store, name: str, hour: int, file: FileFacts) -> bool:
        """Whether a data file was copied; blocks. See L{HourUpload.is_file_copied}."""
        found = self._stores.get(config)
        return found is not None and found.uploads.upload.is_file_copied(store, name, hour, file)

    def all(self) -> list[ObjectStore]:
        """All of them."""
        return sorted(self._stores.values(), key=lambda each: str(each.config))

    def close(self) -> None:
        """Copy no more."""
        for store in self._stores.values():
            store.stop()
        self._stores.clear()

    def forget(self) -> None:
        """Give the memory of indexes back."""
        for store in self._stores.values():
            store.forget()


@define(eq=False)
class CopiedArchive:
    """An L{restreamer.dvr.seams.ArchiveReader} over the object stores of a configuration.

    @ivar configs: where a stream is copied to, likeliest first; cheap.
    """

    stores: ObjectStores
    configs: Callable[[str], Sequence[S3Config]]

    def records(self, name: str) -> bool:
        """Whether the configuration copies C{name} anywhere."""
        return bool(self.configs(name))

    async def holdings(self, name: str, hurry: bool = False) -> Holdings:
        """See the seam. @param hurry: there is something to show without: a slow one is not waited for."""
        return await self._first(name, hurry, lambda store: store.holdings(name))

    async def hour(self, name: str, hour: int, hurry: bool = False) -> HourIndex:
        """See the seam, and L{holdings}."""
        return await self._first(name, hurry, lambda store: store.hour(name, hour))

    async def segment(self, name: str, row: Row) -> Segment:
        """See the seam."""
        return await self._first(name, False, lambda store: store.segment(name, row))

    async def headers(self, name: str, rows: Sequence[Row]) -> Sequence[bytes | None]:
        """See the seam."""
        return await self._first(name, False, lambda store: store.headers(name, rows))

    async def _first(
        self, name: str, hurry: bool, call: Callable[[ObjectStore], Coroutine[Any, Any, T]]
    ) -> T:
        """From the first one that has it."""
        refusal: Refused | None = None
        for config in self.configs(name):
            store = self.stores.find(config)
            try:
                if store is None:
                    raise Refused(Reason.NOT_READY, "the object store cannot be used")
                return await (store.soon(call(store)) if hurry else call(store))
            except Refused as refused:
                if refusal is None or refused.reason is not Reason.NOT_FOUND:
                    refusal = refused
        raise refusal or Refused(Reason.NOT_FOUND, "this stream is not copied anywhere")


def _late(_: object, seconds: float) -> Failure:
    return Failure(ObjectStoreError(f"it did not answer within {seconds:.0f} s"))
