"""The listening side of RTSP: a factory that limits its connections and sends them away politely."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable
from functools import partial

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IAddress, IReactorTime, IReactorUDP
from twisted.internet.protocol import ServerFactory
from typing_extensions import override

from restreamer.addresses import is_loopback
from restreamer.failures import FailureWindow
from restreamer.logs import Logger
from restreamer.rtsp.limits import RtspCounters, ServiceLimits
from restreamer.rtsp.protocol import RtspServerProtocol
from restreamer.rtsp.server_parts import ServerParts
from restreamer.rtsp.udp_ports import open_pair
from restreamer.seams import PlayPoint, PublishPoint

_log = Logger()


def _none(name: str) -> str:
    """No stream has a password."""
    return ""


class RtspFactory(ServerFactory):
    """Makes the connections of one or more RTSP listeners and knows them all.

    @ivar counters: what happened since the start.
    """

    noisy = False

    def __init__(
        self,
        publish_point: PublishPoint,
        play_point: PlayPoint,
        clock: IReactorTime,
        password_of: Callable[[str], str] = _none,
        datagrams: IReactorUDP | None = None,
        limits: ServiceLimits | None = None,
        random: Callable[[int], bytes] = os.urandom,
    ) -> None:
        """Serve publishers into C{publish_point} and players out of C{play_point}.

        @param clock: the reactor's time, for every deadline.
        @param password_of: the publish password of a name, empty when it has none: Digest needs to know it.
        @param datagrams: opens UDP ports; None: C{clock}, if it can do that.
        @param random: gives that many random bytes, for session numbers and nonces.
        """
        self._limits = limits or ServiceLimits()
        self._clock = clock
        self.counters = RtspCounters()
        if datagrams is None and IReactorUDP.providedBy(clock):
            datagrams = clock
        self._parts = ServerParts(
            publish_point=publish_point,
            play_point=play_point,
            clock=clock,
            open_pair=partial(open_pair, datagrams) if datagrams is not None else None,
            random=random,
            password_of=password_of,
            failed=FailureWindow(self._limits.failures, self._limits.failure_window),
            limits=self._limits,
            counters=self.counters,
        )
        self._connections: dict[RtspServerProtocol, str] = {}
        self._per_address: Counter[str] = Counter()
        self._emptied: list[Deferred[None]] = []

    @property
    def connections(self) -> int:
        """Connections that are open now."""
        return len(self._connections)

    @override
    def buildProtocol(self, addr: IAddress | None) -> RtspServerProtocol | None:
        """A protocol for a new connection, or None (Twisted then closes it) when there are too many."""
        host = getattr(addr, "host", "local")
        if len(self._connections) >= self._limits.connections:
            self._turn_away(host, f"{self._limits.connections} connections are open")
            return None
        if self._per_address[host] >= self._limits.per_address and not is_loopback(host):
            self._turn_away(host, f"{self._limits.per_address} connections of this address are open")
            return None
        self.counters.accepted += 1
        protocol = RtspServerProtocol(self._parts, self._clock, self._lost)
        self._connections[protocol] = host
        self._per_address[host] += 1
        return protocol

    def _turn_away(self, host: str, why: str) -> None:
        self.counters.turned_away += 1
        if not self._per_address[host]:
            del self._per_address[host]
        _log.info("RTSP {peer}: connection turned away: {why}", peer=host, why=why)

    def _lost(self, protocol: RtspServerProtocol) -> None:
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
