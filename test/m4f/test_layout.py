"""The construct descriptions and the code compiled from them say the same."""

from __future__ import annotations

import struct
from typing import Any

from construct import Array, Bytes, ConstructError, GreedyBytes, Int8ub, Int16ul, Struct
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from restreamer.m4f import layout
from restreamer.m4f.header import decode_header
from restreamer.m4f.layout import FRAME_ROW, HEADER, PART_ROW, Table, row_struct
from restreamer.m4f.segment import Segment, SegmentBuilder
from test.m4f import samples

_SETTINGS = settings(deadline=None, max_examples=80, derandomize=True)
_ROWS = st.lists(st.tuples(*[st.integers(0, 255)] * 2, samples.i32, samples.i32, samples.u32), max_size=20)


def _compiled(row: Struct, count: int) -> Any:
    return Table(lambda _: count, row)


def _plain(row: Struct, count: int) -> Any:
    return Array(count, row)


class TableTests(SynchronousTestCase):
    """The compiled table against the declarative one."""

    @_SETTINGS
    @given(_ROWS)
    def test_frame_rows_agree_both_ways(self, rows: list[tuple[int, ...]]) -> None:
        keys = [renamed.name for renamed in FRAME_ROW.subcons]
        declared = _plain(FRAME_ROW, len(rows))
        compiled = _compiled(FRAME_ROW, len(rows))
        built = declared.build([dict(zip(keys, row, strict=True)) for row in rows])
        self.assertEqual(compiled.build(rows), built)
        self.assertEqual(compiled.parse(built), rows)
        self.assertEqual([tuple(entry[key] for key in keys) for entry in declared.parse(built)], rows)
        self.assertEqual(compiled.sizeof(), len(built))

    @_SETTINGS
    @given(st.binary(max_size=80), st.integers(0, 6))
    def test_any_bytes_give_the_same_rows_or_an_error_in_both(self, data: bytes, count: int) -> None:
        results: list[Any] = []
        for table in (_plain(PART_ROW, count), _compiled(PART_ROW, count)):
            try:
                results.append(
                    [tuple(row.values())[-4:] if isinstance(row, dict) else row for row in table.parse(data)]
                )
            except ConstructError:
                results.append(None)
        self.assertEqual(results[0], results[1])

    def test_a_huge_count_is_refused_without_the_rows(self) -> None:
        self.assertRaises(ConstructError, _compiled(FRAME_ROW, (1 << 32) - 1).parse, b"\0" * 100)

    def test_rows_of_no_fixed_size_do_not_compile(self) -> None:
        for row in (Struct("a" / GreedyBytes), Struct("a" / Int16ul), Struct("a" / Int8ub[2])):
            self.assertRaises(TypeError, row_struct, row)
        self.assertEqual(row_struct(Struct("a" / Bytes(3), "b" / Int8ub)).format, ">3sB")

    def test_sizes_are_those_documented(self) -> None:
        self.assertEqual(
            (layout.HEAD_SIZE, layout.FRAME_SIZE, layout.PART_SIZE, layout.CHECKSUM_SIZE), (45, 14, 13, 8)
        )
        self.assertEqual(layout.FRAME_SIZES.size, layout.FRAME_SIZE)


class HeaderTests(SynchronousTestCase):
    """The public description of the whole header against the decoder."""

    @_SETTINGS
    @given(samples.segments())
    def test_description_reads_what_the_builder_wrote_and_builds_it_again(
        self, made: tuple[SegmentBuilder, Segment]
    ) -> None:
        _, segment = made
        described = HEADER.parse(segment.encoded)
        header = decode_header(segment.encoded)
        self.assertEqual(described.head.number, header.number)
        self.assertEqual(described.head.start, header.start)
        self.assertEqual(described.head.header_size, header.header_size)
        self.assertEqual(list(described.frames), list(header.rows()))
        self.assertEqual(
            [row[:3] for row in described.parts],
            [(part.first_frame, part.frame_count, part.duration) for part in header.parts],
        )
        self.assertEqual([t.config for t in described.tracks], [t.config for t in header.tracks])
        self.assertEqual(described.extension, b"")
        self.assertEqual(described.checksums.header, header.checksum)
        rebuilt = HEADER.build(described)
        self.assertEqual(rebuilt, segment.encoded[: header.header_size])

    def test_struct_formats(self) -> None:
        self.assertEqual(layout.HEAD_STRUCT.format, ">4sBBBHLQqLLLL")
        self.assertEqual(struct.Struct(">BBlll").size, layout.FRAME_SIZE)
