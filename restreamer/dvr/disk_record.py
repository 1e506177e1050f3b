"""A segment in a data file: an ordinary segment copy record (docs/m4f.md, section 5.2) that proves itself.

Behind the segment, where readers of links look no more, there are four bytes: CRC32C of all before the
segment and of the segment's checksum. So a record is whole or it is not, and a run is never read from damaged
bytes.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Sequence

import google_crc32c
from attrs import frozen
from construct import ConstructError

from restreamer.errors import LocalProtocolError, RemoteProtocolError
from restreamer.m4f.layout import MAGIC, VERSION
from restreamer.m4f.media_payloads import decode_copy, encode_copy
from restreamer.m4f.record_layout import MAX_MEDIA, RECORD_HEAD_SIZE, RECORD_HEAD_STRUCT, RecordType
from restreamer.m4f.records import RunInfo, SegmentCopy
from restreamer.m4f.segment import Segment

_CRC = struct.Struct(">I")
_SIZE = struct.Struct(">I")
_RUN_SIZE = struct.Struct(">H")
_WHERE = "data file"
#: Bytes of a record behind the segment.
TRAILER_SIZE = _CRC.size
#: With these a segment begins.
_MARK = MAGIC + bytes((VERSION,))
#: With these a record begins: its type, and no flags.
_BEGINNING = bytes((RecordType.SEGMENT_COPY, 0))
#: Bytes of a damaged file that are looked at together.
_WINDOW = 1024 * 1024
#: Most bytes of a run with the longest path, and what may be added to runs later.
_LONGEST_RUN = 1024

#: Reads C{size} bytes from C{offset}; less at the end of the file.
ReadAt = Callable[[int, int], bytes]


@frozen
class FoundRecord:
    """A whole record. @ivar begin, end: of the record; @ivar offset: of the segment's canonical bytes."""

    begin: int
    offset: int
    end: int
    run: RunInfo
    segment: Segment


@frozen
class Damage:
    """Bytes of a data file that are no record. @ivar begin, end: where; @ivar text: what is wrong."""

    begin: int
    end: int
    text: str


def encode_disk_record(run: RunInfo, segment: Segment) -> tuple[list[bytes], int]:
    """The bytes of a record, in pieces, and how many lie before the canonical bytes.

    @raise LocalProtocolError: it does not fit.
    """
    try:
        pieces = encode_copy(SegmentCopy(run, segment.encoded))
    except (struct.error, ConstructError) as error:
        raise LocalProtocolError(f"a run that does not fit its record: {error}") from error
    length = sum(map(len, pieces)) + TRAILER_SIZE
    head = RECORD_HEAD_STRUCT.pack(RecordType.SEGMENT_COPY, 0, length) + pieces[0] + pieces[1]
    return [head, segment.encoded, _CRC.pack(_envelope_crc(head, segment.checksum))], len(head)


def _envelope_crc(head: bytes, checksum: int) -> int:
    value: int = google_crc32c.value(head + _CRC.pack(checksum))
    return value


def read_record(read: ReadAt, begin: int) -> FoundRecord:
    """The record at C{begin}, verified.

    @raise RemoteProtocolError: there is none, or it is damaged.
    """
    record_type, flags, length = _head(read(begin, RECORD_HEAD_SIZE))
    if record_type != RecordType.SEGMENT_COPY or flags or not TRAILER_SIZE < length <= MAX_MEDIA:
        raise RemoteProtocolError(_WHERE, "no record")
    payload = read(begin + RECORD_HEAD_SIZE, length)
    if len(payload) < length:
        raise RemoteProtocolError(_WHERE, f"a record of {length} bytes is cut at {len(payload)}")
    try:
        copy = decode_copy(payload)
    except (struct.error, ConstructError) as error:
        raise RemoteProtocolError(_WHERE, "a run is cut short") from error
    before = length - TRAILER_SIZE - len(copy.encoded)
    segment = Segment.parse(copy.encoded)
    head = RECORD_HEAD_STRUCT.pack(record_type, flags, length) + payload[:before]
    if _CRC.unpack_from(payload, length - TRAILER_SIZE)[0] != _envelope_crc(head, segment.checksum):
        raise RemoteProtocolError(_WHERE, "the run of a segment is damaged")
    end = begin + RECORD_HEAD_SIZE + length
    return FoundRecord(begin, end - TRAILER_SIZE - len(copy.encoded), end, copy.run, segment)


def _head(data: bytes) -> tuple[int, int, int]:
    if len(data) < RECORD_HEAD_SIZE:
        raise RemoteProtocolError(_WHERE, "a record's head is cut short")
    record_type, flags, length = RECORD_HEAD_STRUCT.unpack(data)
    return record_type, flags, length


def scan(read: ReadAt, size: int, begin: int = 0) -> Iterator[FoundRecord | Damage]:
    """Everything in a data file from C{begin} on, in turn: whole records, and what lies between them.

    Damaged bytes hide nothing behind them: the next record is looked for by the magic of its segment.
    @param size: of the file.
    """
    at = begin
    while at < size:
        try:
            record = read_record(read, at)
        except RemoteProtocolError as error:
            following = _next_record(read, size, at + 1)
            yield Damage(at, size if following is None else following.begin, str(error))
            if following is None:
                return
            record = following
        yield record
        at = record.end


def _next_record(read: ReadAt, size: int, at: int) -> FoundRecord | None:
    """The first whole record that begins at C{at} or behind it."""
    looked = at
    while looked < size:
        window = read(looked, _WINDOW + len(_MARK))
        found = window.find(_MARK)
        while found >= 0:
            record = _record_of(read, at, looked + found)
            if record is not None:
                return record
            found = window.find(_MARK, found + 1)
        if len(window) <= len(_MARK):
            break
        looked += max(1, len(window) - len(_MARK))
    return None


def _record_of(read: ReadAt, least: int, offset: int) -> FoundRecord | None:
    """The record whose segment begins at C{offset}, if it is whole and does not begin before C{least}."""
    reach = min(offset - least, RECORD_HEAD_SIZE + _RUN_SIZE.size + _LONGEST_RUN + _SIZE.size)
    if reach < RECORD_HEAD_SIZE + _RUN_SIZE.size + _SIZE.size:
        return None
    before = read(offset - reach, reach)
    for begin in _candidates(before):
        try:
            record = read_record(read, offset - reach + begin)
        except RemoteProtocolError:
            continue
        if record.offset == offset:
            return record
    return None


def _candidates(before: bytes) -> Sequence[int]:
    """Where in the bytes before a segment its record may begin, nearest first."""
    if len(before) < _SIZE.size:
        return ()
    (size,) = _SIZE.unpack_from(before, len(before) - _SIZE.size)
    found = []
    begin = len(before) - RECORD_HEAD_SIZE - _RUN_SIZE.size - _SIZE.size + len(_BEGINNING)
    while (begin := before.rfind(_BEGINNING, 0, begin + len(_BEGINNING) - 1)) >= 0:
        _, _, length = RECORD_HEAD_STRUCT.unpack_from(before, begin)
        (run_size,) = _RUN_SIZE.unpack_from(before, begin + RECORD_HEAD_SIZE)
        if begin + RECORD_HEAD_SIZE + _RUN_SIZE.size + run_size + _SIZE.size != len(before):
            continue
        if length == len(before) - begin - RECORD_HEAD_SIZE + size + TRAILER_SIZE:
            found.append(begin)
    return found
