"""Payloads of the records about files: locations, indexes, segments on request."""

from __future__ import annotations

import struct
import sys
from array import array

from construct import Int32ub

from restreamer.errors import LocalProtocolError, RemoteProtocolError
from restreamer.m4f.file_index import FileIndex
from restreamer.m4f.layout import MAX_SEGMENT, MAX_TRACKS, row_struct
from restreamer.m4f.record_fields import (
    check_time,
    name_from_wire,
    name_to_wire,
    path_from_wire,
    path_to_wire,
    text_from_wire,
    text_to_wire,
)
from restreamer.m4f.record_layout import (
    FILE_ASK,
    FILE_INDEX_HEAD,
    FILE_INDEX_ROW,
    FILE_REFUSED,
    FILE_SEGMENT_ASK,
    MAX_FILE_NAME,
    MAX_FILE_SEGMENTS,
    VOD_LISTED,
    VOD_UNLISTED,
)
from restreamer.m4f.record_values import (
    FileAsk,
    FileIndexed,
    FileRefused,
    FileSegment,
    FileSegmentAsk,
    VodListed,
    VodUnlisted,
)
from restreamer.m4f.tracks import decode_tracks, encode_tracks, tracks_end

_INDEX = row_struct(FILE_INDEX_HEAD)
_ROW = row_struct(FILE_INDEX_ROW)
_COUNT = struct.Struct(">I")
_WHERE = "M4F file"


def encode_listed(record: VodListed) -> bytes:
    """Payload of L{VodListed}."""
    return VOD_LISTED.build({"name": name_to_wire(record.name), "path": path_to_wire(record.path)})


def decode_listed(payload: bytes) -> VodListed:
    """Read what L{encode_listed} wrote."""
    fields = VOD_LISTED.parse(payload)
    return VodListed(name_from_wire(fields.name), path_from_wire(fields.path))


def encode_unlisted(record: VodUnlisted) -> bytes:
    """Payload of L{VodUnlisted}."""
    return VOD_UNLISTED.build({"name": name_to_wire(record.name)})


def decode_unlisted(payload: bytes) -> VodUnlisted:
    """Read what L{encode_unlisted} wrote."""
    return VodUnlisted(name_from_wire(VOD_UNLISTED.parse(payload).name))


def _file_name_to_wire(name: str) -> bytes:
    try:
        data = name.encode("utf-8")
    except UnicodeEncodeError as error:
        raise LocalProtocolError("a file name that is not Unicode") from error
    if not 0 < len(data) <= MAX_FILE_NAME:
        raise LocalProtocolError(f"a file name of {len(data)} bytes, at most {MAX_FILE_NAME}")
    return data


def _file_name_from_wire(data: bytes) -> str:
    if not 0 < len(data) <= MAX_FILE_NAME:
        raise RemoteProtocolError(_WHERE, f"a name of {len(data)} bytes, 1 to {MAX_FILE_NAME}")
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise RemoteProtocolError(_WHERE, "a name that is not UTF-8") from error


def encode_ask(record: FileAsk) -> bytes:
    """Payload of L{FileAsk}."""
    return FILE_ASK.build({"request": record.request, "name": _file_name_to_wire(record.name)})


def decode_ask(payload: bytes) -> FileAsk:
    """Read what L{encode_ask} wrote."""
    fields = FILE_ASK.parse(payload)
    return FileAsk(fields.request, _file_name_from_wire(fields.name))


def encode_index(record: FileIndexed) -> list[bytes]:
    """Payload of L{FileIndexed}, in pieces."""
    index = record.index
    if not 0 < len(index) <= MAX_FILE_SEGMENTS or len(index.sizes) != len(index):
        raise LocalProtocolError(f"a file of {len(index)} segments, 1 to {MAX_FILE_SEGMENTS}")
    rows = array("I", (0,)) * (2 * len(index))
    rows[0::2] = index.durations
    rows[1::2] = index.sizes
    if sys.byteorder == "little":
        rows.byteswap()
    return [
        _INDEX.pack(record.request, index.version, index.start, len(index.tracks)),
        encode_tracks(index.tracks),
        _COUNT.pack(len(index)),
        rows.tobytes(),
    ]


def decode_index(payload: bytes) -> FileIndexed:
    """Read what L{encode_index} wrote."""
    request, version, start, track_count = _INDEX.unpack_from(payload)
    if track_count > MAX_TRACKS:
        raise RemoteProtocolError(_WHERE, f"{track_count} tracks, at most {MAX_TRACKS}")
    end = tracks_end(payload, _INDEX.size, track_count, len(payload))
    table = decode_tracks(payload[_INDEX.size : end])
    (count,) = _COUNT.unpack_from(payload, end)
    at = end + _COUNT.size
    if not 0 < count <= MAX_FILE_SEGMENTS or at + count * _ROW.size > len(payload):
        raise RemoteProtocolError(_WHERE, f"{count} segments do not fit the record")
    rows = array("I")
    rows.frombytes(payload[at : at + count * _ROW.size])
    if sys.byteorder == "little":
        rows.byteswap()
    durations, sizes = rows[0::2], rows[1::2]
    if not min(durations) or max(sizes) > MAX_SEGMENT:
        raise RemoteProtocolError(_WHERE, "a segment that lasts no time or is too large")
    check_time(start)
    check_time(start + sum(durations))
    return FileIndexed(request, FileIndex(version, start, table.tracks, durations, sizes))


def encode_segment_ask(record: FileSegmentAsk) -> bytes:
    """Payload of L{FileSegmentAsk}."""
    return FILE_SEGMENT_ASK.build(
        {
            "request": record.request,
            "name": _file_name_to_wire(record.name),
            "version": record.version,
            "number": record.number,
        }
    )


def decode_segment_ask(payload: bytes) -> FileSegmentAsk:
    """Read what L{encode_segment_ask} wrote."""
    fields = FILE_SEGMENT_ASK.parse(payload)
    return FileSegmentAsk(fields.request, _file_name_from_wire(fields.name), fields.version, fields.number)


def encode_segment(record: FileSegment) -> list[bytes]:
    """Payload of L{FileSegment}, in pieces."""
    if len(record.encoded) > MAX_SEGMENT:
        raise LocalProtocolError(f"a segment of {len(record.encoded)} bytes, at most {MAX_SEGMENT}")
    return [_COUNT.pack(record.request), _COUNT.pack(len(record.encoded)), record.encoded]


def decode_segment(payload: bytes) -> FileSegment:
    """Read what L{encode_segment} wrote."""
    request = Int32ub.parse(payload[:4])
    size = Int32ub.parse(payload[4:8])
    if size > MAX_SEGMENT or 8 + size > len(payload):
        raise RemoteProtocolError(_WHERE, f"a segment of {size} bytes does not fit the record")
    return FileSegment(request, payload[8 : 8 + size])


def encode_refused(record: FileRefused) -> bytes:
    """Payload of L{FileRefused}."""
    return FILE_REFUSED.build(
        {"request": record.request, "code": record.code, "text": text_to_wire(record.text)}
    )


def decode_refused(payload: bytes) -> FileRefused:
    """Read what L{encode_refused} wrote."""
    fields = FILE_REFUSED.parse(payload)
    return FileRefused(fields.request, fields.code, text_from_wire(fields.text))
