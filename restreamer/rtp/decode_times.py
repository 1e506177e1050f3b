"""Decoding times of video whose packets tell presentation times alone.

With at most C{depth} pictures out of order, the presentation times, sorted and moved C{depth} pictures later,
are decoding times: they rise, and none is after its picture's presentation. What encoders write into other
containers is the same series.
"""

from __future__ import annotations

from heapq import heappop, heappush
from typing import Final, Generic, TypeVar

from restreamer.media.timebase import TICKS_PER_SECOND
from restreamer.rtp.reorder_depth import MAX_DEPTH

#: Pictures that are held at the beginning when the configuration does not tell how many are out of order.
LEARN: Final = 12
#: A step of presentation time beyond this is a new beginning.
BREAK: Final = 10 * TICKS_PER_SECOND
#: Length of a picture when nothing tells: 25 a second.
_STEP: Final = TICKS_PER_SECOND // 25

T = TypeVar("T")


class DecodeTimes(Generic[T]):
    """Gives decoding times to the pictures of one track.

    @ivar depth: pictures out of order; None while that is being learnt.
    @ivar step: ticks of a picture, for those before the first one shown.
    """

    def __init__(self) -> None:
        self.depth: int | None = None
        self.step = _STEP
        self._heap: list[int] = []
        self._count = 0
        self._first = 0
        self._last: int | None = None
        self._newest = 0
        self._held: list[tuple[int, T]] = []

    def use(self, depth: int | None, frame_rate: int) -> None:
        """What a configuration tells. @param depth: see L{reorder_depth}; @param frame_rate: per 1000 s."""
        if depth is not None and (self.depth is None or depth > self.depth):
            self.depth = depth
        if frame_rate:
            self.step = max(1, TICKS_PER_SECOND * 1000 // frame_rate)

    def take(self, pts: int, key: bool, picture: T) -> list[tuple[int, int, T]]:
        """A picture in decoding order.

        @return: decoding times, composition offsets and pictures that are known now, in order.
        """
        if self.depth is not None and not self._held:
            return [self._time(pts, self.depth, picture)]
        if self.depth is None:
            again = key and len(self._held) > 1
            if len(self._held) < LEARN and not again:
                self._held.append((pts, picture))
                return []
            self.depth = self._learnt()
        held, self._held = self._held, []
        depth = self.depth
        return [self._time(at, depth, each) for at, each in (*held, (pts, picture))]

    def flush(self) -> list[tuple[int, int, T]]:
        """No more pictures come."""
        held, self._held = self._held, []
        if not held:
            return []
        depth = self.depth = self._learnt(held) if self.depth is None else self.depth
        return [self._time(at, depth, each) for at, each in held]

    def _learnt(self, held: list[tuple[int, T]] | None = None) -> int:
        times = [at for at, _ in held or self._held]
        out = (sum(1 for other in times[:index] if other > at) for index, at in enumerate(times))
        return min(max(out, default=0), MAX_DEPTH)

    def _time(self, pts: int, depth: int, picture: T) -> tuple[int, int, T]:
        if self._count and abs(pts - self._newest) > BREAK:
            self._heap.clear()
            self._count = 0
            self._last = None
        self._newest = pts
        if not self._count:
            self._first = pts
        heap = self._heap
        heappush(heap, pts)
        if self._count < depth and len(heap) <= depth:
            dts = self._first - (depth - self._count) * self.step
        else:
            dts = heappop(heap)
            while len(heap) > depth:
                dts = heappop(heap)
        self._count += 1
        last = self._last
        if last is not None and dts <= last:
            dts = last + 1
            if pts < dts and depth < MAX_DEPTH:
                self.depth = depth + 1
        self._last = dts
        return dts, max(0, pts - dts), picture
