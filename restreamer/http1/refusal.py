"""One refusal, one HTTP answer: the status mapping every media route shares."""

from __future__ import annotations

from typing import Final
from urllib.parse import quote

from restreamer.errors import REDIRECTED, NotHere, Reason, Redirected, Refused
from restreamer.http1.reply import FullReply, HttpRequest

#: Status of each class of refusal (RFC 9110 section 15).
STATUS_OF_REASON: Final[dict[Reason, int]] = {
    Reason.BAD_NAME: 400,
    Reason.NOT_FOUND: 404,
    Reason.DENIED: 403,
    Reason.BUSY: 409,
    Reason.NOT_READY: 503,
    Reason.OVERLOADED: 503,
    Reason.UNSUPPORTED: 415,
}

#: Seconds after which a stream that is only starting is worth another request, and a node that has no room.
RETRY_AFTER: Final = 1
RETRY_CROWDED: Final = 5

_HEADERS: Final = (
    b"Content-Type: text/plain; charset=utf-8\r\n"
    b"Cache-Control: no-store\r\n"
    b"Access-Control-Allow-Origin: *\r\n"
    b"X-Content-Type-Options: nosniff\r\n"
)
_RETRY: Final = {Reason.NOT_READY: RETRY_AFTER, Reason.OVERLOADED: RETRY_CROWDED}


def redirection(location: str) -> FullReply:
    """Found elsewhere, for now. @param location: an absolute URL of ASCII, with no control characters."""
    return FullReply(status=302, headers=b"%sLocation: %s\r\n" % (_HEADERS, location.encode("ascii")))


def refusal_reply(refused: Refused, request: HttpRequest | None = None) -> FullReply:
    """The answer to a request that was refused.

    The body is the refusal's one sentence. A stream that is not ready yet and a node without room also carry
    C{Retry-After} (RFC 9110 section 10.2.3), because asking again is right there and nowhere else.
    What another node has is redirected (section 15.4.3), if C{request} is given, and marked so that it is not
    redirected again. What another process of this node may have goes on to it.
    """
    if isinstance(refused, Redirected) and refused.url.startswith(("http://", "https://")):
        return redirection(refused.url)
    if isinstance(refused, Redirected) and refused.http and request is not None:
        query = f"{request.query}&{REDIRECTED}" if request.query else REDIRECTED
        return redirection(f"{refused.http}{quote(request.path)}?{query}")
    seconds = _RETRY.get(refused.reason)
    return FullReply(
        status=STATUS_OF_REASON[refused.reason],
        headers=_HEADERS + b"Retry-After: %d\r\n" % seconds if seconds else _HEADERS,
        body=refused.text.encode("utf-8", "replace") + b"\n",
        passed=isinstance(refused, NotHere),
    )
