"""Simulated time: a heap of timers, and clocks of nodes that can stand still or die.

L{SimTime} is the time of a whole simulation; it goes from timer to timer, never in steps. L{NodeClock} is the
same time as one node has it: a node that is frozen (a stopped process) runs none of its timers until it goes
on, and then all that became due, in their order; a node that is dead never does. Both are a reactor's
C{IReactorTime}, and what happens depends on nothing but the order of the calls.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable
from typing import Any

from twisted.internet.error import AlreadyCalled, AlreadyCancelled
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from typing_extensions import override
from zope.interface import implementer

#: Cancelled timers the heap may hold before it is cleaned, at least.
_LITTER = 4096


@implementer(IDelayedCall)
class SimCall:
    """A timer. C{order} breaks ties: first come, first served."""

    __slots__ = ("args", "function", "kwargs", "order", "owner", "state", "time")

    def __init__(
        self,
        owner: SimTime | NodeClock,
        time: float,
        order: int,
        function: Callable[..., object],
        args: tuple[object, ...],
        kwargs: dict[str, object],
    ) -> None:
        self.owner = owner
        self.time = time
        self.order = order
        self.function = function
        self.args = args
        self.kwargs = kwargs
        #: 0 waits, 1 called, 2 cancelled.
        self.state = 0

    def getTime(self) -> float:  # noqa: N802
        """When it is due."""
        return self.time

    def active(self) -> bool:
        """Whether it is still to be made."""
        return self.state == 0

    def cancel(self) -> None:
        """Do not make it."""
        self._check()
        self.state = 2
        self.owner.root.litter += 1
        self.function = _nothing
        self.args = ()

    def reset(self, delay: float) -> None:
        """Make it C{delay} seconds from now."""
        self._check()
        self.owner.root.move(self, self.owner.root.now + delay)

    def delay(self, more: float) -> None:
        """Make it C{more} seconds later."""
        self._check()
        self.owner.root.move(self, self.time + more)

    def _check(self) -> None:
        if self.state == 1:
            raise AlreadyCalled()
        if self.state == 2:
            raise AlreadyCancelled()

    @override
    def __repr__(self) -> str:
        name = getattr(self.function, "__qualname__", repr(self.function))
        return f"<SimCall {name} at {self.time:.3f}>"


def _nothing() -> None:
    """What a cancelled timer does."""


@implementer(IReactorTime)
class SimTime:
    """The time of a simulation.

    @ivar now: seconds since it began. @ivar fired: timers that were run so far.
    @ivar failed: told when a timer raises; without it the exception goes through to who advances the time.
    """

    def __init__(self) -> None:
        self.now = 0.0
        self.fired = 0
        self.litter = 0
        self.failed: Callable[[BaseException], None] | None = None
        self.root = self
        self._heap: list[tuple[float, int, SimCall]] = []
        self._order = 0

    def seconds(self) -> float:
        """Seconds since the simulation began."""
        return self.now

    def callLater(  # noqa: N802
        self, delay: float, callable: Callable[..., object], *args: object, **kwargs: object
    ) -> SimCall:
        """Call something after C{delay} seconds."""
        return self.add(self, delay, callable, args, kwargs)

    def getDelayedCalls(self) -> list[SimCall]:  # noqa: N802
        """Every timer that waits, those of nodes included."""
        return [
            call for _, order, call in sorted(self._heap, key=_key) if not call.state and call.order == order
        ]

    def add(
        self,
        owner: SimTime | NodeClock,
        delay: float,
        function: Callable[..., object],
        args: tuple[object, ...],
        kwargs: dict[str, object],
    ) -> SimCall:
        """A timer of C{owner}."""
        assert delay >= 0, delay
        self._order = order = self._order + 1
        time = self.now + delay
        call = SimCall(owner, time, order, function, args, kwargs)
        heapq.heappush(self._heap, (time, order, call))
        return call

    def move(self, call: SimCall, time: float) -> None:
        """Let a waiting timer be due at C{time} instead."""
        self._order = call.order = self._order + 1
        call.time = time
        heapq.heappush(self._heap, (time, call.order, call))

    def run_until(self, end: float) -> None:
        """Run every timer that is due by C{end}, each at its time."""
        heap = self._heap
        if self.litter > _LITTER and self.litter > len(heap) // 2:
            self._clean()
        pop = heapq.heappop
        failed = self.failed
        while heap and heap[0][0] <= end:
            time, order, call = pop(heap)
            if call.state or call.order != order:
                continue
            if time > self.now:
                self.now = time
            owner = call.owner
            if owner is not self and (owner.frozen or owner.dead):  # type: ignore[union-attr]
                self._held_back(call)
                continue
            call.state = 1
            self.fired += 1
            if failed is None:
                call.function(*call.args, **call.kwargs)
                continue
            try:
                call.function(*call.args, **call.kwargs)
            except Exception as error:
                failed(error)
        self.now = max(self.now, end)

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self.run_until(self.now + seconds)

    def pump(self, timings: Iterable[float]) -> None:
        """Let time pass in pieces."""
        for seconds in timings:
            self.advance(seconds)

    def _held_back(self, call: SimCall) -> bool:
        """Whether the timer does not run now: its node stands still, or is dead."""
        owner = call.owner
        if isinstance(owner, SimTime) or not (owner.dead or owner.frozen):
            return False
        if owner.dead:
            call.state = 2
        else:
            owner.held.append(call)
        return True

    def _clean(self) -> None:
        self._heap[:] = [item for item in self._heap if not item[2].state and item[2].order == item[1]]
        heapq.heapify(self._heap)
        self.litter = 0


def _key(item: tuple[float, int, SimCall]) -> tuple[float, int]:
    return item[:2]


@implementer(IReactorTime)
class NodeClock:
    """The time of one node, which may stand still or be over.

    @ivar frozen: no timer of the node runs. @ivar dead: none ever will.
    @ivar held: timers that became due meanwhile.
    """

    def __init__(self, root: SimTime) -> None:
        self.root = root
        self.frozen = False
        self.dead = False
        self.held: list[SimCall] = []

    def seconds(self) -> float:
        """Monotonic seconds: they pass also while the node stands still."""
        return self.root.now

    def callLater(  # noqa: N802
        self, delay: float, callable: Callable[..., Any], *args: object, **kwargs: object
    ) -> SimCall:
        """Call something after C{delay} seconds, if the node is there then."""
        return self.root.add(self, delay, callable, args, kwargs)

    def getDelayedCalls(self) -> list[SimCall]:  # noqa: N802
        """The node's timers that wait."""
        own = [call for call in self.root.getDelayedCalls() if call.owner is self]
        return [call for call in self.held if call.active()] + own

    def freeze(self) -> None:
        """Stand still."""
        self.frozen = True

    def thaw(self) -> None:
        """Go on: what became due is run at once, in order."""
        self.frozen = False
        held, self.held = self.held, []
        for call in held:
            if call.active():
                self.root.move(call, self.root.now)

    def die(self) -> None:
        """No timer of the node runs any more."""
        self.dead = True
        self.held.clear()
