"""What all connections of one RTMP service share: collaborators, limits and counters."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from attrs import define, field, frozen
from twisted.internet.interfaces import IReactorTime

from restreamer.rtmp.failures import FailureWindow
from restreamer.rtmp.limits import ServiceLimits, WireLimits
from restreamer.seams import PlayPoint, PublishPoint, ViewerTransport


class ServerTransport(ViewerTransport, Protocol):
    """What the server protocol needs of its transport."""

    def pauseProducing(self) -> None:
        """Stop reading."""
        ...

    def resumeProducing(self) -> None:
        """Read again."""
        ...


@define
class RtmpCounters:
    """What happened since the start.

    @ivar accepted: connections; @ivar turned_away: connections over a limit.
    @ivar publishes, plays: granted; @ivar refused: publishes and plays that were not.
    @ivar protocol_errors: connections ended for breaking the protocol or a limit of it.
    @ivar timeouts: connections ended by a deadline; @ivar failures: by an error of ours.
    @ivar dropped_frames: frames of publishers that could not be used.
    """

    accepted: int = 0
    turned_away: int = 0
    publishes: int = 0
    plays: int = 0
    refused: int = 0
    protocol_errors: int = 0
    timeouts: int = 0
    failures: int = 0
    dropped_frames: int = 0


@frozen(kw_only=True)
class ServerParts:
    """What all connections of a service share.

    @ivar random: gives that many random bytes. @ivar failed: addresses whose publishes were refused lately.
    """

    publish_point: PublishPoint
    play_point: PlayPoint
    clock: IReactorTime
    random: Callable[[int], bytes]
    failed: FailureWindow
    wire: WireLimits = field(factory=WireLimits)
    limits: ServiceLimits = field(factory=ServiceLimits)
    counters: RtmpCounters = field(factory=RtmpCounters)
