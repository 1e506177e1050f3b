"""An hour that is being written: its rows in memory, its data files, its log.

A data file is only ever written by the process that began it: after a start the next file is begun.
"""

from __future__ import annotations

from attrs import define, field

from restreamer.dvr.disk_record import TRAILER_SIZE, encode_disk_record
from restreamer.dvr.filesystem import Filesystem, OpenFile, remove_quietly, replace_file
from restreamer.dvr.hour_file import (
    MAX_FILES,
    data_name,
    encode_entry,
    index_name,
    rows_name,
)
from restreamer.dvr.recorded import Recorded, archived_run
from restreamer.dvr.recovery import RecoveredHour
from restreamer.dvr.summary import HourFacts, facts_of
from restreamer.errors import LocalProtocolError
from restreamer.m4f.hour_index import HourBuilder, HourIndex, Row, TrackSpan, encode_hour
from restreamer.media.timebase import TICKS_PER_SECOND

#: A data file holds this many ticks and bytes about. Archives are deleted by whole files, oldest first.
FILE_TICKS = 300 * TICKS_PER_SECOND
FILE_BYTES = 64 * 1024 * 1024


@define(eq=False)
class WrittenFile:
    """What was written to one data file and is not known to be on the disk yet.

    @ivar hour: of which it is; @ivar begin: where it begins in the file. @ivar new: the file is, too.
    """

    hour: OpenHour
    number: int
    file: OpenFile
    begin: int
    end: int
    new: bool
    items: list[tuple[Recorded, Row, tuple[TrackSpan, ...]]] = field(factory=list)
    _closed: bool = False

    def cut(self, size: int) -> bool:
        """Cut the file to C{size} bytes. @return: whether that was possible."""
        if self._closed:
            return False
        try:
            self.file.truncate(size)
        except OSError:
            return False
        self.end = size
        return True

    def close(self) -> None:
        """Close the file, once."""
        if not self._closed:
            self._closed = True
            try:
                self.file.close()
            except OSError:
                # It was synced, or is given up: there is nothing to lose.
                pass


@define(eq=False)
class OpenHour:
    """See the module.

    @ivar hour: hours since the epoch; @ivar folder: of its day.
    @ivar sizes: bytes of its data files, as far as they are on the disk.
    @ivar current: the number of the file that is being written; None: the next segment begins one.
    @ivar next_number: of the next file.
    @ivar logged: it has a log. @ivar whole_log: the log has to be written anew.
    """

    files: Filesystem
    hour: int
    folder: str
    file_bytes: int
    builder: HourBuilder
    sizes: dict[int, int] = field(factory=dict)
    current: int | None = None
    next_number: int = 0
    logged: bool = False
    whole_log: bool = False
    log_size: int = 0
    _file_start: int = 0
    _index: HourIndex | None = None
    _facts: HourFacts | None = None

    @classmethod
    def of_recovered(
        cls, files: Filesystem, folder: str, file_bytes: int, recovered: RecoveredHour, logged: bool
    ) -> OpenHour:
        """An hour that was being written when the process or the machine ended."""
        return cls(
            files,
            recovered.builder.hour,
            folder,
            file_bytes,
            recovered.builder,
            dict(recovered.sizes),
            None,
            max(recovered.sizes, default=-1) + 1,
            logged,
            not recovered.as_logged,
            recovered.log_size,
        )

    @property
    def index(self) -> HourIndex:
        """What it holds."""
        index = self._index
        if index is None:
            index = self._index = self.builder.build()
        return index

    @property
    def facts(self) -> HourFacts | None:
        """What it holds, in short; None when it is empty."""
        if self._facts is None and len(self.builder):
            self._facts = facts_of(self.index, self.sizes)
        return self._facts

    def write(self, item: Recorded, last: WrittenFile | None) -> WrittenFile:
        """Write a segment, behind C{last} if that is the same file.

        @raise OSError: it could not be; the file is cut back. @raise LocalProtocolError: it does not fit.
        """
        pieces, before = encode_disk_record(item.run, item.segment)
        size = sum(map(len, pieces))
        row, spans = item.row()
        at = last.end if last is not None else 0 if self.current is None else self.sizes[self.current]
        full = at + size > self.file_bytes or item.segment.start - self._file_start >= FILE_TICKS
        if self.current is None or (full and at > 0):
            last = None
            written = self._begin(item.segment.start)
        elif last is not None:
            written = last
        else:
            written = WrittenFile(
                self, self.current, self.files.open(self._path(self.current)), at, at, False
            )
        try:
            written.file.write(written.end, pieces)
        except OSError:
            self._cut(written, written.end)
            if written is not last:
                written.close()
            raise
        written.items.append((item, row._replace(file=written.number, offset=written.end + before), spans))
        written.end += size
        return written

    def _begin(self, start: int) -> WrittenFile:
        if self.next_number >= MAX_FILES:
            raise LocalProtocolError(f"more than {MAX_FILES} data files in an hour")
        number = self.next_number
        self.next_number += 1
        file = self.files.open(self._path(number))
        try:
            file.truncate(0)
        except OSError:
            file.close()
            raise
        self.current = number
        self._file_start = start
        self.sizes[number] = 0
        return WrittenFile(self, number, file, 0, 0, True)

    def _cut(self, written: WrittenFile, size: int) -> None:
        """Cut a file back; one that cannot be is not written any more."""
        if not written.cut(size):
            self.give_up(written.number)

    def give_up(self, number: int) -> None:
        """Write no more to a file."""
        if self.current == number:
            self.current = None

    def take_back(self, written: WrittenFile) -> None:
        """What was written is not to be there."""
        self._cut(written, written.begin)

    def take(self, written: WrittenFile) -> tuple[list[tuple[Recorded, Row]], HourIndex]:
        """What was written is on the disk. @return: what is recorded now, and an index of it for L{log}."""
        taken = []
        entry = HourBuilder(self.hour)
        for item, row, spans in written.items:
            run = archived_run(item.run)
            try:
                if not self.builder.add(row, item.segment.tracks, run, spans):
                    continue
            except LocalProtocolError:
                continue
            entry.add(row, item.segment.tracks, run, spans)
            taken.append((item, row))
        self.sizes[written.number] = written.end
        self._index = self._facts = None
        return taken, entry.build()

    def log(self, added: HourIndex) -> None:
        """Append to the log. When that fails it is written anew later: the data tells the same."""
        if self.whole_log:
            self.write_log()
            return
        entry = encode_entry(added)
        try:
            file = self.files.open(f"{self.folder}/{rows_name(self.hour)}")
            try:
                file.write(self.log_size, [entry])
            finally:
                file.close()
        except OSError:
            self.whole_log = True
        else:
            self.log_size += len(entry)

    def write_log(self) -> None:
        """Write the whole log anew, if that is possible now."""
        log = encode_entry(self.index)
        try:
            replace_file(self.files, self.folder, rows_name(self.hour), [log])
        except OSError:
            self.whole_log = True
        else:
            self.whole_log = False
            self.log_size = len(log)

    def begin_log(self) -> None:
        """Make the log, before anything of the hour is written: what has one is looked at after a crash.

        @raise OSError: not possible now.
        """
        if not self.logged:
            self.files.open(f"{self.folder}/{rows_name(self.hour)}").close()
            self.files.sync_folder(self.folder)
            self.logged = True
        if self.whole_log:
            self.write_log()

    def seal(self) -> HourIndex:
        """Write the index, be done with the log, and remove data files that hold nothing.

        A file with bytes that no row names stays, whatever is in it: it may be of another hour, or unreadable
        for the moment. It goes with the hour.

        @raise OSError: nothing is lost.
        """
        index = self.index
        if len(index):
            replace_file(self.files, self.folder, index_name(self.hour), [encode_hour(index)])
        if self.logged:
            self.files.remove(f"{self.folder}/{rows_name(self.hour)}")
            self.logged = False
        used = set(rows_end(index))
        for number in range(self.next_number):
            if number not in used and number in self.sizes and self._empty(number):
                remove_quietly(self.files, self._path(number))
        return index

    def _empty(self, number: int) -> bool:
        try:
            return self.files.size(self._path(number)) == 0
        except OSError:
            return False

    def log_without(self, numbers: set[int]) -> HourBuilder:
        """Write the log without the segments in these data files. @return: what is left, for L{keep}.

        @raise OSError: the log still has them.
        """
        kept = without_files(self.index, numbers)
        log = encode_entry(kept.build())
        replace_file(self.files, self.folder, rows_name(self.hour), [log])
        self.whole_log = False
        self.log_size = len(log)
        return kept

    def keep(self, kept: HourBuilder, gone: set[int]) -> None:
        """Hold what is left without the data files C{gone}."""
        self.builder = kept
        self._index = self._facts = None
        for number in gone:
            self.sizes.pop(number, None)

    def _path(self, number: int) -> str:
        return f"{self.folder}/{data_name(self.hour, number)}"


def without_files(index: HourIndex, numbers: set[int]) -> HourBuilder:
    """The rows of C{index} that do not lie in the data files C{numbers}."""
    kept = HourBuilder(index.hour)
    for place, row in enumerate(index):
        if row.file not in numbers:
            kept.add(row, index.tracks(row), index.runs[row.run], index.spans(place))
    return kept


def rows_end(index: HourIndex) -> dict[int, int]:
    """Where the last row of C{index} ends in each data file that it names."""
    ends: dict[int, int] = {}
    for row in index.tuples():
        ends[row[11]] = max(ends.get(row[11], 0), row[12] + row[6] + TRAILER_SIZE)
    return ends
