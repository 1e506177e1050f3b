"""The past of the streams of a node put together: disks, recorder, sources, and what answers for it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from twisted.internet.defer import Deferred

from restreamer.cluster.connector import Node, Remote
from restreamer.cluster.remote_archive import RemoteArchive
from restreamer.cluster.remote_files import RemoteFiles
from restreamer.cluster.selection import Choice, choose
from restreamer.config.model import CacheConfig, Configuration, DvrConfig, SourceConfig
from restreamer.config.resolve import resolve_stream
from restreamer.config.resolve_auth import own_auth
from restreamer.dash.archive_routes import archive_dash_routes
from restreamer.dvr.allowed_archive import AllowedArchive
from restreamer.dvr.archive import Archive, SegmentCache
from restreamer.dvr.caches import CacheLimits, Caches
from restreamer.dvr.disks import Disks
from restreamer.dvr.export_play import archive_mp4_route
from restreamer.dvr.export_room import folder_for
from restreamer.dvr.local_archive import RecordedArchive
from restreamer.dvr.locks import Locks, Ranges
from restreamer.dvr.past_playable import PastPlaying
from restreamer.dvr.playback import PlaybackCounters
from restreamer.dvr.read_counters import PLACES
from restreamer.dvr.recorded import describe
from restreamer.dvr.recorder import Keeping, Recorder
from restreamer.dvr.retention import Limits
from restreamer.dvr.seams import ArchiveReader, Holdings
from restreamer.dvr.store import Store
from restreamer.dvr.timeline import ArchiveHours
from restreamer.errors import Reason, Refused
from restreamer.hls.archive_routes import archive_hls_routes
from restreamer.hls.auth_route import auth_route
from restreamer.http1.reply import Route
from restreamer.live.playout import MuxerFactory
from restreamer.live.protocols import allowed
from restreamer.live.registry import StreamRegistry
from restreamer.live.window import LiveWindow, WindowSegment
from restreamer.mpegts.segment_muxer import mux_segment
from restreamer.node_copies import NodeCopies
from restreamer.node_replication import NodeReplication
from restreamer.seams import Gate, PlayPoint
from restreamer.tsio.archive_play import archive_ts_route
from restreamer.viewers.gate import NODE_PROTO, ProtocolGate
from restreamer.vod.disk import DiskThreads
from restreamer.web.dvr_info import (
    CacheInfo,
    CopyInfo,
    ReadInfo,
    StreamDvrInfo,
    VolumeInfo,
    cache_info,
    copy_info,
    read_info,
    stream_dvr_info,
    volume_info,
)
from restreamer.web.recording_status import recording_status_route


class NodeArchive:
    """What a node has once for all archives.

    @param configuration: the one in force. @param source_of: address of the source that feeds a stream.
    @param files: the sources, as they are asked for files. @param utc: UTC ticks now.
    @param state_dir: where it is kept which volume is where. @param link_node: this node, as its links
        present it. @param remote_node: another one.
    @ivar archive: everything that can be played of the past. @ivar disks: the volumes.
    @ivar playbacks: what was played of it as one body.
    """

    def __init__(
        self,
        reactor: Any,
        node_id: bytes,
        gate: Gate,
        registry: StreamRegistry,
        configuration: Callable[[], Configuration],
        source_of: Callable[[str], str | None],
        files: RemoteFiles,
        crowded: Callable[[], bool],
        utc: Callable[[], int],
        state_dir: str,
        link_node: Callable[[], Node],
        remote_node: Callable[[str, int, str, bool], Remote],
    ) -> None:
        self._reactor = reactor
        self._gate = ProtocolGate(gate, self._protocols_of)
        self._registry = registry
        self._configuration = configuration
        self._source_of = source_of
        self._crowded = crowded
        self._utc = utc
        self.disks = Disks.over(reactor, state_dir, self._limits)
        self.caches = Caches(reactor)
        self.recorder = Recorder(registry, self.disks, self._keeping)
        self.remote = RemoteArchive(node_id, files, reactor, utc)
        local = RecordedArchive(self.disks, self._roots)
        self.copies = NodeCopies(reactor, configuration, self.disks, self._dvrs)
        self.archive = Archive(
            self._retained,
            describe,
            local,
            self.remote,
            self._cache_of,
            crowded,
            self.copies.archive,
            reactor.seconds,
        )
        self.replication = NodeReplication(
            reactor,
            node_id,
            registry,
            files,
            utc,
            self.disks,
            local,
            configuration,
            self._dvr_of,
            link_node,
            remote_node,
        )
        self._forgetting: list[Callable[[], None]] = [
            self.archive.forget,
            self.disks.forget,
            self.copies.forget,
        ]
        self._hours = ArchiveHours(self.archive, utc, reactor.seconds)
        self._packers = DiskThreads(reactor)
        self._spools = folder_for(state_dir)
        self.playbacks = PlaybackCounters()

    # Its life.

    def configure(self) -> None:
        """The configuration changed, or is there for the first time."""
        configuration = self._configuration()
        self.disks.configure(_intervals(configuration))
        self.caches.configure(_cache_limits(configuration))
        self.recorder.apply()
        self.remote.forget()
        self._hours.forget()
        self.replication.look()
        self.copies.configure()

    def forget(self) -> None:
        """Give memory back: everything that can be read again."""
        for forget in self._forgetting:
            forget()

    def close(self) -> list[Deferred[Any]]:
        """Record no more, write what waits. @return: what fires when the disks are let go."""
        self.recorder.close()
        self.replication.close()
        self.copies.close()
        return [*self.disks.close(), *self.caches.close()]

    def routes(self, live: Route) -> list[Route]:
        """What answers for archives. @param live: the HLS routes of live streams, which come next."""
        hls = archive_hls_routes(
            self._hours,
            self._gate,
            mux_segment,
            self._packers.call,
            self._reactor,
            self._utc,
            live=live,
            window=self._window,
            url_prefix=self._url_prefix,
            crowded=self._crowded,
        )
        dash = archive_dash_routes(
            self._hours,
            self._gate,
            self._packers.call,
            self._reactor,
            self._utc,
            url_prefix=self._url_prefix,
        )
        self._forgetting += [hls.forget, dash.forget]
        status = recording_status_route(
            self.archive.holdings, self.locks, self.archive.takes, self._gate, self._utc
        )
        return [
            auth_route(self._gate, hls.span, self._knows),
            status,
            *self._body_routes(),
            dash.route,
            hls.route,
        ]

    def _knows(self, name: str) -> bool:
        """Whether a stream, film or archive has that name, here or behind a source."""
        if self._registry.find(name) is not None or self.archive.takes(name):
            return True
        return own_auth(self._configuration(), name) is not None

    def _body_routes(self) -> list[Route]:
        """What answers with one long body: MPEG-TS and MP4."""
        return [
            archive_ts_route(
                self._hours,
                self._gate,
                mux_segment,
                self._packers.call,
                self._reactor,
                self._utc,
                self._crowded,
                self.playbacks,
            ),
            archive_mp4_route(
                self._hours,
                self._gate,
                self._packers.call,
                self._reactor,
                self._utc,
                self._crowded,
                self.playbacks,
                self._spools,
            ),
        ]

    def playing(self, live: PlayPoint, muxers: Mapping[str, MuxerFactory]) -> PlayPoint:
        """C{live}, and the past where a query asks for it."""
        return PastPlaying(
            live,
            self._hours,
            self._gate,
            muxers,
            self._reactor,
            self._utc,
            self._crowded,
            self.playbacks,
        )

    def asked_by(self, path: tuple[bytes, ...]) -> ArchiveReader:
        """What other nodes may ask for; see L{restreamer.dvr.seams.AskedFor}."""
        return AllowedArchive(self.archive.asked_by(path), self._for_nodes)

    # For the API.

    async def holdings(self, name: str) -> Holdings:
        """What there is of a stream, here and at the sources."""
        return await self.archive.holdings(name)

    async def locks(self, name: str) -> Ranges:
        """What is locked here of stream C{name}, UTC milliseconds."""
        for root in self._roots(name):
            disk = self.disks.find(root)
            if disk is None:
                continue
            locks = disk.locks

            def call(store: Store, locks: Locks = locks) -> Ranges:
                return locks.ranges(name)

            try:
                return await disk.read(name, call)
            except Refused as refused:
                if refused.reason is not Reason.NOT_FOUND:
                    raise
        return ()

    async def lock(self, name: str, start: int, end: int) -> Ranges:
        """Lock a range, UTC milliseconds. @return: what is locked then.

        @raise Refused: NOT_FOUND: nothing of the stream is recorded here.
        """
        return await self._change(name, start, end, lock=True)

    async def unlock(self, name: str, start: int, end: int) -> Ranges:
        """Unlock a range; see L{lock}."""
        return await self._change(name, start, end, lock=False)

    def stream_info(self, name: str) -> StreamDvrInfo | None:
        """How it goes with the archive of a stream here; None: it is not recorded here."""
        dvr = self._dvr_of(name)
        if dvr is None:
            return None
        disk = self.disks.find(_root(dvr))
        if disk is None:
            return None
        return stream_dvr_info(
            disk.stream_facts(name),
            disk.writer.stream_status(name),
            self.recorder.recording(name),
            disk.alarm,
            self.replication.facts(name),
        )

    def volumes(self) -> Sequence[VolumeInfo]:
        """How it goes with the volumes."""
        return [volume_info(disk.facts) for disk in self.disks.all()]

    def cached(self) -> Sequence[CacheInfo]:
        """How it goes with the segment caches."""
        return [cache_info(root, facts) for root, facts in self.caches.facts().items()]

    def copied(self) -> Sequence[CopyInfo]:
        """How it goes with the object stores."""
        return [copy_info(facts) for facts in self.copies.facts()]

    def reads(self) -> Mapping[str, ReadInfo]:
        """Segments of the past that were read, by place."""
        reads = self.archive.reads
        return {
            place: read_info(reads.segments[place], reads.bytes[place], reads.speed(place))
            for place in PLACES
        }

    # Inside.

    async def _change(self, name: str, start: int, end: int, lock: bool) -> Ranges:
        refusal = Refused(Reason.NOT_FOUND, "nothing of this stream is recorded here")
        for root in self._roots(name):
            disk = self.disks.find(root)
            if disk is None:
                continue
            change = disk.locks.lock if lock else disk.locks.unlock

            def call(store: Store, change: Callable[[str, int, int], Ranges] = change) -> Ranges:
                return change(name, start, end)

            try:
                return await disk.read(name, call)
            except Refused as refused:
                if refused.reason is not Reason.NOT_FOUND:
                    raise
        raise refusal

    def _keeping(self, name: str) -> Keeping | None:
        """How a stream that runs is to be recorded."""
        configuration = self._configuration()
        address = self._source_of(name)
        if name not in configuration.streams and address is not None and not self._registry.owned(name):
            for source in configuration.sources:
                if str(source) == address:
                    return _kept(source.dvr, source.backup is not None and source.backup.dvr)
            return None
        stream = resolve_stream(configuration, name)
        if stream is None:
            return None
        return _kept(stream.dvr, stream.backup is not None and stream.backup.dvr)

    def _dvr_of(self, name: str) -> DvrConfig | None:
        return next(iter(self._dvrs(name)), None)

    def _dvrs(self, name: str) -> Iterable[DvrConfig]:
        """Where a stream is recorded, or was when it ran last: the likeliest first."""
        configuration = self._configuration()
        if name in configuration.streams:
            dvr = configuration.streams[name].dvr
            if dvr is not None:
                yield dvr
            return
        address = self._source_of(name)
        taking = [source for source in configuration.sources if source.dvr is not None]
        for source in taking:
            if str(source) == address and source.dvr is not None:
                yield source.dvr
        stream = resolve_stream(configuration, name)
        if stream is not None and stream.dvr is not None:
            yield stream.dvr
        for source in taking:
            if str(source) != address and source.dvr is not None and _may_have(source, name):
                yield source.dvr

    def _roots(self, name: str) -> Sequence[str]:
        return tuple(dict.fromkeys(_root(dvr) for dvr in self._dvrs(name)))

    def _limits(self, root: str, names: set[str]) -> Mapping[str, Limits]:
        """What is to be kept of the streams on a volume, for those that the configuration has there."""
        found = {}
        for name in names:
            for dvr in self._dvrs(name):
                if _root(dvr) == root:
                    found[name] = Limits(dvr.depth, dvr.size, dvr.percent)
                    break
        return found

    def _retained(self, name: str) -> tuple[WindowSegment, ...]:
        window = self._window(name)
        return window.retained if window is not None else ()

    def _window(self, name: str) -> LiveWindow | None:
        entry = self._registry.find(name)
        return entry.stream.window if entry is not None else None

    def _cache_of(self, name: str) -> SegmentCache | None:
        """Where segments of the archive of C{name} are kept that came from a source."""
        configuration = self._configuration()
        address = self._source_of(name)
        stream = resolve_stream(configuration, name)
        found = stream.cache if stream is not None else None
        # The source that feeds it comes first.
        sources = sorted(configuration.sources, key=lambda source: str(source) != address)
        for source in sources:
            if found is None and _may_have(source, name):
                found = source.cache
        cache = self.caches.find(_root(found)) if found is not None else None
        return cache.for_stream(found.misses) if cache is not None and found is not None else None

    def _protocols_of(self, name: str) -> frozenset[str] | None:
        """By which protocols the past of a stream is played: by those of the stream."""
        if self._registry.find(name) is not None or self._registry.supply(name) is not None:
            return self._registry.protocols(name)
        configuration = self._configuration()
        stream = resolve_stream(configuration, name)
        if stream is not None:
            return stream.protocols
        source = next((each for each in configuration.sources if _may_have(each, name)), None)
        return source.protocols if source is not None else None

    def _for_nodes(self, name: str) -> bool:
        """Whether other nodes may have the past of a stream."""
        return allowed(self._protocols_of(name), NODE_PROTO)

    def _url_prefix(self, name: str) -> str:
        entry = self._registry.find(name)
        if entry is not None:
            return entry.settings.url_prefix
        stream = resolve_stream(self._configuration(), name)
        return stream.url_prefix if stream is not None else ""


def _root(place: DvrConfig | CacheConfig) -> str:
    return os.path.normpath(place.root)


def _kept(dvr: DvrConfig | None, backup: bool) -> Keeping | None:
    return Keeping(_root(dvr), backup) if dvr is not None else None


def _may_have(source: SourceConfig, name: str) -> bool:
    return choose(name, False, source.only, source.except_) is not Choice.HIDDEN


def _cache_limits(configuration: Configuration) -> dict[str, CacheLimits]:
    """The caches of a configuration; of several that share a root the first says how much is kept."""
    streams = [*configuration.streams.values(), *[each.stream for each in configuration.templates.values()]]
    found: dict[str, CacheLimits] = {}
    for cache in [*[each.cache for each in streams], *[each.cache for each in configuration.sources]]:
        if cache is not None:
            found.setdefault(_root(cache), CacheLimits(cache.age, cache.size))
    return found


def _intervals(configuration: Configuration) -> dict[str, float]:
    """The roots of a configuration, with the shortest C{fsync_interval} that is asked for there."""
    found: dict[str, float] = {}
    streams = [*configuration.streams.values(), *[each.stream for each in configuration.templates.values()]]
    for dvr in [*[each.dvr for each in streams], *[each.dvr for each in configuration.sources]]:
        if dvr is not None:
            root = _root(dvr)
            found[root] = min(dvr.fsync_interval, found.get(root, dvr.fsync_interval))
    return found
