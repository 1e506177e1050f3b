"""When each of very many things is to be looked at: buckets of a second, emptied some at a time."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from typing import Final, Generic, Protocol, TypeVar

from restreamer.logs import Logger
from restreamer.seams import Clock, Timer

_log = Logger()

#: Things looked at in one turn of the reactor, at most, and seconds that may take.
PER_TURN: Final = 250
TURN_SECONDS: Final = 0.004
#: Nothing is left alone for longer, seconds: so there are few buckets.
FARTHEST: Final = 60.0
#: Failures that are logged whole; the others are counted.
_TOLD: Final = 10


class Waking(Protocol):
    """What is looked at. @ivar wake: the bucket it is in, 0: none; nobody else's business."""

    wake: int


T = TypeVar("T", bound=Waking)


class Wheel(Generic[T]):
    """Calls C{look} for each thing when its time has come; it gives the time of the next look.

    @param look: gives monotonic seconds; infinite: never again. If it raises, that is logged and counted, and
        the thing is looked at again later.
    @ivar failures: how often it raised.
    """

    def __init__(self, clock: Clock, look: Callable[[T], float]) -> None:
        self._clock = clock
        self._look = look
        self._buckets: dict[int, list[T]] = {}
        self._due: deque[tuple[int, list[T]]] = deque()
        self._timer: Timer | None = None
        self._stopped = False
        self.failures = 0

    def at(self, thing: T, when: float) -> None:
        """Look at C{thing} at C{when}, up to a second later; sooner if that was arranged before."""
        if self._stopped:
            return
        second = int(min(when, self._clock.seconds() + FARTHEST)) + 1
        if 0 < thing.wake <= second:
            return
        thing.wake = second
        bucket = self._buckets.get(second)
        if bucket is None:
            self._buckets[second] = [thing]
        else:
            bucket.append(thing)
        if self._timer is None:
            self._timer = self._clock.callLater(1.0, self._tick)

    def stop(self) -> None:
        """Look at nothing any more, whatever is still arranged."""
        self._stopped = True
        self._buckets.clear()
        self._due.clear()
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self._timer = None

    def _tick(self) -> None:
        self._timer = None
        try:
            now = self._clock.seconds()
            for second in sorted(each for each in self._buckets if each <= now):
                self._due.append((second, self._buckets.pop(second)))
            self._turn(now)
        finally:
            # What was looked at may have arranged to be looked at again: there is one timer at a time.
            timer = self._timer
            if self._due and not self._stopped:
                if timer is not None:
                    timer.cancel()
                self._timer = self._clock.callLater(0, self._tick)
            elif self._buckets and timer is None:
                self._timer = self._clock.callLater(1.0, self._tick)

    def _turn(self, began: float) -> None:
        left = PER_TURN
        while self._due and left:
            second, things = self._due[0]
            while things and left:
                thing = things.pop()
                if thing.wake != second:
                    continue  # it was arranged anew
                left -= 1
                thing.wake = 0
                self._look_at(thing)
                if left % 16 == 0 and self._clock.seconds() - began > TURN_SECONDS:
                    left = 0
            if not things:
                self._due.popleft()

    def _look_at(self, thing: T) -> None:
        try:
            again = self._look(thing)
        except Exception:
            self.failures += 1
            if self.failures <= _TOLD:
                _log.failure("a look at a session failed")
            again = self._clock.seconds() + FARTHEST
        if not math.isinf(again):
            self.at(thing, again)
