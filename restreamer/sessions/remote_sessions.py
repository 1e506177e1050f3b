"""Sessions that other nodes serve of streams they take from here, as those nodes tell.

What is told of a session replaces what was told before, so nothing is counted twice however often. What
a node told stays for L{AWAY_SECONDS} after its link was lost: it is most likely back by then, with a list of
all it has.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Protocol

from attrs import define, evolve, field

from restreamer.logs import Logger
from restreamer.seams import Clock, Timer
from restreamer.viewer_facts import SessionFacts

_log = Logger()

#: Sessions that are kept of one link, and of all.
MAX_PER_LINK = 200_000
MAX_SESSIONS = 1_000_000
#: How long the sessions of a lost link are kept, seconds.
AWAY_SECONDS = 20.0


class RemoteListener(Protocol):
    """Whoever wants to hear of sessions of other nodes."""

    def remote_changed(self, facts: SessionFacts) -> None:
        """A session was told of for the first time, or it is over (C{closed_at} is set)."""
        ...


class Orders(Protocol):
    """Who told of a session: it can be told what to do with it."""

    def end(self, session_id: str, why: str) -> None:
        """End it."""
        ...

    def ask_again(self, session_id: str) -> None:
        """Ask its backend again."""
        ...


@define(eq=False)
class _Teller:
    """One link. @ivar sessions: told by it. @ivar fresh: those of a whole list that is coming."""

    orders: Orders
    sessions: dict[str, SessionFacts] = field(factory=dict)
    fresh: set[str] | None = None
    full: bool = False


class RemoteSessions:
    """The sessions of other nodes, by id, user and stream."""

    def __init__(self, clock: Clock, own_id: str) -> None:
        """@param own_id: of this node, 32 hexadecimal digits: its own sessions are not taken from others."""
        self._clock = clock
        self._own_id = own_id
        self._tellers: dict[object, _Teller] = {}
        self._by_id: dict[str, _Teller] = {}
        self._by_user: dict[str, set[str]] = {}
        self._streams: dict[str, int] = {}
        self._away: dict[object, Timer] = {}
        self._listeners: list[RemoteListener] = []
        self._refused = 0
        self._closed = False

    def __len__(self) -> int:
        return len(self._by_id)

    def __iter__(self) -> Iterator[SessionFacts]:
        for teller in tuple(self._tellers.values()):
            yield from tuple(teller.sessions.values())

    def ids(self) -> tuple[str, ...]:
        """Ids of all of them."""
        return tuple(self._by_id)

    @property
    def refused(self) -> int:
        """Sessions that were told of and not kept, because there were too many."""
        return self._refused

    def find(self, session_id: str) -> SessionFacts | None:
        """What is known of a session; None: nothing."""
        teller = self._by_id.get(session_id)
        return teller.sessions[session_id] if teller is not None else None

    def listen(self, listener: RemoteListener) -> None:
        """Tell C{listener} from now on."""
        self._listeners.append(listener)

    def count(self, name: str) -> int:
        """Viewers of stream C{name} on other nodes."""
        return self._streams.get(name, 0)

    def of_user(self, user_id: str) -> tuple[SessionFacts, ...]:
        """The sessions of a user on other nodes, the oldest first."""
        found = [facts for each in self._by_user.get(user_id, ()) if (facts := self.find(each)) is not None]
        return tuple(sorted(found, key=lambda facts: (facts.opened_at, facts.session_id)))

    def end(self, session_id: str, why: str) -> bool:
        """Have a session ended where it is served; whether it is known."""
        teller = self._by_id.get(session_id)
        if teller is None:
            return False
        teller.orders.end(session_id, why)
        return True

    def ask_again(self, name: str) -> int:
        """Have the backends of all sessions of a stream asked again; how many there are."""
        found = [facts.session_id for facts in self if facts.name == name]
        for session_id in found:
            self._by_id[session_id].orders.ask_again(session_id)
        return len(found)

    def ask_one_again(self, session_id: str) -> None:
        """Have the backend of one session asked again."""
        teller = self._by_id.get(session_id)
        if teller is not None:
            teller.orders.ask_again(session_id)

    # What a link tells.

    def linked(self, node_id: bytes, orders: Orders) -> object:
        """A link that tells of sessions is up.

        @param node_id: of the node at its other end: it goes on with what a lost link of that node told.
        @return: what names the link to the other calls.
        """
        number = 0
        while (node_id, number) in self._tellers and (node_id, number) not in self._away:
            number += 1
        key = (node_id, number)
        timer = self._away.pop(key, None)
        if timer is not None and timer.active():
            timer.cancel()
        teller = self._tellers.get(key)
        if teller is None:
            self._tellers[key] = _Teller(orders)
        else:
            teller.orders = orders
            teller.fresh = None
        return key

    def unlinked(self, key: object, orders: Orders) -> None:
        """The link is lost: its sessions go unless the node is back soon."""
        teller = self._tellers.get(key)
        if teller is not None and teller.orders is orders and key not in self._away and not self._closed:
            teller.fresh = None
            self._away[key] = self._clock.callLater(AWAY_SECONDS, self._gone, key)

    def begin_list(self, key: object) -> None:
        """A list of all sessions of this link comes."""
        self._tellers[key].fresh = set()

    def end_list(self, key: object) -> None:
        """The list is whole: what was not in it is over."""
        teller = self._tellers[key]
        fresh, teller.fresh = teller.fresh, None
        if fresh is not None:
            for session_id in [each for each in teller.sessions if each not in fresh]:
                self._forget(teller, session_id)

    def report(self, key: object, sessions: Iterable[SessionFacts]) -> None:
        """Take what a link tells of its sessions."""
        teller = self._tellers[key]
        for facts in sessions:
            if facts.node_id != self._own_id:
                self._take(teller, facts)

    def progress(self, key: object, session_id: str, change: Callable[[SessionFacts], SessionFacts]) -> None:
        """Take how far a session is."""
        sessions = self._tellers[key].sessions
        facts = sessions.get(session_id)
        if facts is not None:
            sessions[session_id] = change(facts)

    def close(self) -> None:
        """The node stops: wait for nobody."""
        for timer in self._away.values():
            if timer.active():
                timer.cancel()
        self._away.clear()
        self._closed = True

    def _take(self, teller: _Teller, facts: SessionFacts) -> None:
        session_id = facts.session_id
        before = self._by_id.get(session_id)
        if before is not None and before is not teller:
            # It came by another way first: the newest teller has it.
            self._forget(before, session_id, silent=True)
        if teller.fresh is not None:
            teller.fresh.add(session_id)
        if facts.closed_at is not None:
            self._forget(teller, session_id, facts)
            return
        known = teller.sessions.get(session_id)
        if known is None and not self._has_room(teller):
            return
        if known is not None:
            self._unlist(known)
        teller.sessions[session_id] = facts
        self._by_id[session_id] = teller
        if facts.kind == "play":
            self._streams[facts.name] = self._streams.get(facts.name, 0) + 1
        if facts.user_id:
            self._by_user.setdefault(facts.user_id, set()).add(session_id)
        if known is None and before is None:
            self._tell(facts)

    def _has_room(self, teller: _Teller) -> bool:
        if len(teller.sessions) < MAX_PER_LINK and len(self._by_id) < MAX_SESSIONS:
            return True
        self._refused += 1
        if not teller.full:
            teller.full = True
            _log.warn("a node tells of more sessions than can be kept: the rest is passed over")
        return False

    def _forget(
        self, teller: _Teller, session_id: str, facts: SessionFacts | None = None, silent: bool = False
    ) -> None:
        known = teller.sessions.pop(session_id, None)
        if known is None:
            return
        del self._by_id[session_id]
        self._unlist(known)
        if not silent:
            if facts is None:
                facts = evolve(known, closed_at=known.updated_at, closed_why="lost")
            self._tell(facts)

    def _unlist(self, facts: SessionFacts) -> None:
        if facts.kind == "play":
            left = self._streams[facts.name] - 1
            if left:
                self._streams[facts.name] = left
            else:
                del self._streams[facts.name]
        users = self._by_user.get(facts.user_id)
        if users is not None:
            users.discard(facts.session_id)
            if not users:
                del self._by_user[facts.user_id]

    def _gone(self, key: object) -> None:
        del self._away[key]
        teller = self._tellers.pop(key)
        for session_id in tuple(teller.sessions):
            self._forget(teller, session_id)

    def _tell(self, facts: SessionFacts) -> None:
        for listener in self._listeners:
            listener.remote_changed(facts)
