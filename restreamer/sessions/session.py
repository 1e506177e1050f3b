"""One session: a viewer of one stream by one protocol, or a publisher; and what is remembered of refusals."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final, Protocol

from attrs import define, field, frozen
from typing_extensions import override

from restreamer.config.model import AuthConfig
from restreamer.errors import Reason, Redirected, Refused
from restreamer.logs import Logger
from restreamer.sessions.decision import Decision
from restreamer.sessions.identity import FILE_PROTOS, Key

_log = Logger()

#: Seconds without a request after which a viewer that comes back for each piece has left, at most.
IDLE_SECONDS: Final = 60.0
#: The same for one that was granted and took nothing yet, of a stream about which nobody is asked.
UNUSED_SECONDS: Final = 15.0
#: An answer that holds for less is waited for this long beyond it, seconds.
LEAST_AFTER: Final = 10.0


@frozen(eq=False)
class Refusal:
    """That somebody was refused a moment ago, so that the backend is not asked again at once.

    @ivar until: monotonic seconds. @ivar url: where it was sent instead, or empty.
    """

    until: float
    text: str
    url: str = field(default="", repr=False)

    def error(self) -> Refused:
        """What is answered."""
        return Redirected(url=self.url) if self.url else Refused(Reason.DENIED, self.text)


@define(eq=False)
class Place:
    """A name that is played or published.

    @ivar viewers: granted sessions of viewers. @ivar sessions: all there are, and refusals, by identity.
    """

    name: str
    auth: AuthConfig
    viewers: int = 0
    sessions: dict[Key, Session | Refusal] = field(factory=dict, repr=False)


@define(eq=False)
class Link:
    """A connection that serves a session. @ivar sent: bytes so far. @ivar kick: ends it, with the reason."""

    session: Session
    sent: Callable[[], int]
    kick: Callable[[str], None]

    def detach(self) -> None:
        """It serves it no more. Idempotent."""
        session = self.session
        links = session.links
        if links is not None and self in links:
            links.remove(self)
            session.bytes += self.sent()
            if not links:
                session.links = None
            session.keeper.detached(session)


class Keeper(Protocol):
    """Who keeps sessions, as a session sees it."""

    def announce(self, session: Session) -> None:
        """It has begun to take something."""
        ...

    def close(self, session: Session, why: str, text: str = "") -> None:
        """It is over."""
        ...

    def attached(self, session: Session) -> None:
        """A connection serves it."""
        ...

    def detached(self, session: Session) -> None:
        """One less."""
        ...


@define(eq=False, repr=False, kw_only=True)
class Session(Decision):
    """See the module; a L{restreamer.seams.Viewing}. What is told of it is L{SessionFacts}.

    Times are monotonic seconds but for those that end in C{_at}, which are UTC milliseconds.

    @ivar given: what playlists append; L{secret_token}: what the backend is asked about.
    @ivar announced: it was told of. @ivar authorized: so was the backend's first consent.
    @ivar live: it was granted, and goes on. @ivar touched: its last request.
    @ivar links: the connections that serve it. @ivar flushed: bytes already added to the traffic.
    @ivar shown: end of the piece it asked for last, UTC ticks; 0: not known.
    @ivar ranges: UTC seconds of the archive that may be played; None: all.
    @ivar over_until: it is one too many and is cut then; infinite: it is not.
    @ivar forced: the backend is to be asked now. @ivar asking: a question is on its way.
    @ivar told: when the listeners heard of it last. @ivar wake: of the wheel.
    """

    session_id: str
    place: Place
    keeper: Keeper
    key: Key
    proto: str
    ip: str
    kind: str
    opened_at: int
    touched: float
    given: str = ""
    secret_token: str = ""
    password: str = ""
    agent: str = ""
    referer: str = ""
    host: str = ""
    query: str = ""
    country: str = ""
    user_id: str = ""
    max_sessions: int | None = None
    ranges: tuple[tuple[float, float], ...] | None = None
    past: bool = False
    announced: bool = False
    authorized: bool = False
    live: bool = False
    forced: bool = False
    asking: object | None = None
    started_at: int | None = None
    closed_at: int | None = None
    closed_why: str = ""
    bytes: int = 0
    flushed: int = 0
    shown: int = 0
    links: list[Link] | None = None
    over_until: float = math.inf
    told: float = 0.0
    wake: int = 0

    @override
    def __repr__(self) -> str:
        return f"<Session {self.session_id} {self.kind} {self.place.name} {self.proto}>"

    # Viewing.

    @property
    def token(self) -> str:
        """See L{restreamer.seams.Viewing}."""
        return self.given

    def count(self, size: int) -> None:
        """See L{restreamer.seams.Viewing}."""
        self.bytes += size
        if not self.announced:
            self.keeper.announce(self)

    def goes_on(self, now: float) -> bool:
        """See L{restreamer.seams.Viewing}."""
        if not self.live or self.closed_at is not None or now >= self.due:
            return False
        self.touched = now
        return True

    def show(self, until: int) -> None:
        """See L{restreamer.seams.Viewing}."""
        self.shown = until

    def give_back(self) -> None:
        """See L{restreamer.seams.Viewing}."""
        if not self.announced and self.links is None:
            self.keeper.close(self, "left")

    def attach(self, sent: Callable[[], int], kick: Callable[[str], None]) -> Callable[[], None]:
        """See L{restreamer.seams.Viewing}."""
        link = Link(self, sent, kick)
        if self.closed_at is not None:
            kick(self.closed_why)
            return lambda: None
        if self.links is None:
            self.links = [link]
        else:
            self.links.append(link)
        self.keeper.attached(self)
        return link.detach

    # What its keeper asks.

    @property
    def comes_back(self) -> bool:
        """Whether it is a row of requests; else it lives as long as its connections."""
        return self.proto in FILE_PROTOS

    @property
    def sent(self) -> int:
        """Bytes so far."""
        links = self.links
        return self.bytes if links is None else self.bytes + sum(link.sent() for link in links)

    @property
    def idle_after(self) -> float:
        """Seconds without a request after which it is over."""
        if not self.announced:
            return UNUSED_SECONDS
        if not math.isinf(self.due):
            return min(self.duration + max(self.duration, LEAST_AFTER), IDLE_SECONDS)
        return IDLE_SECONDS

    def allows(self, span: tuple[int, int]) -> bool:
        """Whether C{span} of the archive, UTC ticks, may be played."""
        if self.ranges is None:
            return True
        first, last = span[0] / 90_000, span[1] / 90_000
        return any(begin <= first and last <= end for begin, end in self.ranges)

    def touches(self, span: tuple[int, int]) -> bool:
        """Whether C{span}, UTC ticks, has something that may be played: a segment at the end of a range is
        listed for what it has of it.
        """
        if self.ranges is None:
            return True
        first, last = span[0] / 90_000, span[1] / 90_000
        return any(begin < last and first < end for begin, end in self.ranges)

    def let_go(self, why: str) -> None:
        """End its connections."""
        links, self.links = self.links, None
        for link in links or ():
            self.bytes += link.sent()
        for link in links or ():
            try:
                link.kick(why)
            except Exception:
                _log.failure("a connection of session {session} failed to end", session=self.session_id)
