"""C{/metrics}: what the node tells Prometheus, read from its owners when it is asked for.

Names begin with C{restreamer_}; counters begin at zero with the node (those of a stream with the stream).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Protocol

from attrs import define, field
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily, Metric
from prometheus_client.registry import Collector
from typing_extensions import override

from restreamer.web.api import NodeDirectory, StreamDirectory, StreamInfo
from restreamer.web.v3.endpoint import Call, Endpoint, Text

#: Upper ends of the classes of C{restreamer_auth_seconds}.
_AUTH_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 3.0)


class LoopFacts(Protocol):
    """How late the reactor is. @ivar late: newest, @ivar worst: greatest lateness of a timer, seconds."""

    late: float
    worst: float


@define
class MetricSources:
    """Where the figures come from.

    @ivar version: of the program. @ivar resident: bytes of memory. @ivar sessions: how many viewers there
        are, by (stream, protocol). @ivar decisions: answers of the gate, by what they were.
    @ivar sent: bytes sent to viewers, by protocol. @ivar extra: further gauges, by name: (text, value).
    @ivar faults: errors of the program itself.
    """

    version: str
    streams: StreamDirectory
    node: NodeDirectory
    loop: LoopFacts
    resident: Callable[[], int]
    sessions: Callable[[], Mapping[tuple[str, str], int]] = field(default=dict)
    decisions: Callable[[], Mapping[str, int]] = field(default=dict)
    sent: Callable[[], Mapping[str, int]] = field(default=dict)
    extra: Callable[[], Mapping[str, tuple[str, float]]] = field(default=dict)
    faults: Callable[[], int] = field(default=lambda: 0)


@define(slots=False, eq=False)
class NodeCollector(Collector):
    """Makes the figures."""

    sources: MetricSources

    @override
    def collect(self) -> Iterator[Metric]:
        """All of them."""
        yield InfoMetricFamily("restreamer", "The program.", {"version": self.sources.version})
        yield from self._server()
        infos = [
            info
            for name in sorted(self.sources.streams.names())
            if (info := self.sources.streams.info(name)) is not None
        ]
        yield from _streams(infos)
        yield from _inputs(infos)
        yield from _feeds(infos)
        yield from self._viewers()
        yield from self._sources()
        yield from self._archives()

    def _server(self) -> Iterator[Metric]:
        told = self.sources.node.server()
        loop = self.sources.loop
        yield _gauge("restreamer_streams", "Streams listed.", told.get("total_streams", 0))
        yield _gauge("restreamer_streams_online", "Streams that run.", told.get("online_streams", 0))
        yield _gauge("restreamer_clients", "Viewers.", told.get("total_clients", 0))
        yield _counter("restreamer_received_bytes", "Media taken.", told.get("bytes_in", 0))
        yield _counter("restreamer_sent_bytes", "Sent to viewers and other nodes.", told.get("bytes_out", 0))
        yield _gauge("restreamer_loop_lag_seconds", "How late the newest timer came.", loop.late)
        yield _gauge("restreamer_loop_lag_worst_seconds", "The same, the greatest so far.", loop.worst)
        yield _gauge("restreamer_resident_memory_bytes", "Memory in use.", self.sources.resident())
        yield _counter("restreamer_faults", "Errors of the program itself.", self.sources.faults())
        for name, (text, value) in self.sources.extra().items():
            yield _gauge(f"restreamer_{name}", text, value)

    def _viewers(self) -> Iterator[Metric]:
        viewers = GaugeMetricFamily("restreamer_sessions", "Viewers now.", labels=["name", "proto"])
        for (name, proto), count in self.sources.sessions().items():
            viewers.add_metric([name, proto], count)
        yield viewers
        sent = CounterMetricFamily("restreamer_session_bytes", "Sent to viewers.", labels=["proto"])
        for proto, size in self.sources.sent().items():
            sent.add_metric([proto], size)
        yield sent
        decisions = CounterMetricFamily(
            "restreamer_auth_decisions", "What the gate and its backends decided.", labels=["decision"]
        )
        for decision, count in self.sources.decisions().items():
            decisions.add_metric([decision], count)
        yield decisions

    def _sources(self) -> Iterator[Metric]:
        connected = GaugeMetricFamily("restreamer_source_connected", "1: its link is up.", labels=["source"])
        ping = GaugeMetricFamily("restreamer_source_ping_seconds", "Round trip to it.", labels=["source"])
        lost = CounterMetricFamily("restreamer_source_lost", "Control links lost.", labels=["source"])
        taken = CounterMetricFamily("restreamer_source_received_bytes", "From it.", labels=["source"])
        for source in self.sources.node.sources():
            stats, labels = source["stats"], [source["url"]]
            connected.add_metric(labels, int(stats.get("connected", False)))
            lost.add_metric(labels, stats.get("errors_connection_lost", 0))
            taken.add_metric(labels, stats.get("bytes_in", 0))
            if "ping" in stats:
                ping.add_metric(labels, stats["ping"] / 1000)
        yield from (connected, ping, lost, taken)
        pushes = GaugeMetricFamily("restreamer_push_connected", "1: it is taken.", labels=["name", "url"])
        for push in self.sources.node.pushes():
            pushes.add_metric([push["name"], push["url"]], int(push["stats"].get("connected", False)))
        yield pushes

    def _archives(self) -> Iterator[Metric]:
        told = self.sources.node.server().get("dvr")
        if told is None:
            return
        yield _gauge("restreamer_dvr_alarms", "Things that are wrong with archives.", len(told["alarms"]))
        yield _counter("restreamer_dvr_written_bytes", "Written to archives.", told["bytes_written"])
        yield _counter(
            "restreamer_dvr_dropped_segments", "Segments that were not written.", told["segments_dropped"]
        )
        segments = CounterMetricFamily(
            "restreamer_dvr_read_segments", "Segments of the past that were read.", labels=["place"]
        )
        size = CounterMetricFamily("restreamer_dvr_read_bytes", "Bytes of them.", labels=["place"])
        for place, read in told["reads"].items():
            segments.add_metric([place], read["segments"])
            size.add_metric([place], read["bytes"])
        yield from (segments, size)


class Metrics:
    """The figures, and how long backends took to answer.

    @ivar auth_seconds: to be told with C{observe(seconds)} and the label C{verdict}.
    """

    def __init__(self, sources: MetricSources) -> None:
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(NodeCollector(sources))
        self.auth_seconds = Histogram(
            "restreamer_auth_seconds",
            "How long backends took to answer.",
            ["verdict"],
            buckets=_AUTH_SECONDS,
            registry=self._registry,
        )

    def text(self) -> bytes:
        """All figures, in the text format of Prometheus."""
        return generate_latest(self._registry)

    def endpoint(self) -> Endpoint:
        """C{GET /metrics}."""

        def handle(call: Call) -> Text:
            return Text(self.text(), CONTENT_TYPE_LATEST)

        return Endpoint(
            method="GET",
            path="/metrics",
            rooted=True,
            summary="Figures for Prometheus.",
            tag="server",
            handler=handle,
            content_type="text/plain",
        )


def _gauge(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(name, text, value)


def _counter(name: str, text: str, value: float) -> Metric:
    return CounterMetricFamily(name, text, value)


def _streams(infos: Iterable[StreamInfo]) -> Iterator[Metric]:
    kinds: tuple[tuple[str, str, str, float], ...] = (
        ("alive", "alive", "1: it runs, and its newest frame is not old.", 1),
        ("bitrate_bits", "bitrate", "Bits a second of the newest segment.", 1000),
        ("clients", "online_clients", "Viewers with a connection of their own.", 1),
        ("delay_seconds", "ts_delay", "How old the newest frame is.", 0.001),
        ("hop_lag_seconds", "lag", "How old the newest frame was when it came from another node.", 0.001),
        ("backup_running", "backup_running", "1: a backup is shown.", 1),
    )
    counters: tuple[tuple[str, str, str], ...] = (
        ("received_bytes", "bytes_in", "Media taken."),
        ("sent_bytes", "bytes_out", "Media sent to viewers with a connection of their own."),
        ("segments", "segments", "Segments closed."),
        ("input_switches", "input_switches", "Changes from one input to another."),
    )
    families: list[tuple[Metric, str, float]] = [
        (GaugeMetricFamily(f"restreamer_stream_{name}", text, labels=["name"]), key, factor)
        for name, key, text, factor in kinds
    ]
    families += [
        (CounterMetricFamily(f"restreamer_stream_{name}", text, labels=["name"]), key, 1)
        for name, key, text in counters
    ]
    recorded = GaugeMetricFamily("restreamer_stream_dvr_lag_seconds", "Waits for the disk.", labels=["name"])
    for info in infos:
        stats: Mapping[str, Any] = info["stats"]
        for family, key, factor in families:
            if key in stats:
                family.add_metric([info["name"]], stats[key] * factor)  # type: ignore[attr-defined]
        lag = stats.get("dvr_info", {}).get("lag")
        if lag is not None:
            recorded.add_metric([info["name"]], lag)
    yield from (family for family, _, _ in families)
    yield recorded


def _inputs(infos: Iterable[StreamInfo]) -> Iterator[Metric]:
    active = GaugeMetricFamily(
        "restreamer_input_active", "1: it feeds the stream.", labels=["name", "priority"]
    )
    errors = CounterMetricFamily("restreamer_input_errors", "Failures.", labels=["name", "priority"])
    counted = CounterMetricFamily(
        "restreamer_input_events", "What the kind of input counts.", labels=["name", "priority", "counter"]
    )
    for info in infos:
        for one in info.get("inputs", ()):
            labels = [info["name"], str(one["priority"])]
            active.add_metric(labels, int(one["stats"].get("active", False)))
            errors.add_metric(labels, one["stats"].get("errors", 0))
            for counter, value in one["stats"].get("counters", {}).items():
                counted.add_metric([*labels, counter], value)
    yield from (active, errors, counted)


def _feeds(infos: Iterable[StreamInfo]) -> Iterator[Metric]:
    labels = ["name", "container"]
    joined = CounterMetricFamily("restreamer_feed_clients", "Viewers so far.", labels=labels)
    jumps = CounterMetricFamily(
        "restreamer_feed_jumps", "Slow viewers moved to a newer keyframe.", labels=labels
    )
    drops = CounterMetricFamily("restreamer_feed_drops", "Slow viewers dropped.", labels=labels)
    size = CounterMetricFamily("restreamer_feed_sent_bytes", "Sent.", labels=labels)
    for info in infos:
        for container, told in info["stats"].get("play", {}).items():
            place = [info["name"], container]
            joined.add_metric(place, told["total_clients"])
            jumps.add_metric(place, told["skips"])
            drops.add_metric(place, told["dropped"])
            size.add_metric(place, told["bytes"])
    yield from (joined, jumps, drops, size)
