"""Hearing of viewers on the nodes below: what the server of a control link does with reports of sessions."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from attrs import evolve
from twisted.internet.defer import Deferred

from restreamer.cluster.seams import LinkWriter
from restreamer.logs import Logger
from restreamer.m4f.records import (
    Order,
    Progress,
    Record,
    SessionClaim,
    SessionClaimed,
    SessionOrder,
    SessionProgress,
    SessionReport,
    SessionsTaken,
)
from restreamer.sessions.remote_sessions import RemoteSessions
from restreamer.viewer_facts import SessionFacts

_log = Logger()

#: Claims of one link that may be at work at once; beyond that they are not answered (the asker decides).
MAX_CLAIMS = 10_000

#: C{claim(record)}: whether the session may be.
Claims = Callable[[SessionClaim], Awaitable[bool]]


class SessionReceipts:
    """What one follower tells; a L{restreamer.sessions.remote_sessions.Orders} of its sessions.

    @param claims: decides on claims.
    """

    def __init__(self, sessions: RemoteSessions, claims: Claims) -> None:
        self._sessions = sessions
        self._claims = claims
        self._link: LinkWriter | None = None
        self._key: object = None
        self._waiting: set[Deferred[None]] = set()

    def link_up(self, link: LinkWriter) -> None:
        """Sessions of the node at the other end come by this link from now on."""
        self._link = link
        self._key = self._sessions.linked(link.peer_id, self)

    def link_down(self) -> None:
        """It is gone."""
        self._link = None
        for waiting in tuple(self._waiting):
            waiting.cancel()
        if self._key is not None:
            self._sessions.unlinked(self._key, self)

    def take(self, record: Record) -> bool:
        """Take what the follower says; whether it was about sessions."""
        link = self._link
        if link is None:
            return False
        if isinstance(record, SessionReport):
            if record.first:
                self._sessions.begin_list(self._key)
            self._sessions.report(self._key, record.sessions)
            if record.last:
                self._sessions.end_list(self._key)
            link.send(SessionsTaken(record.sequence))
        elif isinstance(record, SessionProgress):
            for row in record.rows:
                self._sessions.progress(self._key, row.session_id, _step(row))
            link.send(SessionsTaken(record.sequence))
        elif isinstance(record, SessionClaim):
            self._claimed(record)
        else:
            return False
        return True

    def end(self, session_id: str, why: str) -> None:
        """Have a session ended there."""
        if self._link is not None:
            self._link.send(SessionOrder(session_id, Order.END, why))

    def ask_again(self, session_id: str) -> None:
        """Have the backend of a session asked again there."""
        if self._link is not None:
            self._link.send(SessionOrder(session_id, Order.ASK_AGAIN))

    def _claimed(self, claim: SessionClaim) -> None:
        if len(self._waiting) >= MAX_CLAIMS:
            return
        work = Deferred.fromCoroutine(self._decide(claim))
        if not work.called:
            self._waiting.add(work)
        _ = work.addErrback(
            lambda failure: _log.failure("a claim was not decided", failure) if self._link else None
        )
        _ = work.addCallback(lambda _: self._waiting.discard(work))

    async def _decide(self, claim: SessionClaim) -> None:
        granted = await self._claims(claim)
        if self._link is not None:
            self._link.send(SessionClaimed(claim.request, granted))


def _step(row: Progress) -> Callable[[SessionFacts], SessionFacts]:
    return lambda facts: evolve(
        facts,
        updated_at=row.updated_at,
        started_at=row.started_at,
        bytes=row.bytes,
        current_time=row.current_time,
        ts_delay=row.ts_delay,
    )
