"""What is checked at every event of every stream of every node.

A L{StreamWatch} is told what the followers of a stream are told, from its first frame on. It is none of them,
so that a stream on demand does not know of it. It has a feed of its own, as the continuous outputs have, and
an L{Onlooker} gets what that feed would send to a viewer.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from typing_extensions import override

from restreamer.live.feed import Feed, FeedCounters, FeedLimits
from restreamer.live.stream import Stream
from restreamer.live.tap import IdleTap, StreamTap
from restreamer.live.window import WindowSegment
from restreamer.m4f.records import RunInfo
from restreamer.m4f.segment import SegmentBuilder
from restreamer.media.frame import Frame
from test.simulator.content import code_of
from test.simulator.onlooker import Onlooker

if TYPE_CHECKING:
    from test.simulator.node import SimNode

_LIMITS = FeedLimits()
_WATCHES: dict[Stream, StreamWatch] = {}


class WatchedStream(Stream):
    """A stream whose watch is told what its taps are told."""

    __slots__ = ()

    @override
    def _tell(self, call: Callable[[StreamTap], None]) -> None:
        super()._tell(call)
        watch = _WATCHES.get(self)
        if watch is not None:
            call(watch)

    @override
    def _end_open(self, run: RunInfo) -> None:
        watch = _WATCHES.get(self)
        if watch is None:
            super()._end_open(run)
            return
        watch.cut_short = True
        super()._end_open(run)
        watch.cut_short = False

    @override
    def finish(self, reason: str) -> None:
        """See L{Stream.finish}."""
        super().finish(reason)
        watch = _WATCHES.pop(self, None)
        if watch is not None:
            watch.stream_ended(reason)


def _nothing() -> None:
    """A feed without viewers is not told when the last one has gone."""


def watch_stream(stream: Stream, watch: StreamWatch) -> None:
    """Let C{watch} see everything C{stream} tells."""
    stream.__class__ = WatchedStream
    _WATCHES[stream] = watch


def forget_watches() -> None:
    """The simulation is over."""
    _WATCHES.clear()


class StreamWatch(IdleTap):
    """Follows one stream of one node.

    @ivar output: what a viewer of its continuous outputs gets.
    @ivar first: by run, which frame of its content came first.
    @ivar cut_short: what is cut here and closed now ends before its time.
    """

    __slots__ = (
        "_began", "_dts", "_entry", "_feed", "_node", "_number", "_stream", "cut_short", "first", "output",
    )  # fmt: skip

    def __init__(self, node: SimNode, stream: Stream) -> None:
        self._node = node
        self._stream = stream
        self._dts: dict[int, int] = {}
        self._entry: WindowSegment | None = None
        self._number = -1
        self._began = -1
        self.cut_short = False
        self.first: dict[int, tuple[int, int]] = {}
        self.output = Onlooker(node, stream)
        self._feed = Feed(self.output, node.clock, _LIMITS, FeedCounters(), _nothing, node.faulted)

    def _violated(self, invariant: str, text: str) -> None:
        self._node.world.journal.violated(invariant, f"{self._node.name} {self._stream.name}: {text}")

    @override
    def run_began(self, run: RunInfo) -> None:
        """No loops."""
        node = self._node
        path = run.path
        hosts = node.world.hosts(path)
        node.world.journal.note(f"{node.name} {self._stream.name}: run {run.run_id:016x} by {hosts}")
        if len(set(path)) != len(path):
            self._violated("no loops", f"the path repeats a node: {hosts}")
        elif path[-1] != node.node_id:
            self._violated("no loops", f"the path is not ours: {hosts}")
        self._dts.clear()
        self.output.run_began()
        self._feed.run_began(run)

    @override
    def segment_opened(self, builder: SegmentBuilder) -> None:
        """Pass it on."""
        self._feed.segment_opened(builder)

    @override
    def frames_added(self, builder: SegmentBuilder, frames: Sequence[Frame]) -> None:
        """Local wins; DTS rise within a run."""
        stream = self._stream
        publisher = self._node.publishers.get(stream.name)
        if not stream.local and self._node.registry.claimed(stream.name):
            self._violated("local wins", "a remote frame although the name has a local owner")
        elif publisher is not None and code_of(frames[0])[0] != publisher.content.number:
            self._violated("local wins", f"frame {code_of(frames[0])} is not of the publisher here")
        run = stream.run
        if run is not None and run.run_id != self._began:
            self._began = run.run_id
            self.first[run.run_id] = code_of(frames[0])
        newest = self._dts
        for frame in frames:
            before = newest.get(frame.track_id)
            if before is not None and frame.dts <= before:
                code = code_of(frame)
                self._violated("rising DTS", f"track {frame.track_id}: {frame.dts} after {before}, {code}")
            newest[frame.track_id] = frame.dts
        self._feed.frames_added(builder, frames)

    @override
    def segment_closed(self, entry: WindowSegment) -> None:
        """Identity; numbers rise; the discontinuity sequence counts the discontinuities."""
        node = self._node
        name = self._stream.name
        number = entry.number
        last = self._number
        if self._stream.local:
            # What was cut here goes on from what was, through every life of the stream; what comes from a
            # source may begin with history again when the stream was gone meanwhile.
            last = max(last, node.numbers.get(name, -1))
            node.numbers[name] = number
        if number <= last:
            self._violated("rising numbers", f"segment {number} after {last}")
        self._number = number
        if self._stream.window.find(number) is not entry:
            self._violated("one window", f"segment {number} is not the one that is listed")
        if self.cut_short:
            node.world.segments.closed_short(entry)
        node.world.segments.check(node, name, entry)
        before, self._entry = self._entry, entry
        if before is not None:
            self._count(before, entry)

    @override
    def segment_filled(self, entry: WindowSegment) -> None:
        """A segment that was missing came after all, or one came before the one that is open."""
        if self._stream.window.last is entry:
            self.segment_closed(entry)
        else:
            self._node.world.segments.check(self._node, self._stream.name, entry)

    def _count(self, before: WindowSegment, entry: WindowSegment) -> None:
        flagged = shown_discontinuity(entry)
        step = entry.discontinuity_sequence - before.discontinuity_sequence
        if entry.run.run_id != before.run.run_id and not flagged:
            self._violated(
                "marked breaks", f"segment {entry.number} is of another run than {before.number}, unmarked"
            )
        elif entry.number == before.number + 1 and step != flagged:
            self._violated(
                "discontinuity sequence",
                f"it goes up by {step} at segment {entry.number}, discontinuity: {flagged}",
            )
        elif step < flagged:
            self._violated("discontinuity sequence", f"it falls by {-step} at segment {entry.number}")

    @override
    def stream_ended(self, reason: str) -> None:
        """Keep it."""
        self._feed.stream_ended(reason)
        self._node.world.journal.note(f"{self._node.name} {self._stream.name}: ended: {reason}")


def shown_discontinuity(entry: WindowSegment) -> bool:
    """Whether playlists show a discontinuity at C{entry}."""
    shown = getattr(entry, "discontinuity", None)
    return bool(entry.segment.discontinuity if shown is None else shown)
