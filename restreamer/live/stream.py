"""A stream: one name, one window of closed segments, one open segment, whoever follows them.

Whatever feeds it (an ingest that cuts segments, a link that carries them) does so through a
L{StreamWriter}. Beginning a run gives a new writer and makes the one before powerless, so a switch
of inputs can never mix two of them. Frames are handed to the taps as they come, in ingest order.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from attrs import define, evolve, field

from restreamer.errors import LocalProtocolError
from restreamer.live.short_close import closed_short
from restreamer.live.tap import StreamTap
from restreamer.live.told import Told
from restreamer.live.window import UNRELATED, LiveWindow, WindowSegment
from restreamer.m4f.records import RunInfo
from restreamer.m4f.segment import Part, Segment, SegmentBuilder, SegmentOpening
from restreamer.media.frame import Frame
from restreamer.media.timebase import TICKS_PER_SECOND
from restreamer.media.track import TrackKind, Tracks, same_tracks

#: Told (what, error) when a follower raised: logs it; the follower is dropped, the stream goes on.
Faulted = Callable[[str, BaseException], None]


def ignore_fault(what: str, error: BaseException) -> None:
    """Used when nobody wants to hear of faults."""


@define(eq=False)
class Traffic:
    """Counters of one stream.

    @ivar bytes_in: body bytes of frames taken; @ivar frames_in: frames taken.
    @ivar video_in, @ivar audio_in: those of them that are video and audio.
    @ivar segments: segments closed; @ivar runs: runs begun; @ivar refused: segments the window refused.
    """

    bytes_in: int = 0
    frames_in: int = 0
    video_in: int = 0
    audio_in: int = 0
    segments: int = 0
    runs: int = 0
    refused: int = 0


@define(eq=False)
class Stream:
    """One live stream.

    @ivar name: its checked name; @ivar title: for people; @ivar window: closed segments.
    @ivar url_prefix: stands before its segments' URIs in playlists; empty: they are relative.
    @ivar segment_duration: D in ticks, of the current run.
    @ivar open: the segment being filled, or None.
    @ivar run: the current or last run; @ivar opened_at: UTC ticks of the current run's first segment.
    @ivar local: the current run is published or configured here (not pulled from a source).
    @ivar backup: what feeds the stream is its backup.
    @ivar last_dts: of the newest frame. @ivar catching_up: a link brings closed segments, and what is live
        has not come yet: whoever waits to begin with the newest keyframe waits on.
    @ivar lag: ticks between the newest frame of another node's and its arrival here; None before the first.
    @ivar ended: the stream is gone for good.
    """

    name: str
    window: LiveWindow
    title: str = ""
    url_prefix: str = field(default="", kw_only=True)
    segment_duration: int = 5 * TICKS_PER_SECOND
    faulted: Faulted = field(default=ignore_fault, repr=False)
    open: SegmentBuilder | None = field(default=None, init=False)
    run: RunInfo | None = field(default=None, init=False)
    local: bool = field(default=False, init=False)
    backup: bool = field(default=False, init=False)
    traffic: Traffic = field(factory=Traffic, init=False)
    last_dts: int | None = field(default=None, init=False)
    catching_up: bool = field(default=False, init=False)
    lag: int | None = field(default=None, init=False)
    ended: bool = field(default=False, init=False)
    _writer: StreamWriter | None = field(default=None, init=False)
    _taps: list[StreamTap] = field(factory=list, init=False)
    _ending: Callable[[], int] | None = field(default=None, init=False)
    _on_change: Callable[[Stream], None] | None = field(default=None, init=False)
    _running: bool = field(default=False, init=False)
    _shown: int | None = field(default=None, init=False)
    _told: Told = field(factory=Told, init=False)
    _video: frozenset[int] = field(default=frozenset(), init=False)

    @property
    def running(self) -> bool:
        """Whether an input feeds the stream now and has begun a segment."""
        return self._running

    @property
    def fed(self) -> bool:
        """Whether an input may write to the stream now."""
        return self._writer is not None

    @property
    def tracks(self) -> Tracks:
        """The newest track table, empty before the first segment."""
        if self.open is not None:
            return self.open.opening.tracks
        last = self.window.last
        return last.segment.tracks if last is not None else ()

    @property
    def taps(self) -> int:
        """How many follow the stream."""
        return len(self._taps)

    def watch_running(self, changed: Callable[[Stream], None] | None) -> None:
        """Set who is told when L{running} changes (the registry); None: nobody."""
        self._on_change = changed

    def attach(self, tap: StreamTap, first: bool = False) -> None:
        """Let C{tap} follow from the next event on; C{first}: told before the others (links to nodes)."""
        if first:
            self._taps.insert(0, tap)
        else:
            self._taps.append(tap)

    def detach(self, tap: StreamTap) -> None:
        """Stop telling C{tap}. Harmless when it does not follow."""
        if tap in self._taps:
            self._taps.remove(tap)

    def begin_run(
        self, run: RunInfo, segment_duration: int, local: bool, backup: bool = False
    ) -> StreamWriter:
        """Let a new input feed the stream; the writer before it loses its power.

        The writer of a stream that has ended never has any.
        @param segment_duration: D in ticks of the run.
        @param local: the input is this node's own publisher, file or such. @param backup: it is the backup.
        """
        writer = StreamWriter(self)
        if self.ended:
            return writer
        before = self.run
        if before is not None and before.run_id != run.run_id:
            self._end_open(before)
        self._ending = None
        same = before is not None and before.run_id == run.run_id
        told = same and before is not None and (before.path, self.backup) == (run.path, backup)
        self._writer = writer
        self.run = run
        self.local = local
        self.backup = backup
        self.segment_duration = segment_duration
        if not same:
            self.traffic.runs += 1
            self.open = None
            self._told.clear()
            self.catching_up = False
            self._tell(lambda tap: tap.run_began(run))
        if self._running and not told and self._on_change is not None:
            self._on_change(self)
        return writer

    def show_backup(self, backup: bool) -> None:
        """What feeds the stream began or ceased to show its backup: whoever watches the stream is told."""
        if self.backup != backup:
            self.backup = backup
            if self._on_change is not None:
                self._on_change(self)

    def cut_here(self, ending: Callable[[], int]) -> None:
        """The open segment is cut by this node: when another run begins it is closed, not void.

        @param ending: gives the ticks it lasts up to its newest frame. Holds until another writer begins.
        """
        self._ending = ending

    def finish(self, reason: str) -> None:
        """End the stream for good: every tap is told and dropped."""
        if self.ended:
            return
        self.ended = True
        self._writer = None
        self.open = None
        self._set_running(False)
        taps, self._taps = self._taps, []
        for tap in taps:
            self._call(tap, lambda tap: tap.stream_ended(reason))

    def recent(self) -> tuple[Tracks, list[Frame]]:
        """The frames since the newest keyframe, with their track table: what a new viewer starts with.

        Empty when there is no keyframe in the open segment or the newest closed one of the run.
        """
        tail: list[Frame] = []
        tracks = self.tracks
        if self.open is not None:
            tail = self.open.frames
            from_key = _from_newest_key(tail, tracks)
            if from_key is not None:
                return tracks, from_key
        last = self.window.last
        run = self.run
        if (
            last is not None
            and run is not None
            and last.run.run_id == run.run_id
            and same_tracks(last.segment.tracks, tracks)
            and _follows(last, self.open)
        ):
            from_key = _from_newest_key(last.segment.frames() + tail, tracks)
            if from_key is not None:
                return tracks, from_key
        return tracks, []

    def shown_end(self) -> int | None:
        """The highest PTS of the open segment, or of the newest closed one; None when there is none."""
        builder, last = self.open, self.window.last
        if builder is not None and builder.frames:
            return max(frame.dts + frame.cts for frame in builder.frames)
        if last is not None:
            return last.segment.start + max(
                (dts + cts for _, _, dts, cts, _ in last.segment.rows()), default=0
            )
        return None

    def _set_running(self, running: bool) -> None:
        if running != self._running:
            self._running = running
            if self._on_change is not None:
                self._on_change(self)

    def _tell(self, call: Callable[[StreamTap], None]) -> None:
        for tap in tuple(self._taps):
            if tap in self._taps:
                self._call(tap, call)

    def _call(self, tap: StreamTap, call: Callable[[StreamTap], None]) -> None:
        """Tell a tap; one that fails is dropped, and told so, that nobody waits for it in vain."""
        try:
            call(tap)
        except Exception as error:
            followed = tap in self._taps
            self.detach(tap)
            self.faulted(f"stream {self.name}: a follower failed and was dropped", error)
            if followed:
                self._call(tap, lambda tap: tap.stream_ended("internal error"))

    def begin_anew_below(self, number: int) -> None:
        """Forget the window when C{number} is of another grid than what it holds."""
        last = self.window.last_number
        if last is not None and last - number > UNRELATED:
            self.window.clear()

    # Called by the writer that is in power.

    def _cut_by(self, continuation: int) -> None:
        """What is cut from here on is of that continuation of the run."""
        if self.run is not None and self.run.continuation != continuation:
            self.run = evolve(self.run, continuation=continuation)

    def _opened(self, opening: SegmentOpening) -> None:
        self._leave_open()
        self._told.begin(opening)
        self.open = builder = SegmentBuilder(opening)
        self._video = frozenset([t.track_id for t in opening.tracks if t.kind is TrackKind.VIDEO])
        if self.run is not None:
            self.run = self.window.shown(opening, self.run)[2]
        self._tell(lambda tap: tap.segment_opened(builder))

    def _added(self, frames: Sequence[Frame]) -> None:
        builder = self.open
        if builder is None or not frames:
            return
        if not self._told.overlaps:
            self._take(builder, frames)
            self._show(builder, frames)
            return
        for repeated, piece in self._told.split(frames):
            self._take(builder, piece)
            if repeated:
                self._shown = builder.opening.number
                self._tell(partial(_repeat, builder, piece))
            else:
                self._show(builder, piece)

    def _take(self, builder: SegmentBuilder, frames: Sequence[Frame]) -> None:
        builder.extend(frames)
        video = self._video
        pictures = 0
        size = 0
        for frame in frames:
            size += len(frame.data)
            pictures += frame.track_id in video
        traffic = self.traffic
        traffic.frames_in += len(frames)
        traffic.video_in += pictures
        traffic.audio_in += len(frames) - pictures
        traffic.bytes_in += size

    def _show(self, builder: SegmentBuilder, frames: Sequence[Frame]) -> None:
        self.last_dts = frames[-1].dts
        self._shown = builder.opening.number
        self._tell(lambda tap: tap.frames_added(builder, frames))
        # After the taps: whoever begins to follow because the stream runs now takes these frames from the
        # builder and must not be told of them again.
        if not self._running:
            self._set_running(True)

    def _leave_open(self) -> None:
        if self.open is not None:
            self._told.note(self.open)
            self.open = None

    def _closed(self, segment: Segment, run: RunInfo) -> WindowSegment | None:
        self._leave_open()
        self.begin_anew_below(segment.number)
        entry = self.window.add(segment, run, self.segment_duration)
        if entry is None:
            self.traffic.refused += 1
            for aside in self.window.aside:
                if aside.segment is segment:
                    self._tell(partial(_set_aside, aside))
            return None
        self.traffic.segments += 1
        self._tell(lambda tap: tap.segment_closed(entry))
        return entry

    def _follows_shown(self, segment: Segment) -> bool:
        """Whether followers saw the segment before C{segment}, or its beginning.

        A number may be missing where no frame is.
        """
        shown = self._shown
        if shown is None:
            return False
        if shown <= segment.number <= shown + 1:
            return True
        last = self.window.last
        return last is not None and last.number == shown and last.segment.end == segment.start

    def _end_open(self, run: RunInfo) -> None:
        builder, ending = self.open, self._ending
        if builder is not None and builder.frames and ending is not None:
            duration = ending()
            builder.finish_parts(duration)
            try:
                self._closed(builder.close(duration), run)
            except LocalProtocolError as error:
                self.faulted(f"stream {self.name}: a segment was thrown away", error)

    def _run_lost(self, writer: StreamWriter, run: RunInfo, reason: str) -> None:
        if self._writer is writer:
            self._writer = None
            self.catching_up = False
            self._tell(lambda tap: tap.run_ended(run, reason))
            self._set_running(False)


@define(eq=False)
class StreamWriter:
    """The right to feed a stream, until another run begins.

    @ivar stream: the stream it writes to.
    """

    stream: Stream

    @property
    def in_power(self) -> bool:
        """Whether what is written still reaches the stream."""
        return self.stream._writer is self

    def open(self, opening: SegmentOpening, continuation: int | None = None) -> None:
        """Begin a segment; an unclosed one is void (its number may be used again).

        One whose number was closed here already reaches the followers and not the window.
        @param continuation: of the run, from here on (L{RunInfo}); None: as it was.
        """
        if self.in_power:
            self.stream.catching_up = False
            if continuation is not None:
                self.stream._cut_by(continuation)
            self.stream._opened(opening)

    def frames(self, frames: Sequence[Frame]) -> None:
        """Append frames to the open segment."""
        if self.in_power:
            self.stream.catching_up = False
            self.stream._added(frames)

    def close_part(self, part: Part) -> None:
        """End a low-latency part of the open segment; every frame of it has been written."""
        builder = self.stream.open
        if self.in_power and builder is not None:
            builder.close_part(part)
            self.stream._tell(lambda tap: tap.part_closed(builder))

    def close(
        self, duration: int, checksum: int | None = None, continuation: int | None = None
    ) -> Segment | None:
        """End the open segment after C{duration} ticks: the canonical segment, now in the window.

        @param checksum: what the segment's checksum must be (a link carries the ingest's); a segment with
            another one is thrown away.
        @param continuation: who cut it (L{RunInfo}); None: as it was at the opening.
        @return: None when there is no open segment, when this writer has lost its power, when the checksum
            differs, and when M4F cannot carry the segment (it is thrown away then, too).
        """
        stream = self.stream
        if not self.in_power or stream.open is None or stream.run is None:
            return None
        # Whose end of the last part did not come: the checksum says whether this is it.
        stream.open.finish_parts(duration)
        try:
            segment = stream.open.close(duration)
        except LocalProtocolError as error:
            stream.open = None
            stream.faulted(f"stream {stream.name}: a segment was thrown away", error)
            return None
        if checksum is not None and segment.checksum != checksum:
            shorter = closed_short(stream.open, duration, checksum)
            if shorter is None:
                stream.open = None
                return None
            segment = shorter
        if continuation is not None:
            stream._cut_by(continuation)
        stream._closed(segment, stream.run)
        return segment

    def copy(self, segment: Segment, run: RunInfo) -> None:
        """Take a whole closed segment (history at a join, or what an interrupted link missed).

        Followers that saw the segment before it see it as if its frames had come live, and frames of it that
        came before are not repeated. History they saw nothing of only enters the window. So does what is of
        another run than the stream's, and what comes when a later one is open or closed already (L{repair}).
        """
        stream = self.stream
        if not self.in_power:
            return
        stream.begin_anew_below(segment.number)
        last = stream.window.last_number
        held = stream.open
        later = last is None or segment.number > last
        if held is not None and held.frames:
            number = held.opening.number
            if segment.number == number:
                later = stream.run is not None and run.run_id == stream.run.run_id
            else:
                later = later and segment.number > number
        if not later:
            self.repair(segment, run)
            return
        stream.catching_up = True
        if stream._follows_shown(segment):
            if stream.run is not None and run.run_id == stream.run.run_id:
                self._replay(segment)
            else:
                stream._shown = segment.number
        stream._closed(segment, run)

    def repair(self, segment: Segment, run: RunInfo) -> None:
        """Take a whole closed segment that was lost or came damaged, out of its turn.

        It fills its place in the window; the open segment goes on, and viewers of continuous outputs are not
        shown it again.
        """
        stream = self.stream
        if not self.in_power:
            return
        entry = stream.window.fill(segment, run, stream.segment_duration)
        if entry is None:
            stream.traffic.refused += 1
            return
        stream.traffic.segments += 1
        stream._tell(lambda tap: tap.segment_filled(entry))

    def lose(self, reason: str) -> None:
        """The input is gone; what is open stays open, in case the same run resumes."""
        run = self.stream.run
        if run is not None:
            self.stream._run_lost(self, run, reason)

    def _replay(self, segment: Segment) -> None:
        stream = self.stream
        frames = segment.frames()
        held = stream.open
        if held is not None and held.opening.number == segment.number:
            if held.opening.start == segment.start:
                frames = frames[len(held.frames) :]
            else:
                # The same run, cut at another place.
                newest = {frame.track_id: frame.dts for frame in held.frames}
                frames = [frame for frame in frames if frame.dts > newest.get(frame.track_id, frame.dts - 1)]
        else:
            stream._opened(
                SegmentOpening(
                    number=segment.number,
                    start=segment.start,
                    discontinuity=segment.discontinuity,
                    independent=segment.independent,
                    discontinuity_sequence=segment.discontinuity_sequence,
                    tracks=segment.tracks,
                )
            )
        stream._added(frames)


def _repeat(builder: SegmentBuilder, frames: Sequence[Frame], tap: StreamTap) -> None:
    tap.frames_repeated(builder, frames)


def _set_aside(entry: WindowSegment, tap: StreamTap) -> None:
    tap.segment_set_aside(entry)


def _from_newest_key(frames: list[Frame], tracks: Tracks) -> list[Frame] | None:
    """The tail of C{frames} from the newest random access point, or None."""
    video = {track.track_id for track in tracks if track.kind is TrackKind.VIDEO}
    for index in range(len(frames) - 1, -1, -1):
        frame = frames[index]
        if frame.key and (not video or frame.track_id in video):
            return frames[index:] if video else frames[max(0, index - 50) :]
    return None


def _follows(last: WindowSegment, builder: SegmentBuilder | None) -> bool:
    if builder is None:
        return True
    return builder.opening.number == last.number + 1 and not builder.opening.discontinuity
