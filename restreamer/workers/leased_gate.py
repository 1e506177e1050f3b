"""The gate of a worker: the main process decides, and what it granted is remembered here for a while.

So one table has all sessions of a node, whichever process serves them: limits, backends, journal and API know
of no workers. What a session was sent is told in turns; when it is over the main process says so at once.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from attrs import define, evolve, field
from twisted.internet.defer import Deferred
from typing_extensions import override

from restreamer.errors import Reason, Redirected, Refused
from restreamer.http1.play_request import query_value
from restreamer.live.registry import StreamSettings
from restreamer.logs import Logger
from restreamer.seams import Clock, Gate, Grant, OpenRequest, Timer
from restreamer.sessions.identity import FILE_PROTOS, NO_VIEWERS
from restreamer.workers.channel import Send
from restreamer.workers.messages import (
    Asked,
    Attached,
    Denied,
    Detached,
    Forsaken,
    GivenBack,
    Granted,
    Revoked,
    Used,
)

_log = Logger()

#: Seconds to wait for the main process; it asks a backend for less.
ANSWER_SECONDS: Final = 10.0
#: Questions that may wait at once.
MAX_ASKED: Final = 20_000
#: Viewers whose requests are remembered at once; beyond that the oldest is asked about again.
MAX_KNOWN: Final = 200_000
#: Seconds between two tellings of what requests took, and of what connections took.
TELL_SECONDS: Final = 0.5
_TURNS: Final = 4

#: Whose requests are alike.
_Key = tuple[str, str, str, str, str, str, str, bool]


def _key(request: OpenRequest, token_field: str) -> _Key | None:
    """What requests have in common of which one need be asked about; None: each is.

    @param token_field: of queries, that has the token where C{token} is not there.
    """
    if request.action != "play" or request.span is not None or request.proto not in FILE_PROTOS:
        return None
    return (
        request.name,
        request.proto,
        request.peer,
        request.token or (query_value(request.query, token_field) if token_field else ""),
        request.playback_id,
        request.user_agent,
        request.referer,
        request.part,
    )


class Lease:
    """A session that the main process keeps; a L{restreamer.seams.Viewing}."""

    __slots__ = ("_gate", "_links", "_over", "_token", "keys", "lease", "sent", "shown", "touched")

    def __init__(self, gate: LeasedGate, lease: int, token: str) -> None:
        self._gate = gate
        self._token = token
        self._links: dict[int, tuple[Callable[[], int], Callable[[str], None]]] = {}
        self._over: str | None = None
        self.lease = lease
        self.keys: set[_Key] = set()
        self.sent = 0
        self.shown = 0
        self.touched = False

    @property
    def token(self) -> str:
        """See L{restreamer.seams.Viewing}."""
        return self._token

    @property
    def total(self) -> int:
        """Bytes sent so far, in all."""
        return self.sent + sum(sent() for sent, _ in self._links.values())

    @property
    def served(self) -> bool:
        """Whether a connection serves it."""
        return bool(self._links)

    def count(self, size: int) -> None:
        """See L{restreamer.seams.Viewing}."""
        self.sent += size
        self._gate.used(self)

    @property
    def ranges(self) -> tuple[tuple[float, float], ...] | None:
        """See L{restreamer.seams.Viewing}: archives are the main process's, which knows."""
        return None

    def goes_on(self, now: float) -> bool:
        """See L{restreamer.seams.Viewing}."""
        return self._over is None and self._gate.knows(self, now)

    def show(self, until: int) -> None:
        """See L{restreamer.seams.Viewing}."""
        self.shown = until

    def give_back(self) -> None:
        """See L{restreamer.seams.Viewing}."""
        if not self._links and not self.sent:
            self._gate.given_back(self)

    def attach(self, sent: Callable[[], int], kick: Callable[[str], None]) -> Callable[[], None]:
        """See L{restreamer.seams.Viewing}."""
        if self._over is not None:
            kick(self._over)
            return lambda: None
        number = id(sent)
        while number in self._links:
            number += 1
        self._links[number] = (sent, kick)
        self._gate.attached(self, len(self._links))

        def detach() -> None:
            link = self._links.pop(number, None)
            if link is not None:
                self.sent += link[0]()
                self._gate.detached(self, len(self._links))

        return detach

    def end(self, why: str) -> None:
        """It is over: send its connections away."""
        self._over = why
        links, self._links = self._links, {}
        for sent, _ in links.values():
            self.sent += sent()
        for _, kick in links.values():
            try:
                kick(why)
            except Exception:
                _log.failure("a connection failed to end")


@define(eq=False)
class _Known:
    """What is remembered of alike requests. @ivar until: monotonic seconds."""

    lease: Lease | None
    until: float


@define(eq=False)
class _Asking:
    """A question under way. @ivar key: of alike requests, which wait with it."""

    key: _Key | None
    timer: Timer | None = None
    waiters: list[Deferred[Lease | None]] = field(factory=list)


class LeasedGate(Gate):
    """See the module.

    @param send: to the main process. @param settled: told the settings of a name that was granted.
    """

    def __init__(
        self,
        clock: Clock,
        send: Send,
        settled: Callable[[str, StreamSettings], None] = lambda name, settings: None,
    ) -> None:
        #: See L{restreamer.sessions.session_gate.SessionGate}.
        self.token_field = ""
        self._clock = clock
        self._send = send
        self._settled = settled
        self._number = 0
        self._asking: dict[int, tuple[_Asking, str]] = {}
        self._waiting: dict[_Key, _Asking] = {}
        self._known: dict[_Key, _Known] = {}
        self._leases: dict[int, Lease] = {}
        self._used: dict[Lease, None] = {}
        self._served: dict[Lease, None] = {}
        self._turn = 0
        self._timer: Timer | None = None

    @override
    async def open(self, request: OpenRequest) -> Grant:
        """Grant C{request}, or refuse it, as the main process says.

        @raise Refused: as it says; OVERLOADED: it does not answer.
        """
        if request.proto in NO_VIEWERS:
            return Grant(request=request)
        key = _key(request, self.token_field)
        held = self._known.get(key) if key is not None else None
        if held is not None and self._clock.seconds() < held.until:
            lease = held.lease
        else:
            lease = await self._ask(request, key)
        if lease is not None:
            if key is not None and not lease.touched:
                lease.touched = True
                self._used[lease] = None
                self._tell_later()
            if request.account is not None:
                request.account.viewing = lease
        return Grant(request=request)

    # The main process.

    def granted(self, message: Granted) -> None:
        """It may be."""
        found = self._asking.pop(message.number, None)
        if found is None:
            return
        asking, name = found
        lease = None
        if message.lease:
            lease = self._leases.get(message.lease)
            if lease is None:
                lease = self._leases[message.lease] = Lease(self, message.lease, message.token)
        if message.settings is not None:
            self._settled(name, message.settings)
        if asking.key is not None:
            self._remember(asking.key, _Known(lease, self._clock.seconds() + message.seconds))
        self._settle(asking, lease)

    def denied(self, message: Denied) -> None:
        """It may not."""
        found = self._asking.pop(message.number, None)
        if found is None:
            return
        error: Refused
        if message.elsewhere is not None:
            http, rtmp, rtsp, url = message.elsewhere
            error = Redirected(http, rtmp, rtsp, url)
        else:
            error = Refused(Reason[message.reason], message.text)
        self._settle(found[0], error)

    def revoked(self, message: Revoked) -> None:
        """A session is over."""
        lease = self._leases.pop(message.lease, None)
        if lease is not None:
            self._forget(lease)
            lease.end(message.why)

    def ask_all_again(self) -> None:
        """The rules changed."""
        self._known.clear()

    def close(self) -> None:
        """The main process is gone, or this one goes."""
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self._timer = None
        for number in tuple(self._asking):
            self._unanswered(number)

    # Leases.

    def used(self, lease: Lease) -> None:
        """It was sent something."""
        self._used[lease] = None
        self._tell_later()

    def knows(self, lease: Lease, now: float) -> bool:
        """Whether requests of it need not be asked about. @param now: monotonic seconds."""
        known = self._known
        return any(key in known and now < known[key].until for key in lease.keys)

    def given_back(self, lease: Lease) -> None:
        """It could not be had."""
        if self._leases.pop(lease.lease, None) is not None:
            self._forget(lease)
            self._send(GivenBack(lease.lease))

    def attached(self, lease: Lease, count: int) -> None:
        """A connection serves it."""
        self._served[lease] = None
        self._send(Attached(lease.lease, count))
        self._tell_later()

    def detached(self, lease: Lease, count: int) -> None:
        """One less."""
        if not count:
            self._served.pop(lease, None)
        self._send(Detached(lease.lease, count, lease.sent))

    # Inside.

    def _ask(self, request: OpenRequest, key: _Key | None) -> Deferred[Lease | None]:
        asking = self._waiting.get(key) if key is not None else None
        if asking is None:
            if len(self._asking) >= MAX_ASKED:
                raise Refused(Reason.OVERLOADED, "too many viewers come at once")
            self._number += 1
            number = self._number
            asking = _Asking(key)
            asking.timer = self._clock.callLater(ANSWER_SECONDS, self._unanswered, number)
            self._asking[number] = (asking, request.name)
            if key is not None:
                self._waiting[key] = asking
            self._send(Asked(number, evolve(request, account=None)))
        else:
            number = 0
        waiter: Deferred[Lease | None] = Deferred(lambda each: self._forsake(asking, number, each))
        asking.waiters.append(waiter)
        return waiter

    def _forsake(self, asking: _Asking, number: int, waiter: Deferred[Lease | None]) -> None:
        if waiter in asking.waiters:
            asking.waiters.remove(waiter)
        if not asking.waiters and number and self._asking.pop(number, None) is not None:
            self._send(Forsaken(number))
            self._over(asking)

    def _unanswered(self, number: int) -> None:
        found = self._asking.pop(number, None)
        if found is not None:
            self._settle(found[0], Refused(Reason.OVERLOADED, "this could not be decided in time"))

    def _remember(self, key: _Key, held: _Known) -> None:
        known = self._known
        known.pop(key, None)
        while len(known) >= MAX_KNOWN:
            oldest = next(iter(known))
            before = known.pop(oldest)
            if before.lease is not None:
                before.lease.keys.discard(oldest)
        known[key] = held
        if held.lease is not None:
            held.lease.keys.add(key)

    def _over(self, asking: _Asking) -> None:
        if asking.timer is not None and asking.timer.active():
            asking.timer.cancel()
        if asking.key is not None and self._waiting.get(asking.key) is asking:
            del self._waiting[asking.key]

    def _settle(self, asking: _Asking, outcome: Lease | Refused | None) -> None:
        self._over(asking)
        waiters, asking.waiters = asking.waiters, []
        for waiter in waiters:
            if waiter.called:
                continue
            if isinstance(outcome, Refused):
                waiter.errback(outcome)
            else:
                waiter.callback(outcome)

    def _forget(self, lease: Lease) -> None:
        self._used.pop(lease, None)
        self._served.pop(lease, None)
        for key in lease.keys:
            held = self._known.get(key)
            if held is not None and held.lease is lease:
                del self._known[key]

    def _tell_later(self) -> None:
        if self._timer is None:
            self._timer = self._clock.callLater(TELL_SECONDS, self._tell)

    def _tell(self) -> None:
        self._timer = None
        if self._served:
            self._tell_later()
        self._turn += 1
        rows = [(lease.lease, lease.total, lease.touched, lease.shown) for lease in self._used]
        for lease in self._used:
            lease.touched = False
        if self._turn % _TURNS == 0:
            rows += [
                (lease.lease, lease.total, False, 0) for lease in self._served if lease not in self._used
            ]
        self._used.clear()
        if rows:
            self._send(Used(tuple(rows)))
