"""Every bound of the RTMP side, with its reason; nothing here grows without one."""

from __future__ import annotations

from attrs import frozen

from restreamer.buckets import PUBLISHER_BURST, PUBLISHER_RATE

KIB = 1024
MIB = 1024 * 1024


@frozen(kw_only=True)
class WireLimits:
    """What a peer may ask the parsers and the state machine to hold.

    @ivar message_bytes: longest message; an 8 MiB access unit is already four times any real keyframe.
    @ivar chunk_size: largest chunk size a peer may announce.
    @ivar chunk_streams: chunk streams one connection may open (publishers use 3 to 6).
    @ivar partial_bytes: sum of the unfinished messages of one connection that publishes.
    @ivar unasked_bytes: the same while a connection has asked for no publish: commands are all it may send,
        and anybody can open many connections.
    @ivar control_bytes: longest command, control or AMF message that is read; a longer command ends the
        connection, a longer data message is skipped.
    @ivar held_bytes: media a publisher may send before its publish is granted.
    @ivar message_streams: message streams (createStream) one connection may hold.
    @ivar spare_work: what one read may cost beyond its own length, counted as L{restreamer.rtmp.chunk_reader}
        counts: empty and one-byte chunks cost a hundred times the work of honest ones.
    """

    message_bytes: int = 8 * MIB
    chunk_size: int = MIB
    chunk_streams: int = 64
    partial_bytes: int = 16 * MIB
    unasked_bytes: int = 256 * KIB
    control_bytes: int = 64 * KIB
    held_bytes: int = 4 * MIB
    message_streams: int = 8
    spare_work: int = 8 * KIB


@frozen(kw_only=True)
class ServiceLimits:
    """What the listening side grants, in connections and seconds.

    @ivar connections: connections in all; @ivar per_address: from one peer address.
    @ivar handshake_seconds: from accept to the end of the handshake.
    @ivar request_seconds: from the handshake to a publish or play command, and between two of them.
    @ivar idle_seconds: a publisher that sends no byte for so long is lost.
    @ivar ping_seconds: time between two pings.
    @ivar close_seconds: time a closing connection gets to drain before it is aborted.
    @ivar commands: commands and control messages one connection may send between two pings.
    @ivar failures: wrong passwords one address may bring in C{failure_window} seconds.
    @ivar publishes: publishes one address may begin at once, and again every C{publish_window} seconds.
    @ivar publisher_rate: bytes per second read of one publisher (200 Mbit/s), beyond a burst of
        C{publisher_burst} bytes: time stamps that stand still would let it send at the speed of the link.
    @ivar message_bytes: what each media message counts beside its own bytes: tiny ones cost as much work.
    """

    connections: int = 20_000
    per_address: int = 200
    handshake_seconds: float = 5.0
    request_seconds: float = 10.0
    idle_seconds: float = 30.0
    ping_seconds: float = 20.0
    close_seconds: float = 5.0
    commands: int = 1_000
    failures: int = 10
    failure_window: float = 60.0
    publishes: int = 1_000
    publish_window: float = 60.0
    publisher_rate: int = PUBLISHER_RATE
    publisher_burst: int = PUBLISHER_BURST
    message_bytes: int = 4 * KIB
