"""Broken and hostile files: L{MediaError} and nothing else, quickly, with little memory."""

from __future__ import annotations

import random
import struct
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

import restreamer
from restreamer.errors import MediaError
from restreamer.mp4.boxes import MAX_MOOV, find_moov, walk_boxes
from restreamer.mp4.reader import Mp4Reader
from restreamer.testing.media import AVCC
from test.mp4.build import audio, audio_entry, avc_entry, box, esds, full, mp4, rows, video

DEMO = Path(restreamer.__file__).parent / "demo" / "demo.mp4"


def play(data: bytes, most: int = 3000) -> None:
    """Open and read up to C{most} frames; only L{MediaError} may come out, which is swallowed."""
    try:
        reader = Mp4Reader(lambda offset, size: data[offset : offset + size], len(data))
        for number, frame in enumerate(reader.frames()):
            assert frame.data and frame.cts >= 0
            if number >= most:
                break
    except MediaError:
        pass


class RefusedTests(SynchronousTestCase):
    """What must be refused, with a sentence that says why."""

    def refused(self, data: bytes, text: str) -> None:
        error = self.assertRaises(
            MediaError, Mp4Reader, lambda offset, size: data[offset : offset + size], len(data)
        )
        self.assertIn(text, str(error))

    def test_no_mp4(self) -> None:
        self.refused(b"", "empty or no MP4")
        self.refused(b"\0" * 7, "empty or no MP4")
        self.refused(b"\0" * 64, "no moov")
        self.refused(b"RIFF" + b"x" * 100, "only 104 are there")
        self.refused(mp4(video())[:200], "only")
        self.refused(box(b"ftyp", b"isom") + box(b"mdat", bytes(100)), "no moov")

    def test_box_sizes(self) -> None:
        for size in range(2, 8):
            self.refused(struct.pack(">I4s", size, b"moov") + bytes(64), f"says it has {size} bytes")
        for large in (0, 15, 2**63, 2**64 - 1):
            self.refused(struct.pack(">I4sQ", 1, b"moov", large) + bytes(64), f"says it has {large} bytes")
        inner = box(b"moov", struct.pack(">I4s", 0, b"mvhd") + bytes(20))
        self.refused(inner, "says it has 0 bytes")

    def test_huge_moov_is_not_read(self) -> None:
        size = MAX_MOOV + 9
        asked: list[int] = []

        def read_at(offset: int, length: int) -> bytes:
            asked.append(length)
            return struct.pack(">I4s", size, b"moov") + bytes(8)

        self.assertRaises(MediaError, find_moov, read_at, size)
        self.assertEqual([16], asked)

    def test_many_boxes(self) -> None:
        self.refused(box(b"free") * 20_000, "more than 10000 boxes")
        self.assertRaises(MediaError, list, walk_boxes(box(b"free") * 20_000))

    def test_limits(self) -> None:
        self.refused(mp4(*[audio(3)] * 33), "33 tracks")
        many = audio(more=[full(b"stsz", 0, struct.pack(">II", 1, 10_000_001))])
        data = mp4(many).replace(b"stsz", b"free", 1)
        self.refused(data, "10000001 samples")
        self.refused(mp4(audio(stts=[(18, 0)])), "18 samples in")
        self.refused(mp4(audio(stts=[(18, 1)])), "18 samples in")
        self.refused(mp4(audio(timescale=1, stts=[(18, 0x7FFFFFFF)])), "lasts")
        self.refused(mp4(video(ctts=[(10, 0x7FFFFFFF)])), "composition")
        self.refused(mp4(video(ctts=[(10, -(2**31))], ctts_version=1)), "composition")
        self.refused(mp4(audio(edits=[(2**32 - 1, -1), (1, 0)]), movie_scale=1), "edit list")
        self.refused(mp4(audio(edits=[(1, 2**62)], edit_version=1)), "edit list")
        self.refused(mp4(audio(timescale=0)), "timescale 0")

    def test_tables_that_disagree(self) -> None:
        self.refused(mp4(audio(stts=[(17, 1024)])), "17 of 18")
        self.refused(mp4(audio(chunks=[3, 3])), "12 of 18 samples are in no chunk")
        self.refused(mp4(video(stss=[5, 3])), "stss")
        self.refused(mp4(video(stss=[0])), "stss")
        self.refused(mp4(video())[:-1], "the file ends at")
        data = mp4(audio(), endless_mdat=True)
        self.refused(data[:-1], "the file ends at")

    def test_counts_without_rows(self) -> None:
        for kind, text in ((b"stts", "stts"), (b"stco", "stco"), (b"stsc", "stsc"), (b"stsz", "stsz")):
            data = bytearray(mp4(audio()))
            at = data.index(kind) + (12 if kind == b"stsz" else 8)
            data[at : at + 4] = b"\xff\xff\xff\xff" if kind != b"stsz" else (9_000_000).to_bytes(4, "big")
            self.refused(bytes(data), text)

    def test_missing_boxes(self) -> None:
        data = mp4(audio())
        for kind in (
            b"mvhd",
            b"mdia",
            b"mdhd",
            b"minf",
            b"stbl",
            b"stsd",
            b"stts",
            b"stsc",
            b"stsz",
            b"stco",
            b"esds",
        ):
            self.refused(data.replace(kind, b"free"), kind.decode())

    def test_nothing_to_play(self) -> None:
        self.refused(mp4(), "no track of a codec that is carried")
        self.refused(mp4(video(entry=box(b"hvc1", bytes(78)))), "hvcC")
        self.refused(mp4(video(entry=box(b"vvc1", bytes(78)))), "vvc1")
        self.refused(mp4(audio(entry=audio_entry(esds(0xA9), b"mp4a"))), "mp4a")
        self.refused(mp4(more=[box(b"mvex", b"")]), "none with samples")

    def test_codec_configurations(self) -> None:
        for avcc in (
            b"",
            b"\1",
            AVCC[:9],
            b"\2" + AVCC[1:],
            AVCC[:4] + b"\xfe" + AVCC[5:],
            AVCC[:5] + b"\xff" + AVCC[6:],
        ):
            self.assertRaises(MediaError, self.open, mp4(video(entry=avc_entry(avcc=avcc))))
        for config in (b"", b"\x11", b"\xff\xff", b"\x17\x80\x00\x00\x00"):
            self.assertRaises(MediaError, self.open, mp4(audio(entry=audio_entry(esds(0x40, config)))))

    def open(self, data: bytes) -> Mp4Reader:
        return Mp4Reader(lambda offset, size: data[offset : offset + size], len(data))

    def test_samples_that_do_not_hold_together(self) -> None:
        bad = [b"\0\0\0\x40abc"] * 10
        reader = self.open(mp4(video(samples=bad)))
        self.assertRaises(MediaError, list, reader.frames())

    def test_file_that_shrinks(self) -> None:
        data = bytearray(mp4(video()))
        reader = Mp4Reader(lambda offset, size: bytes(data[offset : offset + size]), len(data))
        del data[-40:]
        self.assertRaises(MediaError, list, reader.frames())

    def test_ten_million_samples_of_one_byte(self) -> None:
        """The tables of a huge file cost no object per sample."""
        count = 1_000_000
        trak = audio(
            1,
            more=[
                full(b"stsz", 0, struct.pack(">II", 1, count)),
                rows(b"stts", ">II", [(count, 1024)]),
                rows(b"stsc", ">III", [(1, count, 1)]),
            ],
        )
        data = mp4(trak, endless_mdat=True)
        for kind in (b"stts", b"stsc", b"stsz"):
            data = data.replace(kind, b"free", 1)
        size = len(data) + count
        reader = Mp4Reader(lambda at, n: (data[at : at + n]).ljust(min(n, size - at), b"\1"), size)
        self.assertEqual(count, sum(1 for _ in reader.rows()))


class FuzzTests(SynchronousTestCase):
    """Mutations of real files."""

    def seeds(self) -> list[bytes]:
        return [
            mp4(video(ctts=[(10, 512)], edits=[(400, 512)]), audio(edits=[(20, -1), (384, 1024)])),
            mp4(
                video(co64=True, size_bits=8, ctts=[(10, -512)], ctts_version=1), large=True, moov_first=False
            ),
            DEMO.read_bytes()[:40_000],
        ]

    def test_every_truncation(self) -> None:
        for data in self.seeds()[:2]:
            for end in range(len(data)):
                play(data[:end])

    def test_every_byte(self) -> None:
        for data in self.seeds()[:2]:
            for at in range(len(data)):
                for value in (0, 1, 0x7F, 0x80, 0xFF):
                    changed = bytearray(data)
                    changed[at] = value
                    play(bytes(changed))

    def test_random_mutations(self) -> None:
        dice = random.Random(14496)
        for data in self.seeds():
            for _ in range(500):
                changed = bytearray(data)
                for _ in range(dice.randint(1, 6)):
                    at = dice.randrange(min(len(changed), 16_000))
                    kind = dice.randrange(4)
                    if kind == 0:
                        changed[at] = dice.randrange(256)
                    elif kind == 1:
                        changed[at : at + 4] = dice.choice(
                            (b"\0\0\0\0", b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff")
                        )
                    elif kind == 2:
                        del changed[at : at + dice.randint(1, 64)]
                    else:
                        piece = bytes(changed[at : at + dice.randint(1, 64)])
                        other = dice.randrange(min(len(changed), 16_000))
                        changed[other:other] = piece
                play(bytes(changed), 200)

    @settings(deadline=None, max_examples=200, derandomize=True)
    @given(st.binary(max_size=200))
    def test_any_bytes(self, data: bytes) -> None:
        play(data)
        play(box(b"ftyp") + box(b"moov", data))
        play(
            box(b"moov", full(b"mvhd", 0, bytes(96)).replace(bytes(96), b"\0" * 11 + b"\1" + bytes(84)), data)
        )
