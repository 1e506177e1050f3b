"""No damaged segment is ever taken for a whole one (exhaustive over a small set)."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from restreamer.errors import RemoteProtocolError
from restreamer.m4f.header import decode_header
from restreamer.m4f.segment import Segment
from test.m4f.samples import three_segments


class DamageTests(SynchronousTestCase):
    """Every bit, every length."""

    def test_the_set_itself_is_whole(self) -> None:
        for segment in three_segments():
            self.assertEqual(Segment.parse(segment.encoded), segment)

    def test_every_single_bit_flip_is_refused(self) -> None:
        for segment in three_segments():
            damaged = bytearray(segment.encoded)
            for index in range(len(damaged)):
                for bit in range(8):
                    damaged[index] ^= 1 << bit
                    self.assertRaises(RemoteProtocolError, Segment.parse, bytes(damaged))
                    damaged[index] ^= 1 << bit

    def test_every_truncation_is_refused(self) -> None:
        for segment in three_segments():
            for size in range(len(segment.encoded)):
                self.assertRaises(RemoteProtocolError, Segment.parse, segment.encoded[:size])

    def test_every_truncation_of_a_header_is_refused(self) -> None:
        for segment in three_segments():
            size = decode_header(segment.encoded).header_size
            for cut in range(size):
                self.assertRaises(RemoteProtocolError, decode_header, segment.encoded[:cut])

    def test_bodies_of_another_segment_are_refused(self) -> None:
        whole = three_segments()
        for one in whole:
            for other in whole:
                if one is not other:
                    header = one.encoded[: decode_header(one.encoded).header_size]
                    body = other.encoded[decode_header(other.encoded).header_size :]
                    self.assertRaises(RemoteProtocolError, Segment.parse, header + body)
