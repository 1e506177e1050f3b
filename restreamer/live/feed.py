"""A feed: one container and one choice of tracks of one stream, muxed once and sent to many viewers.

Exists while it has viewers. Frames are muxed as they come and become log entries at each flush and before
each keyframe. A flush walks the live viewers in slices of L{SLICE} per reactor turn, and of no more than
L{SLICE_SECONDS}, so that thousands of viewers do not hold up timers, ingest or links to other nodes, not even
when all of them have just gone. While one walk is short, every batch of frames is flushed at once; with more
viewers flushes are spaced out (L{CADENCES}): the cost is per send. They come with the first frame behind each
border of a grid of decoding times of that width, so that all nodes flush at the same frames and nodes in a
row do not add up their waits; when no frame comes a timer flushes what there is.

A viewer that falls behind the log's bounds jumps to the newest keyframe; one that does so too often, or
has not taken the one entry it was given within L{STALL_SECONDS}, is aborted.

Each viewer is in one of three places: I{waiting} for the first keyframe, I{parked} while its transport holds
bytes of ours, or I{live}. A fault of one viewer (its socket, its transport, its protocol) ends that viewer
and nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from attrs import define, evolve, frozen
from typing_extensions import override

from restreamer.live.feed_log import FeedLog
from restreamer.live.resume import FAR_BELOW, Resumption, Sent, newest_by_kind
from restreamer.live.stream import Faulted, ignore_fault
from restreamer.live.tap import IdleTap
from restreamer.live.viewer import Viewer, viewer_of
from restreamer.m4f.records import RunInfo
from restreamer.m4f.segment import SegmentBuilder
from restreamer.media.frame import Frame
from restreamer.media.timebase import TICKS_PER_SECOND
from restreamer.media.track import TrackKind, Tracks, same_tracks
from restreamer.seams import Clock, FeedMuxer, Timer, ViewerTransport

#: Viewers served in one reactor turn.
SLICE = 150
#: Seconds of a slice, and after how many viewers the clock is looked at.
SLICE_SECONDS = 0.003
_LOOK = 15
#: By this part of all viewers the next walk begins further on: the beginnings are never near each other.
_GOLDEN = 0.6180339887498949
#: Flush interval in seconds by number of viewers: (up to viewers, interval).
CADENCES = ((100, 0.0), (1_000, 0.04), (4_000, 0.1), (1 << 62, 0.35))
#: Frames that come faster than their times say are flushed no more often than after so many intervals.
LEAST = 0.75
#: What waits is flushed so many intervals after the last flush if no frame comes to do it.
LATEST = 2.0
#: A grid position so far below the last one is of another timeline, or of another interval.
_CELLS_BACK = 8
#: An entry is closed when it has so many bytes: the most a slow viewer has to itself, but for a larger frame.
MAX_ENTRY = 128 * 1024
#: A parked viewer that did not drain what it was given for so long is aborted, seconds.
STALL_SECONDS = 10.0
#: So many jumps within L{SKIP_WINDOW} seconds and the viewer is dropped.
MAX_SKIPS = 2
SKIP_WINDOW = 30.0
_AUDIO_KEY_DISTANCE = TICKS_PER_SECOND


def _everything(tracks: Tracks) -> Tracks:
    return tracks


@frozen
class FeedLimits:
    """Bounds of a viewer's backlog.

    @ivar max_bytes, @ivar max_seconds: what a viewer may be behind before it jumps.
    @ivar flush_interval: seconds between flushes, or None for the cadence by viewers.
    @ivar prepush: seconds in the past where a viewer begins; 0.0: at the newest keyframe.
    """

    max_bytes: int = 8 * 1024 * 1024
    max_seconds: float = 10.0
    flush_interval: float | None = None
    prepush: float = 0.0

    def reaching_back(self, seconds: float) -> FeedLimits:
        """These limits for viewers that begin C{seconds} in the past: the log is longer by as much."""
        if seconds <= 0:
            return self
        return evolve(
            self,
            prepush=seconds,
            max_seconds=self.max_seconds + seconds,
            max_bytes=int(self.max_bytes * (1 + seconds / self.max_seconds)),
        )


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
    """The feed of one container and choice of tracks; follows its stream as a tap.

    @ivar muxer: the container. @ivar counters: see L{FeedCounters}. @ivar log: the shared entries.
    @param choose: those of a track table that its viewers get; nothing of the others reaches the muxer.
    @param empty: called once when the last viewer has gone and the feed has closed.
    @param faulted: told (what, error) when a viewer's protocol fails.
    """

    def __init__(
        self,
        muxer: FeedMuxer,
        clock: Clock,
        limits: FeedLimits,
        counters: FeedCounters,
        empty: Callable[[], None],
        faulted: Faulted = ignore_fault,
        choose: Callable[[Tracks], Tracks] = _everything,
    ) -> None:
        self.muxer = muxer
        self.counters = counters
        self.log = FeedLog(limits.max_bytes, limits.max_seconds)
        self._clock = clock
        self._limits = limits
        self._prepush = int(limits.prepush * TICKS_PER_SECOND)
        self._newest = 0
        self._empty = empty
        self._faulted = faulted
        self._live: dict[Viewer, None] = {}
        self._waiting: dict[Viewer, None] = {}
        self._parked: dict[Viewer, None] = {}
        self._pending: list[bytes] = []
        self._pending_size = 0
        self._walk: list[Viewer] = []
        self._walk_at = 0
        self._walk_end = 0
        self._walking = False
        self._slice_timer: Timer | None = None
        self._turned = 0.0
        self._flush_timer: Timer | None = None
        self._flushed_at = -1e9
        self._flushed_end = 0
        self._cell = -1
        self._stall_timer: Timer | None = None
        self._tracks: Tracks = ()
        self._choose = choose
        #: Ids of the tracks that are muxed; None: of all there are.
        self._chosen: frozenset[int] | None = None
        self._run: RunInfo | None = None
        self._builder: SegmentBuilder | None = None
        self._sent: dict[bool, Sent] = {}
        self._sent_run: int | None = None
        self._resumption: Resumption | None = None
        self._video: frozenset[int] = frozenset()
        self._last_key = 0
        self._has_key = False
        self._closed = False

    # Viewers.

    def __len__(self) -> int:
        return len(self._live) + len(self._parked) + len(self._waiting)

    @property
    def bytes_here(self) -> int:
        """Bytes sent to the viewers that are here; what was sent to others is in L{counters}."""
        return sum(v.bytes_sent for group in (self._live, self._parked, self._waiting) for v in group)

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
        """Add a viewer at the newest keyframe (at the next one when there is none yet), or as far before it
        as the limits say.

        A viewer of a closed feed is told of the end at once.
        """
        viewer = viewer_of(self, transport, ended)
        if self._closed:
            viewer.end("the stream has ended", abort=False)
            return viewer
        self._close_entry()
        self.counters.joined += 1
        self._start(viewer)
        return viewer

    def is_live(self, viewer: Viewer) -> bool:
        """Whether C{viewer}'s transport holds nothing, so that its socket may be written directly."""
        return viewer.live

    def left(self, viewer: Viewer) -> None:
        """A viewer is gone."""
        self._forget(viewer)
        self._close_if_empty()

    def hold(self, viewer: Viewer, rest: bytes) -> None:
        """Park a live viewer with C{rest} of what was sent to it aside."""
        self._park(viewer, rest)

    def drained(self, viewer: Viewer) -> None:
        """All that a parked viewer was given is in the kernel: send on, live again when it has caught up."""
        if self._parked.pop(viewer, True) is None:
            self._pump(viewer)

    # The stream's events.

    def begin(self, run: RunInfo, tracks: Tracks, frames: Sequence[Frame]) -> None:
        """Prime the feed with what came since the newest keyframe.

        @param tracks: empty when the run has not opened a segment yet.
        """
        self._run = run
        if tracks:
            self._configure(run, self._select(tracks), discontinuity=False)
            frames = self._of_chosen(frames)
            self._mux(frames)
            newest_by_kind(frames, self._video, self._sent)
            self._close_entry()
            self._newest = frames[-1].dts if frames else 0

    @override
    def run_began(self, run: RunInfo) -> None:
        """Timestamps start anew with the next segment; what was shown already is not sent again."""
        self._note_sent()
        self._builder = None
        if self._resumption is None or self._resumption.begun:
            self._resumption = Resumption(self._sent)
            self._sent_run = self._run.run_id if self._run is not None else None
        self._resumption.back = run.run_id == self._sent_run
        self._run = run
        self._tracks = ()

    @override
    def segment_opened(self, builder: SegmentBuilder) -> None:
        """Reconfigure the muxer where tracks or timeline change."""
        self._note_sent()
        self._builder = builder
        opening = builder.opening
        tracks = self._select(opening.tracks)
        changed = not same_tracks(tracks, self._tracks)
        last = self.muxer.farewell(tracks) if changed else None
        if last is not None:
            self._pending.append(last)
            self.stream_ended("the tracks of the stream changed")
            return
        if (changed or opening.discontinuity) and self._run is not None:
            self._configure(self._run, tracks, discontinuity=True)

    @override
    def frames_added(self, builder: SegmentBuilder, frames: Sequence[Frame]) -> None:
        """Mux frames and send them, now or with the next flush."""
        frames = self._of_chosen(frames)
        if self._resumption is not None:
            frames = self._resume(self._resumption, frames)
        if not frames:
            return
        self._mux(frames)
        self._newest = frames[-1].dts
        interval = self.flush_interval
        if interval <= 0:
            self._flush()
            return
        passed = self._clock.seconds() - self._flushed_at
        if passed >= LEAST * interval and self._passes_border(interval):
            self._flush()
        elif self._flush_timer is None and not self._closed:
            self._flush_timer = self._clock.callLater(max(0.0, LATEST * interval - passed), self._flush_due)

    def _passes_border(self, interval: float) -> bool:
        """Whether the newest frame is the first one behind a border of the grid."""
        cell = self._newest // max(1, round(interval * TICKS_PER_SECOND))
        if self._cell - _CELLS_BACK <= cell <= self._cell:
            return False
        self._cell = cell
        return True

    @override
    def stream_ended(self, reason: str) -> None:
        """End every viewer, after what was muxed for it."""
        if self._closed:
            return
        self._close_entry()
        for viewer in list(self._live):
            if viewer.live and viewer.position < self.log.end:
                self._unlist(viewer)
                self._pump(viewer)
        viewers = [*self._live, *self._parked, *self._waiting]
        self.close()
        for viewer in viewers:
            self.counters.bytes_out += viewer.bytes_sent
            self._end(viewer, reason, abort=False)
        self._empty()

    def shed(self, reason: str) -> int:
        """Drop the viewers that are behind (the slowest); gives how many."""
        slow = list(self._parked)
        for viewer in slow:
            self._drop(viewer, reason)
        return len(slow)

    def close(self) -> None:
        """Stop all timers; nothing is sent any more."""
        self._closed = True
        for timer in (self._flush_timer, self._stall_timer, self._slice_timer):
            if timer is not None and timer.active():
                timer.cancel()
        self._flush_timer = self._stall_timer = self._slice_timer = None
        self._walking = False
        self._pending.clear()
        for viewer in self._live:
            viewer.live = False
        self._live.clear()
        self._parked.clear()
        self._waiting.clear()
        self._walk = []

    # Muxing.

    def _select(self, tracks: Tracks) -> Tracks:
        """What of the track table is muxed from here on."""
        chosen = self._choose(tracks)
        self._chosen = None if len(chosen) == len(tracks) else frozenset(track.track_id for track in chosen)
        return chosen

    def _of_chosen(self, frames: Sequence[Frame]) -> Sequence[Frame]:
        chosen = self._chosen
        return frames if chosen is None else [frame for frame in frames if frame.track_id in chosen]

    def _note_sent(self) -> None:
        """Keep how far the segment that ends now got."""
        if self._builder is None:
            return
        newest: dict[bool, Sent] = {}
        newest_by_kind(self._of_chosen(self._builder.frames), self._video, newest)
        if self._resumption is not None and not self._resumption.begun:
            return
        for kind, sent in newest.items():
            held = self._sent.get(kind)
            if held is None or sent > held or sent[0] < held[0] - FAR_BELOW:
                self._sent[kind] = sent

    def _resume(self, resumption: Resumption, frames: Sequence[Frame]) -> Sequence[Frame]:
        later = resumption.later(frames, self._video)
        if resumption.over:
            self._resumption = None
        return later

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
                self.log.mark(self.muxer.join_prefix(), self.muxer.skip_prefix(), frame.dts)
            data = mux(frame)
            self._pending.append(data)
            self._pending_size += len(data)
            if self._pending_size >= MAX_ENTRY:
                self._close_entry()

    def _is_join_point(self, frame: Frame, video: frozenset[int]) -> bool:
        if video:
            return frame.track_id in video
        return not self._has_key or frame.dts - self._last_key >= _AUDIO_KEY_DISTANCE

    def _close_entry(self) -> None:
        if self._pending:
            entry = b"".join(self._pending)
            self._pending.clear()
            self._pending_size = 0
            if entry and not self._closed:
                self.log.append(entry, self._clock.seconds())
                if self._waiting:
                    self._release_waiting()

    def _release_waiting(self) -> None:
        if self.log.newest_key() is not None:
            waiting = list(self._waiting)
            for viewer in waiting:
                if self._waiting.pop(viewer, True) is None:
                    self._start(viewer)

    # Sending.

    def _flush_due(self) -> None:
        """No frame came to do it, or one did: the timer is left alone then, it is too many to cancel."""
        self._flush_timer = None
        if self._pending or self.log.end != self._flushed_end:
            wait = self._flushed_at + LATEST * self.flush_interval - self._clock.seconds()
            if wait > 0:
                self._flush_timer = self._clock.callLater(wait, self._flush_due)
            else:
                self._flush()

    def _flush(self) -> None:
        self._flushed_at = self._clock.seconds()
        self._close_entry()
        self._flushed_end = self.log.end
        if not self._walking and self._live:
            self._begin_walk()
            self._walking = True
            self._slice()

    def _begin_walk(self) -> None:
        """To all live viewers. Each walk begins with others, so that nobody is always served last."""
        walk = list(self._live)
        if len(walk) > SLICE:
            self._turned = (self._turned + _GOLDEN) % 1.0
            first = int(self._turned * len(walk))
            walk = walk[first:] + walk[:first]
        self._walk = walk
        self._walk_at = 0
        self._walk_end = self.log.end

    def _slice(self) -> None:
        """The next viewers of the walk. It goes on, or is over and the next one can begin, whatever fails."""
        self._slice_timer = None
        try:
            self._serve()
        except Exception as error:
            self._faulted("a walk over viewers failed", error)
        if self._closed:
            return
        if self._walk_at < len(self._walk):
            self._slice_timer = self._clock.callLater(0, self._slice)
            return
        if self.log.end == self._walk_end:
            self._walking = False
            self._walk = []
            return
        # Entries came while the walk ran: the viewers of its first slices lack them.
        self._begin_walk()
        self._slice_timer = self._clock.callLater(0, self._slice)

    def _serve(self) -> None:
        """Send the newest entry to the next viewers of the walk; this loop is the hot path."""
        end, entry = self.log.end, self.log.entries[-1]
        size = len(entry)
        newest = end - size
        seconds = self._clock.seconds
        at = self._walk_at
        last = min(at + SLICE, len(self._walk))
        until = seconds() + SLICE_SECONDS
        for begin in range(at, last, _LOOK):
            self._walk_at = stop = min(begin + _LOOK, last)
            for viewer in self._walk[begin:stop]:
                # Its own memory alone is looked at: what is not in the cache costs more than the steps.
                if not viewer.live:
                    continue
                if viewer.position == newest:
                    try:
                        sent = viewer.send(entry)
                    except BlockingIOError:
                        sent = 0
                    except Exception as error:
                        self._broken(viewer, error)
                        continue
                    viewer.position = end
                    if sent != size:
                        self._park(viewer, entry[sent:])
                elif viewer.position < newest:
                    self._unlist(viewer)
                    self._pump(viewer)
            if seconds() >= until:
                return

    def _start(self, viewer: Viewer) -> None:
        """Place C{viewer} at the newest key point and give it that entry through its transport.

        A viewer that is new begins as far before that as the limits say.
        """
        if self._prepush and not viewer.bytes_sent:
            key = self.log.key_before(self._newest - self._prepush)
        else:
            key = self.log.newest_key()
        if key is None:
            self._waiting[viewer] = None
            return
        prefix = key.skip if viewer.bytes_sent else key.join
        entry = self.log.entry(key.entry)
        viewer.place(key.entry + len(entry), len(prefix) + len(entry))
        self._park(viewer, prefix + entry if prefix else entry)

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
            viewer.position += len(entry)
            try:
                sent = send(entry)
            except BlockingIOError:
                sent = 0
            except Exception as error:
                self._broken(viewer, error)
                return
            if sent != len(entry):
                self._park(viewer, entry[sent:])
                return
            if viewer.parked or viewer.gone:
                return
        self._live[viewer] = None
        viewer.live = True

    def _unlist(self, viewer: Viewer) -> None:
        """It is not live any more, if it was."""
        viewer.live = False
        self._live.pop(viewer, None)

    def _park(self, viewer: Viewer, rest: bytes) -> None:
        """Leave C{rest} to the viewer's transport."""
        self._unlist(viewer)
        self._parked[viewer] = None
        self._watch_stalls()
        try:
            viewer.park(rest, self._clock.seconds())
        except Exception as error:
            self._broken(viewer, error)

    def _skip(self, viewer: Viewer, now: float) -> None:
        self.counters.skips += 1
        viewer.skips = (*(at for at in viewer.skips if now - at < SKIP_WINDOW), now)
        if len(viewer.skips) >= MAX_SKIPS:
            self._drop(viewer, "too slow: fell behind again and again")
        else:
            self._start(viewer)

    def _broken(self, viewer: Viewer, error: Exception) -> None:
        if not isinstance(error, OSError):
            self._faulted("a viewer's transport failed", error)
        self._drop(viewer, "the connection broke", counted=False)

    def _drop(self, viewer: Viewer, reason: str, counted: bool = True) -> None:
        self.counters.dropped += counted
        self._forget(viewer)
        self._end(viewer, reason, abort=True)
        self._close_if_empty()

    def _end(self, viewer: Viewer, reason: str, abort: bool) -> None:
        try:
            viewer.end(reason, abort)
        except Exception as error:
            self._faulted("a viewer's protocol failed at the end of its feed", error)

    def _forget(self, viewer: Viewer) -> None:
        self.counters.bytes_out += viewer.bytes_sent
        self._unlist(viewer)
        self._parked.pop(viewer, None)
        self._waiting.pop(viewer, None)

    def _close_if_empty(self) -> None:
        if not self._closed and not len(self):
            self.close()
            self._empty()

    def _watch_stalls(self) -> None:
        if self._stall_timer is None and not self._closed:
            self._stall_timer = self._clock.callLater(1.0, self._check_stalls)

    def _check_stalls(self) -> None:
        self._stall_timer = None
        now = self._clock.seconds()
        try:
            for viewer in [v for v in self._parked if now - v.parked_at > STALL_SECONDS]:
                self._drop(viewer, f"did not take what it was sent for {STALL_SECONDS:.0f} s")
        finally:
            if self._parked:
                self._watch_stalls()
