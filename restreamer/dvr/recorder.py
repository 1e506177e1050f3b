"""Hands the closed segments of running streams to the disks that the configuration gives them."""

from __future__ import annotations

from collections.abc import Callable

from attrs import define, field, frozen
from typing_extensions import override

from restreamer.dvr.disks import Disks
from restreamer.dvr.recorded import Recorded
from restreamer.live.registry import StreamRegistry
from restreamer.live.stream import Stream
from restreamer.live.tap import IdleTap
from restreamer.live.window import WindowSegment
from restreamer.logs import Logger

_log = Logger()


@frozen
class Keeping:
    """Where a stream is recorded. @ivar backup: also while it shows its backup."""

    root: str
    backup: bool = False


@define(eq=False)
class StreamRecorder(IdleTap):
    """Records one stream. @ivar keeping: how. @ivar skipped: segments of a backup that were not recorded."""

    stream: Stream
    keeping: Keeping
    _disks: Disks
    skipped: int = field(default=0, init=False)

    @override
    def segment_closed(self, entry: WindowSegment) -> None:
        """Keep it."""
        if self.stream.backup and not self.keeping.backup:
            self.skipped += 1
            return
        disk = self._disks.find(self.keeping.root)
        if disk is not None:
            disk.record(self.stream.name, Recorded.of_window(entry))

    @override
    def segment_filled(self, entry: WindowSegment) -> None:
        """Keep it: it comes late."""
        self.segment_closed(entry)

    def catch_up(self) -> None:
        """Keep what the window has of the run that is on: what is there already is passed over."""
        run = self.stream.run
        for entry in self.stream.window.retained:
            if run is not None and entry.run.run_id == run.run_id:
                self.segment_closed(entry)


class Recorder:
    """A L{restreamer.live.registry.RegistryListener}: follows every stream that is to be recorded.

    @param keeping: how a stream is to be recorded now; None: it is not.
    """

    def __init__(
        self, registry: StreamRegistry, disks: Disks, keeping: Callable[[str], Keeping | None]
    ) -> None:
        self._registry = registry
        self._disks = disks
        self._keeping = keeping
        self._streams: dict[str, StreamRecorder] = {}
        registry.listen(self)

    def recording(self, name: str) -> bool:
        """Whether stream C{name} runs and is recorded."""
        held = self._streams.get(name)
        if held is None or not held.stream.running:
            return False
        return held.keeping.backup or not held.stream.backup

    def names(self) -> tuple[str, ...]:
        """The streams that are recorded, or would be if they ran."""
        return tuple(self._streams)

    def apply(self) -> None:
        """The configuration changed."""
        for entry in self._registry:
            self._look_at(entry.stream)

    def close(self) -> None:
        """Record no more."""
        self._registry.unlisten(self)
        for name in list(self._streams):
            self._leave(name)

    # Told by the registry.

    def stream_changed(self, stream: Stream) -> None:
        """It began to run, or another input feeds it."""
        self._look_at(stream)

    def stream_removed(self, stream: Stream) -> None:
        """It is gone."""
        held = self._streams.get(stream.name)
        if held is not None and held.stream is stream:
            self._leave(stream.name)

    def claim_changed(self, name: str, claimed: bool) -> None:
        """Nothing to do."""

    def supply_changed(self, name: str) -> None:
        """Nothing to do."""

    # Inside.

    def _look_at(self, stream: Stream) -> None:
        keeping = self._keeping(stream.name)
        held = self._streams.get(stream.name)
        if held is not None and held.stream is not stream:
            self._leave(stream.name)
            held = None
        if keeping is None or stream.ended:
            if held is not None:
                self._leave(stream.name)
                _log.info("stream {name} is recorded no more", name=stream.name)
        elif held is None:
            if stream.running:
                self._follow(stream, keeping)
        elif held.keeping != keeping:
            moved = held.keeping.root != keeping.root
            held.keeping = keeping
            if moved:
                held.catch_up()

    def _follow(self, stream: Stream, keeping: Keeping) -> None:
        held = self._streams[stream.name] = StreamRecorder(stream, keeping, self._disks)
        stream.attach(held)
        held.catch_up()
        _log.info("stream {name} is recorded in {root}", name=stream.name, root=keeping.root)

    def _leave(self, name: str) -> None:
        held = self._streams.pop(name)
        held.stream.detach(held)
        disk = self._disks.find(held.keeping.root)
        if disk is not None:
            disk.writer.forget(name)
