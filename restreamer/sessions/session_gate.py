"""The gate of viewers and publishers: every protocol asks it, by one question, before its first answer.

A request of a session that was granted is answered from what is known, in constant time and without
waiting; when the backend's answer has run out, it is asked again in passing. Only who is new waits for the
backend, and whoever comes meanwhile as the same viewer waits with it: one question, however many requests.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Coroutine
from typing import Any, Final

from attrs import define, evolve, field
from twisted.internet.defer import CancelledError, Deferred
from twisted.python.failure import Failure

from restreamer.config.model import AuthConfig
from restreamer.errors import Reason, Refused
from restreamer.http1.play_request import query_value
from restreamer.logs import Logger
from restreamer.seams import Clock, Gate, Grant, OpenRequest
from restreamer.sessions.answers import Answer, Backend, Question, Verdict
from restreamer.sessions.decision import State
from restreamer.sessions.identity import (
    LISTED_PROTOS,
    NO_VIEWERS,
    given_token,
    identity,
    is_alone,
    made_token,
    may_embed,
)
from restreamer.sessions.limits import SOFT_SECONDS, Upstream
from restreamer.sessions.session import Refusal, Session
from restreamer.sessions.table import SessionTable

_log = Logger()

#: Where a viewer may be sent (RFC 3986), and what may stand in a header.
_ELSEWHERE: Final = re.compile(r"(?:https?|rtmps?|rtsps?)://[!-~]{1,2000}")
_OPEN: Final = AuthConfig()
#: A question about who is in that failed sooner is asked once more before it counts, seconds.
_BROKEN_OFF: Final = 1.0
_REFUSED: Final = "this may not be played or published here"


@define
class GateCounters:
    """What backends were asked, since the start.

    @ivar answers: by verdict. @ivar seconds: that the answers took, all together.
    @ivar refused: requests that were not granted, by whatever rule. @ivar failures: errors of ours.
    """

    questions: int = 0
    answers: dict[Verdict, int] = field(factory=lambda: dict.fromkeys(Verdict, 0))
    seconds: float = 0.0
    refused: int = 0
    failures: int = 0


@define(eq=False)
class _Asking:
    """A question on its way. @ivar waiters: requests that wait for it. @ivar work: the asking itself."""

    waiters: dict[Deferred[None], None] = field(factory=dict)
    work: Deferred[None] | None = None


class SessionGate:
    """A L{restreamer.seams.Gate}.

    @param before: asked first about publishers (L{restreamer.viewers.gate.PasswordGate}).
    @param auth_of: the rules of a name; None: it has none.
    @param backend_of: who is asked about a name, for C{"play"} or C{"publish"}; None: it cannot be told.
    @param secret: of this node, 16 to 64 bytes, the same after a restart.
    @ivar token_field: of queries: it has the token where C{token} is not there; empty: none has.
    @ivar observe: told of each answer of a backend, with the seconds it took.
    @ivar upstream: asked whether limits that hold for more nodes than this one leave room.
    """

    upstream: Upstream | None

    def __init__(
        self,
        table: SessionTable,
        clock: Clock,
        auth_of: Callable[[str], AuthConfig | None],
        backend_of: Callable[[str, str], Backend | None],
        secret: bytes,
        before: Gate,
        upstream: Upstream | None = None,
    ) -> None:
        self.upstream = upstream
        self.token_field = ""
        self.counters = GateCounters()
        self.observe: Callable[[Verdict, float], None] = lambda verdict, seconds: None
        self._table = table
        self._clock = clock
        self._auth_of = auth_of
        self._backend_of = backend_of
        self._secret = secret
        self._before = before
        self._answered: dict[str, float] = {}
        table.ask = self._ask_again

    async def open(self, request: OpenRequest) -> Grant:
        """Grant C{request}, or refuse it.

        @raise Refused: DENIED; OVERLOADED: there are too many sessions.
        @raise restreamer.errors.Redirected: the backend sends the viewer elsewhere.
        """
        if request.action != "play":
            grant = await self._before.open(request)
            if request.proto not in NO_VIEWERS:
                await self._publish(request)
            return grant
        if request.proto not in NO_VIEWERS:
            if self.token_field and not request.token:
                token = query_value(request.query, self.token_field)
                request = evolve(request, token=token) if token else request
            if request.part:
                self._part(request)
            else:
                session = self._known(request)
                if not isinstance(session, Session):
                    session = self._new(request)
                if session.state is State.NEW:
                    await self._wait(session)
                self._admit(session, request)
        return Grant(request=request)

    def reconfigured(self, changed: Callable[[AuthConfig, AuthConfig], bool] = AuthConfig.__ne__) -> None:
        """The configuration is another one: sessions under other rules than before are asked about anew."""
        self._answered.clear()
        for place in self._table.places():
            auth = self._auth(place.name)
            before, place.auth = place.auth, auth
            if changed(before, auth):
                for session in [each for each in place.sessions.values() if isinstance(each, Session)]:
                    if session.live and not self._asks(auth, session.kind):
                        session.grant_for_ever()
                self._table.reauth(place.name)

    def goes_on(self, session: Session) -> bool:
        """A request of a session that was granted, of which another process knows: whether it may go on."""
        if session.closed_at is not None or not self._goes_on(session):
            return False
        session.touched = self._clock.seconds()
        return True

    # Requests of what is known.

    def _part(self, request: OpenRequest) -> None:
        """A piece of what is listed: there is a session that was granted, or nobody need have one."""
        auth = self._auth(request.name)
        place = self._table.known_place(request.name)
        if place is not None:
            token = self._token(request, auth)
            for proto in LISTED_PROTOS:
                session = place.sessions.get(identity(auth.session_keys, request, token, proto))
                if isinstance(session, Session) and session.live:
                    if not self._goes_on(session):
                        continue
                    if session.started_at is None:
                        self._table.started(session)
                    self._admit(session, request)
                    return
        if auth.guards:
            self.counters.refused += 1
            raise Refused(Reason.DENIED, "there is no session of this viewer: begin with the playlist")

    def _known(self, request: OpenRequest) -> Session | None:
        """The session of a viewer that begins, or begins again; None: there is none.

        @raise Refused: it was refused a moment ago.
        """
        auth = self._auth(request.name)
        if not may_embed(auth.domains, request.referer):
            self.counters.refused += 1
            raise Refused(Reason.DENIED, "this stream may not be embedded there")
        if auth.by_country and not auth.may_from(self._table.country_of(request.peer)):
            self.counters.refused += 1
            raise Refused(Reason.DENIED, "this stream may not be played in this country")
        if is_alone(auth, request):
            return None
        key = identity(auth.session_keys, request, self._token(request, auth), request.proto)
        for _ in range(2):
            place = self._table.known_place(request.name)
            held = place.sessions.get(key) if place is not None else None
            if place is None or held is None:
                return None
            if isinstance(held, Refusal):
                if self._clock.seconds() < held.until:
                    self.counters.refused += 1
                    raise held.error()
                self._table.forget_refusal(place, key)
                return None
            if held.state is State.NEW or self._goes_on(held):
                return held
        return None

    def _goes_on(self, session: Session) -> bool:
        """Whether a granted session is still one; its backend is asked in passing."""
        if self._clock.seconds() >= session.due and session.asking is None:
            self._ask_again(session)
        return session.live

    def _admit(self, session: Session, request: OpenRequest) -> None:
        """The last look at a request of C{session}.

        @raise Refused: DENIED.
        """
        if not session.live:
            self.counters.refused += 1
            held = session.place.sessions.get(session.key)
            raise held.error() if isinstance(held, Refusal) else Refused(Reason.DENIED, _REFUSED)
        span = request.span
        if span is not None and not (session.touches(span) if request.part else session.allows(span)):
            self.counters.refused += 1
            raise Refused(Reason.DENIED, "this part of the archive may not be played")
        session.touched = self._clock.seconds()
        if request.account is not None:
            request.account.viewing = session

    # Who is new.

    def _new(self, request: OpenRequest) -> Session:
        """Begin a session; it is granted or refused when this returns, or a question is on its way.

        @raise Refused: it cannot be.
        """
        auth = self._auth(request.name)
        token = self._token(request, auth)
        alone = is_alone(auth, request)
        key = None if alone else identity(auth.session_keys, request, token, request.proto)
        place = self._table.place(request.name, auth)
        session = self._table.open(request, place, key, token, appended=bool(auth.on_play))
        self._begin(session)
        return session

    async def _publish(self, request: OpenRequest) -> None:
        auth = self._auth(request.name)
        place = self._table.place(request.name, auth)
        token = given_token(request)
        session = self._table.open(request, place, None, token, appended=bool(auth.on_publish))
        self._begin(session)
        if session.state is State.NEW:
            await self._wait(session)
        self._admit(session, request)

    def _begin(self, session: Session) -> None:
        auth = session.place.auth
        if self._asks(auth, session.kind):
            self._table.announce(session)
            self._ask(session)
        elif self.upstream is not None and auth.max_sessions and session.kind == "play":
            self._start(session, self._claim_only(session))
        else:
            self._grant_open(session)

    def _grant_open(self, session: Session, claimed: bool | None = None) -> None:
        session.grant_for_ever()
        if self._fits(session, claimed):
            self._table.grant(session)

    async def _wait(self, session: Session) -> None:
        """Wait until it is decided; when nobody waits any more nobody is asked."""
        asking = session.asking
        assert isinstance(asking, _Asking)
        waiter: Deferred[None] = Deferred()
        asking.waiters[waiter] = None
        try:
            await waiter
        finally:
            asking.waiters.pop(waiter, None)
            if not asking.waiters and session.asking is asking and asking.work is not None:
                asking.work.cancel()

    # Asking.

    def _asks(self, auth: AuthConfig, action: str) -> bool:
        return bool(auth.on_play if action == "play" else auth.on_publish)

    def _ask_again(self, session: Session) -> None:
        if session.asking is None and session.live:
            self._ask(session)

    def _ask(self, session: Session) -> None:
        action = session.kind
        backend = (
            self._backend_of(session.place.name, action) if self._asks(session.place.auth, action) else None
        )
        if backend is None:
            if self._asks(session.place.auth, action):
                self._take(session, Answer(verdict=Verdict.DENY, why="nobody can be asked"))
            elif session.live:
                session.grant_for_ever()
            return
        self._start(session, self._decide(session, backend))

    def _start(self, session: Session, work: Coroutine[Any, Any, None]) -> None:
        """Run the asking; it may be over when this returns."""
        session.asking = asking = _Asking()
        asking.work = Deferred.fromCoroutine(work)
        _ = asking.work.addErrback(self._not_asked, session)
        _ = asking.work.addCallback(self._asked, session, asking)

    def _not_asked(self, failure: Failure, session: Session) -> None:
        if failure.check(CancelledError) is None:
            self.counters.failures += 1
            _log.failure("a session could not be decided on", failure)

    def _asked(self, _: None, session: Session, asking: _Asking) -> None:
        if session.asking is asking:
            session.asking = None
        if session.state is State.NEW or (session.closed_at is None and not session.live):
            self._table.close(session, "left")
        self._table.reconsider(session)
        for waiter in tuple(asking.waiters):
            if not waiter.called:
                waiter.callback(None)

    async def _decide(self, session: Session, backend: Backend) -> None:
        began = self._clock.seconds()
        question = self._question(session)
        session.number += 1
        self.counters.questions += 1
        try:
            answer = await backend.ask(question)
        except CancelledError:
            raise
        except Exception:
            self.counters.failures += 1
            _log.failure("a backend failed")
            answer = Answer(verdict=Verdict.FAILED, why="the backend cannot be asked")
        now = self._clock.seconds()
        self.counters.answers[answer.verdict] += 1
        self.counters.seconds += now - began
        self.observe(answer.verdict, now - began)
        if session.closed_at is not None:
            return
        if answer.verdict is Verdict.REDIRECT and not _ELSEWHERE.fullmatch(answer.location):
            answer = evolve(answer, verdict=Verdict.ALLOW)
        auth = session.place.auth
        asked = auth.on_play if session.kind == "play" else auth.on_publish
        if answer.verdict in (Verdict.ALLOW, Verdict.DENY, Verdict.REDIRECT):
            self._answered[asked] = now
        # What cannot be read comes within a moment: who is answered since the first such answer counts.
        # One that was broken off may be the backend's end: who was answered just before says nothing then.
        since = min(began, session.silent_since)
        broken_off = session.silent_since == math.inf and now - began < _BROKEN_OFF
        session.silent_since = since if answer.verdict is Verdict.FAILED else math.inf
        nobody = broken_off or self._answered.get(asked, -1.0) < since
        claimed = None
        if answer.verdict is Verdict.ALLOW and not session.live:
            claimed = await self._claim(session, answer)
            if session.closed_at is not None:
                return
        self._take(session, answer, nobody, claimed)

    def _question(self, session: Session) -> Question:
        table = self._table
        return Question(
            name=session.place.name,
            action=session.kind,
            proto=session.proto,
            ip=session.ip,
            request_type="update_session" if session.live else "new_session",
            session_id=session.session_id,
            request_number=session.number,
            stream_clients=table.stream_clients(session.place.name),
            total_clients=table.total(),
            token=session.secret_token,
            password=session.password,
            duration=table.age(session) if session.live else 0.0,
            bytes=session.sent,
            query=session.query,
            user_agent=session.agent,
            referer=session.referer,
            host=session.host,
            country=session.country,
        )

    def _take(
        self, session: Session, answer: Answer, nobody_answers: bool = False, claimed: bool | None = None
    ) -> None:
        """What a backend said of C{session}."""
        now = self._clock.seconds()
        table = self._table
        session.forced = False
        session.take(answer.verdict, answer.duration, session.place.auth.grace, now, nobody_answers)
        if answer.verdict is Verdict.ALLOW:
            session.ranges = answer.ranges
            session.max_sessions = answer.max_sessions
            if session.live:
                table.identified(session, answer.user_id)
            else:
                session.user_id = answer.user_id
                if self._fits(session, claimed):
                    table.grant(session)
                    if answer.unique and answer.user_id:
                        table.end_others(session)
        elif session.state is State.REDIRECTED:
            table.refuse(session, "denied", "this viewer is sent elsewhere", session.due, answer.location)
        elif session.state is State.DENIED:
            table.refuse(session, "denied", _REFUSED, session.due)

    # Limits.

    def _fits(self, session: Session, claimed: bool | None) -> bool:
        """Whether there is room for a session that may; if not, it is refused.

        @param claimed: what the nodes above say; None: nothing.
        """
        if session.kind != "play":
            return True
        text = self._table.excess(session) if claimed is None else ""
        if claimed is False:
            text = "there are as many sessions as there may be"
        if not text:
            return True
        now = self._clock.seconds()
        if session.place.auth.soft_limitation:
            session.over_until = now + SOFT_SECONDS
            return True
        self._table.say_excess(session, text)
        session.state = State.DENIED
        self._table.refuse(session, "limit", text, now + session.duration)
        return False

    async def _claim(self, session: Session, answer: Answer) -> bool | None:
        """Ask above, where there is a limit that others count for too."""
        upstream = self.upstream
        most = session.place.auth.max_sessions
        if upstream is None or session.kind != "play":
            return None
        if not most and not (answer.user_id and (answer.unique or answer.max_sessions is not None)):
            return None
        try:
            return await upstream.claim(
                session.place.name,
                answer.user_id,
                session.session_id,
                answer.unique,
                answer.max_sessions,
                most or None,
            )
        except CancelledError:
            raise
        except Exception:
            self.counters.failures += 1
            _log.failure("the nodes above could not be asked about a session")
            return None

    async def _claim_only(self, session: Session) -> None:
        claimed = await self._claim(session, Answer(verdict=Verdict.ALLOW))
        if session.closed_at is None:
            self._grant_open(session, claimed)

    # Rules.

    def _auth(self, name: str) -> AuthConfig:
        return self._auth_of(name) or _OPEN

    def _token(self, request: OpenRequest, auth: AuthConfig) -> str:
        """The token by which the viewer is known.

        @raise Refused: DENIED: it has none, and gets none.
        """
        token = given_token(request)
        if token or not auth.on_play:
            return token
        if not auth.auto_token:
            self.counters.refused += 1
            raise Refused(Reason.DENIED, "a token is needed")
        return made_token(self._secret, auth.session_keys, request)
