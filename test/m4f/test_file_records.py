"""Records about files that break a rule: refused with one kind of error, before anything is allocated."""

from __future__ import annotations

from array import array

from twisted.trial.unittest import SynchronousTestCase

from restreamer.errors import LocalProtocolError, RemoteProtocolError
from restreamer.m4f.file_index import FileIndex
from restreamer.m4f.record_layout import MAX_FILE_NAME, MAX_FILE_SEGMENTS, RecordType
from restreamer.m4f.record_stream import RecordReader, encode_record, frame_record
from restreamer.m4f.records import FileAsk, FileIndexed, FileSegment

_HEAD = bytes.fromhex("00000001 0000000000000002 00000000000dbba0")


class HostileTests(SynchronousTestCase):
    """What a reader must not take."""

    def test_refused(self) -> None:
        for kind, payload in (
            (RecordType.FILE_ASK, "00000001 0000"),
            (RecordType.FILE_ASK, "00000001 0001 ff"),
            (RecordType.FILE_ASK, "00000001 0009 61"),
            (RecordType.FILE_SEGMENT_ASK, "00000001 0001 61 00"),
            (RecordType.FILE_SEGMENT, "00000001 00000002 61"),
            (RecordType.FILE_SEGMENT, "00000001 ffffffff 61"),
            (RecordType.FILE_SEGMENT, "0000"),
            (RecordType.FILE_REFUSED, "00000001 0194 0001 ff"),
            (RecordType.FILE_INDEX, _HEAD.hex() + "00 00000000"),
            (RecordType.FILE_INDEX, _HEAD.hex() + "00 00000002 00000001 00000001"),
            (RecordType.FILE_INDEX, _HEAD.hex() + "00 ffffffff 00000001 00000001"),
            (RecordType.FILE_INDEX, _HEAD.hex() + "00 00000001 00000000 00000001"),
            (RecordType.FILE_INDEX, _HEAD.hex() + "00 00000001 00000001 ffffffff"),
            (RecordType.FILE_INDEX, _HEAD.hex() + "01 ffffffff"),
            (RecordType.FILE_INDEX, _HEAD.hex() + "ff" + "00" * 64),
            (
                RecordType.FILE_INDEX,
                "00000001 0000000000000002 7fffffffffffffff 00 00000001 00000001 00000001",
            ),
            (RecordType.VOD_LISTED, "01 2f 00"),
            (RecordType.VOD_LISTED, "01 61 11" + "00" * 16 * 17),
            (RecordType.VOD_UNLISTED, "00"),
        ):
            data = frame_record(int(kind), bytes.fromhex(payload))
            with self.assertRaises(RemoteProtocolError, msg=payload):
                RecordReader().receive(data)

    def test_not_written(self) -> None:
        index = FileIndex(1, 0, (), array("I"), array("I"))
        long = array("I", [1]) * (MAX_FILE_SEGMENTS + 1)
        for record in (
            FileAsk(1, ""),
            FileAsk(1, "x" * (MAX_FILE_NAME + 1)),
            FileAsk(1, "\ud800"),
            FileAsk(1 << 32, "a"),
            FileIndexed(1, index),
            FileIndexed(1, FileIndex(1, 0, (), long, long)),
            FileIndexed(1, FileIndex(1, 0, (), long[:2], long[:1])),
            FileSegment(1, bytes(33 << 20)),
        ):
            with self.assertRaises(LocalProtocolError):
                encode_record(record)

    def test_the_longest_file_fits(self) -> None:
        rows = array("I", [450_000]) * MAX_FILE_SEGMENTS
        record = FileIndexed(1, FileIndex(1, 900_000, (), rows, rows))
        self.assertEqual(RecordReader().receive(encode_record(record)), [record])
