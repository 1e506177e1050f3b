"""What the hours of an archive hold, in one small file, so that a long archive is opened without reading it.

The file only saves time: what it says of an hour is believed as long as the hour's files are those it names.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping
from typing import NamedTuple

import google_crc32c
from attrs import frozen

from restreamer.dvr.seams import Span
from restreamer.dvr.spans import spans_of
from restreamer.errors import RemoteProtocolError
from restreamer.m4f.hour_index import HourIndex

#: Its name, in the folder of the stream.
SUMMARY = "@summary"
_MAGIC = b"M4FY"
_VERSION = 1
_WHERE = "summary"
#: Magic, version, hours.
_HEAD = struct.Struct(">4sBI")
#: Hour, rows, canonical bytes, first and last number, spans, data files.
_HOUR = struct.Struct(">IIQQQHH")
#: Start and end.
_SPAN = struct.Struct(">qq")
#: Number, bytes, start of its first segment, end of its last one.
_FILE = struct.Struct(">HQqq")
_CRC = struct.Struct(">I")
#: Spans of an hour that are told apart at most; the last one then reaches to the end.
MAX_SPANS = 4096


class FileFacts(NamedTuple):
    """A data file. @ivar size: bytes on disk; @ivar start, end: what it holds, UTC ticks."""

    number: int
    size: int
    start: int
    end: int


@frozen
class HourFacts:
    """What an hour holds.

    @ivar rows: segments; @ivar size: canonical bytes. @ivar files: its data files, by number.
    """

    hour: int
    rows: int
    size: int
    first_number: int
    last_number: int
    spans: tuple[Span, ...]
    files: tuple[FileFacts, ...]

    @property
    def disk_size(self) -> int:
        """Bytes of its data files."""
        return sum([file.size for file in self.files])


def facts_of(index: HourIndex, sizes: Mapping[int, int]) -> HourFacts:
    """The facts of an hour that is not empty.

    @param sizes: bytes of its data files; those without a row are left out.
    """
    bounds: dict[int, tuple[int, int]] = {}
    size = 0
    for row in index.tuples():
        number, start, end = row[11], row[1], row[1] + row[2]
        size += row[6]
        low, high = bounds.get(number, (start, end))
        bounds[number] = (min(low, start), max(high, end))
    spans = spans_of(index)
    if len(spans) > MAX_SPANS:
        spans = (*spans[: MAX_SPANS - 1], Span(spans[MAX_SPANS - 1].start, spans[-1].end))
    return HourFacts(
        index.hour,
        len(index),
        size,
        index.number_at(0),
        index.number_at(len(index) - 1),
        spans,
        tuple(FileFacts(number, sizes.get(number, 0), *bounds[number]) for number in sorted(bounds)),
    )


def encode_summary(hours: Iterable[HourFacts]) -> bytes:
    """The bytes of a summary."""
    known = sorted(hours, key=lambda each: each.hour)
    pieces = [_HEAD.pack(_MAGIC, _VERSION, len(known))]
    for each in known:
        pieces.append(
            _HOUR.pack(
                each.hour,
                each.rows,
                each.size,
                each.first_number,
                each.last_number,
                len(each.spans),
                len(each.files),
            )
        )
        pieces += [_SPAN.pack(span.start, span.end) for span in each.spans]
        pieces += [_FILE.pack(*file) for file in each.files]
    body = b"".join(pieces)
    return body + _CRC.pack(google_crc32c.value(body))


def decode_summary(data: bytes) -> list[HourFacts]:
    """Read what L{encode_summary} wrote.

    @raise RemoteProtocolError: for anything else.
    """
    end = len(data) - _CRC.size
    if end < _HEAD.size or google_crc32c.value(data[:end]) != _CRC.unpack_from(data, end)[0]:
        raise RemoteProtocolError(_WHERE, "damaged")
    magic, version, count = _HEAD.unpack_from(data)
    if magic != _MAGIC or version != _VERSION:
        raise RemoteProtocolError(_WHERE, "not of version 1")
    found: list[HourFacts] = []
    at = _HEAD.size
    for _ in range(count):
        if at + _HOUR.size > end:
            raise RemoteProtocolError(_WHERE, "cut short")
        hour, rows, size, first, last, span_count, file_count = _HOUR.unpack_from(data, at)
        if found and hour <= found[-1].hour:
            raise RemoteProtocolError(_WHERE, "its hours do not rise")
        at += _HOUR.size
        files_at = at + span_count * _SPAN.size
        behind = files_at + file_count * _FILE.size
        if behind > end:
            raise RemoteProtocolError(_WHERE, "cut short")
        spans = tuple([Span(start, end) for start, end in _SPAN.iter_unpack(data[at:files_at])])
        files = tuple(map(FileFacts._make, _FILE.iter_unpack(data[files_at:behind])))
        found.append(HourFacts(hour, rows, size, first, last, spans, files))
        at = behind
    if at != end:
        raise RemoteProtocolError(_WHERE, "bytes behind its hours")
    return found
