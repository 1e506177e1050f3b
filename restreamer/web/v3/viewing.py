"""Endpoints about viewers: sessions, what was journalled, traffic, events."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final, Protocol, TypedDict

from attrs import asdict, define, field

from restreamer.events.sinks import SinkFacts
from restreamer.journal.database import MAX_ROWS, JournalError, SessionQuery
from restreamer.journal.service import JournalFacts
from restreamer.viewer_facts import SessionFacts
from restreamer.web.api_error import ApiError
from restreamer.web.v3.endpoint import Access, Answered, Call, Endpoint, Parameter
from restreamer.web.v3.event_stream import EventStreams
from restreamer.web.v3.listing import PARAMETERS, Listing
from restreamer.web.v3.reading import Envelope, Timing

#: Sessions looked at in one turn of the reactor.
PER_TURN: Final = 500
#: Longest time of traffic in one answer: so many steps.
MAX_STEPS: Final = 2000
_MINUTE: Final = 60_000


class SessionInfo(TypedDict, total=False):
    """A session. Times are UTC milliseconds, C{ts_delay} milliseconds, C{bytes} what was sent so far.

    C{kind} is C{"play"} or C{"publish"}; C{token} stands for the token and is not it; C{server_id} is the
    node that serves it; C{dvr}: it plays the past.
    """

    id: str
    name: str
    kind: str
    proto: str
    ip: str
    country: str
    token: str
    user_id: str
    referer: str
    user_agent: str
    query_string: str
    opened_at: int
    started_at: int
    updated_at: int
    closed_at: int
    current_time: int
    bytes: int
    ts_delay: int
    dvr: bool
    server_id: str
    closed_why: str


class SessionList(Envelope):
    """Sessions. C{scope}: of this node, or of the cluster."""

    sessions: Sequence[SessionInfo]
    scope: str
    timing: Timing


class JournalList(TypedDict):
    """Closed sessions, the newest first."""

    sessions: Sequence[SessionInfo]
    next: str | None


class TrafficRow(TypedDict):
    """What was sent by a protocol in one step. C{at} is UTC milliseconds of its begin."""

    at: int
    proto: str
    bytes: int
    opened: int


class TrafficList(TypedDict):
    """Traffic by time and protocol. C{step}: milliseconds."""

    traffic: Sequence[TrafficRow]
    step: int


class JournalState(TypedDict):
    """How the journal is. C{waiting}, C{written}, C{lost}, C{rejected}: rows; C{spooled}: bytes on disk that
    are not in the database yet.
    """

    state: str
    url: str
    waiting: int
    spooled: int
    written: int
    lost: int
    rejected: int
    last_error: str


class SinkInfo(TypedDict):
    """How an event sink is; events."""

    name: str
    url: str
    waiting: int
    sent: int
    resent: int
    dropped: int
    last_error: str


class SinkList(TypedDict):
    """Event sinks."""

    event_sinks: Sequence[SinkInfo]


class EventList(TypedDict):
    """Events, the oldest first; C{newest}: number of the newest one there is."""

    events: Sequence[Mapping[str, Any]]
    newest: int


class Asked(TypedDict):
    """How many sessions are asked about again."""

    sessions: int


class SessionDirectory(Protocol):
    """All sessions, of this node and of those behind it."""

    def ids(self, cluster: bool) -> Sequence[str]:
        """Of all sessions of this node, or of the cluster."""
        ...

    def find(self, session_id: str) -> SessionFacts | None:
        """One of them."""
        ...

    def end(self, session_id: str) -> bool:
        """Send one away; whether it is known."""
        ...

    def reauth(self, name: str) -> int:
        """Ask the backends of all sessions of a stream again; how many there are."""
        ...


class JournalReader(Protocol):
    """The journal, as far as it can be asked."""

    def facts(self) -> JournalFacts:
        """How it is."""
        ...

    def sessions(self, query: SessionQuery) -> Awaitable[list[dict[str, Any]]]:
        """Closed sessions; fails with L{JournalError}."""
        ...

    def traffic(self, since: int, until: int, step: int, name: str = "") -> Awaitable[list[dict[str, Any]]]:
        """Traffic; fails with L{JournalError}."""
        ...


@define
class ViewingApi:
    """Answers about viewers.

    @ivar turn: gives a turn of the reactor to others. @ivar now_ms: UTC milliseconds.
    @ivar journal: gives it; None: there is none now. @ivar sinks: how event sinks are.
    """

    directory: SessionDirectory
    events: EventStreams
    seconds: Callable[[], float] = field(repr=False)
    now_ms: Callable[[], int] = field(repr=False)
    turn: Callable[[], Awaitable[None]] = field(repr=False)
    journal: Callable[[], JournalReader | None] = field(default=lambda: None)
    sinks: Callable[[], Sequence[SinkFacts]] = field(default=tuple)

    async def list(self, call: Call) -> dict[str, Any]:
        """One page of sessions.

        @raise ApiError: 400.
        """
        scope = call.query.get("scope", "node")
        if scope not in ("node", "cluster"):
            raise ApiError(400, "bad_scope", "scope is node or cluster")
        found: dict[str, SessionInfo] = {}
        ids = self.directory.ids(scope == "cluster")
        for at in range(0, len(ids), PER_TURN):
            for session_id in ids[at : at + PER_TURN]:
                facts = self.directory.find(session_id)
                if facts is not None:
                    found[session_id] = session_info(facts)
            if at + PER_TURN < len(ids):
                await self.turn()
        listing = Listing(
            "sessions",
            SessionInfo,
            lambda: found,
            found.get,
            self.seconds,
            key="id",
            searched=("name", "ip", "user_id"),
        )
        return {**listing.page(call.query, ("scope",)), "scope": scope}

    def item(self, session_id: str) -> SessionInfo:
        """One session.

        @raise ApiError: 404.
        """
        facts = self.directory.find(session_id)
        if facts is None:
            raise ApiError(404, "not_found", "there is no such session")
        return session_info(facts)

    def kick(self, session_id: str) -> Answered:
        """Send a viewer or publisher away.

        @raise ApiError: 404.
        """
        if not self.directory.end(session_id):
            raise ApiError(404, "not_found", "there is no such session")
        return Answered(204)

    def reauth(self, call: Call) -> Asked:
        """Ask the backends of a stream's sessions again.

        @raise ApiError: 400: there is no name.
        """
        name = call.query.get("name", "")
        if not name:
            raise ApiError(400, "bad_name", "name is missing")
        return Asked(sessions=self.directory.reauth(name))

    async def closed(self, call: Call) -> JournalList:
        """Closed sessions.

        @raise ApiError: 400, 404, 503.
        """
        query = call.query
        limit = _whole(query, "limit", 100, MAX_ROWS) or 100
        wanted = SessionQuery(
            name=query.get("name", ""),
            user_id=query.get("user_id", ""),
            ip=query.get("ip", ""),
            since=_whole(query, "since"),
            until=_whole(query, "until"),
            before=_cursor(query.get("cursor", "")),
            limit=limit,
        )
        rows = await self._asked(self._journal().sessions(wanted))
        last = rows[-1] if len(rows) == limit else None
        return JournalList(
            sessions=[_row_info(row) for row in rows],
            next=f"{last['closed_at']}.{last['session_id']}" if last is not None else None,
        )

    async def traffic(self, call: Call) -> TrafficList:
        """Traffic by time and protocol.

        @raise ApiError: 400, 404, 503.
        """
        now = self.now_ms()
        until = _whole(call.query, "until", now) or now
        since = _whole(call.query, "since", until - 3_600_000) or 0
        step = _whole(call.query, "step", _MINUTE) or _MINUTE
        if step % _MINUTE or since >= until or (until - since) // step > MAX_STEPS:
            raise ApiError(
                400, "bad_range", f"a step is whole minutes; at most {MAX_STEPS} from since to until"
            )
        rows = await self._asked(self._journal().traffic(since, until, step, call.query.get("name", "")))
        return TrafficList(traffic=rows, step=step)

    def journal_state(self) -> dict[str, Any]:
        """How the journal is.

        @raise ApiError: 404.
        """
        return asdict(self._journal().facts())

    def recent(self, call: Call) -> EventList:
        """Remembered events."""
        since = _whole(call.query, "since", 0) or 0
        events = self.events.events.since(since)
        return EventList(events=events, newest=events[-1]["event_id"] if events else since)

    def _journal(self) -> JournalReader:
        journal = self.journal()
        if journal is None:
            raise ApiError(404, "not_configured", "this node keeps no journal")
        return journal

    async def _asked(self, work: Awaitable[Any]) -> Any:
        try:
            return await work
        except JournalError as error:
            raise ApiError(503, "journal_away", f"the journal cannot be read now: {error}") from None


def viewing_endpoints(api: ViewingApi) -> list[Endpoint]:
    """All endpoints about viewers."""

    def made(method: str, path: str, summary: str, handler: Any, result: Any, **more: Any) -> Endpoint:
        more.setdefault("access", Access.PRIVATE)
        more.setdefault("tag", "sessions")
        return Endpoint(method=method, path=path, summary=summary, handler=handler, result=result, **more)

    whole = {"type": "integer", "minimum": 0}
    since = Parameter(name="since", text="From when, UTC milliseconds.", schema=whole)
    until = Parameter(name="until", text="Until when, UTC milliseconds.", schema=whole)
    name = Parameter(name="name", text="Only of this stream.")
    scope = Parameter(
        name="scope",
        text="Sessions of this node, or also of the nodes that take streams from it.",
        schema={"type": "string", "enum": ["node", "cluster"], "default": "node"},
    )
    return [
        made(
            "GET",
            "/sessions",
            "Viewers and publishers.",
            api.list,
            SessionList,
            parameters=(*PARAMETERS, scope),
        ),
        made("GET", "/sessions/{id}", "One of them.", lambda call: api.item(call.path["id"]), SessionInfo),
        made(
            "DELETE",
            "/sessions/{id}",
            "Send a viewer or publisher away.",
            lambda call: api.kick(call.path["id"]),
            None,
            status=204,
            access=Access.EDIT,
        ),
        made(
            "POST",
            "/sessions/reauth",
            "Ask the backends of all sessions of a stream again.",
            api.reauth,
            Asked,
            access=Access.EDIT,
            parameters=(Parameter(name="name", text="The stream.", required=True),),
        ),
        made(
            "GET",
            "/journal/sessions",
            "Closed sessions, the newest first.",
            api.closed,
            JournalList,
            parameters=(
                name,
                Parameter(name="user_id", text="Only of this user."),
                Parameter(name="ip", text="Only from this address."),
                since,
                until,
                Parameter(name="cursor", text="next of an earlier answer."),
                Parameter(name="limit", text="How many.", schema={**whole, "maximum": MAX_ROWS}),
            ),
        ),
        made(
            "GET",
            "/journal/traffic",
            "What was sent, by time and protocol.",
            api.traffic,
            TrafficList,
            parameters=(
                name,
                since,
                until,
                Parameter(name="step", text="Milliseconds, a multiple of 60000.", schema=whole),
            ),
        ),
        made("GET", "/journal", "How the journal is.", lambda call: api.journal_state(), JournalState),
        made(
            "GET",
            "/events",
            "The newest events.",
            api.recent,
            EventList,
            tag="events",
            parameters=(Parameter(name="since", text="Only behind this number.", schema=whole),),
        ),
        made(
            "GET",
            "/events/stream",
            "Events as they happen (server-sent events).",
            lambda call: api.events.begin(_whole(call.query, "since")),
            None,
            tag="events",
            content_type="text/event-stream",
            parameters=(Parameter(name="since", text="First those behind this number.", schema=whole),),
        ),
        made(
            "GET",
            "/event_sinks",
            "Where events are sent.",
            lambda call: {"event_sinks": [asdict(each) for each in api.sinks()]},
            SinkList,
            tag="events",
        ),
    ]


def session_info(facts: SessionFacts) -> SessionInfo:
    """What the API tells of a session; what is not known is left out."""
    told = SessionInfo(
        id=facts.session_id,
        name=facts.name,
        kind=facts.kind,
        proto=facts.proto,
        ip=facts.ip,
        opened_at=facts.opened_at,
        updated_at=facts.updated_at,
        bytes=facts.bytes,
        dvr=facts.past,
    )
    for key, value in (
        ("country", facts.country),
        ("token", facts.token_hash),
        ("user_id", facts.user_id),
        ("referer", facts.referer),
        ("user_agent", facts.user_agent),
        ("query_string", facts.query),
        ("server_id", facts.node_id),
        ("closed_why", facts.closed_why),
    ):
        if value:
            told[key] = value  # type: ignore[literal-required]  # mypy sees a str
    for key, moment in (
        ("started_at", facts.started_at),
        ("closed_at", facts.closed_at),
        ("current_time", facts.current_time),
        ("ts_delay", facts.ts_delay),
    ):
        if moment is not None:
            told[key] = moment  # type: ignore[literal-required]  # likewise
    return told


def _row_info(row: Mapping[str, Any]) -> SessionInfo:
    told = {key: row[key] for key in row if key not in _RENAMED and row[key] not in (None, "")}
    told.update({new: row[old] for old, new in _RENAMED.items() if row[old] not in (None, "")})
    info: SessionInfo = told  # type: ignore[assignment]  # the columns are its fields
    return info


_RENAMED: Final = {"session_id": "id", "token_hash": "token", "node_id": "server_id", "past": "dvr"}


def _whole(query: Mapping[str, str], key: str, default: int | None = None, most: int = 1 << 53) -> int | None:
    text = query.get(key, "")
    if not text:
        return default
    if not (text.isascii() and text.isdigit() and len(text) < 17) or int(text) > most:
        raise ApiError(400, "bad_number", f"{key} is a whole number up to {most}")
    return int(text)


def _cursor(text: str) -> tuple[int, str] | None:
    if not text:
        return None
    moment, _, session_id = text.partition(".")
    if not (moment.isascii() and moment.isdigit() and len(moment) < 17 and len(session_id) == 32):
        raise ApiError(400, "bad_cursor", "cursor is not one this server gave")
    return int(moment), session_id
