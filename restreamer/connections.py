"""What the listeners of a protocol have in common: their connections are counted, limited and sent away."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from typing import Generic, Protocol, TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IAddress
from twisted.internet.protocol import ServerFactory
from typing_extensions import override

from restreamer.addresses import is_loopback
from restreamer.buckets import AddressLines
from restreamer.logs import Logger
from restreamer.seams import Clock

_log = Logger()


class Counts(Protocol):
    """@ivar accepted: connections; @ivar turned_away: those over a limit."""

    accepted: int
    turned_away: int


class Limits(Protocol):
    """Of connections."""

    @property
    def connections(self) -> int:
        """In all."""
        ...

    @property
    def per_address(self) -> int:
        """From one peer address; this machine's own are left out."""
        ...


class Served(Protocol):
    """A connection of a L{ConnectionFactory}: a protocol of Twisted."""

    def stop(self, reason: str) -> None:
        """Close politely."""
        ...


C = TypeVar("C", bound=Served)


class ConnectionFactory(ServerFactory, ABC, Generic[C]):
    """Makes the connections of one or more listeners and knows them all."""

    noisy = False

    def __init__(self, kind: str, limits: Limits, counts: Counts, clock: Clock) -> None:
        """@param kind: the protocol, as the log names it."""
        self._seconds = clock.seconds
        #: What of an address is said in the log.
        self.lines = AddressLines()
        self._kind = kind
        self._most = limits
        self._counts = counts
        self._connections: dict[C, str] = {}
        self._per_address: Counter[str] = Counter()
        self._emptied: list[Deferred[None]] = []

    @abstractmethod
    def _made(self) -> C:
        """A new connection; L{_lost} is to be called when it is gone."""

    @property
    def connections(self) -> int:
        """Connections that are open now."""
        return len(self._connections)

    @override
    def buildProtocol(self, addr: IAddress | None) -> C | None:  # type: ignore[override]
        """A protocol for a new connection, or None (Twisted then closes it) when there are too many."""
        host = getattr(addr, "host", "local")
        limits = self._most
        if len(self._connections) >= limits.connections:
            self._turn_away(host, f"{limits.connections} connections are open")
            return None
        if self._per_address[host] >= limits.per_address and not is_loopback(host):
            self._turn_away(host, f"{limits.per_address} connections of this address are open")
            return None
        self._counts.accepted += 1
        protocol = self._made()
        self._connections[protocol] = host
        self._per_address[host] += 1
        return protocol

    def _turn_away(self, host: str, why: str) -> None:
        self._counts.turned_away += 1
        if not self._per_address[host]:
            del self._per_address[host]
        ending = self.lines.ending(host, self._seconds())
        if ending is not None:
            _log.info(
                "{kind} {peer}: connection turned away: {why}{ending}",
                kind=self._kind,
                peer=host,
                why=why,
                ending=ending,
            )

    def _lost(self, protocol: C) -> None:
        host = self._connections.pop(protocol, None)
        if host is not None:
            self._per_address[host] -= 1
            if not self._per_address[host]:
                del self._per_address[host]
        if not self._connections:
            waiting, self._emptied = self._emptied, []
            for deferred in waiting:
                deferred.callback(None)

    def close_all(self, reason: str) -> Deferred[None]:
        """Close every connection politely.

        @return: fires when all are gone.
        """
        done: Deferred[None] = Deferred()
        if not self._connections:
            done.callback(None)
            return done
        self._emptied.append(done)
        for protocol in list(self._connections):
            protocol.stop(reason)
        return done
