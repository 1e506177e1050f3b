"""What a continuous output leaves out after another run took over: nobody is shown the same moment twice.

The new run's segment is taken whole, with the seconds that were shown already; they are for playlists and for
nodes further down. A continuous output goes on with the first keyframe that is later than what it sent.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from restreamer.media.frame import Frame
from restreamer.media.timebase import TICKS_PER_SECOND

#: A run whose time is so far below what was sent is another clock: it begins at once.
FAR_BELOW = 30 * TICKS_PER_SECOND
#: When so much more than was sent before has been sent, nothing of it can come any more.
_SETTLED = 10 * TICKS_PER_SECOND


def newest_by_kind(frames: Sequence[Frame], video: frozenset[int], found: dict[bool, int]) -> None:
    """Set in C{found} the DTS of the newest video frame (C{True}) and of the newest other one.

    A kind that C{frames} has nothing of stays as it was.
    """
    seen: set[bool] = set()
    for frame in reversed(frames):
        of_video = frame.track_id in video
        if of_video not in seen:
            seen.add(of_video)
            found[of_video] = frame.dts
            if len(seen) == 2:
                return


class Resumption:
    """Filters the frames of a run that took over.

    @ivar begun: something went out; @ivar over: everything does from here on.
    @param sent: from L{newest_by_kind}: what the run before got to.
    """

    def __init__(self, sent: Mapping[bool, int]) -> None:
        self.over = not sent
        self._sent = dict(sent)
        self._end = max(sent.values(), default=0)
        self.begun = False
        self._left = set(sent)

    def later(self, frames: Iterable[Frame], video: frozenset[int]) -> list[Frame]:
        """Those of C{frames} that go out."""
        kept: list[Frame] = []
        for frame in frames:
            if self.over or self._goes_out(frame, video):
                kept.append(frame)
        return kept

    def _goes_out(self, frame: Frame, video: frozenset[int]) -> bool:
        of_video = frame.track_id in video
        dts = frame.dts
        last = self._sent.get(of_video)
        if not self.begun:
            if not frame.key or (video and not of_video):
                return False
            before = self._end if last is None else last
            if dts < before - FAR_BELOW:
                self.begun = self.over = True
                return True
            if dts <= before:
                return False
            self.begun = True
        if last is not None and dts <= last:
            return False
        self._left.discard(of_video)
        if not self._left or dts > self._end + _SETTLED:
            self.over = True
        return True
