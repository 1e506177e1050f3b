"""Requests on a worker for streams that it has not got: the main process knows more.

A worker knows what the main process lists, and that is what runs or can be started. The main process also
has the window of a stream whose publisher is away for a moment, names that wait for a publisher, peers and
balancers.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from attrs import define, field
from twisted.internet.defer import Deferred
from typing_extensions import override

from restreamer.errors import NotHere, Reason, Refused
from restreamer.http1.reply import FullReply, HttpRequest, Reply, Route
from restreamer.live.registry import StreamRegistry
from restreamer.live.stream import Stream
from restreamer.seams import Clock, Gate, OpenRequest, Timer
from restreamer.viewers.points import Absence
from restreamer.workers.channel import Send
from restreamer.workers.messages import NameAsked, NameKnown

#: Protocols whose viewers stay on the connection they came with: they are not handed to another process.
STAYING: Final = frozenset({"rtmp", "rtsp"})
#: Seconds for which one of them waits for a name that the main process knows.
WAIT_SECONDS: Final = 10.0
#: Requests that may wait so at once, and names that are remembered as nobody's.
MAX_WAITING: Final = 10_000
#: Seconds for which they are.
NOBODYS_SECONDS: Final = 1.0
#: Seconds to wait for the main process to say whether it knows a name; then it is to answer the request.
ANSWER_SECONDS: Final = 5.0


@define(eq=False)
class _Asking:
    """A question under way."""

    name: str
    timer: Timer
    waiters: list[Deferred[bool]] = field(factory=list)


class AbsentStreams(Absence):
    """See the module; listens to the registry.

    @param gate: asks the main process, which refuses names that it does not know, too.
    @param send: to the main process.
    """

    def __init__(self, clock: Clock, registry: StreamRegistry, gate: Gate, send: Send) -> None:
        self._clock = clock
        self._registry = registry
        self._gate = gate
        self._waiting: dict[str, list[Deferred[None]]] = {}
        self._count = 0
        self._send = send
        self._number = 0
        self._asking: dict[str, _Asking] = {}
        self._asked: dict[int, _Asking] = {}
        self._nobodys: dict[str, float] = {}
        registry.listen(self)

    @override
    async def unknown(self, request: OpenRequest) -> None:
        """See L{Absence}.

        @raise NotHere: the main process is to answer. Names that nobody has are refused here: the crowd of
            a stream that has ended would be much for one process.
        """
        if request.proto not in STAYING:
            known = await self._known_there(request.name)
            raise (NotHere if known else Refused)(Reason.NOT_FOUND, "no such stream")
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

    # The main process.

    def answered(self, message: NameKnown) -> None:
        """It knows a name, or does not."""
        asking = self._asked.pop(message.number, None)
        if asking is None:
            return
        if asking.timer.active():
            asking.timer.cancel()
        self._asking.pop(asking.name, None)
        if not message.known:
            nobodys = self._nobodys
            nobodys.pop(asking.name, None)
            while len(nobodys) >= MAX_WAITING:
                del nobodys[next(iter(nobodys))]
            nobodys[asking.name] = self._clock.seconds() + NOBODYS_SECONDS
        for waiter in asking.waiters:
            if not waiter.called:
                waiter.callback(message.known)

    async def _known_there(self, name: str) -> bool:
        """Whether the main process knows a name. All who want to know wait for one answer."""
        if self._clock.seconds() < self._nobodys.get(name, 0.0):
            return False
        asking = self._asking.get(name)
        if asking is None:
            self._number += 1
            number = self._number
            timer = self._clock.callLater(ANSWER_SECONDS, self.answered, NameKnown(number, True))
            asking = self._asking[name] = self._asked[number] = _Asking(name, timer)
            self._send(NameAsked(number, name))
        waiter: Deferred[bool] = Deferred()
        asking.waiters.append(waiter)
        return await waiter

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
        self._nobodys.pop(name, None)
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
