"""Whether a stream lags behind what another source of it says of itself."""

from __future__ import annotations

from collections.abc import Hashable

from attrs import define, field

from restreamer.live.stream import Stream
from restreamer.m4f.records import Position

#: How long another source may be ahead before the feeding one counts as lost, seconds. (Heartbeats come every
#: half second: three of them, with room for jitter.)
AHEAD_SECONDS = 1.4


@define
class _Mark:
    """A place the other source had reached at C{at}, and what we had then."""

    run_id: int
    place: tuple[int, int]
    at: float
    frames_in: int


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
        run places cannot be compared: it went on in that time and we took no frame at all.
        """
        run = stream.run
        if run is None:
            self.forget(source)
            return False
        place = (position.number, position.frame_index)
        frames_in = stream.traffic.frames_in
        mark = self._marks.get(source)
        if mark is None or mark.run_id != position.run_id:
            self._marks[source] = _Mark(position.run_id, place, now, frames_in)
            return False
        if run.run_id == position.run_id:
            reached = _place(stream) >= mark.place
        else:
            reached = frames_in != mark.frames_in or place == mark.place
        if reached:
            mark.place = place
            mark.at = now
            mark.frames_in = frames_in
            return False
        return now - mark.at >= AHEAD_SECONDS


def _place(stream: Stream) -> tuple[int, int]:
    """The newest segment of the stream and the frames of it that are here."""
    builder = stream.open
    if builder is not None:
        return builder.opening.number, len(builder.frames)
    last = stream.window.last_number
    return (last + 1 if last is not None else 0), 0
