"""The canonical segment, field by field, as construct descriptions (docs/m4f.md shows it byte by byte).

All numbers are big-endian. The descriptions here are the definition; the rows that are hot (frame and part
tables, the fixed head) are also compiled from the same field lists to C{struct} by L{row_struct}, and a
property test holds both equal.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from construct import (
    Array,
    Bytes,
    Construct,
    FormatField,
    GreedyBytes,
    Int8ub,
    Int16ub,
    Int32sb,
    Int32ub,
    Int64sb,
    Int64ub,
    Prefixed,
    Struct,
    Tell,
    stream_read,
    stream_write,
    this,
)
from typing_extensions import override

if TYPE_CHECKING:  # the class is generic in its stubs only
    _Construct = Construct[Any, Any]
else:
    _Construct = Construct

MAGIC = b"M4FS"
VERSION = 1

#: Segment flags.
DISCONTINUITY = 1
INDEPENDENT = 2
#: Frame flag: random access point. Part flag: the part begins with one.
KEY = 1

#: Limits, checked against the fixed head before anything is allocated.
MAX_SEGMENT = 32 * 1024 * 1024
MAX_FRAMES = 100_000
MAX_TRACKS = 32
MAX_CONFIG = 64 * 1024
MAX_NUMBER = (1 << 63) - 1
#: Furthest moment either side of the epoch, ticks (about 1,585 years): calendars can still write it.
MAX_TIME = 1 << 52


def row_struct(row: Struct) -> struct.Struct:
    """Compile a construct C{Struct} of fixed-size big-endian fields to a C{struct.Struct}.

    @raise TypeError: when a field is neither a big-endian number nor fixed bytes.
    """
    letters = [">"]
    for renamed in row.subcons:
        field = getattr(renamed, "subcon", renamed)
        if isinstance(field, FormatField) and field.fmtstr[0] == ">":
            letters.append(field.fmtstr[1])
        elif type(field) is Bytes:
            letters.append(f"{field.sizeof()}s")
        else:
            raise TypeError(f"{renamed.name} is not of fixed size")
    compiled = struct.Struct("".join(letters))
    if compiled.size != row.sizeof():
        raise TypeError("a compiled row must have the size of its description")
    return compiled


class Table(_Construct):
    """C{count} rows of one fixed-size row description, read and written as plain tuples.

    @ivar count: number of rows, from the parsing context; @ivar packer: the row as C{struct}.
    """

    def __init__(self, count: Callable[[Any], int], row: Struct) -> None:
        super().__init__()
        self.count = count
        self.packer = row_struct(row)

    @override
    def _parse(self, stream: Any, context: Any, path: Any) -> list[tuple[Any, ...]]:
        size = self.count(context) * self.packer.size
        return list(self.packer.iter_unpack(stream_read(stream, size, path)))

    @override
    def _build(self, obj: Any, stream: Any, context: Any, path: Any) -> Any:
        pack = self.packer.pack
        data = b"".join([pack(*row) for row in obj])
        stream_write(stream, data, len(data), path)
        return obj

    @override
    def _sizeof(self, context: Any, path: Any) -> int:
        return self.count(context) * self.packer.size


#: The fixed head of a segment.
HEAD = Struct(
    "magic" / Bytes(4),
    "version" / Int8ub,
    "flags" / Int8ub,
    "track_count" / Int8ub,
    "part_count" / Int16ub,
    "header_size" / Int32ub,  # of everything before the bodies, both checksums included
    "number" / Int64ub,
    "start" / Int64sb,
    "duration" / Int32ub,
    "discontinuity_sequence" / Int32ub,
    "frame_count" / Int32ub,
    "body_size" / Int32ub,
)

#: One track. A reader skips what follows C{config} within the entry's size.
TRACK = Prefixed(
    Int32ub,
    Struct(
        "track_id" / Int8ub,
        "kind" / Int8ub,
        "codec" / Bytes(4),
        "timescale" / Int32ub,
        "width" / Int32ub,
        "height" / Int32ub,
        "frame_rate" / Int32ub,
        "sample_rate" / Int32ub,
        "channels" / Int16ub,
        "bandwidth" / Int32ub,
        "language" / Prefixed(Int8ub, GreedyBytes),
        "config" / Prefixed(Int32ub, GreedyBytes),
    ),
)

#: One row of the frame table: the body of frame n begins where that of n - 1 ends.
FRAME_ROW = Struct(
    "track_id" / Int8ub,
    "flags" / Int8ub,
    "dts" / Int32sb,  # from the segment's start
    "cts" / Int32sb,
    "size" / Int32ub,
)

#: One row of the low-latency part table.
PART_ROW = Struct(
    "first_frame" / Int32ub,
    "frame_count" / Int32ub,
    "duration" / Int32ub,
    "flags" / Int8ub,
)

#: CRC32C of the bodies, then CRC32C of every byte of the header before it: the segment's checksum.
CHECKSUMS = Struct("body" / Int32ub, "header" / Int32ub)

HEAD_STRUCT = row_struct(HEAD)
FRAME_STRUCT = row_struct(FRAME_ROW)
PART_STRUCT = row_struct(PART_ROW)
CHECKSUM_STRUCT = row_struct(CHECKSUMS)
HEAD_SIZE = HEAD_STRUCT.size
FRAME_SIZE = FRAME_STRUCT.size
PART_SIZE = PART_STRUCT.size
CHECKSUM_SIZE = CHECKSUM_STRUCT.size

#: The sizes column of the frame table alone.
FRAME_SIZES = struct.Struct(f">{FRAME_SIZE - 4}xI")

#: The whole header; C{extension} is empty in version 1 and skipped by its readers.
HEADER = Struct(
    "head" / HEAD,
    "tracks" / Array(this.head.track_count, TRACK),
    "frames" / Table(this.head.frame_count, FRAME_ROW),
    "parts" / Table(this.head.part_count, PART_ROW),
    "tables_end" / Tell,
    "extension" / Bytes(this.head.header_size - CHECKSUM_SIZE - this.tables_end),
    "checksums" / CHECKSUMS,
)
