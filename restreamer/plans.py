"""From the configuration to what feeds streams: settings, inputs, backups, as the policy below takes them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from twisted.internet.defer import Deferred

from restreamer.cluster.connector import Node as LinkNode
from restreamer.cluster.connector import Remote
from restreamer.cluster.offers import BackupOffer
from restreamer.cluster.source_service import MediaPull
from restreamer.config.model import (
    BackupConfig,
    Configuration,
    InputConfig,
    SourceConfig,
    StreamConfig,
)
from restreamer.config.secrecy import shown_url
from restreamer.live.ingest import Ingest
from restreamer.live.registry import StreamRegistry, StreamSettings
from restreamer.media.frame import Frame
from restreamer.media.track import Tracks
from restreamer.seams import FrameSink, tell_counts
from restreamer.sources.configured_stream import ConfiguredStream, InputStarter, PlannedBackup, PlannedInput
from restreamer.sources.file_input import FileInput
from restreamer.sources.input_slot import BackupRule, InputReports, RunningInput
from restreamer.sources.pull import Pull, Pulling, PullTarget
from restreamer.sources.vod_path import vod_opener
from restreamer.viewers.points import IngestMaker

#: When a stream that waits for its input for ever shows its backup, seconds.
DEFAULT_BACKUP_SECONDS = 10.0


class ReportingSink:
    """A L{FrameSink} that says when its first frames, and those after a break, have taken the stream."""

    def __init__(self, sink: FrameSink, delivered: Callable[[], None]) -> None:
        self._sink = sink
        self._delivered = delivered
        self._told = False

    def configure(self, tracks: Tracks) -> None:
        """Pass the tracks on."""
        self._sink.configure(tracks)

    def push(self, frames: Sequence[Frame]) -> float:
        """Pass frames on."""
        wait = self._sink.push(frames)
        if not self._told:
            self._told = True
            self._delivered()
        return wait

    def dated(self, offset: int | None) -> None:
        """Pass on what the publisher's clock says."""
        self._sink.dated(offset)

    def counted(self, told: Callable[[], Mapping[str, int]]) -> None:
        """Pass on how what is counted can be had."""
        tell_counts(self._sink, told)

    def end(self, reason: str) -> None:
        """Pass the end on."""
        self._sink.end(reason)


class _Counted:
    """An input whose frames go to an ingest of its own.

    @ivar frames, bytes: taken from it so far. @ivar counters: what else was counted of it, by name.
    """

    def __init__(self, ingest: Ingest) -> None:
        self._ingest = ingest

    @property
    def frames(self) -> int:
        return self._ingest.counts.frames

    @property
    def bytes(self) -> int:
        return self._ingest.counts.bytes

    @property
    def counters(self) -> Mapping[str, int]:
        return self._ingest.counted_so_far


class PlayingFile(_Counted):
    """A file input as the switch of inputs keeps it; a L{RunningInput}."""

    def __init__(self, playing: FileInput, ingest: Ingest) -> None:
        super().__init__(ingest)
        self._playing = playing
        playing.start()

    def activate(self) -> None:
        """It never stands by."""

    def stop(self) -> Deferred[None]:
        """End it; fires when the file is closed."""
        return self._playing.stop()


class PulledInput(_Counted):
    """A pull from another server as the switch of inputs keeps it; a L{RunningInput}."""

    def __init__(self, pulling: Pulling, ingest: Ingest) -> None:
        super().__init__(ingest)
        self._pulling = pulling

    def activate(self) -> None:
        """It never stands by."""

    def stop(self) -> Any:
        """End it; gives None or what fires when it is closed."""
        return self._pulling.stop()


class Plans:
    """Makes plans of what the configuration in force says.

    @param configuration: gives it. @param link_node: this node, for its own links.
    @param remote: C{remote(host, port, key, tls)}: another node to link to.
    @param pulls: how streams are pulled from servers of other protocols, by scheme.
    @param clock: the reactor's time. @param in_thread: runs something that blocks.
    """

    def __init__(
        self,
        configuration: Callable[[], Configuration],
        registry: StreamRegistry,
        ingests: IngestMaker,
        clock: Any,
        in_thread: Callable[..., Deferred[Any]],
        link_node: Callable[[], LinkNode],
        remote: Callable[[str, int, str, bool], Remote],
        pulls: Mapping[str, Pull],
    ) -> None:
        self._configuration = configuration
        self._registry = registry
        self._ingests = ingests
        self._clock = clock
        self._in_thread = in_thread
        self._link_node = link_node
        self._remote = remote
        self._pulls = pulls

    def settings(self, stream: StreamConfig) -> StreamSettings:
        """How a stream of the configuration is kept."""
        return StreamSettings(
            title=stream.title,
            segment_duration=stream.segment_ticks,
            segment_count=stream.segment_count,
            part_duration=stream.chunk_ticks,
            source_timeout=stream.source_timeout or None,
            protocols=stream.protocols,
            url_prefix=stream.url_prefix,
            prepush=stream.prepush,
            retry_limit=stream.retry_limit,
        )

    @staticmethod
    def source_settings(source: SourceConfig) -> StreamSettings:
        """How the streams of a source are kept."""
        return StreamSettings(
            segment_count=source.segment_count,
            source_timeout=source.source_timeout or None,
            protocols=source.protocols,
            url_prefix=source.url_prefix,
            prepush=source.prepush,
            retry_limit=source.retry_limit,
        )

    def needs_switch(self, config: StreamConfig) -> bool:
        """Whether the stream has anything beside its publisher."""
        own = any(source.scheme != "publish" for source in config.inputs)
        return not config.disabled and (own or config.backup is not None)

    def stream(
        self,
        config: StreamConfig,
        jitter: Callable[[float, float], float],
        spawn: Callable[[Any], object],
        passing: bool = False,
    ) -> ConfiguredStream:
        """The stream of C{config}, not started."""
        return ConfiguredStream(
            name=config.name,
            settings=self.settings(config),
            static=config.static,
            linger=config.clients_timeout,
            inputs=tuple(self._input(config, source) for source in config.inputs),
            registry=self._registry,
            clock=self._clock,
            jitter=jitter,
            spawn=spawn,
            backup=self._planned_backup(config),
            passing=passing,
        )

    def backup_offer(self, source: SourceConfig) -> BackupOffer | None:
        """What the streams of a source show when nothing feeds them."""
        backup = source.backup
        if backup is None:
            return None

        def begin(name: str, settings: StreamSettings, reports: InputReports) -> RunningInput:
            return self._play_file(name, backup.url, settings, reports, backup=True)

        return BackupOffer(backup.url, _rule(backup, source.source_timeout), begin)

    # Inside.

    def _planned_backup(self, config: StreamConfig) -> PlannedBackup | None:
        backup = config.backup
        if backup is None:
            return None

        def begin(settings: StreamSettings, reports: InputReports, standby: bool) -> RunningInput:
            return self._play_file(config.name, backup.url, settings, reports, backup=True)

        return PlannedBackup(backup.url, begin, _rule(backup, config.source_timeout))

    def _input(self, config: StreamConfig, source: InputConfig) -> PlannedInput:
        own = source.source_timeout
        timeout = config.source_timeout if own is None else own
        return PlannedInput(
            url=_shown(source),
            begin=self._starter(config.name, source),
            source_timeout=timeout or None,
            priority=source.priority,
            linked=source.scheme in ("m4f", "m4fs"),
        )

    def _starter(self, name: str, source: InputConfig) -> InputStarter | None:
        if source.scheme == "publish":
            return None
        if source.scheme == "file":

            def begin_file(settings: StreamSettings, reports: InputReports, standby: bool) -> RunningInput:
                return self._play_file(name, source.url, settings, reports, backup=False)

            return begin_file

        pull = self._pulls.get(source.scheme)
        if pull is not None:
            target = pull_target(source)

            def begin_other(settings: StreamSettings, reports: InputReports, standby: bool) -> RunningInput:
                ingest = self._ingests.ingest(name, settings, lambda reason: None)
                sink = ReportingSink(ingest, reports.delivered)
                return PulledInput(pull(target, sink, reports.lost), ingest)

            return begin_other

        def begin_pull(settings: StreamSettings, reports: InputReports, standby: bool) -> RunningInput:
            key = source.cluster_key or self._configuration().cluster_key
            remote = self._remote(source.host, source.port, key, source.tls)
            return MediaPull(
                self._link_node(), remote, self._registry, source.path, name, settings, reports, standby
            )

        return begin_pull

    def _play_file(
        self, name: str, url: str, settings: StreamSettings, reports: InputReports, backup: bool
    ) -> PlayingFile:
        vods = {vod.name: vod.storages for vod in self._configuration().vods.values()}
        ingest = self._ingests.ingest(name, settings, lambda reason: None, backup=backup)
        sink = ReportingSink(ingest, reports.delivered)
        playing = FileInput(vod_opener(url, vods), sink, self._clock, self._in_thread, reports.lost)
        return PlayingFile(playing, ingest)


def _rule(backup: BackupConfig, source_timeout: float) -> BackupRule:
    timeout = backup.timeout
    if timeout is None:
        timeout = source_timeout or DEFAULT_BACKUP_SECONDS
    return BackupRule(timeout, backup.audio_timeout, backup.video_timeout)


def pull_target(source: InputConfig) -> PullTarget:
    """What a pull of C{source} needs to know."""
    return PullTarget(
        shown=_shown(source),
        scheme=source.scheme,
        host=source.host,
        port=source.port,
        path=source.path,
        query=source.query,
        user=source.user,
        password=source.password,
        tls=source.tls,
        options=dict(source.options),
    )


def _shown(source: InputConfig) -> str:
    """The input without its secrets."""
    if source.scheme in ("m4f", "m4fs"):
        host = f"[{source.host}]" if ":" in source.host else source.host
        return f"{source.scheme}://{host}:{source.port}/{source.path}"
    return shown_url(source.url)
