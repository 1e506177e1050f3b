"""Headers of recorded segments, by themselves."""

from __future__ import annotations

import os

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from restreamer.dvr.heads import HEAD_BYTES, header_of, read_header
from restreamer.dvr.store import Store
from restreamer.m4f.segment import Segment, SegmentBuilder, SegmentOpening
from restreamer.media.frame import Frame
from test.dvr.memory_archive import AUDIO, FIRST, D, row, segment
from test.dvr.recordings import FIRST_HOUR, several
from test.dvr.test_archive import ArchiveCase


def long_header() -> Segment:
    """A segment whose header is longer than what is read first."""
    start = FIRST * D
    builder = SegmentBuilder(SegmentOpening(FIRST, start, False, True, 0, (AUDIO,)))
    builder.extend([Frame(1, start + number, 0, True, b"x" * 9) for number in range(2000)])
    return builder.close(D)


class ReadTests(SynchronousTestCase):
    def test_read(self) -> None:
        """One read, or two when it is long; never a frame's bytes beyond the first."""
        for of, most in ((segment(FIRST), 1), (long_header(), 2)):
            reads: list[tuple[int, int]] = []

            def read(offset: int, size: int, of: Segment = of, reads: list[tuple[int, int]] = reads) -> bytes:
                reads.append((offset, size))
                return of.encoded[offset : offset + size]

            header = read_header(read, row(of))
            assert header is not None
            self.assertEqual(Segment.parse_header(header).frame_count, of.frame_count)
            self.assertEqual(len(reads), most)
            self.assertTrue(sum(size for _, size in reads) <= max(HEAD_BYTES, len(header)))

    @settings(deadline=None, max_examples=200, derandomize=True)
    @given(st.integers(0, len(segment(FIRST).encoded) - 1), st.integers(1, 255))
    def test_damaged(self, place: int, change: int) -> None:
        """A header that differs in a bit is none; what lies behind it is not looked at."""
        whole = segment(FIRST)
        size = Segment.parse_header(whole.encoded).header_size
        damaged = bytearray(whole.encoded)
        damaged[place] ^= change
        found = header_of(bytes(damaged), row(whole))
        self.assertEqual(found, None if place < size else whole.encoded[:size])

    @settings(deadline=None, max_examples=100, derandomize=True)
    @given(st.binary(max_size=300))
    def test_anything(self, data: bytes) -> None:
        self.assertIsNone(header_of(data, row(segment(FIRST))))
        self.assertIsNone(read_header(lambda offset, size: data[offset : offset + size], row(segment(FIRST))))

    def test_on_disk(self) -> None:
        """Those that are there and whole."""
        folder = self.mktemp()
        os.makedirs(folder)
        store = Store(folder)
        store.open()
        self.addCleanup(store.close)
        stream = store.stream("cam")
        items = several(range(3))
        rows = [each for _, each in stream.append(items)]
        wrong = rows[1]._replace(checksum=rows[1].checksum ^ 1)
        gone = rows[2]._replace(file=9)
        self.assertEqual(stream.hour(FIRST_HOUR)[0].number, rows[0].number)
        found = stream.headers([rows[2], wrong, gone, rows[0]])
        self.assertEqual([each is not None for each in found], [True, False, False, True])
        self.assertEqual(found[3], header_of(items[0].segment.encoded, rows[0]))


class PlacesTests(ArchiveCase):
    def test_the_nearest_place(self) -> None:
        """From memory, the disk, a source; what nobody has is left to whoever asks."""
        self.show(FIRST)
        self.local.keep([FIRST, FIRST + 1])
        self.remote.keep(range(FIRST, FIRST + 3))
        rows = [row(segment(number)) for number in range(FIRST, FIRST + 4)]
        found = self.of(self.archive.headers("cam", rows))
        self.assertEqual(
            found[:3],
            [header_of(segment(number).encoded, row(segment(number))) for number in range(FIRST, FIRST + 3)],
        )
        self.assertIsNone(found[3])
        self.local.damaged.add(FIRST + 1)
        self.assertEqual(self.of(self.archive.headers("cam", rows)), found, "the source has it")
        self.remote.away = self.local.away = True
        self.assertEqual(self.of(self.archive.headers("cam", rows)), [found[0], None, None, None])
