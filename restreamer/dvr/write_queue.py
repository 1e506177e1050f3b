"""Segments that wait for a disk: bounded for each stream and in all; the newest ones are dropped (pure)."""

from __future__ import annotations

from collections.abc import Callable

from attrs import define, field, frozen

from restreamer.dvr.recorded import Recorded

#: Of one stream this many segments may wait, whatever their size, and more as long as they are small.
QUEUED_SEGMENTS = 2
QUEUED_BYTES = 4 * 1024 * 1024
#: Small segments of one stream.
QUEUED_PIECES = 64
#: Bytes of all streams.
QUEUED_IN_ALL = 256 * 1024 * 1024


@frozen
class QueueLimits:
    """See the constants."""

    segments: int = QUEUED_SEGMENTS
    bytes: int = QUEUED_BYTES
    pieces: int = QUEUED_PIECES
    in_all: int = QUEUED_IN_ALL


@define(eq=False)
class StreamQueue:
    """What waits of one stream, and what became of the rest.

    @ivar since: when each waiting segment came, seconds. @ivar acknowledged: the number recorded last.
    @ivar dropped: segments that found no room; @ivar dropping: whether there is no room.
    @ivar error: why its archive cannot be written; empty: it can. @ivar retry_at: not before that, seconds.
    @ivar delay: between attempts.
    """

    items: list[Recorded] = field(factory=list)
    since: list[float] = field(factory=list)
    size: int = 0
    acknowledged: int | None = None
    written: int = 0
    written_bytes: int = 0
    dropped: int = 0
    dropping: bool = False
    error: str = ""
    retry_at: float = 0.0
    delay: float = 0.0


@define(eq=False)
class WriteQueue:
    """What waits of all streams. @ivar size: bytes. @ivar streams: by name."""

    limits: QueueLimits = field(factory=QueueLimits)
    size: int = 0
    streams: dict[str, StreamQueue] = field(factory=dict)

    def put(self, name: str, item: Recorded, now: float) -> bool:
        """Take a segment. @return: False: there is no room, it is dropped."""
        queue = self.streams.get(name)
        if queue is None:
            queue = self.streams[name] = StreamQueue()
        size = len(item.segment.encoded)
        limits = self.limits
        small = len(queue.items) < limits.pieces and queue.size + size <= limits.bytes
        if (len(queue.items) >= limits.segments and not small) or self.size + size > limits.in_all:
            queue.dropped += 1
            queue.dropping = True
            return False
        queue.dropping = False
        queue.items.append(item)
        queue.since.append(now)
        queue.size += size
        self.size += size
        return True

    def ready(self, now: float) -> list[str]:
        """The streams that may be written now, the one that waits longest first: so none is left out."""
        names = [name for name, queue in self.streams.items() if queue.items and queue.retry_at <= now]
        return sorted(names, key=lambda name: self.streams[name].since[0])

    def next_at(self, interval: float) -> float | None:
        """When something may be written, seconds; C{interval} after it came."""
        times = [
            max(queue.since[0] + interval, queue.retry_at) for queue in self.streams.values() if queue.items
        ]
        return min(times, default=None)

    def done(self, name: str, count: int) -> None:
        """The first C{count} segments of a stream are on the disk."""
        queue = self.streams[name]
        size = sum([len(item.segment.encoded) for item in queue.items[:count]])
        del queue.items[:count]
        del queue.since[:count]
        queue.size -= size
        self.size -= size
        queue.written += count
        queue.written_bytes += size
        queue.error = ""
        queue.delay = 0.0
        queue.dropping = False

    def drop(self, name: str) -> int:
        """What waits of a stream cannot be written at all. @return: how many segments that were."""
        queue = self.streams[name]
        count = len(queue.items)
        queue.dropped += count
        self.size -= queue.size
        queue.size = 0
        queue.items.clear()
        queue.since.clear()
        return count

    def failed(self, name: str, text: str, now: float, delay: Callable[[float], float]) -> None:
        """A stream cannot be written now; it is tried again."""
        queue = self.streams.setdefault(name, StreamQueue())
        queue.error = text
        queue.delay = delay(queue.delay)
        queue.retry_at = now + queue.delay

    def oldest(self) -> float | None:
        """When the segment came that waits longest."""
        return min((queue.since[0] for queue in self.streams.values() if queue.since), default=None)

    def forget(self, name: str) -> None:
        """A stream is recorded no more."""
        queue = self.streams.get(name)
        if queue is not None and not queue.items:
            del self.streams[name]
