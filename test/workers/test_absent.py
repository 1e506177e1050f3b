"""A worker that has not got a stream leaves the answer to the main process."""

from __future__ import annotations

from typing import Any

from attrs import evolve
from twisted.internet.defer import Deferred
from typing_extensions import override

from restreamer.errors import NotHere, Reason, Redirected, Refused
from restreamer.http1.refusal import refusal_reply
from restreamer.http1.reply import FullReply, HttpRequest
from restreamer.live.stream import Stream
from restreamer.seams import Account, Gate, Grant, OpenRequest
from restreamer.viewers.points import Playing
from restreamer.workers.absent import (
    ANSWER_SECONDS,
    NOBODYS_SECONDS,
    WAIT_SECONDS,
    AbsentStreams,
    balancer_route,
)
from restreamer.workers.messages import NameAsked, NameKnown
from test.live.test_registry import Supplied
from test.viewers.test_waiting import WaitingCase, request
from test.viewers.viewing import FakeViewing


class Asked(Gate):
    """The main process. @ivar answer: None: it knows the name."""

    def __init__(self) -> None:
        self.asked = 0
        self.answer: Refused | None = None

    @override
    async def open(self, request: OpenRequest) -> Grant:
        self.asked += 1
        if self.answer is not None:
            raise self.answer
        return Grant(request=request)


class Absent(WaitingCase):
    """Requests for what is not here."""

    @override
    def setUp(self) -> None:
        super().setUp()
        self.main = Asked()
        self.said: list[Any] = []
        self.playing = Playing(self.main, self.room)
        self.playing.absence = self.absent = AbsentStreams(
            self.clock, self.registry, self.main, lambda message, fds=(): self.said.append(message)
        )

    def ask(self, proto: str, viewing: FakeViewing | None = None) -> Deferred[Any]:
        wanted = evolve(request("a"), proto=proto, account=Account(viewing=viewing))
        point = self.playing.watch if proto == "hls" else self.playing.play
        return Deferred.fromCoroutine(point(wanted))

    def refusal(self, waiting: Deferred[Any]) -> Refused:
        refused = self.failureResultOf(waiting, Refused).value
        assert isinstance(refused, Refused)
        return refused

    def test_http_goes_on(self) -> None:
        """A playlist of a stream whose publisher is away, a peer's stream: the other process answers. It is
        asked once for all who wait.
        """
        held = [self.ask("hls"), self.ask("tshttp")]
        self.assertEqual(self.said, [NameAsked(1, "a")])
        self.absent.answered(NameKnown(1, True))
        for each in held:
            refused = self.refusal(each)
            self.assertIsInstance(refused, NotHere)
            self.assertTrue(refusal_reply(refused).passed)
        self.assertEqual(self.main.asked, 0)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_http_of_nobody(self) -> None:
        """A crowd asks for a stream that has ended: it is refused here, the question asked now and then."""
        for number in (1, 2):
            first, gone = self.ask("hls"), self.ask("hls")
            gone.cancel()
            self.absent.answered(NameKnown(number, False))
            for each in (first, self.ask("hls"), self.ask("tshttp")):
                refused = self.refusal(each)
                self.assertNotIsInstance(refused, NotHere)
                self.assertIs(refused.reason, Reason.NOT_FOUND)
            self.failureResultOf(gone)
            self.assertEqual(self.said, [NameAsked(each, "a") for each in range(1, number + 1)])
            self.clock.advance(NOBODYS_SECONDS)
        self.absent.answered(NameKnown(2, True))

    def test_http_of_somebody_at_once(self) -> None:
        """What came meanwhile is not refused any more."""
        held = self.ask("hls")
        self.absent.answered(NameKnown(1, False))
        self.refusal(held)
        self.registry.offer("a", Supplied())
        self.assertNoResult(self.ask("hls"))

    def test_http_without_an_answer(self) -> None:
        """It is for the main process, whenever it comes to it."""
        held = self.ask("hls")
        self.clock.advance(ANSWER_SECONDS)
        self.assertIsInstance(self.refusal(held), NotHere)

    def test_others_are_told(self) -> None:
        """RTMP and RTSP stay here: the main process says where to go, or that there is no such name."""
        for proto in ("rtmp", "rtsp"):
            self.main.answer = Redirected("http://there", "rtmp://there", "rtsp://there")
            self.assertIs(self.refusal(self.ask(proto)), self.main.answer)
            self.main.answer = refused = Refused(Reason.NOT_FOUND, "no such stream")
            self.assertIs(self.refusal(self.ask(proto)), refused)
            self.assertFalse(refusal_reply(refused).passed)

    def test_others_wait(self) -> None:
        """The main process knows the name, its publisher comes later."""
        viewing = FakeViewing()
        held = [self.ask("rtmp", viewing), self.ask("rtsp", viewing)]
        self.assertEqual(self.main.asked, 2)
        self.feed("a")
        for each in held:
            self.assertIsNotNone(self.successResultOf(each))
        self.assertEqual(self.main.asked, 2)
        self.nothing_left()

    def test_others_wait_in_vain(self) -> None:
        held, gone = self.ask("rtmp"), self.ask("rtmp")
        gone.cancel()
        self.assertNoResult(held)
        self.failureResultOf(gone)
        self.clock.advance(WAIT_SECONDS)
        refused = self.refusal(held)
        self.assertIs(refused.reason, Reason.NOT_READY)
        self.assertNotIsInstance(refused, NotHere)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_what_is_here(self) -> None:
        """Nothing changes for it."""
        writer = self.feed("a")
        writer.close(90_000)
        self.assertIsInstance(self.successResultOf(self.ask("hls")), Stream)


class Balancers(WaitingCase):
    """Balancers are the main process's, whatever name and file they are asked for."""

    def test_route(self) -> None:
        route = balancer_route(lambda: frozenset({"lb"}))
        for path, passed in (
            ("/lb/live/a/index.m3u8", True),
            ("/lb/live/a/archive-1-2.ts", True),
            ("/lbx/live/a/index.m3u8", False),
            ("/live/lb/index.m3u8", False),
        ):
            reply = route(HttpRequest(method="GET", path=path))
            self.assertEqual(isinstance(reply, FullReply) and reply.passed, passed, path)
