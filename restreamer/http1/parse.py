"""The head of an HTTP/1.x request: bytes in, checked values out (RFC 9112 sections 2 to 7).

Feed what arrives to L{HeadParser.receive}, then call L{HeadParser.next_head} until it gives None.
Whatever is not part of a head (a body, another protocol after an upgrade) is given back by
L{HeadParser.take_rest}. The answers depend only on the bytes, never on how they were cut.
L{HeadError}, which carries the status to answer, is the only exception raised; after it the
connection is to be closed, since where the next request begins is not known any more.

The parser is stricter than RFC 9112 allows it to be: bare LF, folded fields, white space before a colon,
any doubt about the length of the body, and encoded separators in a path are refused, because each
of them has been read differently by two programs in a row (request smuggling, path tricks).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final
from urllib.parse import unquote_to_bytes

from attrs import define, field, frozen

from restreamer.errors import RemoteProtocolError
from restreamer.http1.forwarded import TrustedProxies
from restreamer.http1.reply import HttpRequest

#: Bytes a head may have, request line and blank line included.
MAX_HEAD: Final = 16 * 1024
#: Characters a request target may have.
MAX_TARGET: Final = 8 * 1024
#: Field lines a head may have.
MAX_FIELDS: Final = 100

_TOKEN: Final = rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_FIELDS: Final = re.compile(rb"(?:" + _TOKEN + rb":[^\x00-\x08\x0a-\x1f\x7f]*\r\n)*")
_REQUEST_LINE: Final = re.compile(rb"([A-Z][A-Z-]{0,23}) ([\x21-\x7e]+) HTTP/([0-9])\.([0-9])")
_LOWER_VERB: Final = re.compile(rb"[A-Za-z]+ ")
_ABSOLUTE: Final = re.compile(r"https?://([^/?#]*)", re.IGNORECASE)
_HOST: Final = re.compile(r"(?:[A-Za-z0-9._~!$&'()*+;=%-]*|\[[0-9A-Fa-f:.]+\])(?::[0-9]{0,5})?")
_PERCENT: Final = re.compile(r"%(?![0-9A-Fa-f]{2})")
_FORBIDDEN_ESCAPE: Final = re.compile(r"%(?:2[fF]|5[cC]|00)")
_DOT_PART: Final = re.compile(r"/\.\.?(?:/|$)")
_DIGITS: Final = re.compile(r"[0-9]{1,18}")


class HeadError(RemoteProtocolError):
    """A head that is refused: answer C{status}, then close.

    @ivar status: 400, 414, 431 or 505.
    """

    def __init__(self, status: int, what: str) -> None:
        super().__init__("HTTP request head", what)
        self.status = status


@frozen(kw_only=True)
class FieldBlock:
    """The fields of a head and what the connection must know of them.

    @ivar headers: lower-case names to values, repeated ones joined with C{", "}; not to be changed.
    @ivar hosts: how many Host fields there were.
    @ivar content_length: bytes of the body that follows; 0 when there is none.
    @ivar chunked: the body comes in chunks of unknown number.
    @ivar close: C{Connection: close} was asked for. @ivar keep_alive: C{Connection: keep-alive} was.
    """

    headers: Mapping[str, str] = field(repr=False)
    hosts: int
    content_length: int
    chunked: bool
    close: bool
    keep_alive: bool


@frozen(kw_only=True)
class RequestHead:
    """One checked request head.

    @ivar request: the request as routes see it.
    @ivar raw: the head as received, blank line included, for handing the connection on.
    @ivar content_length: bytes of the body that follows, 0 when none; @ivar chunked: it comes in chunks.
    @ivar persistent: whether the client lets the connection stay open (RFC 9112 section 9.3).
    """

    request: HttpRequest
    raw: bytes = field(repr=False)
    content_length: int = 0
    chunked: bool = False
    persistent: bool = True

    @property
    def has_body(self) -> bool:
        """Whether a body follows the head."""
        return self.chunked or self.content_length > 0


#: Where names stand as clients of the API write them.
_API: Final = "/streamer/api/"
_SLASH: Final = re.compile("%2f", re.IGNORECASE)


def decode_path(path: str) -> str:
    """Percent-decode C{path} exactly once and make sure that it names one thing only.

    @raise HeadError: 400 for a broken or forbidden escape (NUL, slash, backslash), for bytes that are not
        UTF-8, for characters that cannot be printed, backslashes and parts C{.} and C{..}.
    """
    if "%" in path:
        if _PERCENT.search(path) or _FORBIDDEN_ESCAPE.search(path):
            raise HeadError(400, "forbidden percent escape in the path")
        try:
            path = unquote_to_bytes(path).decode("utf-8")
        except UnicodeDecodeError:
            raise HeadError(400, "path is not UTF-8") from None
        if not path.isprintable():
            raise HeadError(400, "control character in the path")
    if "\\" in path:
        raise HeadError(400, "backslash in the path")
    if "/." in path and _DOT_PART.search(path):
        raise HeadError(400, "dot part in the path")
    return path


def _split_target(method: str, target: str) -> tuple[str, str]:
    """Path (decoded) and raw query of a request target (RFC 9112 section 3.2)."""
    if len(target) > MAX_TARGET:
        raise HeadError(414, f"target of {len(target)} characters, limit {MAX_TARGET}")
    if "#" in target:
        raise HeadError(400, "fragment in the target")
    path, _, query = target.partition("?")
    if not path.startswith("/"):
        if method == "OPTIONS" and target == "*":
            return "*", ""
        absolute = _ABSOLUTE.match(path)
        if absolute is None or not absolute[1] or _HOST.fullmatch(absolute[1]) is None:
            raise HeadError(400, "target is neither a path nor an http URL")
        path = path[absolute.end() :] or "/"
    if path.startswith(_API):
        # Clients of an API encode a name as one part of the path; nothing there is a file or a segment.
        path = _SLASH.sub("/", path)
    return decode_path(path), query


def _parse_request_line(line: bytes) -> tuple[str, str, tuple[int, int]]:
    """Method, target and version of a request line.

    @raise HeadError: 505 for a version that is not HTTP/1.x, 400 for anything else that is wrong.
    """
    match = _REQUEST_LINE.fullmatch(line)
    if match is None:
        if _LOWER_VERB.match(line) and not line.split(b" ", 1)[0].isupper():
            raise HeadError(400, "method is not in upper case")
        raise HeadError(400, "malformed request line")
    major, minor = int(match[3]), int(match[4])
    if major != 1:
        if line == b"PRI * HTTP/2.0":
            raise HeadError(400, "HTTP/2 with prior knowledge is not spoken here")
        raise HeadError(505, f"HTTP version {major}.{minor}")
    return match[1].decode("ascii"), match[2].decode("ascii"), (1, min(minor, 1))


def parse_fields(block: bytes) -> FieldBlock:
    """Parse the field lines of a head (each ended by CRLF, without the blank line).

    @raise HeadError: 400 for anything malformed or ambiguous, 431 for too many fields.
    """
    if _FIELDS.fullmatch(block) is None:
        raise HeadError(400, "malformed field line")
    headers: dict[str, str] = {}
    hosts = lengths = codings = 0
    lines = block.decode("latin-1").split("\r\n")
    if len(lines) - 1 > MAX_FIELDS:
        raise HeadError(431, f"{len(lines) - 1} fields, limit {MAX_FIELDS}")
    lines.pop()
    for line in lines:
        name, _, value = line.partition(":")
        name = name.lower()
        value = value.strip(" \t")
        if name in headers:
            headers[name] = f"{headers[name]}, {value}"
        else:
            headers[name] = value
        if name == "host":
            hosts += 1
        elif name == "content-length":
            lengths += 1
        elif name == "transfer-encoding":
            codings += 1
    if hosts > 1:
        raise HeadError(400, "more than one Host")
    if hosts and _HOST.fullmatch(headers["host"]) is None:
        raise HeadError(400, "malformed Host")
    if codings and (lengths or codings > 1 or headers["transfer-encoding"].lower() != "chunked"):
        raise HeadError(400, "ambiguous Transfer-Encoding")
    if lengths and (lengths > 1 or _DIGITS.fullmatch(headers["content-length"]) is None):
        raise HeadError(400, "ambiguous Content-Length")
    options = headers.get("connection", "").lower()
    words = {word.strip(" \t") for word in options.split(",")} if options else ()
    return FieldBlock(
        headers=MappingProxyType(headers),
        hosts=hosts,
        content_length=int(headers["content-length"]) if lengths else 0,
        chunked=codings > 0,
        close="close" in words,
        keep_alive="keep-alive" in words,
    )


@define(eq=False)
class HeadParser:
    """Finds and parses request heads in the bytes of one connection.

    @ivar peer: client address for L{HttpRequest.peer}; @ivar secure: likewise, over TLS.
    @ivar proxies: of whom C{X-Forwarded-For} is believed; None: of nobody.
    """

    peer: str = ""
    secure: bool = False
    proxies: TrustedProxies | None = None
    _buffer: bytearray = field(factory=bytearray, init=False, repr=False)
    _start: int = field(default=0, init=False)
    _block: bytes = field(default=b"", init=False, repr=False)
    _fields: FieldBlock | None = field(default=None, init=False, repr=False)

    @property
    def buffered(self) -> int:
        """Bytes received and not yet given out."""
        return len(self._buffer) - self._start

    def receive(self, data: bytes) -> None:
        """Take bytes of the connection."""
        if self._start and self._start == len(self._buffer):
            self._buffer = bytearray(data)
            self._start = 0
        else:
            self._buffer += data

    def take_rest(self) -> bytes:
        """Give out, and forget, everything after the last head."""
        rest = bytes(self._buffer[self._start :])
        self._buffer = bytearray()
        self._start = 0
        return rest

    def next_head(self) -> RequestHead | None:
        """The next whole head, or None when more bytes are needed.

        @raise HeadError: the bytes are no request we accept; the parser is of no use after that.
        """
        buffer, start = self._buffer, self._start
        if start == len(buffer):
            return None
        if buffer.startswith(b"\r\n", start):
            # RFC 9112 section 2.2: one empty line before a request is forgiven.
            start += 2
        end = buffer.find(b"\r\n\r\n", start)
        if end < 0 or end + 4 - start > MAX_HEAD:
            self._check_unfinished(start)
            return None
        line_end = buffer.find(b"\r\n", start)
        line = bytes(buffer[start:line_end])
        if b"\n" in line:
            raise HeadError(400, "bare LF in the request line")
        method, target, version = _parse_request_line(line)
        block = bytes(buffer[line_end + 2 : end + 2])
        fields = self._fields
        if fields is None or block != self._block:
            # Players repeat the same fields with each request: they are parsed once.
            fields = parse_fields(block)
            self._block, self._fields = block, fields
        if not fields.hosts and version == (1, 1):
            raise HeadError(400, "no Host")
        if fields.chunked and version == (1, 0):
            raise HeadError(400, "Transfer-Encoding in HTTP/1.0")
        path, query = _split_target(method, target)
        raw = bytes(buffer[start : end + 4])
        self._start = end + 4
        self._compact()
        return RequestHead(
            request=HttpRequest(
                method=method,
                path=path,
                query=query,
                headers=fields.headers,
                version=version,
                peer=self._client(fields),
                secure=self.secure,
            ),
            raw=raw,
            content_length=fields.content_length,
            chunked=fields.chunked,
            persistent=not fields.close and (version == (1, 1) or fields.keep_alive),
        )

    def _client(self, fields: FieldBlock) -> str:
        """Whose request it is."""
        if self.proxies is None or not self.proxies.networks:
            return self.peer
        header = fields.headers.get("x-forwarded-for", "")
        return self.proxies.client(self.peer, header) if header else self.peer

    def _compact(self) -> None:
        if self._start > MAX_HEAD:
            del self._buffer[: self._start]
            self._start = 0

    def _check_unfinished(self, start: int) -> None:
        """Refuse early what can never become a head.

        Looks at no more than L{MAX_HEAD} bytes, so the outcome is that of the bytes, not of their cutting.
        """
        head = bytes(self._buffer[start : start + MAX_HEAD])
        line, ended, rest = head.partition(b"\r\n")
        if b"\n" in line:
            raise HeadError(400, "bare LF in the request line")
        if not ended:
            if head and not b"A" <= head[:1] <= b"Z" and head != b"\r":
                raise HeadError(400, "not an HTTP request")
            if len(head) >= MAX_HEAD:
                raise HeadError(414, f"request line longer than {MAX_HEAD} bytes")
            return
        _parse_request_line(line)
        if rest.count(b"\n") != rest.count(b"\r\n"):
            raise HeadError(400, "bare LF in the head")
        if len(head) >= MAX_HEAD:
            raise HeadError(431, f"head longer than {MAX_HEAD} bytes")
