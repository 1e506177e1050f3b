"""The stream of records on a link: values to bytes and bytes to values.

A record is a type octet, a flags octet (0), a 32-bit length and the payload. A type the reader does not know
is skipped by its length, without keeping a byte of it.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any

from construct import ConstructError

from restreamer.errors import LocalProtocolError, RemoteProtocolError
from restreamer.m4f import archive_payloads as archives
from restreamer.m4f import control_payloads as control
from restreamer.m4f import file_payloads as files
from restreamer.m4f import media_payloads as media
from restreamer.m4f import record_values as values
from restreamer.m4f import session_payloads as sessions
from restreamer.m4f import session_values as viewers
from restreamer.m4f.record_layout import (
    MAX_CATALOGUE,
    MAX_CONTROL,
    MAX_FILE_INDEX,
    MAX_HOLDINGS,
    MAX_MEDIA,
    RECORD_HEAD_SIZE,
    RECORD_HEAD_STRUCT,
    RecordType,
)
from restreamer.m4f.record_values import Record

#: Type, value, encoder (one payload, or its pieces), decoder, largest payload.
_Codec = tuple[RecordType, type[Any], Callable[[Any], bytes | list[bytes]], Callable[[bytes], Record], int]

_CODECS: tuple[_Codec, ...] = (
    (
        RecordType.STREAM_LISTED,
        values.StreamListed,
        control.encode_listed,
        control.decode_listed,
        MAX_CONTROL,
    ),
    (
        RecordType.STREAM_UNLISTED,
        values.StreamUnlisted,
        control.encode_unlisted,
        control.decode_unlisted,
        MAX_CONTROL,
    ),
    (
        RecordType.CATALOGUE_COMPLETE,
        values.CatalogueComplete,
        control.encode_complete,
        control.decode_complete,
        MAX_CONTROL,
    ),
    (
        RecordType.HEARTBEAT,
        values.Heartbeat,
        control.encode_heartbeat,
        control.decode_heartbeat,
        MAX_CONTROL,
    ),
    (RecordType.GOODBYE, values.Goodbye, control.encode_goodbye, control.decode_goodbye, MAX_CONTROL),
    (RecordType.PULL, values.Pull, media.encode_pull, media.decode_pull, MAX_CONTROL),
    (
        RecordType.PULL_ACCEPTED,
        values.PullAccepted,
        media.encode_accepted,
        media.decode_accepted,
        MAX_CONTROL,
    ),
    (RecordType.PULL_REFUSED, values.PullRefused, media.encode_refused, media.decode_refused, MAX_CONTROL),
    (RecordType.SEGMENT_COPY, values.SegmentCopy, media.encode_copy, media.decode_copy, MAX_MEDIA),
    (RecordType.SEGMENT_OPEN, values.SegmentOpen, media.encode_open, media.decode_open, MAX_MEDIA),
    (RecordType.FRAMES, values.Frames, media.encode_frames, media.decode_frames, MAX_MEDIA),
    (
        RecordType.PART_CLOSE,
        values.PartClose,
        media.encode_part_close,
        media.decode_part_close,
        MAX_CONTROL,
    ),
    (
        RecordType.SEGMENT_CLOSE,
        values.SegmentClose,
        media.encode_segment_close,
        media.decode_segment_close,
        MAX_CONTROL,
    ),
    (RecordType.RUN_END, values.RunEnd, media.encode_run_end, media.decode_run_end, MAX_CONTROL),
    (RecordType.NODE_LOAD, values.NodeLoad, control.encode_load, control.decode_load, MAX_CONTROL),
    (RecordType.PUSH_OFFER, values.PushOffer, media.encode_offer, media.decode_offer, MAX_CONTROL),
    (RecordType.PING, values.Ping, media.encode_ping, media.decode_ping, MAX_CONTROL),
    (
        RecordType.SEGMENT_ASK,
        values.SegmentAsk,
        media.encode_segment_number,
        media.decode_segment_ask,
        MAX_CONTROL,
    ),
    (
        RecordType.SEGMENT_LACKING,
        values.SegmentLacking,
        media.encode_segment_number,
        media.decode_segment_lacking,
        MAX_CONTROL,
    ),
    (RecordType.VOD_LISTED, values.VodListed, files.encode_listed, files.decode_listed, MAX_CONTROL),
    (RecordType.VOD_UNLISTED, values.VodUnlisted, files.encode_unlisted, files.decode_unlisted, MAX_CONTROL),
    (RecordType.FILE_ASK, values.FileAsk, files.encode_ask, files.decode_ask, MAX_CONTROL),
    (RecordType.FILE_INDEX, values.FileIndexed, files.encode_index, files.decode_index, MAX_FILE_INDEX),
    (
        RecordType.FILE_SEGMENT_ASK,
        values.FileSegmentAsk,
        files.encode_segment_ask,
        files.decode_segment_ask,
        MAX_CONTROL,
    ),
    (RecordType.FILE_SEGMENT, values.FileSegment, files.encode_segment, files.decode_segment, MAX_MEDIA),
    (RecordType.FILE_REFUSED, values.FileRefused, files.encode_refused, files.decode_refused, MAX_CONTROL),
    (RecordType.ARCHIVE_ASK, values.ArchiveAsk, archives.encode_ask, archives.decode_ask, MAX_CONTROL),
    (
        RecordType.ARCHIVE_HOLDINGS,
        values.ArchiveHoldings,
        archives.encode_holdings,
        archives.decode_holdings,
        MAX_HOLDINGS,
    ),
    (
        RecordType.ARCHIVE_HOUR_ASK,
        values.ArchiveHourAsk,
        archives.encode_hour_ask,
        archives.decode_hour_ask,
        MAX_CONTROL,
    ),
    (RecordType.ARCHIVE_HOUR, values.ArchiveHour, archives.encode_hour, archives.decode_hour, MAX_MEDIA),
    (
        RecordType.ARCHIVE_SEGMENT_ASK,
        values.ArchiveSegmentAsk,
        archives.encode_segment_ask,
        archives.decode_segment_ask,
        MAX_CONTROL,
    ),
    (
        RecordType.SESSION_REPORT,
        viewers.SessionReport,
        sessions.encode_report,
        sessions.decode_report,
        MAX_CONTROL,
    ),
    (
        RecordType.SESSION_PROGRESS,
        viewers.SessionProgress,
        sessions.encode_progress,
        sessions.decode_progress,
        MAX_CONTROL,
    ),
    (
        RecordType.SESSIONS_TAKEN,
        viewers.SessionsTaken,
        sessions.encode_taken,
        sessions.decode_taken,
        MAX_CONTROL,
    ),
    (
        RecordType.SESSION_CLAIM,
        viewers.SessionClaim,
        sessions.encode_claim,
        sessions.decode_claim,
        MAX_CONTROL,
    ),
    (
        RecordType.SESSION_CLAIMED,
        viewers.SessionClaimed,
        sessions.encode_claimed,
        sessions.decode_claimed,
        MAX_CONTROL,
    ),
    (
        RecordType.SESSION_ORDER,
        viewers.SessionOrder,
        sessions.encode_order,
        sessions.decode_order,
        MAX_CONTROL,
    ),
)

_ENCODERS = {cls: (int(number), encode, cap) for number, cls, encode, _, cap in _CODECS}
_DECODERS = {int(number): (number.name, decode, cap) for number, _, _, decode, cap in _CODECS}
_FIRST_AFTER_HANDSHAKE = 16


def frame_record(record_type: int, payload: bytes) -> bytes:
    """Put the record head before a payload."""
    return RECORD_HEAD_STRUCT.pack(record_type, 0, len(payload)) + payload


def encode_record(record: Record) -> bytes:
    """The bytes of a record.

    @raise LocalProtocolError: when a field does not fit.
    """
    record_type, encode, cap = _ENCODERS[type(record)]
    try:
        payload = encode(record)
    except (struct.error, ConstructError) as error:
        raise LocalProtocolError(f"{type(record).__name__} does not fit its record: {error}") from error
    pieces = [payload] if isinstance(payload, bytes) else payload
    length = sum(map(len, pieces))
    if length > cap:
        raise LocalProtocolError(f"{type(record).__name__} of {length} bytes, at most {cap}")
    return b"".join([RECORD_HEAD_STRUCT.pack(record_type, 0, length), *pieces])


class RecordReader:
    """Bytes in, records out, for any fragmentation of the input.

    @ivar skipped: records of unknown type passed over so far.
    """

    __slots__ = ("_buffer", "_catalogue_size", "_complete", "_skip", "skipped")

    def __init__(self) -> None:
        self.skipped = 0
        self._buffer = bytearray()
        self._skip = 0
        self._catalogue_size = 0
        self._complete = False

    def receive(self, data: bytes) -> list[Record]:
        """Take the next bytes of the link and give the records they complete.

        @raise RemoteProtocolError: the peer broke the protocol; the link must be closed and this reader
            not be used any more.
        """
        buffer = self._buffer
        buffer += data
        records: list[Record] = []
        offset = 0
        available = len(buffer)
        while True:
            if self._skip:
                passed = min(self._skip, available - offset)
                self._skip -= passed
                offset += passed
            if available - offset < RECORD_HEAD_SIZE:
                break
            record_type, _, length = RECORD_HEAD_STRUCT.unpack_from(buffer, offset)
            codec = _DECODERS.get(record_type)
            if codec is None:
                self._begin_skip(record_type, length)
                offset += RECORD_HEAD_SIZE
                continue
            name, decode, cap = codec
            if length > cap:
                raise RemoteProtocolError("M4F record", f"{name} of {length} bytes, at most {cap}")
            begin = offset + RECORD_HEAD_SIZE
            if available - begin < length:
                break
            offset = begin + length
            try:
                record = decode(bytes(memoryview(buffer)[begin:offset]))
            except (struct.error, ConstructError) as error:
                raise RemoteProtocolError("M4F record", f"{name} of {length} bytes is cut short") from error
            if not self._complete:
                self._count_catalogue(record, length)
            records.append(record)
        del buffer[:offset]
        return records

    def _begin_skip(self, record_type: int, length: int) -> None:
        if record_type < _FIRST_AFTER_HANDSHAKE:
            raise RemoteProtocolError("M4F record", f"handshake record {record_type} after the handshake")
        if length > MAX_MEDIA:
            raise RemoteProtocolError(
                "M4F record", f"type {record_type} of {length} bytes, at most {MAX_MEDIA}"
            )
        self._skip = length
        self.skipped += 1

    def _count_catalogue(self, record: Record, length: int) -> None:
        """Bound the first catalogue: until it is complete its bytes are counted."""
        if isinstance(record, values.StreamListed):
            self._catalogue_size += RECORD_HEAD_SIZE + length
            if self._catalogue_size > MAX_CATALOGUE:
                raise RemoteProtocolError("M4F catalogue", f"more than {MAX_CATALOGUE} bytes")
        elif isinstance(record, values.CatalogueComplete):
            self._complete = True
