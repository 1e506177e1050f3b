"""A feed: one container of one stream, muxed once and sent to many viewers.

Exists while it has viewers. Frames are muxed as they come and become log entries at each flush and before
each keyframe. A flush walks the live viewers in slices of L{SLICE} per reactor turn, so that thousands
of viewers do not hold up timers, ingest or links to other nodes. While one walk is short, every batch
of frames is flushed at once; with more viewers flushes are spaced out (L{CADENCES}): the cost is per send.

A viewer that falls behind the log's bounds jumps to the newest keyframe; one that does so too often, or
takes nothing at all for L{STALL_SECONDS}, is aborted.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from attrs import define, frozen
from typing_extensions import override

from restreamer.live.feed_log import FeedLog
from restreamer.live.tap import IdleTap
from restreamer.live.viewer import Viewer
from restreamer.m4f.records import RunInfo
from restreamer.m4f.segment import SegmentBuilder
from restreamer.media.frame import Frame
from restreamer.media.timebase import TICKS_PER_SECOND
from restreamer.media.track import TrackKind, Tracks, same_tracks
from restreamer.seams import Clock, FeedMuxer, Timer, ViewerTransport

#: Viewers served in one reactor turn.
SLICE = 250
#: Flush interval in seconds by number of viewers: (up to viewers, interval).
CADENCES = ((100, 0.0), (1_000, 0.04), (4_000, 0.1), (1 << 62, 0.35))
#: A parked viewer from whom nothing drained for so long is aborted, seconds.
STALL_SECONDS = 10.0
#: So many jumps within L{SKIP_WINDOW} seconds and the viewer is dropped.
MAX_SKIPS = 3
SKIP_WINDOW = 30.0
_AUDIO_KEY_DISTANCE = TICKS_PER_SECOND


@frozen
class FeedLimits:
    """Bounds of a viewer's backlog.

    @ivar max_bytes, @ivar max_seconds: what a viewer may be behind before it jumps.
    @ivar flush_interval: seconds between flushes, or None for the cadence by viewers.
    """

    max_bytes: int = 8 * 1024 * 1024
    max_seconds: float = 10.0
    flush_interval: float | None = None


@define(eq=False)
class FeedCounters:
    """What happened to the viewers of one container of a stream; outlives the feed.

    @ivar joined: viewers so far; @ivar skips: jumps to a newer keyframe; @ivar dropped: viewers aborted.
    @ivar bytes_out: bytes sent to viewers that left (those still here are counted by themselves).
    """

    joined: int = 0
    skips: int = 0
    dropped: int = 0
    bytes_out: int = 0


class Feed(IdleTap):
    """The feed of one container; follows its stream as a tap.

    @ivar muxer: the container. @ivar counters: see L{FeedCounters}. @ivar log: the shared entries.
    """

    def __init__(
        self,
        muxer: FeedMuxer,
        clock: Clock,
        limits: FeedLimits,
        counters: FeedCounters,
        empty: Callable[[], None],
    ) -> None:
        self.muxer = muxer
        self.counters = counters
        self.log = FeedLog(limits.max_bytes, limits.max_seconds)
        self._clock = clock
        self._limits = limits
        self._empty = empty
        self._live: dict[Viewer, None] = {}
        self._waiting: dict[Viewer, None] = {}
        self._parked: dict[Viewer, None] = {}
        self._pending: list[bytes] = []
        self._walk: list[Viewer] = []
        self._walk_at = 0
        self._walking = False
        self._flush_timer: Timer | None = None
        self._stall_timer: Timer | None = None
        self._tracks: Tracks = ()
        self._run: RunInfo | None = None
        self._video: frozenset[int] = frozenset()
        self._last_key = 0
        self._has_key = False
        self._closed = False

    # Viewers.

    def __len__(self) -> int:
        return len(self._live) + len(self._parked) + len(self._waiting)

    @property
    def bytes_out(self) -> int:
        """Bytes sent to all viewers so far, gone ones included."""
        here = sum(v.bytes_sent for group in (self._live, self._parked, self._waiting) for v in group)
        return self.counters.bytes_out + here

    @property
    def flush_interval(self) -> float:
        """Seconds between two flushes with the viewers there are now."""
        if self._limits.flush_interval is not None:
            return self._limits.flush_interval
        viewers = len(self)
        return next(interval for limit, interval in CADENCES if viewers <= limit)

    def now(self) -> float:
        """Monotonic seconds."""
        return self._clock.seconds()

    def join(self, transport: ViewerTransport, ended: Callable[[str], None]) -> Viewer:
        """Add a viewer at the newest keyframe (at the next one when there is none yet)."""
        self._close_entry()
        viewer = Viewer(self, transport, ended)
        self.counters.joined += 1
        self._start(viewer, skipping=False)
        return viewer

    def left(self, viewer: Viewer) -> None:
        """A viewer is gone."""
        self._forget(viewer)
        if not len(self) and not self._closed:
            self.close()
            self._empty()

    def stop_live(self, viewer: Viewer) -> None:
        """A live viewer is about to be parked."""
        if self._live.pop(viewer, True) is None:
            self._parked[viewer] = None
            self._watch_stalls()

    def drained(self, viewer: Viewer) -> None:
        """All that a parked viewer was given is in the kernel: send on, live again when it has caught up."""
        self._parked.pop(viewer, None)
        self._pump(viewer)

    # The stream's events.

    def begin(self, run: RunInfo, tracks: Tracks, frames: Sequence[Frame]) -> None:
        """Prime the feed with what came since the newest keyframe."""
        self._configure(run, tracks, discontinuity=False)
        self._run = run
        self._mux(frames)
        self._close_entry()

    @override
    def run_began(self, run: RunInfo) -> None:
        """Timestamps start anew with the next segment."""
        self._run = run
        self._tracks = ()

    @override
    def segment_opened(self, builder: SegmentBuilder) -> None:
        """Reconfigure the muxer where tracks or timeline change."""
        opening = builder.opening
        changed = not same_tracks(opening.tracks, self._tracks)
        if (changed or opening.discontinuity) and self._run is not None:
            self._configure(self._run, opening.tracks, discontinuity=True)

    @override
    def frames_added(self, builder: SegmentBuilder, frames: Sequence[Frame]) -> None:
        """Mux frames and send them, now or with the next flush."""
        self._mux(frames)
        interval = self.flush_interval
        if interval <= 0:
            self._flush()
        elif self._flush_timer is None:
            self._flush_timer = self._clock.callLater(interval, self._flush_due)

    @override
    def stream_ended(self, reason: str) -> None:
        """End every viewer."""
        self._close_entry()
        viewers = [*self._live, *self._parked, *self._waiting]
        self.close()
        for viewer in viewers:
            self.counters.bytes_out += viewer.bytes_sent
            viewer.end(reason, abort=False)

    def close(self) -> None:
        """Stop all timers; nothing is sent any more."""
        self._closed = True
        for timer in (self._flush_timer, self._stall_timer):
            if timer is not None and timer.active():
                timer.cancel()
        self._flush_timer = self._stall_timer = None
        self._live.clear()
        self._parked.clear()
        self._waiting.clear()
        self._walk = []

    # Muxing.

    def _configure(self, run: RunInfo, tracks: Tracks, discontinuity: bool) -> None:
        self._tracks = tracks
        self._video = frozenset(t.track_id for t in tracks if t.kind is TrackKind.VIDEO)
        self._has_key = False
        self.muxer.configure(tracks, run.run_start, discontinuity)

    def _mux(self, frames: Sequence[Frame]) -> None:
        mux = self.muxer.mux
        video = self._video
        for frame in frames:
            if frame.key and self._is_join_point(frame, video):
                self._close_entry()
                self._last_key = frame.dts
                self._has_key = True
                self.log.mark(self.muxer.join_prefix(), self.muxer.skip_prefix())
            self._pending.append(mux(frame))

    def _is_join_point(self, frame: Frame, video: frozenset[int]) -> bool:
        if video:
            return frame.track_id in video
        return not self._has_key or frame.dts - self._last_key >= _AUDIO_KEY_DISTANCE

    def _close_entry(self) -> None:
        if self._pending:
            entry = b"".join(self._pending)
            self._pending.clear()
            if entry:
                self.log.append(entry, self._clock.seconds())
                if self._waiting:
                    self._release_waiting()

    def _release_waiting(self) -> None:
        if self.log.newest_key() is not None:
            waiting = list(self._waiting)
            self._waiting.clear()
            for viewer in waiting:
                self._start(viewer, skipping=False)

    # Sending.

    def _flush_due(self) -> None:
        self._flush_timer = None
        self._flush()

    def _flush(self) -> None:
        self._close_entry()
        if not self._walking and self._live:
            self._walk = list(self._live)
            self._walk_at = 0
            self._walking = True
            self._slice()

    def _slice(self) -> None:
        """Send the newest entry to the next viewers of the walk; this loop is the hot path."""
        if self._closed:
            self._walking = False
            return
        log = self.log
        end = log.end
        newest = end - 1
        entry = log.entries[-1]
        size = len(entry)
        begin = self._walk_at
        self._walk_at = stop = begin + SLICE
        live = self._live
        for viewer in self._walk[begin:stop]:
            if viewer.position == newest and viewer in live:
                try:
                    sent = viewer.send(entry)
                except BlockingIOError:
                    sent = 0
                except OSError:
                    self._broken(viewer)
                    continue
                viewer.bytes_sent += size
                viewer.position = end
                if sent != size:
                    self._park(viewer, entry[sent:])
            elif viewer.position < newest and viewer in live:
                del live[viewer]
                self._pump(viewer)
        if stop < len(self._walk):
            self._clock.callLater(0, self._slice)
            return
        self._walking = False
        if log.end != end:
            # Entries came while the walk ran: the viewers of its first slices lack them.
            self._flush()

    def _start(self, viewer: Viewer, skipping: bool) -> None:
        """Place C{viewer} at the newest key point and give it that entry through its transport."""
        key = self.log.newest_key()
        if key is None:
            self._waiting[viewer] = None
            return
        prefix = key.skip if skipping else key.join
        entry = self.log.entry(key.entry)
        viewer.position = key.entry + 1
        viewer.bytes_sent += len(prefix) + len(entry)
        self._parked[viewer] = None
        self._watch_stalls()
        viewer.park(prefix + entry if prefix else entry, self._clock.seconds())

    def _pump(self, viewer: Viewer) -> None:
        """Send entry after entry until the viewer has caught up, or its kernel buffer is full."""
        log = self.log
        now = self._clock.seconds()
        lost = viewer.position < log.base
        if lost or log.age(viewer.position, now) > self._limits.max_seconds:
            key = log.newest_key()
            if lost or (key is not None and key.entry > viewer.position):
                self._skip(viewer, now)
                return
        send = viewer.send
        while viewer.position < log.end:
            entry = log.entry(viewer.position)
            viewer.position += 1
            viewer.bytes_sent += len(entry)
            try:
                sent = send(entry)
            except BlockingIOError:
                sent = 0
            except OSError:
                self._broken(viewer)
                return
            if sent != len(entry):
                self._park(viewer, entry[sent:])
                return
        self._live[viewer] = None

    def _park(self, viewer: Viewer, rest: bytes) -> None:
        self._live.pop(viewer, None)
        self._parked[viewer] = None
        self._watch_stalls()
        viewer.park(rest, self._clock.seconds())

    def _skip(self, viewer: Viewer, now: float) -> None:
        self.counters.skips += 1
        viewer.skips = [at for at in viewer.skips if now - at < SKIP_WINDOW]
        viewer.skips.append(now)
        if len(viewer.skips) >= MAX_SKIPS:
            self._drop(viewer, "too slow: fell behind again and again")
        else:
            self._start(viewer, skipping=True)

    def _broken(self, viewer: Viewer) -> None:
        self._drop(viewer, "the connection broke", counted=False)

    def _drop(self, viewer: Viewer, reason: str, counted: bool = True) -> None:
        self.counters.dropped += counted
        self._forget(viewer)
        viewer.end(reason, abort=True)
        if not len(self) and not self._closed:
            self.close()
            self._empty()

    def _forget(self, viewer: Viewer) -> None:
        self.counters.bytes_out += viewer.bytes_sent
        self._live.pop(viewer, None)
        self._parked.pop(viewer, None)
        self._waiting.pop(viewer, None)

    def _watch_stalls(self) -> None:
        if self._stall_timer is None and not self._closed:
            self._stall_timer = self._clock.callLater(1.0, self._check_stalls)

    def _check_stalls(self) -> None:
        self._stall_timer = None
        now = self._clock.seconds()
        for viewer in [v for v in self._parked if now - v.parked_at > STALL_SECONDS]:
            self._drop(viewer, f"took nothing for {STALL_SECONDS:.0f} s")
        if self._parked:
            self._watch_stalls()
