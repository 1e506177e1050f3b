"""Every bound of the RTSP side beyond those of single messages, and what is counted (pure)."""

from __future__ import annotations

from attrs import define, frozen

from restreamer.buckets import PUBLISHER_BURST, PUBLISHER_RATE


@frozen(kw_only=True)
class ServiceLimits:
    """What the listening side grants, in connections and seconds.

    @ivar connections: connections in all; @ivar per_address: from one peer address.
    @ivar udp_tracks: tracks sent or received over UDP, each has two sockets; @ivar udp_tracks_per_address:
        those of one peer address.
    @ivar request_seconds: from accept to the first whole request, and from the first byte of a request to
        its last.
    @ivar idle_seconds: a connection without a running session that asks nothing for so long is closed; a
        player over UDP that sends neither requests nor reports, too.
    @ivar record_seconds: from ANNOUNCE to RECORD.
    @ivar publisher_seconds: a publisher that sends nothing for so long is lost.
    @ivar tunnel_seconds: what is left of a tunnel ends so long after the half that brings requests.
    @ivar stall_seconds: answers that are not taken for so long end the connection.
    @ivar close_seconds: time a closing connection gets to drain before it is aborted.
    @ivar requests: requests of one connection in L{tick_seconds}.
    @ivar pending: bytes that wait unread behind a request that is being answered.
    @ivar failures: wrong passwords one address may bring in C{failure_window} seconds.
    @ivar reorder: packets over UDP that may wait for those before them.
    @ivar publisher_rate: bytes per second taken of one publisher beyond a burst of C{publisher_burst} bytes.
    @ivar packet_bytes: what each of its packets and frames counts beside its own bytes.
    """

    connections: int = 20_000
    per_address: int = 200
    udp_tracks: int = 2_000
    udp_tracks_per_address: int = 200
    request_seconds: float = 10.0
    idle_seconds: float = 60.0
    record_seconds: float = 10.0
    publisher_seconds: float = 30.0
    tunnel_seconds: float = 8.0
    stall_seconds: float = 10.0
    close_seconds: float = 5.0
    tick_seconds: float = 2.0
    requests: int = 200
    pending: int = 65_536
    failures: int = 10
    failure_window: float = 60.0
    reorder: int = 64
    publisher_rate: int = PUBLISHER_RATE
    publisher_burst: int = PUBLISHER_BURST
    packet_bytes: int = 1024


@define
class RtspCounters:
    """What happened since the start.

    @ivar accepted: connections; @ivar turned_away: connections over a limit.
    @ivar publishes, plays: granted; @ivar refused: publishes and plays that were not.
    @ivar protocol_errors: connections ended for breaking the protocol or a limit of it.
    @ivar timeouts: connections ended by a deadline; @ivar failures: by an error of ours.
    @ivar dropped_packets: packets of publishers that could not be used; @ivar lost_packets: that never came.
    @ivar foreign_datagrams: over UDP, of somebody else than the session's peer.
    """

    accepted: int = 0
    turned_away: int = 0
    publishes: int = 0
    plays: int = 0
    refused: int = 0
    protocol_errors: int = 0
    timeouts: int = 0
    failures: int = 0
    dropped_packets: int = 0
    lost_packets: int = 0
    foreign_datagrams: int = 0
