"""Peers, balancers and pushes as the API tells them (pure): from facts to JSON-ready mappings."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, TypedDict

from restreamer.facts import BalancerFacts, PeerFacts, PusherFacts, PushFacts
from restreamer.media.timebase import ticks_to_ms


class PeerStats(TypedDict, total=False):
    """What is known of a peer. C{output_kbit} is kbit/s, C{ping} milliseconds, C{_at} UTC milliseconds."""

    status: str
    connected: bool
    server_id: str
    opened_at: int
    closed_at: int
    bytes_in: int
    bytes_out: int
    total_streams: int
    online_streams: int
    total_clients: int
    output_kbit: int
    redirected_clients: int
    errors_connection_lost: int
    last_error: str
    ping: float


class PeerInfo(TypedDict):
    """One peer. C{url} is C{m4f://HOST:PORT}, C{public} where viewers are sent."""

    url: str
    public: str
    stats: PeerStats


class BalancedPeer(TypedDict, total=False):
    """One peer of a balancer. C{max_bitrate} is in kbit/s; left out when it is not configured."""

    peer: str
    connected: bool
    max_bitrate: int


class BalancerInfo(TypedDict):
    """One balancer."""

    name: str
    mode: str
    peers: list[BalancedPeer]


class PushStats(TypedDict, total=False):
    """What is known of a push. C{status} is C{"running"}, C{"waiting"} or C{"error"}."""

    status: str
    connected: bool
    server_id: str
    opened_at: int
    closed_at: int
    bytes: int
    bytes_in: int
    retries: int
    last_error: str
    lost_datagrams: int


class PushInfo(TypedDict):
    """One stream pushed to one node; C{url} is C{m4f://HOST:PORT/NAME}."""

    name: str
    url: str
    stats: PushStats


class PusherInfo(TypedDict):
    """The node that pushes a stream into this one; C{bytes} are frame bodies."""

    server_id: str
    address: str
    name: str
    opened_at: int
    frames: int
    bytes: int


class NeighbourFacts(Protocol):
    """Where the API finds what concerns other nodes beside the sources."""

    def peer_facts(self) -> Sequence[PeerFacts]:
        """All peers, in the order of the configuration."""
        ...

    def balancer_facts(self) -> Sequence[BalancerFacts]:
        """All balancers, in the order of the configuration."""
        ...

    def push_facts(self, name: str | None = None) -> Sequence[PushFacts]:
        """All pushes that were begun; or those of stream C{name}."""
        ...

    def pusher_of(self, name: str) -> PusherFacts | None:
        """The node that pushes stream C{name} into this one."""
        ...


class NoNeighbours:
    """A L{NeighbourFacts} of a node that has none."""

    def peer_facts(self) -> Sequence[PeerFacts]:
        """None."""
        return ()

    def balancer_facts(self) -> Sequence[BalancerFacts]:
        """None."""
        return ()

    def push_facts(self, name: str | None = None) -> Sequence[PushFacts]:
        """None."""
        return ()

    def pusher_of(self, name: str) -> PusherFacts | None:
        """Nobody."""
        return None


def peer_info(facts: PeerFacts) -> PeerInfo:
    """One peer."""
    stats = PeerStats(
        status="running" if facts.connected else "error",
        connected=facts.connected,
        bytes_in=facts.bytes_in,
        bytes_out=facts.bytes_out,
        total_streams=facts.listed,
        online_streams=facts.running,
        redirected_clients=facts.sent,
        errors_connection_lost=facts.losses,
    )
    if facts.connected:
        stats["total_clients"] = facts.clients
        stats["output_kbit"] = facts.bitrate_out // 1000
    if facts.node_id:
        stats["server_id"] = facts.node_id.hex()
    if facts.since is not None:
        stats["opened_at" if facts.connected else "closed_at"] = ticks_to_ms(facts.since)
    if facts.last_error:
        stats["last_error"] = facts.last_error
    if facts.round_trip is not None:
        stats["ping"] = round(facts.round_trip * 1000, 3)
    return PeerInfo(url=f"{facts.proto}://{facts.address}", public=facts.public, stats=stats)


def balancer_info(facts: BalancerFacts) -> BalancerInfo:
    """One balancer."""
    peers = []
    for address, connected, most in facts.peers:
        peer = BalancedPeer(peer=address, connected=connected)
        if most:
            peer["max_bitrate"] = most // 1000
        peers.append(peer)
    return BalancerInfo(name=facts.name, mode=facts.mode, peers=peers)


def push_info(facts: PushFacts) -> PushInfo:
    """One push."""
    status = "running" if facts.connected else "waiting"
    stats = PushStats(
        status="error" if facts.wanted and not facts.connected and facts.last_error else status,
        connected=facts.connected,
        bytes=facts.bytes_out,
        bytes_in=facts.bytes_in,
        retries=max(0, facts.takings - 1),
    )
    if facts.node_id:
        stats["server_id"] = facts.node_id.hex()
    if facts.since is not None:
        stats["opened_at" if facts.connected else "closed_at"] = ticks_to_ms(facts.since)
    if facts.last_error:
        stats["last_error"] = facts.last_error
    if facts.lost is not None:
        stats["lost_datagrams"] = facts.lost
    return PushInfo(name=facts.stream, url=facts.url, stats=stats)


def pusher_info(facts: PusherFacts) -> PusherInfo:
    """Who pushes a stream into this node."""
    return PusherInfo(
        server_id=facts.node_id.hex(),
        address=facts.address,
        name=facts.stream,
        opened_at=ticks_to_ms(facts.since),
        frames=facts.frames,
        bytes=facts.bytes,
    )
