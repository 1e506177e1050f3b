"""The volumes of a configuration: for each a store, a thread that writes and deletes, threads that read.

Nothing here waits for a disk. One that hangs holds up its own threads: what is to be recorded there is
dropped and counted, what is to be read there is refused after a while, and a source is asked instead.
"""

from __future__ import annotations

import errno
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from attrs import define, field, frozen
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from restreamer.dvr.filesystem import Filesystem, RealFilesystem, Space
from restreamer.dvr.locks import Locks
from restreamer.dvr.recorded import Recorded
from restreamer.dvr.retention import FULL, Limits, Retention
from restreamer.dvr.store import Store, StoreUnavailableError, describe_error
from restreamer.dvr.stream_store import DataFile
from restreamer.dvr.volumes import Volumes
from restreamer.dvr.writer import Writer, WriterState, WriterStatus
from restreamer.errors import Reason, Refused
from restreamer.logs import Logger
from restreamer.media.names import valid_stream_name
from restreamer.vod.disk import DiskThreads

_log = Logger()
T = TypeVar("T")

#: Threads that read from one volume, what may wait for them, and how long it waits, seconds.
READERS = 8
MAX_READS = 2000
READ_SECONDS = 10.0
#: How often limits are looked after; the same while there is more to delete; how often names are listed.
SWEEP_SECONDS = 10.0
SWEEP_AGAIN = 1.0
NAMES_SECONDS = 600.0
#: What is told of streams is looked up for so long in one sweep, seconds.
FACTS_SECONDS = 0.010
#: What a stopping node gives its disks, seconds.
STOP_SECONDS = 3.5
#: What summaries take then, seconds: they only save time at the next start.
SUMMARY_SECONDS = 1.0


@frozen(kw_only=True)
class StreamFacts:
    """What is kept of a stream. @ivar start, end: UTC ticks; @ivar duration: ticks without the gaps."""

    size: int
    start: int
    end: int
    duration: int


@frozen(kw_only=True)
class DiskFacts:
    """How it goes with a volume. @ivar alarm: what an operator must know; empty: all is well."""

    root: str
    writer: WriterStatus
    space: Space
    alarm: str
    deleted: int
    freed: int
    lost: int
    frozen: bool
    reading: int


class Disk:
    """One volume.

    @param reactor: for time and for coming back from threads. @param limits: those of the streams that are
        kept here, among the names it is given. @param files: the file system. @param utc: seconds.
    @ivar store: the volume; @ivar locks, @ivar retention, @ivar writer: of it.
    @ivar held: whether a file of a stream has to be copied before it may go for its age alone.
    @ivar uncopied: whether it should be copied, and is not yet.
    """

    def __init__(
        self,
        reactor: Any,
        root: str,
        volumes: Volumes,
        interval: float,
        limits: Callable[[str, set[str]], Mapping[str, Limits]],
        files: Filesystem | None = None,
        utc: Callable[[], float] = time.time,
    ) -> None:
        self.root = root
        self.store = Store(root, files or RealFilesystem(), volume=volumes.get(root))
        self.locks = Locks(self.store.files, self.store.root, self._check)
        self.held: Callable[[str, Store, str, DataFile], bool] = _nothing_held
        self.uncopied: Callable[[str, Store, str, DataFile], bool] = _nothing_held
        self.retention = Retention(
            self.store, self.locks.spans, utc, time.monotonic, self._is_held, self._is_uncopied
        )
        self.writer = Writer(
            self.store,
            interval,
            utc=utc,
            changed=self._changed,
            fault=self._fault,
            make_room=self._before_batch,
        )
        self._reactor = reactor
        self._volumes = volumes
        self._limits = limits
        self._threads = DiskThreads(reactor, READERS)
        self._reading = 0
        self._seen: set[str] = set()
        self._names: set[str] = set()
        self._recorded: set[str] = set()
        self._named_at: float | None = None
        self._facts: dict[str, StreamFacts] = {}
        self._place = 0
        self._space = Space(0, 0)
        self._full = False
        self._trouble = ""
        self._said = ""
        self._sweeping = False
        self._timer: Any = None
        self._stopping = False

    # Recording.

    def record(self, name: str, item: Recorded) -> bool:
        """Keep a segment. @return: False: there is no room for it. Never waits, never raises."""
        self._names.add(name)
        self._recorded.add(name)
        return self.writer.record(name, item)

    @property
    def names(self) -> list[str]:
        """The streams that are known to have something here."""
        return sorted(self._names)

    def _is_held(self, name: str, file: DataFile) -> bool:
        """Whether a data file must not go yet for its age; in a thread."""
        return self.held(self.root, self.store, name, file)

    def _is_uncopied(self, name: str, file: DataFile) -> bool:
        """Whether a copy of a data file is missing; in a thread."""
        return self.uncopied(self.root, self.store, name, file)

    # Reading.

    async def read(self, name: str, call: Callable[[Store], T]) -> T:
        """What C{call} gives, in a thread, when there is something of stream C{name} here.

        @raise Refused: NOT_FOUND; NOT_READY: the disk fails, or takes too long; OVERLOADED.
        """
        found: T = await self.in_thread(self._read, name, call)
        return found

    def in_thread(self, call: Callable[..., T], *args: Any) -> Deferred[T]:
        """Run something that reads.

        @raise Refused: see L{read}.
        """
        if self._reading >= MAX_READS:
            raise Refused(Reason.OVERLOADED, "too much is read from this disk")
        if self._threads.hung_for() > READ_SECONDS:
            raise Refused(Reason.NOT_READY, "the disk does not answer")
        self._reading += 1
        result = self._threads.call(call, *args)
        _ = result.addTimeout(READ_SECONDS, self._reactor, onTimeoutCancel=_late)
        return result.addBoth(self._was_read)

    # Its state.

    @property
    def alarm(self) -> str:
        """What an operator must know; empty: all is well."""
        status = self.writer.status
        if self._trouble or status.error:
            return self._trouble or status.error
        if status.state is WriterState.BEHIND:
            return "the disk is too slow for what is recorded"
        return self.retention.alarm or self.retention.failed or self.retention.loss

    @property
    def facts(self) -> DiskFacts:
        """How it goes."""
        retention = self.retention
        return DiskFacts(
            root=self.root,
            writer=self.writer.status,
            space=self._space,
            alarm=self.alarm,
            deleted=retention.deleted,
            freed=retention.freed,
            lost=retention.lost,
            frozen=retention.frozen,
            reading=self._reading,
        )

    def stream_facts(self, name: str) -> StreamFacts | None:
        """What is kept of stream C{name}, as of a moment ago; None: nothing, as far as is known."""
        return self._facts.get(name)

    # Its life.

    def start(self) -> None:
        """Look after the limits from now on."""
        self._timer = self._reactor.callLater(0.0, self.sweep)

    def sweep(self) -> None:
        """Look after the limits now, in the writer's thread, and then again and again."""
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self._timer = self._reactor.callLater(SWEEP_SECONDS, self.sweep)
        if not self._sweeping:
            limits = self._limits(self.root, self._names)
            self._sweeping = self.writer.call(lambda: self._sweep(limits))

    def stop(self) -> Deferred[None]:
        """Write what waits, and let the volume go; fires when that is done, or took too long."""
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self._stopping = True
        done: Deferred[None] = Deferred()
        threading.Thread(target=self._stop, args=(done,), name="archive", daemon=True).start()
        return done

    # In threads.

    def _stop(self, done: Deferred[None]) -> None:
        written = self.writer.stop(STOP_SECONDS)
        if not written:
            # Nobody waits any longer; the lock of the volume is given back whenever the disk lets go.
            self._reactor.callFromThread(self._stopped, done, False)
            _ = self.writer.stop(None)
        try:
            until = time.monotonic() + SUMMARY_SECONDS
            for stream in self.store.opened():
                if time.monotonic() < until:
                    stream.write_summary()
        finally:
            self.store.close()
            if written:
                self._reactor.callFromThread(self._stopped, done, True)

    def _check(self) -> None:
        """Whether locks may be changed now: a thread that comes back late does not take the volume again."""
        if self._stopping:
            raise StoreUnavailableError(errno.EBUSY, "this archive is not used any more", self.root)
        self.store.check()

    def _before_batch(self, size: int) -> None:
        if self.store.volume is not None:
            self._volumes.remember(self.root, self.store.volume)
        self.retention.make_room(size, self._full)
        self._full = False

    def _sweep(self, limits: Mapping[str, Limits]) -> None:
        more = False
        try:
            self.store.check()
            if self.store.volume is not None:
                self._volumes.remember(self.root, self.store.volume)
            self._space = self.store.space()
            if self._named_at is None or time.monotonic() - self._named_at > NAMES_SECONDS:
                more = self._named_at is None
                self._list_names()
                self._named_at = time.monotonic()
            more = self.retention.sweep(limits) or more
            self._look_up(limits)
            self._trouble = ""
        except OSError as error:
            self._trouble = describe_error(error)
            # Another disk may be put in its place.
            self.locks.forget()
        finally:
            self._reactor.callFromThread(self._swept, more)

    def _list_names(self) -> None:
        """Find out which streams there are. Those that are not there any more take no memory."""
        recorded, self._recorded = self._recorded, set()
        names = set(self.store.names()) | recorded
        self._names = names
        self._names |= self._recorded
        self._seen &= names
        self._facts = {name: facts for name, facts in self._facts.items() if name in names}
        self.locks.forget()
        self.store.drop_empty(names)

    def _look_up(self, limits: Mapping[str, Limits]) -> None:
        """Find out what is kept of each stream, as many as there is time for."""
        until = time.monotonic() + FACTS_SECONDS
        names = sorted(limits)
        for _ in names:
            self._place = (self._place + 1) % len(names)
            name = names[self._place]
            stream = self.store.stream(name)
            try:
                held = stream.holdings()
                size = stream.disk_size
            except (Refused, OSError):
                self._facts.pop(name, None)
            else:
                spans = held.spans
                self._facts[name] = StreamFacts(
                    size=size,
                    start=spans[0].start,
                    end=spans[-1].end,
                    duration=sum([span.end - span.start for span in spans]),
                )
            if time.monotonic() > until:
                return

    def _read(self, name: str, call: Callable[[Store], T]) -> T:
        store = self.store
        if name not in self._seen:
            if not valid_stream_name(name):
                raise Refused(Reason.NOT_FOUND, "nothing of this stream is recorded")
            try:
                # A name that somebody made up does not take any memory.
                store.files.names(f"{store.root}/{name}")
            except (FileNotFoundError, NotADirectoryError):
                raise Refused(Reason.NOT_FOUND, "nothing of this stream is recorded") from None
            except OSError as error:
                raise Refused(Reason.NOT_READY, "the disk cannot be read") from error
            self._seen.add(name)
        try:
            return call(store)
        except (OSError, ValueError) as error:
            raise Refused(Reason.NOT_READY, "the disk cannot be read") from error

    def _changed(self, status: WriterStatus) -> None:
        self._full = self._full or status.error in FULL
        self._reactor.callFromThread(self._tell)

    def _fault(self, error: BaseException) -> None:
        self._reactor.callFromThread(self._tell_fault, error)

    # Back from threads.

    def _was_read(self, result: Any) -> Any:
        self._reading -= 1
        return result

    def _swept(self, more: bool) -> None:
        self._sweeping = False
        self._tell()
        if more and self._timer is not None and self._timer.active():
            self._timer.reset(SWEEP_AGAIN)

    def _stopped(self, done: Deferred[None], written: bool) -> None:
        if not written:
            _log.error("archive {root}: the disk did not take what was to be recorded", root=self.root)
        done.callback(None)

    def _tell(self) -> None:
        """One line when something went wrong, and one when it is right again."""
        alarm = self.alarm
        if alarm == self._said:
            return
        if alarm and alarm == self.retention.loss:
            _log.error("archive {root}: {alarm}; recording goes on", root=self.root, alarm=alarm)
        elif alarm:
            _log.error(
                "archive {root}: {alarm}; live streams go on, and it is tried again",
                root=self.root,
                alarm=alarm,
            )
        else:
            _log.info("archive {root}: recording goes on", root=self.root)
        self._said = alarm

    def _tell_fault(self, error: BaseException) -> None:
        _log.error("archive {root}: {error!r}", root=self.root, error=error)


def _late(_: object, seconds: float) -> Failure:
    return Failure(Refused(Reason.NOT_READY, f"the disk did not answer within {seconds:.0f} s"))


def _nothing_held(root: str, store: Store, name: str, file: DataFile) -> bool:
    """Files may go as their age says."""
    return False


@define(eq=False)
class Disks:
    """All volumes, by root.

    @param folder: where it is kept which volume is where; empty: nowhere. See L{Disk} for the rest.
    @ivar held, uncopied: those of all disks that are made from then on.
    """

    _reactor: Any
    _volumes: Volumes
    _limits: Callable[[str, set[str]], Mapping[str, Limits]]
    _files: Filesystem | None
    _disks: dict[str, Disk]
    _closing: set[Deferred[None]]
    held: Callable[[str, Store, str, DataFile], bool] = field(init=False)
    uncopied: Callable[[str, Store, str, DataFile], bool] = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.held = _nothing_held
        self.uncopied = _nothing_held

    @classmethod
    def over(
        cls,
        reactor: Any,
        folder: str,
        limits: Callable[[str, set[str]], Mapping[str, Limits]],
        files: Filesystem | None = None,
    ) -> Disks:
        """No volume yet."""
        return cls(reactor, Volumes(folder), limits, files, {}, set())

    def configure(self, intervals: Mapping[str, float]) -> None:
        """Use these roots from now on, and no others. @param intervals: C{fsync_interval} by root."""
        for root in self._disks.keys() - intervals.keys():
            self._close(self._disks.pop(root))
        for root, interval in intervals.items():
            disk = self._disks.get(root)
            if disk is None:
                disk = self._disks[root] = Disk(
                    self._reactor, root, self._volumes, interval, self._limits, self._files
                )
                disk.held = self.held
                disk.uncopied = self.uncopied
                disk.start()
            else:
                disk.writer.interval = interval
                disk.sweep()

    def find(self, root: str) -> Disk | None:
        """The volume at C{root}."""
        return self._disks.get(root)

    def all(self) -> list[Disk]:
        """All of them, by root."""
        return [self._disks[root] for root in sorted(self._disks)]

    def close(self) -> list[Deferred[None]]:
        """Write what waits, and let all go."""
        for disk in self._disks.values():
            self._close(disk)
        self._disks.clear()
        return list(self._closing)

    def forget(self) -> None:
        """Give the memory of indexes back."""
        for disk in self._disks.values():
            disk.store.forget()

    def _close(self, disk: Disk) -> None:
        done = disk.stop()
        self._closing.add(done)
        _ = done.addBoth(lambda _: self._closing.discard(done))
