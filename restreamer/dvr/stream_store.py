"""The archive of one stream on one disk.

Everything blocks and is called in threads. What changes files holds one lock, which may take as long as the
disk does; what only asks holds another one, for moments, and reads files with none.
"""

from __future__ import annotations

import errno
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager

from attrs import define, field, frozen

from restreamer.dvr.filesystem import Filesystem
from restreamer.dvr.hour_cache import HourCache
from restreamer.dvr.hour_file import (
    MAX_HOUR_NUMBER,
    data_name,
    day_folder,
)
from restreamer.dvr.open_hour import OpenHour, WrittenFile, without_files
from restreamer.dvr.recorded import Recorded
from restreamer.dvr.seams import Holdings, Span
from restreamer.dvr.spans import join_spans
from restreamer.dvr.stream_folder import StoreCounters, StreamFolder
from restreamer.dvr.summary import FileFacts, HourFacts, facts_of
from restreamer.errors import LocalProtocolError, Reason, Refused, RemoteProtocolError
from restreamer.m4f.hour_index import HourIndex, Row, hour_of
from restreamer.m4f.hour_layout import HOUR_TICKS
from restreamer.m4f.segment import Segment
from restreamer.media.timebase import TICKS_PER_SECOND

#: A disk that is full says one of these.
_FULL = (errno.ENOSPC, errno.EDQUOT)
#: An hour is sealed so long after its end, ticks: until then late segments come.
SEAL_AFTER = 90 * TICKS_PER_SECOND


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


class StreamStore:
    """See the module.

    @param root: folder of the store. @param name: of the stream. @param cache: indexes in memory.
    @param guard: raises C{OSError} when nothing may be written now.
    @param present: whether the volume was ever used; raises C{OSError} when it was, and is not there now.
    @param file_bytes: of a data file, about.
    @ivar counters: what happened. @ivar known: it was asked or written before.
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
    ) -> None:
        self.name = name
        self.folder = f"{root}/{name}"
        self.counters = StoreCounters()
        self._on_disk = StreamFolder(files, self.folder, self.counters, guard, file_bytes)
        self._files = files
        self._root = root
        self._cache = cache
        self._guard = guard
        self._present = present
        self._changing = threading.RLock()
        self._state = threading.Lock()
        self.known = False
        self._sealed: dict[int, HourFacts] = {}
        self._open: dict[int, OpenHour] = {}
        self._last_number = -1
        self._summary_stale = False

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
            sealed = sum([each.disk_size for each in self._sealed.values()])
            return sealed + sum([sum(each.sizes.values()) for each in self._open.values()])

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
                if not self._sealed and not any(each.facts for each in self._open.values()):
                    raise Refused(Reason.NOT_FOUND, "nothing of this stream is recorded")
            return self._hour(hour)

    def segment(self, row: Row) -> Segment:
        """The segment of a row, verified.

        @raise Refused: NOT_FOUND: it is there no more, or is damaged (counted). NOT_READY: the disk fails.
        """
        try:
            encoded = self._read(row)
        except FileNotFoundError:
            raise Refused(Reason.NOT_FOUND, "the segment is not there any more") from None
        except OSError as error:
            self.counters.damaged += 1
            raise Refused(Reason.NOT_READY, "the disk cannot be read") from error
        try:
            segment = Segment.parse(encoded)
        except RemoteProtocolError:
            segment = None
        if segment is None or segment.number != row.number or segment.checksum != row.checksum:
            if len(encoded) == row.size:
                self.counters.damaged += 1
            raise Refused(Reason.NOT_FOUND, "the segment is damaged")
        return segment

    def _read(self, row: Row) -> bytes:
        hour = hour_of(row.start)
        if not 0 <= hour < MAX_HOUR_NUMBER:
            raise FileNotFoundError(row.start)
        path = f"{self.folder}/{day_folder(hour)}/{data_name(hour, row.file)}"
        return self._files.read(path, row.offset, row.size)

    def sealed(self) -> list[HourFacts]:
        """The hours that are over, oldest first.

        @raise OSError: the disk cannot be read.
        """
        self.open()
        with self._state:
            return [self._sealed[hour] for hour in sorted(self._sealed)]

    def sealed_hour(self, hour: int) -> HourFacts | None:
        """What an hour that is over holds; None: it is not over, or holds nothing.

        @raise OSError: the disk cannot be read.
        """
        self.open()
        with self._state:
            return self._sealed.get(hour)

    def data_files(self) -> list[DataFile]:
        """The data files that can be deleted, oldest first: not those that are being written."""
        self.open()
        found = []
        with self._state:
            for facts in self._sealed.values():
                found += [DataFile(facts.hour, file, False) for file in facts.files]
            for each in self._open.values():
                if each.facts is not None:
                    found += [
                        DataFile(each.hour, file, True)
                        for file in each.facts.files
                        if file.number != each.current
                    ]
        return sorted(found, key=lambda file: (file.facts.start, file.facts.number))

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

    def seal(self, before: int) -> int:
        """Write the indexes of the hours that are over.

        @param before: UTC ticks of now. @return: how many.
        @raise OSError: not possible now; nothing is lost.
        """
        with self.changing():
            over = [
                each for each in self._open.values() if (each.hour + 1) * HOUR_TICKS + SEAL_AFTER <= before
            ]
            for each in over:
                self._guard()
                index = each.seal()
                with self._state:
                    if len(index):
                        self._sealed[each.hour] = facts_of(index, each.sizes)
                        self._cache.put((self.folder, each.hour), index)
                    del self._open[each.hour]
                self._summary_stale = True
            self.write_summary()
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
            self.write_summary()
        return freed

    def write_summary(self) -> None:
        """Write the summary, if it does not tell the truth and that is possible now."""
        with self._changing:
            if self._summary_stale:
                with self._state:
                    facts = list(self._sealed.values())
                self._summary_stale = not self._on_disk.write_summary(facts)

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
        hours += [
            each.hour for each in self._sealed.values() if each.first_number <= number <= each.last_number
        ]
        for hour in hours:
            row = self._hour(hour).find(number)
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
        held = self._on_disk.begin(self._root, self.name, hour)
        with self._state:
            self._open[hour] = held
            self._sealed.pop(hour, None)
            self._cache.drop((self.folder, hour))
        return held

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
        found = [*self._sealed.values(), *[each for each in opened if each is not None]]
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
        """Read a sealed index; one that is damaged is made anew from the data."""
        try:
            index = self._on_disk.read_index(hour)
        except FileNotFoundError:
            index = None
            with self._state:
                if hour not in self._sealed:
                    return HourIndex(hour)
        if index is not None:
            return index
        with self._changing:
            if hour in self._open or hour not in self._sealed:
                return self._hour(hour)
            self.counters.damaged += 1
            index, facts = self._on_disk.rebuild(hour)
            with self._state:
                if facts is not None:
                    self._sealed[hour] = facts
                else:
                    self._sealed.pop(hour, None)
            self._summary_stale = True
            return index

    def _look(self) -> None:
        """Find out what there is."""
        looked = self._on_disk.look()
        with self._state:
            self._sealed, self._open = looked.sealed, looked.opened
            facts = self._all_facts()
        self._summary_stale = looked.stale
        self._last_number = max((each.last_number for each in facts), default=-1)
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
        kept = without_files(self._hour(hour), numbers).build()
        self._on_disk.write_index(kept)
        with self._state:
            facts = self._sealed.pop(hour)
            self._cache.drop((self.folder, hour))
            if len(kept):
                self._sealed[hour] = facts_of(kept, {file.number: file.size for file in facts.files})
        self._summary_stale = True


@contextmanager
def _readable() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise Refused(Reason.NOT_READY, "the disk cannot be read") from error


def span_of(file: DataFile) -> Span:
    """What a data file holds: from the start of its first segment to the end of its last one."""
    return Span(file.facts.start, file.facts.end)
