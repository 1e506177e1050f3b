"""Waiting, bounded, until a stream can be played."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from attrs import define, field
from twisted.internet.defer import Deferred
from typing_extensions import override

from restreamer.errors import Reason, Refused
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
        registry.listen(self)

    def __len__(self) -> int:
        return self._count

    async def entry(self, name: str, ready: Ready) -> LiveEntry:
        """The stream C{name} once it is C{ready}.

        @param ready: one function for all requests of a kind.
        @raise Refused: NOT_FOUND when nothing could ever feed the name, NOT_READY after the wait,
            OVERLOADED when too many wait already.
        """
        expected = self._registry.want(name)
        entry = self._registry.find(name)
        if entry is not None and ready(entry.stream):
            return entry
        if not expected:
            raise Refused(Reason.NOT_FOUND, "no such stream")
        await self._wait(name, ready)
        entry = self._registry.find(name)
        if entry is None:
            raise Refused(Reason.NOT_FOUND, "the stream has ended")
        return entry

    async def _wait(self, name: str, ready: Ready) -> None:
        if self._count >= MAX_WAITING:
            raise Refused(Reason.OVERLOADED, "too many requests wait for streams to start")
        if name not in self._waits and len(self._waits) >= MAX_STARTING:
            raise Refused(Reason.OVERLOADED, "too many streams are starting")
        kinds = self._waits.setdefault(name, {})
        wait = kinds.get(ready)
        if wait is None:
            wait = kinds[ready] = _Wait(ready)
            self._follow(wait, name)
        waiter: Deferred[None] = Deferred()
        late = Refused(Reason.NOT_READY, "the stream did not start in time")
        wait.waiters[waiter] = self._clock.callLater(self._limit, wait.answer, waiter, late)
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
        for wait in tuple(self._waits.get(stream.name, {}).values()):
            self._follow(wait, stream.name)
            wait.look()

    def stream_removed(self, stream: Stream) -> None:
        """Its taps were told."""

    def claim_changed(self, name: str, claimed: bool) -> None:
        """Nothing to do."""

    def supply_changed(self, name: str) -> None:
        """Another source offers the name now: it has not heard yet that somebody waits."""
        if name in self._waits and self._registry.supply(name) is not None:
            self._registry.want(name)
