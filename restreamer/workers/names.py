"""Names that publishers of workers have: claimed at the main process, fed by what the workers push to it.

A publisher that lands on a worker is let in there when the main process has given the name away; from then on
the worker pushes the stream to the main process over M4F, and all others have it from there.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from attrs import define
from twisted.internet.defer import CancelledError, Deferred
from typing_extensions import override

from restreamer.errors import Reason, Refused
from restreamer.live.ledger import Ledger
from restreamer.live.registry import Arbiter, StreamRegistry
from restreamer.live.silence import SilenceWatch
from restreamer.logs import Logger
from restreamer.seams import Clock, OpenRequest, Timer
from restreamer.viewers.points import TAKE_OVER_SECONDS, Publishing, Taken
from restreamer.workers.channel import Send
from restreamer.workers.messages import (
    Denied,
    HoldName,
    KickPublisher,
    NameHeld,
    NameReleased,
)

_log = Logger()

#: Seconds to wait for the main process.
ANSWER_SECONDS: Final = 5.0


class AskedNames(Arbiter):
    """A worker's end: every name that is published here is claimed there first.

    @param ledger: where numbers go on from.
    """

    def __init__(self, clock: Clock, send: Send, ledger: Ledger) -> None:
        self._clock = clock
        self._send = send
        self._ledger = ledger
        self._number = 0
        self._asking: dict[int, tuple[str, Deferred[None], Timer]] = {}

    @override
    async def claim(self, name: str) -> None:
        """See L{Arbiter}."""
        # Below zero: those of the gate count upwards.
        self._number -= 1
        number = self._number
        answer: Deferred[None] = Deferred(lambda _: self._cancelled(number))
        timer = self._clock.callLater(ANSWER_SECONDS, self._late, number)
        self._asking[number] = (name, answer, timer)
        self._send(HoldName(number, name))
        await answer

    @override
    def release(self, name: str) -> None:
        """See L{Arbiter}."""
        self._send(NameReleased(name))

    def held(self, message: NameHeld) -> None:
        """The name is ours."""
        found = self._take(message.number)
        if found is None:
            return
        name, answer = found
        if message.last is not None:
            self._ledger.note(name, *message.last)
        answer.callback(None)

    def denied(self, message: Denied) -> None:
        """Somebody else has it."""
        found = self._take(message.number)
        if found is not None:
            found[1].errback(Refused(Reason[message.reason], message.text))

    def asks(self, number: int) -> bool:
        """Whether question C{number} is one of these."""
        return number in self._asking

    def close(self) -> None:
        """Nobody answers any more."""
        for number in tuple(self._asking):
            self._late(number)

    def _take(self, number: int) -> tuple[str, Deferred[None]] | None:
        found = self._asking.pop(number, None)
        if found is None:
            return None
        name, answer, timer = found
        if timer.active():
            timer.cancel()
        return name, answer

    def _cancelled(self, number: int) -> None:
        found = self._take(number)
        if found is not None:
            # It may have been given to us meanwhile.
            self.release(found[0])

    def _late(self, number: int) -> None:
        found = self._take(number)
        if found is not None:
            self.release(found[0])
            found[1].errback(Refused(Reason.OVERLOADED, "the name could not be claimed in time"))


@define(eq=False)
class _Held:
    """A name. @ivar watch: how long nothing came. @ivar unlink: ends the push link that feeds it."""

    taken: Taken
    watch: SilenceWatch
    unlink: Callable[[str], None] | None = None


class HeldNames:
    """The main process's end: the names of one worker; a L{restreamer.cluster.push.TakePoint} of what it
    pushes.
    """

    def __init__(self, clock: Clock, send: Send, publishing: Publishing, registry: StreamRegistry) -> None:
        self._clock = clock
        self._send = send
        self._publishing = publishing
        self._registry = registry
        self._held: dict[str, _Held] = {}
        self._asking: set[Deferred[None]] = set()

    def names(self) -> Sequence[str]:
        """Those it has now."""
        return tuple(self._held)

    def hold(self, message: HoldName) -> None:
        """Claim a name for the worker."""
        work = Deferred.fromCoroutine(self._claim(message))
        if not work.called:
            self._asking.add(work)
        _ = work.addErrback(self._failed)
        _ = work.addCallback(lambda _: self._asking.discard(work))

    def released(self, message: NameReleased) -> None:
        """The worker's publisher is gone."""
        self._release(message.name)

    def close(self) -> None:
        """The worker is gone, with all its publishers."""
        for work in tuple(self._asking):
            work.cancel()
        for name in tuple(self._held):
            self._release(name)

    async def take(
        self, request: OpenRequest, kick: Callable[[str], None], yields: Callable[[], bool] = lambda: False
    ) -> Taken:
        """See L{restreamer.cluster.push.TakePoint}: the name was claimed when the publisher came.

        @raise Refused: it was not.
        """
        held = self._held.get(request.name)
        if held is None:
            raise Refused(Reason.NOT_FOUND, f"{request.name} has no publisher on this worker")
        if held.unlink is not None:
            held.unlink("another link feeds the stream")
        held.unlink = kick
        return Taken(held.taken.settings, held.taken.fed, lambda: None)

    async def _claim(self, message: HoldName) -> None:
        name = message.name
        if name in self._held:
            self._send(Denied(message.number, Reason.BUSY.name, f"stream {name} has a publisher already"))
            return
        try:
            taken = await self._publishing.hold(
                name, lambda why: self._kicked(name, why), lambda: self._silent(name)
            )
        except Refused as refused:
            self._send(Denied(message.number, refused.reason.name, refused.text))
            return
        watch = SilenceWatch(self._clock, lambda: self._frames(name), taken.settings.source_timeout, _nothing)
        self._held[name] = _Held(taken, watch)
        watch.start()
        self._send(NameHeld(message.number, self._registry.ledger.last(name)))

    def _frames(self, name: str) -> int:
        entry = self._registry.find(name)
        return entry.stream.traffic.frames_in if entry is not None else 0

    def _silent(self, name: str) -> bool:
        held = self._held.get(name)
        return held is None or held.watch.silent_for() >= TAKE_OVER_SECONDS

    def _kicked(self, name: str, why: str) -> None:
        self._send(KickPublisher(name, why))
        held = self._held.get(name)
        if held is not None and held.unlink is not None:
            unlink, held.unlink = held.unlink, None
            unlink(why)

    def _release(self, name: str) -> None:
        held = self._held.pop(name, None)
        if held is not None:
            held.watch.stop()
            if held.unlink is not None:
                held.unlink("the publisher left")
            held.taken.release()

    def _failed(self, failure: object) -> None:
        if getattr(failure, "check", lambda _: None)(CancelledError) is None:
            _log.failure("a name was not claimed", failure)  # type: ignore[arg-type]


def _nothing() -> None:
    """Somebody else watches for silence to act on it."""
