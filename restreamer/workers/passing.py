"""Connections that land on a worker and are the main process's: pages, the API, links of other nodes.

The worker reads the head of a request, finds that none of its routes answers it, and passes the connection on
with what it has read: the descriptor itself, so that no byte of it goes through the worker again. Of a TLS
connection the worker keeps the ciphers, and passes one end of a socket pair.
"""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Callable, Mapping
from typing import Any, Final

from twisted.internet.address import IPv4Address
from twisted.internet.interfaces import IAddress, ISSLTransport
from twisted.internet.protocol import Protocol, ServerFactory, connectionDone
from twisted.python.failure import Failure
from typing_extensions import override

from restreamer.logs import Logger
from restreamer.web.service import FrontFactory
from restreamer.web.wire import peer_host
from restreamer.workers.channel import Send, adopt
from restreamer.workers.messages import Passed, Taken

_log = Logger()

#: Connections that may be on their way at once.
MAX_PASSED: Final = 1_000
#: SO_LINGER: off. A connection that the worker let go of has it set to "at once".
_NO_LINGER: Final = struct.pack("ii", 0, 0)


class Passing:
    """A worker's end. @param send: to the main process."""

    def __init__(self, reactor: Any, send: Send) -> None:
        self._reactor = reactor
        self._send = send
        self._number = 0
        self._on_the_way: dict[int, int] = {}
        self.count = 0

    def site(self, listen: tuple[str, int]) -> _PassingSite:
        """What stands behind the front of a listener in the place of pages and API."""
        return _PassingSite(self, listen)

    def taken(self, message: Taken) -> None:
        """The main process has it: our copy can go."""
        fd = self._on_the_way.pop(message.number, None)
        if fd is not None:
            os.close(fd)

    def close(self) -> None:
        """The main process is gone."""
        for number in tuple(self._on_the_way):
            self.taken(Taken(number))

    def begin(self, wire: Any, listen: tuple[str, int], data: bytes) -> Protocol | Callable[[], None] | None:
        """Pass C{wire} on.

        @return: who gets the rest of its bytes; or what is to be called once it is closed here; None: no more
            is to be done.
        """
        if len(self._on_the_way) >= MAX_PASSED:
            wire.abortConnection()
            return None
        peer = peer_host(wire.getPeer())
        self.count += 1
        if ISSLTransport.providedBy(wire):
            return self._pipe(wire, listen, peer, data)
        fd = os.dup(wire.fileno())
        # Closed here first: two processes that read one socket would share its bytes by chance, and what
        # Twisted sets on a socket that it aborts is set for both.
        wire.stopReading()
        wire.abortConnection()
        return lambda: self._pass(fd, listen, peer, False, data)

    def _pipe(self, wire: Any, listen: tuple[str, int], peer: str, data: bytes) -> Protocol:
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        theirs.setblocking(False)
        end = _PipeEnd(wire)
        adopt(self._reactor, end, ours.fileno())
        ours.close()
        self._pass(theirs.detach(), listen, peer, True, data)
        return end.inlet

    def _pass(self, fd: int, listen: tuple[str, int], peer: str, secure: bool, data: bytes) -> None:
        self._number += 1
        self._on_the_way[self._number] = fd
        message = Passed(number=self._number, listen=listen, peer=peer, secure=secure, data=data)
        self._send(message, [fd])


class _PassingSite:
    """Stands where a L{twisted.web.server.Site} does."""

    def __init__(self, passing: Passing, listen: tuple[str, int]) -> None:
        self._passing = passing
        self._listen = listen

    def buildProtocol(self, addr: IAddress | None) -> Protocol:
        """What a connection is handed to."""
        return _Passer(self._passing, self._listen)


class _Passer(Protocol):
    """Gets what was read, and passes the connection on."""

    def __init__(self, passing: Passing, listen: tuple[str, int]) -> None:
        self._passing = passing
        self._listen = listen
        self._begun = False
        self._inlet: Protocol | Callable[[], None] | None = None

    @override
    def dataReceived(self, data: bytes) -> None:
        if not self._begun:
            self._begun = True
            self._inlet = self._passing.begin(self.transport, self._listen, data)
        elif isinstance(self._inlet, Protocol):
            self._inlet.dataReceived(data)

    @override
    def connectionLost(self, reason: Failure = connectionDone) -> None:
        inlet, self._inlet = self._inlet, None
        if isinstance(inlet, Protocol):
            inlet.connectionLost(reason)
        elif inlet is not None:
            inlet()


class _PipeEnd(Protocol):
    """Our end of a socket pair; what comes goes to the client, what the client sends goes here.

    @ivar inlet: takes what the client sends.
    """

    def __init__(self, wire: Any) -> None:
        self._wire = wire
        self.inlet = _Inlet(self)

    @override
    def connectionMade(self) -> None:
        pair: Any = self.transport
        # Either stops reading while the other cannot be written to.
        self._wire.registerProducer(pair, True)
        pair.registerProducer(self._wire, True)

    @override
    def dataReceived(self, data: bytes) -> None:
        self._wire.write(data)

    @override
    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._wire.unregisterProducer()
        self._wire.loseConnection()


class _Inlet(Protocol):
    """What a client sends."""

    def __init__(self, end: _PipeEnd) -> None:
        self._end = end

    @override
    def dataReceived(self, data: bytes) -> None:
        pair: Any = self._end.transport
        pair.write(data)

    @override
    def connectionLost(self, reason: Failure = connectionDone) -> None:
        pair: Any = self._end.transport
        pair.unregisterProducer()
        pair.loseConnection()


class Adopting:
    """The main process's end: serves what workers pass on.

    @param fronts: by (address, port).
    """

    def __init__(self, reactor: Any, fronts: Mapping[tuple[str, int], FrontFactory]) -> None:
        self._reactor = reactor
        self._fronts = fronts

    def take(self, message: Passed, fd: int, send: Callable[[Taken], None]) -> None:
        """Serve the connection C{fd}, which is ours."""
        held = socket.socket(fileno=fd)
        try:
            held.setblocking(False)
            front = self._fronts.get(message.listen)
            if front is None:
                return
            try:
                if held.family != socket.AF_UNIX:
                    held.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
                factory = _Known(front, message)
                self._reactor.adoptStreamConnection(held.fileno(), held.family, factory)
            except OSError as error:
                _log.debug("a connection that was passed on is gone: {error}", error=error)
        finally:
            held.close()
            send(Taken(message.number))


class _Known(ServerFactory):
    """Makes the front's protocol for one connection, whose address is known and of which bytes were read."""

    noisy = False

    def __init__(self, front: FrontFactory, message: Passed) -> None:
        self._front = front
        self._message = message

    @override
    def buildProtocol(self, addr: IAddress | None) -> Protocol | None:
        message = self._message
        protocol = self._front.buildProtocol(IPv4Address("TCP", message.peer, 0))
        return _Preread(protocol, message) if protocol is not None else None


class _Preread(Protocol):
    """Hands a connection to the front's protocol, with the bytes that were read before."""

    def __init__(self, protocol: Protocol, message: Passed) -> None:
        self._protocol = protocol
        self._message = message

    @override
    def connectionMade(self) -> None:
        wire: Any = self.transport
        protocol = self._protocol
        # From here on the transport is the front's.
        wire.protocol = protocol
        protocol.makeConnection(wire)
        if self._message.secure:
            came_over_tls = getattr(protocol, "came_over_tls", None)
            if came_over_tls is not None:
                came_over_tls()
        if wire.connected:
            protocol.dataReceived(self._message.data)
