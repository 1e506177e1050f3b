"""Endpoints about viewers: sessions, what was journalled, traffic, events."""

from __future__ import annotations

import heapq
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from typing import Any, Final, Protocol

from attrs import asdict, define, field

from restreamer.events.sinks import SinkFacts
from restreamer.journal.database import MAX_ROWS, JournalError, SessionQuery
from restreamer.journal.service import JournalFacts
from restreamer.viewer_facts import SessionFacts
from restreamer.web.api_error import ApiError
from restreamer.web.v3.endpoint import Access, Answered, Call, Endpoint, Parameter
from restreamer.web.v3.event_stream import EventStreams
from restreamer.web.v3.listing import PARAMETERS, Listing
from restreamer.web.v3.viewing_info import (
    Asked,
    EventList,
    JournalList,
    JournalState,
    NodeList,
    SessionInfo,
    SessionList,
    SinkInfo,
    SinkList,
    TrafficList,
    ViewersOfNode,
)

#: Sessions looked at in one turn of the reactor.
PER_TURN: Final = 500
#: Nodes that are told of, and streams of each.
MAX_NODES: Final = 1000
MOST_WATCHED: Final = 3
#: Longest time of traffic in one answer: so many steps.
MAX_STEPS: Final = 2000
_MINUTE: Final = 60_000
#: The largest whole number that every reader of JSON takes as it is (RFC 8259 section 6).
_MOST: Final = (1 << 53) - 1


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
        ids = self.directory.ids(scope == "cluster")
        listing = Listing(
            "sessions",
            SessionInfo,
            lambda: ids,
            self._find,
            self.seconds,
            key="id",
            searched=("name", "ip", "user_id"),
        )
        if listing.looks_at_all(call.query, ("scope",)):
            found: dict[str, SessionInfo] = {}
            async for facts in self._each(ids):
                found[facts.session_id] = session_info(facts)
            listing.keys, listing.find = lambda: found, found.get
        return {**listing.page(call.query, ("scope",)), "scope": scope}

    async def by_node(self) -> dict[str, Any]:
        """Viewers of this node and of those behind it, by node; that with the most first."""
        began = self.seconds()
        found: dict[str, dict[str, int]] = {}
        async for facts in self._each(self.directory.ids(True)):
            if facts.kind == "play":
                streams = found.setdefault(facts.node_id, {})
                streams[facts.name] = streams.get(facts.name, 0) + 1
        nodes = [_audience(node_id, streams) for node_id, streams in found.items()]
        nodes.sort(key=lambda each: (-each["viewers"], each["server_id"]))
        return {
            "nodes": nodes[:MAX_NODES],
            "estimated_count": len(nodes),
            "next": None,
            "prev": None,
            "timing": {"total": round((self.seconds() - began) * 1000)},
        }

    def _find(self, session_id: str) -> SessionInfo | None:
        facts = self.directory.find(session_id)
        return session_info(facts) if facts is not None else None

    async def _each(self, ids: Sequence[str]) -> AsyncIterator[SessionFacts]:
        """The sessions; others get a turn of the reactor now and then."""
        for at in range(0, len(ids), PER_TURN):
            if at:
                await self.turn()
            for session_id in ids[at : at + PER_TURN]:
                facts = self.directory.find(session_id)
                if facts is not None:
                    yield facts

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
        limit = _whole(query, "limit", 100, MAX_ROWS)
        if not limit:
            raise ApiError(400, "bad_limit", f"limit is a number from 1 to {MAX_ROWS}")
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

    def sink_list(self, call: Call) -> dict[str, Any]:
        """One page of the event sinks.

        @raise ApiError: 400.
        """
        found = {each.name: asdict(each) for each in self.sinks()}
        return Listing("event_sinks", SinkInfo, lambda: found, found.get, self.seconds).page(call.query)

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

    whole = {"type": "integer", "minimum": 0, "maximum": _MOST}
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
        made(
            "GET",
            "/cluster/viewers",
            "How many viewers this node and those behind it have, by node.",
            lambda call: api.by_node(),
            NodeList,
            tag="cluster",
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
            parameters=(
                Parameter(
                    name="name",
                    text="The stream.",
                    required=True,
                    schema={"type": "string", "minLength": 1},
                ),
            ),
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
                Parameter(
                    name="cursor",
                    text="next of an earlier answer.",
                    schema={"type": "string", "pattern": r"^([0-9]{1,16}\.[0-9a-f]{32})?$"},
                ),
                Parameter(
                    name="limit", text="How many.", schema={**whole, "minimum": 1, "maximum": MAX_ROWS}
                ),
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
                Parameter(
                    name="step",
                    text=f"Milliseconds; at most {MAX_STEPS} steps are told of.",
                    schema={**whole, "minimum": _MINUTE, "multipleOf": _MINUTE},
                ),
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
            api.sink_list,
            SinkList,
            tag="events",
            parameters=PARAMETERS,
        ),
    ]


def _audience(node_id: str, streams: Mapping[str, int]) -> ViewersOfNode:
    return ViewersOfNode(
        server_id=node_id,
        viewers=sum(streams.values()),
        streams=len(streams),
        most_watched=heapq.nsmallest(MOST_WATCHED, streams, lambda name: (-streams[name], name)),
    )


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


def _whole(query: Mapping[str, str], key: str, default: int | None = None, most: int = _MOST) -> int | None:
    text = query.get(key)
    if text is None:
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
