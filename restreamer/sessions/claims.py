"""Limits over the cluster: the sessions of other nodes, and those about to be (their nodes have asked).

A node that takes streams from here asks before it lets a limited viewer in. What was granted counts at once,
although the node tells of the session a moment later; so two nodes that ask at the same time do not both get
the last place.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Protocol

from attrs import frozen
from typing_extensions import override

from restreamer.seams import Clock
from restreamer.sessions.limits import Others, Upstream
from restreamer.sessions.remote_sessions import RemoteSessions
from restreamer.viewer_facts import SessionFacts

#: Seconds in which a granted session has to be told of; else its place is free again.
TOLD_SECONDS: Final = 10.0
#: Granted sessions that nobody told of yet.
MAX_GRANTED: Final = 100_000


class OwnSessions(Protocol):
    """The sessions this node serves itself."""

    def stream_clients(self, name: str) -> int:
        """Viewers of C{name}, those of L{Claims} among them."""
        ...

    def of_user(self, user_id: str) -> Sequence[SessionFacts]:
        """The sessions of a user."""
        ...

    def kick(self, session_id: str, why: str) -> bool:
        """End one."""
        ...


@frozen(kw_only=True)
class Claim:
    """What is asked: as L{restreamer.sessions.limits.Upstream.claim}."""

    name: str
    session_id: str
    user_id: str = ""
    user_limit: int | None = None
    stream_limit: int | None = None
    unique: bool = False


@frozen
class _Granted:
    claim: Claim
    until: float


class Claims(Others):
    """See the module.

    @param remote: sessions of other nodes.
    @ivar own: this node's sessions; set once there are any.
    @ivar upstream: asked as well; None: nobody is above.
    """

    own: OwnSessions | None
    upstream: Upstream | None

    def __init__(self, clock: Clock, remote: RemoteSessions) -> None:
        self.own = None
        self.upstream = None
        self._clock = clock
        self._remote = remote
        # All of them last equally long, so the oldest is the next that is over.
        self._granted: dict[str, _Granted] = {}
        self._of_name: dict[str, int] = {}
        self._of_user: dict[str, dict[str, Claim]] = {}
        remote.listen(self)

    # Others.

    @override
    def count(self, name: str) -> int:
        """Viewers of stream C{name} on other nodes."""
        self._forget()
        return self._remote.count(name) + self._of_name.get(name, 0)

    @override
    def of_user(self, user_id: str) -> Sequence[SessionFacts]:
        """The sessions of a user on other nodes."""
        self._forget()
        awaited = [_facts(claim) for claim in self._of_user.get(user_id, {}).values()]
        return (*self._remote.of_user(user_id), *awaited)

    @override
    def end(self, session_id: str, why: str) -> bool:
        """Have one ended."""
        return self._remote.end(session_id, why)

    def remote_changed(self, facts: SessionFacts) -> None:
        """A session that was granted is told of now."""
        self._release(facts.session_id)

    # What other nodes ask.

    async def decide(self, claim: Claim) -> bool:
        """Whether a session on another node may be, beside all others that are known here and above."""
        own = self.own
        assert own is not None
        self._release(claim.session_id)
        known = self._remote.find(claim.session_id)
        counted = known is not None and known.name == claim.name
        if claim.stream_limit is not None and own.stream_clients(claim.name) - counted >= claim.stream_limit:
            return False
        others = self._others_of(claim)
        if claim.unique:
            for session_id in others:
                if not own.kick(session_id, "limit"):
                    self._remote.end(session_id, "limit")
        elif claim.user_limit is not None and len(others) >= claim.user_limit:
            return False
        self._hold(claim)
        if self.upstream is not None:
            above = await self.upstream.claim(
                claim.name,
                claim.user_id,
                claim.session_id,
                claim.unique,
                claim.user_limit,
                claim.stream_limit,
            )
            if above is False:
                self._release(claim.session_id)
                return False
        return True

    def _others_of(self, claim: Claim) -> list[str]:
        """Ids of the user's sessions but this one."""
        if not claim.user_id or self.own is None:
            return []
        found = [*self.own.of_user(claim.user_id), *self.of_user(claim.user_id)]
        return [facts.session_id for facts in found if facts.session_id != claim.session_id]

    def _hold(self, claim: Claim) -> None:
        if self._remote.find(claim.session_id) is not None:
            return
        while len(self._granted) >= MAX_GRANTED:
            self._release(next(iter(self._granted)))
        self._granted[claim.session_id] = _Granted(claim, self._clock.seconds() + TOLD_SECONDS)
        self._of_name[claim.name] = self._of_name.get(claim.name, 0) + 1
        if claim.user_id:
            self._of_user.setdefault(claim.user_id, {})[claim.session_id] = claim

    def _release(self, session_id: str) -> None:
        granted = self._granted.pop(session_id, None)
        if granted is None:
            return
        claim = granted.claim
        left = self._of_name[claim.name] - 1
        if left:
            self._of_name[claim.name] = left
        else:
            del self._of_name[claim.name]
        of_user = self._of_user.get(claim.user_id)
        if of_user is not None:
            of_user.pop(session_id, None)
            if not of_user:
                del self._of_user[claim.user_id]

    def _forget(self) -> None:
        """Drop what nobody told of in time."""
        now = self._clock.seconds()
        while self._granted:
            session_id, oldest = next(iter(self._granted.items()))
            if oldest.until > now:
                return
            self._release(session_id)


def _facts(claim: Claim) -> SessionFacts:
    return SessionFacts(
        session_id=claim.session_id,
        name=claim.name,
        user_id=claim.user_id,
        proto="",
        ip="",
        opened_at=0,
        updated_at=0,
    )
