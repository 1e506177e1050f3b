"""What a backend is asked about a session, and what it can answer: between the table and the backends."""

from __future__ import annotations

import enum
from collections.abc import Awaitable
from typing import Protocol

from attrs import field, frozen


class Verdict(enum.Enum):
    """What came of asking.

    ALLOW and DENY are decisions. UNDECIDED (the backend said 5xx, or nobody listens) leaves everything as it
    was; who is new is refused. FAILED: no answer in time, or none that can be read.
    """

    ALLOW = "allow"
    DENY = "deny"
    REDIRECT = "redirect"
    UNDECIDED = "undecided"
    FAILED = "failed"


@frozen(kw_only=True)
class Question:
    """One question to a backend. Times are seconds.

    @ivar action: C{"play"} or C{"publish"}. @ivar request_type: C{new_session} or C{update_session}.
    @ivar request_number: from 0, rises with each question about the session.
    @ivar duration: age of the session, 0.0 for a new one. @ivar bytes: sent so far.
    @ivar query: of the first request, as received (secret). @ivar stream_clients, total_clients: now.
    @ivar span: UTC seconds of the archive that is asked for; None: it is about live.
    """

    name: str
    action: str
    proto: str
    ip: str
    request_type: str
    session_id: str
    request_number: int = 0
    stream_clients: int = 0
    total_clients: int = 0
    token: str = field(default="", repr=False)
    password: str = field(default="", repr=False)
    duration: float = 0.0
    bytes: int = 0
    query: str = field(default="", repr=False)
    user_agent: str = ""
    referer: str = ""
    host: str = ""
    country: str = ""
    span: tuple[float, float] | None = None


@frozen(kw_only=True)
class Answer:
    """What a backend said.

    @ivar why: one plain sentence for the log, without secrets.
    @ivar location: of a REDIRECT: an absolute URL, checked.
    @ivar duration: seconds the answer holds; None: the default.
    @ivar user_id: the user, or empty. @ivar unique: all other sessions of that user end.
    @ivar max_sessions: of that user; None: no limit.
    @ivar ranges: UTC seconds (from, to) of the archive that may be played; None: all of it.
    """

    verdict: Verdict
    why: str = ""
    location: str = field(default="", repr=False)
    duration: float | None = None
    user_id: str = ""
    unique: bool = False
    max_sessions: int | None = None
    ranges: tuple[tuple[float, float], ...] | None = None


class Backend(Protocol):
    """Somebody who decides who may play or publish."""

    def ask(self, question: Question) -> Awaitable[Answer]:
        """Decide on C{question}, in bounded time. It never raises; it is cancelled when nobody waits."""
        ...
