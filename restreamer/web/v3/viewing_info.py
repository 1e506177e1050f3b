"""What is told of viewers, as JSON: sessions, what was journalled, traffic, events."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypedDict

from restreamer.web.v3.reading import Envelope, Timing


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


class ViewersOfNode(TypedDict):
    """Viewers of one node. C{streams}: how many are watched; C{most_watched}: some of them."""

    server_id: str
    viewers: int
    streams: int
    most_watched: Sequence[str]


class NodeList(Envelope):
    """Nodes that serve viewers of streams of this node."""

    nodes: Sequence[ViewersOfNode]
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


class SinkList(Envelope):
    """Event sinks."""

    event_sinks: Sequence[SinkInfo]
    timing: Timing


class EventList(TypedDict):
    """Events, the oldest first; C{newest}: number of the newest one there is."""

    events: Sequence[Mapping[str, Any]]
    newest: int


class Asked(TypedDict):
    """How many sessions are asked about again."""

    sessions: int
