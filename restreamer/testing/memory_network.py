"""Connections between the nodes of a simulated cluster: in memory, on a clock of the test's own.

A connection carries bytes both ways after a delay, in order, cut into pieces as the network likes. It has
what a real one has: a transport that holds what the other side does not take and says so to its producer,
an orderly close behind the last byte, a reset. And it does on demand what a real one does by chance: it is
cut after so many bytes, it swallows everything without a word, it holds everything back for a while, its
other side stops reading, is frozen, or is gone without a word.
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
    NoRouteError,
    TimeoutError,
)
from twisted.internet.interfaces import (
    IConsumer,
    IProtocol,
    IProtocolFactory,
    IReactorTime,
    IStreamClientEndpoint,
    ITransport,
)
from twisted.python.failure import Failure
from zope.interface import implementer

#: What a transport holds before it pauses its producer, bytes (as Twisted's do).
HIGH_WATER = 64 * 1024
#: What the two kernels hold together when the other side does not read, bytes.
IN_FLIGHT = 256 * 1024
#: How long an attempt to connect to a silent address lasts, seconds.
CONNECT_TIMEOUT = 5.0
#: A network with pieces of at least so many bytes does not cut at all.
WHOLE = 1 << 20


@implementer(ITransport, IConsumer)
class MemoryTransport:
    """One end of a connection.

    @ivar sent: bytes this end put on the wire so far. @ivar held: bytes the transport holds.
    @ivar most_held: the most it ever held. @ivar reading: false: this end's kernel fills up.
    @ivar cut_after: the connection breaks when this end has put so many bytes on the wire.
    @ivar host, peer_host: this end's and the other end's host. @ivar gone: the connection is over here.
    """

    def __init__(self, network: MemoryNetwork, host: str, peer_host: str) -> None:
        self.network = network
        self.protocol: Any = None
        self.peer: MemoryTransport
        self.sent = 0
        self.most_held = 0
        self.reading = True
        self.cut_after: int | None = None
        self.host = host
        self.peer_host = peer_host
        self.way = (host, peer_host)
        self.clock: IReactorTime = network.clock_of(host)
        self._buffer = bytearray()
        self._flying = 0
        self._arrived: list[bytes] = []
        self._producer: Any = None
        self._streaming = False
        self._paused = False
        self._closing = False
        self._fin_at = False
        # What travels from here to the peer: (when it arrives, bytes or None, call, arguments).
        self.wire: deque[tuple[float, bytes | None, Callable[..., None] | None, tuple[object, ...]]] = deque()
        self.travelling: Any = None
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
        network = self.network
        size = len(data)
        if (
            not self._buffer
            and self.cut_after is None
            and network.largest_piece >= WHOLE
            and self._flying + size <= IN_FLIGHT
        ):
            self.sent += size
            self._flying += size
            network.send(self, bytes(data))
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
            self.clock.callLater(0, self._send)

    def abortConnection(self) -> None:  # noqa: N802
        """Reset the connection."""
        if not self.gone:
            self._buffer.clear()
            self._closing = True
            self.clock.callLater(0, self.lose, ConnectionAborted())
            self.network.later(self, self.peer.lose, ConnectionLost())

    def getPeer(self) -> IPv4Address:  # noqa: N802
        """The other side's address."""
        return IPv4Address("TCP", self.peer_host, 0)

    def getHost(self) -> IPv4Address:  # noqa: N802
        """This side's address."""
        return IPv4Address("TCP", self.host, 0)

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
            end.network.tell(end.host, end.lose, ConnectionLost())

    def vanish(self) -> None:
        """This end's process is gone: nobody here is told."""
        self.gone = True
        self.protocol = self._producer = None
        self._buffer.clear()
        self.network.forget(self)

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
            self.network.send(self, data)
        if self._buffer:
            return
        producer = self._producer
        if producer is not None and (self._paused or not self._streaming):
            self._paused = False
            producer.resumeProducing()
        elif self._closing and not self._fin_at:
            self._fin_at = True
            self.network.later(self, self.peer.lose, ConnectionDone())
            self.clock.callLater(0, self.lose, ConnectionDone())

    def arrive(self, data: bytes) -> None:
        """Bytes reach this end."""
        if not self.reading:
            self._arrived.append(data)
        else:
            self._deliver(data)

    def _deliver(self, data: bytes) -> None:
        peer = self.peer
        peer._flying -= len(data)
        if not self.gone and not self._closing and self.protocol is not None:
            self.protocol.dataReceived(data)
        if (peer._buffer or peer._paused or peer._closing) and not peer.gone:
            peer._send()

    def lose(self, reason: Exception) -> None:
        """The connection is over here."""
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

    @ivar delay: seconds one way; @ivar delays: other ones, by (from, to).
    @ivar rng: cuts the bytes into pieces; the same seed, the same pieces.
    @ivar largest_piece: most bytes delivered at once; from L{WHOLE} on, what was written together.
    @ivar connections: the client's end of each connection that exists, in the order they were made.
    @ivar clocks: the clock of each host that has one of its own.
    @ivar attempts: connections asked for so far.
    """

    clock: IReactorTime
    rng: random.Random = field(factory=lambda: random.Random(0))
    delay: float = 0.002
    largest_piece: int = WHOLE
    delays: dict[tuple[str, str], float] = field(factory=dict)
    clocks: dict[str, IReactorTime] = field(factory=dict)
    connections: list[MemoryTransport] = field(factory=list)
    attempts: int = 0
    _listeners: dict[str, Callable[[], IProtocol]] = field(factory=dict)
    _silent: set[frozenset[str]] = field(factory=set)
    _severed: set[frozenset[str]] = field(factory=set)
    _stalled: dict[tuple[str, str], list[MemoryTransport]] = field(factory=dict)
    _frozen: dict[str, list[tuple[Callable[..., None], tuple[object, ...]]]] = field(factory=dict)
    _orphans: dict[str, list[MemoryTransport]] = field(factory=dict)

    def clock_of(self, host: str) -> IReactorTime:
        """The clock of a host."""
        return self.clocks.get(host, self.clock)

    def listen(self, host: str, accept: Callable[[], IProtocol]) -> None:
        """C{accept} makes the protocol of each connection to C{host}."""
        self._listeners[host] = accept
        for end in self._orphans.pop(host, ()):
            self.later(end.peer, end.lose, ConnectionLost())

    def unlisten(self, host: str) -> None:
        """Connections to C{host} are refused."""
        self._listeners.pop(host, None)

    # Between two hosts.

    def silence(self, one: str, other: str) -> None:
        """Between the two everything is swallowed from here on: nobody is told."""
        self._silent.add(frozenset((one, other)))

    def heal(self, one: str, other: str) -> None:
        """Bytes travel again; connections that lost some of theirs are reset."""
        self._silent.discard(frozenset((one, other)))
        for end in self.between(one, other):
            end.cut()

    def sever(self, one: str, other: str) -> None:
        """Connections between the two break, and new ones fail at once."""
        self._severed.add(frozenset((one, other)))
        for end in self.between(one, other):
            end.cut()

    def mend(self, one: str, other: str) -> None:
        """The two can connect again."""
        self._severed.discard(frozenset((one, other)))

    def stall(self, host: str, to: str) -> None:
        """What C{host} sends to C{to} does not arrive, until L{flow}: then it does (TCP sends it again)."""
        self._stalled.setdefault((host, to), [])

    def flow(self, host: str, to: str) -> None:
        """What was held back on its way from C{host} to C{to} arrives now."""
        for end in self._stalled.pop((host, to), ()):
            self._arrive(end)

    def between(self, one: str, other: str) -> list[MemoryTransport]:
        """The client's ends of the connections between two hosts."""
        return [end for end in self.connections if {end.host, end.peer_host} == {one, other}]

    # One host.

    def freeze(self, host: str) -> None:
        """The process of C{host} stands still: its kernel takes bytes and connections, it does not."""
        self._frozen.setdefault(host, [])

    def thaw(self, host: str) -> None:
        """It goes on, and learns what happened meanwhile, in order."""
        for call, args in self._frozen.pop(host, ()):
            call(*args)

    def tell(self, host: str, call: Callable[..., None], *args: object) -> None:
        """Let a host's process learn something: now, or when it goes on."""
        waiting = self._frozen.get(host)
        if waiting is None:
            call(*args)
        else:
            waiting.append((call, args))

    def kill(self, host: str, power: bool = False) -> None:
        """The process of C{host} is gone. Its peers get a reset.

        @param power: the machine is gone with it: nobody gets anything until the host listens again.
        """
        self.unlisten(host)
        self._frozen.pop(host, None)
        orphans = self._orphans.setdefault(host, []) if power else []
        for client in list(self.connections):
            for end in (client, client.peer):
                if end.host != host or end.gone:
                    continue
                peer = end.peer
                end.vanish()
                if peer.gone:
                    continue
                if power:
                    end.wire.clear()
                    orphans.append(peer)
                else:
                    self.later(end, peer.lose, ConnectionLost())

    def cut_all(self, host: str) -> None:
        """Every connection of C{host} breaks."""
        for end in list(self.connections):
            if host in (end.host, end.peer_host):
                end.cut()

    # Connecting.

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
        clock = self.clock_of(host)
        if self._mute(host, to):
            timers.append(clock.callLater(CONNECT_TIMEOUT, made.errback, TimeoutError()))
        else:
            pause = self._delay(host, to) + self._delay(to, host)
            timers.append(clock.callLater(pause, self._connected, host, to, factory, made))
        return made

    def _mute(self, host: str, to: str) -> bool:
        """Whether no answer comes from C{to}."""
        if frozenset((host, to)) in self._silent or (host, to) in self._stalled:
            return True
        return (to, host) in self._stalled or (to not in self._listeners and to in self._orphans)

    def _delay(self, host: str, to: str) -> float:
        return self.delays.get((host, to), self.delay)

    def _connected(self, host: str, to: str, factory: IProtocolFactory, made: Deferred[Any]) -> None:
        if frozenset((host, to)) in self._severed:
            made.errback(NoRouteError())
            return
        accept = self._listeners.get(to)
        if accept is None:
            made.errback(ConnectionRefusedError())
            return
        client, server = MemoryTransport(self, host, to), MemoryTransport(self, to, host)
        client.peer, server.peer = server, client
        client.protocol = factory.buildProtocol(client.getPeer())
        if client.protocol is None:
            made.errback(ConnectError())
            return
        self.connections.append(client)
        self.tell(to, self._accepted, server, accept)
        client.protocol.makeConnection(client)
        made.callback(client.protocol)

    def _accepted(self, server: MemoryTransport, accept: Callable[[], IProtocol]) -> None:
        if not server.gone:
            server.protocol = accept()
            server.protocol.makeConnection(server)

    # Travelling.

    def send(self, end: MemoryTransport, data: bytes) -> None:
        """Let bytes travel from C{end} to its peer."""
        self._carry(end, data, None, ())

    def later(self, end: MemoryTransport, call: Callable[..., None], *args: object) -> None:
        """Let something happen at the peer of C{end}, behind what travels there already."""
        self._carry(end, None, call, args)

    def _carry(
        self,
        end: MemoryTransport,
        data: bytes | None,
        call: Callable[..., None] | None,
        args: tuple[object, ...],
    ) -> None:
        if self._silent and frozenset(end.way) in self._silent:
            return
        pause = self.delays.get(end.way, self.delay) if self.delays else self.delay
        clock = self.clock
        due = clock.seconds() + pause
        wire = end.wire
        if end.travelling is None:
            end.travelling = clock.callLater(pause, self._arrive, end)
        elif wire and wire[-1][0] > due:
            due = wire[-1][0]
        wire.append((due, data, call, args))

    def _arrive(self, end: MemoryTransport) -> None:
        """What is due reaches the peer of C{end}, unless something holds it back."""
        end.travelling = None
        if self._stalled:
            held = self._stalled.get(end.way)
            if held is not None:
                end.travelling = held
                held.append(end)
                return
        if self._frozen:
            waiting = self._frozen.get(end.peer_host)
            if waiting is not None:
                end.travelling = waiting
                waiting.append((self._arrive, (end,)))
                return
        wire = end.wire
        peer = end.peer
        now = self.clock.seconds()
        whole = self.largest_piece >= WHOLE
        while wire and wire[0][0] <= now:
            _, data, call, args = wire.popleft()
            if data is not None:
                if whole and wire and wire[0][1] is not None and wire[0][0] <= now:
                    pieces = [data]
                    while wire and wire[0][1] is not None and wire[0][0] <= now:
                        pieces.append(wire.popleft()[1] or b"")
                    data = b"".join(pieces)
                peer.arrive(data)
            elif call is not None:
                call(*args)
        if wire and end.travelling is None:
            end.travelling = self.clock.callLater(max(0.0, wire[0][0] - now), self._arrive, end)

    def piece(self) -> int:
        """Bytes of the next piece."""
        return self.rng.randint(1, self.largest_piece)

    def forget(self, end: MemoryTransport) -> None:
        """The connection is gone for this end."""
        if end in self.connections and end.peer.gone:
            self.connections.remove(end)
        elif end.peer in self.connections and end.peer.gone:
            self.connections.remove(end.peer)


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
