"""Tests of L{restreamer.media.bits}."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from restreamer.errors import MediaError
from restreamer.media.bits import MAX_BYTES, BitReader


def bits_of(text: str) -> BitReader:
    """A reader of a string of 0 and 1, filled with zeros to whole bytes."""
    text = text.replace(" ", "")
    text += "0" * (-len(text) % 8)
    return BitReader(int(text, 2).to_bytes(len(text) // 8, "big"))


class BitReaderTests(SynchronousTestCase):
    """Numbers come out as the specification's tables say, and never more bits than there are."""

    def test_reads_in_order(self) -> None:
        reader = bits_of("101 00001 1 0")
        self.assertEqual([reader.read(3), reader.read(5), reader.flag(), reader.flag()], [5, 1, True, False])

    def test_unsigned_exp_golomb(self) -> None:
        """ISO/IEC 14496-10 table 9-2."""
        table = {"1": 0, "010": 1, "011": 2, "00100": 3, "00111": 6, "0001000": 7, "0001010": 9}
        for text, value in table.items():
            self.assertEqual(bits_of(text).ue(), value, text)

    def test_signed_exp_golomb(self) -> None:
        """ISO/IEC 14496-10 table 9-3."""
        table = {"1": 0, "010": 1, "011": -1, "00100": 2, "00101": -2, "00110": 3}
        for text, value in table.items():
            self.assertEqual(bits_of(text).se(), value, text)

    def test_longest_code(self) -> None:
        self.assertEqual(bits_of("0" * 31 + "1" + "1" * 31).ue(), 2**32 - 2)

    def test_more_than_32_zeros(self) -> None:
        for zeros in (33, 64, 1000):
            self.assertRaises(MediaError, bits_of("0" * zeros + "1" * 40).ue)

    def test_number_above_32_bits(self) -> None:
        self.assertRaises(MediaError, bits_of("0" * 32 + "1" + "1" * 32).ue)

    def test_past_the_end(self) -> None:
        reader = BitReader(b"\x00")
        self.assertRaises(MediaError, reader.read, 9)
        self.assertRaises(MediaError, reader.skip, 9)
        self.assertRaises(MediaError, reader.ue)

    def test_too_long(self) -> None:
        self.assertRaises(MediaError, BitReader, bytes(MAX_BYTES + 1))

    def test_align(self) -> None:
        reader = BitReader(b"\x80\x41")
        reader.align()
        self.assertEqual(reader.position, 0)
        reader.read(1)
        reader.align()
        self.assertEqual((reader.position, reader.left, reader.read(8)), (8, 8, 0x41))

    @settings(deadline=None, max_examples=100, derandomize=True)
    @given(st.integers(0, 2**32 - 2))
    def test_any_number(self, value: int) -> None:
        code = f"{value + 1:b}"
        self.assertEqual(bits_of("0" * (len(code) - 1) + code).ue(), value)
