"""What a media route can answer, as values the HTTP front carries out."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Protocol

from attrs import field, frozen

from restreamer.seams import Account, ViewerTransport


@frozen(kw_only=True)
class HttpRequest:
    """A parsed and checked request head.

    @ivar method: upper-case verb; @ivar path: percent-decoded once, begins with C{/}, no C{..}, no NUL, no
        control characters; @ivar query: raw query string without C{?} (may hold secrets: never logged).
    @ivar headers: lower-case names to values; a repeated header is joined with C{", "}.
    @ivar version: (1, 0) or (1, 1). @ivar peer: client address without port. @ivar secure: over TLS.
    @ivar account: where the gate leaves the session: the front counts the bytes of the answer there.
    """

    method: str
    path: str
    query: str = field(default="", repr=False)
    headers: Mapping[str, str] = field(factory=dict, repr=False)
    version: tuple[int, int] = (1, 1)
    peer: str = ""
    secure: bool = False
    account: Account = field(factory=Account, eq=False, repr=False)


@frozen(kw_only=True)
class FullReply:
    """A complete answer. The front adds Connection, Date is left out, HEAD sends no body.

    @ivar status: HTTP status.
    @ivar headers: prebuilt header lines, each ended by CRLF, without Content-Length.
    @ivar body: shared bytes, never copied per viewer. @ivar etag: quoted entity tag or empty: when given the
        front answers If-None-Match with 304 and a single Range with 206/416 (RFC 9110 sections 13, 14).
    @ivar passed: what stands behind the front answers instead, if anything does.
    """

    status: int
    headers: bytes = b""
    body: bytes = b""
    etag: str = ""
    passed: bool = False


@frozen(eq=False)
class Ready:
    """An answer of status 200 as it goes over a connection of HTTP/1.1 that stays open.

    @ivar head: head, and a small body with it. @ivar body: the rest; shared bytes. @ivar size: bytes of the
        whole body. @ivar until: UTC ticks of the end of the media in it; 0: it has none.
    """

    head: bytes
    body: bytes
    size: int
    until: int = 0


#: The answer to a request like the last one but for the last part of its path, as it is sent; None: ask the
#: routes. It is given that part (letters, digits, C{.}, C{-}, C{_}) and decides by what is known now: it
#: neither waits nor raises.
Repeat = Callable[[str], Ready | None]


@frozen(kw_only=True)
class HeldReply:
    """An answer that many wait for at once. After everything has been asked that can refuse it.

    @ivar hold: told who waits; gives what ends the wait of one that is gone. The answer comes later, once,
        with the same answer as it is sent, if many get the same one.
    """

    hold: Callable[[Callable[[FullReply, Ready | None], None]], Callable[[], None]]


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


class ChunkWriter(Protocol):
    """Takes the pieces of a L{ChunkedReply}."""

    def write(self, data: bytes) -> None:
        """Send C{data} as soon as what is before it is sent. It is kept by reference, not copied."""
        ...

    @property
    def waiting(self) -> int:
        """Bytes that were written and are not handed to the kernel or the transport yet."""
        ...


class ChunkedBody(Protocol):
    """Somebody who writes a body that ends, piece by piece."""

    def __call__(self, writer: ChunkWriter, ended: Callable[[str], None]) -> Callable[[], None]:
        """Begin to write; may write and end before it returns.

        @param ended: to be called once when there is no more. C{ended("")}: the body is whole, and the
            connection goes on to the next request. C{ended(reason)}: it is not; the connection is cut, so
            that the client sees that something is missing.
        @return: what the front calls when the client is gone or too slow; it is not called after C{ended}.
        """
        ...


@frozen(kw_only=True)
class ChunkedReply:
    """A head, then a body of unknown length that ends (RFC 9112 section 7.1).

    Nothing bounds what is written but not sent yet: who writes ends in time, and writes what is shared
    anyway, or looks at C{waiting}. A client that takes nothing is aborted, like any other reader, and so is
    one whose body takes too long. A client of HTTP/1.0 gets it without chunks, and the connection closes.
    HEAD begins nothing.
    """

    headers: bytes
    start: ChunkedBody
    status: int = 200


class Uploader(Protocol):
    """The front's side of an upload."""

    def answer(self, reply: FullReply) -> None:
        """Answer: when all has come, or at once; then the rest of the body is not wanted, L{UploadSink} is
        not called any more and the connection closes. Only the first answer counts."""
        ...


class UploadSink(Protocol):
    """Takes the body of a request. It raises nothing."""

    def data(self, data: bytes) -> float:
        """Take bytes of the body, in order; gives seconds for which the client is not read."""
        ...

    def ended(self, complete: bool) -> None:
        """The body is over; called once, unless an answer was given before.

        @param complete: all of it came, and L{Uploader.answer} is to be called now or soon. Else the client
            is gone, was silent for too long, broke the protocol, or the node stops.
        """
        ...


@frozen(kw_only=True)
class UploadReply:
    """Take the body of the request, of any length, while it comes.

    To be given by the route at once, not by an awaitable.
    @ivar start: asked before any of the body is read (and before C{100 Continue} is sent, RFC 9110 section
        10.1.1); what it raises is answered like what a route raises.
    """

    start: Callable[[Uploader], Awaitable[UploadSink]]


@frozen(kw_only=True)
class UpgradeReply:
    """Switch protocols (RFC 9110 section 7.8): the front writes 101 with C{headers}, then hands over.

    @ivar protocol: called once to make the Twisted protocol that takes the transport and any bytes
        received after the head.
    """

    headers: bytes
    protocol: Callable[[], Any]


Reply = FullReply | HeldReply | EndlessReply | ChunkedReply | UploadReply | UpgradeReply

#: A route: gives None at once when the request is not its own; otherwise the reply or an awaitable of it.
Route = Callable[[HttpRequest], "Reply | Awaitable[Reply] | None"]
