"""A worker's gate and the main process's answers: together they are the gate of one process."""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from typing_extensions import override

from restreamer.config.model import AuthConfig
from restreamer.errors import Reason, Redirected, Refused
from restreamer.live.registry import StreamSettings
from restreamer.seams import Account, Grant, OpenRequest
from restreamer.sessions.answers import Answer, Verdict
from restreamer.sessions.session import Session
from restreamer.workers.leased_gate import ANSWER_SECONDS, LeasedGate
from restreamer.workers.lessor import KNOWN_SECONDS, Lessor
from restreamer.workers.messages import (
    Asked,
    Attached,
    Denied,
    Detached,
    Forsaken,
    GivenBack,
    Granted,
    Message,
    MessageReader,
    Revoked,
    RevokedAll,
    Used,
    encode,
)
from test.sessions.rig import ASKED, DENY, Connection, GateTestCase

#: Seconds between two looks of a session that nobody uses, and more.
LATER = 90


class Crew:
    """One worker's gate, wired to the main process; messages wait until they are let through."""

    def __init__(self, case: GatesCase) -> None:
        self.case = case
        self.up: deque[bytes] = deque()
        self.down: deque[bytes] = deque()
        self.settled: list[tuple[str, StreamSettings]] = []
        self.gate = LeasedGate(
            case.clock, self.tell_main, lambda name, settings: self.settled.append((name, settings))
        )
        self.lessor = Lessor(self.tell_worker, case)
        case.table.listen(self.lessor)

    def tell_main(self, message: Message, fds: Sequence[int] = ()) -> None:
        self.up.append(encode(message))

    def tell_worker(self, message: Message, fds: Sequence[int] = ()) -> None:
        self.down.append(encode(message))

    def step(self) -> bool:
        """Carry one message each way; whether there was any."""
        moved = False
        for queue, heard in ((self.up, self.to_main), (self.down, self.to_worker)):
            if queue:
                (message,) = MessageReader().receive(queue.popleft())
                heard(message)
                moved = True
        return moved

    def settle(self) -> None:
        """Carry all."""
        while self.step():
            pass

    def to_main(self, message: Any) -> None:
        lessor = self.lessor
        heard: dict[type, Callable[[Any], None]] = {
            Asked: lessor.asked,
            Forsaken: lessor.forsaken,
            Used: lessor.used,
            Attached: lessor.attached,
            Detached: lessor.detached,
            GivenBack: lessor.given_back,
        }
        heard[type(message)](message)

    def to_worker(self, message: Any) -> None:
        gate = self.gate
        if isinstance(message, RevokedAll):
            gate.ask_all_again()
            return
        heard: dict[type, Callable[[Any], None]] = {
            Granted: gate.granted,
            Denied: gate.denied,
            Revoked: gate.revoked,
        }
        heard[type(message)](message)


class GatesCase(GateTestCase):
    """Workers behind one gate; also the gatekeeper of their lessors."""

    def make_crew(self, auth: AuthConfig = ASKED, count: int = 2) -> list[Crew]:
        self.make(auth)
        self.settings: StreamSettings | None = None
        self.crew = [Crew(self) for _ in range(count)]
        for each in self.crew:
            self.addCleanup(each.gate.close)
        return self.crew

    def admit(self, request: OpenRequest) -> Awaitable[object]:
        """A L{restreamer.workers.lessor.Gatekeeper}."""
        return self.gate.open(request)

    def goes_on(self, session: Session) -> bool:
        """A L{restreamer.workers.lessor.Gatekeeper}."""
        return self.gate.goes_on(session)

    def settings_of(self, name: str) -> StreamSettings | None:
        """A L{restreamer.workers.lessor.Gatekeeper}."""
        return self.settings

    def ask(self, crew: Crew, request: OpenRequest) -> Deferred[Grant]:
        """Ask at a worker."""
        asked = Deferred.fromCoroutine(crew.gate.open(request))
        crew.settle()
        return asked

    def let_in(self, crew: Crew, **more: Any) -> Any:
        """A viewing granted at a worker."""
        request = self.request(account=Account(), **more)
        self.successResultOf(self.ask(crew, request))
        assert request.account is not None
        return request.account.viewing

    def let_out(self, crew: Crew, **more: Any) -> Refused:
        """Be refused at a worker."""
        error = self.failureResultOf(self.ask(crew, self.request(**more)), Refused).value
        assert isinstance(error, Refused)
        return error

    def later(self, seconds: float) -> None:
        """Let it be later, and all be told."""
        for _ in range(int(seconds * 2)):
            self.clock.advance(0.5)
            for each in self.crew:
                each.settle()


class Gates(GatesCase):
    """What comes of questions."""

    def test_one_session_over_workers(self) -> None:
        """The requests of a viewer, at whichever worker, are one session; the backend is asked once."""
        one, other = self.make_crew()
        for crew in (one, other, one):
            viewing = self.let_in(crew, token="t")
            self.assertEqual(viewing.token, "t")
            viewing.count(1000)
        part = self.let_in(other, token="t", part=True)
        part.count(5000)
        part.show(90_000 * 7)
        self.later(2)
        (facts,) = self.table
        self.assertEqual((facts.bytes, facts.current_time), (8000, 7000))
        self.assertEqual(len(self.backend.questions), 1)
        self.assertEqual(len(one.lessor), 1)

    def test_asked_once_for_a_while(self) -> None:
        """A worker asks again after L{KNOWN_SECONDS}, not for each request."""
        (crew,) = self.make_crew(count=1)
        self.let_in(crew, token="t").count(1)
        for _ in range(5):
            request = self.request(token="t")
            _ = self.successResultOf(Deferred.fromCoroutine(crew.gate.open(request)))
        self.assertFalse([each for each in crew.up if b"Asked" in each])
        self.later(KNOWN_SECONDS)
        _ = Deferred.fromCoroutine(crew.gate.open(self.request(token="t"))).addErrback(lambda _: None)
        self.assertTrue([each for each in crew.up if b"Asked" in each])

    def test_watching_keeps_it(self) -> None:
        """Requests that are answered from what is known keep the session; its backend is asked again."""
        (crew,) = self.make_crew(count=1)
        self.let_in(crew, token="t").count(1)
        for _ in range(100):
            self.later(5)
            self.let_in(crew, token="t").count(1)
        self.later(1)
        (facts,) = self.table
        self.assertEqual(facts.bytes, 101)
        self.assertNotIn("play_closed", self.heard.words)
        self.assertGreater(len(self.backend.questions), 1)

    def test_who_leaves_is_gone(self) -> None:
        """Without requests the session ends, and the worker knows nothing any more."""
        (crew,) = self.make_crew(count=1)
        self.let_in(crew, token="t").count(1)
        self.later(LATER)
        self.assertEqual(list(self.table), [])
        self.assertEqual(len(crew.lessor), 0)
        self.assertEqual(self.heard.words[-1], "play_closed")

    def test_tokens_of_another_field(self) -> None:
        """Viewers are told apart by them; what else a query says is nothing."""
        (crew,) = self.make_crew(count=1)
        self.gate.token_field = crew.gate.token_field = "ticket"
        one = self.let_in(crew, query="ticket=a&_HLS_msn=1")
        self.assertIs(self.let_in(crew, query="ticket=a&_HLS_msn=2"), one)
        self.assertIsNot(self.let_in(crew, query="ticket=b"), one)
        self.assertEqual([each.token for each in self.backend.questions], ["a", "b"])

    def test_kicked(self) -> None:
        """Who is sent away gets nothing more from any worker, at once."""
        one, other = self.make_crew()
        self.let_in(one, token="t").count(1)
        self.let_in(other, token="t").count(1)
        self.later(1)
        (facts,) = self.table
        self.table.kick(facts.session_id, "kicked")
        self.backend.say = DENY
        for crew in (one, other):
            crew.settle()
            self.assertEqual(self.let_out(crew, token="t").reason, Reason.DENIED)

    def test_connections(self) -> None:
        """A continuous viewer lives as long as its connection, with its bytes; it is sent away when told."""
        one, other = self.make_crew()
        first = self.join(one, "rtmp", "a")
        second = self.join(other, "tshttp", "b")
        first.bytes = 1_000_000
        self.later(LATER * 3)
        self.assertEqual(sorted(facts.bytes for facts in self.table), [0, 1_000_000])
        first.bytes = 3_000_000
        first.detach()
        one.settle()
        (facts,) = self.table
        closed = [facts for word, facts in self.heard.events if word == "play_closed"]
        self.assertEqual([each.bytes for each in closed], [3_000_000])
        self.table.kick(facts.session_id, "kicked")
        other.settle()
        self.assertEqual(second.kicked, ["kicked"])

    def join(self, crew: Crew, proto: str, token: str) -> Connection:
        connection = Connection()
        viewing = self.let_in(crew, proto=proto, token=token)
        connection.detach = viewing.attach(lambda: connection.bytes, connection.kicked.append)
        crew.settle()
        return connection

    def test_refusals(self) -> None:
        """They come as they are: denied, elsewhere; and the next is asked again."""
        (crew,) = self.make_crew(count=1)
        self.backend.say = DENY
        self.assertEqual(self.let_out(crew, token="t").reason, Reason.DENIED)
        self.backend.say = Answer(verdict=Verdict.REDIRECT, location="http://there/x")
        error = self.let_out(crew, token="u")
        assert isinstance(error, Redirected)
        self.assertEqual(error.url, "http://there/x")
        self.assertEqual(self.let_out(crew, token="t", part=True).reason, Reason.DENIED)

    def test_open_streams(self) -> None:
        """Pieces of what anybody may have need no session; with one they count for it."""
        (crew,) = self.make_crew(AuthConfig(), count=1)
        self.assertIsNone(self.let_in(crew, part=True))
        self.let_in(crew).count(10)
        self.later(3)
        self.let_in(crew, part=True).count(100)
        self.later(1)
        (facts,) = self.table
        self.assertEqual(facts.bytes, 110)

    def test_nobody_answers(self) -> None:
        """A main process that is silent refuses after a while; late answers are nothing."""
        (crew,) = self.make_crew(count=1)
        asked = Deferred.fromCoroutine(crew.gate.open(self.request(token="t")))
        self.clock.advance(ANSWER_SECONDS)
        self.assertEqual(self.failureResultOf(asked, Refused).value.reason, Reason.OVERLOADED)
        crew.settle()

    def test_who_waits_leaves(self) -> None:
        """A question that nobody waits for is given up, and its backend is let alone."""
        (crew,) = self.make_crew(count=1)
        self.backend.say = None
        asked = self.ask(crew, self.request(token="t"))
        self.assertNoResult(asked)
        _ = asked.addErrback(lambda failure: None)
        asked.cancel()
        crew.settle()
        self.assertEqual(self.backend.cancelled, 1)

    def test_given_back(self) -> None:
        """A session that could not be served never was."""
        (crew,) = self.make_crew(AuthConfig(), count=1)
        self.let_in(crew).give_back()
        crew.settle()
        self.assertEqual((list(self.table), self.heard.words, len(crew.lessor)), ([], [], 0))

    def test_a_worker_dies(self) -> None:
        """What it served is over: connections at once, others when nobody comes any more."""
        one, other = self.make_crew()
        self.join(one, "rtmp", "a")
        self.let_in(one, token="t").count(1)
        self.let_in(other, token="t").count(1)
        self.later(1)
        one.lessor.close()
        self.later(1)
        self.assertEqual([facts.proto for facts in self.table], ["hls"])

    def test_settings_come_along(self) -> None:
        """How the stream is kept is told with the grant."""
        (crew,) = self.make_crew(count=1)
        self.settings = StreamSettings(segment_count=9)
        self.let_in(crew, token="t")
        self.assertEqual(crew.settled, [("cam", self.settings)])

    def test_rules_change(self) -> None:
        """After that everybody is asked about again."""
        (crew,) = self.make_crew(count=1)
        self.let_in(crew, token="t")
        crew.lessor.rules_changed()
        crew.settle()
        _ = Deferred.fromCoroutine(crew.gate.open(self.request(token="t"))).addErrback(lambda _: None)
        self.assertTrue([each for each in crew.up if b"Asked" in each])


class AnyOrder(GatesCase):
    """Bytes are counted once, and sessions end, whatever comes when."""

    @override
    def setUp(self) -> None:
        """Each example makes its own."""

    @given(
        st.lists(
            st.tuples(
                st.sampled_from(["list", "part", "join", "leave", "kick", "step", "time"]),
                st.integers(0, 1),
                st.integers(0, 2),
            ),
            max_size=60,
        )
    )
    @settings(deadline=None, max_examples=120, derandomize=True)
    def test_any(self, moves: list[tuple[str, int, int]]) -> None:
        self.make_crew()
        sent = 0
        joined: list[tuple[Crew, Connection]] = []
        for move, at, who in moves:
            crew, token = self.crew[at], f"t{who}"
            if move in ("list", "part"):
                request = self.request(token=token, part=move == "part", account=Account())
                asked = self.ask(crew, request)
                outcome: list[object] = []
                _ = asked.addBoth(outcome.append)
                assert request.account is not None
                if isinstance(outcome[0], Grant) and request.account.viewing is not None:
                    request.account.viewing.count(100)
                    sent += 100
            elif move == "join":
                request = self.request(proto="rtmp", token=token, account=Account())
                asked = self.ask(crew, request)
                _ = asked.addErrback(lambda failure: failure.trap(Refused))
                assert request.account is not None
                if request.account.viewing is not None:
                    connection = Connection()
                    connection.detach = request.account.viewing.attach(
                        partial(getattr, connection, "bytes"), connection.kicked.append
                    )
                    crew.settle()
                    joined.append((crew, connection))
            elif move == "leave" and joined:
                crew, connection = joined.pop()
                if not connection.kicked:
                    connection.bytes += 1000
                    sent += 1000
                connection.detach()
            elif move == "kick":
                for facts in list(self.table)[:1]:
                    # What was sent and not told before it is sent away is told late, and counts for nobody.
                    self.later(1)
                    self.table.kick(facts.session_id, "kicked")
            elif move == "step":
                crew.step()
            elif move == "time":
                self.later(1 + 20 * who)
        for _, connection in joined:
            connection.detach()
        self.later(4 * LATER)
        self.assertEqual(list(self.table), [])
        self.assertEqual([len(each.lessor) for each in self.crew], [0, 0])
        closed = [facts.bytes for word, facts in self.heard.events if word == "play_closed"]
        self.assertLessEqual(sum(closed), sent)
        if not any(move == "kick" for move, _, _ in moves):
            self.assertEqual(sum(closed), sent)
