"""Endpoints that tell: streams, archives, cluster, the node."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypedDict

from restreamer.web.api import (
    NodeApi,
    ServerFacts,
    ServerStats,
    SourceInfo,
    StreamApi,
    StreamInfo,
)
from restreamer.web.dvr_api import DvrApi
from restreamer.web.dvr_info import CacheInfo, CopyInfo, ReadInfo, VolumeInfo
from restreamer.web.neighbour_info import BalancerInfo, PeerInfo, PushInfo
from restreamer.web.v3.endpoint import BASE, Access, Answered, Call, Endpoint, Handler, Parameter
from restreamer.web.v3.listing import PARAMETERS


class Timing(TypedDict):
    """How long it took, milliseconds."""

    total: int


class Envelope(TypedDict):
    """What every list has: how many there are, and the cursors of the pages beside this one."""

    estimated_count: int
    next: str | None
    prev: str | None


class StreamList(Envelope):
    """Streams."""

    streams: Sequence[StreamInfo]
    timing: Timing


class SourceList(Envelope):
    """Sources, in the order of the configuration."""

    sources: Sequence[SourceInfo]
    timing: Timing


class PeerList(Envelope):
    """Peers, in the order of the configuration."""

    peers: Sequence[PeerInfo]
    timing: Timing


class BalancerList(Envelope):
    """Balancers, in the order of the configuration."""

    balancers: Sequence[BalancerInfo]
    timing: Timing


class PushList(Envelope):
    """Pushes, by stream."""

    pushes: Sequence[PushInfo]
    timing: Timing


class VolumeList(Envelope):
    """Disks with archives; segment caches and object stores beside them, and where the past is read from."""

    dvrs: Sequence[VolumeInfo]
    timing: Timing
    reads: Mapping[str, ReadInfo]
    caches: Sequence[CacheInfo]
    copies: Sequence[CopyInfo]


class Range(TypedDict):
    """From when to when, UTC milliseconds."""

    opened_at: int
    closed_at: int


class RangeList(Envelope):
    """What was recorded. C{complete}: false when a source that may have more is away."""

    ranges: Sequence[Range]
    bytes: int
    complete: bool


class LockList(Envelope):
    """What is never deleted for its age."""

    locks: Sequence[Range]


class Health(TypedDict):
    """What a probe is told. C{now} and C{started_at} are UTC milliseconds."""

    now: int
    build: int
    server_version: str
    started_at: int


_Moment = TypedDict("_Moment", {"from": int}, total=False)


class RangeGiven(_Moment, total=False):
    """A range: C{opened_at} and C{closed_at} in UTC milliseconds, or C{from} and C{duration} in seconds."""

    opened_at: int
    closed_at: int
    duration: int


_RANGE = tuple(
    Parameter(name=name, text=text, schema={"type": "integer", "minimum": 0})
    for name, text in (
        ("opened_at", "Begin of the range, UTC milliseconds."),
        ("closed_at", "End of the range, UTC milliseconds."),
        ("from", "Begin of the range, UTC seconds."),
        ("duration", "Length of the range, seconds."),
    )
)
_COLLECTIONS: Sequence[tuple[str, str, Any, Any]] = (
    ("sources", "Sources of this node.", SourceList, SourceInfo),
    ("peers", "Peers of this node.", PeerList, PeerInfo),
    ("balancers", "Balancers of this node.", BalancerList, BalancerInfo),
    ("pushes", "Where streams are pushed.", PushList, PushInfo),
)


def stream_endpoints(streams: StreamApi) -> list[Endpoint]:
    """The C{streams} collection."""
    return [
        Endpoint(
            method="GET",
            path="/streams",
            summary="Streams that are configured, run, or can be started.",
            tag="streams",
            handler=lambda call: streams.list(call.query, call.user),
            parameters=PARAMETERS,
            result=StreamList,
        ),
        Endpoint(
            method="GET",
            path="/streams/{name}",
            summary="One stream.",
            tag="streams",
            handler=lambda call: streams.item(call.path["name"], call.user),
            result=StreamInfo,
        ),
    ]


def node_endpoints(node: NodeApi, facts: ServerFacts) -> list[Endpoint]:
    """The cluster around the node, and the node in figures."""
    found = [
        Endpoint(
            method="GET",
            path="/config/stats",
            summary="The node in figures.",
            tag="server",
            handler=lambda call: node.stats(facts),
            result=ServerStats,
        )
    ]
    for name, summary, listed, entry in _COLLECTIONS:
        found.append(
            Endpoint(
                method="GET",
                path=f"/cluster/{name}",
                summary=summary,
                tag="cluster",
                handler=_collection(node, name),
                parameters=PARAMETERS,
                result=listed,
            )
        )
        if name != "pushes":
            found.append(
                Endpoint(
                    method="GET",
                    path=f"/cluster/{name}/{{key}}",
                    summary=f"One of them, by its address ({name}).",
                    tag="cluster",
                    handler=_item(node, name),
                    result=entry,
                )
            )
    return found


def _collection(node: NodeApi, name: str) -> Handler:
    return lambda call: node.collection(name, call.query)


def _item(node: NodeApi, name: str) -> Handler:
    return lambda call: node.item(name, call.path["key"])


def archive_endpoints(dvr: DvrApi) -> list[Endpoint]:
    """What is recorded, and what of it is locked."""

    def locks(method: str) -> Any:
        return lambda call: dvr.locks(call.path["name"], method, call.query, call.body or {})

    found = [
        Endpoint(
            method="GET",
            path="/dvrs",
            summary="Disks with archives, segment caches and object stores.",
            tag="dvr",
            handler=lambda call: dvr.volumes(call.query),
            parameters=PARAMETERS,
            result=VolumeList,
        ),
        Endpoint(
            method="GET",
            path="/dvrs/{key}",
            summary="One disk, by its folder.",
            tag="dvr",
            handler=lambda call: dvr.volume(call.path["key"]),
            result=VolumeInfo,
        ),
        Endpoint(
            method="GET",
            path="/streams/{name}/dvr/ranges",
            summary="What can be played of the past of a stream.",
            tag="dvr",
            handler=lambda call: dvr.ranges(call.path["name"]),
            result=RangeList,
        ),
        Endpoint(
            method="GET",
            path="/streams/{name}/dvr/locks",
            summary="What is locked of it: it is not deleted for its age.",
            tag="dvr",
            handler=locks("GET"),
            result=LockList,
        ),
    ]
    for method, summary in (
        ("POST", "Lock a range."),
        ("PUT", "Lock a range."),
        ("DELETE", "Unlock a range."),
    ):
        found.append(
            Endpoint(
                method=method,
                path="/streams/{name}/dvr/locks",
                summary=summary,
                tag="dvr",
                handler=locks(method),
                access=Access.EDIT,
                parameters=_RANGE,
                body=RangeGiven,
                body_required=False,
                result=LockList,
            )
        )
    return found


def probe_endpoints(facts: ServerFacts) -> list[Endpoint]:
    """The probes, at both of their places."""

    def probe(name: str) -> Any:
        def handle(call: Call) -> Any:
            return Answered(200 if name == "liveness" or facts.ready() else 503, facts.health())

        return handle

    return [
        Endpoint(
            method="GET",
            path=f"{base}/monitoring/{name}",
            rooted=True,
            summary=summary,
            tag="server",
            handler=probe(name),
            access=Access.OPEN,
            result=Health,
            error_results={503: Health} if name == "readiness" else {},
        )
        for base in (BASE, "")
        for name, summary in (
            ("liveness", "Whether the process answers."),
            ("readiness", "Whether it takes work; 503: not yet, or not any more."),
        )
    ]
