"""Whether a stream lags behind what another source of it says of itself."""

from __future__ import annotations

from collections.abc import Hashable

from attrs import define, field

from restreamer.live.stream import Stream
from restreamer.m4f.records import Position
from restreamer.media.timebase import TICKS_PER_SECOND

#: How long another source may be ahead before the feeding one counts as lost, seconds. (Heartbeats come every
#: half second: three of them, with room for jitter.)
AHEAD_SECONDS = 1.4
#: Segments by which the feeding source may fall behind real time while another one keeps up, whose run cannot
#: be compared with ours place by place.
SLOW_SEGMENTS = 2


@define
class _Mark:
    """A place the other source had reached at C{at}, and what we had then.

    @ivar began: when it was first seen; @ivar theirs, @ivar ours: the numbers of both then.
    @ivar our_run: our run.
    """

    run_id: int
    place: tuple[int, int]
    at: float
    frames_in: int
    began: float
    theirs: int
    ours: int
    our_run: int


@define
class ProgressMarks:
    """The marks of one stream, one for each source that does not feed it."""

    _marks: dict[Hashable, _Mark] = field(factory=dict)

    def forget(self, source: Hashable) -> None:
        """Drop the mark of C{source}."""
        self._marks.pop(source, None)

    def behind(self, source: Hashable, position: Position, stream: Stream, now: float) -> bool:
        """Take what C{source} says; tells whether C{stream} has been behind it for too long.

        Of the same run: it had reached a place C{AHEAD_SECONDS} ago that we have not reached yet. Of another
        run places cannot be compared: it went on in that time and we took no frame at all, or we fell behind
        real time by L{SLOW_SEGMENTS} segments while it did not.
        """
        run = stream.run
        if run is None:
            self.forget(source)
            return False
        place = (position.number, position.frame_index)
        frames_in = stream.traffic.frames_in
        mark = self._marks.get(source)
        if mark is None or (mark.run_id, mark.our_run) != (position.run_id, run.run_id):
            ours = _place(stream)[0]
            self._marks[source] = _Mark(
                position.run_id, place, now, frames_in, now, position.number, ours, run.run_id
            )
            return False
        if run.run_id == position.run_id:
            reached = _place(stream) >= mark.place
        else:
            if _slow(mark, position.number, stream, now):
                return True
            reached = frames_in != mark.frames_in or place == mark.place
        if reached:
            mark.place = place
            mark.at = now
            mark.frames_in = frames_in
            return False
        return now - mark.at >= AHEAD_SECONDS


def _slow(mark: _Mark, number: int, stream: Stream, now: float) -> bool:
    """Whether we are late since C{mark} began, and the other source, now at C{number}, is not."""
    due = int((now - mark.began) * TICKS_PER_SECOND) // stream.segment_duration
    return due - (_place(stream)[0] - mark.ours) > SLOW_SEGMENTS and due - (number - mark.theirs) <= 1


def _place(stream: Stream) -> tuple[int, int]:
    """The newest segment of the stream and the frames of it that are here."""
    builder = stream.open
    if builder is not None:
        return builder.opening.number, len(builder.frames)
    last = stream.window.last_number
    return (last + 1 if last is not None else 0), 0
