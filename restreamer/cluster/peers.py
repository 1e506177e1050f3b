"""Peers: neighbours whose lists are followed and whose streams are not taken: viewers are sent there.

A viewer is redirected when nothing feeds the stream here and a peer that is connected lists it; of several
the least busy. What was redirected to us carries a mark and is not redirected on, so two nodes that each
think that the other one has a stream answer "not found" after one turn.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from attrs import frozen

from restreamer.cluster.connector import Node, Remote, link_service
from restreamer.cluster.seams import LinkWriter
from restreamer.errors import REDIRECTED, Redirected
from restreamer.facts import PeerFacts
from restreamer.live.registry import StreamRegistry
from restreamer.logs import Logger
from restreamer.m4f.records import (
    MAX_LISTED,
    CatalogueComplete,
    NodeLoad,
    Ping,
    Record,
    StreamListed,
    StreamState,
    StreamUnlisted,
)
from restreamer.media.names import valid_stream_name
from restreamer.seams import OpenRequest

_log = Logger()


@frozen
class PublicPlace:
    """Where viewers find a peer.

    @ivar http: scheme, host and port, no C{/} at the end. @ivar host: the host as it stands in a URL.
    """

    http: str
    host: str


class Peer:
    """One peer; a L{restreamer.cluster.seams.ClientHandler} of its control link.

    @ivar address: C{host:port}. @ivar public: where viewers find it.
    @ivar connected: its control link is up and brought the whole list.
    @ivar load: how busy it says it is. @ivar sent: viewers sent there since it said so.
    @ivar directed: viewers sent there so far.
    """

    def __init__(self, node: Node, remote: Remote, public: PublicPlace) -> None:
        self.address = remote.address
        self.public = public
        self.connected = False
        self.fruitful = False
        self.load = NodeLoad()
        self.sent = 0
        self.directed = 0
        self._remote = remote
        self._node_id = b""
        self._since: int | None = None
        self._losses = 0
        self._node = node
        self._names: dict[str, StreamListed] = {}
        self._link: LinkWriter | None = None
        self._service = link_service(node, remote, "control", self)

    def start(self) -> None:
        """Connect."""
        self._service.startService()

    def stop(self) -> Awaitable[object] | None:
        """Disconnect; gives what fires when the link is closed."""
        return self._service.stopService()

    def lists(self, name: str) -> StreamState | None:
        """What the peer promises about stream C{name}; None: nothing, or it has the stream from here."""
        entry = self._names.get(name)
        if entry is None or not self.connected or self._node.node_id in entry.path:
            return None
        return entry.state

    def chosen(self) -> None:
        """A viewer is sent there."""
        self.sent += 1
        self.directed += 1

    def redirect(self) -> Redirected:
        """The way there."""
        self.chosen()
        load = self.load
        rtmp, rtsp = self._place("rtmp", load.rtmp_port), self._place("rtsp", load.rtsp_port)
        return Redirected(self.public.http, rtmp, rtsp)

    def _place(self, scheme: str, port: int) -> str:
        """Where viewers find the protocol C{scheme}; empty: nowhere."""
        return f"{scheme}://{self.public.host}:{port}" if port else ""

    def facts(self) -> PeerFacts:
        """What is known of the peer."""
        offered = [self.lists(name) for name in self._names]
        traffic = self._remote.traffic
        return PeerFacts(
            address=self.address,
            proto="m4fs" if self._remote.place is not None and self._remote.place.tls else "m4f",
            public=self.public.http,
            connected=self.connected,
            node_id=self._node_id,
            since=self._since,
            bytes_in=traffic.bytes_in,
            bytes_out=traffic.bytes_out,
            listed=sum(state is not None for state in offered),
            running=sum(state is StreamState.RUNNING for state in offered),
            losses=self._losses,
            last_error=traffic.trouble,
            round_trip=self._link.round_trip if self._link is not None else None,
            clients=self.load.clients,
            bitrate_out=self.load.bitrate_out,
            sent=self.directed,
        )

    # The link.

    def link_up(self, link: LinkWriter) -> None:
        """The list comes now."""
        self._link = link
        self._node_id = link.peer_id
        self._names = {}
        _log.info("peer {peer}: connected", peer=self.address)

    def record(self, record: Record) -> None:
        """Follow the peer's list and load; what else it tells is for nodes that take its streams."""
        if isinstance(record, StreamListed):
            room = record.name in self._names or len(self._names) < MAX_LISTED
            if room and valid_stream_name(record.name):
                self._names[record.name] = record
        elif isinstance(record, StreamUnlisted):
            self._names.pop(record.name, None)
        elif isinstance(record, CatalogueComplete):
            if not self.connected:
                self._since = self._node.utc()
            self.fruitful = self.connected = True
        elif isinstance(record, NodeLoad):
            self.load = record
            self.sent = 0

    def resumed(self) -> None:
        """Nothing waits here."""

    def beat(self) -> None:
        """Say that we live."""
        if self._link is not None:
            self._link.send(Ping(sent_at=self._node.utc()))

    def link_down(self, reason: str) -> None:
        """Nobody is sent there until the link is back."""
        self._link = None
        if self.connected:
            self._since = self._node.utc()
            self._losses += 1
        self.connected = False
        self._names = {}
        # What this node ends itself, at a reload or its own end, is no trouble.
        wanted = bool(self._service.running)
        if wanted:
            self._remote.traffic.trouble = reason
        say = _log.warn if wanted else _log.info
        say("peer {peer}: lost: {reason}", peer=self.address, reason=reason)


class Peers:
    """All peers of this node.

    @param choose: one of several, at random.
    """

    def __init__(self, registry: StreamRegistry, choose: Callable[[Sequence[Peer]], Peer]) -> None:
        self._registry = registry
        self._choose = choose
        self._peers: dict[tuple[str, int], Peer] = {}

    def add(self, key: tuple[str, int], peer: Peer) -> None:
        """Follow C{peer}."""
        self._peers[key] = peer
        peer.start()

    def remove(self, key: tuple[str, int]) -> Awaitable[object] | None:
        """Forget a peer; gives what fires when its link is closed."""
        peer = self._peers.pop(key, None)
        return peer.stop() if peer is not None else None

    def close(self) -> list[Awaitable[object] | None]:
        """Forget all; gives what fires when each link is closed."""
        return [self.remove(key) for key in list(self._peers)]

    def get(self, key: tuple[str, int]) -> Peer | None:
        """The peer of that key."""
        return self._peers.get(key)

    def elsewhere(self, request: OpenRequest) -> Redirected | None:
        """Where a viewer is to go instead: nothing feeds the stream here, and a peer lists it."""
        if not self._peers or REDIRECTED in request.query.split("&") or self._fed(request):
            return None
        name = request.name
        for state in (StreamState.RUNNING, StreamState.ONDEMAND):
            able = [peer for peer in self._peers.values() if peer.lists(name) is state]
            if able:
                least = min(peer.load.clients for peer in able)
                return self._choose([peer for peer in able if peer.load.clients == least]).redirect()
        return None

    def have(self, name: str) -> bool:
        """Whether any peer has the stream."""
        return any(peer.lists(name) is not None for peer in self._peers.values())

    def _fed(self, request: OpenRequest) -> bool:
        """Whether the stream can be had here. A name that waits for a publisher is not fed."""
        registry, name = self._registry, request.name
        if registry.owned(name) or registry.supply(name) is not None:
            return True
        entry = registry.find(name)
        if entry is None:
            return False
        # What was played here to its end is given to the end; the next playlist comes from the peer.
        return entry.stream.running or (request.part and bool(entry.stream.window.entries))
