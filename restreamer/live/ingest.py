"""Ingest: a publisher's frames become the segments of a run. The one place where segments are decided.

A run is one connection of one publisher (or one start of a file). Times are mapped to UTC by
L{Timeline}, boundaries come from L{SegmentCutter}; what is decided here is carried unchanged to every node.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from attrs import define, evolve, field

from restreamer.live.grid import SegmentCutter
from restreamer.live.ledger import Ledger
from restreamer.live.stream import Stream, StreamWriter
from restreamer.live.timeline import Timeline
from restreamer.live.window import UNRELATED
from restreamer.m4f.layout import MAX_CONFIG, MAX_TRACKS
from restreamer.m4f.records import RunInfo
from restreamer.m4f.segment import SegmentOpening
from restreamer.media.frame import Frame
from restreamer.media.timebase import TICKS_PER_SECOND
from restreamer.media.track import TrackKind, Tracks, same_tracks

#: A segment is ended early, by force, at this size or count, well under what M4F may carry.
MAX_SEGMENT_BYTES = 24 * 1024 * 1024
MAX_SEGMENT_FRAMES = 10_000
#: One frame larger than this is dropped.
MAX_FRAME_BYTES = 8 * 1024 * 1024
#: Bandwidths are rounded up to this, so that they change seldom (bits/s).
BANDWIDTH_STEP = 10_000
#: A clock that jumps again within so many ticks makes no segment of its own.
BREAK_SPACING = TICKS_PER_SECOND


@define(eq=False)
class IngestCounters:
    """What happened to the frames of one run.

    @ivar dropped: frames dropped (empty, oversized, of an unknown track).
    @ivar forced: segments ended without a keyframe; @ivar discontinuities: new anchors and track changes.
    """

    dropped: int = 0
    forced: int = 0
    discontinuities: int = 0


@define(eq=False)
class Ingest:
    """A L{restreamer.seams.FrameSink} that feeds a stream.

    @ivar stream: the stream; @ivar run_id, @ivar node_id: for the run's identity (u64, 16 bytes).
    @ivar segment_duration: D in ticks. @ivar now: gives UTC ticks. @ivar ledger: last numbers of all streams.
    @ivar ended: told once when the run is over (the claim on the name is given back there).
    """

    stream: Stream
    run_id: int
    node_id: bytes
    segment_duration: int
    now: Callable[[], int]
    ledger: Ledger
    ended: Callable[[str], None]
    counters: IngestCounters = field(factory=IngestCounters, init=False)
    timeline: Timeline = field(factory=Timeline, init=False)
    _cutter: SegmentCutter = field(init=False)
    _writer: StreamWriter | None = field(default=None, init=False)
    _tracks: Tracks = field(default=(), init=False)
    _video: set[int] = field(factory=set, init=False)
    _known: set[int] = field(factory=set, init=False)
    _steps: dict[int, int] = field(factory=dict, init=False)
    _ends: dict[int, int] = field(factory=dict, init=False)
    _sizes: dict[int, int] = field(factory=dict, init=False)
    _peaks: dict[int, int] = field(factory=dict, init=False)
    _opened_at: int = field(default=0, init=False)
    _segment_bytes: int = field(default=0, init=False)
    _segment_frames: int = field(default=0, init=False)
    _discontinuity_sequence: int = field(default=-1, init=False)
    _broken_at: int | None = field(default=None, init=False)
    _over: bool = field(default=False, init=False)
    _retrack: bool = field(default=False, init=False)

    def __attrs_post_init__(self) -> None:
        remembered = self.ledger.last(self.stream.name)
        last = remembered[0] if remembered is not None else None
        held = self.stream.window.last_number
        if held is not None:
            last = held if last is None else max(last, held)
        if last is not None and last - self.now() // self.segment_duration > UNRELATED:
            last = None
        self._cutter = SegmentCutter(self.segment_duration, last)
        if remembered is not None:
            self._discontinuity_sequence = remembered[1]
        newest = self.stream.window.last
        if newest is not None:
            self._discontinuity_sequence = max(self._discontinuity_sequence, newest.discontinuity_sequence)

    def configure(self, tracks: Tracks) -> None:
        """Announce the tracks, before the first frame and at each change.

        Tracks M4F cannot carry (more than 32, or with a configuration of more than 64 KiB) are left out.
        """
        carried = tuple(track for track in tracks if len(track.config) <= MAX_CONFIG)[:MAX_TRACKS]
        if self._tracks and not same_tracks(carried, self._tracks):
            self._retrack = True
        self._tracks = carried
        self._video = {track.track_id for track in carried if track.kind is TrackKind.VIDEO}
        self._known = {track.track_id for track in carried}

    def push(self, frames: Sequence[Frame]) -> float:
        """Take frames of the publisher's clock; gives the seconds it should not be read from."""
        if self._over:
            return 0.0
        now = self.now()
        batch: list[Frame] = []
        for source in frames:
            if not 0 < len(source.data) <= MAX_FRAME_BYTES or source.track_id not in self._known:
                self.counters.dropped += 1
                continue
            self._take(source, now, batch)
        self._flush(batch)
        return self.timeline.wait()

    def end(self, reason: str) -> None:
        """The publisher left: the open segment is closed with what it has."""
        if self._over:
            return
        self._over = True
        try:
            if self._writer is not None:
                self._close(None)
                self._writer.lose(reason)
        finally:
            self.ended(reason)

    def _take(self, source: Frame, now: int, batch: list[Frame]) -> None:
        frame, broken = self.timeline.map(source, now)
        track_id = frame.track_id
        size = len(frame.data)
        if self._writer is None:
            self._begin(frame)
        elif (broken and self._may_break(now)) or self._retrack:
            self._cut(frame, batch, discontinuity=True)
        elif self._ends_before(frame, size, now):
            if self.timeline.boundary(now):
                self._flush(batch)
                frame = self.timeline.reanchor(frame, source.dts, now)
                self._cut(frame, batch, discontinuity=True)
            else:
                self._cut(frame, batch, discontinuity=False)
        batch.append(frame)
        self._segment_bytes += size
        self._segment_frames += 1
        step = self._steps.get(track_id, 0)
        last_end = self._ends.get(track_id)
        if last_end is not None:
            newer = frame.dts - (last_end - step)
            if 0 < newer < TICKS_PER_SECOND:
                self._steps[track_id] = step = newer
        self._ends[track_id] = frame.dts + step
        self._sizes[track_id] = self._sizes.get(track_id, 0) + size

    def _ends_before(self, frame: Frame, size: int, now: int) -> bool:
        """Whether the open segment ends before C{frame}: by its time, because it is full, or because it was
        opened so long ago that the publisher's clock must stand still."""
        video = self._video
        of_video = frame.track_id in video
        access = frame.key and (of_video or not video)
        if self._cutter.ends_before(frame.dts, access, bool(video), bool(video) and not of_video):
            return True
        late = now - self._opened_at > 2 * self._cutter.longest()
        full = self._segment_bytes + size > MAX_SEGMENT_BYTES or self._segment_frames >= MAX_SEGMENT_FRAMES
        if not late and not full:
            return False
        if not access:
            self._cutter.forced += 1
        return True

    def _may_break(self, now: int) -> bool:
        """Whether a jump of the clock may begin a segment: not when it jumps all the time."""
        before = self._broken_at
        if before is not None and now - before < BREAK_SPACING:
            return False
        self._broken_at = now
        return True

    def _begin(self, frame: Frame) -> None:
        run = RunInfo(run_id=self.run_id, run_start=frame.dts, ingest_node=self.node_id, path=(self.node_id,))
        self._writer = self.stream.begin_run(run, self.segment_duration, local=True)
        self._open(frame, discontinuity=self._discontinuity_sequence >= 0)

    def _cut(self, frame: Frame, batch: list[Frame], discontinuity: bool) -> None:
        self._flush(batch)
        self._close(None if discontinuity else frame.dts)
        self._open(frame, discontinuity)

    def _open(self, frame: Frame, discontinuity: bool) -> None:
        assert self._writer is not None
        self._retrack = False
        self._segment_bytes = self._segment_frames = 0
        if discontinuity or self._discontinuity_sequence < 0:
            self._discontinuity_sequence += 1
            self.counters.discontinuities += discontinuity
            self._ends.clear()
        of_video = frame.track_id in self._video
        independent = frame.key and (of_video or not self._video)
        self._opened_at = self.now()
        number = self._cutter.open(frame.dts, keyframe=independent and of_video)
        self._writer.open(
            SegmentOpening(
                number=number,
                start=frame.dts,
                discontinuity=discontinuity,
                independent=independent,
                discontinuity_sequence=self._discontinuity_sequence,
                tracks=tuple(
                    evolve(track, bandwidth=max(track.bandwidth, self._peaks.get(track.track_id, 0)))
                    for track in self._tracks
                ),
            )
        )

    def _flush(self, batch: list[Frame]) -> None:
        if batch and self._writer is not None:
            self._writer.frames(batch[:])
            batch.clear()

    def _close(self, boundary: int | None) -> None:
        """Close the open segment at C{boundary}; None, or a boundary too far off: where its frames end."""
        writer = self._writer
        if writer is None or self.stream.open is None or not writer.in_power:
            return
        start = self._cutter.start
        longest = self._cutter.longest()
        end = max(self._ends.values(), default=start + 1)
        if boundary is not None and boundary - start <= longest:
            end = boundary
        duration = max(1, min(end - start, longest))
        segment = writer.close(duration)
        if segment is None:
            return
        self._measure(duration)
        self.counters.forced = self._cutter.forced
        self.ledger.note(self.stream.name, segment.number, segment.discontinuity_sequence)

    def _measure(self, duration: int) -> None:
        if duration >= TICKS_PER_SECOND:
            for track_id, size in self._sizes.items():
                rate = size * 8 * TICKS_PER_SECOND // duration
                rounded = -(-rate // BANDWIDTH_STEP) * BANDWIDTH_STEP
                self._peaks[track_id] = max(self._peaks.get(track_id, 0), rounded)
        self._sizes.clear()
