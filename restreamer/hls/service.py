"""Requests that wait for the next part or segment of a stream (RFC 8216bis section 6.2.5.2)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Iterable
from itertools import islice

from attrs import define, field, frozen
from twisted.internet.defer import Deferred
from typing_extensions import override

from restreamer.addresses import is_loopback
from restreamer.errors import Reason, Refused
from restreamer.live.stream import Stream
from restreamer.live.tap import IdleTap
from restreamer.live.window import WindowSegment
from restreamer.m4f.segment import SegmentBuilder
from restreamer.seams import Clock, Timer


@frozen(kw_only=True)
class ReloadLimits:
    """What may wait at once.

    @ivar waiting: requests, over all streams. @ivar per_address: those of one address, which many viewers may
        share; 0: no limit; this machine's own addresses have none (L{is_loopback}).
    @ivar keys: different things that are waited for in one stream: each is looked at whenever a part comes.
    """

    waiting: int = 20_000
    per_address: int = 2_000
    keys: int = 512


#: Requests answered in one turn of the reactor, so that a crowd does not hold up ingest and links.
SLICE = 300


@define(eq=False)
class _Waiter:
    """One request that waits. @ivar answer: called once. @ivar until: monotonic seconds.
    @ivar share: the address that is counted; empty: none is.
    """

    answer: Callable[[], None]
    until: float
    share: str


@define(eq=False)
class _Wait:
    """The requests that wait for one thing, the oldest first. @ivar ready: whether it is there."""

    ready: Callable[[], bool]
    waiters: dict[_Waiter, None] = field(factory=dict)
    timer: Timer | None = None


@define(eq=False)
class _Following(IdleTap):
    """All requests that wait for one stream, by what they wait for."""

    owner: Reloads
    stream: Stream
    waits: dict[Hashable, _Wait] = field(factory=dict)

    @override
    def part_closed(self, builder: SegmentBuilder) -> None:
        """Look again."""
        self.look()

    @override
    def segment_closed(self, entry: WindowSegment) -> None:
        """Look again."""
        self.look()

    @override
    def segment_filled(self, entry: WindowSegment) -> None:
        """Look again."""
        self.look()

    @override
    def stream_ended(self, reason: str) -> None:
        """There is nothing to wait for."""
        for key in list(self.waits):
            self.owner.release(self, key)

    def look(self) -> None:
        """Answer those whose turn has come."""
        for key in [key for key, wait in self.waits.items() if wait.ready()]:
            self.owner.release(self, key)


class Reloads:
    """Holds requests until their stream has come so far.

    @ivar turn: changes with each turn of the reactor in which requests are answered.
    """

    def __init__(self, clock: Clock, limits: ReloadLimits | None = None) -> None:
        self._clock = clock
        self._limits = limits if limits is not None else ReloadLimits()
        self._by_address: Counter[str] = Counter()
        self._following: dict[Stream, _Following] = {}
        self._released: dict[_Waiter, None] = {}
        self._turn: Timer | None = None
        self.turn = 0
        self._count = 0

    def __len__(self) -> int:
        return self._count

    async def until(
        self, stream: Stream, key: Hashable, ready: Callable[[], bool], limit: float, peer: str = ""
    ) -> bool:
        """Wait until C{ready}.

        @return: whether it is ready; otherwise the time was up, or the stream has ended.
        @raise Refused: as L{hold}.
        """
        if ready():
            return True
        if stream.ended:
            return False
        waiter: Deferred[None] = Deferred()
        leave = self.hold(stream, key, ready, limit, peer, lambda: waiter.callback(None))
        try:
            await waiter
        finally:
            leave()
        return ready()

    def hold(
        self,
        stream: Stream,
        key: Hashable,
        ready: Callable[[], bool],
        limit: float,
        peer: str,
        answer: Callable[[], None],
    ) -> Callable[[], None]:
        """Wait until C{ready}, the time is up or the stream has ended; then C{answer} is called, once, and
        never before this returns.

        @param key: says what is waited for: who gives the same key waits for the same.
        @param limit: seconds to wait at most, the same with the same key. @param peer: the address that asks.
        @return: ends the wait. Idempotent.
        @raise Refused: OVERLOADED when too many wait already, in all or from that address.
        """
        limits = self._limits
        if self._count >= limits.waiting:
            raise Refused(Reason.OVERLOADED, "too many requests wait here")
        share = peer if limits.per_address and not is_loopback(peer) else ""
        if share and self._by_address[share] >= limits.per_address:
            raise Refused(Reason.OVERLOADED, "too many requests of this address wait here")
        following = self._following.get(stream)
        if following is not None and key not in following.waits and len(following.waits) >= limits.keys:
            raise Refused(Reason.OVERLOADED, "too many different parts of this stream are waited for")
        waiter = _Waiter(answer, self._clock.seconds() + limit, share)
        self._count += 1
        if share:
            self._by_address[share] += 1
        if stream.ended or ready():
            self._released[waiter] = None
            self._answer_later()
            return lambda: self._leave(None, key, waiter)
        if following is None:
            following = self._following[stream] = _Following(self, stream)
            stream.attach(following)
        wait = following.waits.get(key)
        if wait is None:
            wait = following.waits[key] = _Wait(ready)
            wait.timer = self._clock.callLater(limit, self._late, following, key, wait)
        wait.waiters[waiter] = None
        return lambda: self._leave(following, key, waiter)

    def release(self, following: _Following, key: Hashable) -> None:
        """Answer all that wait for C{key}, in slices."""
        wait = following.waits.get(key)
        if wait is not None:
            waiters, wait.waiters = wait.waiters, {}
            self._tidy(following, key, wait)
            self._let_go(waiters)

    def _let_go(self, waiters: Iterable[_Waiter]) -> None:
        for waiter in waiters:
            self._released[waiter] = None
        if self._turn is None and self._released:
            self._go_on()

    def _answer_later(self) -> None:
        if self._turn is None and self._released:
            self._turn = self._clock.callLater(0, self._go_on)

    def _go_on(self) -> None:
        self._turn = None
        self.turn += 1
        released = self._released
        try:
            for waiter in list(islice(released, SLICE)):
                if released.pop(waiter, True) is None:
                    self._uncount(waiter)
                    waiter.answer()
        finally:
            self._answer_later()

    def _uncount(self, waiter: _Waiter) -> None:
        self._count -= 1
        if waiter.share:
            self._by_address[waiter.share] -= 1
            if not self._by_address[waiter.share]:
                del self._by_address[waiter.share]

    def _leave(self, following: _Following | None, key: Hashable, waiter: _Waiter) -> None:
        """Who waits is gone."""
        if self._released.pop(waiter, True) is None:
            self._uncount(waiter)
            return
        wait = following.waits.get(key) if following is not None else None
        if following is not None and wait is not None and wait.waiters.pop(waiter, True) is None:
            self._uncount(waiter)
            self._tidy(following, key, wait)

    def _late(self, following: _Following, key: Hashable, wait: _Wait) -> None:
        wait.timer = None
        now = self._clock.seconds()
        late = []
        for waiter in wait.waiters:
            if waiter.until > now:
                wait.timer = self._clock.callLater(waiter.until - now, self._late, following, key, wait)
                break
            late.append(waiter)
        for waiter in late:
            del wait.waiters[waiter]
        self._tidy(following, key, wait)
        self._let_go(late)

    def _tidy(self, following: _Following, key: Hashable, wait: _Wait) -> None:
        """Forget what nobody waits for."""
        if not wait.waiters:
            following.waits.pop(key, None)
            if wait.timer is not None and wait.timer.active():
                wait.timer.cancel()
            wait.timer = None
        if not following.waits and self._following.get(following.stream) is following:
            del self._following[following.stream]
            following.stream.detach(following)
