"""The folder of one stream: what lies there, found out at a start, and put right where it can be.

Everything blocks. Nobody else changes the folder meanwhile.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterable

from attrs import define, field

from restreamer.dvr.filesystem import Filesystem, make_folders, remove_quietly, replace_file
from restreamer.dvr.hour_file import (
    HourListing,
    data_name,
    day_folder,
    index_name,
    list_day,
    parse_day,
    parse_name,
)
from restreamer.dvr.open_hour import OpenHour, rows_end
from restreamer.dvr.recovery import RecoveredHour, recover_hour
from restreamer.dvr.summary import SUMMARY, HourFacts, decode_summary, encode_summary, facts_of
from restreamer.errors import RemoteProtocolError
from restreamer.m4f.hour_index import HourIndex, decode_hour, encode_hour


@define(eq=False)
class StoreCounters:
    """What happened to a stream's archive since the start.

    @ivar segments, bytes: recorded. @ivar repeated: were there already; @ivar refused: other bytes under a
        number that is there, or an hour that is full. @ivar recovered: segments found without a row after a
        crash; @ivar torn: torn tails that were cut; @ivar damaged: segments or indexes that could not be read
        as they were written; @ivar rewritten: segments written again because the disk failed to take them.
    """

    segments: int = 0
    bytes: int = 0
    repeated: int = 0
    refused: int = 0
    recovered: int = 0
    torn: int = 0
    damaged: int = 0
    rewritten: int = 0


@define(eq=False)
class Looked:
    """What a folder holds.

    @ivar sealed, opened: the hours, by number. @ivar summarised: hours that the summary names.
    @ivar stale: hours of which it does not tell the truth. @ivar unreadable: it is damaged, or not there.
    """

    sealed: dict[int, HourFacts] = field(factory=dict)
    opened: dict[int, OpenHour] = field(factory=dict)
    summarised: frozenset[int] = frozenset()
    stale: set[int] = field(factory=set)
    unreadable: bool = False


@define(eq=False)
class StreamFolder:
    """See the module.

    @ivar guard: raises C{OSError} when nothing may be written now. @ivar file_bytes: of a data file, about.
    """

    _files: Filesystem
    _folder: str
    _counters: StoreCounters
    _guard: Callable[[], None]
    _file_bytes: Callable[[], int]

    def look(self) -> Looked:
        """Find out what there is, with the summary's help; torn tails are cut.

        @raise OSError: the disk cannot be read.
        """
        looked = Looked()
        try:
            names = self._files.names(self._folder)
        except FileNotFoundError:
            return looked
        days = {name: first for name in names if (first := parse_day(name)) is not None}
        summary = self._read_summary(self._files.files(self._folder), looked)
        for day, first in days.items():
            if self._files.is_link(f"{self._folder}/{day}"):
                # What it leads to is another's: of another day, or of another disk.
                continue
            try:
                inside = self._files.files(f"{self._folder}/{day}")
            except (FileNotFoundError, NotADirectoryError):
                # No folder of ours: a file, or a link to nowhere.
                continue
            for hour, listing in list_day(inside, first).items():
                try:
                    self._look_at(hour, listing, summary.pop(hour, None), looked)
                except OSError as error:
                    # One bad place does not hide the rest of an archive.
                    if error.errno != errno.EIO:
                        raise
                    self._counters.damaged += 1
        looked.stale |= summary.keys() | (looked.summarised & looked.opened.keys())
        return looked

    def begin(self, root: str, name: str, hour: int) -> OpenHour:
        """Open an hour to write in it, whatever it holds already.

        @param root: of the store. @param name: of the stream.
        @raise OSError: not possible now.
        """
        make_folders(self._files, root, f"{name}/{day_folder(hour)}")
        listing = self._listing(hour)
        recovered = recover_hour(self._files, self._day(hour), hour, listing)
        return OpenHour.of_recovered(
            self._files, self._day(hour), self._file_bytes(), recovered, listing.rows
        )

    def read_index(self, hour: int) -> HourIndex | None:
        """A sealed index; None: it is damaged. @raise OSError: it cannot be read, or is not there."""
        try:
            index = decode_hour(self._files.read(f"{self._day(hour)}/{index_name(hour)}"))
        except RemoteProtocolError:
            return None
        return index if index.hour == hour else None

    def rebuild(self, hour: int) -> tuple[HourIndex, HourFacts | None]:
        """Make the index of a sealed hour anew from its data.

        Nothing is written: reading an hour takes a while, and others may change it meanwhile.
        @return: the index, and the facts of the hour when it is not empty.
        @raise OSError: the data cannot be read.
        """
        recovered = recover_hour(self._files, self._day(hour), hour, self._listing(hour))
        self._count(recovered)
        index = recovered.builder.build()
        return index, facts_of(index, recovered.sizes) if len(index) else None

    def keep_index(self, index: HourIndex) -> None:
        """Write an index that was made anew, if that is possible now; it can be made again."""
        if len(index):
            try:
                self._guard()
                self.write_index(index)
            except OSError:
                return

    def write_index(self, index: HourIndex) -> None:
        """Write the index of a sealed hour; there is none of an empty one.

        @raise OSError: nothing changed.
        """
        folder = self._day(index.hour)
        name = index_name(index.hour)
        if len(index):
            replace_file(self._files, folder, name, [encode_hour(index)])
        else:
            self._files.remove(f"{folder}/{name}")
            self._files.sync_folder(folder)

    def write_summary(self, hours: Iterable[HourFacts]) -> bool:
        """Write the summary. @return: whether that was possible."""
        try:
            self._guard()
            replace_file(self._files, self._folder, SUMMARY, [encode_summary(hours)])
        except OSError:
            return False
        return True

    def drop_summary(self) -> None:
        """Remove the summary. @raise OSError: it is there still."""
        try:
            self._files.remove(f"{self._folder}/{SUMMARY}")
        except FileNotFoundError:
            return
        self._files.sync_folder(self._folder)

    def remove_data(self, hour: int, numbers: Iterable[int]) -> None:
        """Remove data files that are there.

        @raise OSError: some of them are there still.
        """
        for number in numbers:
            try:
                self._files.remove(f"{self._day(hour)}/{data_name(hour, number)}")
            except FileNotFoundError:
                continue

    def clear_hour(self, hour: int) -> None:
        """Remove what is left of an hour, and its day's folder when it is empty."""
        folder = self._day(hour)
        if self._files.is_link(folder):
            return
        for name in self._files.names(folder):
            file = parse_name(name)
            if file is not None and file.hour == hour % 24:
                remove_quietly(self._files, f"{folder}/{name}")
        try:
            self._files.remove_folder(folder)
        except OSError:
            # Other hours of the day are there.
            pass

    # Inside.

    def _day(self, hour: int) -> str:
        return f"{self._folder}/{day_folder(hour)}"

    def _listing(self, hour: int) -> HourListing:
        listed = list_day(self._files.files(self._day(hour)), hour - hour % 24)
        return listed.get(hour, HourListing())

    def _look_at(self, hour: int, listing: HourListing, known: HourFacts | None, looked: Looked) -> None:
        if listing.index and not listing.rows:
            if known is not None and listing.data == {file.number for file in known.files}:
                looked.sealed[hour] = known
                return
            looked.stale.add(hour)
            index = self.read_index(hour)
            if index is not None and listing.data == rows_end(index).keys():
                folder = self._day(hour)
                sizes = {at: self._files.size(f"{folder}/{data_name(hour, at)}") for at in listing.data}
                looked.sealed[hour] = facts_of(index, sizes)
                return
        looked.opened[hour] = self._recover(hour, listing)

    def _recover(self, hour: int, listing: HourListing) -> OpenHour:
        folder = self._day(hour)
        recovered = recover_hour(self._files, folder, hour, listing)
        self._count(recovered)
        for number in recovered.tails:
            self._cut(f"{folder}/{data_name(hour, number)}", recovered.sizes[number])
        return OpenHour.of_recovered(self._files, folder, self._file_bytes(), recovered, listing.rows)

    def _cut(self, path: str, size: int) -> None:
        try:
            self._guard()
            file = self._files.open(path)
            try:
                file.truncate(size)
            finally:
                file.close()
        except OSError:
            # What is behind the last record is never shown anyway.
            return
        self._counters.torn += 1

    def _count(self, recovered: RecoveredHour) -> None:
        self._counters.recovered += recovered.found
        self._counters.damaged += len(recovered.damage) - len(recovered.torn)

    def _read_summary(self, names: Iterable[str], looked: Looked) -> dict[int, HourFacts]:
        if SUMMARY not in names:
            looked.unreadable = True
            return {}
        try:
            found = decode_summary(self._files.read(f"{self._folder}/{SUMMARY}"))
        except RemoteProtocolError:
            self._counters.damaged += 1
            looked.unreadable = True
            return {}
        looked.summarised = frozenset([each.hour for each in found])
        return {each.hour: each for each in found}
