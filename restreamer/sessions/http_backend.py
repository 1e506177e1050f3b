"""A backend over HTTP: one question is one request, on connections that are kept."""

from __future__ import annotations

from io import BytesIO
from typing import Any, Final

from attrs import define
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import (
    ConnectError,
    ConnectionAborted,
    ConnectionDone,
    ConnectionLost,
    DNSLookupError,
)
from twisted.internet.error import TimeoutError as ConnectTimeout
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from twisted.web.client import FileBodyProducer, ResponseDone
from twisted.web.http_headers import Headers
from twisted.web.iweb import IAgent
from typing_extensions import override

from restreamer.addresses import subscriber
from restreamer.seams import Clock
from restreamer.sessions.answers import Answer, Question, Verdict
from restreamer.sessions.breaker import Breaker
from restreamer.sessions.fair_slots import FairSlots
from restreamer.sessions.query import play_url, publish_body
from restreamer.sessions.reading import MAX_BODY, read_answer

#: Seconds for one question, waiting for a free connection included.
DEADLINE: Final = 3.0
#: Questions under way at once, and those that may wait for them.
MAX_UNDER_WAY: Final = 64
MAX_WAITING: Final = 10_000
_CROWDED: Final = "too many questions wait for the backend"


@define
class _Stage:
    """How far one question came. @ivar sent: when it had its turn. @ivar answered: a head came."""

    sent: float | None = None
    answered: bool = False


def _spoke(error: Exception) -> bool:
    """Whether an exchange that failed with C{error} failed because of what the backend said."""
    reasons = getattr(error, "reasons", ())
    return any(each.check(ConnectionDone, ConnectionLost, ConnectionAborted) is None for each in reasons)


class HttpBackend:
    """One URL that is asked. It never follows a redirection, and reads at most L{MAX_BODY} bytes."""

    def __init__(self, url: str, agent: IAgent, clock: Clock) -> None:
        """@param agent: makes the requests, over a pool that keeps connections; must not follow redirections
        and not undo content codings."""
        self._url = url
        self._agent = agent
        self._clock = clock
        self._breaker = Breaker()
        self._slots = FairSlots(MAX_UNDER_WAY)

    @property
    def down(self) -> bool:
        """Whether it answers nobody at the moment."""
        return self._breaker.down

    def ask(self, question: Question) -> Deferred[Answer]:
        """Ask it about C{question}: an answer within L{DEADLINE}, or what stands for none."""
        return Deferred.fromCoroutine(self._ask(question))

    async def _ask(self, question: Question) -> Answer:
        lasting = question.request_type == "update_session"
        crowded = self._slots.waiting >= MAX_WAITING or not self._slots.has_room(subscriber(question.ip))
        if crowded and not lasting:
            # Who is in goes before who comes, and is as many as there are sessions.
            return Answer(verdict=Verdict.UNDECIDED, why=_CROWDED)
        if not self._breaker.admit(self._clock.seconds()):
            return Answer(verdict=Verdict.UNDECIDED, why="the backend is down")
        late: list[bool] = []
        stage = _Stage()
        work: Deferred[tuple[int, dict[str, str], bytes]] = Deferred.fromCoroutine(
            self._exchange(question, stage)
        )

        def expire() -> None:
            late.append(True)
            work.cancel()

        timer = self._clock.callLater(DEADLINE, expire)
        try:
            status, headers, body = await work
        except (CancelledError, GeneratorExit):
            if not late:
                self._breaker.dropped()
                raise
            return self._too_late(question, stage)
        except Exception as error:
            if late or isinstance(error, ConnectTimeout):
                return self._too_late(question, stage)
            if isinstance(error, (ConnectError, DNSLookupError)):
                self._breaker.silent(self._clock.seconds())
                return Answer(verdict=Verdict.UNDECIDED, why="the backend cannot be reached")
            if stage.answered or _spoke(error):
                self._breaker.answered()
            else:
                self._breaker.silent(self._clock.seconds())
            return self._failed(question, "the backend gave no answer that can be read")
        finally:
            if timer.active():
                timer.cancel()
        self._breaker.answered()
        return read_answer(status, headers, body, publish=question.action == "publish")

    def _too_late(self, question: Question, stage: _Stage) -> Answer:
        """The time is over. A question that had no turn, or next to no time, says nothing of the backend."""
        now = self._clock.seconds()
        if stage.sent is None or now - stage.sent < DEADLINE / 2:
            self._breaker.dropped()
            return Answer(verdict=Verdict.UNDECIDED, why=_CROWDED)
        self._breaker.silent(now)
        return self._failed(question, "the backend did not answer in time")

    def _failed(self, question: Question, why: str) -> Answer:
        """No answer: a refusal, but for who is in already while the backend answers nobody."""
        lasting = question.request_type == "update_session" and self._breaker.down
        return Answer(verdict=Verdict.UNDECIDED if lasting else Verdict.FAILED, why=why)

    async def _exchange(self, question: Question, stage: _Stage) -> tuple[int, dict[str, str], bytes]:
        # Who is in is asked about first; the others by turns, an address at a time.
        await self._slots.acquire(subscriber(question.ip), question.request_type == "update_session")
        try:
            stage.sent = self._clock.seconds()
            headers = Headers({b"user-agent": [b"Restreamer"], b"accept": [b"application/json, */*"]})
            if question.action == "publish":
                headers.addRawHeader(b"content-type", b"application/json")
                body = FileBodyProducer(BytesIO(publish_body(question)))
                response: Any = await self._agent.request(b"POST", self._url.encode("ascii"), headers, body)
            else:
                url = play_url(self._url, question)
                response = await self._agent.request(b"GET", url, headers, None)
            stage.answered = True
            found = {
                key.decode("latin-1").lower(): b", ".join(values).decode("utf-8", "replace")
                for key, values in response.headers.getAllRawHeaders()
            }
            gathered = Gathered()
            response.deliverBody(gathered)
            whole = await gathered.done
            if found.get("content-encoding", "identity").lower() != "identity":
                # Nobody asked for that, and what it says is not known: JSON like this cannot be read.
                whole = b"?"
            return response.code, found, whole
        finally:
            self._slots.release()


class Gathered(Protocol):
    """Takes a body of at most L{MAX_BODY} bytes; of a longer one the connection is cut."""

    def __init__(self) -> None:
        self._body = bytearray()
        self._given_up = False
        self.done: Deferred[bytes] = Deferred(self._cancelled)

    @override
    def dataReceived(self, data: bytes) -> None:
        self._body += data[: MAX_BODY + 1 - len(self._body)]
        if len(self._body) > MAX_BODY:
            self._abort()

    @override
    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if self.done.called or self._given_up:
            return
        if reason.check(ResponseDone) and len(self._body) <= MAX_BODY:
            self.done.callback(bytes(self._body))
        else:
            self.done.errback(reason)

    def _cancelled(self, done: Deferred[bytes]) -> None:
        self._given_up = True  # losing the connection is told of at once, and is not the reason
        self._abort()

    def _abort(self) -> None:
        transport: Any = self.transport
        if transport is not None:
            transport.abortConnection()
