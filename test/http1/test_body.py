"""Request bodies: lengths, chunks, whatever the cutting, and what is refused."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from restreamer.errors import RemoteProtocolError
from restreamer.http1.body import MAX_CHUNK_LINE, MAX_TRAILERS, BodyReader

CHUNKED = b"5\r\nhello\r\n1;a=b\r\n \r\n00A \r\n0123456789\r\n0\r\nX: y\r\n\r\nGET / HTTP/1.1\r\n"


def read(reader: BodyReader, data: bytes, cuts: list[int] | None = None) -> bytes:
    """What comes out of C{data} cut at C{cuts}."""
    got = b""
    places = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts or ())})
    for first, last in pairwise(places):
        got += b"".join(reader.receive(data[first:last]))
    return got


class Bodies(SynchronousTestCase):
    def test_length(self) -> None:
        reader = BodyReader(5)
        self.assertEqual(read(reader, b"hel"), b"hel")
        self.assertFalse(reader.complete)
        self.assertEqual(read(reader, b"loGET"), b"lo")
        self.assertTrue(reader.complete)
        self.assertEqual((reader.take_rest(), reader.take_rest()), (b"GET", b""))
        self.assertTrue(BodyReader(0).complete)

    @settings(deadline=None, max_examples=100, derandomize=True)
    @given(st.lists(st.integers(0, 200), max_size=8))
    def test_chunks_however_they_are_cut(self, cuts: list[int]) -> None:
        reader = BodyReader(None)
        self.assertEqual(read(reader, CHUNKED, cuts), b"hello 0123456789")
        self.assertTrue(reader.complete)
        self.assertEqual(reader.take_rest(), b"GET / HTTP/1.1\r\n")

    def test_bad_chunks(self) -> None:
        for data in (
            b"\r\n",
            b"-1\r\n",
            b"+5\r\nhello",
            b"0x5\r\nhello",
            b"5\nhello",
            b"5\r\nhelloX\r\n",
            b"5\r\nhello\n",
            b" 5\r\n",
            b"1" * 16 + b"\r\n",
            b"5;" + b"a" * MAX_CHUNK_LINE + b"\r\n",
            b"a" * (MAX_CHUNK_LINE + 3),
            b"5;\0\r\n",
            b"0\r\n" + b"X: 0123456789012345\r\n" * (MAX_TRAILERS // 16),
        ):
            with self.assertRaises(RemoteProtocolError, msg=repr(data[:20])):
                read(BodyReader(None), data)

    @settings(deadline=None, max_examples=200, derandomize=True)
    @given(st.binary(max_size=200), st.lists(st.integers(0, 200), max_size=4))
    def test_anything_gives_bytes_or_the_one_error(self, data: bytes, cuts: list[int]) -> None:
        outcomes: list[bytes | None] = []
        for places in ([], cuts):
            try:
                outcomes.append(read(BodyReader(None), data, places))
            except RemoteProtocolError:
                outcomes.append(None)
        self.assertEqual(outcomes[0], outcomes[1])
