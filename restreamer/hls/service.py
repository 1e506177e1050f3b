"""Requests that wait for the next part or segment of a stream (RFC 8216bis section 6.2.5.2)."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Hashable

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
SLICE = 200


@define(eq=False)
class _Following(IdleTap):
    """All requests that wait for one stream, by what they wait for."""

    owner: Reloads
    stream: Stream
    waits: dict[Hashable, tuple[Callable[[], bool], list[Deferred[None]]]] = field(factory=dict)

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
            self.owner.release(self.waits.pop(key)[1])

    def look(self) -> None:
        """Answer those whose turn has come."""
        for key in [key for key, (ready, _) in self.waits.items() if ready()]:
            self.owner.release(self.waits.pop(key)[1])


class Reloads:
    """Holds requests until their stream has come so far."""

    def __init__(self, clock: Clock, limits: ReloadLimits | None = None) -> None:
        self._clock = clock
        self._limits = limits if limits is not None else ReloadLimits()
        self._by_address: Counter[str] = Counter()
        self._following: dict[Stream, _Following] = {}
        self._released: deque[Deferred[None]] = deque()
        self._turn: Timer | None = None
        self._count = 0

    def __len__(self) -> int:
        return self._count

    async def until(
        self, stream: Stream, key: Hashable, ready: Callable[[], bool], limit: float, peer: str = ""
    ) -> bool:
        """Wait until C{ready}.

        @param key: says what is waited for: who gives the same key waits for the same.
        @param limit: seconds to wait at most. @param peer: the address that asks.
        @return: whether it is ready; otherwise the time was up, or the stream has ended.
        @raise Refused: OVERLOADED when too many wait already, in all or from that address.
        """
        if ready():
            return True
        if stream.ended:
            return False
        limits = self._limits
        if self._count >= limits.waiting:
            raise Refused(Reason.OVERLOADED, "too many requests wait here")
        shares = limits.per_address and not is_loopback(peer)
        if shares and self._by_address[peer] >= limits.per_address:
            raise Refused(Reason.OVERLOADED, "too many requests of this address wait here")
        following = self._following.get(stream)
        if following is not None and key not in following.waits and len(following.waits) >= limits.keys:
            raise Refused(Reason.OVERLOADED, "too many different parts of this stream are waited for")
        if following is None:
            following = self._following[stream] = _Following(self, stream)
            stream.attach(following)
        waiter: Deferred[None] = Deferred()
        following.waits.setdefault(key, (ready, []))[1].append(waiter)
        timer = self._clock.callLater(limit, self._late, following, key, waiter)
        self._count += 1
        if shares:
            self._by_address[peer] += 1
        try:
            await waiter
        finally:
            self._count -= 1
            if shares:
                self._leave(peer)
            if timer.active():
                timer.cancel()
            self._forget(following, key, waiter)
        return ready()

    def release(self, waiters: list[Deferred[None]]) -> None:
        """Let them go on, in slices."""
        self._released.extend(waiters)
        if self._turn is None and self._released:
            self._go_on()

    def _go_on(self) -> None:
        self._turn = None
        for _ in range(min(SLICE, len(self._released))):
            waiter = self._released.popleft()
            if not waiter.called:
                waiter.callback(None)
        if self._released and self._turn is None:
            self._turn = self._clock.callLater(0, self._go_on)

    def _leave(self, peer: str) -> None:
        self._by_address[peer] -= 1
        if not self._by_address[peer]:
            del self._by_address[peer]

    def _late(self, following: _Following, key: Hashable, waiter: Deferred[None]) -> None:
        self._forget(following, key, waiter)
        if not waiter.called:
            waiter.callback(None)

    def _forget(self, following: _Following, key: Hashable, waiter: Deferred[None]) -> None:
        wait = following.waits.get(key)
        if wait is not None and waiter in wait[1]:
            wait[1].remove(waiter)
            if not wait[1]:
                del following.waits[key]
        if not following.waits and self._following.get(following.stream) is following:
            del self._following[following.stream]
            following.stream.detach(following)
