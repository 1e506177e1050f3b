"""What the HTTP API tells, as values: names and queries in, JSON-ready mappings and errors out (pure).

The shapes are those that monitoring tools for such servers expect: collections in an envelope with opaque
cursors, errors as a list of objects, times ending in C{_at} in UTC milliseconds.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Protocol, TypedDict

from attrs import define, field

from restreamer.media.names import valid_stream_name
from restreamer.web.api_error import ApiError
from restreamer.web.dvr_info import DvrStats, StreamDvrInfo
from restreamer.web.neighbour_info import BalancerInfo, PeerInfo, PusherInfo, PushInfo
from restreamer.web.v3.listing import Listing


class StreamStats(TypedDict, total=False):
    """What is known of a running stream; whatever is not known is left out.

    Rates are kbit/s, C{_at} and C{last_dts} are UTC milliseconds, C{ts_delay}, C{lag} and C{lifetime}
    milliseconds, bytes are totals. C{status} is C{"running"}, C{"waiting"} or C{"error"}.
    """

    id: str
    alive: bool
    status: str
    bitrate: int
    input_bitrate: int
    output_bandwidth: int
    bytes_in: int
    bytes_out: int
    online_clients: int
    last_dts: int
    last_dts_at: int
    last_access_at: int
    opened_at: int
    start_running_at: int
    last_running_at: int
    lifetime: int
    ts_delay: int
    source_id: str
    backup_running: bool
    remote: bool
    publish_enabled: bool
    segments: int
    lag: int
    input_switches: int
    num_sec_on_primary_input: int
    num_sec_on_secondary_input: int
    valid_secondary_inputs: int
    dvr_enabled: bool
    dvr_info: StreamDvrInfo
    pushes: Sequence[PushInfo]
    pushed_from: PusherInfo
    play: Mapping[str, Any]
    media_info: Mapping[str, Any]


class InputStats(TypedDict, total=False):
    """What is known of one input; C{state} and C{active} are always there."""

    active: bool
    state: str
    proto: str
    opened_at: int
    input_switches: int
    bytes: int
    frames: int
    retries: int
    errors: int
    last_error: str
    lag: int
    counters: Mapping[str, int]


class InputInfo(TypedDict):
    """One input of a stream."""

    url: str
    priority: int
    stats: InputStats


class RecordingInfo(TypedDict, total=False):
    """Where a stream is recorded, as configured; what is not limited is left out.

    C{expiration}: seconds; C{disk_usage_limit}: percent of the disk; C{storage_limit}: bytes.
    """

    root: str
    expiration: int
    disk_usage_limit: int
    storage_limit: int


class StreamInfo(TypedDict, total=False):
    """One stream of the list. C{name} and C{stats} are always there.

    C{protocols}: words of those that it is played by; left out: all there are. C{template}: what it has its
    options from.
    """

    name: str
    title: str
    comment: str
    template: str
    dvr: RecordingInfo
    static: bool
    protocols: Sequence[str]
    inputs: Sequence[InputInfo]
    stats: StreamStats


class SourceStats(TypedDict, total=False):
    """What is known of a source. Rates are kbit/s, C{ping} milliseconds, C{_at} UTC milliseconds."""

    status: str
    connected: bool
    server_id: str
    opened_at: int
    closed_at: int
    bytes_in: int
    bytes_out: int
    input_kbit: int
    output_kbit: int
    total_streams: int
    online_streams: int
    standby_streams: int
    errors_connection_lost: int
    last_error: str
    ping: float


class SourceInfo(TypedDict):
    """One source. C{url} is C{m4f://HOST:PORT}; C{position} its place in the configuration, from 0."""

    url: str
    position: int
    stats: SourceStats


class ListenerInfo(TypedDict):
    """A port of the node. C{protocol}: C{http}, C{https}, C{rtmp}, C{rtmps}, C{rtsp} or C{rtsps}.

    C{address}: empty: all. C{api}: pages and API are answered there.
    """

    protocol: str
    address: str
    port: int
    tls: bool
    api: bool


class WorkerInfo(TypedDict, total=False):
    """A process that serves viewers. C{starts}: processes in its place so far; C{lag}: milliseconds by which
    its timers came late; C{memory} and C{bytes_out}: bytes; C{cpu_seconds}: of processor time. C{pid} and the
    figures are not there while it has no process.
    """

    place: int
    ready: bool
    starts: int
    pid: int
    connections: int
    bytes_out: int
    memory: int
    cpu_seconds: float
    lag: int


class ServerStats(TypedDict, total=False):
    """The whole node in figures. Rates are kbit/s; C{_at} and C{now} UTC milliseconds, C{uptime} seconds.

    C{cpu_usage} and C{scheduler_load}: percent of one processor that the process takes; C{memory_usage}:
    percent of the machine's memory.
    """

    id: str
    hostname: str
    now: int
    started_at: int
    uptime: int
    cpu_usage: int
    memory_usage: int
    scheduler_load: int
    server_version: str
    build: int
    streamer_status: str
    total_clients: int
    total_streams: int
    online_streams: int
    input_kbit: int
    output_kbit: int
    bytes_in: int
    bytes_out: int
    listeners: Sequence[ListenerInfo]
    workers: Sequence[WorkerInfo]
    dvr: DvrStats


class StreamDirectory(Protocol):
    """Where the API finds streams. Details are asked for only of the streams that are shown."""

    def names(self) -> Sequence[str]:
        """The names of all streams, in any order."""
        ...

    def info(self, name: str) -> StreamInfo | None:
        """One stream, or None when there is none of that name (any more)."""
        ...


class NodeDirectory(Protocol):
    """Where the API finds what concerns the node as a whole."""

    def sources(self) -> Sequence[SourceInfo]:
        """All sources, in the order of the configuration."""
        ...

    def peers(self) -> Sequence[PeerInfo]:
        """All peers, in the order of the configuration."""
        ...

    def balancers(self) -> Sequence[BalancerInfo]:
        """All balancers, in the order of the configuration."""
        ...

    def pushes(self) -> Sequence[PushInfo]:
        """All pushes that were begun, by stream."""
        ...

    def server(self) -> ServerStats:
        """The node's own figures; what L{ServerFacts} knows is added by the API."""
        ...


@define
class ServerFacts:
    """What a monitoring probe is told.

    @ivar version: the program's; @ivar build: of the installed package; @ivar started_at: UTC milliseconds.
    @ivar now: UTC seconds; @ivar ready: whether the node can take work.
    """

    version: str
    started_at: int
    now: Callable[[], float] = field(repr=False)
    ready: Callable[[], bool] = field(repr=False)
    build: int = 0

    def health(self) -> dict[str, Any]:
        """The body of the liveness and readiness probes."""
        return {
            "now": int(self.now() * 1000),
            "build": self.build,
            "server_version": self.version,
            "started_at": self.started_at,
        }


@define
class StreamApi:
    """The C{streams} collection.

    @ivar directory: where streams are found; @ivar seconds: monotonic seconds, for C{timing}.
    """

    directory: StreamDirectory
    seconds: Callable[[], float] = field(repr=False)

    def list(self, query: Mapping[str, str], user: str = "") -> dict[str, Any]:
        """One page of streams.

        @param query: as L{restreamer.web.v3.listing} reads it. @param user: who proved a password; empty:
            nobody did, and what is meant for operators is left out.
        @raise ApiError: 400 for a parameter that cannot be used.
        """
        listing = Listing(
            "streams",
            StreamInfo,
            self.directory.names,
            lambda name: told_to(user, self.directory.info(name)),
            self.seconds,
            searched=("title",),
        )
        return listing.page(query)

    def item(self, name: str, user: str = "") -> StreamInfo:
        """One stream. @param user: as in L{list}.

        @raise ApiError: 404 when there is none of that name.
        """
        info = told_to(user, self.directory.info(name)) if valid_stream_name(name) else None
        if info is None:
            raise ApiError(404, "not_found", "there is no such stream")
        return info


def told_to(user: str, info: StreamInfo | None) -> StreamInfo | None:
    """C{info} as C{user} may know it: who proved no password is not told what operators note down."""
    if info is None or user or not ("comment" in info or "dvr" in info):
        return info
    told = info.copy()
    told.pop("comment", None)
    told.pop("dvr", None)
    return told


_ENTRIES: Final[Mapping[str, tuple[Any, str]]] = {
    "sources": (SourceInfo, "url"),
    "peers": (PeerInfo, "url"),
    "balancers": (BalancerInfo, "name"),
    "pushes": (PushInfo, "name"),
}


@define
class NodeApi:
    """The C{cluster/…} collections, and the figures of the node itself.

    @ivar directory: where they are found; @ivar seconds: monotonic seconds, for C{timing}.
    @ivar listeners: the ports there are. @ivar hostname: of the machine; empty: not told.
    @ivar load: share of a processor and of the memory that is used, percent; None: not told.
    """

    directory: NodeDirectory
    seconds: Callable[[], float] = field(repr=False)
    listeners: Callable[[], Sequence[ListenerInfo]] = field(default=tuple, repr=False)
    hostname: str = ""
    load: Callable[[], tuple[int, int]] | None = field(default=None, repr=False)

    def collection(self, name: str, query: Mapping[str, str]) -> dict[str, Any]:
        """One page of C{name}: C{sources}, C{peers}, C{balancers} or C{pushes}.

        @param query: as L{restreamer.web.v3.listing} reads it.
        @raise ApiError: 400 for a parameter that cannot be used; 404 for another name.
        """
        entry, key = _ENTRIES.get(name, (None, ""))
        # A stream may be pushed to several places, and a place may get several streams.
        found = {
            f"{each[key]} {each['url']}" if name == "pushes" else each[key]: each for each in self._all(name)
        }
        listing = Listing(name, entry, lambda: found, found.get, self.seconds, key=key, ordered=True)
        return listing.page(query)

    def item(self, name: str, key: str) -> Mapping[str, Any]:
        """One of C{name}, by its URL or by what follows the scheme there; a balancer by its name.

        @raise ApiError: 404 when there is none.
        """
        for info in self._all(name):
            url = info.get("url", info.get("name", ""))
            if key in (url, url.partition("://")[2]):
                return info
        raise ApiError(404, "not_found", f"there is no such thing among {name}")

    def _all(self, name: str) -> Sequence[Mapping[str, Any]]:
        collections: dict[str, Callable[[], Sequence[Mapping[str, Any]]]] = {
            "sources": self.directory.sources,
            "peers": self.directory.peers,
            "balancers": self.directory.balancers,
            "pushes": self.directory.pushes,
        }
        if name not in collections:
            raise ApiError(404, "not_found", "there is no such resource")
        return collections[name]()

    def stats(self, facts: ServerFacts) -> ServerStats:
        """The node in figures."""
        health = facts.health()
        told = ServerStats(
            now=health["now"],
            started_at=health["started_at"],
            uptime=max(0, health["now"] - health["started_at"]) // 1000,
            server_version=health["server_version"],
            build=health["build"],
            streamer_status="running" if facts.ready() else "starting",
        )
        told.update(self.directory.server())
        told["listeners"] = self.listeners()
        if self.hostname:
            told["hostname"] = self.hostname
        if self.load is not None:
            cpu, told["memory_usage"] = self.load()
            told["cpu_usage"] = told["scheduler_load"] = cpu
        return told
