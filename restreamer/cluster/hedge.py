"""Asking several sources for one thing, when any of them may stand still without saying so.

A link that is cut is seen at once; a node that hangs is not. So who does not answer within L{PATIENCE} is
not waited for alone: the next one is asked too, and the first good answer is taken. Who was too slow is asked
last for a while.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Generic, TypeVar

from attrs import define, field
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from restreamer.seams import Clock, Timer

S = TypeVar("S")
V = TypeVar("V")

#: Seconds for which one source alone is waited for.
PATIENCE = 1.5
#: Seconds for which a source that was too slow is asked after the others.
SLOW_SECONDS = 30.0


@define(eq=False)
class Slowness:
    """Which sources did not answer in time lately."""

    _clock: Clock
    _until: dict[str, float] = field(factory=dict)

    def late(self, address: str) -> None:
        """This one did not answer in time."""
        self._until[address] = self._clock.seconds() + SLOW_SECONDS

    def answered(self, address: str, asked: float) -> None:
        """This one did, asked at C{asked}; too late is not in time."""
        if self._clock.seconds() - asked < PATIENCE:
            self._until.pop(address, None)

    def is_slow(self, address: str) -> bool:
        """Whether it is asked after the others."""
        until = self._until.get(address)
        if until is None:
            return False
        if self._clock.seconds() >= until:
            del self._until[address]
            return False
        return True


class FirstGood(Generic[S, V]):
    """Asks one after the other until one gives what is wanted.

    @param ask: asks one; None: it is of no use (which C{ask} remembers), and raises nothing.
    @param late: told of one that did not answer in time, whatever came of it after.
    """

    def __init__(
        self,
        clock: Clock,
        sources: Sequence[S],
        ask: Callable[[S], Awaitable[V | None]],
        late: Callable[[S], None],
    ) -> None:
        self._clock = clock
        self._left = list(sources)
        self._ask = ask
        self._late = late
        self._asked: dict[Deferred[V | None], Timer] = {}
        self._outcome: Deferred[V | None] = Deferred()

    async def run(self) -> V | None:
        """The first good answer; None when all were asked and none is."""
        self._next()
        return await self._outcome

    def _next(self) -> None:
        if self._outcome.called:
            return
        if not self._left:
            if not self._asked:
                self._outcome.callback(None)
            return
        source = self._left.pop(0)
        work: Deferred[V | None] = Deferred.fromCoroutine(_awaited(self._ask, source))
        self._asked[work] = self._clock.callLater(PATIENCE, self._waited, source)
        _ = work.addBoth(self._done, work)

    def _waited(self, source: S) -> None:
        self._late(source)
        self._next()

    def _done(self, answer: V | Failure | None, work: Deferred[V | None]) -> None:
        timer = self._asked.pop(work)
        if timer.active():
            timer.cancel()
        if self._outcome.called:
            return
        if isinstance(answer, Failure):
            self._outcome.errback(answer)
        elif answer is not None:
            self._outcome.callback(answer)
        else:
            self._next()


class Everybody(Generic[S]):
    """Asks all at once, and waits no longer for one than the others make it worth.

    @param ask: asks one, keeps what it says, and raises nothing; gives whether that was an answer.
    @param late: told of one that did not answer in time. @param slow: who is not waited for when there is
        something without it.
    @param hurry: there is something already.
    """

    def __init__(
        self,
        clock: Clock,
        ask: Callable[[S], Awaitable[bool]],
        late: Callable[[S], None],
        slow: Callable[[S], bool],
        hurry: bool,
    ) -> None:
        self._clock = clock
        self._ask = ask
        self._late = late
        self._slow = slow
        self._good = hurry
        self._waiting: dict[Deferred[bool], bool] = {}
        self._begun = self._over = False
        self._outcome: Deferred[None] = Deferred()

    async def run(self, sources: Iterable[S]) -> bool:
        """@return: whether all have answered, or failed to: False when some are not waited for any more."""
        unanswered: dict[S, None] = dict.fromkeys(sources)
        for source in list(unanswered):
            slow = self._slow(source)
            work: Deferred[bool] = Deferred.fromCoroutine(_awaited(self._ask, source))
            self._waiting[work] = slow
            _ = work.addBoth(self._done, work, source, unanswered)
        self._begun = True
        timer = self._clock.callLater(PATIENCE, self._waited, unanswered)
        self._look()
        try:
            await self._outcome
        finally:
            if timer.active():
                timer.cancel()
        return not unanswered

    def _waited(self, unanswered: dict[S, None]) -> None:
        for source in unanswered:
            self._late(source)
        self._over = True
        self._look()

    def _done(self, good: bool | Failure, work: Deferred[bool], source: S, unanswered: dict[S, None]) -> None:
        # Callbacks of one that answers at once come before the others are asked.
        self._waiting.pop(work, None)
        unanswered.pop(source, None)
        if isinstance(good, Failure):
            if not self._outcome.called:
                self._outcome.errback(good)
            return
        self._good = self._good or good
        self._look()

    def _look(self) -> None:
        if self._outcome.called or not self._begun:
            return
        enough = self._good and (self._over or all(self._waiting.values()))
        if not self._waiting or enough:
            self._outcome.callback(None)


async def _awaited(ask: Callable[[S], Awaitable[V]], source: S) -> V:
    return await ask(source)
