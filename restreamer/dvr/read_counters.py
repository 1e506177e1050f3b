"""What was read of archives, and how fast, by the place it came from."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable
from typing import Final

from attrs import define, field

#: Where segments are read from, nearest first: the words of the counters.
PLACES: Final = ("ram", "cache", "local", "s3", "remote")
#: Read speed is measured over this time, seconds.
SPEED_OVER: Final = 10.0
#: Reads that are so near to each other are one sample, seconds.
_TOGETHER: Final = 0.5


@define(eq=False)
class ReadCounters:
    """Segments and canonical bytes read, by place (L{PLACES}).

    @param seconds: of a monotonic clock.
    """

    _seconds: Callable[[], float] = lambda: 0.0
    segments: Counter[str] = field(factory=Counter, init=False)
    bytes: Counter[str] = field(factory=Counter, init=False)
    #: For each place when something was read in the last seconds, and the bytes; a few samples each.
    _recent: dict[str, deque[tuple[float, int]]] = field(factory=dict, init=False)

    def add(self, place: str, size: int) -> None:
        """A segment was read."""
        self.segments[place] += 1
        self.bytes[place] += size
        now = self._seconds()
        recent = self._recent.setdefault(place, deque())
        if recent and now - recent[-1][0] < _TOGETHER:
            recent[-1] = (recent[-1][0], recent[-1][1] + size)
            return
        recent.append((now, size))
        self._forget(recent, now)

    def speed(self, place: str) -> float:
        """Bytes/s over the last L{SPEED_OVER} seconds."""
        recent = self._recent.get(place)
        if not recent:
            return 0.0
        self._forget(recent, self._seconds())
        return sum([size for _, size in recent]) / SPEED_OVER

    def _forget(self, recent: deque[tuple[float, int]], now: float) -> None:
        while recent and recent[0][0] <= now - SPEED_OVER:
            recent.popleft()
