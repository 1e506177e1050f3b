"""Frames that come a segment at a time, given on as they would have come live (pure; time is brought to it).

Each of several playlists has a queue; frames go on in the order of their DTS, each when as much time has
passed as lies between it and the first. A frame that is late moves all that follow; so does one of another
clock.
"""

from __future__ import annotations

from collections import deque
from typing import Final

from attrs import define, field, frozen

from restreamer.media.frame import Frame
from restreamer.media.timebase import TICKS_PER_SECOND
from restreamer.media.track import Tracks

#: Ticks by which frames may be given on early: one turn's worth.
EARLY: Final = TICKS_PER_SECOND // 50
#: A step of the DTS beyond this is another clock.
JUMP: Final = 3 * TICKS_PER_SECOND
#: Seconds that frames which came together last at least: clips whose times all begin alike are no room.
LEAST: Final = 0.5
#: Seconds a queue that is empty is waited for, when another one has frames that are due.
PATIENCE: Final = 2.0


@frozen
class LaneTracks:
    """The tracks of a playlist from here on."""

    lane: int
    tracks: Tracks


Paced = Frame | LaneTracks


@define(eq=False)
class _Batch:
    """Frames that came together. @ivar count: all of them; @ivar left: not given on yet; @ivar seconds: they
    last, at least L{LEAST} whatever their timestamps say.
    """

    count: int
    left: int
    seconds: float


@define(eq=False)
class _Lane:
    """@ivar size: bytes that wait."""

    frames: deque[Frame] = field(factory=deque)
    ended: bool = False
    tables: deque[tuple[Frame, LaneTracks]] = field(factory=deque)
    batches: deque[_Batch] = field(factory=deque)
    size: int = 0

    def add(self, frames: list[Frame]) -> None:
        """Frames came."""
        if frames:
            times = [frame.dts for frame in frames]
            seconds = max(LEAST, (max(times) - min(times)) / TICKS_PER_SECOND)
            self.batches.append(_Batch(len(frames), len(frames), seconds))
            self.frames.extend(frames)
            self.size += sum([len(frame.data) for frame in frames])

    def take(self) -> Frame:
        """Give the first one on."""
        batch = self.batches[0]
        batch.left -= 1
        if not batch.left:
            self.batches.popleft()
        frame = self.frames.popleft()
        self.size -= len(frame.data)
        return frame


@define(eq=False)
class Pace:
    """@ivar lanes: one for each playlist."""

    count: int
    _begun: bool = field(default=False, init=False)
    _lanes: list[_Lane] = field(init=False)
    _offset: float | None = field(default=None, init=False)
    _last: int | None = field(default=None, init=False)
    _stuck_since: float | None = field(default=None, init=False)

    def __attrs_post_init__(self) -> None:
        self._lanes = [_Lane() for _ in range(self.count)]

    def add(self, lane: int, frames: list[Frame], tracks: Tracks | None = None) -> None:
        """Frames of a playlist came. @param tracks: that hold from the first of them on, if they are new."""
        queue = self._lanes[lane]
        if frames and tracks is not None:
            queue.tables.append((frames[0], LaneTracks(lane, tracks)))
        queue.add(frames)

    def end(self, lane: int) -> None:
        """Nothing more will come of that playlist."""
        self._lanes[lane].ended = True

    def may_begin(self, target: float) -> bool:
        """Whether enough waits to begin with: a target duration and a half. Once begun, always."""
        if not self._begun:
            lanes = range(len(self._lanes))
            self._begun = all(self._lanes[n].ended or self.buffered(n) >= 1.5 * target for n in lanes)
        return self._begun

    def begin(self) -> None:
        """Begin with what there is."""
        self._begun = True

    @property
    def empty(self) -> bool:
        """Whether all was given on."""
        return not any(lane.frames for lane in self._lanes)

    def buffered(self, lane: int) -> float:
        """Seconds of media that wait in one queue: what came together counts for itself, so that times which
        begin anew with each piece take no more room than others.
        """
        return sum(batch.seconds * batch.left / batch.count for batch in self._lanes[lane].batches)

    def size(self, lane: int) -> int:
        """Bytes that wait in one queue."""
        return self._lanes[lane].size

    def due(self, now: float) -> list[Paced]:
        """What is to be given on at C{now} seconds."""
        found: list[Paced] = []
        while True:
            lane = self._next(now)
            if lane is None:
                return found
            frame = lane.frames[0]
            ticks = now * TICKS_PER_SECOND
            last = self._last
            if self._offset is None or last is None or abs(frame.dts - last) > JUMP:
                self._offset = ticks - frame.dts
            at = frame.dts + self._offset
            if at > ticks + EARLY:
                return found
            if ticks - at > TICKS_PER_SECOND // 2:
                # It is late, and so is all that follows.
                self._offset = ticks - frame.dts
            self._last = frame.dts
            if lane.tables and lane.tables[0][0] is frame:
                found.append(lane.tables.popleft()[1])
            found.append(lane.take())

    def _next(self, now: float) -> _Lane | None:
        """The queue with the earliest frame, if every other one has frames too or was waited for."""
        full = [lane for lane in self._lanes if lane.frames]
        if not full:
            self._stuck_since = None
            return None
        if any(not lane.frames and not lane.ended for lane in self._lanes):
            if self._stuck_since is None:
                self._stuck_since = now
            if now - self._stuck_since < PATIENCE:
                return None
        else:
            self._stuck_since = None
        return min(full, key=lambda lane: lane.frames[0].dts)
