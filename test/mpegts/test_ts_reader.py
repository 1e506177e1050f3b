"""Tests of L{restreamer.testing.ts_reader}: it must notice what it is there to notice."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from restreamer.mpegts.segment_muxer import mux_segment
from restreamer.testing.media import aac_track, h264_track, make_frames
from restreamer.testing.ts_reader import TsError, TsReader, read_ts

TRACKS = (h264_track(), aac_track())


def packets() -> list[bytes]:
    """The packets of a good segment."""
    data = mux_segment(TRACKS, make_frames(2), title="t")
    return [data[at : at + 188] for at in range(0, len(data), 188)]


class ReaderTests(SynchronousTestCase):
    """Good streams pass, damaged ones do not."""

    def test_pieces(self) -> None:
        good = packets()
        reader = TsReader()
        for one in good:
            reader.feed(one)
        self.assertEqual(reader.finish().pes, read_ts(b"".join(good)).pes)

    def test_legal_duplicate(self) -> None:
        good = packets()
        good.insert(20, good[19])
        self.assertEqual(len(read_ts(b"".join(good)).of(0x101)), 50)
        good.insert(20, good[19])
        self.assertRaises(TsError, read_ts, b"".join(good))

    def test_damage(self) -> None:
        good = packets()
        data = b"".join(good)
        # packets 0, 1, 2 are PAT, PMT, SDT; 3 begins the keyframe with its PCR
        bad = {
            "not whole": data[:-1],
            "sync": data[:188] + b"\x46" + data[189:],
            "lost packet": b"".join(good[:8] + good[9:]),
            "lost PAT bytes": data[:12] + b"\x77" + data[13:],
            "error indicator": data[: 188 * 3 + 1] + bytes((data[188 * 3 + 1] | 0x80,)) + data[188 * 3 + 2 :],
            "PES start": data.replace(b"\x00\x00\x01\xe0", b"\x00\x00\x02\xe0", 1),
            "no map": b"".join([*good[:1], *good[2:]]),
            "PCR reserved": data[: 188 * 3 + 10] + b"\x00\x00" + data[188 * 3 + 12 :],
            "PCR late": data[: 188 * 3 + 6] + b"\xff" + data[188 * 3 + 7 :],
            "swapped": b"".join([*good[:5], good[6], good[5], *good[7:]]),
        }
        for name, stream in bad.items():
            with self.assertRaises(TsError, msg=name):
                read_ts(stream)
