"""One GET of one URL, over connections of its own: redirections followed, all bounded in time and size."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final
from typing import Protocol as Interface

from attrs import frozen
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime, IStreamClientEndpoint
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.python.failure import Failure
from typing_extensions import override

from restreamer.errors import RemoteProtocolError
from restreamer.http1.response import ResponseHead, ResponseReader
from restreamer.http1.url import HttpUrl, get_request
from restreamer.logs import Logger

_log = Logger()

USER_AGENT: Final = "Restreamer"
MAX_REDIRECTIONS: Final = 5
_REDIRECTIONS: Final = frozenset({301, 302, 303, 307, 308})
#: The server is not left unread for longer than this at a time, in seconds.
_MAX_PAUSE: Final = 5.0

#: C{connect(host, port, tls)}.
Connect = Callable[[str, int, bool], IStreamClientEndpoint]


@frozen(kw_only=True)
class GetLimits:
    """What one GET may take; seconds and bytes.

    @ivar head: from the beginning to the head of the answer, redirections included.
    @ivar silence: without a byte of the body. @ivar whole: for all of it; 0: it need not end.
    @ivar size: bytes of the body; 0: any number.
    """

    head: float = 10.0
    silence: float = 10.0
    whole: float = 0.0
    size: int = 0


class Getter(Interface):
    """Who wants the answer."""

    def answered(self, head: ResponseHead, url: HttpUrl) -> None:
        """An answer begins, of status 200, or 206 if a part was asked for; it came from C{url}."""
        ...

    def data(self, data: bytes) -> float:
        """Bytes of the body; gives seconds for which the server is not read.

        @raise RemoteProtocolError: it is not what was expected: the GET ends.
        """
        ...

    def ended(self, reason: str) -> None:
        """Called once, last, unless L{HttpGet.stop} was; C{reason} is empty when all of the body came."""
        ...


class _Wire(Protocol):
    """The connection of one hop."""

    def __init__(self, owner: HttpGet, request: bytes) -> None:
        self._owner = owner
        self._request = request

    @override
    def connectionMade(self) -> None:
        self._owner.connected(self)
        assert self.transport is not None
        self.transport.write(self._request)

    @override
    def dataReceived(self, data: bytes) -> None:
        self._owner.received(self, data)

    @override
    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._owner.closed(self, reason.getErrorMessage())

    def pause(self, paused: bool) -> None:
        """Stop or go on reading."""
        transport: Any = self.transport
        if paused:
            transport.pauseProducing()
        else:
            transport.resumeProducing()

    def abort(self) -> None:
        """Close now."""
        transport: Any = self.transport
        if transport is not None:
            transport.abortConnection()


class _WireFactory(Factory):
    noisy = False

    def __init__(self, wire: _Wire) -> None:
        self._wire = wire

    @override
    def buildProtocol(self, addr: object) -> Protocol:
        return self._wire


class HttpGet:
    """Gets C{url}. Nothing happens before L{start}."""

    def __init__(
        self,
        url: HttpUrl,
        getter: Getter,
        clock: IReactorTime,
        connect: Connect,
        limits: GetLimits | None = None,
        user_agent: str = "",
        part: tuple[int, int] = (0, 0),
    ) -> None:
        """@param part: first byte and number of bytes of a byte range; 0 bytes: all of it."""
        self._url = url
        self._getter = getter
        self._clock = clock
        self._connect = connect
        self._limits = limits or GetLimits()
        self._part = part
        self._user_agent = user_agent or USER_AGENT
        self._reader = ResponseReader()
        self._wire: _Wire | None = None
        self._connecting: Deferred[Any] | None = None
        self._deadline: IDelayedCall | None = None
        self._whole: IDelayedCall | None = None
        self._resume: IDelayedCall | None = None
        self._heard = 0.0
        self._hops = 0
        self._size = 0
        self._over = False

    def start(self) -> None:
        """Begin."""
        limits = self._limits
        self._deadline = self._clock.callLater(limits.head, self._finish, "no answer in time")
        if limits.whole:
            self._whole = self._clock.callLater(limits.whole, self._finish, "not all of it came in time")
        self._hop()

    def stop(self) -> None:
        """End it; the getter is told nothing more. Idempotent."""
        self._over = True
        self._release()

    # The connection's calls.

    def connected(self, wire: _Wire) -> None:
        """There is a connection."""
        if self._over:
            wire.abort()
        else:
            self._wire = wire

    def received(self, wire: _Wire, data: bytes) -> None:
        """Bytes came."""
        if self._over or wire is not self._wire:
            return
        self._heard = self._clock.seconds()
        try:
            self._take(data)
        except RemoteProtocolError as error:
            self._finish(str(error))
        except Exception:
            _log.failure("an answer of {url} could not be taken", url=self._url.authority)
            self._finish("internal error")

    def closed(self, wire: _Wire, why: str) -> None:
        """The connection is gone."""
        if wire is self._wire and not self._over:
            whole = self._reader.closed()
            self._finish("" if whole else f"connection lost ({why})")

    # Inside.

    def _hop(self) -> None:
        url = self._url
        self._reader = ResponseReader()
        wire = _Wire(self, get_request(url, self._user_agent, *self._part))
        connecting = self._connecting = self._connect(url.host, url.port, url.tls).connect(_WireFactory(wire))
        _ = connecting.addCallbacks(lambda _: None, self._failed)

    def _failed(self, failure: Failure) -> None:
        if not self._over:
            self._finish(f"cannot connect ({failure.getErrorMessage()})")

    def _take(self, data: bytes) -> None:
        reader = self._reader
        told = reader.head is not None
        wait = 0.0
        for piece in reader.receive(data):
            if not told:
                told = True
                if not self._begin(reader):
                    return
            self._size += len(piece)
            if self._limits.size and self._size > self._limits.size:
                self._finish(f"more than {self._limits.size} bytes")
                return
            wait = max(wait, self._getter.data(piece))
            if self._over:
                return
        if not told and reader.head is not None and not self._begin(reader):
            return
        if reader.complete and not self._over:
            self._finish("")
        elif wait > 0 and self._wire is not None and self._resume is None:
            self._wire.pause(True)
            self._resume = self._clock.callLater(min(wait, _MAX_PAUSE), self._read_on)

    def _begin(self, reader: ResponseReader) -> bool:
        """The head came; gives whether its body is wanted."""
        head = reader.head
        assert head is not None
        if head.status in _REDIRECTIONS and "location" in head.headers:
            self._redirect(head.headers["location"])
            return False
        if head.status != 200 and not (head.status == 206 and self._part[1]):
            self._finish(f"the server answered {head.status}")
            return False
        if self._limits.size and head.length is not None and head.length > self._limits.size:
            self._finish(f"a body of {head.length} bytes, more than {self._limits.size}")
            return False
        if self._deadline is not None:
            self._deadline.cancel()
        self._deadline = self._clock.callLater(self._limits.silence, self._silent)
        self._getter.answered(head, self._url)
        return not self._over

    def _redirect(self, location: str) -> None:
        self._hops += 1
        if self._hops > MAX_REDIRECTIONS:
            self._finish(f"more than {MAX_REDIRECTIONS} redirections")
            return
        self._url = self._url.join(location)
        wire, self._wire = self._wire, None
        if wire is not None:
            wire.abort()
        self._hop()

    def _silent(self) -> None:
        self._deadline = None
        if self._resume is not None:
            self._heard = self._clock.seconds()
        left = self._heard + self._limits.silence - self._clock.seconds()
        if left > 0:
            self._deadline = self._clock.callLater(left, self._silent)
        else:
            self._finish(f"nothing came for {self._limits.silence:g} s")

    def _read_on(self) -> None:
        self._resume = None
        self._heard = self._clock.seconds()
        if self._wire is not None:
            self._wire.pause(False)

    def _finish(self, reason: str) -> None:
        if self._over:
            return
        self._over = True
        self._release()
        self._getter.ended(reason)

    def _release(self) -> None:
        for call in (self._deadline, self._whole, self._resume):
            if call is not None and call.active():
                call.cancel()
        self._deadline = self._whole = self._resume = None
        wire, self._wire = self._wire, None
        if wire is not None:
            wire.abort()
        connecting, self._connecting = self._connecting, None
        if connecting is not None:
            connecting.cancel()
