"""What a media route can answer, as values the HTTP front carries out."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Protocol

from attrs import field, frozen

from restreamer.seams import ViewerTransport


@frozen(kw_only=True)
class HttpRequest:
    """A parsed and checked request head.

    @ivar method: upper-case verb; @ivar path: percent-decoded once, begins with C{/}, no C{..}, no NUL, no
        control characters; @ivar query: raw query string without C{?} (may hold secrets: never logged).
    @ivar headers: lower-case names to values; a repeated header is joined with C{", "}.
    @ivar version: (1, 0) or (1, 1). @ivar peer: client address without port. @ivar secure: over TLS.
    """

    method: str
    path: str
    query: str = field(default="", repr=False)
    headers: Mapping[str, str] = field(factory=dict, repr=False)
    version: tuple[int, int] = (1, 1)
    peer: str = ""
    secure: bool = False


@frozen(kw_only=True)
class FullReply:
    """A complete answer. The front adds Connection, Date is left out, HEAD sends no body.

    @ivar status: HTTP status.
    @ivar headers: prebuilt header lines, each ended by CRLF, without Content-Length.
    @ivar body: shared bytes, never copied per viewer. @ivar etag: quoted entity tag or empty: when given the
        front answers If-None-Match with 304 and a single Range with 206/416 (RFC 9110 sections 13, 14).
    """

    status: int
    headers: bytes = b""
    body: bytes = b""
    etag: str = ""


class EndlessBody(Protocol):
    """Somebody who fills an endless body once the head is written."""

    def __call__(self, transport: ViewerTransport, ended: Callable[[str], None]) -> Callable[[], None]:
        """Start sending to C{transport}; C{ended(reason)} when there is no more (the front closes).

        @return: what the front calls when the client is gone.
        """
        ...


@frozen(kw_only=True)
class EndlessReply:
    """A head, then bytes until one side closes: no Content-Length, no chunking, Connection: close."""

    headers: bytes
    start: EndlessBody
    status: int = 200


@frozen(kw_only=True)
class UpgradeReply:
    """Switch protocols (RFC 9110 section 7.8): the front writes 101 with C{headers}, then hands over.

    @ivar protocol: called once to make the Twisted protocol that takes the transport and any bytes
        received after the head.
    """

    headers: bytes
    protocol: Callable[[], Any]


Reply = FullReply | EndlessReply | UpgradeReply

#: A route: gives None at once when the request is not its own; otherwise the reply or an awaitable of it.
Route = Callable[[HttpRequest], "Reply | Awaitable[Reply] | None"]
