"""Work that costs milliseconds and may be due for hundreds of streams at once, done a little at a time.

When a source with many streams dies and another one has the same content, each stream compares two windows.
All of that in one turn would hold up links and viewers of the whole node; here it is done in the order it was
asked for, for about L{BUDGET} seconds at a time, and everything else has its turn in between.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from attrs import define, field

from restreamer.seams import Clock, Timer

#: Seconds of one turn of the reactor.
BUDGET = 0.010
#: Pieces of work in one turn at most, whatever the clock says.
MOST = 8


@define(eq=False)
class Turn:
    """A piece of work that waits.

    @ivar work: what will be done; None: it was, or is not wanted any more.
    """

    work: Callable[[], None] | None

    def cancel(self) -> None:
        """Do not do it. Idempotent."""
        self.work = None


@define(eq=False)
class Turns:
    """The work of one node that waits for its turn.

    @ivar clock: the reactor's time.
    """

    clock: Clock
    _waiting: deque[Turn] = field(factory=deque, init=False)
    _timer: Timer | None = field(default=None, init=False)
    _closed: bool = field(default=False, init=False)

    def __len__(self) -> int:
        return sum(1 for turn in self._waiting if turn.work is not None)

    def ask(self, work: Callable[[], None]) -> Turn:
        """Let C{work} be done soon. It must not raise."""
        turn = Turn(work)
        if not self._closed:
            self._waiting.append(turn)
            self._go_on()
        return turn

    def close(self) -> None:
        """Nothing of it is done any more."""
        self._closed = True
        self._waiting.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _go_on(self) -> None:
        if self._timer is None and self._waiting and not self._closed:
            self._timer = self.clock.callLater(0, self._some)

    def _some(self) -> None:
        self._timer = None
        waiting = self._waiting
        until = self.clock.seconds() + BUDGET
        done = 0
        try:
            while waiting and done < MOST and (not done or self.clock.seconds() < until):
                turn = waiting.popleft()
                work, turn.work = turn.work, None
                if work is not None:
                    done += 1
                    work()
        finally:
            self._go_on()
