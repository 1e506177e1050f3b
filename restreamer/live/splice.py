"""Going on with the same content from another ingest node: its frames, mapped onto the running timeline.

The run stays what it was, and so do its segments: they are cut here by the rule of the ingest
(L{restreamer.live.run_cutter}), beginning in the middle of the open one. Frames that were shown already are
passed over, so that none is lost and none comes twice.
"""

from __future__ import annotations

from collections.abc import Sequence

from attrs import define, evolve, field

from restreamer.live.continuation import continuation_of
from restreamer.live.fingerprint import Match
from restreamer.live.grid import SegmentCutter
from restreamer.live.run_cutter import RunCutter
from restreamer.live.stream import Stream, StreamWriter
from restreamer.media.frame import Frame
from restreamer.media.timebase import TICKS_PER_SECOND

#: By how much the tracks of a stream may be interleaved, ticks.
_LOOSE = TICKS_PER_SECOND


def running_frames(stream: Stream, least: int | None = None) -> list[Frame]:
    """What the stream holds of its run up to now, without a hole or a break: to recognise content by.

    @param least: ticks that are enough: the newest segments that last so long together; None: all.
    """
    run = stream.run
    if run is None:
        return []
    pieces: list[list[Frame]] = []
    number: int | None = None
    broken = False
    end: int | None = None
    if stream.open is not None:
        pieces.append(stream.open.frames)
        number = stream.open.opening.number
        broken = stream.open.opening.discontinuity
        if stream.open.frames:
            end = stream.open.frames[-1].dts
            if least is not None and end - stream.open.opening.start >= least:
                return list(stream.open.frames)
    for entry in stream.window.of_run(run.run_id):
        if broken or number not in (None, entry.number + 1):
            break
        pieces.append(entry.segment.frames())
        number = entry.number
        broken = entry.segment.discontinuity
        end = entry.segment.end if end is None else end
        if least is not None and end - entry.start >= least:
            break
    return [frame for piece in reversed(pieces) for frame in piece]


def shown_until(stream: Stream) -> dict[int, int]:
    """DTS of the newest frame of each track of the run, by track id."""
    found: dict[int, int] = {}
    ids = {track.track_id for track in stream.tracks}
    if stream.open is not None:
        for frame in reversed(stream.open.frames):
            found.setdefault(frame.track_id, frame.dts)
            if len(found) == len(ids):
                return found
    run = stream.run
    for entry in stream.window.of_run(run.run_id) if run is not None else ():
        start = entry.segment.start
        newest: dict[int, int] = {}
        for track_id, _, dts, _, _ in entry.segment.rows():
            newest[track_id] = start + dts
        for track_id, dts in newest.items():
            found.setdefault(track_id, dts)
        if len(found) >= len(ids):
            break
    return found


@define(eq=False)
class Splice:
    """The frames of another ingest node on the running timeline of a stream.

    @ivar stream: the stream, with a run. @ivar match: the distance of the two timelines.
    @ivar tracks: their track ids to ours. @ivar of: id of the run the frames are of.
    """

    stream: Stream
    match: Match
    tracks: dict[int, int]
    of: int = 0
    _cutter: RunCutter | None = field(default=None, init=False)
    _last: dict[int, int] = field(factory=dict, init=False)
    _begun: dict[int, int] = field(factory=dict, init=False)

    @property
    def writer(self) -> StreamWriter | None:
        """The right to write, once L{begin} was called."""
        return self._cutter.writer if self._cutter is not None else None

    def mapped(self, frames: Sequence[Frame]) -> list[Frame]:
        """Those of C{frames} that were not shown yet, as ours."""
        last = dict(self._last) if self._cutter is not None else shown_until(self.stream)
        offset = self.match.offset
        spread = self.match.spread
        tracks = self.tracks
        fresh: list[Frame] = []
        for frame in frames:
            track_id = tracks.get(frame.track_id)
            if track_id is None:
                continue
            dts = frame.dts + offset
            shown = last.get(track_id)
            if shown is not None and dts <= shown + spread:
                continue
            last[track_id] = dts
            fresh.append(Frame(track_id, dts, frame.cts, frame.key, frame.data))
        return fresh

    def begin(self, path: tuple[bytes, ...]) -> StreamWriter:
        """Take the stream's writer; the run goes on, as a continuation that this node cuts.

        @param path: ids of the nodes the frames pass from now on, ingest first, this node last.
        """
        stream = self.stream
        run = stream.run
        assert run is not None
        self._last = shown_until(stream)
        self._begun = dict(self._last)
        grid = stream.segment_duration
        cutter = RunCutter(stream, SegmentCutter(grid, stream.window.last_number), run.part_duration)
        cutter.resume()
        continuation = continuation_of(
            path[-1], run.run_id, run.continuation, self.of, self.match.offset, stream.last_dts or 0
        )
        run = evolve(run, path=path, continuation=continuation)
        cutter.writer = writer = stream.begin_run(run, grid, local=False)
        cutter.end_lacking_parts()
        stream.cut_here(cutter.lasting)
        self._cutter = cutter
        return writer

    def mend(self, frames: Sequence[Frame]) -> bool:
        """Put right what is in the open segment.

        @param frames: of theirs, as they should have come.
        @return: whether it is right now: what was written of them has the times that these have. (Frames of
            the segment before may be a little later than the first of these.) What is in a closed segment
            stays as it is.
        """
        builder = self.stream.open
        if builder is None or not frames:
            return True
        offset = self.match.offset
        tracks = self.tracks
        right = {
            (tracks[frame.track_id], frame.dts + offset): frame
            for frame in frames
            if frame.track_id in tracks
        }
        begin = min((dts for _, dts in right), default=0) + _LOOSE
        for place, held in enumerate(builder.frames):
            frame = right.get((held.track_id, held.dts))
            if frame is not None:
                builder.frames[place] = Frame(held.track_id, held.dts, frame.cts, frame.key, frame.data)
                builder.size += len(frame.data) - len(held.data)
            elif held.dts > max(begin, self._begun.get(held.track_id, begin)):
                return False
        return True

    def push(self, fresh: Sequence[Frame]) -> None:
        """Write frames that L{mapped} gave."""
        cutter = self._cutter
        assert cutter is not None
        batch: list[Frame] = []
        for frame in fresh:
            if cutter.ends_before(frame) or self.stream.open is None:
                cutter.cut(frame, batch)
            cutter.take(frame, batch)
            self._last[frame.track_id] = frame.dts
        cutter.flush(batch)
