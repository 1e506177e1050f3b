"""Limits that hold for several nodes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from typing_extensions import override

from restreamer.sessions.claims import TOLD_SECONDS, Claim, Claims
from restreamer.sessions.limits import Upstream
from restreamer.sessions.remote_sessions import RemoteSessions
from restreamer.viewer_facts import SessionFacts

EDGE = b"e" * 16


def facts(number: int, **more: Any) -> SessionFacts:
    """Session C{number} of user u, on an edge."""
    told: dict[str, Any] = {"name": "live", "user_id": "u", "node_id": EDGE.hex(), **more}
    return SessionFacts(
        session_id=f"{number:032x}", proto="hls", ip="::1", opened_at=number, updated_at=number, **told
    )


def claim(number: int, **more: Any) -> Claim:
    """May session C{number} be?"""
    told: dict[str, Any] = {"name": "live", "user_id": "u", **more}
    return Claim(session_id=f"{number:032x}", **told)


class Own:
    """The sessions of the node that is asked."""

    def __init__(self, claims: Claims) -> None:
        self.claims = claims
        self.sessions: dict[str, SessionFacts] = {}
        self.ended: list[str] = []

    def stream_clients(self, name: str) -> int:
        return sum(each.name == name for each in self.sessions.values()) + self.claims.count(name)

    def of_user(self, user_id: str) -> Sequence[SessionFacts]:
        return [each for each in self.sessions.values() if each.user_id == user_id]

    def kick(self, session_id: str, why: str) -> bool:
        self.ended.append(session_id)
        return self.sessions.pop(session_id, None) is not None


class Above(Upstream):
    """A node above that says one thing."""

    def __init__(self, answer: bool | None) -> None:
        self.answer = answer
        self.asked = 0

    @override
    async def claim(self, *args: Any, **more: Any) -> bool | None:
        self.asked += 1
        return self.answer


class Edge:
    """Told what to do with its sessions."""

    def __init__(self) -> None:
        self.ended: list[str] = []

    def end(self, session_id: str, why: str) -> None:
        self.ended.append(session_id)

    def ask_again(self, session_id: str) -> None:
        raise NotImplementedError


class ClaimTests(SynchronousTestCase):
    """What a node says to those behind it."""

    @override
    def setUp(self) -> None:
        self.clock = Clock()
        self.remote = RemoteSessions(self.clock, "0" * 32)
        self.claims = Claims(self.clock, self.remote)
        self.own = self.claims.own = Own(self.claims)
        self.edge = Edge()
        self.key = self.remote.linked(EDGE, self.edge)

    def decide(self, asked: Claim) -> bool:
        """The answer."""
        return bool(self.successResultOf(Deferred.fromCoroutine(self.claims.decide(asked))))

    def test_a_user_on_three_nodes(self) -> None:
        self.own.sessions["x"] = facts(1)
        self.remote.report(self.key, [facts(2)])
        self.assertFalse(self.decide(claim(3, user_limit=2)))
        self.assertTrue(self.decide(claim(3, user_limit=3)))
        self.assertTrue(self.decide(claim(4, user_limit=2, user_id="other")))

    def test_two_at_the_same_moment(self) -> None:
        """What was granted counts before it is told of, and not twice when it is."""
        self.assertTrue(self.decide(claim(1, user_limit=1, stream_limit=1)))
        self.assertFalse(self.decide(claim(2, user_limit=1)))
        self.assertFalse(self.decide(claim(3, stream_limit=1, user_id="other")))
        self.remote.report(self.key, [facts(1)])
        self.assertEqual((self.claims.count("live"), len(self.claims.of_user("u"))), (1, 1))
        self.assertTrue(self.decide(claim(2, user_limit=2)))

    def test_granted_and_never_told(self) -> None:
        self.assertTrue(self.decide(claim(1, user_limit=1)))
        self.clock.advance(TOLD_SECONDS)
        self.assertTrue(self.decide(claim(2, user_limit=1)))
        self.assertEqual(self.claims.count("live"), 1)

    def test_asked_again(self) -> None:
        """The same session is not one more."""
        for _ in range(3):
            self.assertTrue(self.decide(claim(1, user_limit=1, stream_limit=1)))
        self.remote.report(self.key, [facts(1)])
        self.assertTrue(self.decide(claim(1, user_limit=1, stream_limit=1)))
        self.assertEqual(self.claims.count("live"), 1)

    def test_unique(self) -> None:
        self.own.sessions[facts(1).session_id] = facts(1)
        self.remote.report(self.key, [facts(2)])
        self.assertTrue(self.decide(claim(3, unique=True)))
        self.assertEqual(self.own.sessions, {})
        self.assertEqual(self.edge.ended, [facts(2).session_id])

    def test_of_a_stream(self) -> None:
        self.own.sessions["x"] = facts(1, user_id="")
        self.assertFalse(self.decide(claim(2, user_id="", stream_limit=1)))
        self.assertTrue(self.decide(claim(2, user_id="", stream_limit=2)))
        self.assertFalse(self.decide(claim(3, user_id="", stream_limit=2)))

    def test_the_node_above_has_the_last_word(self) -> None:
        for answer, wanted in ((True, True), (None, True), (False, False)):
            above = self.claims.upstream = Above(answer)
            self.assertEqual(self.decide(claim(1, user_limit=1)), wanted)
            self.assertEqual(above.asked, 1)
        # Nothing is held of what was refused above.
        self.assertEqual(self.claims.count("live"), 0)
