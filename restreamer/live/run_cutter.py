"""From frames in UTC to the segments of a run: the one place where a segment begins and ends.

An ingest cuts what its publisher sends. A node that goes on with the frames of another ingest node (the same
content, mapped onto the running timeline) resumes in the middle of the open segment, by the same rules and
with the same numbers: two nodes that do so at different moments close the same bytes.
"""

from __future__ import annotations

from attrs import define, evolve, field

from restreamer.live.grid import SegmentCutter
from restreamer.live.stream import Stream, StreamWriter
from restreamer.m4f.segment import Part, Segment, SegmentOpening
from restreamer.media.frame import Frame
from restreamer.media.timebase import TICKS_PER_SECOND
from restreamer.media.track import TrackKind, Tracks

#: A segment is ended early, by force, at this size or count, well under what M4F may carry.
MAX_SEGMENT_BYTES = 24 * 1024 * 1024
MAX_SEGMENT_FRAMES = 10_000
#: Other tracks end a part by force when they are so far past its end: its video pauses.
PART_PATIENCE = TICKS_PER_SECOND
#: Bandwidths are rounded up to this, so that they change seldom (bits/s).
BANDWIDTH_STEP = 10_000


@define(eq=False)
class RunCutter:
    """Cuts the frames of one run and writes them to its stream.

    Frames are collected in a batch of the caller's and written before anything else happens to the segment.

    Low-latency parts (RFC 8216bis section 4.4.4.9) end before the frame of the first video track, or of the
    first track where there is no video, that begins nearest to C{part_duration} after the part.

    @ivar stream: the stream; @ivar cutter: the grid. @ivar part_duration: ticks; 0: no parts.
    @ivar writer: the right to write, once there is a run.
    @ivar discontinuity_sequence: of the newest segment; -1 before the first.
    @ivar opened_at: UTC ticks by the clock at which the open segment was opened (the caller's to set).
    @ivar discontinuities: segments opened with the flag so far.
    """

    stream: Stream
    cutter: SegmentCutter
    part_duration: int = 0
    writer: StreamWriter | None = None
    discontinuity_sequence: int = -1
    opened_at: int = 0
    discontinuities: int = 0
    _tracks: Tracks = field(default=(), init=False)
    _video: frozenset[int] = field(default=frozenset(), init=False)
    _steps: dict[int, int] = field(factory=dict, init=False)
    _ends: dict[int, int] = field(factory=dict, init=False)
    _sizes: dict[int, int] = field(factory=dict, init=False)
    _peaks: dict[int, int] = field(factory=dict, init=False)
    _bytes: int = field(default=0, init=False)
    _frames: int = field(default=0, init=False)
    _odd: bool = field(default=False, init=False)
    _lead: int = field(default=0, init=False)
    _part_start: int = field(default=0, init=False)
    _part_first: int = field(default=0, init=False)
    _part_independent: bool = field(default=False, init=False)
    _lacking: list[Part] = field(factory=list, init=False)

    def configure(self, tracks: Tracks) -> None:
        """The tracks of the segments opened from here on."""
        self._tracks = tracks
        self._video = frozenset([track.track_id for track in tracks if track.kind is TrackKind.VIDEO])
        self._lead = min(self._video, default=tracks[0].track_id if tracks else 0)

    def resume(self) -> None:
        """Go on where the stream's run is: in its open segment, or behind the newest closed one of it.

        What the grid must know of the frames before comes from the window. The stream has a run with at least
        one segment, open or closed.

        A segment that the ingest ended early, because its publisher left, and the one behind it are not
        measured: nodes that did not hear of it close other ones there, and the same again after that.
        """
        run = self.stream.run
        assert run is not None
        closed: list[Segment] = []
        for entry in self.stream.window.of_run(run.run_id):
            if closed and closed[-1].number != entry.number + 1:
                break
            closed.append(entry.segment)
            if entry.segment.discontinuity:
                break
        builder = self.stream.open
        newest: Segment | SegmentOpening
        if builder is not None:
            if builder.opening.discontinuity or (closed and closed[0].number != builder.opening.number - 1):
                closed.clear()
            newest = builder.opening
        else:
            newest = closed[0]
        self.configure(newest.tracks)
        self.discontinuity_sequence = newest.discontinuity_sequence
        self._peaks = {track.track_id: track.bandwidth for track in newest.tracks}
        video = self._video
        for segment in reversed(closed):
            self.cutter.resume(segment.number, segment.start)
            self._sizes.clear()
            start = segment.start
            for track_id, flags, dts, _, size in segment.rows():
                self._pass(track_id, start + dts, flags & 1 == 1, size, video)
        self._odd = bool(closed) and self.cutter.was_short(closed[0].end)
        if builder is None:
            if not self._odd:
                self._measure(closed[0].duration)
            self._sizes.clear()
            return
        self.cutter.resume(builder.opening.number, builder.opening.start)
        self._sizes.clear()
        self._bytes = self._frames = 0
        self._part_start = builder.opening.start + sum(part.duration for part in builder.parts)
        self._part_first = sum(part.frame_count for part in builder.parts)
        self._lacking.clear()
        for frame in builder.frames:
            if self.part_duration and self._frames >= self._part_first:
                self._find_part(frame)
            self._pass(frame.track_id, frame.dts, frame.key, len(frame.data), video)

    def end_lacking_parts(self) -> None:
        """End the parts of the open segment whose frames came and whose end did not; there is a writer."""
        assert self.writer is not None
        for part in self._lacking:
            self.writer.close_part(part)
        self._lacking.clear()

    def ends_before(self, frame: Frame) -> bool:
        """Whether the open segment ends before C{frame}: by its time, or because it is full."""
        video = self._video
        of_video = frame.track_id in video
        access = frame.key and (of_video or not video)
        if self.cutter.ends_before(frame.dts, access, bool(video), bool(video) and not of_video):
            return True
        if self._bytes + len(frame.data) <= MAX_SEGMENT_BYTES and self._frames < MAX_SEGMENT_FRAMES:
            return False
        self.force(frame)
        return True

    def force(self, frame: Frame) -> None:
        """Count it when the segment that ends before C{frame} is not followed by an independent one."""
        video = self._video
        if not frame.key or (video and frame.track_id not in video):
            self.cutter.forced += 1

    def take(self, frame: Frame, batch: list[Frame]) -> None:
        """Put C{frame} into the open segment."""
        track_id = frame.track_id
        if self.part_duration and self._part_ends_before(track_id, frame.dts):
            self.flush(batch)
            self._close_part(frame.dts)
        if self._frames == self._part_first:
            self._part_independent = self._is_access(frame)
        batch.append(frame)
        size = len(frame.data)
        self._bytes += size
        self._frames += 1
        step = self._steps.get(track_id, 0)
        last_end = self._ends.get(track_id)
        if last_end is not None:
            newer = frame.dts - (last_end - step)
            if 0 < newer < TICKS_PER_SECOND:
                self._steps[track_id] = step = newer
        self._ends[track_id] = frame.dts + step
        self._sizes[track_id] = self._sizes.get(track_id, 0) + size

    def cut(self, frame: Frame, batch: list[Frame], discontinuity: bool = False) -> Segment | None:
        """End the open segment before C{frame} and open the one that begins with it.

        @return: the segment closed, if there was one.
        """
        self.flush(batch)
        segment = self.close(None if discontinuity else frame.dts)
        self.open(frame, discontinuity)
        return segment

    def open(self, frame: Frame, discontinuity: bool) -> None:
        """Open the segment that begins with C{frame}."""
        assert self.writer is not None
        self._bytes = self._frames = 0
        if discontinuity or self.discontinuity_sequence < 0:
            self.discontinuity_sequence += 1
            self.discontinuities += discontinuity
            self._ends.clear()
        independent = self._is_access(frame)
        self._part_start = frame.dts
        self._part_first = 0
        self._part_independent = independent
        number = self.cutter.open(frame.dts, keyframe=independent and bool(self._video))
        self.writer.open(
            SegmentOpening(
                number=number,
                start=frame.dts,
                discontinuity=discontinuity,
                independent=independent,
                discontinuity_sequence=self.discontinuity_sequence,
                tracks=tuple(
                    evolve(track, bandwidth=max(track.bandwidth, self._peaks.get(track.track_id, 0)))
                    for track in self._tracks
                ),
            )
        )

    def flush(self, batch: list[Frame]) -> None:
        """Write what was collected."""
        if batch and self.writer is not None:
            self.writer.frames(batch[:])
            batch.clear()

    def close(self, boundary: int | None) -> Segment | None:
        """Close the open segment at C{boundary}; None, or a boundary too far off: where its frames end."""
        writer = self.writer
        if writer is None or self.stream.open is None or not writer.in_power:
            return None
        duration = self.lasting()
        if boundary is not None and boundary - self.cutter.start <= self.cutter.longest():
            duration = max(1, boundary - self.cutter.start)
        if self.part_duration:
            self._close_part(self.cutter.start + duration)
        segment = writer.close(duration)
        if segment is not None and not self._odd:
            self._measure(duration)
        self._odd = False
        self._sizes.clear()
        return segment

    def lasting(self) -> int:
        """Ticks the open segment lasts when it ends where its frames end."""
        start = self.cutter.start
        end = max(self._ends.values(), default=start + 1)
        return max(1, min(end - start, self.cutter.longest()))

    def _is_access(self, frame: Frame) -> bool:
        """Whether decoding can begin with C{frame}."""
        return frame.key and (not self._video or frame.track_id in self._video)

    def _part_ends_before(self, track_id: int, dts: int) -> bool:
        lasted = dts - self._part_start
        if track_id != self._lead:
            return lasted >= self.part_duration + PART_PATIENCE
        return lasted > 0 and 2 * lasted + self._steps.get(track_id, 0) > 2 * self.part_duration

    def _find_part(self, frame: Frame) -> None:
        """Note the part that ends before C{frame}, which is in the open segment already."""
        count = self._frames - self._part_first
        if count and self._part_ends_before(frame.track_id, frame.dts):
            lasted = max(1, frame.dts - self._part_start)
            self._lacking.append(Part(self._part_first, count, lasted, self._part_independent))
            self._part_first = self._frames
            self._part_start = frame.dts
        if self._frames == self._part_first:
            self._part_independent = self._is_access(frame)

    def _close_part(self, end: int) -> None:
        """End the open part at C{end}; the frames of it have been written."""
        count = self._frames - self._part_first
        if count and self.writer is not None:
            duration = max(1, end - self._part_start)
            self.writer.close_part(Part(self._part_first, count, duration, self._part_independent))
            self._part_first = self._frames
            self._part_start = end

    def _pass(self, track_id: int, dts: int, key: bool, size: int, video: frozenset[int]) -> None:
        """Learn from a frame that is in its segment already."""
        of_video = track_id in video
        if of_video or not video:
            self.cutter.passed(dts, key and of_video)
        self._bytes += size
        self._frames += 1
        step = self._steps.get(track_id, 0)
        last_end = self._ends.get(track_id)
        if last_end is not None:
            newer = dts - (last_end - step)
            if 0 < newer < TICKS_PER_SECOND:
                self._steps[track_id] = step = newer
        self._ends[track_id] = dts + step
        self._sizes[track_id] = self._sizes.get(track_id, 0) + size

    def _measure(self, duration: int) -> None:
        if duration >= TICKS_PER_SECOND:
            for track_id, size in self._sizes.items():
                rate = size * 8 * TICKS_PER_SECOND // duration
                rounded = -(-rate // BANDWIDTH_STEP) * BANDWIDTH_STEP
                self._peaks[track_id] = max(self._peaks.get(track_id, 0), rounded)
        self._sizes.clear()
