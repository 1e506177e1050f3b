"""RTSP messages and interleaved frames, both ways (RFC 2326 sections 4 to 7, 10.12).

One reader serves servers and clients. A field that breaks the grammar ends the connection: what a proxy and
we would read differently is not guessed at.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from attrs import field, frozen

from restreamer.errors import RemoteProtocolError

MAX_LINE: Final = 2048
MAX_HEADERS: Final = 64
MAX_HEAD: Final = 16_384
MAX_BODY: Final = 131_072

VERSION: Final = "RTSP/1.0"

_REQUEST: Final = re.compile(rb"([A-Z_]{1,20}) ([\x21-\x7e]{1,2048}) (RTSP/[0-9]\.[0-9])")
_REPLY: Final = re.compile(rb"RTSP/[0-9]\.[0-9] ([1-5][0-9]{2})(?: ([^\x00-\x1f\x7f]*))?")
# What is matched once is not given back (C{*+}): a field costs what its length does.
_FIELD: Final = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]++)[ \t]*+:[ \t]*+([^\x00-\x08\x0a-\x1f\x7f]*+)")
_BLANK: Final = re.compile(rb"[\r\n]*+")
_HTTP: Final = re.compile(rb"[A-Z]{3,10} [\x21-\x7e]+ HTTP/1\.[01]")
_DOLLAR: Final = 0x24
_CHALLENGE: Final = "www-authenticate"


class RtspError(RemoteProtocolError):
    """A message that is not answered but with its status; the connection closes.

    @ivar status: of the answer.
    """

    def __init__(self, status: int, what: str) -> None:
        super().__init__("RTSP message", what)
        self.status = status


class HttpSpokenError(RtspError):
    """Somebody speaks HTTP: the answer is in HTTP, too."""

    def __init__(self) -> None:
        super().__init__(501, "an HTTP request")


@frozen(kw_only=True)
class Request:
    """A request. @ivar url: as sent; @ivar headers: names in lower case, the last of equal names counts.
    @ivar version: C{RTSP/1.0}.
    """

    method: str
    url: str = field(repr=False)
    headers: Mapping[str, str] = field(factory=dict, repr=False)
    body: bytes = field(default=b"", repr=False)
    version: str = VERSION

    def header(self, name: str) -> str:
        """A header by its lower-case name; empty when there is none."""
        return self.headers.get(name, "")


@frozen(kw_only=True)
class Reply:
    """An answer. @ivar challenges: values of WWW-Authenticate to be written, one line each."""

    status: int
    reason: str = ""
    headers: Mapping[str, str] = field(factory=dict, repr=False)
    body: bytes = field(default=b"", repr=False)
    challenges: tuple[str, ...] = ()

    def header(self, name: str) -> str:
        """A header by its lower-case name; empty when there is none."""
        return self.headers.get(name, "")


@frozen
class Interleaved:
    """A frame between messages. @ivar channel: 0..255."""

    channel: int
    data: bytes = field(repr=False)


Message = Request | Reply | Interleaved

REASONS: Final[Mapping[int, str]] = {
    200: "OK",
    302: "Moved Temporarily",
    400: "Bad Request",
    401: "Unauthorized",
    403: "Forbidden",
    404: "Not Found",
    405: "Method Not Allowed",
    406: "Not Acceptable",
    408: "Request Timeout",
    413: "Request Entity Too Large",
    414: "Request-URI Too Large",
    415: "Unsupported Media Type",
    453: "Not Enough Bandwidth",
    454: "Session Not Found",
    455: "Method Not Valid in This State",
    457: "Invalid Range",
    459: "Aggregate Operation Not Allowed",
    460: "Only Aggregate Operation Allowed",
    461: "Unsupported Transport",
    462: "Destination Unreachable",
    500: "Internal Server Error",
    501: "Not Implemented",
    503: "Service Unavailable",
    505: "RTSP Version Not Supported",
    551: "Option not supported",
}


class MessageReader:
    """Bytes to messages; keeps no more than one unfinished one.

    @ivar pending: bytes of it.
    """

    def __init__(self) -> None:
        self._data = bytearray()
        self._at = 0
        self._searched = 0
        self._head: tuple[Request | Reply, int] | None = None

    @property
    def pending(self) -> int:
        """Bytes of an unfinished message."""
        return len(self._data) - self._at

    def receive(self, data: bytes) -> list[Message]:
        """Take bytes of any length.

        @raise RtspError: what came breaks the grammar or a limit; nothing more is to be given. What was whole
            before it is lost: use L{feed} and L{next} where that matters.
        """
        self.feed(data)
        found: list[Message] = []
        while (message := self.next()) is not None:
            found.append(message)
        return found

    def feed(self, data: bytes) -> None:
        """Take bytes."""
        if self._at and self._at >= len(self._data) // 2:
            del self._data[: self._at]
            self._searched = max(0, self._searched - self._at)
            self._at = 0
        self._data += data

    def next(self) -> Message | None:
        """The next whole message, if there is one.

        @raise RtspError: as L{receive}.
        """
        if self._head is not None:
            return self._body(*self._head)
        data = self._data
        if self._at < len(data) and data[self._at] in b"\r\n":
            blank = _BLANK.match(data, self._at)
            self._at = blank.end() if blank is not None else self._at
            # A match keeps the buffer from being changed.
            del blank
        if self._at >= len(data):
            self._clear()
            return None
        if data[self._at] == _DOLLAR:
            return self._interleaved()
        end = data.find(b"\r\n\r\n", max(self._at, self._searched - 3))
        if end < 0:
            self._check_unfinished()
            self._searched = len(data)
            return None
        if end - self._at > MAX_HEAD:
            raise RtspError(400, f"head of {end - self._at} bytes, at most {MAX_HEAD}")
        lines = bytes(data[self._at : end]).split(b"\r\n")
        self._at = end + 4
        self._searched = self._at
        head = _read_head(lines)
        size = _content_length(head)
        self._head = head, size
        return self._body(head, size)

    def _interleaved(self) -> Interleaved | None:
        data, at = self._data, self._at
        if len(data) - at < 4:
            return None
        end = at + 4 + (data[at + 2] << 8 | data[at + 3])
        if end > len(data):
            return None
        self._at = end
        return Interleaved(data[at + 1], bytes(data[at + 4 : end]))

    def _body(self, head: Request | Reply, size: int) -> Message | None:
        if len(self._data) - self._at < size:
            return None
        self._head = None
        if not size:
            return head
        body = bytes(self._data[self._at : self._at + size])
        self._at += size
        if type(head) is Request:
            return Request(
                method=head.method, url=head.url, headers=head.headers, body=body, version=head.version
            )
        assert type(head) is Reply
        return Reply(status=head.status, reason=head.reason, headers=head.headers, body=body)

    def _check_unfinished(self) -> None:
        """Whether what is there of a head can still become one."""
        size = len(self._data) - self._at
        if size > MAX_HEAD:
            raise RtspError(400, f"head of more than {MAX_HEAD} bytes")
        newline = self._data.rfind(b"\n", self._at)
        if len(self._data) - 1 - newline > MAX_LINE and size > MAX_LINE:
            status = 414 if newline < self._at else 400
            raise RtspError(status, f"line of more than {MAX_LINE} bytes")

    def _clear(self) -> None:
        if self._at:
            self._data.clear()
            self._at = self._searched = 0


def _read_head(lines: list[bytes]) -> Request | Reply:
    first = lines[0]
    if len(lines) - 1 > MAX_HEADERS:
        raise RtspError(400, f"{len(lines) - 1} header lines, at most {MAX_HEADERS}")
    if len(first) > MAX_LINE + 64:
        raise RtspError(414, f"line of more than {MAX_LINE} bytes")
    headers: dict[str, str] = {}
    for line in lines[1:]:
        match = _FIELD.fullmatch(line) if len(line) <= MAX_LINE else None
        if match is None:
            raise RtspError(400, "a header line that is none, or too long")
        name = match[1].decode("ascii").lower()
        if name == _CHALLENGE and headers.get(name, "").lower().startswith("digest"):
            # Of several challenges the better one counts.
            continue
        headers[name] = match[2].decode("utf-8", "surrogateescape").rstrip()
    match = _REQUEST.fullmatch(first)
    if match is not None:
        if match[3] != b"RTSP/1.0":
            raise RtspError(505, f"version {match[3].decode('ascii')}")
        return Request(method=match[1].decode("ascii"), url=match[2].decode("ascii"), headers=headers)
    match = _REPLY.fullmatch(first)
    if match is not None:
        reason = (match[2] or b"").decode("utf-8", "replace")
        return Reply(status=int(match[1]), reason=reason, headers=headers)
    if _HTTP.fullmatch(first):
        raise HttpSpokenError
    raise RtspError(400, "the first line is no request")


def _content_length(head: Request | Reply) -> int:
    text = head.header("content-length")
    if not text:
        return 0
    if not text.isascii() or not text.isdecimal() or len(text) > 9:
        raise RtspError(400, "Content-Length is no number")
    size = int(text)
    if size > MAX_BODY:
        raise RtspError(413, f"body of {size} bytes, at most {MAX_BODY}")
    return size


def write_reply(reply: Reply) -> bytes:
    """The bytes of an answer, with Content-Length where there is a body."""
    reason = reply.reason or REASONS.get(reply.status, "Unknown")
    return _written(f"{VERSION} {reply.status} {reason}", reply.headers, reply.body, reply.challenges)


def write_request(request: Request) -> bytes:
    """The bytes of a request."""
    return _written(f"{request.method} {request.url} {VERSION}", request.headers, request.body)


def _written(first: str, headers: Mapping[str, str], body: bytes, challenges: tuple[str, ...] = ()) -> bytes:
    lines = [first, *(f"{name}: {value}" for name, value in headers.items())]
    lines += [f"WWW-Authenticate: {challenge}" for challenge in challenges]
    if body:
        lines.append(f"Content-Length: {len(body)}")
    text = "\r\n".join(lines) + "\r\n\r\n"
    return text.encode("utf-8", "surrogateescape") + body
