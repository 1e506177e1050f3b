"""The payloads of a link's records, field by field, as construct descriptions (docs/m4f.md).

All numbers are big-endian. A reader ignores what follows the fields it knows, so that a later minor version
may add to the end of any payload and of any structure that carries its own size.
"""

from __future__ import annotations

import enum

from construct import (
    Bytes,
    GreedyBytes,
    Int8ub,
    Int16ub,
    Int32sb,
    Int32ub,
    Int64sb,
    Int64ub,
    Optional,
    Prefixed,
    PrefixedArray,
    Struct,
    this,
)

from restreamer.m4f.layout import FRAME_ROW, Table, row_struct
from restreamer.m4f.record_values import NODE_ID_SIZE

KIB = 1024
#: Largest payload of a control record, of all catalogue records before CatalogueComplete, of a media record.
MAX_CONTROL = 64 * KIB
MAX_CATALOGUE = 32 * KIB * KIB
MAX_MEDIA = 33 * KIB * KIB
#: Most streams a catalogue lists: with the longest names, titles and paths they fit into L{MAX_CATALOGUE}.
#: What a peer lists beyond that is passed over by whoever keeps the list.
MAX_LISTED = 20_000
#: Most locations of files a list has.
MAX_LOCATIONS = 1000
#: Longest title, reason or text, bytes of UTF-8; the writer cuts.
MAX_TEXT = 1024
#: Longest name of a file (a location, C{/}, a path), bytes of UTF-8.
MAX_FILE_NAME = 4352
#: Largest payload of a file's index, and most segments in it.
MAX_FILE_INDEX = 4 * KIB * KIB
MAX_FILE_SEGMENTS = 50_000
#: Most hours and spans of an archive that are told of: 57 years; the newest ones are.
MAX_HOURS = 500_000
MAX_SPANS = 200_000
#: Largest payload of what an archive holds.
MAX_HOLDINGS = 6 * KIB * KIB


class RecordType(enum.IntEnum):
    """The type octet of each record; those below 16 belong to the handshake."""

    HELLO = 1
    CHALLENGE = 2
    CLIENT_PROOF = 3
    SERVER_PROOF = 4
    REFUSAL = 5

    STREAM_LISTED = 16
    STREAM_UNLISTED = 17
    CATALOGUE_COMPLETE = 18
    HEARTBEAT = 19
    GOODBYE = 20
    NODE_LOAD = 21
    VOD_LISTED = 24
    VOD_UNLISTED = 25

    PULL = 32
    PULL_ACCEPTED = 33
    PULL_REFUSED = 34
    SEGMENT_COPY = 35
    SEGMENT_OPEN = 36
    FRAMES = 37
    PART_CLOSE = 38
    SEGMENT_CLOSE = 39
    RUN_END = 40
    PING = 41
    SEGMENT_ASK = 42
    SEGMENT_LACKING = 43

    PUSH_OFFER = 48

    FILE_ASK = 64
    FILE_INDEX = 65
    FILE_SEGMENT_ASK = 66
    FILE_SEGMENT = 67
    FILE_REFUSED = 68

    ARCHIVE_ASK = 72
    ARCHIVE_HOLDINGS = 73
    ARCHIVE_HOUR_ASK = 74
    ARCHIVE_HOUR = 75
    ARCHIVE_SEGMENT_ASK = 76

    SESSION_REPORT = 88
    SESSION_PROGRESS = 89
    SESSIONS_TAKEN = 90
    SESSION_CLAIM = 91
    SESSION_CLAIMED = 92
    SESSION_ORDER = 93


#: What stands before every payload. C{flags} is written 0 and ignored.
RECORD_HEAD = Struct("type" / Int8ub, "flags" / Int8ub, "length" / Int32ub)

NODE_ID = Bytes(NODE_ID_SIZE)
NAME = Prefixed(Int8ub, GreedyBytes)
TEXT = Prefixed(Int16ub, GreedyBytes)
PATH = PrefixedArray(Int8ub, NODE_ID)

STRETCH = Struct("start" / Int64sb, "number" / Int64ub, "tracks" / Int32ub)

RUN_INFO = Prefixed(
    Int16ub,
    Struct(
        "run_id" / Int64ub,
        "run_start" / Int64sb,
        "ingest_node" / NODE_ID,
        "path" / PATH,
        "discontinuities" / Optional(Int32sb),
        "continuation" / Optional(Int64ub),
        "part_duration" / Optional(Int32ub),
        "stretch" / Optional(STRETCH),
    ),
)

STREAM_LISTED = Struct(
    "name" / NAME,
    "state" / Int8ub,
    "flags" / Int8ub,  # 1: shows its backup
    "title" / TEXT,
    "path" / PATH,
)
STREAM_UNLISTED = Struct("name" / NAME)
HEARTBEAT_HEAD = Struct("sent_at" / Int64sb, "count" / Int16ub)
#: Each position is a 16-bit size, the name, then this.
POSITION_TAIL = Struct(
    "run_id" / Int64ub,
    "number" / Int64ub,
    "frame_index" / Int32ub,
    "flags" / Int8ub,  # 1: shows its backup
)
#: At the end of a position and of a segment's close; absent: 0.
CONTINUATION = Struct("continuation" / Int64ub)
POSITION = Prefixed(
    Int16ub, Struct("name" / NAME, "tail" / POSITION_TAIL, "continuation" / Optional(Int64ub))
)
HEARTBEAT = Struct("head" / HEARTBEAT_HEAD, "positions" / POSITION[this.head.count])
NODE_LOAD = Struct(
    "clients" / Int32ub,
    "streams" / Int32ub,
    "bitrate_in" / Int64ub,
    "bitrate_out" / Int64ub,
    "rtmp_port" / Int16ub,
)
#: At the end of a node's load; absent: 0.
NODE_LOAD_TAIL = Struct("rtsp_port" / Int16ub)
#: Goodbye and PullRefused.
ENDING = Struct("code" / Int16ub, "text" / TEXT)
PULL = Struct("name" / NAME, "run_id" / Int64ub, "number" / Int64ub, "frame_index" / Int32ub)
PULL_ACCEPTED = Struct("name" / NAME, "run" / RUN_INFO, "title" / TEXT, "segment_duration" / Int32ub)
SEGMENT_COPY = Struct("run" / RUN_INFO, "segment" / Prefixed(Int32ub, GreedyBytes))
#: Follows the run in SegmentOpen; C{track_count} entries of the canonical track table follow it.
OPENING = Struct(
    "number" / Int64ub,
    "start" / Int64sb,
    "flags" / Int8ub,  # as in the canonical head
    "discontinuity_sequence" / Int32ub,
    "track_count" / Int8ub,
)
FRAMES_HEAD = Struct("start" / Int64sb, "count" / Int32ub)
#: Then the bodies, back to back.
FRAMES = Struct("head" / FRAMES_HEAD, "rows" / Table(this.head.count, FRAME_ROW))
PART_CLOSE = Struct(
    "first_frame" / Int32ub,
    "frame_count" / Int32ub,
    "duration" / Int32ub,
    "flags" / Int8ub,
)
SEGMENT_CLOSE = Struct("number" / Int64ub, "duration" / Int32ub, "checksum" / Int32ub)
RUN_END = Struct("run_id" / Int64ub, "reason" / TEXT)
PING = Struct("sent_at" / Int64sb)
PUSH_OFFER = Struct("name" / NAME, "stream" / NAME)
#: SegmentAsk and SegmentLacking.
SEGMENT_NUMBER = Struct("number" / Int64ub)

VOD_LISTED = Struct("name" / NAME, "path" / PATH)
VOD_UNLISTED = Struct("name" / NAME)
FILE_ASK = Struct("request" / Int32ub, "name" / TEXT)
#: C{track_count} entries of the canonical track table follow it, then the segments.
FILE_INDEX_HEAD = Struct("request" / Int32ub, "version" / Int64ub, "start" / Int64sb, "track_count" / Int8ub)
FILE_INDEX_ROW = Struct("duration" / Int32ub, "size" / Int32ub)
FILE_INDEX_SEGMENTS = PrefixedArray(Int32ub, FILE_INDEX_ROW)
FILE_SEGMENT_ASK = Struct("request" / Int32ub, "name" / TEXT, "version" / Int64ub, "number" / Int32ub)
FILE_SEGMENT = Struct("request" / Int32ub, "segment" / Prefixed(Int32ub, GreedyBytes))
FILE_REFUSED = Struct("request" / Int32ub, "code" / Int16ub, "text" / TEXT)

#: Asks about archives carry the ids of the nodes that ask for others, so that none asks itself in the end.
ARCHIVE_ASK = Struct("request" / Int32ub, "name" / NAME, "path" / PATH)
ARCHIVE_HOLDINGS_HEAD = Struct(
    "request" / Int32ub,
    "flags" / Int8ub,  # 1: somebody who may hold more could not be asked
    "size" / Int64ub,
    "hour_count" / Int32ub,
    "span_count" / Int32ub,
)
#: Then the hours (u32 each), then these.
ARCHIVE_SPAN = Struct("start" / Int64sb, "end" / Int64sb)
ARCHIVE_HOUR_ASK = Struct("request" / Int32ub, "name" / NAME, "path" / PATH, "hour" / Int32ub)
ARCHIVE_HOUR = Struct("request" / Int32ub, "index" / Prefixed(Int32ub, GreedyBytes))
ARCHIVE_SEGMENT_ASK = Struct(
    "request" / Int32ub,
    "name" / NAME,
    "path" / PATH,
    "hour" / Int32ub,
    "number" / Int64ub,
    "checksum" / Int32ub,
    "flags" / Optional(Int8ub),
)

RECORD_HEAD_STRUCT = row_struct(RECORD_HEAD)
RECORD_HEAD_SIZE = RECORD_HEAD_STRUCT.size
