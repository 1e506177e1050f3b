"""Payloads of the records about archives: what there is, hours, segments on request."""

from __future__ import annotations

import struct
import sys
from array import array
from itertools import pairwise

from restreamer.errors import LocalProtocolError, RemoteProtocolError
from restreamer.m4f.hour_layout import MAX_HOUR
from restreamer.m4f.layout import MAX_NUMBER, row_struct
from restreamer.m4f.record_fields import (
    check_time,
    name_from_wire,
    name_to_wire,
    path_from_wire,
    path_to_wire,
)
from restreamer.m4f.record_layout import (
    ARCHIVE_ASK,
    ARCHIVE_HOLDINGS_HEAD,
    ARCHIVE_HOUR_ASK,
    ARCHIVE_SEGMENT_ASK,
    ARCHIVE_SPAN,
    MAX_HOURS,
    MAX_SPANS,
)
from restreamer.m4f.record_values import (
    ArchiveAsk,
    ArchiveHoldings,
    ArchiveHour,
    ArchiveHourAsk,
    ArchiveSegmentAsk,
)

_HEAD = row_struct(ARCHIVE_HOLDINGS_HEAD)
_SPAN = row_struct(ARCHIVE_SPAN)
_PAIR = struct.Struct(">II")
_WHERE = "M4F archive"
_INCOMPLETE = 1
_HEADER = 1


def encode_ask(record: ArchiveAsk) -> bytes:
    """Payload of L{ArchiveAsk}."""
    return ARCHIVE_ASK.build(
        {"request": record.request, "name": name_to_wire(record.name), "path": path_to_wire(record.path)}
    )


def decode_ask(payload: bytes) -> ArchiveAsk:
    """Read what L{encode_ask} wrote."""
    fields = ARCHIVE_ASK.parse(payload)
    return ArchiveAsk(fields.request, name_from_wire(fields.name), path_from_wire(fields.path))


def encode_holdings(record: ArchiveHoldings) -> list[bytes]:
    """Payload of L{ArchiveHoldings}, in pieces; of too many hours or spans the newest are told."""
    hours = array("I", record.hours[-MAX_HOURS:])
    if sys.byteorder == "little":
        hours.byteswap()
    spans = record.spans[-MAX_SPANS:]
    flags = 0 if record.complete else _INCOMPLETE
    return [
        _HEAD.pack(record.request, flags, record.size, len(hours), len(spans)),
        hours.tobytes(),
        *[_SPAN.pack(*span) for span in spans],
    ]


def decode_holdings(payload: bytes) -> ArchiveHoldings:
    """Read what L{encode_holdings} wrote."""
    request, flags, size, hour_count, span_count = _HEAD.unpack_from(payload)
    hours_end = _HEAD.size + 4 * hour_count
    end = hours_end + _SPAN.size * span_count
    if hour_count > MAX_HOURS or span_count > MAX_SPANS or end > len(payload):
        raise RemoteProtocolError(_WHERE, f"{hour_count} hours and {span_count} spans do not fit the record")
    hours = array("I")
    hours.frombytes(payload[_HEAD.size : hours_end])
    if sys.byteorder == "little":
        hours.byteswap()
    spans = tuple(_SPAN.iter_unpack(payload[hours_end:end]))
    if any(late <= early for early, late in pairwise(hours)):
        raise RemoteProtocolError(_WHERE, "the hours do not rise")
    last: int | None = None
    for start, finish in spans:
        check_time(start)
        check_time(finish)
        if finish <= start or (last is not None and start < last):
            raise RemoteProtocolError(_WHERE, "the spans do not rise")
        last = finish
    return ArchiveHoldings(request, tuple(hours), spans, size, not flags & _INCOMPLETE)


def encode_hour_ask(record: ArchiveHourAsk) -> bytes:
    """Payload of L{ArchiveHourAsk}."""
    return ARCHIVE_HOUR_ASK.build(
        {
            "request": record.request,
            "name": name_to_wire(record.name),
            "path": path_to_wire(record.path),
            "hour": record.hour,
        }
    )


def decode_hour_ask(payload: bytes) -> ArchiveHourAsk:
    """Read what L{encode_hour_ask} wrote."""
    fields = ARCHIVE_HOUR_ASK.parse(payload)
    return ArchiveHourAsk(
        fields.request, name_from_wire(fields.name), fields.hour, path_from_wire(fields.path)
    )


def encode_hour(record: ArchiveHour) -> list[bytes]:
    """Payload of L{ArchiveHour}, in pieces."""
    if len(record.encoded) > MAX_HOUR:
        raise LocalProtocolError(f"an hour of {len(record.encoded)} bytes, at most {MAX_HOUR}")
    return [_PAIR.pack(record.request, len(record.encoded)), record.encoded]


def decode_hour(payload: bytes) -> ArchiveHour:
    """Read what L{encode_hour} wrote."""
    request, size = _PAIR.unpack_from(payload)
    if size > MAX_HOUR or _PAIR.size + size > len(payload):
        raise RemoteProtocolError(_WHERE, f"an hour of {size} bytes does not fit the record")
    return ArchiveHour(request, payload[_PAIR.size : _PAIR.size + size])


def encode_segment_ask(record: ArchiveSegmentAsk) -> bytes:
    """Payload of L{ArchiveSegmentAsk}."""
    return ARCHIVE_SEGMENT_ASK.build(
        {
            "request": record.request,
            "name": name_to_wire(record.name),
            "path": path_to_wire(record.path),
            "hour": record.hour,
            "number": record.number,
            "checksum": record.checksum,
            "flags": _HEADER if record.header else 0,
        }
    )


def decode_segment_ask(payload: bytes) -> ArchiveSegmentAsk:
    """Read what L{encode_segment_ask} wrote."""
    fields = ARCHIVE_SEGMENT_ASK.parse(payload)
    if fields.number > MAX_NUMBER:
        raise RemoteProtocolError(_WHERE, f"segment number {fields.number}")
    return ArchiveSegmentAsk(
        fields.request,
        name_from_wire(fields.name),
        fields.hour,
        fields.number,
        fields.checksum,
        path_from_wire(fields.path),
        bool((fields.flags or 0) & _HEADER),
    )
