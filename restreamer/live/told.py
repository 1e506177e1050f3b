"""Which frames of the run the followers of a stream were told of.

Within one run there is one timeline, but a node may have cut it elsewhere than its ingest did: where the
publisher left in the middle of a segment, a node that did not hear of the close goes on filling it with the
same content of another source. When it gets the run's own segments again, what it was told of comes once
more, in the segment behind. It belongs there, and nobody is shown it twice.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

from attrs import define, field

from restreamer.m4f.segment import SegmentBuilder, SegmentOpening
from restreamer.media.frame import Frame
from restreamer.media.timebase import TICKS_PER_SECOND

#: What lies so far behind what was told is not the same again, ticks.
_FAR = 30 * TICKS_PER_SECOND


@define(eq=False)
class Told:
    """How far followers were told, by track; it is looked at once per segment.

    @ivar overlaps: frames of the open segment may have been told already: L{split} them.
    """

    overlaps: bool = field(default=False, init=False)
    _newest: dict[int, int] = field(factory=dict, init=False)
    _marks: dict[int, int] = field(factory=dict, init=False)
    _end: int = field(default=0, init=False)

    def clear(self) -> None:
        """Another run begins."""
        self._newest.clear()
        self.overlaps = False

    def note(self, builder: SegmentBuilder) -> None:
        """A segment is over, whether it is whole or not."""
        newest = self._newest
        left = {track.track_id for track in builder.opening.tracks}
        for frame in reversed(builder.frames):
            if frame.track_id in left:
                left.discard(frame.track_id)
                newest[frame.track_id] = max(frame.dts, newest.get(frame.track_id, frame.dts))
                if not left:
                    break

    def begin(self, opening: SegmentOpening) -> None:
        """A segment begins."""
        ahead = max(self._newest.values(), default=opening.start - 1) - opening.start
        if ahead > _FAR:
            self._newest.clear()
        self.overlaps = 0 <= ahead <= _FAR
        if self.overlaps:
            self._marks = dict(self._newest)
            self._end = opening.start + ahead

    def split(self, frames: Sequence[Frame]) -> list[tuple[bool, list[Frame]]]:
        """C{frames} in pieces, each with whether it was told already."""
        marks = self._marks

        def told(frame: Frame) -> bool:
            return frame.dts <= marks.get(frame.track_id, frame.dts - 1)

        pieces = [(again, list(piece)) for again, piece in groupby(frames, told)]
        if frames[0].dts > self._end:
            self.overlaps = False
        return pieces
