"""Requests like the last ones of their connection: the same bytes as in full, and not for too long."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from attrs import evolve
from typing_extensions import override

from restreamer.http1.head import ready_answer
from restreamer.http1.reply import FullReply, HeldReply, HttpRequest, Ready, Reply
from restreamer.web.again import NOBODY_SECONDS, REPEAT_SECONDS
from restreamer.web.limits import FrontLimits
from test.viewers.viewing import FakeViewing
from test.web.test_front import BIG, SMALL, FrontCase, get
from test.web.wires import Visit

FILES = {"small": SMALL, "big": BIG, "plain": FullReply(status=200, body=b"plain")}


class AgainTests(FrontCase):
    """Files in folders, and a route that notes what it is asked."""

    viewing: FakeViewing | None

    @override
    def setUp(self) -> None:
        self.viewing = FakeViewing()
        self.asked: list[str] = []
        self.repeated: list[str] = []
        self.gone = False

    def route(self, request: HttpRequest) -> Reply | None:
        self.asked.append(request.path)
        request.account.viewing = self.viewing
        reply = FILES.get(request.path.rpartition("/")[2])
        if reply is not None:
            request.account.repeat = self.repeat
        return reply

    def repeat(self, file: str) -> Ready | None:
        self.repeated.append(file)
        reply = None if self.gone else FILES.get(file)
        if reply is None:
            return None
        ready = ready_answer(reply.headers, reply.body, reply.etag)
        return evolve(ready, until=7) if file == "big" else ready

    def both(self, *requests: bytes, **more: Any) -> Visit:
        """The visit; what came is compared with what a connection that repeats nothing gets."""
        plain = self.visit(lambda request: FILES.get(request.path.rpartition("/")[2]), **more)
        visit = self.visit(self.route, **more)
        for request in requests:
            plain.send(request)
            visit.send(request)
        self.assertEqual(visit.got, plain.got)
        counters, others = visit.factory.counters, plain.factory.counters
        self.assertEqual(
            (counters.requests, counters.bytes_sent), (others.requests, others.bytes_sent), requests[:2]
        )
        return visit

    def test_the_same_bytes(self) -> None:
        visit = self.both(*[get(f"/a/{file}") for file in ("small", "plain", "big", "big", "small", "plain")])
        self.assertEqual(self.asked, ["/a/small"])
        self.assertEqual(len(self.repeated), 5)
        assert self.viewing is not None
        self.assertEqual(self.viewing.counted, [5, 5, len(BIG.body), len(BIG.body), 5, 5])
        self.assertEqual(self.viewing.shown, [7, 7])
        self.assert_gone(visit)

    def test_in_full(self) -> None:
        """What is not alike, or has conditions, is asked for in full and changes nothing of the rest."""
        self.both(get("/a/small"), get("/a/small", 'If-None-Match: "a"'), get("/a/big", "Range: bytes=1-5"))
        self.assertEqual(len(self.asked), 3)
        self.asked.clear()
        self.both(get("/a/small"), get("/b/small"), get("/a/small?token=1"), get("/a/small", "X: y"))
        self.assertEqual(len(self.asked), 4)
        self.asked.clear()
        self.both(
            get("/a/small"), get("/a/small") + get("/a/plain"), get("/a/small")[:20], get("/a/small")[20:]
        )
        self.assertEqual(self.asked, ["/a/small"] * 2 + ["/a/plain", "/a/small"])
        self.asked.clear()
        self.both(get("/a/small"), get("/a/%73mall"), get("/a/none"))
        self.assertEqual(self.asked, ["/a/small", "/a/small", "/a/none"])

    def test_http_1_0_and_close(self) -> None:
        self.both(*[get("/a/small", "Connection: keep-alive", version="1.0")] * 2)
        self.assertEqual(len(self.asked), 2)
        self.both(get("/a/small"), get("/a/small", "Connection: close"))
        self.assertEqual(len(self.asked), 4)

    def test_playlists_and_segments_in_turn(self) -> None:
        self.both(*[get("/a/small"), get("/a/2026/plain")] * 3)
        self.assertEqual(self.asked, ["/a/small", "/a/2026/plain"])

    def test_the_session_is_over(self) -> None:
        visit = self.visit(self.route)
        visit.send(get("/a/small"))
        assert self.viewing is not None
        self.viewing.over = "kicked"
        visit.send(get("/a/small"))
        self.assertEqual(len(self.asked), 2)

    def test_what_is_gone_is_asked_for(self) -> None:
        visit = self.visit(self.route)
        visit.send(get("/a/small"))
        self.gone = True
        visit.send(get("/a/small"))
        self.assertEqual(len(self.asked), 2)

    def test_asked_in_full_again_after_a_while(self) -> None:
        for self.viewing, seconds in ((FakeViewing(), REPEAT_SECONDS), (None, NOBODY_SECONDS)):
            self.asked.clear()
            visit = self.visit(self.route)
            visit.send(get("/a/small"))
            visit.clock.advance(seconds - 0.1)
            visit.send(get("/a/small"))
            self.assertEqual(len(self.asked), 1)
            visit.clock.advance(0.2)
            visit.send(get("/a/small"))
            self.assertEqual(len(self.asked), 2)

    def test_who_has_a_session_now_is_counted(self) -> None:
        self.viewing = None
        visit = self.visit(self.route)
        visit.send(get("/a/1/plain"))
        self.viewing = viewing = FakeViewing()
        visit.send(get("/a/small"))
        visit.send(get("/a/1/plain"))
        self.assertEqual(viewing.counted, [5, 5])

    def test_limits(self) -> None:
        visit = self.both(*[get("/a/small")] * 3, limits=FrontLimits(requests=3))
        self.assertIn(b"Connection: close\r\n", visit.got)
        self.assertTrue(visit.wire.lost)
        seen: list[int] = []
        visit = self.visit(self.route, access_log=lambda *told: seen.append(told[4]))
        for _ in range(3):
            visit.send(get("/a/small"))
        self.assertEqual(seen, [5] * 3)
        self.asked.clear()
        visit = self.visit(self.route)
        visit.send(get("/a/small"))
        visit.factory.draining = True
        visit.send(get("/a/small"))
        self.assertTrue(visit.wire.lost)


class HeldTests(FrontCase):
    """An answer many wait for."""

    @override
    def setUp(self) -> None:
        self.waiters: list[Callable[[FullReply, Ready | None], None]] = []
        self.left = 0
        self.viewing = FakeViewing()

    def route(self, request: HttpRequest) -> Reply | None:
        request.account.viewing = self.viewing
        return HeldReply(hold=self.hold)

    def hold(self, answer: Callable[[FullReply, Ready | None], None]) -> Callable[[], None]:
        self.waiters.append(answer)

        def leave() -> None:
            self.left += 1

        return leave

    def test_the_same_bytes(self) -> None:
        for reply in (SMALL, BIG):
            for ready in (None, ready_answer(reply.headers, reply.body, reply.etag)):
                visit = self.visit(self.route)
                visit.send(get() + get())
                self.assertEqual(visit.got, b"")
                self.waiters.pop()(reply, ready)
                visit.settle()
                self.waiters.pop()(reply, ready)
                visit.settle()
                plain = self.visit(lambda request, reply=reply: reply)
                plain.send(get() + get())
                self.assertEqual(visit.got, plain.got)
                self.assertEqual(self.viewing.counted, [len(reply.body)] * 2)
                self.assertEqual(visit.factory.counters.requests, 2)
                self.viewing.counted.clear()
                self.assert_gone(visit)

    def test_conditions(self) -> None:
        visit = self.visit(self.route)
        visit.send(get("/small", 'If-None-Match: "a"'))
        self.waiters.pop()(SMALL, ready_answer(SMALL.headers, SMALL.body, SMALL.etag))
        visit.settle()
        self.assertEqual(visit.statuses(), [304])

    def test_gone(self) -> None:
        visit = self.visit(self.route)
        visit.send(get())
        self.assert_gone(visit)
        self.assertEqual(self.left, 1)
        self.waiters.pop()(SMALL, None)

    def test_too_late(self) -> None:
        visit = self.visit(self.route)
        visit.send(get())
        visit.pass_time(31.0)
        visit.settle()
        self.assertEqual((visit.statuses(), self.left), ([503], 1))
        self.waiters.pop()(SMALL, None)
        self.assertEqual(visit.statuses(), [503])
