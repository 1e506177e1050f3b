"""Texts as pieces that were compressed apart: any gzip reader takes what is put together of them."""

from __future__ import annotations

import gzip
import zlib

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from restreamer.hls.archive_body import (
    Packed,
    crc32_combine,
    crc_of,
    gzipped,
    gzipped_pieces,
    size_of,
    texts,
)

_SETTINGS = settings(deadline=None, max_examples=100, derandomize=True)
_TEXTS = st.lists(st.tuples(st.binary(max_size=300), st.integers(0, 40), st.booleans()), max_size=12)


class Bodies(SynchronousTestCase):
    @_SETTINGS
    @given(_TEXTS)
    def test_one_member(self, drawn: list[tuple[bytes, int, bool]]) -> None:
        pieces: list[Packed | bytes] = []
        for text, times, packed in drawn:
            pieces.append(Packed.of(text * times) if packed else text * times)
        whole = b"".join(text * times for text, times, _ in drawn)
        self.assertEqual(b"".join(texts(pieces)), whole)
        self.assertEqual(size_of(pieces), len(whole))
        self.assertEqual(crc_of(pieces), zlib.crc32(whole))
        for zipped in (
            gzipped(pieces),
            b"".join(gzipped_pieces(Packed.of(text, 1) for text in texts(pieces))),
        ):
            self.assertEqual(gzip.decompress(zipped), whole)
            reader = zlib.decompressobj(31)
            self.assertEqual(reader.decompress(zipped), whole)
            self.assertTrue(reader.eof)
            self.assertEqual(reader.unused_data, b"")

    @_SETTINGS
    @given(st.binary(max_size=500), st.binary(max_size=500))
    def test_checksums(self, one: bytes, other: bytes) -> None:
        found = crc32_combine(zlib.crc32(one), zlib.crc32(other), len(other))
        self.assertEqual(found, zlib.crc32(one + other))

    def test_long(self) -> None:
        other = bytes(10_000_000)
        found = crc32_combine(zlib.crc32(b"x"), zlib.crc32(other), len(other))
        self.assertEqual(found, zlib.crc32(b"x" + other))
