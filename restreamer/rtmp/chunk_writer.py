"""Whole messages to RTMP chunks (Adobe RTMP 1.0 section 5.3): always type 0 headers, absolute timestamps.

A message written so needs no memory of the messages before it, hence its bytes can be shared by every
connection that announced the same chunk size. The extended timestamp is repeated on type 3 chunks, as
section 5.3.1.3 asks and players that read it expect.
"""

from __future__ import annotations

from struct import Struct

_HEAD = Struct(">II").pack
_U32 = Struct(">I").pack
_U32_LE = Struct("<I").pack
_EXTENDED = 0xFFFFFF
_MASK = 0xFFFFFFFF


def chunked(
    chunk_stream: int, kind: int, stream_id: int, timestamp: int, payload: bytes, chunk_size: int
) -> bytes:
    """One message as chunks.

    @param chunk_stream: 2 to 63 (one-byte form).
    @param timestamp: milliseconds, taken modulo 2**32.
    @param payload: shorter than 2**24 bytes.
    """
    timestamp &= _MASK
    length = len(payload)
    if timestamp < _EXTENDED:
        extended = b""
        head = _HEAD(chunk_stream << 24 | timestamp, length << 8 | kind) + _U32_LE(stream_id)
    else:
        extended = _U32(timestamp)
        head = _HEAD(chunk_stream << 24 | _EXTENDED, length << 8 | kind) + _U32_LE(stream_id) + extended
    if length <= chunk_size:
        return head + payload
    pieces = [head, payload[:chunk_size]]
    next_head = bytes((0xC0 | chunk_stream,)) + extended
    for at in range(chunk_size, length, chunk_size):
        pieces.append(next_head)
        pieces.append(payload[at : at + chunk_size])
    return b"".join(pieces)
