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


#: So many frames of a track back pictures may be reordered.
_REORDERED = 20
#: DTS of the newest frame of a kind, and the highest PTS of it.
Sent = tuple[int, int]


def newest_by_kind(frames: Sequence[Frame], video: frozenset[int], found: dict[bool, Sent]) -> None:
    """Set in C{found} how far the video (C{True}) and what is not video got.

    A kind that C{frames} has nothing of stays as it was.
    """
    seen: dict[bool, Sent] = {}
    counts = {True: 0, False: 0}
    for frame in reversed(frames):
        of_video = frame.track_id in video
        counts[of_video] += 1
        held = seen.get(of_video)
        pts = frame.dts + frame.cts
        seen[of_video] = (frame.dts, pts) if held is None else (held[0], max(held[1], pts))
        if min(counts.values()) >= _REORDERED:
            break
    found.update(seen)


class Resumption:
    """Filters the frames of a run that took over.

    @ivar begun: something went out; @ivar over: everything does from here on.
    @ivar back: the run that comes now is the one that was sent: behind the last frame sent it just goes on.
    @param sent: from L{newest_by_kind}: what the run before got to.
    """

    def __init__(self, sent: Mapping[bool, Sent]) -> None:
        self.over = not sent
        self._sent = dict(sent)
        self._newest = max((dts for dts, _ in sent.values()), default=0)
        self._end = max((pts for _, pts in sent.values()), default=0)
        self.begun = False
        self.back = False
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
        if self.back and not self.begun and last is not None and dts == last[0]:
            if of_video or not video:
                self.begun = True
            return False
        if not self.begun:
            if not frame.key or (video and not of_video):
                return False
            if dts < self._newest - FAR_BELOW:
                self.begun = self.over = True
                return True
            # Later than every track, in decoding and in showing: a picture must not go back before one shown.
            if dts <= self._newest or dts + frame.cts <= self._end:
                return False
            self.begun = True
        if last is not None and dts <= last[0]:
            return False
        self._left.discard(of_video)
        if not self._left or dts > self._end + _SETTLED:
            self.over = True
        return True
