"""The listening side of RTMP."""

from __future__ import annotations

import os
from collections.abc import Callable

from twisted.internet.interfaces import IReactorTime
from typing_extensions import override

from restreamer.buckets import AddressBuckets
from restreamer.connections import ConnectionFactory
from restreamer.failures import FailureWindow
from restreamer.rtmp.counters import RtmpCounters
from restreamer.rtmp.limits import ServiceLimits, WireLimits
from restreamer.rtmp.protocol import RtmpServerProtocol, ServerParts
from restreamer.seams import PlayPoint, PublishPoint


class RtmpFactory(ConnectionFactory[RtmpServerProtocol]):
    """Makes the connections of one or more RTMP listeners and knows them all.

    @ivar counters: what happened since the start.
    """

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
        limits = limits or ServiceLimits()
        self.counters = RtmpCounters()
        super().__init__("RTMP", limits, self.counters, clock)
        self._parts = ServerParts(
            publish_point=publish_point,
            play_point=play_point,
            clock=clock,
            random=random,
            failed=FailureWindow(limits.failures, limits.failure_window),
            publishes=AddressBuckets(limits.publishes, limits.publish_window),
            wire=wire or WireLimits(),
            limits=limits,
            counters=self.counters,
            lines=self.lines,
        )

    @override
    def _made(self) -> RtmpServerProtocol:
        return RtmpServerProtocol(self._parts, self._lost)

    def request_reconnect(self, tc_url: str = "") -> None:
        """Ask every peer that announced it to connect again, to C{tc_url} or here (Enhanced RTMP)."""
        for protocol in list(self._connections):
            protocol.request_reconnect(tc_url)
