"""What an hour holds after whatever happened to its files: a crash, a power cut, a damaged index.

Rows whose checksum is good are trusted. The data behind the last row of each file is read record by record:
good ones get rows, and a torn tail can be cut. Nothing is changed here.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from functools import partial

from attrs import define, field, frozen

from restreamer.dvr.disk_record import TRAILER_SIZE, Damage, FoundRecord, scan
from restreamer.dvr.filesystem import Filesystem
from restreamer.dvr.hour_file import HourListing, data_name, decode_log, index_name, rows_name
from restreamer.dvr.recorded import archived_run, make_row
from restreamer.errors import LocalProtocolError, RemoteProtocolError
from restreamer.m4f.hour_index import HourBuilder, HourIndex, Row, TrackSpan, decode_hour, hour_of
from restreamer.m4f.hour_layout import DISCONTINUITY
from restreamer.m4f.records import RunInfo
from restreamer.media.track import Tracks


@frozen
class DamagedPlace:
    """Bytes of a data file that are no record. @ivar number: of the file."""

    number: int
    damage: Damage


@frozen
class FoundSegment:
    """A segment that was found in a data file. @ivar row: as its own bytes say."""

    row: Row
    spans: tuple[TrackSpan, ...]
    tracks: Tracks
    run: RunInfo

    @classmethod
    def of_record(cls, number: int, record: FoundRecord) -> FoundSegment:
        """@param number: of the data file."""
        segment = record.segment
        sequence = max(0, segment.discontinuity_sequence + record.run.discontinuities)
        row, spans = make_row(segment, segment.discontinuity, sequence)
        return cls(row._replace(file=number, offset=record.offset), spans, segment.tracks, record.run)

    def confirms(self, row: Row, tracks: Tracks, spans: list[TrackSpan]) -> bool:
        """Whether a row says of the segment what is true whatever was shown of it."""
        shown = row._replace(
            flags=row.flags & ~DISCONTINUITY | self.row.flags & DISCONTINUITY,
            discontinuity_sequence=self.row.discontinuity_sequence,
            table=0,
            run=0,
            first_span=0,
        )
        return shown == self.row and tracks == self.tracks and tuple(spans) == self.spans


@define(eq=False)
class RecoveredHour:
    """An hour as its files tell.

    @ivar sizes: of the data files, torn tails left out. @ivar torn: those that have a torn tail.
    @ivar found: segments without a row. @ivar lost: rows without a segment. @ivar damage: what else is wrong.
    @ivar bad_index, bad_log: whether the index or the end of the log could not be read.
    @ivar log_size: bytes of the log that are right.
    @ivar strays: whole segments of other hours, and those hours, by data file; known when all is read.
    """

    builder: HourBuilder
    sizes: dict[int, int] = field(factory=dict)
    torn: set[int] = field(factory=set)
    found: int = 0
    lost: int = 0
    damage: list[DamagedPlace] = field(factory=list)
    bad_index: bool = False
    bad_log: bool = False
    log_size: int = 0
    strays: dict[int, list[int]] = field(factory=dict)

    @property
    def tails(self) -> list[int]:
        """The data files whose torn tail may be cut: one without any segment of its own is left as it is."""
        return [number for number in sorted(self.torn) if self.sizes[number]]

    @property
    def as_logged(self) -> bool:
        """Whether index and log say all of it, and nothing else."""
        return not (self.found or self.lost or self.bad_index or self.bad_log)


def recover_hour(
    files: Filesystem,
    folder: str,
    hour: int,
    listing: HourListing,
    whole: bool = False,
    progress: Callable[[int], None] = lambda _: None,
) -> RecoveredHour:
    """Find out what an hour holds.

    @param folder: of its day. @param whole: read all data and trust no row.
    @param progress: told of bytes of data that were read.
    @raise OSError: its files cannot be read now.
    """
    sizes = {number: files.size(f"{folder}/{data_name(hour, number)}") for number in sorted(listing.data)}
    recovered = RecoveredHour(HourBuilder(hour), sizes)
    _take_rows(files, folder, hour, listing, recovered)
    ends = dict.fromkeys(sizes, 0)
    for row in recovered.builder.build():
        ends[row.file] = max(ends[row.file], row.offset + row.size + TRAILER_SIZE)
    if whole:
        known = recovered.builder.build()
        recovered.builder = HourBuilder(hour)
        found = _scan_files(files, folder, hour, recovered, dict.fromkeys(sizes, 0), progress)
        _take_confirmed(recovered, known, found)
    else:
        found = _scan_files(files, folder, hour, recovered, ends, progress)
    _add_found(recovered, found)
    return recovered


def _take_rows(
    files: Filesystem, folder: str, hour: int, listing: HourListing, recovered: RecoveredHour
) -> None:
    if listing.index:
        try:
            index = decode_hour(files.read(f"{folder}/{index_name(hour)}"))
            if index.hour != hour:
                raise RemoteProtocolError("index", "of another hour")
        except RemoteProtocolError:
            recovered.bad_index = True
        else:
            _take_present(recovered, index)
    if listing.rows:
        log = files.read(f"{folder}/{rows_name(hour)}")
        entries, recovered.log_size = decode_log(log, hour)
        recovered.bad_log = recovered.log_size != len(log)
        for entry in entries:
            _take_present(recovered, entry)
    elif listing.data and not listing.index:
        recovered.bad_index = True


def _take_present(recovered: RecoveredHour, index: HourIndex) -> None:
    """Take the rows whose data is there."""
    sizes = recovered.sizes
    for place, row in enumerate(index):
        if row.offset + row.size + TRAILER_SIZE > sizes.get(row.file, 0):
            recovered.lost += 1
        elif row.number not in recovered.builder:
            recovered.builder.add(row, index.tracks(row), index.runs[row.run], index.spans(place))


def _scan_files(
    files: Filesystem,
    folder: str,
    hour: int,
    recovered: RecoveredHour,
    begins: dict[int, int],
    progress: Callable[[int], None],
) -> list[FoundSegment]:
    """Read data files from C{begins} on. @return: the segments of this hour."""
    found = []
    for number, begin in begins.items():
        path = f"{folder}/{data_name(hour, number)}"
        size = recovered.sizes[number]
        for each in scan(partial(files.read, path), size, begin):
            progress(each.end - each.begin)
            if isinstance(each, Damage):
                recovered.damage.append(DamagedPlace(number, each))
                if each.end == size:
                    recovered.torn.add(number)
                    recovered.sizes[number] = each.begin
            elif hour_of(each.segment.start) == hour and each.segment.duration:
                found.append(FoundSegment.of_record(number, each))
            elif hour_of(each.segment.start) != hour:
                recovered.strays.setdefault(number, []).append(hour_of(each.segment.start))
    return found


def _take_confirmed(recovered: RecoveredHour, known: HourIndex, found: Collection[FoundSegment]) -> None:
    """Take the rows that the data confirms."""
    there = {(each.row.file, each.row.offset): each for each in found}
    for place, row in enumerate(known):
        each = there.get((row.file, row.offset))
        if each is not None and each.confirms(row, known.tracks(row), known.spans(place)):
            recovered.builder.add(row, each.tracks, known.runs[row.run], each.spans)
        else:
            recovered.lost += 1


def _add_found(recovered: RecoveredHour, found: Collection[FoundSegment]) -> None:
    """Make rows for segments that have none; of two with one number the first one counts."""
    builder = recovered.builder
    known = builder.build()
    runs = {row.number: known.runs[row.run].run_id for row in known}
    new: dict[int, FoundSegment] = {}
    for each in found:
        if each.row.number not in runs:
            new.setdefault(each.row.number, each)
    if not new:
        return
    runs.update({number: each.run.run_id for number, each in new.items()})
    before: int | None = None
    for number in sorted(runs):
        if number in new:
            each = new[number]
            row = each.row
            if before is not None and before != runs[number]:
                row = row._replace(flags=row.flags | DISCONTINUITY)
            try:
                builder.add(row, each.tracks, archived_run(each.run), each.spans)
            except LocalProtocolError:
                return
            recovered.found += 1
        before = runs[number]
