"""Ingest: a publisher's frames become the segments of a run. The one place where segments are decided.

A run is one connection of one publisher (or one start of a file). Times are mapped to UTC by
L{Timeline}, boundaries come from L{RunCutter}; what is decided here is carried unchanged to every node.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from attrs import define, field

from restreamer.live.grid import SegmentCutter
from restreamer.live.input_counts import InputCounts, TellCounts, added
from restreamer.live.ledger import Ledger
from restreamer.live.run_cutter import RunCutter
from restreamer.live.stream import Stream
from restreamer.live.timeline import LEAD_LIMIT, Timeline
from restreamer.live.window import UNRELATED
from restreamer.m4f.layout import MAX_CONFIG, MAX_TRACKS
from restreamer.m4f.records import RunInfo
from restreamer.m4f.segment import Segment
from restreamer.media.frame import Frame
from restreamer.media.timebase import TICKS_PER_SECOND
from restreamer.media.track import TrackKind, Tracks, same_tracks

#: One frame larger than this is dropped.
MAX_FRAME_BYTES = 8 * 1024 * 1024
#: A clock that jumps again within so many ticks makes no segment of its own.
BREAK_SPACING = TICKS_PER_SECOND
#: A publisher from which nothing came for longer was away, or this node was; its clock may be right. Ticks.
STANDSTILL = TICKS_PER_SECOND
#: After so much of that in one segment it does not count any more: a clock that stands still may come slowly.
LONGEST_PAUSE = 30 * TICKS_PER_SECOND
#: Changes of the tracks, and jumps of the clock, that make a segment of their own at once; after them one for
#: each segment duration.
MANY_CHANGES = 8


def _nothing(*_: object) -> None:
    """Used when nobody wants to be told."""


@define(eq=False)
class IngestCounters:
    """What happened to the frames of one run.

    @ivar dropped: frames dropped (empty, oversized, of an unknown track, of tracks that change all the time).
    @ivar forced: segments ended without a keyframe; @ivar discontinuities: new anchors and track changes.
    """

    dropped: int = 0
    forced: int = 0
    discontinuities: int = 0


@define(eq=False)
class Ingest:
    """A L{restreamer.seams.FrameSink} that feeds a stream.

    @ivar stream: the stream; @ivar run_id, @ivar node_id: for the run's identity (u64, 16 bytes).
    @ivar segment_duration: D in ticks. @ivar part_duration: about that of low-latency parts, ticks; 0: none.
    @ivar now: gives UTC ticks. @ivar ledger: last numbers of all streams.
    @ivar ended: told once when the run is over (the claim on the name is given back there).
    @ivar began: told whenever its frames have taken the stream: with the first one, and when it takes the
        stream back, with a keyframe, from what was shown while it was silent.
    @ivar backup: it is what the stream shows when nothing else feeds it; never takes the stream back.
    @ivar forced: told how many segments of this run were ended by force so far, at each.
    """

    stream: Stream
    run_id: int
    node_id: bytes
    segment_duration: int
    now: Callable[[], int]
    ledger: Ledger
    ended: Callable[[str], None]
    began: Callable[[], None] = _nothing
    backup: bool = False
    forced: Callable[[int], None] = _nothing
    part_duration: int = 0
    counters: IngestCounters = field(factory=IngestCounters, init=False)
    counts: InputCounts = field(factory=InputCounts, init=False)
    timeline: Timeline = field(factory=Timeline, init=False)
    _cutter: RunCutter = field(init=False)
    _tracks: Tracks = field(default=(), init=False)
    _known: set[int] = field(factory=set, init=False)
    _broken_at: int | None = field(default=None, init=False)
    _over: bool = field(default=False, init=False)
    _retrack: bool = field(default=False, init=False)
    _changes: float = field(default=0.0, init=False)
    _changed_at: int = field(default=0, init=False)
    _pushed_at: int = field(default=0, init=False)
    _paused: int = field(default=0, init=False)

    def __attrs_post_init__(self) -> None:
        remembered = self.ledger.last(self.stream.name)
        last = remembered[0] if remembered is not None else None
        held = self.stream.window.last_number
        if held is not None:
            last = held if last is None else max(last, held)
        if last is not None and last - self.now() // self.segment_duration > UNRELATED:
            last = None
        self._cutter = cutter = RunCutter(
            self.stream, SegmentCutter(self.segment_duration, last), self.part_duration
        )
        if remembered is not None:
            cutter.discontinuity_sequence = remembered[1]
        newest = self.stream.window.last
        if newest is not None:
            cutter.discontinuity_sequence = max(cutter.discontinuity_sequence, newest.discontinuity_sequence)

    def configure(self, tracks: Tracks) -> None:
        """Announce the tracks, before the first frame and at each change.

        Tracks M4F cannot carry (more than 32, or with a configuration of more than 64 KiB) are left out.
        """
        carried = tuple(track for track in tracks if len(track.config) <= MAX_CONFIG)[:MAX_TRACKS]
        if self._tracks and not same_tracks(carried, self._tracks):
            self._retrack = True
        self._tracks = carried
        self._cutter.configure(carried)
        self._known = {track.track_id for track in carried}

    def push(self, frames: Sequence[Frame]) -> float:
        """Take frames of the publisher's clock; gives the seconds it should not be read from."""
        if self._over:
            return 0.0
        now = self.now()
        silent = now - self._pushed_at
        self._pushed_at = now
        self.counts.take(frames)
        if silent > STANDSTILL and self._paused < LONGEST_PAUSE:
            # Nothing came: that says nothing of the publisher's clock.
            self._paused += silent
            self._cutter.opened_at += silent
        if self._retrack and self._changes_all_the_time(now):
            self.counters.dropped += len(frames)
            return self.timeline.wait()
        batch: list[Frame] = []
        for source in frames:
            if not 0 < len(source.data) <= MAX_FRAME_BYTES or source.track_id not in self._known:
                self.counters.dropped += 1
                continue
            self._take(source, now, batch)
        self._cutter.flush(batch)
        return self.timeline.wait()

    def dated(self, offset: int | None) -> None:
        """The publisher's clock plus C{offset} is UTC: heeded where that clock is anchored, if plausible."""
        self.timeline.told = offset

    @property
    def feeding(self) -> bool:
        """Whether the stream shows what comes from here."""
        writer = self._cutter.writer
        return writer is not None and writer.in_power and not self._over

    def counted(self, told: TellCounts) -> None:
        """A L{restreamer.seams.CountingSink}."""
        self.counts.told = told

    @property
    def counted_so_far(self) -> Mapping[str, int]:
        """What was counted of this run, by name; what its protocol counts is among it."""
        counters = self.counters
        own = {"errors_dropped_frames": counters.dropped, "discontinuities": counters.discontinuities}
        return added(self.counts.told(), own, {"forced_segments": counters.forced})

    def end(self, reason: str) -> None:
        """The publisher left: the open segment is closed with what it has."""
        if self._over:
            return
        self._over = True
        try:
            writer = self._cutter.writer
            if writer is not None:
                self._note(self._cutter.close(None))
                writer.lose(reason)
        finally:
            self.ended(reason)

    def _take(self, source: Frame, now: int, batch: list[Frame]) -> None:
        cutter = self._cutter
        if cutter.writer is None:
            self._heed_shown(now)
        frame, broken = self.timeline.map(source, now)
        if cutter.writer is None:
            self._begin(frame)
        elif not cutter.writer.in_power and self._may_return(frame):
            self._return(frame, batch)
        elif (broken and self._may_break(now)) or self._retrack:
            self._cut(frame, batch, discontinuity=True)
        elif self._ends_before(frame, now):
            if self.timeline.boundary(now):
                cutter.flush(batch)
                frame = self.timeline.reanchor(frame, source.dts, now)
                self._cut(frame, batch, discontinuity=True)
            else:
                self._cut(frame, batch, discontinuity=False)
        cutter.take(frame, batch)

    def _heed_shown(self, now: int) -> None:
        """Anchor nothing before what viewers saw last, if that is not far ahead of our clock.

        It may be ahead a little: another node's clock dated it, or its pictures were reordered.
        """
        end = self.stream.shown_end()
        if end is not None and end < now + LEAD_LIMIT:
            self.timeline.earliest = end + 1

    def _ends_before(self, frame: Frame, now: int) -> bool:
        """Whether the open segment ends before C{frame}: by its time, because it is full, or because it was
        opened so long ago that the publisher's clock must stand still."""
        cutter = self._cutter
        if cutter.ends_before(frame):
            return True
        if now - cutter.opened_at <= 2 * cutter.cutter.longest():
            return False
        cutter.force(frame)
        return True

    def _may_break(self, now: int) -> bool:
        """Whether a jump of the clock may begin a segment: not when it jumps all the time."""
        before = self._broken_at
        if (before is not None and now - before < BREAK_SPACING) or self._changes_all_the_time(now):
            return False
        self._broken_at = now
        return True

    def _changes_all_the_time(self, now: int) -> bool:
        """Whether tracks or clock changed so often lately that numbers would run away from the grid."""
        drained = (now - self._changed_at) / self.segment_duration
        return self._changes - drained > MANY_CHANGES - 1

    def _begin(self, frame: Frame) -> None:
        run = RunInfo(
            run_id=self.run_id,
            run_start=frame.dts,
            ingest_node=self.node_id,
            path=(self.node_id,),
            part_duration=self.part_duration,
        )
        cutter = self._cutter
        cutter.writer = self.stream.begin_run(run, self.segment_duration, local=True, backup=self.backup)
        self._open(lambda: cutter.open(frame, discontinuity=cutter.discontinuity_sequence >= 0))
        self.began()

    def _may_return(self, frame: Frame) -> bool:
        """Whether the stream, fed by another input meanwhile, can be taken back with C{frame}."""
        video = {track.track_id for track in self._tracks if track.kind is TrackKind.VIDEO}
        access = frame.key and (not video or frame.track_id in video)
        return access and not self.backup and not self.stream.ended

    def _return(self, frame: Frame, batch: list[Frame]) -> None:
        """Take the stream back: the run goes on behind what was shown meanwhile."""
        batch.clear()
        cutter = self._cutter
        last = self.stream.window.last
        if last is not None:
            cutter.cutter.number = max(cutter.cutter.number or 0, last.number)
            cutter.discontinuity_sequence = max(cutter.discontinuity_sequence, last.discontinuity_sequence)
        self._begin(frame)

    def _cut(self, frame: Frame, batch: list[Frame], discontinuity: bool) -> None:
        if discontinuity:
            now = self.now()
            drained = (now - self._changed_at) / self.segment_duration
            self._changes = max(0.0, self._changes - drained) + 1
            self._changed_at = now
        self._open(lambda: self._note(self._cutter.cut(frame, batch, discontinuity)))

    def _open(self, opens: Callable[[], None]) -> None:
        self._retrack = False
        self._cutter.opened_at = self.now()
        self._paused = 0
        opens()
        self.counters.discontinuities = self._cutter.discontinuities

    def _note(self, segment: Segment | None) -> None:
        """Remember a segment that was closed."""
        if segment is not None:
            self.ledger.note(self.stream.name, segment.number, segment.discontinuity_sequence)
            forced = self._cutter.cutter.forced
            if forced > self.counters.forced:
                self.counters.forced = forced
                self.forced(forced)
