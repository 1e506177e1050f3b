"""The read-only HTTP API as values: names and queries in, JSON-ready mappings and errors out (pure).

The shapes are those that monitoring tools for such servers expect: collections in an envelope with opaque
cursors, errors as a list of objects, times ending in C{_at} in UTC milliseconds.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Protocol, TypedDict

from attrs import define, field

from restreamer.media.names import valid_stream_name
from restreamer.web.dvr_info import DvrStats, StreamDvrInfo
from restreamer.web.neighbour_info import BalancerInfo, PeerInfo, PusherInfo, PushInfo

DEFAULT_LIMIT: Final = 100
MAX_LIMIT: Final = 1000
#: Characters of C{cursor}, C{q} and C{select}.
MAX_PARAMETER: Final = 2048

_UNSIGNED: Final = re.compile(r"[0-9]{1,6}")
_FIELD_PATH: Final = re.compile(r"[a-z0-9_]{1,64}(?:\.[a-z0-9_]{1,64}){0,3}")


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


class StreamInfo(TypedDict, total=False):
    """One stream of the list. C{name} and C{stats} are always there."""

    name: str
    title: str
    static: bool
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


class ServerStats(TypedDict, total=False):
    """The whole node in figures. Rates are kbit/s; C{_at} and C{now} UTC milliseconds, C{uptime} seconds."""

    id: str
    now: int
    started_at: int
    uptime: int
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


class ApiError(Exception):
    """A request the API does not answer with what was asked for.

    @ivar status: HTTP status; @ivar code: a word for programs; @ivar title: a sentence for people.
    @ivar allow: for 405, the methods there are.
    """

    def __init__(self, status: int, code: str, title: str, allow: str = "") -> None:
        super().__init__(title)
        self.status = status
        self.code = code
        self.title = title
        self.allow = allow

    def body(self) -> dict[str, Any]:
        """The JSON shape of the error."""
        return {"errors": [{"status": str(self.status), "code": self.code, "title": self.title}]}


def to_json(value: Mapping[str, Any]) -> bytes:
    """C{value} as compact JSON in UTF-8, with nothing in it that HTML could take for a tag."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").encode("utf-8", "backslashreplace")


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

    def list(self, query: Mapping[str, str]) -> dict[str, Any]:
        """One page of streams by name.

        @param query: C{limit}, C{cursor}, C{q} (part of a name), C{select} (C{a,b.c}); others are ignored.
        @raise ApiError: 400 for a parameter that cannot be used.
        """
        began = self.seconds()
        limit = _limit(query.get("limit", ""))
        fields = _fields(query.get("select", ""))
        wanted = query.get("q", "").casefold()
        names = sorted(name for name in self.directory.names() if wanted in name.casefold())
        first, last = _page(names, query.get("cursor", ""), limit)
        shown = []
        for name in names[first:last]:
            info = self.directory.info(name)
            if info is not None:
                shown.append(_selected(info, fields))
        return {
            "streams": shown,
            "estimated_count": len(names),
            "next": _cursor("after", names[last - 1]) if 0 < last < len(names) else None,
            "prev": _cursor("before", names[first]) if 0 < first < len(names) else None,
            "timing": {"total": round((self.seconds() - began) * 1000)},
        }

    def item(self, name: str) -> StreamInfo:
        """One stream.

        @raise ApiError: 404 when there is none of that name.
        """
        info = self.directory.info(name) if valid_stream_name(name) else None
        if info is None:
            raise ApiError(404, "not_found", "there is no such stream")
        return info


@define
class NodeApi:
    """The C{cluster/…} collections, and the figures of the node itself.

    @ivar directory: where they are found; @ivar seconds: monotonic seconds, for C{timing}.
    """

    directory: NodeDirectory
    seconds: Callable[[], float] = field(repr=False)

    def collection(self, name: str) -> dict[str, Any]:
        """All of C{name}, on one page. @param name: C{sources}, C{peers}, C{balancers} or C{pushes}.

        @raise ApiError: 404 for another name.
        """
        began = self.seconds()
        found = list(self._all(name))
        return {
            name: found,
            "estimated_count": len(found),
            "next": None,
            "prev": None,
            "timing": {"total": round((self.seconds() - began) * 1000)},
        }

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
        return told


def _limit(text: str) -> int:
    if not text:
        return DEFAULT_LIMIT
    if _UNSIGNED.fullmatch(text) is None or int(text) == 0:
        raise ApiError(400, "bad_limit", f"limit is a number from 1 to {MAX_LIMIT}")
    return min(int(text), MAX_LIMIT)


def _fields(text: str) -> list[list[str]]:
    if not text:
        return []
    paths = text[:MAX_PARAMETER].split(",")
    if any(_FIELD_PATH.fullmatch(path) is None for path in paths):
        raise ApiError(400, "bad_select", "select is a list of field names such as name,stats.bitrate")
    return [path.split(".") for path in paths]


def _selected(info: Mapping[str, Any], fields: Sequence[Sequence[str]]) -> Mapping[str, Any]:
    """Only C{fields} of C{info}, and its name; all of it without fields."""
    if not fields:
        return info
    chosen: dict[str, Any] = {"name": info.get("name")}
    for path in fields:
        value: Any = info
        for key in path:
            value = value.get(key) if isinstance(value, Mapping) else None
        if value is None:
            continue
        place = chosen
        for key in path[:-1]:
            deeper = place.get(key)
            if not isinstance(deeper, dict):
                deeper = place[key] = {}
            place = deeper
        place[path[-1]] = value
    return chosen


def _cursor(side: str, name: str) -> str:
    return base64.urlsafe_b64encode(json.dumps([side, name]).encode()).decode("ascii")


def _page(names: Sequence[str], cursor: str, limit: int) -> tuple[int, int]:
    """First and last+1 index of the page that C{cursor} asks for, in sorted C{names}."""
    if not cursor:
        return 0, min(limit, len(names))
    try:
        if len(cursor) > MAX_PARAMETER:
            raise ValueError
        side, name = json.loads(base64.b64decode(cursor.encode("ascii"), b"-_", validate=True))
        if side not in ("after", "before") or not isinstance(name, str):
            raise ValueError
    except (ValueError, TypeError, RecursionError, binascii.Error):
        raise ApiError(400, "bad_cursor", "cursor is not one this server gave") from None
    if side == "after":
        first = bisect_right(names, name)
        return first, min(first + limit, len(names))
    last = bisect_left(names, name)
    return max(0, last - limit), last
