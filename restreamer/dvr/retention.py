"""What is deleted of the archives of a volume, and when: the oldest first, a little at a time.

Depth, size and share of the disk all apply. Locked ranges stay, whatever the limits say; so does the file
that is being written. A disk that is full gives the oldest of what is recorded there. Everything blocks and
is called in the thread that writes to the volume: no more is looked at than what may have to go.
"""

from __future__ import annotations

import errno
import heapq
import os
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from functools import partial

from attrs import define, field, frozen

from restreamer.dvr.ages import AgeClock
from restreamer.dvr.filesystem import Space
from restreamer.dvr.hour_file import day_folder
from restreamer.dvr.seams import Span
from restreamer.dvr.store import Store, describe_error
from restreamer.dvr.stream_store import DataFile, StreamStore
from restreamer.m4f.hour_layout import HOUR_TICKS
from restreamer.media.timebase import TICKS_PER_SECOND

#: Data files that one sweep deletes, and the seconds it works.
MAX_FILES = 50
WORK_SECONDS = 0.020
#: When nothing was left that may be deleted, it is looked again so much later, seconds.
STUCK_SECONDS = 5.0
#: So long it is told that something went before it was copied, seconds.
UNCOPIED_SECONDS = 600.0
#: What is kept free on a disk so that recording goes on: bytes, and at most this part of the disk.
RESERVE = 16 * 1024 * 1024
_RESERVE_PART = 256
#: How a disk that is full says so.
FULL = tuple(os.strerror(code) for code in (errno.ENOSPC, errno.EDQUOT))


@frozen
class Limits:
    """How much of a stream is kept; None: as much as there is. See L{restreamer.config.model.DvrConfig}."""

    depth: int | None = None
    size: int | None = None
    percent: int | None = None


@define(eq=False)
class _Oldest:
    """The files of a stream that may go, the oldest first, each looked at when its turn comes.

    @ivar percent: of the stream. @ivar start: no file that is left is older, UTC ticks.
    @ivar file: the oldest one; None: only C{start} is known yet.
    """

    stream: StreamStore
    percent: int | None
    _locks: Callable[[], Sequence[Span]]
    _hours: deque[int]
    start: int = 0
    file: DataFile | None = None
    _files: deque[DataFile] = field(factory=deque)
    _locked: Sequence[Span] | None = None

    def look(self) -> bool:
        """Go to the next hour that holds something, or to its next file. @return: False: there is none."""
        if self._files:
            self.file = self._files.popleft()
            self.start = self.file.facts.start
            return True
        self.file = None
        if not self._hours:
            return False
        self.start = self._hours[0] * HOUR_TICKS
        return True

    def resolve(self) -> None:
        """Find the files of the next hour; L{look} is to be called then."""
        hour = self._hours.popleft()
        if self._locked is None:
            self._locked = self._locks()
        # A file of the hour does not reach further than that.
        end = (hour + 2) * HOUR_TICKS
        locks = [each for each in self._locked if each.start < end and each.end > self.start]
        if not any(each.start <= self.start and each.end >= end for each in locks):
            files = self.stream.files_of(hour)
            self._files.extend([file for file in files if not _touches(file, locks)])


@define
class _Budget:
    """What a sweep may still do."""

    files: int
    until: float


class Retention:
    """See the module.

    @param locks: the locked spans of a stream. @param utc: seconds since the epoch. @param clock: monotonic.
    @param held: whether a file has to be copied before it may go for its age alone.
    @param uncopied: whether it should be copied, and is not yet.
    @ivar alarm: why nothing could be deleted that should have been; empty: all is well.
    @ivar failed: why the last deletion failed; empty: it did not.
    @ivar deleted, freed: data files and bytes so far.
    @ivar lost: data files that were deleted to make room before they were copied.
    """

    def __init__(
        self,
        store: Store,
        locks: Callable[[str], Sequence[Span]],
        utc: Callable[[], float],
        clock: Callable[[], float],
        held: Callable[[str, DataFile], bool] = lambda name, file: False,
        uncopied: Callable[[str, DataFile], bool] = lambda name, file: False,
    ) -> None:
        self.alarm = ""
        self.failed = ""
        self.deleted = 0
        self.freed = 0
        self.lost = 0
        self._store = store
        self._locks = locks
        self._clock = clock
        self._ages = AgeClock(store.files, store.root, utc, clock, self._found_until)
        self._held = held
        self._uncopied = uncopied
        self._limits: Mapping[str, Limits] = {}
        self._place = 0
        self._stuck_until: float | None = None
        self._lost_at: float | None = None
        self._lost_first = ""

    @property
    def frozen(self) -> bool:
        """Whether the clock is not believed: ages are counted from an earlier time."""
        return self._ages.frozen

    @property
    def loss(self) -> str:
        """What was deleted lately before it was copied; empty: nothing."""
        if self._lost_at is None or self._clock() > self._lost_at + UNCOPIED_SECONDS:
            return ""
        return f"what was not copied yet is deleted to make room, {self._lost_first} first"

    def sweep(self, limits: Mapping[str, Limits]) -> bool:
        """Delete what is over, and remember C{limits}, which are those of all streams that are kept here.

        @return: whether more is to be deleted. @raise OSError: the disk fails.
        """
        self._limits = limits
        self._ages.look()
        budget = _Budget(MAX_FILES, self._clock() + WORK_SECONDS)
        more = self._of_streams(budget)
        if budget.files:
            self._make_room(0, False, budget.files)
        return more or not budget.files

    def make_room(self, size: int, full: bool = False) -> None:
        """Make room for C{size} bytes: within every limit on the share of the disk, and on the disk at all.

        @param full: the disk said that it is full, whatever it tells of its space.
        @raise OSError: the disk fails.
        """
        self._make_room(size, full, MAX_FILES)

    # Inside: limits of a stream.

    def _of_streams(self, budget: _Budget) -> bool:
        """Depth and size, stream by stream; the next sweep goes on where this one ended."""
        names = sorted(self._limits)
        for turn in range(len(names)):
            # One stream at least, however slow the disk is.
            if not budget.files or (turn and self._clock() >= budget.until):
                return True
            self._place = (self._place + 1) % len(names)
            name = names[self._place]
            limit = self._limits[name]
            if limit.depth is None and limit.size is None:
                continue
            stream = self._store.stream(name)
            try:
                doomed = self._over(stream, limit, budget.files)
            except OSError:
                # One stream that cannot be read does not keep the others from being swept.
                continue
            if doomed:
                self._delete(stream, doomed)
                budget.files -= len(doomed)
        return False

    def _over(self, stream: StreamStore, limit: Limits, most: int) -> list[DataFile]:
        """What is over the limits, oldest first."""
        total = stream.disk_size if limit.size is not None else 0
        before = None if limit.depth is None else self._ages.before(limit.depth) * TICKS_PER_SECOND
        locks: Sequence[Span] | None = None
        doomed: list[DataFile] = []
        for hour in stream.hours():
            young = before is None or hour * HOUR_TICKS > before
            if young and (limit.size is None or total <= limit.size):
                break
            for file in stream.files_of(hour):
                aged = before is not None and file.facts.end <= before
                large = limit.size is not None and total > limit.size
                if len(doomed) >= most or (not aged and not large):
                    # Those behind it are younger, and the size is right by now.
                    return doomed
                if locks is None:
                    locks = self._locks(stream.name)
                if not _touches(file, locks) and (large or not self._held(stream.name, file)):
                    doomed.append(file)
                    total -= file.facts.size
        return doomed

    # Inside: room on the disk.

    def _make_room(self, size: int, full: bool, most: int) -> None:
        space = self._store.space()
        if not full and not self._is_short(space, size):
            self.alarm = ""
            return
        if self._stuck_until is not None and self._clock() < self._stuck_until:
            return
        free = space.free
        emptied = 0
        busy = False
        lowest = min(self._percents(), default=None)
        heap = self._oldest(space, free - size, full)
        while heap:
            short = free - size < _reserve(space) or (full and not emptied)
            if not short and not _is_over(lowest, space, free - size):
                break
            _, place, old = heapq.heappop(heap)
            if not short and not _is_over(old.percent, space, free - size):
                # Another stream has a lower limit; this one has nothing to give any more.
                continue
            if old.file is None:
                old.resolve()
            elif emptied >= most:
                busy = True
                break
            elif self._delete(old.stream, [old.file]):
                free += old.file.facts.size
                emptied += 1
            if old.look():
                heapq.heappush(heap, (old.start, place, old))
        if not busy:
            self._judge(space, free - size, full and not emptied)
        self._stuck_until = self._clock() + STUCK_SECONDS if self.alarm else None

    def _is_short(self, space: Space, size: int) -> bool:
        free = space.free - size
        if free < _reserve(space):
            return True
        return _is_over(min(self._percents(), default=None), space, free)

    def _percents(self) -> list[int]:
        return [each.percent for each in self._limits.values() if each.percent is not None]

    def _judge(self, space: Space, free: int, stuck: bool) -> None:
        """Whether the disk is fuller than it should be and nothing is left to delete."""
        self.alarm = ""
        if stuck or free < _reserve(space):
            self.alarm = "the disk is full, and nothing is left here that may be deleted"
            return
        lowest = min(self._percents(), default=None)
        if _is_over(lowest, space, free):
            self.alarm = f"the disk is fuller than {lowest}%, and nothing is left here that may be deleted"

    def _oldest(self, space: Space, free: int, full: bool) -> list[tuple[int, int, _Oldest]]:
        """A heap of the streams that may have to give something, the one with the oldest first."""
        heap = []
        short = full or free < _reserve(space)
        for place, (name, limit) in enumerate(self._limits.items()):
            if not short and not _is_over(limit.percent, space, free):
                continue
            stream = self._store.stream(name)
            try:
                hours = deque(stream.hours())
            except OSError:
                continue
            old = _Oldest(stream, limit.percent, partial(self._locks, name), hours)
            if old.look():
                heap.append((old.start, place, old))
        heapq.heapify(heap)
        return heap

    def _delete(self, stream: StreamStore, files: Sequence[DataFile]) -> bool:
        try:
            lost = [file for file in files if self._uncopied(stream.name, file)]
            freed = stream.delete(files)
        except OSError as error:
            self.failed = describe_error(error)
            return False
        self.failed = ""
        self.freed += freed
        self.deleted += len(files) if freed else 0
        if lost and freed:
            hour = lost[0].hour
            if not self.loss:
                self._lost_first = f"{stream.name} of {day_folder(hour)[1:]} {hour % 24:02}:00"
            self._lost_at = self._clock()
            self.lost += len(lost)
        return freed > 0

    def _found_until(self) -> float | None:
        """Where what the volume held at the start ended, UTC seconds: what was recorded since then was
        recorded by the clock that is in question.
        """
        found = []
        for name in self._store.names():
            stream = self._store.stream(name)
            try:
                stream.open()
            except OSError:
                continue
            if stream.found_until is not None:
                found.append(stream.found_until / TICKS_PER_SECOND)
        return max(found, default=None)


def _touches(file: DataFile, locks: Sequence[Span]) -> bool:
    return any(lock.start < file.facts.end and file.facts.start < lock.end for lock in locks)


def _reserve(space: Space) -> int:
    return min(RESERVE, space.total // _RESERVE_PART)


def _is_over(percent: int | None, space: Space, free: int) -> bool:
    """Whether more than C{percent} is in use, as C{df} shows it; None: no limit."""
    return percent is not None and (space.total - free) * 100 > percent * space.total
