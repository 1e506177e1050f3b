"""The index of an hour: what is written is read, and nothing else is."""

from __future__ import annotations

import struct
from typing import Any

import google_crc32c
from attrs import evolve
from construct import Array
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from restreamer.errors import LocalProtocolError, RemoteProtocolError
from restreamer.m4f import hour_layout as layout
from restreamer.m4f.hour_index import (
    ArchivedRun,
    HourBuilder,
    HourIndex,
    Row,
    TrackSpan,
    decode_hour,
    encode_hour,
    hour_of,
)
from restreamer.media.track import Tracks
from test.m4f import samples
from test.m4f.samples import AUDIO, RUN, START, VIDEO, tiny_segment

_SETTINGS = settings(deadline=None, max_examples=80, derandomize=True)
_RUN = ArchivedRun(RUN.run_id, RUN.run_start, RUN.continuation, RUN.ingest_node)

rows = st.builds(
    Row,
    samples.numbers,
    samples.times,
    st.integers(1, (1 << 32) - 1),
    st.integers(0, 255),
    samples.u32,
    samples.u32,
    st.integers(0, 1 << 25),
    samples.i32,
    st.just(0),
    st.just(0),
    st.just(0),
    samples.u16,
    samples.u64,
)
spans = st.builds(TrackSpan, st.integers(0, 255), st.integers(0, 255), samples.i32, samples.u32, samples.u32)
archived_runs = st.builds(ArchivedRun, samples.u64, samples.times, samples.u64, samples.node_ids)
entries = st.tuples(rows, st.integers(0, 2), st.integers(0, 2), st.lists(spans, max_size=4))


@st.composite
def filled(draw: st.DrawFn) -> list[tuple[Row, Tracks, ArchivedRun, list[TrackSpan]]]:
    """What is put into an index."""
    tables = draw(st.lists(samples.track_tables(), min_size=3, max_size=3))
    runs = draw(st.lists(archived_runs, min_size=3, max_size=3))
    return [
        (row, tables[table], runs[run], held) for row, table, run, held in draw(st.lists(entries, max_size=8))
    ]


def shown_hour() -> HourIndex:
    """The index that docs/m4f.md shows byte by byte."""
    builder = HourBuilder(hour_of(START))
    first = tiny_segment()
    builder.add(
        Row(340_000_000, START, 7200, 3, 1, first.checksum, len(first.encoded), 3600, 0, 0, 0, 1, 57),
        (VIDEO, AUDIO),
        _RUN,
        [TrackSpan(1, 1, 3600, 7200, 13), TrackSpan(2, 1, 10, 1920, 2)],
    )
    builder.add(
        Row(340_000_001, START + 7200, 5760, 2, 1, 0x01020304, 300, 0, 0, 0, 0, 1, 361),
        (VIDEO, AUDIO),
        _RUN,
        [TrackSpan(2, 1, 0, 5760, 15)],
    )
    return builder.build()


def with_crc(body: bytes | bytearray) -> bytes:
    """A body with the right checksum, whatever it says."""
    checksum: int = google_crc32c.value(bytes(body))
    return bytes(body) + checksum.to_bytes(4, "big")


class RoundTrips(SynchronousTestCase):
    """Builder, bytes, index."""

    @_SETTINGS
    @given(samples.u32, filled())
    def test_what_is_written_is_read(
        self, hour: int, given_rows: list[tuple[Row, Tracks, ArchivedRun, list[TrackSpan]]]
    ) -> None:
        """Every row with its tracks, run and spans, by number; of one number the first."""
        builder = HourBuilder(hour)
        first: dict[int, tuple[Row, Tracks, ArchivedRun, list[TrackSpan]]] = {}
        for entry in given_rows:
            self.assertEqual(builder.add(*entry), entry[0].number not in first)
            first.setdefault(entry[0].number, entry)
        self.assertEqual(len(builder), len(first))
        for index in (builder.build(), decode_hour(encode_hour(builder.build()))):
            self.assertEqual((index.hour, len(index)), (hour, len(first)))
            for place, (row, number) in enumerate(zip(index, sorted(first), strict=True)):
                expected, tracks, run, held = first[number]
                self.assertEqual(row[:8] + row[11:], expected[:8] + expected[11:])
                self.assertEqual((index.tracks(row), index.runs[row.run]), (tracks, run))
                self.assertEqual(index.spans(place), held)
                self.assertEqual((index[place], index.find(number)), (row, row))
                self.assertEqual(index.number_at(place), number)
            self.assertEqual([Row(*each) for each in index.tuples()], list(index))
        encoded = encode_hour(builder.build())
        self.assertEqual(encode_hour(decode_hour(encoded)), encoded)

    @_SETTINGS
    @given(filled(), filled())
    def test_two_together(self, one: list[Any], other: list[Any]) -> None:
        """The union; what is there already stays."""
        indexes = []
        for entries_of in (one, other):
            builder = HourBuilder(5)
            for entry in entries_of:
                builder.add(*entry)
            indexes.append(builder.build())
        together = HourBuilder(5)
        for index in indexes:
            together.take(index)
        union = together.build()
        for row in union:
            source = next(index for index in indexes if index.find(row.number) is not None)
            found = source.find(row.number)
            assert found is not None
            self.assertEqual(found[:8] + found[11:], row[:8] + row[11:])
            self.assertEqual(source.tracks(found), union.tracks(row))
        self.assertEqual(len(union), len({entry[0].number for entry in one + other}))

    def test_nothing(self) -> None:
        """An empty hour is one, too."""
        index = decode_hour(encode_hour(HourIndex(7)))
        self.assertEqual((len(index), index.hour, list(index), index.find(1)), (0, 7, [], None))
        self.assertRaises(IndexError, index.__getitem__, 0)

    def test_words_of_a_row(self) -> None:
        """What its flags mean."""
        first, second = shown_hour()
        self.assertEqual((first.discontinuity, first.independent, first.end), (True, True, second.start))
        self.assertEqual((second.discontinuity, second.independent), (False, True))

    def test_hours(self) -> None:
        """A segment belongs to the hour it starts in."""
        for hour in (0, 1, 472_222):
            for ticks in (0, 1, layout.HOUR_TICKS - 1):
                self.assertEqual(hour_of(hour * layout.HOUR_TICKS + ticks), hour)

    def test_full(self) -> None:
        """An hour holds so much and no more."""
        builder = HourBuilder(0)
        for number in range(layout.MAX_RUNS):
            builder.add(_row(number), (), ArchivedRun(number, 0, 0, bytes(16)), ())
        self.assertRaises(
            LocalProtocolError, builder.add, _row(1 << 20), (), ArchivedRun(1 << 20, 0, 0, bytes(16)), ()
        )
        for number in range(layout.MAX_RUNS, layout.MAX_ROWS):
            builder.add(_row(number), (), ArchivedRun(0, 0, 0, bytes(16)), ())
        self.assertRaises(
            LocalProtocolError, builder.add, _row(1 << 20), (), ArchivedRun(0, 0, 0, bytes(16)), ()
        )
        self.assertEqual(len(decode_hour(encode_hour(builder.build()))), layout.MAX_ROWS)

    def test_full_of_tables(self) -> None:
        """What was taken can always be read, however large its tables are."""
        builder = HourBuilder(0)
        with self.assertRaises(LocalProtocolError):
            for number in range(layout.MAX_TABLES):
                builder.add(_row(number), (evolve(VIDEO, config=number.to_bytes(4) * 5000),), _RUN, ())
        self.assertEqual(len(decode_hour(encode_hour(builder.build()))), len(builder))


def _row(number: int) -> Row:
    return Row(number, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0)


class Descriptions(SynchronousTestCase):
    """The construct descriptions and the structs compiled from them."""

    @_SETTINGS
    @given(st.lists(rows, max_size=5), st.lists(spans, max_size=5), st.lists(archived_runs, max_size=5))
    def test_they_say_the_same(
        self, some_rows: list[Row], some_spans: list[TrackSpan], some_runs: list[ArchivedRun]
    ) -> None:
        """Both write the same bytes."""
        runs = [(each.run_id, each.run_start, each.continuation, each.ingest_node) for each in some_runs]
        for description, compiled, values in (
            (layout.ROW, layout.ROW_STRUCT, some_rows),
            (layout.SPAN, layout.SPAN_STRUCT, some_spans),
            (layout.RUN, layout.RUN_STRUCT, runs),
        ):
            names = [str(each.name) for each in description.subcons]
            built = Array(len(values), description).build(
                [dict(zip(names, value, strict=True)) for value in values]
            )
            self.assertEqual(built, b"".join([compiled.pack(*value) for value in values]))
        self.assertEqual(Row._fields, tuple(each.name for each in layout.ROW.subcons))
        self.assertEqual(TrackSpan._fields, tuple(each.name for each in layout.SPAN.subcons))

    def test_head(self) -> None:
        """Of the example."""
        encoded = encode_hour(shown_hour())
        head = layout.HEAD.parse(encoded)
        self.assertEqual((head.hour, head.row_count, head.span_count), (472_222, 2, 3))
        self.assertEqual(layout.HEAD.build(head), encoded[: layout.HEAD_STRUCT.size])


class Damage(SynchronousTestCase):
    """Anything but what was written is refused by one error."""

    @settings(deadline=None, max_examples=300, derandomize=True)
    @given(st.binary(max_size=400))
    def test_any_bytes(self, data: bytes) -> None:
        """Random ones."""
        self.assertRaises(RemoteProtocolError, decode_hour, data)

    @settings(deadline=None, max_examples=400, derandomize=True)
    @given(st.integers(0, 1 << 16), st.integers(0, 255), st.integers(0, 3), st.binary(max_size=9))
    def test_with_a_right_checksum(self, at: int, value: int, way: int, more: bytes) -> None:
        """A body that lies: it is refused, or is an index with which everything can be done."""
        body = bytearray(encode_hour(shown_hour())[:-4])
        at %= len(body)
        if way == 0:
            body[at] = value
        elif way == 1:
            body[at:at] = more
        elif way == 2:
            del body[at : at + 1 + value % 60]
        else:
            body[at % 26] ^= 1 << value % 8
        try:
            index = decode_hour(with_crc(body))
        except RemoteProtocolError:
            return
        for place, row in enumerate(index):
            index.tracks(row)
            index.runs[row.run]
            index.spans(place)
            self.assertEqual(index.find(row.number), row)
        again = HourBuilder(index.hour)
        again.take(index)
        self.assertEqual(len(again.build()), len(index))

    def test_every_bit(self) -> None:
        """No bit can change unseen."""
        encoded = encode_hour(shown_hour())
        for at in range(len(encoded)):
            wrong = bytearray(encoded)
            wrong[at] ^= 1 << at % 8
            self.assertRaises(RemoteProtocolError, decode_hour, bytes(wrong))
            self.assertRaises(RemoteProtocolError, decode_hour, encoded[:at])

    def test_counts_that_lie(self) -> None:
        """They are refused before anything is allocated."""
        head = struct.Struct(">4sBBIHHIII")
        for counts in (
            (65535, 0, 0, 0, 0),
            (0, 65535, 0, 0, 0),
            (0, 0, (1 << 32) - 1, 0, 0),
            (0, 0, 0, (1 << 32) - 1, 0),
            (0, 0, 0, 0, (1 << 32) - 1),
            (0, 0, 40_000, 320_000, 0),
        ):
            self.assertRaises(
                RemoteProtocolError, decode_hour, with_crc(head.pack(b"M4FI", 1, 0, 5, *counts))
            )

    def test_order(self) -> None:
        """Numbers rise, and references are to what is there."""
        index = shown_hour()
        row = layout.ROW_STRUCT.size
        turned = HourIndex(
            index.hour, index.tables, index.runs, index.packed[row:] + index.packed[:row], index.packed_spans
        )
        self.assertRaises(RemoteProtocolError, decode_hour, encode_hour(turned))
        for change in (
            {"table": 1},
            {"run": 1},
            {"first_span": 4},
            {"number": 1 << 63},
            {"duration": 0},
            {"start": 1 << 53},
            {"size": 1 << 26},
        ):
            wrong = layout.ROW_STRUCT.pack(*index[1]._replace(**change))
            lying = HourIndex(
                index.hour, index.tables, index.runs, index.packed[:row] + wrong, index.packed_spans
            )
            self.assertRaises(RemoteProtocolError, decode_hour, encode_hour(lying))

    def test_size(self) -> None:
        """One that is too large is refused unread."""
        self.assertRaises(RemoteProtocolError, decode_hour, bytes(layout.MAX_HOUR + 1))
