"""The headers of recorded segments: all that the tables of a file say, without reading a frame.

The header's checksum is that of the segment, and its row has it too: so a header that is taken is the right
one, wherever it comes from. What lies behind it is proved when it is sent.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import google_crc32c

from restreamer.errors import RemoteProtocolError
from restreamer.m4f.header import segment_sizes
from restreamer.m4f.hour_index import Row
from restreamer.m4f.layout import CHECKSUM_SIZE, CHECKSUM_STRUCT

#: Bytes read at once: the header of ten seconds of two usual tracks.
HEAD_BYTES: Final = 16 * 1024
_CRC_SIZE: Final = 4


def read_header(read: Callable[[int, int], bytes], row: Row) -> bytes | None:
    """The header of the segment of C{row}; None: it is damaged.

    @param read: gives bytes of the segment by offset and length, fewer where it ends.
    """
    head = read(0, min(HEAD_BYTES, row.size))
    try:
        size = segment_sizes(head)[0]
    except RemoteProtocolError:
        return None
    if len(head) < size <= row.size:
        head += read(len(head), size - len(head))
    return header_of(head, row)


def header_of(encoded: bytes, row: Row) -> bytes | None:
    """The header that C{encoded} begins with, by its checksum; None: it is not that of C{row}."""
    try:
        size, body = segment_sizes(encoded)
    except RemoteProtocolError:
        return None
    if size + body != row.size or len(encoded) < size:
        return None
    checksum = CHECKSUM_STRUCT.unpack_from(encoded, size - CHECKSUM_SIZE)[1]
    if checksum != row.checksum or google_crc32c.value(encoded[: size - _CRC_SIZE]) != checksum:
        return None
    return encoded[:size]
