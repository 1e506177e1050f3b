"""Requests on a worker for streams that it has not got: the main process knows more.

A worker knows what the main process lists, and that is what runs or can be started. The main process also
has the window of a stream whose publisher is away for a moment, names that wait for a publisher, peers and
balancers.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from twisted.internet.defer import Deferred
from typing_extensions import override

from restreamer.errors import NotHere, Reason, Refused
from restreamer.http1.reply import FullReply, HttpRequest, Reply, Route
from restreamer.live.registry import StreamRegistry
from restreamer.live.stream import Stream
from restreamer.seams import Clock, Gate, OpenRequest
from restreamer.viewers.points import Absence

#: Protocols whose viewers stay on the connection they came with: they are not handed to another process.
STAYING: Final = frozenset({"rtmp", "rtsp"})
#: Seconds for which one of them waits for a name that the main process knows.
WAIT_SECONDS: Final = 10.0
#: Requests that may wait so at once.
MAX_WAITING: Final = 10_000


class AbsentStreams(Absence):
    """See the module; listens to the registry.

    @param gate: asks the main process, which refuses names that it does not know, too.
    """

    def __init__(self, clock: Clock, registry: StreamRegistry, gate: Gate) -> None:
        self._clock = clock
        self._registry = registry
        self._gate = gate
        self._waiting: dict[str, list[Deferred[None]]] = {}
        self._count = 0
        registry.listen(self)

    @override
    async def unknown(self, request: OpenRequest) -> None:
        """See L{Absence}.

        @raise NotHere: the main process is to answer.
        """
        if request.proto not in STAYING:
            raise NotHere(Reason.NOT_FOUND, "no such stream")
        await self._gate.open(request)
        if self._registry.expected(request.name):
            return
        try:
            await self._listed(request.name)
        except BaseException:
            viewing = request.account.viewing if request.account is not None else None
            if viewing is not None:
                viewing.give_back()
            raise

    @override
    def refusal(self, request: OpenRequest, refused: Refused) -> Refused:
        """See L{Absence}."""
        if request.proto in STAYING or refused.reason not in (Reason.NOT_FOUND, Reason.NOT_READY):
            return refused
        return NotHere(refused.reason, refused.text)

    # The registry's events.

    def stream_changed(self, stream: Stream) -> None:
        """It is known."""
        self._known(stream.name)

    def stream_removed(self, stream: Stream) -> None:
        """Nothing to do."""

    def claim_changed(self, name: str, claimed: bool) -> None:
        """A publisher may have come."""
        self._known(name)

    def supply_changed(self, name: str) -> None:
        """The main process may list it now."""
        self._known(name)

    # Inside.

    async def _listed(self, name: str) -> None:
        """Wait until the name is known.

        @raise Refused: NOT_READY: it is not in time; OVERLOADED: too many wait.
        """
        if self._count >= MAX_WAITING:
            raise Refused(Reason.OVERLOADED, "too many requests wait for streams to start")
        waiter: Deferred[None] = Deferred()
        self._waiting.setdefault(name, []).append(waiter)
        late = self._clock.callLater(WAIT_SECONDS, _late, waiter)
        self._count += 1
        try:
            await waiter
        finally:
            self._count -= 1
            if late.active():
                late.cancel()
            others = self._waiting.get(name, [])
            if waiter in others:
                others.remove(waiter)
            if not others:
                self._waiting.pop(name, None)

    def _known(self, name: str) -> None:
        if name in self._waiting and self._registry.expected(name):
            for waiter in self._waiting.pop(name):
                if not waiter.called:
                    waiter.callback(None)


def _late(waiter: Deferred[None]) -> None:
    if not waiter.called:
        waiter.errback(Refused(Reason.NOT_READY, "the stream did not start in time"))


def balancer_route(names: Callable[[], frozenset[str]]) -> Route:
    """The route of requests for balancers, which are the main process's. @param names: theirs."""

    def route(request: HttpRequest) -> Reply | None:
        path = request.path
        return _PASSED if any(path.startswith(f"/{name}/") for name in names()) else None

    return route


_PASSED: Final = FullReply(status=404, passed=True)
