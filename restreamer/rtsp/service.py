"""The listening side of RTSP."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial

from twisted.internet.interfaces import IReactorTime, IReactorUDP
from typing_extensions import override

from restreamer.connections import ConnectionFactory
from restreamer.failures import FailureWindow
from restreamer.rtsp.limits import RtspCounters, ServiceLimits
from restreamer.rtsp.protocol import RtspServerProtocol
from restreamer.rtsp.server_parts import ServerParts
from restreamer.rtsp.udp_ports import open_pair
from restreamer.rtsp.udp_share import UdpShare
from restreamer.seams import PlayPoint, PublishPoint


def _none(name: str) -> str:
    """No stream has a password."""
    return ""


class RtspFactory(ConnectionFactory[RtspServerProtocol]):
    """Makes the connections of one or more RTSP listeners and knows them all.

    @ivar counters: what happened since the start. @ivar udp_share: who has tracks over UDP.
    """

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
        limits = limits or ServiceLimits()
        self._clock = clock
        self.counters = RtspCounters()
        super().__init__("RTSP", limits, self.counters, clock)
        if datagrams is None and IReactorUDP.providedBy(clock):
            datagrams = clock
        self._parts = ServerParts(
            publish_point=publish_point,
            play_point=play_point,
            clock=clock,
            open_pair=partial(open_pair, datagrams) if datagrams is not None else None,
            random=random,
            password_of=password_of,
            failed=FailureWindow(limits.failures, limits.failure_window),
            udp_share=UdpShare(limits.udp_tracks, limits.udp_tracks_per_address),
            limits=limits,
            counters=self.counters,
            lines=self.lines,
        )
        self.udp_share = self._parts.udp_share

    @override
    def _made(self) -> RtspServerProtocol:
        return RtspServerProtocol(self._parts, self._clock, self._lost)
