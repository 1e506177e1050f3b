"""One refusal, one HTTP answer: the status mapping every media route shares."""

from __future__ import annotations

from typing import Final

from restreamer.errors import Reason, Refused
from restreamer.http1.reply import FullReply

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

#: Seconds after which a stream that is only starting is worth another request.
RETRY_AFTER: Final = 1

_HEADERS: Final = (
    b"Content-Type: text/plain; charset=utf-8\r\n"
    b"Cache-Control: no-store\r\n"
    b"Access-Control-Allow-Origin: *\r\n"
    b"X-Content-Type-Options: nosniff\r\n"
)
_RETRY_HEADERS: Final = _HEADERS + b"Retry-After: %d\r\n" % RETRY_AFTER


def refusal_reply(refused: Refused) -> FullReply:
    """The answer to a request that was refused.

    The body is the refusal's one sentence. A stream that is not ready yet also carries C{Retry-After}
    (RFC 9110 section 10.2.3), because asking again is right there and nowhere else.
    """
    return FullReply(
        status=STATUS_OF_REASON[refused.reason],
        headers=_RETRY_HEADERS if refused.reason is Reason.NOT_READY else _HEADERS,
        body=refused.text.encode("utf-8", "replace") + b"\n",
    )
