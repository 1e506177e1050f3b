"""What is deleted of the archives of a volume, and when: the oldest first, a little at a time.

Depth, size and share of the disk all apply. Locked ranges stay, whatever the limits say; so does the file
that is being written. A disk that is full gives the oldest of what is recorded there. Everything blocks and
is called in the thread that writes to the volume.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Mapping, Sequence

from attrs import define, frozen

from restreamer.dvr.filesystem import Space
from restreamer.dvr.seams import Span
from restreamer.dvr.store import Store, describe_error
from restreamer.dvr.stream_store import DataFile, StreamStore
from restreamer.media.timebase import TICKS_PER_SECOND

#: Data files that one sweep deletes, and the seconds it works.
MAX_FILES = 50
WORK_SECONDS = 0.020
#: A clock that jumped further than this is not believed, and for how long nothing is deleted then, seconds.
JUMP = 86_400.0
FROZEN = 600.0
#: A clock that says less was never set, UTC seconds: 2023.
EARLIEST = 1_672_531_200
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


@frozen
class _Old:
    """A data file that may go. @ivar percent: of the stream it is of."""

    start: int
    stream: StreamStore
    file: DataFile
    percent: int | None


@define
class _Budget:
    """What a sweep may still do."""

    files: int
    until: float


class Retention:
    """See the module.

    @param locks: the locked spans of a stream. @param utc: seconds since the epoch. @param clock: monotonic.
    @param held: whether a file has to be copied before it may go for its age alone.
    @ivar alarm: why nothing could be deleted that should have been; empty: all is well.
    @ivar failed: why the last deletion failed; empty: it did not.
    @ivar deleted, freed: data files and bytes so far. @ivar frozen: the clock is not believed now.
    """

    def __init__(
        self,
        store: Store,
        locks: Callable[[str], Sequence[Span]],
        utc: Callable[[], float],
        clock: Callable[[], float],
        held: Callable[[str, DataFile], bool] = lambda name, file: False,
    ) -> None:
        self.alarm = ""
        self.failed = ""
        self.deleted = 0
        self.freed = 0
        self.frozen = False
        self._store = store
        self._locks = locks
        self._utc = utc
        self._clock = clock
        self._held = held
        self._limits: Mapping[str, Limits] = {}
        self._place = 0
        self._offset: float | None = None
        self._frozen_until = 0.0

    def sweep(self, limits: Mapping[str, Limits]) -> bool:
        """Delete what is over, and remember C{limits}, which are those of all streams that are kept here.

        @return: whether more is to be deleted. @raise OSError: the disk fails.
        """
        self._limits = limits
        self.frozen = not self._believed()
        if self.frozen:
            return False
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
                doomed = self._over(stream, limit)[: budget.files]
            except OSError:
                # One stream that cannot be read does not keep the others from being swept.
                continue
            if doomed:
                self._delete(stream, doomed)
                budget.files -= len(doomed)
        return False

    def _over(self, stream: StreamStore, limit: Limits) -> list[DataFile]:
        """What is over the limits, oldest first."""
        files = stream.data_files()
        if not files:
            return []
        total = stream.disk_size
        before = None if limit.depth is None else (self._utc() - limit.depth) * TICKS_PER_SECOND
        locks = self._locks(stream.name)
        doomed = []
        for file in files:
            aged = before is not None and file.facts.end <= before
            large = limit.size is not None and total > limit.size
            if not aged and not large:
                # Those behind it are younger, and the size is right by now.
                break
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
        free = space.free
        emptied = 0
        busy = False
        for old in self._oldest():
            short = free - size < _reserve(space) or (full and not emptied)
            over = old.percent is not None and _used(space, free - size) > old.percent * space.total
            if not short and not over:
                # Another stream may have a lower limit.
                continue
            if emptied >= most:
                busy = True
                break
            if self._delete(old.stream, [old.file]):
                free += old.file.facts.size
                emptied += 1
        if not busy:
            self._judge(space, free - size, full and not emptied)

    def _is_short(self, space: Space, size: int) -> bool:
        free = space.free - size
        if free < _reserve(space):
            return True
        used = _used(space, free)
        return any(
            each.percent is not None and used > each.percent * space.total for each in self._limits.values()
        )

    def _judge(self, space: Space, free: int, stuck: bool) -> None:
        """Whether the disk is fuller than it should be and nothing is left to delete."""
        self.alarm = ""
        if stuck or free < _reserve(space):
            self.alarm = "the disk is full, and nothing is left here that may be deleted"
            return
        percents = [each.percent for each in self._limits.values() if each.percent is not None]
        if percents and _used(space, free) > min(percents) * space.total:
            self.alarm = (
                f"the disk is fuller than {min(percents)}%, and nothing is left here that may be deleted"
            )

    def _oldest(self) -> list[_Old]:
        """All that may go, oldest first."""
        found = []
        for name, limit in self._limits.items():
            stream = self._store.stream(name)
            try:
                files = stream.data_files()
            except OSError:
                continue
            if files:
                locks = self._locks(name)
                found += [
                    _Old(file.facts.start, stream, file, limit.percent)
                    for file in files
                    if not _touches(file, locks)
                ]
        return sorted(found, key=lambda old: old.start)

    def _delete(self, stream: StreamStore, files: Sequence[DataFile]) -> bool:
        try:
            freed = stream.delete(files)
        except OSError as error:
            self.failed = describe_error(error)
            return False
        self.failed = ""
        self.freed += freed
        self.deleted += len(files) if freed else 0
        return freed > 0

    def _believed(self) -> bool:
        """Whether the clock of the machine can be believed."""
        utc, now = self._utc(), self._clock()
        offset = utc - now
        if (self._offset is not None and abs(offset - self._offset) > JUMP) or utc < EARLIEST:
            self._frozen_until = now + FROZEN
        self._offset = offset
        return now >= self._frozen_until


def _touches(file: DataFile, locks: Sequence[Span]) -> bool:
    return any(lock.start < file.facts.end and file.facts.start < lock.end for lock in locks)


def _reserve(space: Space) -> int:
    return min(RESERVE, space.total // _RESERVE_PART)


def _used(space: Space, free: int) -> int:
    """Bytes in use times 100, as C{df} shows them."""
    return (space.total - free) * 100
