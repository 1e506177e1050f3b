"""The archive of one stream on one disk.

Everything blocks and is called in threads. What changes files holds one lock, which may take as long as the
disk does; what only asks holds another one, for moments, and reads files with none.
"""

from __future__ import annotations

import errno
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress

from attrs import define, field, frozen

from restreamer.dvr.filesystem import Filesystem
from restreamer.dvr.hour_cache import HourCache
from restreamer.dvr.hour_file import (
    MAX_HOUR_NUMBER,
)
from restreamer.dvr.open_hour import OpenHour, WrittenFile, without_files
from restreamer.dvr.recorded import Recorded
from restreamer.dvr.sealed_hours import SealedHours
from restreamer.dvr.seams import Holdings, Span
from restreamer.dvr.segment_files import SegmentFiles
from restreamer.dvr.spans import join_spans
from restreamer.dvr.stream_folder import StoreCounters, StreamFolder
from restreamer.dvr.summary import FileFacts, HourFacts, facts_of
from restreamer.errors import LocalProtocolError, Reason, Refused
from restreamer.m4f.hour_index import HourIndex, Row, hour_of
from restreamer.m4f.hour_layout import HOUR_TICKS
from restreamer.m4f.segment import Segment
from restreamer.media.timebase import TICKS_PER_SECOND

#: A disk that is full says one of these.
_FULL = (errno.ENOSPC, errno.EDQUOT)
#: An hour is sealed so long after its end, ticks: until then late segments come.
SEAL_AFTER = 90 * TICKS_PER_SECOND
_REBUILT = "a damaged index is made anew"


@frozen
class DataFile:
    """A data file that can be deleted. @ivar open: its hour is still being written."""

    hour: int
    facts: FileFacts
    open: bool


@define(eq=False)
class Batch:
    """Segments of one stream between L{StreamStore.write} and L{StreamStore.commit}."""

    written: list[WrittenFile] = field(factory=list)


class StreamStore(SegmentFiles):
    """See the module.

    @param root: folder of the store. @param name: of the stream. @param cache: indexes in memory.
    @param guard: raises C{OSError} when nothing may be written now.
    @param present: whether the volume was ever used; raises C{OSError} when it was, and is not there now.
    @param file_bytes: of a data file, about.
    @param later: has something of an hour done that takes long, in another thread; or at once.
    @ivar counters: what happened. @ivar known: it was asked or written before.
    @ivar found_until: where what was there at the first use ended, UTC ticks; None: nothing was.
    """

    def __init__(
        self,
        files: Filesystem,
        root: str,
        name: str,
        cache: HourCache,
        guard: Callable[[], None] = lambda: None,
        present: Callable[[], bool] = lambda: True,
        file_bytes: Callable[[], int] = lambda: 64 << 20,
        later: Callable[[Callable[[int], None], int], None] = lambda call, hour: call(hour),
    ) -> None:
        super().__init__(files, f"{root}/{name}", StoreCounters())
        self.name = name
        self._on_disk = StreamFolder(files, self.folder, self.counters, guard, file_bytes)
        self._root = root
        self._cache = cache
        self._guard = guard
        self._present = present
        self._later = later
        self._changing = threading.RLock()
        self._rebuilding = threading.Lock()
        self._state = threading.Lock()
        self.known = False
        self.found_until: int | None = None
        self._sealed = SealedHours()
        self._open: dict[int, OpenHour] = {}
        self._last_number = -1

    # Asked.

    def holdings(self) -> Holdings:
        """What there is.

        @raise Refused: NOT_FOUND: nothing. NOT_READY: the disk cannot be read.
        """
        with _readable():
            self.open()
        with self._state:
            facts = self._all_facts()
        if not facts:
            raise Refused(Reason.NOT_FOUND, "nothing of this stream is recorded")
        return Holdings(
            hours=tuple([each.hour for each in facts]),
            spans=join_spans([span for each in facts for span in each.spans]),
            size=sum([each.size for each in facts]),
        )

    @property
    def disk_size(self) -> int:
        """Bytes of its data files."""
        self.open()
        with self._state:
            return self._sealed.size + sum([sum(each.sizes.values()) for each in self._open.values()])

    @property
    def empty(self) -> bool:
        """Whether nothing is there, as far as is known; reads nothing."""
        with self._state:
            return not len(self._sealed) and not self._open

    @property
    def last_number(self) -> int | None:
        """The highest number recorded."""
        self.open()
        return self._last_number if self._last_number >= 0 else None

    def hour(self, hour: int) -> HourIndex:
        """The segments of an hour; empty when there is none.

        @raise Refused: NOT_FOUND: nothing of the stream is recorded. NOT_READY: the disk cannot be read.
        """
        with _readable():
            self.open()
            with self._state:
                if not len(self._sealed) and not any(len(each.builder) for each in self._open.values()):
                    raise Refused(Reason.NOT_FOUND, "nothing of this stream is recorded")
            return self._hour(hour)

    def sealed(self) -> list[HourFacts]:
        """The hours that are over, oldest first.

        @raise OSError: the disk cannot be read.
        """
        self.open()
        with self._state:
            return self._sealed.all()

    def sealed_hour(self, hour: int) -> HourFacts | None:
        """What an hour that is over holds; None: it is not over, or holds nothing.

        @raise OSError: the disk cannot be read.
        """
        self.open()
        with self._state:
            return self._sealed.get(hour)

    def data_files(self) -> list[DataFile]:
        """The data files that can be deleted, oldest first: not those that are being written."""
        return [file for hour in self.hours() for file in self.files_of(hour)]

    def hours(self) -> Sequence[int]:
        """The hours that hold something, oldest first; and those that are begun.

        @raise OSError: the disk cannot be read.
        """
        self.open()
        with self._state:
            hours = self._sealed.hours
            return hours if not self._open else sorted([*hours, *self._open])

    def files_of(self, hour: int) -> list[DataFile]:
        """The data files of an hour that can be deleted, oldest first: not one that is being written."""
        with self._state:
            held = self._open.get(hour)
            facts = self._sealed.get(hour) if held is None else held.facts
            if facts is None:
                return []
            current = held.current if held is not None else None
            files = [DataFile(hour, file, held is not None) for file in facts.files if file.number != current]
        return sorted(files, key=lambda file: (file.facts.start, file.facts.number))

    # Changed.

    def open(self) -> None:
        """Find out what there is, at the first use.

        @raise OSError: the disk cannot be read.
        """
        if self.known:
            return
        with self._changing:
            if not self.known and self._present():
                self._look()
                self.known = True

    def append(self, items: Sequence[Recorded]) -> list[tuple[Recorded, Row]]:
        """Record segments: they are on the disk when this comes back.

        @return: those that are new, with their rows.
        @raise OSError: none of them is recorded.
        """
        with self.changing():
            batch = self.write(items)
            self.sync(batch)
            return self.commit(batch)

    @contextmanager
    def changing(self) -> Iterator[None]:
        """From L{write} to L{commit} nothing else changes the archive."""
        with self._changing:
            self.open()
            yield

    def write(self, items: Sequence[Recorded]) -> Batch:
        """Write segments, not yet for certain.

        @raise OSError: nothing was written.
        """
        self._guard()
        batch = Batch()
        pending: dict[int, int] = {}
        try:
            for item in items:
                if self._is_new(item.segment, pending):
                    self._write(item, batch.written)
                    pending[item.segment.number] = item.segment.checksum
        except BaseException:
            self.abandon(batch)
            raise
        return batch

    def sync(self, batch: Batch) -> None:
        """Come back when a batch is on the disk. What the disk fails to take is written anew, elsewhere.

        @raise OSError: it is not, and nothing was recorded.
        """
        try:
            for at, written in enumerate(batch.written):
                try:
                    self._sync(written)
                except OSError:
                    written.hour.give_up(written.number)
                    written.hour.take_back(written)
                    batch.written[at : at + 1] = self._write_again(written)
        except BaseException:
            self.abandon(batch)
            raise

    def commit(self, batch: Batch) -> list[tuple[Recorded, Row]]:
        """Give a batch that is on the disk its rows. @return: the segments that are recorded now."""
        taken: list[tuple[Recorded, Row]] = []
        for written in batch.written:
            written.close()
            with self._state:
                new, entry = written.hour.take(written)
            taken += new
            written.hour.log(entry)
        for item, row in taken:
            self._last_number = max(self._last_number, row.number)
            self.counters.segments += 1
            self.counters.bytes += len(item.segment.encoded)
        return taken

    def abandon(self, batch: Batch) -> None:
        """Take back what was written of a batch."""
        for written in batch.written:
            written.hour.take_back(written)
            written.close()
        batch.written.clear()

    def is_over(self, before: int) -> bool:
        """Whether hours are to be sealed. @param before: UTC ticks of now."""
        with self._state:
            return any(_is_over(hour, before) for hour in self._open)

    def seal(self, before: int, most: int | None = None) -> int:
        """Write the indexes of the hours that are over.

        @param before: UTC ticks of now. @param most: hours; None: all. @return: how many.
        @raise OSError: not possible now; nothing is lost.
        """
        with self.changing():
            over = [each for each in self._open.values() if _is_over(each.hour, before)][:most]
            for each in over:
                self._guard()
                index = each.seal()
                with self._state:
                    if len(index):
                        self._sealed.put(facts_of(index, each.sizes))
                        self._cache.put((self.folder, each.hour), index)
                    del self._open[each.hour]
            return len(over)

    def delete(self, doomed: Iterable[DataFile]) -> int:
        """Delete data files: their segments are gone from the indexes first. Open files are passed over.

        @return: bytes freed. @raise OSError: some of them are there still.
        """
        by_hour: dict[int, set[int]] = {}
        for file in doomed:
            by_hour.setdefault(file.hour, set()).add(file.facts.number)
        freed = 0
        with self.changing():
            self._guard()
            for hour, numbers in by_hour.items():
                freed += self._delete(hour, numbers)
        return freed

    @property
    def needs_summary(self) -> bool:
        """Whether it is time for L{write_summary}."""
        return self._sealed.very_stale

    def write_summary(self) -> None:
        """Write the summary, if it does not tell the truth and that is possible now."""
        with self._changing:
            if self._sealed.stale:
                self._write_summary(None)

    # Inside: writing.

    def _is_new(self, segment: Segment, pending: dict[int, int]) -> bool:
        if not 0 <= hour_of(segment.start) < MAX_HOUR_NUMBER or not segment.duration:
            self.counters.refused += 1
            return False
        checksum = pending.get(segment.number)
        if checksum is None and segment.number <= self._last_number:
            checksum = self._checksum_of(segment)
        if checksum is None:
            return True
        if checksum == segment.checksum:
            self.counters.repeated += 1
        else:
            self.counters.refused += 1
        return False

    def _checksum_of(self, segment: Segment) -> int | None:
        """The checksum of the segment that has the number of C{segment}, if one has it."""
        number = segment.number
        hours = [each.hour for each in self._open.values()]
        hours += [each.hour for each in self._sealed.all() if each.first_number <= number <= each.last_number]
        for hour in hours:
            row = self._hour_now(hour).find(number)
            if row is not None:
                return row.checksum
        return None

    def _write(self, item: Recorded, written: list[WrittenFile]) -> None:
        hour = self._open_hour(hour_of(item.segment.start))
        last = next((each for each in reversed(written) if each.hour is hour), None)
        try:
            now = hour.write(item, last)
        except LocalProtocolError:
            self.counters.refused += 1
            return
        if now is not last:
            written.append(now)

    def _open_hour(self, hour: int) -> OpenHour:
        held = self._open.get(hour)
        if held is None:
            held = self._begin_hour(hour)
        held.begin_log()
        return held

    def _begin_hour(self, hour: int) -> OpenHour:
        if hour in self._sealed:
            # With a damaged index it would take as long as reading all data: not while everybody waits.
            _ = self._index_on_disk(hour)
        if hour in self._sealed.summarised and not self._write_summary(hour):
            # What it says of this hour must not seem to be true of other files of the same names.
            self._on_disk.drop_summary()
            self._sealed.summary_written(())
        held = self._on_disk.begin(self._root, self.name, hour)
        with self._state:
            self._open[hour] = held
            self._sealed.drop(hour)
            self._cache.drop((self.folder, hour))
        return held

    def _write_summary(self, without: int | None) -> bool:
        """Write the summary, without an hour. @return: whether that was possible."""
        with self._state:
            facts = [each for each in self._sealed.all() if each.hour != without]
        if not self._on_disk.write_summary(facts):
            return False
        self._sealed.summary_written([each.hour for each in facts])
        return True

    def _sync(self, written: WrittenFile) -> None:
        written.file.sync()
        if written.new:
            self._files.sync_folder(written.hour.folder)

    def _write_again(self, failed: WrittenFile) -> list[WrittenFile]:
        """Write what a file did not keep to another one."""
        failed.close()
        again: list[WrittenFile] = []
        try:
            for item, _, _ in failed.items:
                self._write(item, again)
            for written in again:
                self._sync(written)
        except BaseException:
            for written in again:
                written.hour.give_up(written.number)
            self.abandon(Batch(again))
            raise
        self.counters.rewritten += len(failed.items)
        return again

    # Inside: what is there.

    def _all_facts(self) -> list[HourFacts]:
        opened = [each.facts for each in self._open.values()]
        found = [*self._sealed.all(), *[each for each in opened if each is not None]]
        return sorted(found, key=lambda each: each.hour)

    def _hour(self, hour: int) -> HourIndex:
        with self._state:
            held = self._open.get(hour)
            if held is not None:
                return held.index
            facts = self._sealed.get(hour)
        if facts is None:
            return HourIndex(hour)
        key = (self.folder, hour)
        index = self._cache.get(key)
        if index is None:
            index = self._load(hour)
            with self._state:
                # Unless it was changed meanwhile.
                if self._sealed.get(hour) is facts:
                    self._cache.put(key, index)
        return index

    def _load(self, hour: int) -> HourIndex:
        """Read a sealed index; one that is damaged is made anew from the data.

        @raise OSError: it cannot be read; or somebody makes it anew, which takes a while.
        """
        index = self._read_index(hour)
        if index is not None:
            return index
        if not self._rebuilding.acquire(blocking=False):
            raise OSError(errno.EAGAIN, _REBUILT)
        try:
            # Whoever had it may have done just that.
            index = self._read_index(hour)
            return index if index is not None else self._rebuild(hour)
        finally:
            self._rebuilding.release()

    def _read_index(self, hour: int) -> HourIndex | None:
        """A sealed index; None: it is damaged, or is not there and should be."""
        try:
            return self._on_disk.read_index(hour)
        except FileNotFoundError:
            with self._state:
                return None if hour in self._sealed else HourIndex(hour)

    def _rebuild(self, hour: int) -> HourIndex:
        """Make a sealed index anew: all its data is read, and recording goes on meanwhile."""
        with self._state:
            before = self._sealed.get(hour)
        self.counters.damaged += 1
        index, facts = self._on_disk.rebuild(hour)
        with self._changing:
            with self._state:
                changed = before is None or self._sealed.get(hour) is not before
            if changed:
                return self._hour(hour)
            self._on_disk.keep_index(index)
            with self._state:
                if facts is not None:
                    self._sealed.put(facts)
                    self._cache.put((self.folder, hour), index)
                else:
                    self._sealed.drop(hour)
            return index

    def _index_on_disk(self, hour: int) -> HourIndex:
        """A sealed index, while the archive is being changed: nobody waits until a damaged one is made anew.

        @raise OSError: it cannot be read, or is damaged; then it is made anew, and this is to be tried again.
        """
        index = self._read_index(hour)
        if index is None:
            self._later(self._rebuild_later, hour)
            index = self._read_index(hour)
        if index is None:
            raise OSError(errno.EAGAIN, _REBUILT)
        return index

    def _rebuild_later(self, hour: int) -> None:
        """In another thread. What fails is tried again when somebody asks again."""
        with suppress(OSError):
            _ = self._load(hour)

    def _hour_now(self, hour: int) -> HourIndex:
        """The segments of an hour, while the archive is being changed.

        @raise OSError: see L{_index_on_disk}.
        """
        if hour in self._open:
            return self._open[hour].index
        if hour not in self._sealed:
            return HourIndex(hour)
        index = self._cache.get((self.folder, hour))
        return index if index is not None else self._index_on_disk(hour)

    def _look(self) -> None:
        """Find out what there is."""
        looked = self._on_disk.look()
        with self._state:
            self._sealed = SealedHours(looked.sealed.values(), looked.summarised, looked.stale)
            self._open = looked.opened
            facts = self._all_facts()
        self._last_number = max((each.last_number for each in facts), default=-1)
        self.found_until = max([file.end for each in facts for file in each.files], default=None)
        if looked.unreadable and looked.sealed:
            self.write_summary()

    # Inside: deleting.

    def _delete(self, hour: int, numbers: set[int]) -> int:
        held = self._open.get(hour)
        facts = self._sealed.get(hour) if held is None else held.facts
        if facts is None:
            return 0
        kept = held.current if held is not None else None
        doomed = {file.number: file.size for file in facts.files if file.number in numbers - {kept}}
        if not doomed:
            return 0
        try:
            self._forget(hour, set(doomed))
        except OSError as error:
            if error.errno not in _FULL:
                raise
            # The disk has no room for a shorter index: here the data goes first.
            self._on_disk.remove_data(hour, doomed)
            self._forget(hour, set(doomed))
        self._on_disk.remove_data(hour, doomed)
        if hour not in self._sealed and hour not in self._open:
            self._on_disk.clear_hour(hour)
        return sum(doomed.values())

    def _forget(self, hour: int, numbers: set[int]) -> None:
        """Take the segments in these data files out of the index."""
        held = self._open.get(hour)
        if held is not None:
            left = held.log_without(numbers)
            with self._state:
                held.keep(left, numbers)
            return
        kept = without_files(self._hour_now(hour), numbers).build()
        self._on_disk.write_index(kept)
        with self._state:
            facts = self._sealed.get(hour)
            self._cache.drop((self.folder, hour))
            if facts is not None and len(kept):
                self._sealed.put(facts_of(kept, {file.number: file.size for file in facts.files}))
            else:
                self._sealed.drop(hour)


def _is_over(hour: int, before: int) -> bool:
    return (hour + 1) * HOUR_TICKS + SEAL_AFTER <= before


@contextmanager
def _readable() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise Refused(Reason.NOT_READY, "the disk cannot be read") from error


def span_of(file: DataFile) -> Span:
    """What a data file holds: from the start of its first segment to the end of its last one."""
    return Span(file.facts.start, file.facts.end)
