"""Backends over HTTP, against a real server on this machine whose answers are scripted per token."""

from __future__ import annotations

import gzip
from functools import partial
from typing import Any

from twisted.internet import reactor as _reactor
from twisted.internet.defer import Deferred
from twisted.internet.protocol import Factory, Protocol
from twisted.trial.unittest import SynchronousTestCase, TestCase
from typing_extensions import override

from restreamer.sessions import http_backend
from restreamer.sessions.answers import Question, Verdict
from restreamer.sessions.backends import Backends
from restreamer.sessions.breaker import PROBE_INTERVAL, SILENT_QUESTIONS, Breaker
from restreamer.sessions.http_backend import HttpBackend
from restreamer.sessions.reading import read_answer
from restreamer.sessions.rules import combined
from restreamer.sessions.securetoken import SecureToken, sign

reactor: Any = _reactor


def question(token: str, **more: Any) -> Question:
    given: dict[str, Any] = {"action": "play", "request_type": "new_session", "ip": "192.0.2.1", **more}
    return Question(name="news", proto="hls", session_id="0" * 32, token=token, **given)


BOMB = gzip.compress(b" " * 30_000_000)
ANSWERS = {
    "200": b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nX-UserId: u1\r\nX-AuthDuration: 7\r\n\r\n",
    "302": b"HTTP/1.1 302 F\r\nContent-Length: 0\r\nLocation: http://other.example/x\r\n\r\n",
    "403": b"HTTP/1.1 403 No\r\nContent-Length: 0\r\n\r\n",
    "404": b"HTTP/1.1 404 No\r\nContent-Length: 0\r\n\r\n",
    "500": b"HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n",
    "nan": b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nX-AuthDuration: NaN\r\n\r\n",
    "garbage": b"\x00\xff\x01 nothing\r\n\r\n\r\n",
    "endless": b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n" + b"x" * 200_000,
    "heads": b"HTTP/1.1 200 OK\r\n" + b"X-Number: 1\r\n" * 20_000 + b"Content-Length: 0\r\n\r\n",
    "hang": b"",
    "dribble": b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nx",
    "inner": b"HTTP/1.1 302 F\r\nContent-Length: 0\r\nLocation: http://169.254.169.254/\r\n\r\n",
    "badheader": b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n",
    "bomb": b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Encoding: gzip\r\n"
    b"Content-Length: %d\r\n\r\n%s" % (len(BOMB), BOMB),
}
OUTCOMES = {
    "200": Verdict.ALLOW,
    "302": Verdict.REDIRECT,
    "403": Verdict.DENY,
    "404": Verdict.DENY,
    "500": Verdict.UNDECIDED,
    "nan": Verdict.FAILED,
    "garbage": Verdict.FAILED,
    "endless": Verdict.FAILED,
    "heads": Verdict.FAILED,
    "hang": Verdict.FAILED,
    "dribble": Verdict.FAILED,
    "inner": Verdict.REDIRECT,
    "badheader": Verdict.FAILED,
    "bomb": Verdict.FAILED,  # JSON in a coding that was not asked for is not undone, and cannot be read
}


class Scripted(Protocol):
    location = ""

    @override
    def connectionMade(self) -> None:
        factory: Any = self.factory
        factory.connections.append(self)

    @override
    def dataReceived(self, data: bytes) -> None:
        factory: Any = self.factory
        factory.asked += 1
        if b"token=elsewhere&" in data:
            text = f"HTTP/1.1 302 F\r\nContent-Length: 0\r\nLocation: {self.location}\r\n\r\n"
            self.transport.write(text.encode())  # type: ignore[union-attr]
        if b"token=shut&" in data:
            self.transport.loseConnection()  # type: ignore[union-attr]
        for token, answer in ANSWERS.items():
            if f"token={token}&".encode() in data:
                self.transport.write(answer)  # type: ignore[union-attr]


class AnswersTests(TestCase):
    @override
    def setUp(self) -> None:
        factory: Any = Factory.forProtocol(Scripted)
        factory.connections = []
        factory.asked = 0
        self.factory = factory
        self.port = reactor.listenTCP(0, self.factory, interface="127.0.0.1")
        self.url = f"http://127.0.0.1:{self.port.getHost().port}/auth?site=1"
        self.backends = Backends(reactor, lambda: 1000.0)
        self.patch(http_backend, "DEADLINE", 0.3)

    async def _down(self) -> None:
        await self.backends.close()
        for each in self.factory.connections:
            each.transport.abortConnection()
        await self.port.stopListening()

    @override
    def tearDown(self) -> Deferred[None]:  # type: ignore[override]
        return Deferred.fromCoroutine(self._down())

    async def test_outcomes(self) -> None:
        for token, verdict in OUTCOMES.items():
            backend = self.backends._make(self.url)
            assert backend is not None
            self.assertEqual((token, (await backend.ask(question(token))).verdict), (token, verdict))

    async def test_a_redirection_is_not_followed(self) -> None:
        """Where the backend sends a viewer, the node does not go itself."""
        self.patch(Scripted, "location", f"http://127.0.0.1:{self.port.getHost().port}/other")
        backend = self.backends.backend_of(self.url)
        assert backend is not None
        answer = await backend.ask(question("elsewhere"))
        self.assertEqual((answer.verdict, answer.location), (Verdict.REDIRECT, Scripted.location))
        self.assertEqual(self.factory.asked, 1)

    async def test_connection_is_used_again(self) -> None:
        backend = self.backends.backend_of(self.url)
        assert backend is not None and backend is self.backends.backend_of(self.url)
        for _ in range(3):
            answer = await backend.ask(question("200"))
        self.assertEqual((answer.user_id, answer.duration), ("u1", 7.0))
        self.assertEqual(len(self.factory.connections), 1)

    async def test_nobody_listens(self) -> None:
        closed = reactor.listenTCP(0, Factory(), interface="127.0.0.1")
        number = closed.getHost().port
        await closed.stopListening()
        backend = self.backends.backend_of(f"http://127.0.0.1:{number}/")
        assert backend is not None
        self.patch(http_backend, "DEADLINE", 2.0)  # two attempts of connecting are 0.3 s apart
        answer = await backend.ask(question("200"))
        self.assertIs(answer.verdict, Verdict.UNDECIDED, answer.why)

    async def test_garbage_is_no_silence(self) -> None:
        """What can be spoken to is not taken for down, whatever it says; what only closes or hangs is."""
        for token, down in (("garbage", False), ("endless", False), ("nan", False), ("shut", True)):
            backend = self.backends._make(self.url)
            assert isinstance(backend, HttpBackend)
            for _ in range(SILENT_QUESTIONS + 1):
                await backend.ask(question(token))
            self.assertEqual((token, backend.down), (token, down))

    async def test_our_own_queue_is_no_silence(self) -> None:
        """Questions whose turn never came are undecided, and say nothing of the backend."""
        self.patch(http_backend, "MAX_UNDER_WAY", 2)
        backend = self.backends._make(self.url)
        assert isinstance(backend, HttpBackend)
        asked = [backend.ask(question("hang")) for _ in range(2)]
        asked += [backend.ask(question("200")) for _ in range(20)]
        answers = [(await each).verdict for each in asked]
        self.assertEqual(answers, [Verdict.FAILED] * 2 + [Verdict.UNDECIDED] * 20)
        self.assertFalse(backend.down)
        self.assertIs((await backend.ask(question("200"))).verdict, Verdict.ALLOW)


class RulesOfAnswersTests(SynchronousTestCase):
    def test_hostile_headers(self) -> None:
        for name in ("x-authduration", "x-max-sessions"):
            for value in ("NaN", "-1", "1e9", "", "9" * 11, "inf", "\u0661"):
                self.assertIs(read_answer(200, {name: value}, b"").verdict, Verdict.FAILED, (name, value))

    def test_ranges(self) -> None:
        kind = {"content-type": "application/json"}
        body = b'{"allowed_dvr_ranges": [{"opened_at": 1, "closed_at": 5}]}'
        self.assertEqual(read_answer(200, kind, body).ranges, ((1.0, 5.0),))
        for bad in (b"[", b'{"allowed_dvr_ranges":[1]}', b'{"max_sessions":NaN}', b"[" * 60_000):
            self.assertIs(read_answer(200, kind, bad).verdict, Verdict.FAILED)

    def test_breaker(self) -> None:
        breaker = Breaker()
        for _ in range(SILENT_QUESTIONS):
            self.assertTrue(breaker.admit(0.0))
            breaker.silent(0.0)
        self.assertFalse(breaker.admit(0.0))
        self.assertEqual([breaker.admit(PROBE_INTERVAL) for _ in range(2)], [True, False])
        breaker.answered()
        self.assertTrue(breaker.admit(0.0))

    def test_no_backends_decides_by_default(self) -> None:
        self.assertIs(combined([], allow_default=False).verdict, Verdict.DENY)
        self.assertIs(combined([], allow_default=True).verdict, Verdict.ALLOW)

    def test_signed_links(self) -> None:
        begin, end = 1_700_000_100, 1_700_000_200
        token = sign("k" * 16, "news", "192.0.2.1", begin, end, "abc")
        check = SecureToken("k" * 16, lambda: begin + 50.0).check
        self.assertIs(check(question(token)).verdict, Verdict.ALLOW)
        self.assertIs(check(question(token, ip="192.0.2.2")).verdict, Verdict.DENY)
        self.assertIs(SecureToken("k" * 16, lambda: end).check(question(token)).verdict, Verdict.DENY)
        self.assertIs(
            SecureToken("x" * 16, lambda: begin + 50.0).check(question(token)).verdict, Verdict.DENY
        )

    def test_digits_of_a_signed_link_stay_where_they_are(self) -> None:
        """What is hashed has nothing between address, begin and end: with digits moved the hash is the same,
        and the link would never run out, or play elsewhere."""
        begin, end = 1_700_000_100, 1_700_000_200
        hashed, salt, *_ = sign("k" * 16, "news", "192.0.2.1", begin, end, "abc").split("-")
        for words, ip, now in (
            ((f"{str(begin)[-1]}{end}", str(begin)[:-1]), "192.0.2.1", end + 86400.0),
            ((str(end), str(begin)[1:]), "192.0.2.11", begin + 50.0),
            ((f"{str(begin)[-1]}{end}", str(begin)[1:-1]), "192.0.2.11", end + 86400.0),
        ):
            moved = "-".join((hashed, salt, *words))
            with self.subTest(moved):
                told = SecureToken("k" * 16, partial(float, now)).check(question(moved, ip=ip))
                self.assertIs(told.verdict, Verdict.DENY)
