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


@define(eq=False)
class _Wait(IdleTap):
    """One request waiting for C{ready}; follows the stream as a tap, once there is a stream."""

    ready: Callable[[Stream], bool]
    done: Deferred[Stream]
    stream: Stream | None = None
    timer: Timer | None = field(default=None)

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

    def look(self) -> None:
        """Settle when the stream is ready."""
        if self.stream is not None and self.ready(self.stream):
            self.settle(None)

    def settle(self, refusal: Refused | None) -> None:
        """Answer once."""
        if self.done.called:
            return
        if self.timer is not None and self.timer.active():
            self.timer.cancel()
        if self.stream is not None:
            self.stream.detach(self)
        if refusal is None and self.stream is not None:
            self.done.callback(self.stream)
        else:
            self.done.errback(refusal or Refused(Reason.NOT_FOUND, "no such stream"))


class WaitingRoom:
    """Holds requests for streams that are starting: each is answered as soon as the stream can play.

    @param limit: seconds a request may wait.
    """

    def __init__(self, registry: StreamRegistry, clock: Clock, limit: float = 10.0) -> None:
        self._registry = registry
        self._clock = clock
        self._limit = limit
        self._waits: dict[str, dict[_Wait, None]] = {}
        self._count = 0
        registry.listen(self)

    def __len__(self) -> int:
        return self._count

    async def entry(self, name: str, ready: Callable[[Stream], bool]) -> LiveEntry:
        """The stream C{name} once it is C{ready}.

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

    async def _wait(self, name: str, ready: Callable[[Stream], bool]) -> Stream:
        if self._count >= MAX_WAITING:
            raise Refused(Reason.OVERLOADED, "too many requests wait for streams to start")
        wait = _Wait(ready, Deferred(lambda _: None))
        group = self._waits.setdefault(name, {})
        group[wait] = None
        self._count += 1
        wait.timer = self._clock.callLater(
            self._limit, wait.settle, Refused(Reason.NOT_READY, "the stream did not start in time")
        )
        self._follow(wait, name)
        try:
            return await wait.done
        finally:
            self._count -= 1
            del group[wait]
            if not group and self._waits.get(name) is group:
                del self._waits[name]
            if wait.timer.active():
                wait.timer.cancel()
            if wait.stream is not None:
                wait.stream.detach(wait)

    def _follow(self, wait: _Wait, name: str) -> None:
        entry = self._registry.find(name)
        if entry is not None and wait.stream is not entry.stream:
            wait.stream = entry.stream
            entry.stream.attach(wait)

    # The registry's events.

    def stream_changed(self, stream: Stream) -> None:
        """A stream began: those who wait for its name follow it."""
        for wait in tuple(self._waits.get(stream.name, ())):
            self._follow(wait, stream.name)
            wait.look()

    def stream_removed(self, stream: Stream) -> None:
        """Its taps were told."""

    def claim_changed(self, name: str, claimed: bool) -> None:
        """Nothing to do."""

    def supply_changed(self, name: str) -> None:
        """Nothing to do."""
