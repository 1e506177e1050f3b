"""What an RTMP service counts (pure)."""

from __future__ import annotations

from attrs import define


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
