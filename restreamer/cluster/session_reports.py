"""Telling the node above of viewers: what the client of a control link says of sessions (docs/m4f.md 5.5).

A L{SessionReports} belongs to one source. New and closed sessions are told at the next beat, how far the
others are in turns of at least L{PROGRESS_BEATS}. All values are totals, and closed sessions are held until
they are taken, so a link that breaks loses nothing and counts nothing twice.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from typing import Protocol

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
from restreamer.m4f.session_payloads import MAX_PROGRESS, encode_session
from restreamer.media.names import valid_stream_name
from restreamer.seams import Clock, Timer
from restreamer.viewer_facts import SessionFacts

_log = Logger()

#: Beats of half a second from one telling of how far sessions are to the next.
PROGRESS_BEATS = 20
#: Sessions looked at in one beat, at most: each costs some microseconds.
PER_BEAT = 500
#: Records on the way that are not taken yet, at most.
MAX_ON_THE_WAY = 16
#: Bytes of sessions in one report.
REPORT_BYTES = 60 * 1024
#: Closed sessions held until they are taken; beyond that the oldest are given up.
MAX_HELD = 100_000
#: Seconds to wait for the answer to a claim.
CLAIM_SECONDS = 2.0
#: Claims that may wait at once.
MAX_CLAIMS = 10_000


class SessionBook(Protocol):
    """All sessions this node knows of: its own and those it was told of."""

    def __iter__(self) -> Iterator[SessionFacts]:
        """Each of them."""
        ...

    def find(self, session_id: str) -> SessionFacts | None:
        """One of them; None: it is over."""
        ...

    def end(self, session_id: str, why: str) -> bool:
        """End one, wherever it is served; whether it is known."""
        ...

    def ask_again(self, session_id: str) -> None:
        """Ask the backend of one again."""
        ...


class SessionReports:
    """What one source is told.

    @param book: all sessions. @param name_at: what the source calls a stream of ours that it feeds now; None:
        it feeds none of that name.
    """

    def __init__(self, book: SessionBook, name_at: Callable[[str], str | None], clock: Clock) -> None:
        self._book = book
        self._name_at = name_at
        self._clock = clock
        self._link: LinkWriter | None = None
        self._sequence = 0
        self._taken = 0
        self._listing: deque[str] | None = None
        self._listing_begun = False
        self._fresh: dict[str, SessionFacts] = {}
        self._held: dict[str, tuple[SessionFacts, int]] = {}
        self._told: dict[str, str] = {}
        self._turn: deque[str] = deque()
        self._beats = 0
        self._claims: dict[int, tuple[Deferred[bool | None], Timer]] = {}
        self._request = 0
        #: Closed sessions that were given up because the source did not take them.
        self.lost = 0

    # What the node tells.

    def changed(self, facts: SessionFacts) -> None:
        """A session began, was told to be another user's, or is over (C{closed_at} is set)."""
        session_id = facts.session_id
        mapped = self._mapped(facts)
        if facts.closed_at is not None:
            self._fresh.pop(session_id, None)
            told = self._told.pop(session_id, None)
            if told is not None:
                # Whoever counted it hears how much it was, also if another source feeds the stream now.
                self._hold(evolve(facts, name=told))
            elif mapped is not None:
                self._hold(mapped)
        elif mapped is not None:
            self._fresh[session_id] = facts

    def claim(
        self,
        name: str,
        session_id: str,
        user_id: str,
        user_limit: int | None,
        stream_limit: int | None,
        unique: bool,
    ) -> Deferred[bool | None] | None:
        """Ask whether a session may be; fires with None when the source does not say in time.

        @return: None: it cannot be asked.
        """
        remote = self._name_at(name)
        if self._link is None or remote is None or len(self._claims) >= MAX_CLAIMS:
            return None
        self._request = (self._request + 1) & 0xFFFFFFFF
        request = self._request
        answer: Deferred[bool | None] = Deferred(lambda _: self._answer(request, None))
        self._claims[request] = (answer, self._clock.callLater(CLAIM_SECONDS, self._answer, request, None))
        self._link.send(SessionClaim(request, remote, session_id, user_id, user_limit, stream_limit, unique))
        return answer

    # The link.

    def link_up(self, link: LinkWriter) -> None:
        """Begin with a list of everything."""
        self._link = link
        self._taken = self._sequence
        self._listing = deque(self._held)
        self._listing.extend([facts.session_id for facts in self._book])
        self._listing_begun = False
        self._fresh.clear()
        self._told.clear()
        self._turn.clear()
        for session_id, (facts, _) in tuple(self._held.items()):
            self._held[session_id] = (facts, 0)

    def link_down(self) -> None:
        """Nobody listens; who asked is told so."""
        self._link = None
        self._listing = None
        for request in tuple(self._claims):
            self._answer(request, None)

    def take(self, record: Record) -> bool:
        """Take what the source says; whether it was about sessions."""
        if isinstance(record, SessionsTaken):
            self._taken = record.sequence
            for session_id, (_, sequence) in tuple(self._held.items()):
                if 0 < sequence <= record.sequence:
                    del self._held[session_id]
        elif isinstance(record, SessionClaimed):
            self._answer(record.request, record.granted)
        elif isinstance(record, SessionOrder):
            if record.order is Order.END:
                self._book.end(record.session_id, record.why or "kicked")
            else:
                self._book.ask_again(record.session_id)
        else:
            return False
        return True

    def beat(self) -> None:
        """Tell what there is to tell, as far as the source takes it."""
        link = self._link
        if link is None or link.paused:
            return
        self._beats += 1
        if self._listing is not None:
            self._list(link, self._listing)
            return
        self._tell_fresh(link)
        if self._turn:
            if self._room():
                self._tell_progress(link)
        elif self._beats >= PROGRESS_BEATS:
            self._beats = 0
            self._turn.extend(self._told)

    def _room(self) -> bool:
        return self._sequence - self._taken < MAX_ON_THE_WAY

    def _list(self, link: LinkWriter, listing: deque[str]) -> None:
        """Some more of the list of everything; closed sessions end it."""
        looked = 0
        while looked < PER_BEAT and self._room():
            batch: list[SessionFacts] = []
            size = 0
            while listing and looked < PER_BEAT and size < REPORT_BYTES:
                looked += 1
                mapped = self._listed(listing.popleft())
                if mapped is not None:
                    batch.append(mapped)
                    size += len(encode_session(mapped))
            first, self._listing_begun = not self._listing_begun, True
            over = not listing
            self._send_report(link, batch, first, over)
            if over:
                self._listing = None
                return

    def _listed(self, session_id: str) -> SessionFacts | None:
        """What the list says of a session, closed or not; None: nothing."""
        held = self._held.get(session_id)
        if held is not None:
            self._held[session_id] = (held[0], self._sequence + 1)
            return held[0]
        facts = self._book.find(session_id)
        mapped = self._mapped(facts) if facts is not None else None
        if mapped is not None:
            self._told[session_id] = mapped.name
        return mapped

    def _tell_fresh(self, link: LinkWriter) -> None:
        waiting = [facts for facts, sequence in self._held.values() if sequence == 0]
        waiting += self._fresh.values()
        at = 0
        while at < len(waiting) and at < PER_BEAT and self._room():
            batch: list[SessionFacts] = []
            size = 0
            while at < len(waiting) and size < REPORT_BYTES:
                facts = waiting[at]
                at += 1
                mapped: SessionFacts | None = facts
                if facts.closed_at is not None:
                    self._held[facts.session_id] = (facts, self._sequence + 1)
                else:
                    del self._fresh[facts.session_id]
                    mapped = self._mapped(facts)
                    if mapped is not None:
                        self._told[mapped.session_id] = mapped.name
                if mapped is not None:
                    batch.append(mapped)
                    size += len(encode_session(mapped))
            if batch:
                self._send_report(link, batch)

    def _tell_progress(self, link: LinkWriter) -> None:
        rows: list[Progress] = []
        moved: list[SessionFacts] = []
        for _ in range(min(PER_BEAT, MAX_PROGRESS, len(self._turn))):
            session_id = self._turn.popleft()
            facts = self._book.find(session_id)
            if facts is None or session_id not in self._told:
                continue
            if self._mapped(facts) is None:
                # Another source feeds the stream now: it counts the session from here on.
                name = self._told.pop(session_id)
                moved.append(evolve(facts, name=name, closed_at=facts.updated_at, closed_why="moved"))
                continue
            rows.append(
                Progress(
                    session_id,
                    facts.updated_at,
                    facts.started_at,
                    facts.bytes,
                    facts.current_time,
                    facts.ts_delay,
                )
            )
        if rows:
            self._sequence += 1
            link.send(SessionProgress(self._sequence, tuple(rows)))
        if moved:
            self._send_report(link, moved)

    def _send_report(
        self, link: LinkWriter, sessions: list[SessionFacts], first: bool = False, last: bool = False
    ) -> None:
        self._sequence += 1
        link.send(SessionReport(self._sequence, tuple(sessions), first, last))

    def _mapped(self, facts: SessionFacts) -> SessionFacts | None:
        """The session under the source's name; None: it is none of the source's business."""
        name = self._name_at(facts.name) if valid_stream_name(facts.name) else None
        if name is None:
            return None
        return facts if name == facts.name else evolve(facts, name=name)

    def _hold(self, facts: SessionFacts) -> None:
        self._held[facts.session_id] = (facts, 0)
        while len(self._held) > MAX_HELD:
            del self._held[next(iter(self._held))]
            self.lost += 1

    def _answer(self, request: int, granted: bool | None) -> None:
        waiting = self._claims.pop(request, None)
        if waiting is not None:
            answer, timer = waiting
            if timer.active():
                timer.cancel()
            if not answer.called:
                answer.callback(granted)
