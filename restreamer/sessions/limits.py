"""How many sessions there may be: of a stream, of a user, of an address, of all."""

from __future__ import annotations

from collections.abc import Awaitable, Collection, Sequence
from typing import Final, Protocol

from typing_extensions import override

from restreamer.sessions.session import Session
from restreamer.viewer_facts import SessionFacts

#: Sessions at once, and refusals that are remembered.
MAX_SESSIONS: Final = 1_000_000
MAX_REFUSALS: Final = 200_000
#: New sessions that an address may begin in L{ADDRESS_SECONDS}.
MAX_OF_ADDRESS: Final = 10_000
ADDRESS_SECONDS: Final = 10.0
#: With C{soft_limitation}: who is one too many may go on for so long, and who asked for nothing for so long
#: is not counted.
SOFT_SECONDS: Final = 30.0
#: For so long a session that another address ended (C{X-Unique}) is refused.
UNIQUE_SECONDS: Final = 30.0


class Others(Protocol):
    """Sessions that other nodes serve of what they take from here."""

    def count(self, name: str) -> int:
        """Viewers of stream C{name}."""
        ...

    def of_user(self, user_id: str) -> Sequence[SessionFacts]:
        """The sessions of a user."""
        ...

    def end(self, session_id: str, why: str) -> bool:
        """Have one ended."""
        ...


class Upstream(Protocol):
    """The nodes from which streams are taken: they see the sessions of more nodes than this one."""

    def claim(
        self,
        name: str,
        user_id: str,
        session_id: str,
        unique: bool,
        max_sessions_user: int | None,
        max_sessions_stream: int | None,
    ) -> Awaitable[bool | None]:
        """Ask whether one more may be; None: nobody above can say, the local rule applies."""
        ...


class NoOthers(Others):
    """There are no other nodes."""

    @override
    def count(self, name: str) -> int:
        """None."""
        return 0

    @override
    def of_user(self, user_id: str) -> Sequence[SessionFacts]:
        """None."""
        return ()

    @override
    def end(self, session_id: str, why: str) -> bool:
        """It is not known."""
        return False


def excess(session: Session, of_user: Collection[Session], others: Others, since: float | None = None) -> str:
    """Why C{session} is one too many, to be told to the viewer; empty: it is not.

    @param of_user: the live sessions of its user, with or without it.
    @param since: monotonic seconds: sessions of the user without a request since then are not counted.
    """
    place = session.place
    most = place.auth.max_sessions
    if most and place.viewers - session.live + others.count(place.name) >= most:
        return "this stream has as many viewers as it may have"
    most_of_user = session.max_sessions
    if most_of_user is not None and session.user_id:
        here = sum(
            each is not session and (since is None or each.links is not None or each.touched >= since)
            for each in of_user
        )
        elsewhere = sum(each.session_id != session.session_id for each in others.of_user(session.user_id))
        if here + elsewhere >= most_of_user:
            return "this user has as many sessions as it may have"
    return ""
