"""A request's body: bytes of the connection in, bytes of the body out (RFC 9112 sections 6 and 7.1; pure).

The concatenation of what comes out depends only on the bytes, never on how they were cut. Lines are held to
a short length, bare LF is refused, chunk extensions and trailers are read over.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from restreamer.errors import RemoteProtocolError

#: Bytes a line of a chunk's size, with its extensions, may have.
MAX_CHUNK_LINE: Final = 256
#: Bytes all trailers together may have.
MAX_TRAILERS: Final = 4096
#: Size and extensions (section 7.1): a size has at most 15 hexadecimal digits.
_SIZE: Final = re.compile(rb"([0-9A-Fa-f]{1,15})[ \t]*(?:;[^\x00-\x08\x0a-\x1f\x7f]*)?")

_DATA, _LINE, _AFTER, _TRAILERS, _DONE = range(5)


class BodyReader:
    """Reads one body.

    @ivar complete: its end was read; what came behind it is in L{take_rest}.
    """

    __slots__ = ("_chunked", "_left", "_line", "_state", "_trailers")

    def __init__(self, length: int | None) -> None:
        """@param length: bytes of the body; None when it comes in chunks."""
        self._chunked = length is None
        self._left = length or 0
        self._line = bytearray()
        self._trailers = 0
        self._state = _LINE if self._chunked else _DATA if length else _DONE

    @property
    def complete(self) -> bool:
        """Whether the end was read."""
        return self._state == _DONE

    def take_rest(self) -> bytes:
        """Give out, and forget, what came behind the end."""
        rest = bytes(self._line)
        self._line.clear()
        return rest

    def receive(self, data: bytes) -> Iterator[bytes]:
        """Take bytes of the connection; give those of the body. All of it is to be iterated.

        @raise RemoteProtocolError: the chunks are malformed: where the next request begins is not known.
        """
        at, size = 0, len(data)
        while at < size and self._state != _DONE:
            if self._state == _DATA:
                count = min(self._left, size - at)
                piece = data[at : at + count]
                at += count
                self._left -= count
                if not self._left:
                    self._state = _AFTER if self._chunked else _DONE
                yield piece
                continue
            end = data.find(b"\n", at) + 1
            self._line += data[at : end or size]
            if len(self._line) > MAX_CHUNK_LINE + 2:
                raise RemoteProtocolError("HTTP chunk", f"line longer than {MAX_CHUNK_LINE} bytes")
            at = end or size
            if end:
                self._take_line()
        if at < size:
            self._line += data[at:]

    def _take_line(self) -> None:
        line = bytes(self._line)
        self._line.clear()
        if not line.endswith(b"\r\n"):
            raise RemoteProtocolError("HTTP chunk", "bare LF")
        line = line[:-2]
        if self._state == _AFTER:
            if line:
                raise RemoteProtocolError("HTTP chunk", "data is longer than its chunk")
            self._state = _LINE
        elif self._state == _LINE:
            match = _SIZE.fullmatch(line)
            if match is None:
                raise RemoteProtocolError("HTTP chunk", "malformed size")
            self._left = int(match[1], 16)
            self._state = _DATA if self._left else _TRAILERS
        elif line:
            self._trailers += len(line)
            if self._trailers > MAX_TRAILERS:
                raise RemoteProtocolError("HTTP chunk", f"trailers of more than {MAX_TRAILERS} bytes")
        else:
            self._state = _DONE
