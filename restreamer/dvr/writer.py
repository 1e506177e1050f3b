"""Writes what is recorded to one volume, in a thread of its own.

Whoever records is never held up: a segment finds room in a bounded queue, or it is dropped and counted. The
thread writes all that waits in one go, once in C{interval} seconds: first the data of all streams, then it
waits until the disk has them, then the rows. A disk that fails is tried again, more and more seldom; one that
hangs holds up this thread and nothing else.
"""

from __future__ import annotations

import enum
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import ExitStack

from attrs import frozen

from restreamer.dvr.recorded import Recorded
from restreamer.dvr.store import Store, describe_error
from restreamer.dvr.stream_store import Batch, StreamStore
from restreamer.dvr.write_queue import QueueLimits, WriteQueue
from restreamer.media.timebase import TICKS_PER_SECOND

#: Between attempts after a failure, seconds: doubled up to the longest.
FIRST_RETRY = 0.5
LONGEST_RETRY = 5.0
#: A segment that waits longer than this beyond C{interval} means that the disk is behind, seconds.
BEHIND = 5.0
#: Hours that are over are looked for so often, seconds. One turn seals as many as this time allows, one at
#: least, and writes as many summaries; the next turn comes so soon while there is more.
SEAL_EVERY = 10.0
SEAL_SECONDS = 0.050
SEAL_AGAIN = 1.0
#: Write speed is measured over this time, seconds.
SPEED_OVER = 10.0
#: A batch is not larger than this, bytes: more waits for the next one.
BATCH_BYTES = 64 * 1024 * 1024
#: Nor of more streams: each one is an open file.
BATCH_STREAMS = 128
#: Calls that wait for the thread.
MAX_CALLS = 64


class WriterState(enum.Enum):
    """How recording to a volume goes."""

    WORKING = "working"
    BEHIND = "behind"
    FAILED = "failed"
    STOPPED = "stopped"


@frozen(kw_only=True)
class WriterStatus:
    """How recording to a volume goes.

    @ivar error: why it fails; empty: it does not. @ivar lag: seconds the oldest segment waits.
    @ivar speed: bytes/s. @ivar queued: bytes that wait. @ivar written, dropped: segments since the start.
    """

    state: WriterState
    error: str
    lag: float
    speed: float
    queued: int
    written: int
    written_bytes: int
    dropped: int


@frozen(kw_only=True)
class StreamWriterStatus:
    """How recording of one stream goes. @ivar acknowledged: the number that was recorded last."""

    acknowledged: int | None
    written: int
    dropped: int
    queued: int
    error: str
    lag: float


@frozen
class _Measured:
    """Bytes that came to the disk. @ivar at: seconds."""

    at: float
    size: int


class Writer:
    """See the module.

    @param store: the volume. @param interval: seconds that segments wait for others; 0: they do not.
    @param limits: of the queue. @param clock: monotonic seconds. @param utc: seconds since the epoch.
    @param changed: told in the writer's thread when the state or the error changed.
    @param fault: told of what should not be, in the writer's thread too.
    @param make_room: called in the writer's thread before so many bytes are written, to delete what is old.
    @ivar store: the volume. @ivar broken: faults so far.
    """

    def __init__(
        self,
        store: Store,
        interval: float = 1.0,
        limits: QueueLimits | None = None,
        clock: Callable[[], float] = time.monotonic,
        utc: Callable[[], float] = time.time,
        changed: Callable[[WriterStatus], None] = lambda _: None,
        fault: Callable[[BaseException], None] = lambda _: None,
        make_room: Callable[[int], None] = lambda _: None,
    ) -> None:
        self.store = store
        self.interval = interval
        self._queue = WriteQueue(limits or QueueLimits())
        self._clock = clock
        self._utc = utc
        self._changed = changed
        self._fault = fault
        self._make_room = make_room
        self.broken = 0
        self._wake = threading.Condition()
        self._thread: threading.Thread | None = None
        self._calls: deque[Callable[[], None]] = deque()
        self._stopping = False
        self._error = ""
        self._retry_at = 0.0
        self._delay = 0.0
        self._dropped = 0
        self._written = 0
        self._written_bytes = 0
        self._measured: deque[_Measured] = deque()
        self._told: tuple[WriterState, str] = (WriterState.WORKING, "")
        self._seal_at = clock() + SEAL_EVERY
        self._to_seal: deque[StreamStore] = deque()

    def record(self, name: str, item: Recorded) -> bool:
        """Record a segment of stream C{name}; never waits for a disk, never raises.

        @return: False: there is no room for it, it is dropped.
        """
        with self._wake:
            if self._stopping:
                return False
            taken = self._queue.put(name, item, self._clock())
            if not taken:
                self._dropped += 1
            self._start()
            self._wake.notify()
        return taken

    def call(self, call: Callable[[], None]) -> bool:
        """Run C{call} in the writer's thread, between two batches; it raises nothing.

        @return: False: too many wait already.
        """
        with self._wake:
            if self._stopping or len(self._calls) >= MAX_CALLS:
                return False
            self._calls.append(call)
            self._start()
            self._wake.notify()
        return True

    @property
    def status(self) -> WriterStatus:
        """How it goes."""
        with self._wake:
            return self._status()

    def stream_status(self, name: str) -> StreamWriterStatus | None:
        """How it goes with one stream; None: nothing of it was recorded since the start."""
        with self._wake:
            queue = self._queue.streams.get(name)
            if queue is None:
                return None
            return StreamWriterStatus(
                acknowledged=queue.acknowledged,
                written=queue.written,
                dropped=queue.dropped,
                queued=queue.size,
                error=queue.error or self._error,
                lag=self._clock() - queue.since[0] if queue.since else 0.0,
            )

    def forget(self, name: str) -> None:
        """Stream C{name} is recorded no more."""
        with self._wake:
            self._queue.forget(name)

    def stop(self, timeout: float | None) -> bool:
        """Write what waits, and end. @return: False: the disk did not take it within C{timeout} seconds.

        @param timeout: None: as long as it takes.
        """
        with self._wake:
            self._stopping = True
            self._wake.notify()
            thread = self._thread
        if thread is not None:
            thread.join(timeout)
        return thread is None or not thread.is_alive()

    # Inside.

    def _start(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="archive", daemon=True)
            self._thread.start()

    def _status(self) -> WriterStatus:
        now = self._clock()
        oldest = self._queue.oldest()
        lag = now - oldest if oldest is not None else 0.0
        dropping = any(queue.dropping for queue in self._queue.streams.values())
        error = self._error or next(
            (queue.error for queue in self._queue.streams.values() if queue.error), ""
        )
        if self._stopping:
            state = WriterState.STOPPED
        elif error:
            state = WriterState.FAILED
        elif dropping or lag > self.interval + BEHIND:
            state = WriterState.BEHIND
        else:
            state = WriterState.WORKING
        recent = sum([each.size for each in self._measured if each.at > now - SPEED_OVER])
        return WriterStatus(
            state=state,
            error=error,
            lag=lag,
            speed=recent / SPEED_OVER,
            queued=self._queue.size,
            written=self._written,
            written_bytes=self._written_bytes,
            dropped=self._dropped,
        )

    def _run(self) -> None:
        """The thread."""
        while True:
            with self._wake:
                if not self._wait():
                    break
                calls = list(self._calls)
                self._calls.clear()
                batch = self._take()
            if batch:
                self._write(batch)
            for call in calls:
                try:
                    call()
                except Exception as error:
                    self._broken(error)
            if self._clock() >= self._seal_at:
                self._seal()
            self._tell()

    def _wait(self) -> bool:
        """Until there is something to do. @return: False: nothing is left, and it is to end."""
        while True:
            now = self._clock()
            due = self._queue.next_at(self.interval)
            if self._stopping:
                return bool(self._queue.ready(now)) and not self._error
            if self._calls or now >= self._seal_at:
                return True
            due = self._seal_at if due is None else min(self._seal_at, max(due, self._retry_at))
            if due <= now:
                return True
            self._wake.wait(due - now)

    def _take(self) -> dict[str, list[Recorded]]:
        """What is to be written now. It stays in the queue until it is on the disk."""
        now = self._clock()
        due = self._queue.next_at(0.0 if self._stopping else self.interval)
        if due is None or due > now or (self._retry_at > now and not self._stopping):
            return {}
        batch: dict[str, list[Recorded]] = {}
        size = 0
        for name in self._queue.ready(now):
            batch[name] = list(self._queue.streams[name].items)
            size += self._queue.streams[name].size
            if size >= BATCH_BYTES or len(batch) >= BATCH_STREAMS:
                break
        return batch

    def _write(self, batch: dict[str, list[Recorded]]) -> None:
        """Write a batch: all data, all syncs, all rows."""
        try:
            self.store.check()
            self._make_room(sum([_size(items) for items in batch.values()]))
        except Exception as error:
            self._failed(error)
            return
        with ExitStack() as locks:
            written: dict[str, tuple[StreamStore, Batch]] = {}
            for name, items in batch.items():
                try:
                    store = self.store.stream(name)
                    locks.enter_context(store.changing())
                    written[name] = store, store.write(items)
                except Exception as error:
                    self._stream_failed(name, error)
            for name, (store, pending) in list(written.items()):
                try:
                    store.sync(pending)
                except Exception as error:
                    del written[name]
                    self._stream_failed(name, error)
            for name, (store, pending) in written.items():
                try:
                    store.commit(pending)
                except Exception as error:
                    self._stream_failed(name, error)
                else:
                    self._stream_done(name, batch[name])

    def _stream_done(self, name: str, items: list[Recorded]) -> None:
        size = _size(items)
        with self._wake:
            self._queue.done(name, len(items))
            self._queue.streams[name].acknowledged = items[-1].segment.number
            self._error = ""
            self._delay = 0.0
            self._written += len(items)
            self._written_bytes += size
            now = self._clock()
            self._measured.append(_Measured(now, size))
            while self._measured[0].at <= now - SPEED_OVER:
                self._measured.popleft()

    def _stream_failed(self, name: str, error: BaseException) -> None:
        with self._wake:
            self._queue.failed(name, describe_error(error), self._clock(), _longer)
            if not isinstance(error, OSError):
                self._dropped += self._queue.drop(name)
                self._broken(error)

    def _failed(self, error: BaseException) -> None:
        with self._wake:
            self._error = describe_error(error)
            self._delay = _longer(self._delay)
            self._retry_at = self._clock() + self._delay

    def _seal(self) -> None:
        """Seal some of the hours that are over, and write some summaries: nothing of that is urgent, and each
        waits for the disk a few times, while what is recorded waits too.
        """
        until = self._clock() + SEAL_SECONDS
        now = int(self._utc() * TICKS_PER_SECOND)
        if not self._to_seal:
            self._to_seal.extend(
                [each for each in self.store.opened() if each.is_over(now) or each.needs_summary]
            )
        while self._to_seal:
            store = self._to_seal.popleft()
            try:
                if store.seal(now, 1) and store.is_over(now):
                    self._to_seal.append(store)
                elif store.needs_summary:
                    store.write_summary()
            except OSError:
                # It is tried again in the next round.
                continue
            if self._clock() >= until:
                break
        self._seal_at = self._clock() + (SEAL_AGAIN if self._to_seal else SEAL_EVERY)

    def _broken(self, error: BaseException) -> None:
        """A fault of ours: recording goes on, and it is told in the log."""
        self.broken += 1
        self._fault(error)

    def _tell(self) -> None:
        status = self.status
        if (status.state, status.error) != self._told:
            self._told = status.state, status.error
            try:
                self._changed(status)
            except Exception as error:
                self._broken(error)


def _size(items: list[Recorded]) -> int:
    return sum([len(item.segment.encoded) for item in items])


def _longer(delay: float) -> float:
    return min(LONGEST_RETRY, delay * 2) if delay else FIRST_RETRY
