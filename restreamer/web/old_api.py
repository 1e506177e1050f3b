"""The read-only calls at C{/flussonic/api} that monitoring tools of such servers still make.

What they parse is told with the names they know; what this program has no equal of (transcoders, schedulers)
is told as nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final, TypedDict

from attrs import define

from restreamer.media.names import valid_stream_name
from restreamer.viewer_facts import SessionFacts
from restreamer.web.api import NodeApi, ServerFacts, StreamDirectory, StreamInfo, told_to
from restreamer.web.api_error import ApiError
from restreamer.web.v3.endpoint import Access, Answered, Call, Endpoint, Parameter

#: Everything is below this path.
OLD_BASE: Final = "/flussonic/api"
#: A stream whose newest frame is older than this is not healthy, milliseconds.
HEALTHY_MS: Final = 5_000
#: Streams and sessions told of in one answer, at most: these calls have no pages.
MAX_TOLD: Final = 10_000

_NAMES: Final = Parameter(name="name", text="Only these, separated by commas.")


class OldServer(TypedDict, total=False):
    """The node in figures."""

    event: str
    version: str
    build: int
    hostname: str
    uptime: int
    total_clients: int
    total_streams: int
    online_streams: int
    input_kbit: int
    output_kbit: int
    cpu_usage: int
    memory_usage: int
    scheduler_load: int
    partitions: Sequence[Mapping[str, Any]]
    transcoder_devices: Sequence[Mapping[str, Any]]


class OldMedia(TypedDict):
    """One stream, in the shape of old configurations."""

    entry: str
    value: Mapping[str, Any]


class OldStreams(TypedDict):
    """All streams."""

    event: str
    streams: Sequence[Mapping[str, Any]]


class OldSessions(TypedDict):
    """All viewers."""

    event: str
    sessions: Sequence[Mapping[str, Any]]


class OldMediaInfo(TypedDict, total=False):
    """The tracks of a stream."""

    flow_type: str
    tracks: Sequence[Mapping[str, Any]]
    streams: Sequence[Mapping[str, Any]]


@define
class OldApi:
    """Answers the old calls.

    @ivar sessions: viewers now.
    """

    streams: StreamDirectory
    node: NodeApi
    facts: ServerFacts
    sessions: Callable[[], Iterable[SessionFacts]]

    def endpoints(self) -> list[Endpoint]:
        """All of them."""

        def made(
            path: str, summary: str, handler: Callable[[Call], Any], result: Any, **more: Any
        ) -> Endpoint:
            return Endpoint(
                method="GET",
                path=OLD_BASE + path,
                rooted=True,
                summary=summary,
                tag="old",
                handler=handler,
                result=result,
                **more,
            )

        return [
            made("/server", "The node in figures.", lambda call: self.server(), OldServer),
            made(
                "/media",
                "Streams.",
                lambda call: self.media(call.query, call.user),
                list[OldMedia],
                parameters=(_NAMES,),
            ),
            made("/streams", "Streams.", lambda call: self.all_streams(), OldStreams),
            made(
                "/sessions",
                "Viewers.",
                lambda call: self.viewers(call.query),
                OldSessions,
                parameters=(_NAMES,),
                access=Access.PRIVATE,
            ),
            made(
                "/media_info/{name}",
                "The tracks of a stream.",
                lambda call: self.media_info(call.path["name"]),
                OldMediaInfo,
            ),
            made(
                "/stream_health/{name}",
                "Whether it can be watched now.",
                lambda call: self.health(call.path["name"]),
                bool,
                errors={424: "It cannot."},
                error_results={424: bool},
            ),
        ]

    def server(self) -> OldServer:
        """The node in figures."""
        told = self.node.stats(self.facts)
        return OldServer(
            event="server.info",
            version=told.get("server_version", ""),
            build=told.get("build", 0),
            hostname=told.get("hostname", ""),
            uptime=told.get("uptime", 0),
            total_clients=told.get("total_clients", 0),
            total_streams=told.get("total_streams", 0),
            online_streams=told.get("online_streams", 0),
            input_kbit=told.get("input_kbit", 0),
            output_kbit=told.get("output_kbit", 0),
            cpu_usage=told.get("cpu_usage", 0),
            memory_usage=told.get("memory_usage", 0),
            scheduler_load=told.get("scheduler_load", 0),
            partitions=[],
            transcoder_devices=[],
        )

    def media(self, query: Mapping[str, str], user: str) -> list[OldMedia]:
        """Streams as entries of a configuration."""
        told: list[OldMedia] = []
        for known in self._infos(query):
            info = told_to(user, known) or known
            options: dict[str, Any] = {
                "title": info.get("title", ""),
                "comment": info.get("comment", ""),
                "static": info.get("static", False),
                "disabled": False,
            }
            if "dvr" in info:
                options["dvr"] = info["dvr"]
            value = {
                "name": info["name"],
                "urls": [{"value": each["url"], "options": []} for each in info.get("inputs", ())],
                "options": options,
                "stats": _stats(info),
            }
            told.append(OldMedia(entry="stream", value=value))
        return told

    def all_streams(self) -> OldStreams:
        """Streams with their figures."""
        streams = [{"name": info["name"], **_stats(info)} for info in self._infos({})]
        return OldStreams(event="stream.list", streams=streams)

    def viewers(self, query: Mapping[str, str]) -> OldSessions:
        """Viewers of all streams, or of C{name}."""
        wanted = _names(query)
        told: list[Mapping[str, Any]] = []
        for facts in self.sessions():
            if facts.kind == "play" and (not wanted or facts.name in wanted) and len(told) < MAX_TOLD:
                told.append(_session(facts))
        return OldSessions(event="user.list", sessions=told)

    def media_info(self, name: str) -> OldMediaInfo:
        """The tracks of a stream.

        @raise ApiError: 404.
        """
        tracks = self._stream(name)["stats"].get("media_info", {}).get("tracks", [])
        return OldMediaInfo(flow_type="stream", tracks=tracks, streams=tracks)

    def health(self, name: str) -> Answered:
        """Whether a stream can be watched.

        @raise ApiError: 404.
        """
        stats = self._stream(name)["stats"]
        well = bool(stats.get("alive")) and stats.get("ts_delay", 0) < HEALTHY_MS
        return Answered(200 if well else 424, well)

    def _stream(self, name: str) -> StreamInfo:
        info = self.streams.info(name) if valid_stream_name(name) else None
        if info is None:
            raise ApiError(404, "not_found", "there is no such stream")
        return info

    def _infos(self, query: Mapping[str, str]) -> list[StreamInfo]:
        wanted = _names(query)
        names = sorted(name for name in self.streams.names() if not wanted or name in wanted)
        found = [self.streams.info(name) for name in names[:MAX_TOLD]]
        return [info for info in found if info is not None]


def _names(query: Mapping[str, str]) -> frozenset[str]:
    return frozenset(name for name in query.get("name", "").split(",") if name)


def _stats(info: StreamInfo) -> dict[str, Any]:
    """The figures of a stream under their old names."""
    stats = info["stats"]
    inputs = info.get("inputs", ())
    return {
        "alive": stats.get("alive", False),
        "bitrate": stats.get("bitrate", 0),
        "bytes_in": stats.get("bytes_in", 0),
        "bytes_out": stats.get("bytes_out", 0),
        "client_count": stats.get("online_clients", 0),
        "dvr_enabled": stats.get("dvr_enabled", False),
        "input_error_rate": 0,
        "last_dts": stats.get("last_dts", 0),
        "lifetime": stats.get("lifetime", 0),
        "media_info": stats.get("media_info", {"tracks": []}),
        "remote": stats.get("remote", False),
        "retry_count": sum(each["stats"].get("retries", 0) for each in inputs),
        "running": stats.get("status") == "running",
        "running_transcoder": False,
        "source_id": stats.get("source_id", ""),
        "ts_delay": stats.get("ts_delay", 0),
    }


def _session(facts: SessionFacts) -> dict[str, Any]:
    return {
        "id": facts.session_id,
        "ip": facts.ip,
        "name": facts.name,
        "start_at": facts.opened_at // 1000,
        "created_at": facts.opened_at // 1000,
        "duration": max(0, facts.updated_at - facts.opened_at) // 1000,
        "type": f"{facts.proto}_dvr" if facts.past else facts.proto,
        "user_id": facts.user_id,
        "bytes": facts.bytes,
        "bytes_sent": facts.bytes,
        "token": facts.token_hash,
        "referer": facts.referer,
        "user_agent": facts.user_agent,
        "country": facts.country,
    }
