"""Connections between the nodes of a simulated cluster: in memory, on a clock of the test's own.

A connection carries bytes both ways after a delay, in order, cut into pieces as the network likes. It has
what a real one has: a transport that holds what the other side does not take and says so to its producer,
an orderly close behind the last byte, a reset. And it does on demand what a real one does by chance: it is
cut after so many bytes, it swallows everything without a word, its other side stops reading.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable
from typing import Any

from attrs import define, field
from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred
from twisted.internet.error import (
    ConnectError,
    ConnectionAborted,
    ConnectionDone,
    ConnectionLost,
    ConnectionRefusedError,
    TimeoutError,
)
from twisted.internet.interfaces import (
    IConsumer,
    IProtocol,
    IProtocolFactory,
    IStreamClientEndpoint,
    ITransport,
)
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from zope.interface import implementer

#: What a transport holds before it pauses its producer, bytes (as Twisted's do).
HIGH_WATER = 64 * 1024
#: What the two kernels hold together when the other side does not read, bytes.
IN_FLIGHT = 256 * 1024
#: How long an attempt to connect to a silent address lasts, seconds.
CONNECT_TIMEOUT = 5.0


@implementer(ITransport, IConsumer)
class MemoryTransport:
    """One end of a connection.

    @ivar sent: bytes this end put on the wire so far. @ivar held: bytes the transport holds.
    @ivar most_held: the most it ever held. @ivar reading: false: this end's kernel fills up.
    @ivar cut_after: the connection breaks when this end has put so many bytes on the wire.
    """

    def __init__(self, network: MemoryNetwork, host: str, peer_host: str) -> None:
        self.network = network
        self.protocol: Any = None
        self.peer: MemoryTransport
        self.sent = 0
        self.most_held = 0
        self.reading = True
        self.cut_after: int | None = None
        self._host = host
        self._peer_host = peer_host
        self._buffer = bytearray()
        self._flying = 0
        self._arrived: list[bytes] = []
        self._producer: Any = None
        self._streaming = False
        self._paused = False
        self._closing = False
        self._fin_at = False
        self._wire: deque[tuple[float, Callable[..., None], tuple[object, ...]]] = deque()
        self._travelling: Any = None
        self.gone = False

    @property
    def held(self) -> int:
        """Bytes the transport holds."""
        return len(self._buffer)

    # What a protocol calls.

    def write(self, data: bytes) -> None:
        """Put bytes on the wire, or keep them until there is room."""
        if self.gone:
            return
        self._buffer += data
        self._send()
        self.most_held = max(self.most_held, len(self._buffer))
        if self._producer is None or not self._streaming or self._paused:
            return
        if len(self._buffer) > HIGH_WATER:
            self._paused = True
            self._producer.pauseProducing()

    def writeSequence(self, data: Any) -> None:  # noqa: N802
        """Put several pieces on the wire."""
        self.write(b"".join(data))

    def registerProducer(self, producer: Any, streaming: bool) -> None:  # noqa: N802
        """See L{IConsumer}."""
        if self._producer is not None:
            raise RuntimeError("there is a producer already")
        if self.gone:
            producer.stopProducing()
            return
        self._producer = producer
        self._streaming = streaming
        if not streaming:
            producer.resumeProducing()

    def unregisterProducer(self) -> None:  # noqa: N802
        """See L{IConsumer}."""
        self._producer = None
        self._paused = False
        self._send()

    def loseConnection(self) -> None:  # noqa: N802
        """Close behind the last byte; nothing is read any more."""
        if not self._closing and not self.gone:
            self._closing = True
            self.network.clock.callLater(0, self._send)

    def abortConnection(self) -> None:  # noqa: N802
        """Reset the connection."""
        if not self.gone:
            self._buffer.clear()
            self._closing = True
            self.network.clock.callLater(0, self._lose, ConnectionAborted())
            self.network.later(self, self.peer._lose, ConnectionLost())

    def getPeer(self) -> IPv4Address:  # noqa: N802
        """The other side's address."""
        return IPv4Address("TCP", self._peer_host, 0)

    def getHost(self) -> IPv4Address:  # noqa: N802
        """This side's address."""
        return IPv4Address("TCP", self._host, 0)

    # What the network does.

    def stop_reading(self) -> None:
        """This end's process stands still: nothing is delivered to it."""
        self.reading = False

    def read_on(self) -> None:
        """It goes on."""
        self.reading = True
        arrived, self._arrived = self._arrived, []
        for data in arrived:
            self._deliver(data)

    def cut(self) -> None:
        """Both ends lose the connection; what is on the wire is lost."""
        for end in (self, self.peer):
            end._lose(ConnectionLost())

    def _send(self) -> None:
        if self.gone:
            return
        room = IN_FLIGHT - self._flying
        while self._buffer and room > 0:
            size = min(room, len(self._buffer), self.network.piece())
            if self.cut_after is not None:
                size = min(size, self.cut_after - self.sent)
                if size <= 0:
                    self.network.later(self, self.cut)
                    return
            data = bytes(self._buffer[:size])
            del self._buffer[:size]
            self.sent += size
            self._flying += size
            room -= size
            self.network.later(self, self.peer._arrive, data)
        if self._buffer:
            return
        producer = self._producer
        if producer is not None and (self._paused or not self._streaming):
            self._paused = False
            producer.resumeProducing()
        elif self._closing and not self._fin_at:
            self._fin_at = True
            self.network.later(self, self.peer._lose, ConnectionDone())
            self.network.clock.callLater(0, self._lose, ConnectionDone())

    def _arrive(self, data: bytes) -> None:
        if not self.reading:
            self._arrived.append(data)
        else:
            self._deliver(data)

    def _deliver(self, data: bytes) -> None:
        self.peer._flying -= len(data)
        if not self.gone and not self._closing and self.protocol is not None:
            self.protocol.dataReceived(data)
        if not self.peer.gone:
            self.peer._send()

    def _lose(self, reason: Exception) -> None:
        if self.gone:
            return
        self.gone = True
        self._buffer.clear()
        self.network.forget(self)
        producer, self._producer = self._producer, None
        if producer is not None:
            producer.stopProducing()
        protocol, self.protocol = self.protocol, None
        if protocol is not None:
            protocol.connectionLost(Failure(reason))


@define(eq=False)
class MemoryNetwork:
    """Who can be reached, and how bytes travel.

    @ivar delay: seconds one way. @ivar rng: cuts the bytes into pieces; the same seed, the same pieces.
    @ivar largest_piece: most bytes delivered at once.
    @ivar connections: the client's end of each connection that exists, in the order they were made.
    """

    clock: Clock
    rng: random.Random = field(factory=lambda: random.Random(0))
    delay: float = 0.002
    largest_piece: int = 1 << 20
    connections: list[MemoryTransport] = field(factory=list)
    attempts: int = 0
    _listeners: dict[str, Callable[[], IProtocol]] = field(factory=dict)
    _silent: set[frozenset[str]] = field(factory=set)

    def listen(self, host: str, accept: Callable[[], IProtocol]) -> None:
        """C{accept} makes the protocol of each connection to C{host}."""
        self._listeners[host] = accept

    def unlisten(self, host: str) -> None:
        """Connections to C{host} are refused."""
        self._listeners.pop(host, None)

    def silence(self, one: str, other: str) -> None:
        """Between the two everything is swallowed from here on: nobody is told."""
        self._silent.add(frozenset((one, other)))

    def heal(self, one: str, other: str) -> None:
        """Bytes travel again; connections that lost some of theirs are reset."""
        self._silent.discard(frozenset((one, other)))
        for end in self.between(one, other):
            end.cut()

    def between(self, one: str, other: str) -> list[MemoryTransport]:
        """The client's ends of the connections between two hosts."""
        return [end for end in self.connections if {end._host, end._peer_host} == {one, other}]

    def endpoint(self, host: str, to: str) -> MemoryEndpoint:
        """How C{host} connects to C{to}."""
        return MemoryEndpoint(self, host, to)

    def connect(self, host: str, to: str, factory: IProtocolFactory) -> Deferred[Any]:
        """Make a connection."""
        self.attempts += 1
        timers: list[Any] = []

        def cancelled(_: object) -> None:
            timers[0].cancel()

        made: Deferred[Any] = Deferred(cancelled)
        if frozenset((host, to)) in self._silent:
            timers.append(self.clock.callLater(CONNECT_TIMEOUT, made.errback, TimeoutError()))
        else:
            timers.append(self.clock.callLater(2 * self.delay, self._connected, host, to, factory, made))
        return made

    def _connected(self, host: str, to: str, factory: IProtocolFactory, made: Deferred[Any]) -> None:
        accept = self._listeners.get(to)
        if accept is None:
            made.errback(ConnectionRefusedError())
            return
        client, server = MemoryTransport(self, host, to), MemoryTransport(self, to, host)
        client.peer, server.peer = server, client
        server.protocol = accept()
        client.protocol = factory.buildProtocol(client.getPeer())
        if client.protocol is None:
            made.errback(ConnectError())
            return
        self.connections.append(client)
        server.protocol.makeConnection(server)
        client.protocol.makeConnection(client)
        made.callback(client.protocol)

    def later(self, end: MemoryTransport, call: Callable[..., None], *args: object) -> None:
        """Let something travel from C{end} to its peer."""
        if frozenset((end._host, end._peer_host)) not in self._silent:
            end._wire.append((self.clock.seconds() + self.delay, call, args))
            if end._travelling is None:
                end._travelling = self.clock.callLater(self.delay, self._arrive, end)

    def _arrive(self, end: MemoryTransport) -> None:
        end._travelling = None
        wire = end._wire
        while wire and wire[0][0] <= self.clock.seconds():
            _, call, args = wire.popleft()
            call(*args)
        if wire and end._travelling is None:
            end._travelling = self.clock.callLater(wire[0][0] - self.clock.seconds(), self._arrive, end)

    def piece(self) -> int:
        """Bytes of the next piece."""
        return self.rng.randint(1, self.largest_piece)

    def forget(self, end: MemoryTransport) -> None:
        """The connection is gone for this end."""
        if end in self.connections and end.peer.gone:
            self.connections.remove(end)
        elif end.peer in self.connections and end.peer.gone:
            self.connections.remove(end.peer)

    def cut_all(self, host: str) -> None:
        """Every connection of C{host} breaks."""
        for end in list(self.connections):
            if host in (end._host, end._peer_host):
                end.cut()


@implementer(IStreamClientEndpoint)
@define(eq=False)
class MemoryEndpoint:
    """A way from one host to another."""

    network: MemoryNetwork
    host: str
    to: str

    def connect(self, factory: IProtocolFactory) -> Deferred[Any]:
        """See L{IStreamClientEndpoint}."""
        return self.network.connect(self.host, self.to, factory)
