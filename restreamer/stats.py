"""What the API tells of streams and of the node, read from their owners when it is asked for."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Protocol

from restreamer.facts import InputFacts, SourceFacts, WorkerFacts
from restreamer.live.feed import Feed, FeedCounters
from restreamer.live.registry import LiveEntry, StreamRegistry
from restreamer.live.stream import Stream
from restreamer.media.codecs import shown_codec
from restreamer.media.timebase import TICKS_PER_MS, TICKS_PER_SECOND, ticks_to_ms
from restreamer.media.track import Track, TrackKind
from restreamer.meter import Meter
from restreamer.seams import Clock, Timer
from restreamer.web.api import (
    InputInfo,
    InputStats,
    ServerStats,
    SourceInfo,
    SourceStats,
    StreamInfo,
    StreamStats,
    WorkerInfo,
)
from restreamer.web.dvr_info import (
    CacheInfo,
    CopyInfo,
    ReadInfo,
    StreamDvrInfo,
    VolumeInfo,
    dvr_stats,
)
from restreamer.web.neighbour_info import (
    BalancerInfo,
    NeighbourFacts,
    NoNeighbours,
    PeerInfo,
    PushInfo,
    balancer_info,
    peer_info,
    push_info,
    pusher_info,
)

#: A stream whose newest frame is older than this is not alive, milliseconds.
ALIVE_MS = 12_000
#: How often the counters behind the rates are looked at, seconds.
SAMPLE_SECONDS = 2.0
_NO_NEIGHBOURS: Final = NoNeighbours()


class RemoteFacts(Protocol):
    """What is asked of the streams that other nodes feed."""

    def source_of(self, name: str) -> str | None:
        """Address of the source that feeds C{name} now, or would."""
        ...

    def missing(self) -> Sequence[str]:
        """Names that are held while all sources that had them are lost."""
        ...


class ArchiveFacts(Protocol):
    """What is asked of the archives."""

    def stream_info(self, name: str) -> StreamDvrInfo | None:
        """How it goes with the archive of a stream; None: it is not recorded here."""
        ...

    def volumes(self) -> Sequence[VolumeInfo]:
        """How it goes with the volumes."""
        ...

    def cached(self) -> Sequence[CacheInfo]:
        """The segment caches."""
        ...

    def copied(self) -> Sequence[CopyInfo]:
        """The object stores."""
        ...

    def reads(self) -> Mapping[str, ReadInfo]:
        """Segments of the past that were read, by place."""
        ...


class WorkerTotals(Protocol):
    """What the workers of a node sent, and how they are."""

    def facts(self) -> Sequence[WorkerFacts]:
        """How each is."""
        ...

    def stream_sent(self, name: str) -> int:
        """Bytes that the feeds of a stream sent."""
        ...

    def containers(self, name: str) -> Mapping[str, tuple[int, int, int, int, int, float]]:
        """The feeds of a stream by container: viewers, joined, skips, dropped, bytes, flush interval."""
        ...


class NodeStats:
    """A L{restreamer.web.api.StreamDirectory} and L{restreamer.web.api.NodeDirectory} of a node.

    A configured stream is always listed; one that was published or pulled only while it runs, although its
    window stays playable for C{source_timeout} after that.
    @param configured: names of the configuration, with the title of each and whether it is static; asked for
        each stream that is told of.
    @param utc: UTC ticks now. @param inputs_of: the inputs of a name, the preferred first.
    @param switches_of: how often a name went from one input to another.
    @param neighbours: peers, balancers and pushes. @param archives: what is recorded.
    @param clients_of: viewers of a stream on this node, @param clients: all viewers; None: those are counted
        that have a connection of their own.
    @param sent: bytes that went out other than to the viewers of feeds (HTTP answers, links), so far.
    @ivar workers: those that serve viewers beside this process; None: none do.
    """

    workers: WorkerTotals | None = None

    def __init__(
        self,
        registry: StreamRegistry,
        remote: RemoteFacts,
        configured: Callable[[], Mapping[str, tuple[str, bool]]],
        utc: Callable[[], int],
        *,
        inputs_of: Callable[[str], Sequence[InputFacts]] = lambda name: (),
        switches_of: Callable[[str], int] = lambda name: 0,
        sent: Callable[[], int] = lambda: 0,
        node_id: bytes = b"",
        neighbours: NeighbourFacts = _NO_NEIGHBOURS,
        archives: ArchiveFacts | None = None,
        clients_of: Callable[[str], int] | None = None,
        clients: Callable[[], int] | None = None,
    ) -> None:
        self._registry = registry
        self._remote = remote
        self._configured = configured
        self._utc = utc
        self._inputs_of = inputs_of
        self._switches_of = switches_of
        self._facts_of_sources: Callable[[], Sequence[SourceFacts]] = lambda: ()
        self._sent = sent
        self._node_id = node_id
        self._neighbours = neighbours
        self._archives = archives
        self._clients_of = clients_of
        self._clients = clients
        self._taken, self._given = Meter(), Meter()
        self._of_sources: dict[str, tuple[Meter, Meter]] = {}
        self._clock: Clock | None = None
        self._timer: Timer | None = None

    # Rates.

    def start(self, clock: Clock) -> None:
        """Look at the counters from now on, so that there are rates."""
        self._clock = clock
        self._sample()

    def tell_sources(self, sources: Callable[[], Sequence[SourceFacts]]) -> None:
        """C{sources} gives all sources from now on, in the order of the configuration."""
        self._facts_of_sources = sources

    def stop(self) -> None:
        """Look no more."""
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self._timer = None

    def _sample(self) -> None:
        assert self._clock is not None
        now = self._clock.seconds()
        self._timer = self._clock.callLater(SAMPLE_SECONDS, self._sample)
        entries = list(self._registry)
        self._taken.sample(now, sum(entry.stream.traffic.bytes_in for entry in entries))
        self._given.sample(now, sum(entry.playout.bytes_out for entry in entries) + self._sent())
        sources = {facts.address: facts for facts in self._facts_of_sources()}
        for address in self._of_sources.keys() - sources.keys():
            del self._of_sources[address]
        for address, facts in sources.items():
            taken, given = self._of_sources.setdefault(address, (Meter(), Meter()))
            taken.sample(now, facts.bytes_in)
            given.sample(now, facts.bytes_out)

    # The node.

    def server(self) -> ServerStats:
        """The node in figures."""
        entries = list(self._registry)
        told = ServerStats(
            id=self._node_id.hex(),
            total_clients=(
                self._clients()
                if self._clients is not None
                else sum(entry.playout.viewers for entry in entries)
            ),
            total_streams=len(self._names()),
            online_streams=sum(entry.stream.running for entry in entries),
            bytes_in=self._taken.total,
            bytes_out=self._given.total,
        )
        if self._taken.rate is not None:
            told["input_kbit"] = _kbit(self._taken.rate)
        if self._given.rate is not None:
            told["output_kbit"] = _kbit(self._given.rate)
        if self.workers is not None:
            told["workers"] = [_worker(each) for each in self.workers.facts()]
        if self._archives is not None:
            told["dvr"] = dvr_stats(
                self._archives.volumes(),
                self._archives.reads(),
                self._archives.cached(),
                self._archives.copied(),
            )
        return told

    def sources(self) -> Sequence[SourceInfo]:
        """The sources, in the order of the configuration."""
        return [self._source(facts) for facts in self._facts_of_sources()]

    def peers(self) -> Sequence[PeerInfo]:
        """The peers, in the order of the configuration."""
        return [peer_info(facts) for facts in self._neighbours.peer_facts()]

    def balancers(self) -> Sequence[BalancerInfo]:
        """The balancers, in the order of the configuration."""
        return [balancer_info(facts) for facts in self._neighbours.balancer_facts()]

    def pushes(self) -> Sequence[PushInfo]:
        """The pushes that were begun, by stream."""
        return [push_info(facts) for facts in self._neighbours.push_facts()]

    def _source(self, facts: SourceFacts) -> SourceInfo:
        stats = SourceStats(
            status="running" if facts.connected else "error",
            connected=facts.connected,
            bytes_in=facts.bytes_in,
            bytes_out=facts.bytes_out,
            total_streams=facts.listed,
            online_streams=facts.pulled,
            standby_streams=facts.standbys,
            errors_connection_lost=facts.losses,
        )
        if facts.node_id:
            stats["server_id"] = facts.node_id.hex()
        if facts.since is not None:
            stats["opened_at" if facts.connected else "closed_at"] = ticks_to_ms(facts.since)
        if facts.last_error:
            stats["last_error"] = facts.last_error
        if facts.round_trip is not None:
            stats["ping"] = round(facts.round_trip * 1000, 3)
        for key, meter in zip(
            ("input_kbit", "output_kbit"), self._of_sources.get(facts.address, ()), strict=False
        ):
            if meter.rate is not None:
                # Of a lost one nothing comes, whatever came in the last seconds.
                rate = _kbit(meter.rate) if facts.connected else 0
                stats[key] = rate  # type: ignore[literal-required]  # mypy sees a str
        return SourceInfo(url=f"{facts.proto}://{facts.address}", position=facts.position, stats=stats)

    # Streams.

    def names(self) -> Sequence[str]:
        """Names of all streams that run, are configured or can be started."""
        return tuple(self._names())

    def _names(self) -> set[str]:
        # Also what waits for its input while somebody watches, or while all its sources are lost.
        names = {
            entry.stream.name for entry in self._registry if entry.stream.running or entry.playout.viewers
        }
        names.update(self._remote.missing())
        names.update(self._registry.supplies())
        names.update(self._configured())
        return names

    def info(self, name: str) -> StreamInfo | None:
        """One stream; None when it neither runs nor is configured nor can be started."""
        configured = self._configured()
        entry = self._registry.find(name)
        supplied = self._registry.supply(name) is not None
        running = entry is not None and entry.stream.running
        waited = (entry is not None and entry.playout.viewers > 0) or name in self._remote.missing()
        if not running and not supplied and not waited and name not in configured:
            return None
        stats = self._stats(entry) if entry is not None else _never_ran()
        source = self._remote.source_of(name)
        stats["remote"] = source is not None
        if source is not None:
            stats["source_id"] = source
        stats["publish_enabled"] = self._registry.published(name)
        protocols = self._registry.protocols(name)
        title = entry.stream.title if entry is not None else configured.get(name, ("", True))[0]
        info = StreamInfo(
            name=name,
            title=title,
            static=configured[name][1] if name in configured else not supplied,
            stats=stats,
        )
        if protocols is not None:
            info["protocols"] = sorted(protocols)
        inputs = self._inputs_of(name)
        if inputs:
            info["inputs"] = [_input(facts) for facts in inputs]
            stats["input_switches"] = self._switches_of(name)
            _add_inputs(stats, inputs)
        dvr = self._archives.stream_info(name) if self._archives is not None else None
        stats["dvr_enabled"] = dvr is not None
        if dvr is not None:
            stats["dvr_info"] = dvr
        pushes = self._neighbours.push_facts(name)
        if pushes:
            stats["pushes"] = [push_info(each) for each in pushes]
        pusher = self._neighbours.pusher_of(name)
        if pusher is not None:
            stats["pushed_from"] = pusher_info(pusher)
        return info

    def _stats(self, entry: LiveEntry) -> StreamStats:
        stream = entry.stream
        now = self._utc()
        counted = entry.playout.counters.items()
        play = {name: _feed(counters, entry.playout.feeds_of(name)) for name, counters in counted}
        stats = StreamStats(
            status="running" if stream.running else "waiting",
            alive=stream.running,
            bytes_in=stream.traffic.bytes_in,
            bytes_out=entry.playout.bytes_out,
            online_clients=(
                self._clients_of(stream.name) if self._clients_of is not None else entry.playout.viewers
            ),
            segments=stream.traffic.segments,
            backup_running=stream.backup,
            play=play,
            media_info={"tracks": [_track(track) for track in stream.tracks]},
        )
        if self.workers is not None:
            stats["bytes_out"] += self.workers.stream_sent(stream.name)
            _add_workers(play, self.workers.containers(stream.name))
        if stream.run is not None:
            stats["id"] = f"{stream.run.run_id:016x}"
            started = ticks_to_ms(stream.run.run_start)
            stats["opened_at"] = started
            if stream.running:
                stats["start_running_at"] = started
                stats["lifetime"] = max(0, ticks_to_ms(now) - started)
        if stream.last_dts is not None:
            delay = max(0, (now - stream.last_dts) // TICKS_PER_MS)
            stats["last_dts"] = stats["last_dts_at"] = ticks_to_ms(stream.last_dts)
            stats["ts_delay"] = delay
            stats["alive"] = stream.running and delay <= ALIVE_MS
        rate = _bitrate(stream)
        if rate is not None:
            stats["bitrate"] = rate
            stats["input_bitrate"] = rate if stream.running else 0
        return stats


def _never_ran() -> StreamStats:
    # Counters are there from the beginning: who adds them up asks for no more.
    return StreamStats(status="waiting", alive=False, bytes_in=0, bytes_out=0, online_clients=0)


def _bitrate(stream: Stream) -> int | None:
    """kbit/s of the newest closed segment."""
    last = stream.window.last
    if last is None or not last.duration:
        return None
    return len(last.segment.encoded) * 8 * TICKS_PER_SECOND // last.duration // 1000


def _kbit(bytes_a_second: float) -> int:
    return round(bytes_a_second * 8 / 1000)


def _input(facts: InputFacts) -> InputInfo:
    stats = InputStats(
        active=facts.state == "feeding",
        state=facts.state,
        proto=facts.proto,
        input_switches=facts.switches,
        bytes=facts.bytes,
        frames=facts.frames,
        retries=facts.retries,
        errors=facts.errors,
    )
    if facts.since is not None:
        stats["opened_at"] = ticks_to_ms(facts.since)
    if facts.last_error:
        stats["last_error"] = facts.last_error
    if facts.lag is not None:
        stats["lag"] = facts.lag // TICKS_PER_MS
    if facts.counters:
        stats["counters"] = facts.counters
    return InputInfo(url=facts.url, priority=facts.priority, stats=stats)


def _add_inputs(stats: StreamStats, inputs: Sequence[InputFacts]) -> None:
    """What all C{inputs} together say of the stream; the first is the primary one."""
    stats["num_sec_on_primary_input"] = int(inputs[0].seconds)
    stats["num_sec_on_secondary_input"] = int(sum(each.seconds for each in inputs[1:]))
    stats["valid_secondary_inputs"] = sum(each.state == "standby" for each in inputs[1:])
    for each in inputs:
        if each.state == "feeding":
            stats["backup_running"] = each.proto == "backup"
            if each.proto == "backup":
                # This node's own film is shown: that comes from no source.
                stats.pop("source_id", None)
            if each.lag is not None:
                stats["lag"] = each.lag // TICKS_PER_MS


def _feed(counters: FeedCounters, feeds: Sequence[Feed]) -> dict[str, Any]:
    """What happened to the viewers of one container; C{flush_interval} is in milliseconds."""
    told: dict[str, Any] = {
        "online_clients": 0,
        "total_clients": counters.joined,
        "skips": counters.skips,
        "dropped": counters.dropped,
        "bytes": counters.bytes_out,
    }
    if feeds:
        told["online_clients"] = sum(len(feed) for feed in feeds)
        told["bytes"] += sum(feed.bytes_here for feed in feeds)
        told["flush_interval"] = round(max(feed.flush_interval for feed in feeds) * 1000)
    return told


def _worker(facts: WorkerFacts) -> WorkerInfo:
    info = WorkerInfo(place=facts.place, ready=facts.ready, starts=facts.starts)
    if facts.pid is not None:
        info["pid"] = facts.pid
    if facts.connections is not None:
        info["connections"] = facts.connections
        info["bytes_out"] = facts.sent or 0
        info["memory"] = facts.resident or 0
        info["cpu_seconds"] = round(facts.cpu or 0.0, 2)
        info["lag"] = round((facts.late or 0.0) * 1000)
    return info


def _add_workers(
    play: dict[str, Any], containers: Mapping[str, tuple[int, int, int, int, int, float]]
) -> None:
    """Add the feeds of workers to those of this process."""
    for name, (viewers, joined, skips, dropped, sent, flush) in containers.items():
        told = play.setdefault(
            name, {"online_clients": 0, "total_clients": 0, "skips": 0, "dropped": 0, "bytes": 0}
        )
        told["online_clients"] += viewers
        told["total_clients"] += joined
        told["skips"] += skips
        told["dropped"] += dropped
        told["bytes"] += sent
        if flush:
            told["flush_interval"] = max(told.get("flush_interval", 0), round(flush * 1000))


def _track(track: Track) -> dict[str, Any]:
    letter = "v" if track.kind is TrackKind.VIDEO else "a"
    info: dict[str, Any] = {
        "track_id": f"{letter}{track.track_id}",
        "content": "video" if track.kind is TrackKind.VIDEO else "audio",
        "codec": shown_codec(track),
        "bitrate": track.bandwidth // 1000,
        "language": track.language,
    }
    if track.kind is TrackKind.VIDEO:
        info.update(width=track.width, height=track.height, fps=track.frame_rate / 1000)
    else:
        info.update(sample_rate=track.sample_rate, channels=track.channels)
    return info
