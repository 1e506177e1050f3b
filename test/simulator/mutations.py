"""Bugs that can be planted, by name, to see whether an invariant notices.

Each one replaces a method of the program in this process alone, and is taken out again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any

from restreamer.cluster.link_protocol import LinkProtocol
from restreamer.cluster.relay import Relay
from restreamer.cluster.remote_streams import RemoteStreams
from restreamer.cluster.source_service import ClusterSource, MediaPull
from restreamer.live.registry import Claim, StreamRegistry
from restreamer.live.run_cutter import RunCutter
from restreamer.live.stream import Stream, StreamWriter
from restreamer.live.window import LiveWindow
from restreamer.m4f.records import RunInfo, StreamUnlisted
from restreamer.m4f.segment import Segment, SegmentBuilder, SegmentOpening
from restreamer.media.frame import Frame

#: Plants a bug and gives what takes it out again.
Mutation = Callable[[], Callable[[], None]]

MUTATIONS: dict[str, Mutation] = {}


def _plant(owner: type, name: str, make: Callable[[Any], Any]) -> Callable[[], None]:
    """Put C{make(original)} in the place of a method; gives what puts the original back."""
    original = owner.__dict__[name]
    setattr(owner, name, wraps(original)(make(original)))
    return lambda: setattr(owner, name, original)


def _mutation(name: str) -> Callable[[Mutation], Mutation]:
    def keep(mutation: Mutation) -> Mutation:
        MUTATIONS[name] = mutation
        return mutation

    return keep


@contextmanager
def mutated(name: str | None) -> Iterator[None]:
    """The bug of that name is in the program meanwhile; None: none is."""
    if name is None:
        yield
        return
    undo = MUTATIONS[name]()
    try:
        yield
    finally:
        undo()


@_mutation("numbers-recounted")
def _numbers_recounted() -> Callable[[], None]:
    """An edge counts segments by itself instead of carrying their numbers."""

    def adds(original: Any) -> Any:
        def add(self: LiveWindow, segment: Segment, run: RunInfo, segment_duration: int) -> Any:
            if len(run.path) > 1:
                last = self.last_number
                opening = SegmentOpening(
                    segment.number - 1 if last is None else last + 1,
                    segment.start,
                    segment.discontinuity,
                    segment.independent,
                    segment.discontinuity_sequence,
                    segment.tracks,
                )
                builder = SegmentBuilder(opening)
                builder.extend(segment.frames())
                segment = builder.close(segment.duration)
            return original(self, segment, run, segment_duration)

        return add

    return _plant(LiveWindow, "add", adds)


@_mutation("mapped-cut-late")
def _mapped_cut_late() -> Callable[[], None]:
    """A node that goes on with another ingest node's frames cuts later than the ingest does."""

    def ends(original: Any) -> Any:
        def ends_before(self: RunCutter, frame: Frame) -> bool:
            mapped = self.stream.run is not None and self.stream.run.continuation != 0
            return bool(original(self, frame)) and not (mapped and frame.key and frame.track_id == 1)

        return ends_before

    return _plant(RunCutter, "ends_before", ends)


@_mutation("replayed-on-resume")
def _replayed_on_resume() -> Callable[[], None]:
    """A run that returns is not known to be the one that was there: its open segment is shown again."""

    def begins(original: Any) -> Any:
        def begin_run(self: Stream, *args: Any, **kwargs: Any) -> StreamWriter:
            self.open = None
            writer: StreamWriter = original(self, *args, **kwargs)
            return writer

        return begin_run

    return _plant(Stream, "begin_run", begins)


@_mutation("joined-without-index")
def _joined_without_index() -> Callable[[], None]:
    """A source begins with the next frame instead of the first one of the open segment."""

    def sends(original: Any) -> Any:
        def send_open(self: Relay, pulled: Any, *args: Any) -> None:
            builder = self.stream.open
            if builder is not None and pulled.open_number is None:
                whole, builder.frames = builder.frames, []
                original(self, pulled, *args)
                builder.frames = whole
                pulled.sent = len(whole)
                return
            original(self, pulled, *args)

        return send_open

    return _plant(Relay, "_send_open", sends)


@_mutation("dead-run-kept")
def _dead_run_kept() -> Callable[[], None]:
    """The open segment of a run that is over is closed as if it were of the next one."""

    def begins(original: Any) -> Any:
        def begin_run(self: Stream, run: Any, *args: Any, **kwargs: Any) -> StreamWriter:
            held = self.open
            writer: StreamWriter = original(self, run, *args, **kwargs)
            if held is not None and self.open is None and held.frames:
                self.open = held
                writer.close(max(1, held.frames[-1].dts - held.opening.start))
            return writer

        return begin_run

    return _plant(Stream, "begin_run", begins)


@_mutation("claim-kept")
def _claim_kept() -> Callable[[], None]:
    """A publisher's claim on its name outlives it."""

    def releases(original: Any) -> Any:
        def release(self: StreamRegistry, claim: Claim) -> None:
            """Forget to."""

        return release

    return _plant(StreamRegistry, "release", releases)


@_mutation("claim-unheard")
def _claim_unheard() -> Callable[[], None]:
    """A remote stream feeds on although the name has a local owner, who does not make it powerless."""

    def changes(original: Any) -> Any:
        return lambda self, name, claimed: None if claimed else original(self, name, claimed)

    in_power = StreamWriter.in_power
    undo = _plant(RemoteStreams, "claim_changed", changes)
    StreamWriter.in_power = property(lambda self: self.stream.fed)  # type: ignore[assignment, method-assign]

    def undo_both() -> None:
        undo()
        StreamWriter.in_power = in_power  # type: ignore[method-assign]

    return undo_both


@_mutation("unlisted-ignored")
def _unlisted_ignored() -> Callable[[], None]:
    """A source that lists a stream no more is not believed."""

    def records(original: Any) -> Any:
        return lambda self, record: None if isinstance(record, StreamUnlisted) else original(self, record)

    return _plant(ClusterSource, "record", records)


@_mutation("old-input-kept")
def _old_input_kept() -> Callable[[], None]:
    """After a switch the input before goes on transferring (or a standby is promoted beside it)."""

    def stops(original: Any) -> Any:
        def stop(self: MediaPull) -> Any:
            if self.puller.linked and self.puller.active:
                return None
            return original(self)

        return stop

    return _plant(MediaPull, "stop", stops)


@_mutation("sequence-not-raised")
def _sequence_not_raised() -> Callable[[], None]:
    """A discontinuity does not count."""

    def shows(original: Any) -> Any:
        def shown(self: LiveWindow, segment: Any, run: RunInfo) -> Any:
            breaks, sequence, run = original(self, segment, run)
            return breaks, max(0, sequence - breaks), run

        return shown

    return _plant(LiveWindow, "shown", shows)


@_mutation("beat-leaked")
def _beat_leaked() -> Callable[[], None]:
    """A link that is lost goes on beating."""

    def loses(original: Any) -> Any:
        def connection_lost(self: LinkProtocol, *args: Any) -> None:
            self._beat = None
            original(self, *args)

        return connection_lost

    return _plant(LinkProtocol, "connectionLost", loses)


@_mutation("window-unbounded")
def _window_unbounded() -> Callable[[], None]:
    """The window forgets nothing."""

    def trims(original: Any) -> Any:
        def trim(self: LiveWindow) -> None:
            count, self.segment_count = self.segment_count, 1000
            original(self)
            self.segment_count = count

        return trim

    return _plant(LiveWindow, "_trim", trims)
