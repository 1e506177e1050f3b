"""An HTTP/1.x response: bytes in, its head and its body out (RFC 9112; pure)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Final

from attrs import field, frozen

from restreamer.errors import RemoteProtocolError
from restreamer.http1.body import BodyReader
from restreamer.http1.parse import parse_fields

#: Bytes a head may have.
MAX_HEAD: Final = 16 * 1024
#: Interim answers that are passed over.
MAX_INTERIM: Final = 5
_STATUS: Final = re.compile(rb"(?:HTTP/1\.[01]|ICY) ([1-5][0-9]{2})(?: [^\x00-\x08\x0a-\x1f\x7f]*)?")


@frozen(kw_only=True)
class ResponseHead:
    """@ivar headers: lower-case names to values. @ivar length: bytes of the body; None: not told."""

    status: int
    headers: Mapping[str, str] = field(factory=dict, repr=False)
    length: int | None = None


class ResponseReader:
    """Reads the one answer of a connection.

    @ivar head: once it was read. @ivar complete: all of the body was read.
    """

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._body: BodyReader | None = None
        self._interim = 0
        self.head: ResponseHead | None = None

    @property
    def complete(self) -> bool:
        """Whether the end of the answer was seen, as far as it tells of it itself."""
        return self._body is not None and self._body.complete

    def receive(self, data: bytes) -> Iterator[bytes]:
        """Take bytes of the connection; give those of the body. All of it is to be iterated.

        @raise RemoteProtocolError: it is no answer that can be understood.
        """
        while self.head is None:
            if data:
                self._buffer += data
                data = b""
            end = self._buffer.find(b"\r\n\r\n", 0, MAX_HEAD)
            if end < 0:
                if len(self._buffer) >= MAX_HEAD:
                    raise RemoteProtocolError("HTTP response", f"a head of more than {MAX_HEAD} bytes")
                return
            head = bytes(self._buffer[: end + 2])
            del self._buffer[: end + 4]
            self._read_head(head)
        if self._buffer:
            data = bytes(self._buffer) + data
            self._buffer.clear()
        if not data or self.complete:
            return
        if self._body is None:
            yield data
        else:
            yield from self._body.receive(data)

    def closed(self) -> bool:
        """The server closed the connection; gives whether the answer is whole."""
        return self.head is not None and (self._body is None or self._body.complete)

    def _read_head(self, head: bytes) -> None:
        line, _, block = head.partition(b"\r\n")
        match = _STATUS.fullmatch(line)
        if match is None:
            raise RemoteProtocolError("HTTP response", "no status line")
        status = int(match[1])
        fields = parse_fields(block)
        if status < 200:
            self._interim += 1
            if self._interim > MAX_INTERIM:
                raise RemoteProtocolError("HTTP response", f"more than {MAX_INTERIM} interim answers")
            return
        coding = fields.headers.get("content-encoding", "identity").lower()
        if coding not in ("identity", ""):
            raise RemoteProtocolError("HTTP response", "a body in an encoding that was not asked for")
        told = "content-length" in fields.headers
        length = fields.content_length if told else None
        if status in (204, 304):
            length = 0
        if fields.chunked:
            self._body = BodyReader(None)
        elif length is not None:
            self._body = BodyReader(length)
        self.head = ResponseHead(status=status, headers=fields.headers, length=length)
