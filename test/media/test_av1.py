"""Tests of L{restreamer.media.av1}."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from restreamer.errors import MediaError
from restreamer.media import av1

#: Sequence headers of libaom and SVT-AV1: the record their container writers made, size, depth, the name.
KNOWN = {
    "0a0b0200000521e7f66017c002": ("81000c00", (320, 180), "av01.0.00M.08"),
    "0a0d0000000337fbe6d7ca81010482": ("81004c00", (128, 96), "av01.0.00M.10.0.110.02.02.09.0"),
    "0a0a2000000337fbe6d7c810": ("81200000", (128, 96), "av01.1.00M.08.0.000.02.02.02.0"),
    "0a0a0000000337fbe6d7c950": ("81001c00", (128, 96), "av01.0.00M.08.1.110.02.02.02.1"),
}
HEADER = bytes.fromhex(next(iter(KNOWN)))
DELIMITER = b"\x12\x00"
KEY_FRAME = b"\x32\x03\x10\x00\x86"
INTER_FRAME = b"\x32\x03\x30\x03\x00"


class SequenceHeaderTests(SynchronousTestCase):
    """The sequence header and the record made of it."""

    def test_known(self) -> None:
        for text, (head, size, name) in KNOWN.items():
            obu = bytes.fromhex(text)
            facts = av1.parse_sequence_header(obu)
            self.assertEqual((facts.width, facts.height), size)
            record = av1.av1c_from_sequence_header(obu)
            self.assertEqual(record.hex(), head + text)
            self.assertEqual(av1.av1_name(record), name)
            self.assertEqual(av1.sequence_header_of(record), obu)

    def test_track(self) -> None:
        record = av1.av1c_from_sequence_header(HEADER)
        track = av1.av1_track(1, record, 5)
        self.assertEqual((track.codec, track.width, track.height, track.config), ("av01", 320, 180, record))

    def test_header_without_size(self) -> None:
        self.assertEqual(
            av1.av1c_from_sequence_header(av1.without_size(HEADER)), av1.av1c_from_sequence_header(HEADER)
        )

    def test_refused(self) -> None:
        for record in (
            b"",
            b"\x81\x00\x0c\x00",
            b"\x01\x00\x0c\x00" + HEADER,
            b"\x81\x00\x0c\x00" + HEADER[:6],
        ):
            self.assertRaises(MediaError, av1.av1_track, 1, record)
        for obu in (b"", DELIMITER, KEY_FRAME, HEADER[:5], b"\x0a\x03\xe0\x00\x00"):
            self.assertRaises(MediaError, av1.parse_sequence_header, obu)

    @given(st.binary(max_size=60))
    @settings(deadline=None, max_examples=300, derandomize=True)
    def test_any_bytes(self, data: bytes) -> None:
        for read in (av1.parse_sequence_header, av1.av1_name, av1.sequence_header_of, av1.split_obus):
            for head in (b"", b"\x0a" + bytes((len(data),)), b"\x81\x00\x0c\x00"):
                try:
                    read(head + data)
                except MediaError:
                    pass


class ObuTests(SynchronousTestCase):
    """Units one behind the other."""

    def test_split(self) -> None:
        self.assertEqual(av1.split_obus(DELIMITER + HEADER + KEY_FRAME), [DELIMITER, HEADER, KEY_FRAME])

    def test_the_last_may_have_no_size(self) -> None:
        bare = av1.without_size(KEY_FRAME)
        self.assertEqual(bare, b"\x30\x10\x00\x86")
        self.assertEqual(av1.split_obus(HEADER + bare), [HEADER, bare])
        self.assertEqual(av1.with_sizes([HEADER, bare]), HEADER + KEY_FRAME)

    def test_extension(self) -> None:
        layered = b"\x34\x20abc"
        self.assertEqual(av1.with_size(layered), b"\x36\x20\x03abc")
        self.assertEqual(av1.without_size(b"\x36\x20\x03abc"), layered)
        self.assertEqual(av1.obu_payload(layered), b"abc")

    def test_long_sizes(self) -> None:
        for size in (127, 128, 16_384, 2_100_000):
            obu = b"\x30" + bytes(size)
            self.assertEqual(av1.without_size(av1.with_size(obu)), obu)
            self.assertEqual(av1.split_obus(av1.with_size(obu) + DELIMITER)[1], DELIMITER)

    def test_refused(self) -> None:
        for data in (
            b"\x80",
            b"\x32\x05\x00",
            b"\x32\x80",
            b"\x32" + b"\xff" * 8,
            b"\x36",
            b"\x12\x00" * 5000,
        ):
            self.assertRaises(MediaError, av1.split_obus, data)
        for obu in (b"", b"\x34"):
            self.assertRaises(MediaError, av1.with_sizes, [obu])

    def test_keys(self) -> None:
        self.assertTrue(av1.is_key([HEADER, KEY_FRAME]))
        self.assertFalse(av1.is_key([INTER_FRAME]))
        self.assertFalse(av1.is_key([HEADER]))
        self.assertFalse(av1.is_key([b"\x1a\x01\x80", KEY_FRAME]), "an old frame is shown first")

    @given(st.lists(st.binary(min_size=1, max_size=300), max_size=8), st.booleans())
    @settings(deadline=None, max_examples=100, derandomize=True)
    def test_round(self, payloads: list[bytes], sized: bool) -> None:
        obus = [b"\x30" + payload for payload in payloads]
        data = av1.with_sizes(obus)
        self.assertEqual([av1.without_size(obu) for obu in av1.split_obus(data)], obus)
