"""Waiting, bounded, until a stream can be played; and remembering for a moment what cannot be.

A name that nothing could feed is refused at once, from what the node knows, and leaves no trace. A name that
should be fed and is not (its source refused the pull, its input did not start in time) is refused at once for
L{REFUSED_SECONDS}, so that a crowd that asks for it costs one attempt in that time; news of the name, its
stream, its supply or its owner, end that earlier.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from attrs import define, field
from twisted.internet.defer import Deferred
from typing_extensions import override

from restreamer.errors import Reason, Refused
from restreamer.live.protocols import allowed
from restreamer.live.registry import LiveEntry, StreamRegistry
from restreamer.live.stream import Stream
from restreamer.live.tap import IdleTap
from restreamer.live.window import WindowSegment
from restreamer.m4f.segment import SegmentBuilder
from restreamer.media.frame import Frame
from restreamer.seams import Clock, Timer

#: Requests that may wait at once, over all streams.
MAX_WAITING = 10_000
#: Streams that may be waited for at once, that is, be starting.
MAX_STARTING = 100
#: How long a name that could not be started is refused without another attempt, seconds.
REFUSED_SECONDS = 5.0
#: Names that are remembered as refused at once; beyond that the oldest is forgotten.
MAX_REFUSED = 10_000

#: Whether a stream can be played. One function for one kind of request: those who share it wait together.
Ready = Callable[[Stream], bool]


@define(eq=False)
class _Wait(IdleTap):
    """All requests that wait for one stream in one way: a single tap, however many they are.

    @ivar stream: what it follows, once there is a stream. @ivar waiters: one Deferred per request.
    """

    ready: Ready
    stream: Stream | None = None
    waiters: dict[Deferred[None], Timer] = field(factory=dict)

    @override
    def segment_opened(self, builder: SegmentBuilder) -> None:
        """Look again."""
        self.look()

    @override
    def frames_added(self, builder: SegmentBuilder, frames: Sequence[Frame]) -> None:
        """Look again."""
        self.look()

    @override
    def segment_closed(self, entry: WindowSegment) -> None:
        """Look again."""
        self.look()

    @override
    def stream_ended(self, reason: str) -> None:
        """There is nothing to wait for any more."""
        self.settle(Refused(Reason.NOT_FOUND, "the stream has ended"))

    def follow(self, stream: Stream) -> None:
        """Wait for C{stream} from here on."""
        if self.stream is not stream:
            self.leave()
            self.stream = stream
            stream.attach(self)

    def leave(self) -> None:
        """Follow nothing."""
        if self.stream is not None:
            self.stream.detach(self)
            self.stream = None

    def look(self) -> None:
        """Settle when the stream is ready."""
        if self.stream is not None and self.ready(self.stream):
            self.settle(None)

    def settle(self, refusal: Refused | None) -> None:
        """Answer everybody."""
        self.leave()
        for waiter in list(self.waiters):
            self.answer(waiter, refusal)

    def answer(self, waiter: Deferred[None], refusal: Refused | None) -> None:
        """Answer one request, once."""
        timer = self.waiters.pop(waiter, None)
        if timer is not None and timer.active():
            timer.cancel()
        if timer is None or waiter.called:
            return
        if refusal is None:
            waiter.callback(None)
        else:
            waiter.errback(refusal)


class WaitingRoom:
    """Holds requests for streams that are starting: each is answered as soon as the stream can play.

    @param limit: seconds a request may wait.
    """

    def __init__(self, registry: StreamRegistry, clock: Clock, limit: float = 10.0) -> None:
        self._registry = registry
        self._clock = clock
        self._limit = limit
        self._waits: dict[str, dict[Ready, _Wait]] = {}
        self._count = 0
        self._refused: dict[str, tuple[Refused, float]] = {}
        registry.listen(self)
        registry.watch_refusals(self.refuse)

    def __len__(self) -> int:
        return self._count

    def knows(self, name: str) -> bool:
        """Whether there is a stream C{name}, or something that could feed one."""
        return self._registry.find(name) is not None or self._registry.expected(name)

    async def entry(self, name: str, ready: Ready, proto: str = "") -> LiveEntry:
        """The stream C{name} once it is C{ready}.

        @param ready: one function for all requests of a kind.
        @param proto: the protocol that asks; empty: one that is never excluded.
        @raise Refused: NOT_FOUND when nothing could ever feed the name, DENIED when it is not played by
            C{proto}, NOT_READY after the wait, OVERLOADED when too many wait already; what L{refuse} was told
            for a while after that.
        """
        registry = self._registry
        self._check(name, proto)
        entry = registry.find(name)
        if entry is None or not ready(entry.stream):
            if not registry.expected(name):
                raise Refused(Reason.NOT_FOUND, "no such stream")
            self._remembered(name)
            self._room_for(name)
        registry.want(name)
        entry = registry.find(name)
        if entry is not None and ready(entry.stream):
            return entry
        self._remembered(name)
        await self._wait(name, ready)
        entry = registry.find(name)
        if entry is None:
            raise Refused(Reason.NOT_FOUND, "the stream has ended")
        self._check(name, proto)
        return entry

    def refuse(self, name: str, why: str) -> None:
        """C{name} cannot be had now: answer those who wait for it, and for a while those who come.

        @param why: for the log of whoever knows it; viewers are not told, it may hold addresses.
        """
        entry = self._registry.find(name)
        if entry is None or not entry.stream.running:
            refusal = Refused(Reason.NOT_READY, "the stream cannot be had from its source now")
            self._remember(name, refusal)
            for wait in tuple(self._waits.get(name, {}).values()):
                wait.settle(refusal)

    def _check(self, name: str, proto: str) -> None:
        if proto and not allowed(self._registry.protocols(name), proto):
            raise Refused(Reason.DENIED, "this stream is not played by this protocol here")

    def _remember(self, name: str, refusal: Refused) -> None:
        refused = self._refused
        refused.pop(name, None)
        while len(refused) >= MAX_REFUSED:
            del refused[next(iter(refused))]
        refused[name] = (refusal, self._clock.seconds() + REFUSED_SECONDS)

    def _remembered(self, name: str) -> None:
        """Refuse C{name} if it was refused a moment ago."""
        held = self._refused.get(name)
        if held is None:
            return
        refusal, until = held
        if self._clock.seconds() < until:
            raise Refused(refusal.reason, refusal.text)
        del self._refused[name]

    def _room_for(self, name: str) -> None:
        if self._count >= MAX_WAITING:
            raise Refused(Reason.OVERLOADED, "too many requests wait for streams to start")
        if name not in self._waits and len(self._waits) >= MAX_STARTING:
            raise Refused(Reason.OVERLOADED, "too many streams are starting")

    async def _wait(self, name: str, ready: Ready) -> None:
        kinds = self._waits.setdefault(name, {})
        wait = kinds.get(ready)
        if wait is None:
            wait = kinds[ready] = _Wait(ready)
            self._follow(wait, name)
        waiter: Deferred[None] = Deferred()
        wait.waiters[waiter] = self._clock.callLater(self._limit, self._late, name, wait, waiter)
        self._count += 1
        try:
            await waiter
        finally:
            self._count -= 1
            timer = wait.waiters.pop(waiter, None)
            if timer is not None and timer.active():
                timer.cancel()
            if not wait.waiters:
                self._forget(name, wait)

    def _late(self, name: str, wait: _Wait, waiter: Deferred[None]) -> None:
        """One request has waited long enough. A supply that brought nothing in that time is left alone."""
        refusal = Refused(Reason.NOT_READY, "the stream did not start in time")
        entry = self._registry.find(name)
        if self._registry.supply(name) is not None and (entry is None or not entry.stream.running):
            self._remember(name, refusal)
        wait.answer(waiter, refusal)

    def _forget(self, name: str, wait: _Wait) -> None:
        wait.leave()
        kinds = self._waits.get(name)
        if kinds is not None and kinds.get(wait.ready) is wait:
            del kinds[wait.ready]
            if not kinds:
                del self._waits[name]

    def _follow(self, wait: _Wait, name: str) -> None:
        entry = self._registry.find(name)
        if entry is not None:
            wait.follow(entry.stream)

    # The registry's events.

    def stream_changed(self, stream: Stream) -> None:
        """A stream began: those who wait for its name follow it."""
        self._refused.pop(stream.name, None)
        for wait in tuple(self._waits.get(stream.name, {}).values()):
            self._follow(wait, stream.name)
            wait.look()

    def stream_removed(self, stream: Stream) -> None:
        """Its taps were told."""

    def claim_changed(self, name: str, claimed: bool) -> None:
        """Another owner may do better."""
        self._refused.pop(name, None)

    def supply_changed(self, name: str) -> None:
        """Another source offers the name now: it has not heard yet that somebody waits."""
        self._refused.pop(name, None)
        if name in self._waits and self._registry.supply(name) is not None:
            self._registry.want(name)
