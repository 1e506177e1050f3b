"""All sessions of this node: found by id, stream and identity, and user; counted; told of; ended in time.

It decides nothing: L{restreamer.sessions.session_gate} grants and refuses. Sessions are looked at by a
L{Wheel}, so nothing here goes over all of them but who asks for all.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Final, Protocol

from restreamer.buckets import AddressBuckets
from restreamer.config.model import AuthConfig
from restreamer.errors import Reason, Refused
from restreamer.logs import Logger
from restreamer.media.timebase import TICKS_PER_SECOND
from restreamer.seams import Clock, OpenRequest
from restreamer.sessions.identity import Key, token_hash, told_page, told_query
from restreamer.sessions.limits import (
    ADDRESS_SECONDS,
    MAX_OF_ADDRESS,
    MAX_REFUSALS,
    MAX_SESSIONS,
    SOFT_SECONDS,
    UNIQUE_SECONDS,
    NoOthers,
    Others,
    excess,
)
from restreamer.sessions.session import Place, Refusal, Session
from restreamer.sessions.wheel import Wheel
from restreamer.viewer_facts import SessionFacts

_log = Logger()

#: Seconds from one C{play_updated} of a session to the next.
UPDATE_SECONDS: Final = 60.0
#: Seconds for which a viewer that was kicked is refused; with a backend it is asked then.
KICKED_SECONDS: Final = 10.0
#: Characters of a query that a backend is asked with.
_MAX_ASKED: Final = 2048
#: User agents and other words of which one copy is kept, whatever the number of sessions.
_MAX_WORDS: Final = 10_000


class SessionListener(Protocol):
    """Whoever wants to hear of sessions. It is called in the middle of things: it notes, and returns."""

    def session_event(self, event: str, facts: SessionFacts) -> None:
        """C{event} is C{play_opened}, C{play_authorized}, C{play_started}, C{play_updated} or C{play_closed};
        of publishers C{publish_opened} and so on.
        """
        ...


class SessionTable:
    """See the module.

    @param utc_ms: UTC milliseconds now. @param new_id: a fresh session id, 32 hexadecimal digits.
    @param node_id: of this node. @param secret: of this node, at least 16 bytes: what tokens are told by.
    @param country_of: ISO 3166-1 alpha-2 of an address, or empty. @param others: sessions of other nodes.
    @ivar ask: has the backend of a session asked again; set by the gate.
    @ivar full: new sessions that were refused because there are too many.
    """

    ask: Callable[[Session], None]

    def __init__(
        self,
        clock: Clock,
        utc_ms: Callable[[], int],
        new_id: Callable[[], str],
        *,
        node_id: str = "",
        secret: bytes = b"",
        country_of: Callable[[str], str] = lambda ip: "",
        others: Others | None = None,
        max_sessions: int = MAX_SESSIONS,
        max_of_address: int = MAX_OF_ADDRESS,
    ) -> None:
        self.ask = lambda session: None
        self.full = 0
        self._clock = clock
        self._utc_ms = utc_ms
        self._new_id = new_id
        self._node_id = node_id
        self._secret = secret
        #: ISO 3166-1 alpha-2 of an address, or empty.
        self.country_of = country_of
        #: UTC milliseconds of what a stream shows who is connected to it now; None: nothing, or nobody knows.
        self.newest: Callable[[str], int | None] = lambda name: None
        #: Fields of queries that are told to nobody, beside those that everybody knows.
        self.secret_fields: frozenset[str] = frozenset()
        self.others: Others = others or NoOthers()
        self._max = max_sessions
        self._newcomers = AddressBuckets(max_of_address, ADDRESS_SECONDS)
        self._places: dict[str, Place] = {}
        self._by_id: dict[str, Session] = {}
        self._users: dict[str, set[Session]] = {}
        self._asked = 0
        self._viewers = 0
        self._counts: dict[tuple[str, str], int] = {}
        self._refusals = 0
        self._words: dict[str, str] = {}
        self._listeners: list[SessionListener] = []
        self._traffic: dict[tuple[str, str], int] = {}
        #: Bytes sent to viewers, by protocol; up to a minute late.
        self.sent: dict[str, int] = {}
        self._wheel: Wheel[Session | _Forgetting] = Wheel(clock, self._look)

    # What there is.

    def __len__(self) -> int:
        return len(self._by_id)

    def __iter__(self) -> Iterator[SessionFacts]:
        for session in tuple(self._by_id.values()):
            if session.announced and session.live:
                yield self.facts(session)

    def sessions(self, name: str | None = None) -> Iterator[SessionFacts]:
        """What is told of all sessions, or of those of one name."""
        if name is None:
            yield from self
            return
        place = self._places.get(name)
        for session in tuple(place.sessions.values()) if place is not None else ():
            if isinstance(session, Session) and session.announced and session.live:
                yield self.facts(session)

    def find(self, session_id: str) -> SessionFacts | None:
        """What is told of a session; None: there is none (any more)."""
        session = self._by_id.get(session_id)
        return self.facts(session) if session is not None and session.announced else None

    def total(self) -> int:
        """Viewers on this node."""
        return self._viewers

    def clients(self, name: str) -> int:
        """Viewers of C{name} on this node."""
        place = self._places.get(name)
        return place.viewers if place is not None else 0

    def stream_clients(self, name: str) -> int:
        """Viewers of stream or file C{name}, here and on the nodes that take it from here."""
        return self.clients(name) + self.others.count(name)

    def counts(self) -> Mapping[tuple[str, str], int]:
        """Viewers on this node, by name and protocol."""
        return self._counts

    def ids(self) -> tuple[str, ...]:
        """Ids of all sessions that are told of."""
        return tuple([key for key, each in self._by_id.items() if each.announced and each.live])

    def of_user(self, user_id: str) -> tuple[SessionFacts, ...]:
        """The sessions of a user here, the oldest first."""
        found = [self.facts(each) for each in self._users.get(user_id, ())]
        return tuple(sorted(found, key=lambda facts: (facts.opened_at, facts.session_id)))

    @property
    def refusals(self) -> int:
        """Identities that are refused without a question for now."""
        return self._refusals

    @property
    def failures(self) -> int:
        """Errors of ours in the periodic work."""
        return self._wheel.failures

    def take_traffic(self) -> dict[tuple[str, str], int]:
        """Bytes by name and protocol since the last call. A session's are up to a minute late."""
        traffic, self._traffic = self._traffic, {}
        return traffic

    def listen(self, listener: SessionListener) -> None:
        """Tell C{listener} from now on."""
        self._listeners.append(listener)

    # What the gate does.

    def place(self, name: str, auth: AuthConfig) -> Place:
        """What is kept of C{name}, under the rules it has now."""
        place = self._places.get(name)
        if place is None:
            place = Place(name, auth)  # kept once it has a session
        elif place.auth is not auth:
            place.auth = auth
        return place

    def known_place(self, name: str) -> Place | None:
        """What is kept of C{name}, if it has sessions."""
        return self._places.get(name)

    def places(self) -> tuple[Place, ...]:
        """All names that have sessions."""
        return tuple(self._places.values())

    def open(
        self, request: OpenRequest, place: Place, key: Key | None, token: str, appended: bool
    ) -> Session:
        """A new session, not granted yet.

        @param key: its identity; None: it is one by itself. @param token: what the backend is asked about.
        @param appended: whether playlists append it.
        @raise Refused: OVERLOADED: there are too many, or too many new ones of this address.
        """
        now = self._clock.seconds()
        if len(self._by_id) + self._asked >= self._max:
            self.full += 1
            raise Refused(Reason.OVERLOADED, "this node has as many sessions as it can have")
        if not self._newcomers.admit(request.peer, now):
            self.full += 1
            raise Refused(Reason.OVERLOADED, "too many new sessions from this address")
        session_id = self._new_id()
        session = Session(
            session_id=session_id,
            place=place,
            keeper=self,
            key=key if key is not None else (session_id,),
            proto=self._word(request.proto),
            ip=request.peer,
            kind=self._word(request.action),
            opened_at=self._utc_ms(),
            touched=now,
            told=now,
            given=token if appended else request.token,
            secret_token=token,
            agent=self._word(request.user_agent),
            referer=self._word(request.referer),
            host=self._word(request.host),
            query=request.query[:_MAX_ASKED] if appended else told_query(request.query, self.secret_fields),
            country=self._word(self.country_of(request.peer)),
            past=request.span is not None,
            password=request.password if appended else "",
        )
        self._asked += 1
        self._places[place.name] = place
        place.sessions[session.key] = session
        return session

    def grant(self, session: Session) -> None:
        """C{session} may; its state says so already."""
        if session.live:
            return
        session.live = True
        self._asked -= 1
        self._by_id[session.session_id] = session
        if session.kind == "play":
            self._count(session, 1)
        if session.user_id:
            self._users.setdefault(session.user_id, set()).add(session)
        if session.announced:
            self._authorized(session)
        self._wheel.at(session, self._next_look(session))

    def identified(self, session: Session, user_id: str) -> None:
        """The backend says whose C{session} is."""
        if user_id == session.user_id:
            return
        self._unlist_user(session)
        session.user_id = user_id
        if user_id and session.live:
            self._users.setdefault(user_id, set()).add(session)

    def excess(self, session: Session, soft: bool = False) -> str:
        """Why C{session} is one too many; empty: it is not."""
        since = self._clock.seconds() - SOFT_SECONDS if soft else None
        return excess(session, self._users.get(session.user_id, ()), self.others, since)

    def end_others(self, session: Session) -> None:
        """C{session} is to be the only one of its user."""
        now = self._clock.seconds()
        for other in tuple(self._users.get(session.user_id, ())):
            if other is not session:
                banned = now + UNIQUE_SECONDS if other.ip != session.ip else 0.0
                self.refuse(other, "limit", "this user plays elsewhere now", banned)
        for facts in self.others.of_user(session.user_id):
            if facts.session_id != session.session_id:
                self.others.end(facts.session_id, "limit")

    def refuse(self, session: Session, why: str, text: str, until: float, url: str = "") -> None:
        """End C{session} because it may not (go on), and remember that.

        @param why: L{SessionFacts.closed_why}. @param text: what who comes back until C{until} is told.
        @param url: where it is sent then.
        """
        place, key = session.place, session.key
        self.close(session, why, text)
        if until > self._clock.seconds() and key != (session.session_id,) and self._refusals < MAX_REFUSALS:
            refusal = Refusal(until, text, url)
            place = self._places.setdefault(place.name, place)
            if key in place.sessions:
                return
            place.sessions[key] = refusal
            self._refusals += 1
            self._wheel.at(_Forgetting(place, key, refusal), until)

    def forget_refusal(self, place: Place, key: Key) -> None:
        """It is not refused any more."""
        if isinstance(place.sessions.get(key), Refusal):
            self._refusals -= 1
            self._drop(place, key)

    def close(self, session: Session, why: str, text: str = "") -> None:
        """C{session} is over. Idempotent.

        @param why: L{SessionFacts.closed_why}. @param text: what its connections are told.
        """
        if session.closed_at is not None:
            return
        now = self._utc_ms()
        session.closed_at, session.closed_why = now, why
        if session.live:
            session.live = False
            del self._by_id[session.session_id]
            if session.kind == "play":
                self._count(session, -1)
        else:
            self._asked -= 1
        self._unlist_user(session)
        if session.place.sessions.get(session.key) is session:
            self._drop(session.place, session.key)
        self._flush(session)
        if session.announced:
            self._tell("closed", session)
        session.let_go(text or why)

    def reconsider(self, session: Session) -> None:
        """C{session} was decided on: look at it when something is due now."""
        if session.live:
            self._wheel.at(session, self._next_look(session))

    def age(self, session: Session) -> float:
        """Seconds since C{session} was opened."""
        return max(0, self._utc_ms() - session.opened_at) / 1000

    def touch(self, session: Session) -> None:
        """A request of it came."""
        session.touched = self._clock.seconds()

    # What sessions do.

    def announce(self, session: Session) -> None:
        """Tell of C{session} for the first time."""
        if not session.announced and session.closed_at is None:
            session.announced = True
            self._tell("opened", session)
            if session.live:
                self._authorized(session)

    def started(self, session: Session) -> None:
        """It is given media from now on."""
        if session.started_at is None and session.closed_at is None:
            self.announce(session)
            session.started_at = self._utc_ms()
            self._tell("started", session)

    def attached(self, session: Session) -> None:
        """A connection serves it."""
        self.started(session)
        self.touch(session)
        self._wheel.at(session, self._next_look(session))

    def detached(self, session: Session) -> None:
        """A connection less."""
        self.touch(session)
        if session.links is None and not session.comes_back:
            self.close(session, "left")

    # What the API does.

    def kick(self, session_id: str, why: str = "kicked") -> bool:
        """End a session, and refuse its viewer for L{KICKED_SECONDS}; whether there was one.

        @param why: L{SessionFacts.closed_why}.
        """
        session = self._by_id.get(session_id)
        if session is None:
            return False
        until = self._clock.seconds() + KICKED_SECONDS
        self.refuse(session, why, "this session was ended", until)
        return True

    def reauth(self, name: str = "", session_id: str = "") -> int:
        """Have the backend asked about a session, or all sessions and refusals of a name, within seconds.

        @return: how many sessions that are.
        """
        if session_id:
            session = self._by_id.get(session_id)
            return self._force(session) if session is not None else 0
        place = self._places.get(name)
        if place is None:
            return 0
        for key in [key for key, each in place.sessions.items() if isinstance(each, Refusal)]:
            self.forget_refusal(place, key)
        found = [each for each in place.sessions.values() if isinstance(each, Session) and each.live]
        return sum(map(self._force, found))

    def stop(self) -> None:
        """The node stops: all sessions are over."""
        for session in tuple(self._by_id.values()):
            self.close(session, "stopped", "the node stops")
        self._wheel.stop()

    def facts(self, session: Session) -> SessionFacts:
        """What is told of C{session} now."""
        if session.closed_at is not None or session.links is not None:
            updated = session.closed_at or self._utc_ms()
        else:
            updated = self._utc_ms() - int((self._clock.seconds() - session.touched) * 1000)
        shown = None
        if session.links is not None and not session.past and session.closed_at is None:
            shown = self.newest(session.place.name)
        elif session.shown and session.closed_at is None:
            shown = session.shown * 1000 // TICKS_PER_SECOND
        return SessionFacts(
            session_id=session.session_id,
            name=session.place.name,
            current_time=shown,
            ts_delay=max(0, updated - shown) if shown is not None else None,
            kind=session.kind,
            proto=session.proto,
            ip=session.ip,
            country=session.country,
            token_hash=token_hash(self._secret, session.secret_token),
            user_id=session.user_id,
            user_agent=session.agent,
            referer=told_page(session.referer, self.secret_fields),
            query=told_query(session.query, self.secret_fields),
            opened_at=session.opened_at,
            started_at=session.started_at,
            updated_at=max(updated, session.opened_at),
            closed_at=session.closed_at,
            bytes=session.sent,
            past=session.past,
            node_id=self._node_id,
            closed_why=session.closed_why,
        )

    # Periodic work.

    def _look(self, thing: Session | _Forgetting) -> float:
        if isinstance(thing, _Forgetting):
            if thing.place.sessions.get(thing.key) is not thing.refusal:
                return math.inf
            if self._clock.seconds() < thing.refusal.until:
                return thing.refusal.until
            self.forget_refusal(thing.place, thing.key)
            return math.inf
        if thing.closed_at is not None:
            return math.inf
        self._watch(thing, self._clock.seconds())
        return math.inf if thing.closed_at is not None else self._next_look(thing)

    def _watch(self, session: Session, now: float) -> None:
        """Do what is due about C{session}."""
        self._flush(session)
        if session.links is None and now - session.touched >= session.idle_after:
            self.close(session, "idle")
        elif now >= session.over_until:
            session.over_until = math.inf
            text = self.excess(session, soft=True)
            if text:
                self.say_excess(session, text)
                self.refuse(session, "limit", text, now + session.duration)
        else:
            if now - session.told >= UPDATE_SECONDS and session.announced:
                session.told = now
                self._tell("updated", session)
            if now >= session.due and session.asking is None and self._asks_by_itself(session):
                session.forced = False
                self.ask(session)

    @staticmethod
    def _asks_by_itself(session: Session) -> bool:
        return session.forced or (session.links is not None)

    def _next_look(self, session: Session) -> float:
        """When something is to be done about C{session}, at the latest."""
        when = min(session.over_until, session.told + UPDATE_SECONDS)
        if session.links is None:
            when = min(when, session.touched + session.idle_after)
        if session.asking is None and self._asks_by_itself(session):
            when = min(when, session.due)
        return when

    def say_excess(self, session: Session, text: str) -> None:
        """Log that C{session} is one too many."""
        _log.info(
            "session {session} of {name} ends: {why} (user {user!r}, token {token})",
            session=session.session_id,
            name=session.place.name,
            why=text,
            user=session.user_id,
            token=token_hash(self._secret, session.secret_token) or "none",
        )

    # Inside.

    def _force(self, session: Session) -> int:
        if math.isinf(session.due) and not session.place.auth.on_play and session.kind == "play":
            return 0  # there is nobody to ask
        now = self._clock.seconds()
        session.forced = True
        session.due = min(session.due, now)
        self._wheel.at(session, now)
        return 1

    def _count(self, session: Session, more: int) -> None:
        self._viewers += more
        session.place.viewers += more
        where = (session.place.name, session.proto)
        count = self._counts.get(where, 0) + more
        if count:
            self._counts[where] = count
        else:
            del self._counts[where]

    def _authorized(self, session: Session) -> None:
        if not session.authorized:
            session.authorized = True
            self._tell("authorized", session)

    def _unlist_user(self, session: Session) -> None:
        users = self._users.get(session.user_id)
        if users is not None:
            users.discard(session)
            if not users:
                del self._users[session.user_id]

    def _drop(self, place: Place, key: Key) -> None:
        del place.sessions[key]
        if not place.sessions and self._places.get(place.name) is place:
            del self._places[place.name]

    def _flush(self, session: Session) -> None:
        sent = session.sent
        more = sent - session.flushed
        if more > 0 and session.kind == "play":
            session.flushed = sent
            where = (session.place.name, session.proto)
            self._traffic[where] = self._traffic.get(where, 0) + more
            self.sent[session.proto] = self.sent.get(session.proto, 0) + more

    def _word(self, word: str) -> str:
        known = self._words.get(word)
        if known is None:
            if len(self._words) >= _MAX_WORDS:
                self._words.clear()
            known = self._words[word] = word
        return known

    def _tell(self, event: str, session: Session) -> None:
        if not self._listeners:
            return
        facts = self.facts(session)
        for listener in self._listeners:
            try:
                listener.session_event(f"{session.kind}_{event}", facts)
            except Exception:
                _log.failure("a listener of sessions failed")


class _Forgetting:
    """That a refusal is to be forgotten."""

    __slots__ = ("key", "place", "refusal", "wake")

    def __init__(self, place: Place, key: Key, refusal: Refusal) -> None:
        self.place = place
        self.key = key
        self.refusal = refusal
        self.wake = 0
