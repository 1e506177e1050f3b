"""What an archive holds of one stream and one UTC hour: a packed table of its segments.

It is what playlists, manifests and exports are written from, so it holds all that they say and no frame. It
lies on disk beside the segments, and crosses a link, in one form (L{encode_hour}).
"""

from __future__ import annotations

import struct
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import google_crc32c
from attrs import define, field, frozen

from restreamer.errors import LocalProtocolError, RemoteProtocolError
from restreamer.m4f import hour_layout as layout
from restreamer.m4f.hour_layout import (
    HEAD_STRUCT,
    HOUR_TICKS,
    ROW_STRUCT,
    RUN_STRUCT,
    SPAN_STRUCT,
    TABLE_HEAD_STRUCT,
)
from restreamer.m4f.layout import MAX_NUMBER, MAX_SEGMENT, MAX_TIME
from restreamer.m4f.tracks import decode_tracks, encode_tracks
from restreamer.media.track import Tracks

_WHERE = "M4F hour index"
_CRC = struct.Struct(">I")
_NUMBER = struct.Struct(">Q")


class Row(NamedTuple):
    """A segment of an archive; times in ticks. The order of the fields is that of the wire.

    @ivar number, start, duration, checksum: the segment's own. @ivar flags: L{layout.DISCONTINUITY} as it was
        shown, L{layout.INDEPENDENT}. @ivar discontinuity_sequence: as it was shown.
    @ivar size: canonical bytes. @ivar shown: EXT-X-PROGRAM-DATE-TIME minus C{start}.
    @ivar table, run: places in L{HourIndex.tables} and L{HourIndex.runs}.
    @ivar first_span: place in the spans; those of a row end where those of the next one begin.
    @ivar file, offset: where the node that keeps it finds it.
    """

    number: int
    start: int
    duration: int
    flags: int
    discontinuity_sequence: int
    checksum: int
    size: int
    shown: int
    table: int
    run: int
    first_span: int
    file: int = 0
    offset: int = 0

    @property
    def end(self) -> int:
        """Where the next segment starts when nothing is missing."""
        return self.start + self.duration

    @property
    def discontinuity(self) -> bool:
        """Whether it was shown as not continuing the one before."""
        return bool(self.flags & layout.DISCONTINUITY)

    @property
    def independent(self) -> bool:
        """Whether it begins with a random access point."""
        return bool(self.flags & layout.INDEPENDENT)


class TrackSpan(NamedTuple):
    """What a segment holds of one track; times in ticks.

    @ivar flags: L{layout.KEY}: decoding can begin within it. @ivar shown: lowest PTS from the start.
    @ivar duration: from the DTS of its first frame until its last one ends. @ivar size: bytes of its frames.
    """

    track_id: int
    flags: int
    shown: int
    duration: int
    size: int


@frozen
class ArchivedRun:
    """The run a segment was recorded of: what L{restreamer.m4f.records.RunInfo} says of it."""

    run_id: int
    run_start: int
    continuation: int
    ingest_node: bytes


@frozen(eq=False)
class HourIndex:
    """The segments of one UTC hour (they start in it), by rising number; treat as immutable.

    @ivar hour: hours since the epoch. @ivar tables: the track tables that occur; @ivar runs: the runs.
    @ivar packed: the rows, and @ivar packed_spans: their tracks, as L{layout} says.
    @ivar complete: whether all who may have something of the hour have told what. It is not told on.
    """

    hour: int
    tables: tuple[Tracks, ...] = ()
    runs: tuple[ArchivedRun, ...] = ()
    packed: bytes = field(default=b"", repr=False)
    packed_spans: bytes = field(default=b"", repr=False)
    complete: bool = True

    def __len__(self) -> int:
        return len(self.packed) // ROW_STRUCT.size

    def __iter__(self) -> Iterator[Row]:
        return map(Row._make, ROW_STRUCT.iter_unpack(self.packed))

    def tuples(self) -> Iterator[tuple[int, ...]]:
        """The rows as plain tuples with the fields of L{Row}: for lists of very many."""
        return ROW_STRUCT.iter_unpack(self.packed)

    def __getitem__(self, place: int) -> Row:
        if not 0 <= place < len(self):
            raise IndexError(place)
        return Row._make(ROW_STRUCT.unpack_from(self.packed, place * ROW_STRUCT.size))

    def number_at(self, place: int) -> int:
        """The number of the row at C{place}."""
        number: int = _NUMBER.unpack_from(self.packed, place * ROW_STRUCT.size)[0]
        return number

    def find(self, number: int) -> Row | None:
        """The row of segment C{number}."""
        place = bisect_left(range(len(self)), number, key=self.number_at)
        if place < len(self) and self.number_at(place) == number:
            return self[place]
        return None

    def tracks(self, row: Row) -> Tracks:
        """The tracks of a segment."""
        return self.tables[row.table]

    def spans(self, place: int) -> list[TrackSpan]:
        """What the row at C{place} holds of each track."""
        size = ROW_STRUCT.size
        first = self[place].first_span
        end = self[place + 1].first_span if (place + 1) * size < len(self.packed) else self.span_count
        step = SPAN_STRUCT.size
        return [
            TrackSpan._make(each)
            for each in SPAN_STRUCT.iter_unpack(self.packed_spans[first * step : end * step])
        ]

    @property
    def span_count(self) -> int:
        """Spans of all rows."""
        return len(self.packed_spans) // SPAN_STRUCT.size

    @property
    def cost(self) -> int:
        """About how many bytes of memory it takes."""
        return 1000 + len(self.packed) + len(self.packed_spans)


@define(eq=False)
class HourBuilder:
    """Gathers the rows of one hour, in any order of their numbers.

    @ivar hour: hours since the epoch.
    """

    hour: int
    _tables: dict[Tracks, int] = field(factory=dict, init=False)
    _runs: dict[ArchivedRun, int] = field(factory=dict, init=False)
    _rows: dict[int, tuple[Row, bytes]] = field(factory=dict, init=False)
    _size: int = field(default=0, init=False)

    def __len__(self) -> int:
        return len(self._rows)

    def __contains__(self, number: int) -> bool:
        return number in self._rows

    def add(self, row: Row, tracks: Tracks, run: ArchivedRun, spans: Sequence[TrackSpan]) -> bool:
        """Take a segment; its C{table}, C{run} and C{first_span} are set here.

        @return: False when there is one of its number already: the first one stays.
        @raise LocalProtocolError: the hour is full.
        """
        if row.number in self._rows:
            return False
        if len(self._rows) >= layout.MAX_ROWS:
            raise LocalProtocolError(f"more than {layout.MAX_ROWS} segments in an hour")
        packed = b"".join([SPAN_STRUCT.pack(*span) for span in spans])
        size = ROW_STRUCT.size + len(packed)
        if tracks not in self._tables:
            size += TABLE_HEAD_STRUCT.size + len(encode_tracks(tracks))
        if run not in self._runs:
            size += RUN_STRUCT.size
        if (
            len(self._tables) + (tracks not in self._tables) > layout.MAX_TABLES
            or len(self._runs) + (run not in self._runs) > layout.MAX_RUNS
            or self._size + size > layout.MAX_HOUR - HEAD_STRUCT.size - _CRC.size
        ):
            raise LocalProtocolError("more changes of tracks or runs than an hour can hold")
        table = self._tables.setdefault(tracks, len(self._tables))
        place = self._runs.setdefault(run, len(self._runs))
        self._rows[row.number] = (row._replace(table=table, run=place), packed)
        self._size += size
        return True

    def take(self, index: HourIndex) -> None:
        """Take every row of C{index} whose number is not there yet."""
        for place, row in enumerate(index):
            if row.number not in self._rows:
                self.add(row, index.tracks(row), index.runs[row.run], index.spans(place))

    def build(self) -> HourIndex:
        """The index of what was taken."""
        packed = []
        spans = []
        first = 0
        for _, (row, mine) in sorted(self._rows.items()):
            packed.append(ROW_STRUCT.pack(*row._replace(first_span=first)))
            spans.append(mine)
            first += len(mine) // SPAN_STRUCT.size
        return HourIndex(self.hour, tuple(self._tables), tuple(self._runs), b"".join(packed), b"".join(spans))


def hour_of(ticks: int) -> int:
    """The UTC hour, since the epoch, in which C{ticks} lies."""
    return ticks // HOUR_TICKS


def encode_hour(index: HourIndex) -> bytes:
    """The bytes of an index, with a CRC32C of all of them at the end."""
    tables = []
    for tracks in index.tables:
        encoded = encode_tracks(tracks)
        tables += [TABLE_HEAD_STRUCT.pack(len(tracks), len(encoded)), encoded]
    table_bytes = b"".join(tables)
    body = b"".join(
        [
            HEAD_STRUCT.pack(
                layout.MAGIC,
                layout.VERSION,
                0,
                index.hour,
                len(index.tables),
                len(index.runs),
                len(index),
                index.span_count,
                len(table_bytes),
            ),
            table_bytes,
            *[RUN_STRUCT.pack(r.run_id, r.run_start, r.continuation, r.ingest_node) for r in index.runs],
            index.packed,
            index.packed_spans,
        ]
    )
    return body + _CRC.pack(google_crc32c.value(body))


def decode_hour(data: bytes) -> HourIndex:
    """Read what L{encode_hour} wrote, and verify all of it.

    @raise RemoteProtocolError: for anything else.
    """
    if not HEAD_STRUCT.size + _CRC.size <= len(data) <= layout.MAX_HOUR:
        raise RemoteProtocolError(_WHERE, f"{len(data)} bytes, at most {layout.MAX_HOUR}")
    magic, version, _, hour, table_count, run_count, row_count, span_count, tables_size = (
        HEAD_STRUCT.unpack_from(data)
    )
    if magic != layout.MAGIC or version != layout.VERSION:
        raise RemoteProtocolError(_WHERE, "no index of version 1")
    if row_count > layout.MAX_ROWS or span_count > layout.MAX_SPANS:
        raise RemoteProtocolError(_WHERE, f"{row_count} rows and {span_count} spans are too many")
    if table_count > layout.MAX_TABLES or run_count > layout.MAX_RUNS:
        raise RemoteProtocolError(_WHERE, f"{table_count} track tables and {run_count} runs are too many")
    at = HEAD_STRUCT.size + tables_size
    runs_end = at + run_count * RUN_STRUCT.size
    rows_end = runs_end + row_count * ROW_STRUCT.size
    spans_end = rows_end + span_count * SPAN_STRUCT.size
    if spans_end + _CRC.size != len(data):
        raise RemoteProtocolError(_WHERE, f"{len(data)} bytes, its head says {spans_end + _CRC.size}")
    if google_crc32c.value(data[:spans_end]) != _CRC.unpack_from(data, spans_end)[0]:
        raise RemoteProtocolError(_WHERE, "the checksum does not match")
    tables = _decode_tables(data, HEAD_STRUCT.size, at, table_count)
    runs = tuple(ArchivedRun(*each) for each in RUN_STRUCT.iter_unpack(data[at:runs_end]))
    index = HourIndex(hour, tables, runs, data[runs_end:rows_end], data[rows_end:spans_end])
    _check_rows(index)
    return index


def _decode_tables(data: bytes, at: int, end: int, count: int) -> tuple[Tracks, ...]:
    tables = []
    for _ in range(count):
        if at + TABLE_HEAD_STRUCT.size > end:
            raise RemoteProtocolError(_WHERE, "a track table is cut short")
        track_count, size = TABLE_HEAD_STRUCT.unpack_from(data, at)
        at += TABLE_HEAD_STRUCT.size
        if at + size > end:
            raise RemoteProtocolError(_WHERE, "a track table is cut short")
        table = decode_tracks(data[at : at + size])
        if len(table.ids) != track_count:
            raise RemoteProtocolError(_WHERE, "a track table does not hold what its head says")
        tables.append(table.tracks)
        at += size
    if at != end:
        raise RemoteProtocolError(_WHERE, "bytes behind the track tables")
    return tuple(tables)


def _check_rows(index: HourIndex) -> None:
    """Each row refers to what is there, and the numbers rise."""
    last, last_span = -1, 0
    tables, runs, spans = len(index.tables), len(index.runs), index.span_count
    for number, start, duration, _, _, _, size, _, table, run, span, _, _ in index.tuples():
        if not last < number <= MAX_NUMBER or abs(start) > MAX_TIME or not duration:
            raise RemoteProtocolError(_WHERE, f"segment {number} at {start} for {duration} ticks")
        if table >= tables or run >= runs or not last_span <= span <= spans or size > MAX_SEGMENT:
            raise RemoteProtocolError(_WHERE, f"segment {number} refers to what is not there")
        last, last_span = number, span
