"""A table and a gate on a clock of the test, and a backend that says what the test wants."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from attrs import define, field
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from restreamer.config.model import AuthConfig
from restreamer.errors import Refused
from restreamer.seams import Account, Grant, OpenRequest
from restreamer.sessions.answers import Answer, Question, Verdict
from restreamer.sessions.limits import Others, Upstream
from restreamer.sessions.session import Session
from restreamer.sessions.session_gate import SessionGate
from restreamer.sessions.table import SessionTable
from restreamer.viewer_facts import SessionFacts
from restreamer.viewers.gate import PasswordGate

SECRET = b"0123456789abcdef"
EPOCH = 1_700_000_000_000
ASKED = AuthConfig(on_play="http://backend/play", on_publish="http://backend/publish")

ALLOW = Answer(verdict=Verdict.ALLOW)
DENY = Answer(verdict=Verdict.DENY)
UNDECIDED = Answer(verdict=Verdict.UNDECIDED)
FAILED = Answer(verdict=Verdict.FAILED)


@define(eq=False)
class FakeBackend:
    """Answers by C{say}; with C{say} None whoever asks waits for L{answer}.

    @ivar questions: all it was asked.
    """

    say: Answer | None = field(default=ALLOW)
    questions: list[Question] = field(factory=list)
    waiting: list[Deferred[Answer]] = field(factory=list)
    cancelled: int = 0

    async def ask(self, question: Question) -> Answer:
        """A L{restreamer.sessions.answers.Backend}."""
        self.questions.append(question)
        if self.say is not None:
            return self.say

        def cancel(_: object) -> None:
            self.cancelled += 1

        deferred: Deferred[Answer] = Deferred(cancel)
        self.waiting.append(deferred)
        return await deferred

    def answer(self, answer: Answer) -> None:
        """Answer the question that waits longest."""
        self.waiting.pop(0).callback(answer)


@define(eq=False)
class Heard:
    """A listener. @ivar events: what it heard."""

    events: list[tuple[str, SessionFacts]] = field(factory=list)

    def session_event(self, event: str, facts: SessionFacts) -> None:
        """A L{restreamer.sessions.table.SessionListener}."""
        self.events.append((event, facts))

    @property
    def words(self) -> list[str]:
        """The events alone."""
        return [event for event, _ in self.events]


@define(eq=False)
class Connection:
    """A connection of a continuous protocol."""

    bytes: int = 0
    kicked: list[str] = field(factory=list)
    detach: Callable[[], None] = field(default=lambda: None)


class GateTestCase(SynchronousTestCase):
    """Has a table, a gate, a clock and a backend."""

    def make(
        self,
        auth: AuthConfig | Mapping[str, AuthConfig] = ASKED,
        others: Others | None = None,
        upstream: Upstream | None = None,
        **more: Any,
    ) -> None:
        """Make them all."""
        self.clock = Clock()
        self.clock.advance(1000)
        self.backend = FakeBackend()
        self.heard = Heard()
        self.rules: dict[str, AuthConfig] = dict(auth) if isinstance(auth, Mapping) else {}
        self.default = auth if isinstance(auth, AuthConfig) else None
        numbers = iter(range(1, 1_000_000))
        self.table = SessionTable(
            self.clock,
            lambda: EPOCH + int(self.clock.seconds() * 1000),
            lambda: f"{next(numbers):032x}",
            node_id="ab" * 16,
            secret=SECRET,
            others=others,
            **more,
        )
        self.table.listen(self.heard)
        self.passwords: dict[str, str] = {}
        self.gate = SessionGate(
            self.table,
            self.clock,
            lambda name: self.rules.get(name, self.default),
            lambda name, action: self.backend,
            SECRET,
            PasswordGate(lambda name: self.passwords.get(name, "")),
            upstream,
        )
        self.addCleanup(self.table.stop)

    def request(self, proto: str = "hls", name: str = "cam", **more: Any) -> OpenRequest:
        """What a viewer asks."""
        values: dict[str, Any] = {
            "name": name,
            "action": "play",
            "proto": proto,
            "peer": "192.0.2.1",
            "account": Account(),
        }
        return OpenRequest(**{**values, **more})

    def begin(self, request: OpenRequest) -> Deferred[Grant]:
        """Ask, and do not wait."""
        return Deferred.fromCoroutine(self.gate.open(request))

    def granted(self, request: OpenRequest) -> Session:
        """Ask, and be granted."""
        self.successResultOf(self.begin(request))
        assert request.account is not None
        viewing = request.account.viewing
        assert isinstance(viewing, Session)
        return viewing

    def refused(self, request: OpenRequest) -> Refused:
        """Ask, and be refused."""
        error = self.failureResultOf(self.begin(request), Refused).value
        assert isinstance(error, Refused)
        assert request.account is None or request.account.viewing is None
        return error

    def connect(self, session: Session) -> Connection:
        """A connection that serves C{session}."""
        connection = Connection()
        connection.detach = session.attach(lambda: connection.bytes, connection.kicked.append)
        return connection

    def pass_time(self, seconds: float) -> None:
        """Let it be later, a second at a time."""
        for _ in range(int(seconds)):
            self.clock.advance(1)
        if seconds % 1:
            self.clock.advance(seconds % 1)

    def watch(self, seconds: float, *requests: OpenRequest, every: float = 5) -> None:
        """Go on asking; whatever comes of it."""
        for _ in range(int(seconds / every)):
            self.pass_time(every)
            for request in requests:
                _ = self.begin(request).addErrback(lambda failure: failure.trap(Refused))
