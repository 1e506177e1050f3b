"""Bytes of response heads and the short answers the front gives by itself (pure)."""

from __future__ import annotations

from typing import Final

from restreamer.http1.conditional import RangeOutcome, none_match_hit, wanted_range
from restreamer.http1.reply import FullReply, HttpRequest, Ready

#: Reason phrases of every status this program answers (RFC 9110 section 15).
REASON_PHRASES: Final[dict[int, bytes]] = {
    101: b"Switching Protocols",
    200: b"OK",
    204: b"No Content",
    206: b"Partial Content",
    301: b"Moved Permanently",
    302: b"Found",
    304: b"Not Modified",
    307: b"Temporary Redirect",
    400: b"Bad Request",
    401: b"Unauthorized",
    403: b"Forbidden",
    404: b"Not Found",
    405: b"Method Not Allowed",
    408: b"Request Timeout",
    409: b"Conflict",
    411: b"Length Required",
    413: b"Content Too Large",
    414: b"URI Too Long",
    415: b"Unsupported Media Type",
    416: b"Range Not Satisfiable",
    424: b"Failed Dependency",
    426: b"Upgrade Required",
    429: b"Too Many Requests",
    431: b"Request Header Fields Too Large",
    500: b"Internal Server Error",
    501: b"Not Implemented",
    502: b"Bad Gateway",
    503: b"Service Unavailable",
    504: b"Gateway Timeout",
    505: b"HTTP Version Not Supported",
}

STATUS_LINES: Final[dict[int, bytes]] = {
    status: b"HTTP/1.1 %d %s\r\n" % (status, phrase) for status, phrase in REASON_PHRASES.items()
}

CLOSE: Final = b"Connection: close\r\n"
KEEP_ALIVE: Final = b"Connection: keep-alive\r\n"
#: A client that may keep an HTTP/1.1 connection needs to be told nothing.
PERSISTS: Final = b""

_PLAIN: Final = (
    b"Content-Type: text/plain; charset=utf-8\r\n"
    b"Cache-Control: no-store\r\n"
    b"Access-Control-Allow-Origin: *\r\n"
    b"X-Content-Type-Options: nosniff\r\n"
)


def status_line(status: int) -> bytes:
    """The status line with CRLF; an unknown status has an empty reason phrase."""
    return STATUS_LINES.get(status) or b"HTTP/1.1 %d \r\n" % status


def plain_reply(status: int, text: str = "") -> FullReply:
    """A short text answer; by default the reason phrase of C{status}."""
    body = text.encode() if text else REASON_PHRASES.get(status, b"Error")
    return FullReply(status=status, headers=_PLAIN, body=body + b"\n")


#: Bodies up to this are joined with their head: one small copy is cheaper than a second buffer.
JOIN_LIMIT: Final = 8 * 1024


def takes_ready(request: HttpRequest) -> bool:
    """Whether C{request}, of a connection that stays open, may be answered by a L{Ready}."""
    asked = request.headers
    return (
        request.method == "GET"
        and request.version == (1, 1)
        and "range" not in asked
        and "if-none-match" not in asked
    )


def ready_head(headers: bytes, size: int, etag: str = "") -> bytes:
    """The head of status 200 as L{render_full} makes it for a GET without conditions over HTTP/1.1."""
    if etag:
        headers = b"%sETag: %s\r\nAccept-Ranges: bytes\r\n" % (headers, etag.encode("latin-1"))
    return b"%s%sContent-Length: %d\r\n%s\r\n" % (STATUS_LINES[200], headers, size, PERSISTS)


def ready_answer(headers: bytes, body: bytes, etag: str = "") -> Ready:
    """The answer with that head."""
    head, size = ready_head(headers, len(body), etag), len(body)
    return Ready(head + body, b"", size) if size <= JOIN_LIMIT else Ready(head, body, size)


def render_full(
    request: HttpRequest, reply: FullReply, connection: bytes
) -> tuple[bytes, memoryview | bytes]:
    """Turn a full answer into the head and the body bytes to send.

    Adds Content-Length and, where the reply has an entity tag, ETag and Accept-Ranges; answers
    If-None-Match with 304 and a single Range with 206 or 416. HEAD gets the head of GET without
    Range (RFC 9110 section 14.2). A 416 keeps nothing of the reply: nobody may cache it.
    @param connection: the Connection line, or empty.
    @return: head, and the body: the reply's own bytes, or a view of them for a range.
    """
    status, headers, body, etag = reply.status, reply.headers, reply.body, reply.etag
    if etag:
        headers = b"%sETag: %s\r\nAccept-Ranges: bytes\r\n" % (headers, etag.encode("latin-1"))
        if status == 200:
            asked = request.headers
            if "if-none-match" in asked and none_match_hit(asked["if-none-match"], etag):
                return b"%s%s%s\r\n" % (STATUS_LINES[304], headers, connection), b""
            if "range" in asked and request.method == "GET":
                part = wanted_range(asked, etag, len(body))
                if part is RangeOutcome.UNSATISFIABLE:
                    headers = b"%sContent-Range: bytes */%d\r\nContent-Length: 0\r\n" % (_PLAIN, len(body))
                    return b"%s%s%s\r\n" % (STATUS_LINES[416], headers, connection), b""
                if isinstance(part, tuple):
                    first, last = part
                    headers = b"%sContent-Range: bytes %d-%d/%d\r\n" % (headers, first, last, len(body))
                    head = b"%s%sContent-Length: %d\r\n%s\r\n" % (
                        STATUS_LINES[206],
                        headers,
                        last + 1 - first,
                        connection,
                    )
                    return head, memoryview(body)[first : last + 1]
    if status == 204 or status == 304:
        return b"%s%s%s\r\n" % (status_line(status), headers, connection), b""
    head = b"%s%sContent-Length: %d\r\n%s\r\n" % (status_line(status), headers, len(body), connection)
    return head, b"" if request.method == "HEAD" else body
