"""Records of data files: whole or not, and found again behind damage."""

from __future__ import annotations

import random

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from restreamer.dvr.disk_record import (
    TRAILER_SIZE,
    Damage,
    FoundRecord,
    encode_disk_record,
    read_record,
    scan,
)
from restreamer.errors import LocalProtocolError, RemoteProtocolError
from restreamer.m4f.records import RecordReader, RunInfo, SegmentCopy
from test.dvr.memory_archive import FIRST, segment
from test.dvr.recordings import RUN
from test.m4f.samples import runs, segments


def reader(data: bytes):  # type: ignore[no-untyped-def]
    """Reads C{data} as a file."""
    return lambda offset, size: data[offset : offset + size]


def a_file(count: int = 4) -> tuple[bytes, list[int]]:
    """A data file, and where its records begin."""
    data = b""
    begins = []
    for number in range(count):
        begins.append(len(data))
        pieces, _ = encode_disk_record(RUN, segment(FIRST + number, bytes(number)))
        data += b"".join(pieces)
    return data, begins


class DiskRecords(SynchronousTestCase):
    """One by one."""

    @settings(max_examples=60, deadline=None, derandomize=True)
    @given(runs, segments())
    def test_round_trip(self, run: RunInfo, made) -> None:  # type: ignore[no-untyped-def]
        """What was written is read, by links too."""
        _, closed = made
        pieces, before = encode_disk_record(run, closed)
        data = b"".join(pieces)
        found = read_record(reader(b"xx" + data), 2)
        self.assertEqual((found.run, found.segment), (run, closed))
        self.assertEqual((found.begin, found.offset, found.end), (2, 2 + before, 2 + len(data)))
        self.assertEqual(RecordReader().receive(data), [SegmentCopy(run, closed.encoded)])
        self.assertEqual(found.end - found.offset, len(closed.encoded) + TRAILER_SIZE)

    def test_every_bit(self) -> None:
        """No bit of a record can change unseen."""
        pieces, _ = encode_disk_record(RUN, segment(FIRST))
        data = b"".join(pieces)
        for at in range(len(data)):
            wrong = bytearray(data)
            wrong[at] ^= 1 << at % 8
            self.assertRaises(RemoteProtocolError, read_record, reader(bytes(wrong)), 0)

    def test_every_length(self) -> None:
        """A record that is cut is none."""
        pieces, _ = encode_disk_record(RUN, segment(FIRST))
        data = b"".join(pieces)
        for size in range(len(data)):
            self.assertRaises(RemoteProtocolError, read_record, reader(data[:size]), 0)

    def test_a_run_that_does_not_fit(self) -> None:
        """It is refused as what it is."""
        run = RunInfo(-1, 0, bytes(16), ())
        self.assertRaises(LocalProtocolError, encode_disk_record, run, segment(FIRST))


class Scans(SynchronousTestCase):
    """Whole files."""

    def test_all(self) -> None:
        """Records in turn, from anywhere a record begins."""
        data, begins = a_file()
        for first, begin in enumerate(begins):
            found = list(scan(reader(data), len(data), begin))
            self.assertEqual([each.begin for each in found], begins[first:])

    def test_torn_tail(self) -> None:
        """What was written in part is damage up to the end."""
        data, begins = a_file()
        for size in range(begins[3] + 1, len(data)):
            *whole, last = scan(reader(data[:size]), size)
            self.assertEqual([each.begin for each in whole], begins[:3])
            assert isinstance(last, Damage)
            self.assertEqual((last.begin, last.end), (begins[3], size))

    def test_damage_hides_nothing(self) -> None:
        """Whatever byte is wrong, its record is gone and the others are found."""
        data, begins = a_file()
        chance = random.Random(3)
        for at in range(begins[1], begins[2]):
            wrong = bytearray(data)
            wrong[at] ^= chance.randrange(1, 256)
            found = list(scan(reader(bytes(wrong)), len(data)))
            self.assertEqual([each.begin for each in found], begins)
            self.assertEqual([type(each) for each in found], [FoundRecord, Damage, FoundRecord, FoundRecord])

    def test_bytes_that_are_lost(self) -> None:
        """A hole, and records that moved."""
        data, begins = a_file()
        for gone in (1, 7, 100):
            cut = data[: begins[1] + 10] + data[begins[1] + 10 + gone :]
            found = [each for each in scan(reader(cut), len(cut)) if isinstance(each, FoundRecord)]
            self.assertEqual([each.segment.number - FIRST for each in found], [0, 2, 3])

    def test_a_window_ends_in_a_mark(self) -> None:
        """Records are found wherever they lie behind megabytes of damage."""
        data, _ = a_file(1)
        mebi = 1 << 20
        for before in (mebi - 130, mebi - 3, mebi, 2 * mebi - 70):
            found = list(scan(reader(bytes(before) + data), before + len(data)))
            self.assertEqual([each.begin for each in found], [0, before])

    @settings(max_examples=100, deadline=None, derandomize=True)
    @given(st.binary(max_size=400), st.integers(0, 3), st.binary(max_size=20))
    def test_anything(self, noise: bytes, at: int, tail: bytes) -> None:
        """Any bytes: it ends, covers all of them once, and shows what is whole."""
        data, begins = a_file()
        both = data[: begins[at]] + noise + data[begins[at] :] + tail
        found = list(scan(reader(both), len(both)))
        ends = [0, *[each.end for each in found]]
        self.assertEqual([each.begin for each in found], ends[:-1])
        self.assertEqual(ends[-1], len(both))
        self.assertEqual(sum(isinstance(each, FoundRecord) for each in found), 4)
