"""What the main process answers to a worker's gate: it decides, and keeps the sessions the worker serves."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final, Protocol

from attrs import define, evolve
from twisted.internet.defer import CancelledError, Deferred

from restreamer.errors import Reason, Redirected, Refused
from restreamer.live.registry import StreamSettings
from restreamer.logs import Logger
from restreamer.seams import Account, OpenRequest
from restreamer.sessions.session import Session
from restreamer.viewer_facts import SessionFacts
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
    RevokedAll,
    Used,
)

_log = Logger()

#: Seconds for which a worker need not ask about requests like one that was granted.
KNOWN_SECONDS: Final = 30.0
#: The same for pieces that anybody may have, and that count for no session yet.
UNCOUNTED_SECONDS: Final = 2.0


class Gatekeeper(Protocol):
    """Decides (L{restreamer.viewers.points.Playing} and L{restreamer.sessions.session_gate.SessionGate})."""

    def admit(self, request: OpenRequest) -> Awaitable[object]:
        """Whether C{request} may be.

        @raise Refused: (from the awaitable) it may not.
        """
        ...

    def goes_on(self, session: Session) -> bool:
        """A session is used: whether it may be; its backend is asked in passing."""
        ...

    def settings_of(self, name: str) -> StreamSettings | None:
        """Those of a stream that is here."""
        ...


@define(eq=False)
class _Held:
    """A session that a worker serves. @ivar sent: bytes, as the worker told last.
    @ivar detach: set while connections serve it.
    """

    lease: int
    session: Session
    sent: int = 0
    detach: Callable[[], None] | None = None


class Lessor:
    """See the module; one for each worker. Listens to the table of sessions."""

    def __init__(self, send: Send, gatekeeper: Gatekeeper) -> None:
        self._send = send
        self._gatekeeper = gatekeeper
        self._deciding: dict[int, Deferred[None]] = {}
        self._leases: dict[int, _Held] = {}
        self._sessions: dict[str, _Held] = {}
        self._number = 0

    def __len__(self) -> int:
        return len(self._leases)

    # What the worker says.

    def asked(self, message: Asked) -> None:
        """Decide."""
        work = Deferred.fromCoroutine(self._decide(message))
        if not work.called:
            self._deciding[message.number] = work
        _ = work.addErrback(self._failed, message.number)
        _ = work.addCallback(lambda _: self._deciding.pop(message.number, None))

    def forsaken(self, message: Forsaken) -> None:
        """Nobody waits any more."""
        work = self._deciding.pop(message.number, None)
        if work is not None:
            work.cancel()

    def used(self, message: Used) -> None:
        """Count what was sent."""
        for lease, total, touched, shown in message.rows:
            held = self._leases.get(lease)
            if held is None:
                self._send(Revoked(lease, "this session is over"))
                continue
            session = held.session
            if shown:
                session.show(shown)
            if held.detach is not None:
                held.sent = total
            elif total > held.sent:
                more, held.sent = total - held.sent, total
                session.count(more)
            if touched and not self._gatekeeper.goes_on(session):
                self._revoke(held, "this session is over")

    def attached(self, message: Attached) -> None:
        """A connection of the worker serves a session."""
        held = self._leases.get(message.lease)
        if held is None:
            self._send(Revoked(message.lease, "this session is over"))
        elif held.detach is None:
            before = held.sent
            held.detach = held.session.attach(lambda: held.sent - before, lambda why: self._revoke(held, why))

    def detached(self, message: Detached) -> None:
        """One less."""
        held = self._leases.get(message.lease)
        if held is None:
            return
        held.sent = message.sent
        if not message.count and held.detach is not None:
            detach, held.detach = held.detach, None
            detach()

    def given_back(self, message: GivenBack) -> None:
        """A session could not be served."""
        held = self._drop(message.lease)
        if held is not None:
            held.session.give_back()

    # What happens here.

    def session_event(self, event: str, facts: SessionFacts) -> None:
        """A session is over: the worker hears at once."""
        if facts.closed_at is not None:
            held = self._sessions.get(facts.session_id)
            if held is not None:
                self._revoke(held, facts.closed_why or "this session is over")

    def rules_changed(self) -> None:
        """Nothing that was granted before is taken for granted."""
        self._send(RevokedAll())

    def close(self) -> None:
        """The worker is gone: what it served is served no more."""
        deciding, self._deciding = self._deciding, {}
        for work in deciding.values():
            work.cancel()
        for lease in tuple(self._leases):
            held = self._drop(lease)
            if held is not None and held.detach is not None:
                held.detach()

    # Inside.

    async def _decide(self, message: Asked) -> None:
        account = Account()
        request = evolve(message.request, account=account)
        number = message.number
        try:
            await self._gatekeeper.admit(request)
        except Redirected as error:
            elsewhere = (error.http, error.rtmp, error.rtsp, error.url)
            self._send(Denied(number, error.reason.name, error.text, elsewhere))
            return
        except Refused as error:
            self._send(Denied(number, error.reason.name, error.text))
            return
        viewing = account.viewing
        lease = self._lease(viewing) if isinstance(viewing, Session) else 0
        self._send(
            Granted(
                number,
                lease,
                viewing.token if viewing is not None else "",
                KNOWN_SECONDS if lease else UNCOUNTED_SECONDS,
                self._gatekeeper.settings_of(request.name),
            )
        )

    def _failed(self, failure: object, number: int) -> None:
        if getattr(failure, "check", lambda _: None)(CancelledError) is None:
            _log.failure("a worker's question was not decided", failure)  # type: ignore[arg-type]
            self._send(Denied(number, Reason.OVERLOADED.name, "this could not be decided"))

    def _lease(self, session: Session) -> int:
        held = self._sessions.get(session.session_id)
        if held is None:
            self._number += 1
            held = self._leases[self._number] = _Held(self._number, session)
            self._sessions[session.session_id] = held
        return held.lease

    def _revoke(self, held: _Held, why: str) -> None:
        if self._drop(held.lease) is not None:
            self._send(Revoked(held.lease, why))

    def _drop(self, lease: int) -> _Held | None:
        held = self._leases.pop(lease, None)
        if held is not None:
            self._sessions.pop(held.session.session_id, None)
        return held
