"""The listening side of RTMP: a factory that limits its connections and sends them away politely."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IAddress, IReactorTime
from twisted.internet.protocol import ServerFactory
from typing_extensions import override

from restreamer.addresses import is_loopback
from restreamer.failures import FailureWindow
from restreamer.logs import Logger
from restreamer.rtmp.bucket import AddressBuckets
from restreamer.rtmp.counters import RtmpCounters
from restreamer.rtmp.limits import ServiceLimits, WireLimits
from restreamer.rtmp.protocol import RtmpServerProtocol, ServerParts
from restreamer.seams import PlayPoint, PublishPoint

_log = Logger()


class RtmpFactory(ServerFactory):
    """Makes the connections of one or more RTMP listeners and knows them all.

    @ivar counters: what happened since the start.
    """

    noisy = False

    def __init__(
        self,
        publish_point: PublishPoint,
        play_point: PlayPoint,
        clock: IReactorTime,
        limits: ServiceLimits | None = None,
        wire: WireLimits | None = None,
        random: Callable[[int], bytes] = os.urandom,
    ) -> None:
        """Serve publishers into C{publish_point} and players out of C{play_point}.

        @param clock: the reactor's time, for every deadline.
        @param random: gives that many random bytes, for the handshake.
        """
        self._limits = limits or ServiceLimits()
        self.counters = RtmpCounters()
        self._parts = ServerParts(
            publish_point=publish_point,
            play_point=play_point,
            clock=clock,
            random=random,
            failed=FailureWindow(self._limits.failures, self._limits.failure_window),
            publishes=AddressBuckets(self._limits.publishes, self._limits.publish_window),
            wire=wire or WireLimits(),
            limits=self._limits,
            counters=self.counters,
        )
        self._connections: dict[RtmpServerProtocol, str] = {}
        self._per_address: Counter[str] = Counter()
        self._emptied: list[Deferred[None]] = []

    @property
    def connections(self) -> int:
        """Connections that are open now."""
        return len(self._connections)

    @override
    def buildProtocol(self, addr: IAddress | None) -> RtmpServerProtocol | None:
        """A protocol for a new connection, or None (Twisted then closes it) when there are too many."""
        host = getattr(addr, "host", "local")
        if len(self._connections) >= self._limits.connections:
            self._turn_away(host, f"{self._limits.connections} connections are open")
            return None
        if self._per_address[host] >= self._limits.per_address and not is_loopback(host):
            self._turn_away(host, f"{self._limits.per_address} connections of this address are open")
            return None
        self.counters.accepted += 1
        protocol = RtmpServerProtocol(self._parts, self._lost)
        self._connections[protocol] = host
        self._per_address[host] += 1
        return protocol

    def _turn_away(self, host: str, why: str) -> None:
        self.counters.turned_away += 1
        if not self._per_address[host]:
            del self._per_address[host]
        _log.info("RTMP {peer}: connection turned away: {why}", peer=host, why=why)

    def _lost(self, protocol: RtmpServerProtocol) -> None:
        host = self._connections.pop(protocol, None)
        if host is not None:
            self._per_address[host] -= 1
            if not self._per_address[host]:
                del self._per_address[host]
        if not self._connections:
            waiting, self._emptied = self._emptied, []
            for deferred in waiting:
                deferred.callback(None)

    def request_reconnect(self, tc_url: str = "") -> None:
        """Ask every peer to connect again, to C{tc_url} or here (Enhanced RTMP)."""
        for protocol in list(self._connections):
            protocol.request_reconnect(tc_url)

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
