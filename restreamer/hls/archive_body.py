"""A long text as pieces that are compressed once and put together for each answer (pure).

A piece is raw deflate (RFC 1951) that refers to nothing before it and ends on a byte, so pieces in a row are
the body of one gzip member (RFC 1952); its CRC-32 is that of the pieces put together by arithmetic in GF(2).
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from typing import Final

from attrs import field, frozen

_POLYNOMIAL: Final = 0xEDB88320
#: A head that says nothing, and a last block that holds nothing.
_HEAD: Final = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"
_LAST_BLOCK: Final = b"\x03\x00"
_LEVEL: Final = 4
#: Bytes of text below which compression is no use.
WORTH: Final = 1000


@frozen(eq=False)
class Packed:
    """A piece. @ivar deflated: its bytes as deflate. @ivar size, @ivar crc: of the text."""

    deflated: bytes = field(repr=False)
    size: int
    crc: int

    @classmethod
    def of(cls, text: bytes, level: int = _LEVEL) -> Packed:
        """Compress C{text}."""
        packer = zlib.compressobj(level, zlib.DEFLATED, -zlib.MAX_WBITS)
        deflated = packer.compress(text) + packer.flush(zlib.Z_FULL_FLUSH)
        return cls(deflated, len(text), zlib.crc32(text))

    def text(self) -> bytes:
        """The text."""
        return zlib.decompressobj(-zlib.MAX_WBITS).decompress(self.deflated)


#: Pieces in a row; short ones are plain text.
Pieces = Sequence[Packed | bytes]


def size_of(pieces: Pieces) -> int:
    """Bytes of the text."""
    return sum([len(piece) if isinstance(piece, bytes) else piece.size for piece in pieces])


def crc_of(pieces: Pieces) -> int:
    """CRC-32 of the text."""
    crc = 0
    for piece in pieces:
        if isinstance(piece, bytes):
            crc = zlib.crc32(piece, crc)
        else:
            crc = crc32_combine(crc, piece.crc, piece.size)
    return crc


def texts(pieces: Pieces) -> Iterator[bytes]:
    """The text, piece by piece."""
    for piece in pieces:
        yield piece if isinstance(piece, bytes) else piece.text()


def gzipped(pieces: Pieces) -> bytes:
    """The text as one gzip member."""
    parts = [_HEAD]
    size = crc = 0
    for piece in _packed(pieces):
        parts.append(piece.deflated)
        crc = crc32_combine(crc, piece.crc, piece.size)
        size += piece.size
    parts += [_LAST_BLOCK, struct.pack("<II", crc, size & 0xFFFFFFFF)]
    return b"".join(parts)


def gzipped_pieces(pieces: Iterable[Packed]) -> Iterator[bytes]:
    """Pieces as one gzip member, one by one."""
    crc = size = 0
    yield _HEAD
    for piece in pieces:
        crc = crc32_combine(crc, piece.crc, piece.size)
        size += piece.size
        yield piece.deflated
    yield _LAST_BLOCK + struct.pack("<II", crc, size & 0xFFFFFFFF)


def _packed(pieces: Pieces) -> Iterator[Packed]:
    """All of C{pieces} packed; what is plain and lies together as one."""
    plain: list[bytes] = []
    for piece in pieces:
        if isinstance(piece, bytes):
            plain.append(piece)
            continue
        if plain:
            yield Packed.of(b"".join(plain))
            plain.clear()
        yield piece
    if plain:
        yield Packed.of(b"".join(plain))


def crc32_combine(first: int, second: int, size: int) -> int:
    """CRC-32 of two texts in a row from that of each; C{size}: bytes of the second."""
    return _times(_shift(size), first) ^ second


def _times(one: int, other: int) -> int:
    """The product of two polynomials modulo that of CRC-32; the highest bit is x^0."""
    product = 0
    while one:
        if one & 0x80000000:
            product ^= other
        one = one << 1 & 0xFFFFFFFF
        other = other >> 1 ^ _POLYNOMIAL if other & 1 else other >> 1
    return product


@lru_cache(maxsize=4096)
def _shift(size: int) -> int:
    """x to the power of 8 * C{size}: what C{size} bytes do to a CRC before them."""
    power = 1 << 31
    square = 1 << 23  # x^8
    while size:
        if size & 1:
            power = _times(square, power)
        square = _times(square, square)
        size >>= 1
    return power
