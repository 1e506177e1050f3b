"""The index of one UTC hour of an archive, field by field (docs/m4f.md shows it byte by byte).

Disk and link use the same bytes. All numbers are big-endian; times are UTC ticks of 90 kHz.
"""

from __future__ import annotations

from construct import Bytes, Int8ub, Int16ub, Int32sb, Int32ub, Int64sb, Int64ub, Struct

from restreamer.m4f.layout import row_struct

MAGIC = b"M4FI"
VERSION = 1

#: Ticks of an hour.
HOUR_TICKS = 3600 * 90_000
#: Limits, checked before anything is allocated. A segment lasts a fraction of a second at least.
MAX_ROWS = 40_000
MAX_TABLES = 2_000
MAX_RUNS = 4_000
MAX_SPANS = MAX_ROWS * 8
MAX_HOUR = 16 * 1024 * 1024

#: Flags of a row: it does not continue the one before; it begins with a random access point.
DISCONTINUITY = 1
INDEPENDENT = 2
#: Flag of a span: the track begins with a random access point within it.
KEY = 1

HEAD = Struct(
    "magic" / Bytes(4),
    "version" / Int8ub,
    "flags" / Int8ub,  # 0
    "hour" / Int32ub,  # hours since the epoch
    "table_count" / Int16ub,
    "run_count" / Int16ub,
    "row_count" / Int32ub,
    "span_count" / Int32ub,
    "tables_size" / Int32ub,  # bytes of the track tables with their heads
)

#: Before each track table: what it holds, and its bytes.
TABLE_HEAD = Struct("track_count" / Int8ub, "size" / Int32ub)

#: A run, as far as it is told of a segment (docs/m4f.md, section 6.1).
RUN = Struct("run_id" / Int64ub, "run_start" / Int64sb, "continuation" / Int64ub, "ingest_node" / Bytes(16))

#: One segment.
ROW = Struct(
    "number" / Int64ub,
    "start" / Int64sb,
    "duration" / Int32ub,
    "flags" / Int8ub,
    "discontinuity_sequence" / Int32ub,
    "checksum" / Int32ub,
    "size" / Int32ub,  # of the canonical bytes
    "shown" / Int32sb,  # EXT-X-PROGRAM-DATE-TIME, from the start
    "table" / Int16ub,
    "run" / Int16ub,
    "first_span" / Int32ub,
    "file" / Int16ub,  # where it lies on the disk of the node that keeps it; 0 on a link
    "offset" / Int64ub,
)

#: One track of one segment, in the order of the track table; tracks that have no frame in it are left out.
SPAN = Struct(
    "track_id" / Int8ub,
    "flags" / Int8ub,
    "shown" / Int32sb,  # its lowest PTS, from the start of the segment
    "duration" / Int32ub,  # until its last frame ends, from the DTS of its first
    "size" / Int32ub,  # bytes of its frames
)

HEAD_STRUCT = row_struct(HEAD)
TABLE_HEAD_STRUCT = row_struct(TABLE_HEAD)
RUN_STRUCT = row_struct(RUN)
ROW_STRUCT = row_struct(ROW)
SPAN_STRUCT = row_struct(SPAN)
