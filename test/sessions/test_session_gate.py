"""Who is granted, who is refused, who is asked: L{restreamer.sessions.session_gate}."""

from __future__ import annotations

from twisted.internet.defer import CancelledError, Deferred
from typing_extensions import override

from restreamer.config.model import AuthConfig
from restreamer.errors import Reason, Redirected, Refused
from restreamer.http1.refusal import refusal_reply
from restreamer.http1.reply import HttpRequest
from restreamer.seams import Grant
from restreamer.sessions.answers import Answer, Verdict
from restreamer.sessions.session import Session
from test.sessions.rig import ALLOW, ASKED, DENY, FAILED, UNDECIDED, FakeBackend, GateTestCase

OPEN = AuthConfig()
ELSEWHERE = Answer(verdict=Verdict.REDIRECT, location="https://other.example/cam/index.m3u8?token=a")
NOWHERE = Answer(verdict=Verdict.REDIRECT, location="")
PROTOS = ("hls", "llhls", "dash", "mp4", "tshttp", "flv", "rtmp", "rtsp")
LASTING = ("tshttp", "flv", "rtmp", "rtsp")


class AnswerTests(GateTestCase):
    """Every answer, to a new session and to one that goes on, by every protocol."""

    def test_new(self) -> None:
        """What each answer makes of a new session."""
        table = [(ALLOW, True), (NOWHERE, True), (ELSEWHERE, None), (DENY, False)]
        table += [(UNDECIDED, False), (FAILED, False)]
        for proto in PROTOS:
            for answer, granted in table:
                self.make()
                self.backend.say = answer
                request = self.request(proto, token="t")
                if granted:
                    session = self.granted(request)
                    self.assertEqual(self.table.total(), 1, proto)
                    self.assertEqual(session.token, "t")
                    continue
                error = self.refused(request)
                self.assertIs(error.reason, Reason.DENIED)
                self.assertEqual(isinstance(error, Redirected), granted is None)
                self.assertEqual(len(self.table), 0)
                self.assertEqual(self.table.total(), 0)
                self.assertEqual(self.heard.words, ["play_opened", "play_closed"])

    def test_update(self) -> None:
        """What each answer makes of a session that goes on; the backend answers others."""
        table = [(ALLOW, True), (NOWHERE, True), (ELSEWHERE, None), (DENY, False)]
        table += [(UNDECIDED, True), (FAILED, False)]
        for proto in PROTOS:
            for answer, granted in table:
                self.make()
                request = self.request(proto, token="t")
                session = self.granted(request)
                connection = self.connect(session) if proto in LASTING else None
                if connection is None:
                    self.watch(150, request)
                    self.backend.say = None
                    self.watch(31, request)
                else:
                    self.backend.say = None
                    self.pass_time(182)
                self.assertEqual(len(self.backend.questions), 2, proto)
                self.assertEqual(self.backend.questions[1].request_type, "update_session")
                self.assertEqual(self.backend.questions[1].request_number, 1)
                self.assertGreaterEqual(self.backend.questions[1].duration, 180)
                # The request itself, and the connection, went on with the old answer.
                self.assertIs(self.granted(self.request(proto, token="t")), session)
                other = self.begin(self.request(proto, token="other"))
                self.backend.waiting.pop(1).callback(ALLOW)
                self.successResultOf(other)
                if answer is FAILED:
                    # It is late.
                    self.clock.advance(2)
                self.backend.answer(answer)
                if granted:
                    self.assertIs(self.granted(self.request(proto, token="t")), session)
                else:
                    error = self.refused(self.request(proto, token="t"))
                    self.assertEqual(isinstance(error, Redirected), granted is None)
                    self.assertEqual(session.closed_why, "denied")
                if connection is not None:
                    self.assertEqual(len(connection.kicked), 0 if granted else 1)

    def test_late_and_nobody_is_answered(self) -> None:
        """A backend that answers nobody says nothing about a session by not answering."""
        self.make()
        session = self.granted(self.request("rtmp", token="t"))
        connection = self.connect(session)
        self.backend.say = FAILED
        self.pass_time(182)
        self.assertEqual(len(self.backend.questions), 2)
        self.assertEqual(connection.kicked, [])
        self.assertTrue(session.live)

    def test_unreadable_and_others_are_answered(self) -> None:
        """What cannot be read comes at once: only later it shows that others are answered, and ends it."""
        for proto in PROTOS:
            self.make()
            request = self.request(proto, token="t")
            session = self.granted(request)
            if proto in LASTING:
                self.connect(session)
            self.backend.say = FAILED
            self.watch(185, request)
            self.assertTrue(session.live, proto)
            self.backend.say = ALLOW
            self.granted(self.request(proto, token="other"))
            self.backend.say = FAILED
            self.watch(15, request)
            self.assertEqual(session.closed_why, "denied", proto)

    def test_broken_off(self) -> None:
        """A backend that dies breaks off what it was asked just after it answered others: nobody is cut."""
        self.make()
        session = self.granted(self.request("rtmp", token="t"))
        self.connect(session)
        self.backend.say = None
        self.pass_time(181)
        other = self.begin(self.request("rtmp", token="other"))
        self.backend.waiting.pop(1).callback(ALLOW)
        self.successResultOf(other)
        self.backend.answer(FAILED)
        self.assertTrue(session.live)
        self.backend.say = UNDECIDED
        self.pass_time(300)
        self.assertTrue(session.live)

    def test_unreadable_for_a_while(self) -> None:
        """A backend that fails for everybody and comes back has cut nobody; what was before is forgotten."""
        self.make()
        request = self.request("rtmp", token="t")
        session = self.granted(request)
        self.connect(session)
        for _ in range(2):
            self.backend.say = FAILED
            self.pass_time(200)
            self.assertTrue(session.live)
            self.backend.say = ALLOW
            self.pass_time(15)
            self.granted(self.request("rtmp", token="other"))
        self.assertTrue(session.live)

    def test_redirect_answer(self) -> None:
        """A redirected viewer of HTTP gets the address that the backend gave."""
        self.make()
        self.backend.say = ELSEWHERE
        reply = refusal_reply(self.refused(self.request()), HttpRequest(method="GET", path="/cam/index.m3u8"))
        self.assertEqual(reply.status, 302)
        self.assertIn(b"Location: https://other.example/cam/index.m3u8?token=a\r\n", reply.headers)
        self.assertNotIn("token=a", repr(self.refused(self.request())))

    def test_bad_redirects(self) -> None:
        """An address that is none, or breaks a header, is no redirect."""
        for location in ("/index.m3u8", "file:///etc", "http://a\r\nX: y", "http://a b", "ftp://a/"):
            self.make()
            self.backend.say = Answer(verdict=Verdict.REDIRECT, location=location)
            self.granted(self.request())

    def test_nobody_to_ask(self) -> None:
        """Rules that name a backend which is not there let nobody in."""
        self.make()
        self.gate._backend_of = lambda name, action: None
        self.assertIs(self.refused(self.request()).reason, Reason.DENIED)

    def test_backend_raises(self) -> None:
        """A backend that breaks its word denies."""
        self.make()

        class Broken(FakeBackend):
            @override
            async def ask(self, question: object) -> Answer:
                raise RuntimeError("no")

        self.backend = Broken()
        self.refused(self.request())
        self.assertEqual(self.gate.counters.failures, 1)
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)


class AskingTests(GateTestCase):
    """How often it is asked."""

    def test_single_flight(self) -> None:
        """A hundred requests of a new viewer are one question."""
        self.make()
        self.backend.say = None
        requests = [self.request(token="t") for _ in range(100)]
        waiting = [self.begin(request) for request in requests]
        self.assertEqual(len(self.backend.questions), 1)
        for each in waiting:
            self.assertNoResult(each)
        self.assertEqual(self.table.total(), 0)
        self.backend.answer(ALLOW)
        for each in waiting:
            self.successResultOf(each)
        self.assertEqual(len({id(request.account.viewing) for request in requests if request.account}), 1)
        self.assertEqual(self.table.total(), 1)

    def test_single_flight_denied(self) -> None:
        """All of them are refused."""
        self.make()
        self.backend.say = None
        waiting = [self.begin(self.request(token="t")) for _ in range(10)]
        self.backend.answer(DENY)
        for each in waiting:
            self.failureResultOf(each, Refused)
        self.assertEqual(len(self.backend.questions), 1)

    def test_nobody_waits(self) -> None:
        """When all who wait are gone the question is cancelled, and nothing is left."""
        self.make()
        self.backend.say = None
        waiting: list[Deferred[Grant]] = [self.begin(self.request(token="t")) for _ in range(3)]
        for each in waiting:
            self.assertEqual(self.backend.cancelled, 0)
            each.cancel()
            self.failureResultOf(each, CancelledError)
        self.assertEqual(self.backend.cancelled, 1)
        self.assertEqual(self.table.places(), ())
        self.backend.say = ALLOW
        self.granted(self.request(token="t"))

    def test_denial_is_cached(self) -> None:
        """Who was denied is not asked about again for as long as the answer holds."""
        self.make()
        self.backend.say = Answer(verdict=Verdict.DENY, duration=50)
        self.refused(self.request(token="t"))
        self.watch(45, self.request(token="t"), every=1)
        self.assertEqual(len(self.backend.questions), 1)
        self.pass_time(6)
        self.backend.say = ALLOW
        self.granted(self.request(token="t"))
        self.assertEqual(self.backend.questions[1].request_type, "new_session")
        self.assertNotEqual(self.backend.questions[1].session_id, self.backend.questions[0].session_id)

    def test_undecided_is_not_cached(self) -> None:
        """Who was refused because the backend was away is let in when it is back."""
        self.make()
        self.backend.say = UNDECIDED
        self.refused(self.request(token="t"))
        self.refused(self.request(token="t"))
        self.assertEqual(len(self.backend.questions), 1)
        self.pass_time(2)
        self.backend.say = ALLOW
        self.granted(self.request(token="t"))

    def test_due_of_files(self) -> None:
        """One who comes back is asked about at the first request after the answer has run out."""
        self.make()
        self.backend.say = Answer(verdict=Verdict.ALLOW, duration=30)
        request = self.request(token="t")
        self.granted(request)
        self.watch(28, request, every=4)
        self.assertEqual(len(self.backend.questions), 1)
        self.watch(4, request, every=4)
        self.assertEqual(len(self.backend.questions), 2)

    def test_grace(self) -> None:
        """A backend that is away is asked again and again; when the grace is over the session ends."""
        for proto in ("hls", "rtmp"):
            for grace, seconds in ((None, 630), (0.0, 30), (90.0, 120)):
                self.make(AuthConfig(on_play="http://b", grace=grace))
                self.backend.say = Answer(verdict=Verdict.ALLOW, duration=30)
                request = self.request(proto, token="t")
                session = self.granted(request)
                if proto == "rtmp":
                    self.connect(session)
                self.backend.say = UNDECIDED
                self.watch(seconds - 2, request, every=1)
                self.assertTrue(session.live, (proto, grace))
                self.watch(4, request, every=1)
                self.assertFalse(session.live, (proto, grace))
                self.assertEqual(session.closed_why, "denied")
                # It was not asked at every request.
                self.assertLess(len(self.backend.questions), 4 + seconds / 10)

    def test_backend_comes_back(self) -> None:
        """A session whose backend was away for a while goes on."""
        self.make()
        self.backend.say = Answer(verdict=Verdict.ALLOW, duration=60)
        connection = self.connect(self.granted(self.request("rtsp")))
        self.backend.say = UNDECIDED
        self.pass_time(110)
        self.backend.say = Answer(verdict=Verdict.ALLOW, duration=60)
        self.pass_time(100)
        self.assertEqual(connection.kicked, [])

    def test_reauth(self) -> None:
        """The API has the backend asked at once; who is denied then ends within seconds."""
        self.make()
        playing = self.connect(self.granted(self.request("rtmp", token="a")))
        hls = self.granted(self.request("hls", token="a"))
        other = self.granted(self.request("rtmp", name="other", token="a"))
        self.assertEqual(len(self.backend.questions), 3)
        self.backend.say = DENY
        self.assertEqual(self.table.reauth("cam"), 2)
        self.pass_time(2)
        self.assertEqual(len(self.backend.questions), 5)
        self.assertEqual(len(playing.kicked), 1)
        self.assertFalse(hls.live)
        self.assertTrue(other.live)
        self.assertEqual(self.table.reauth(session_id=other.session_id), 1)
        self.pass_time(2)
        self.assertFalse(other.live)
        self.assertEqual(self.table.reauth("nothing"), 0)
        self.assertEqual(self.table.reauth(session_id="f" * 32), 0)

    def test_reauth_forgets_refusals(self) -> None:
        """Who was denied is asked about again."""
        self.make()
        self.backend.say = DENY
        self.refused(self.request())
        self.backend.say = ALLOW
        self.table.reauth("cam")
        self.granted(self.request())

    def test_question(self) -> None:
        """What the backend is told."""
        self.make()
        session = self.granted(
            self.request(token="t", query="token=t&x=1", user_agent="VLC", referer="http://a/", host="h")
        )
        session.count(500)
        self.backend.say = None
        self.watch(185, self.request(token="t"))
        first, second = self.backend.questions
        self.assertEqual((first.bytes, first.duration, first.request_number), (0, 0.0, 0))
        self.assertEqual(second.bytes, 500)
        for each in (first, second):
            self.assertEqual((each.name, each.proto, each.ip), ("cam", "hls", "192.0.2.1"))
            self.assertEqual((each.token, each.query), ("t", "token=t&x=1"))
            self.assertEqual((each.user_agent, each.referer, each.host), ("VLC", "http://a/", "h"))
            self.assertEqual(each.session_id, session.session_id)
        self.assertEqual((second.stream_clients, second.total_clients), (1, 1))


class PartTests(GateTestCase):
    """Pieces of what is listed."""

    def test_without_session(self) -> None:
        """Where a backend, a domain or a limit says who may play, a piece needs a session."""
        for auth in (ASKED, AuthConfig(domains=("a.example",)), AuthConfig(max_sessions=5)):
            for proto in ("hls", "cmaf"):
                self.make(auth)
                error = self.refused(self.request(proto, part=True, token="t"))
                self.assertIs(error.reason, Reason.DENIED)
                self.assertEqual(self.backend.questions, [])

    def test_with_session(self) -> None:
        """It is found by name, address and token, whatever the protocol of the playlist."""
        for listed in ("hls", "dash"):
            for proto in ("hls", "cmaf"):
                self.make()
                session = self.granted(self.request(listed, token="t"))
                self.assertIs(self.granted(self.request(proto, part=True, token="t")), session)
                self.refused(self.request(proto, part=True, token="u"))
                self.refused(self.request(proto, part=True))
                self.refused(self.request(proto, part=True, token="t", peer="192.0.2.2"))
                self.refused(self.request(proto, part=True, token="t", name="other"))
                self.assertEqual(len(self.backend.questions), 1)

    def test_two_forms(self) -> None:
        """The end of one form does not take the pieces of the other."""
        self.make()
        hls, dash = (self.granted(self.request(proto, token="t")) for proto in ("hls", "dash"))
        self.table.kick(hls.session_id)
        self.assertIs(self.granted(self.request("cmaf", part=True, token="t")), dash)
        self.table.kick(dash.session_id)
        self.refused(self.request("cmaf", part=True, token="t"))

    def test_not_decided_yet(self) -> None:
        """No piece before the grant."""
        self.make()
        self.backend.say = None
        waiting = self.begin(self.request(token="t"))
        self.refused(self.request(part=True, token="t"))
        self.backend.answer(ALLOW)
        self.successResultOf(waiting)
        self.granted(self.request(part=True, token="t"))

    def test_after_the_end(self) -> None:
        """None after the session was denied, kicked or went away."""
        self.make()
        for end in (lambda s: self.table.kick(s.session_id), lambda s: self.pass_time(130)):
            session = self.granted(self.request(token="t"))
            end(session)
            self.refused(self.request(part=True, token="t"))
            self.pass_time(20)

    def test_open_stream(self) -> None:
        """Where nobody is asked pieces are given to everybody, and counted if a session is found."""
        self.make(OPEN)
        part = self.request(part=True)
        self.successResultOf(self.begin(part))
        assert part.account is not None
        self.assertIsNone(part.account.viewing)
        self.assertEqual(self.table.total(), 0)
        session = self.granted(self.request())
        self.assertEqual(session.token, "")
        self.assertIs(self.granted(self.request(part=True)), session)
        self.assertEqual(self.backend.questions, [])

    def test_token_of_open_stream(self) -> None:
        """A token that nobody asks for is carried to the pieces as it was given."""
        self.make(OPEN)
        session = self.granted(self.request(token="t"))
        self.assertEqual(session.token, "t")
        self.assertIs(self.granted(self.request(part=True, token="t")), session)
        named = self.granted(self.request(playback_id="p"))
        self.assertEqual(named.token, "")
        self.assertIs(self.granted(self.request(part=True, playback_id="p")), named)

    def test_no_wait(self) -> None:
        """A piece of a granted session is answered without any wait, also when its answer has run out."""
        self.make()
        self.granted(self.request(token="t"))
        self.watch(179, self.request(token="t"))
        self.backend.say = None
        self.clock.advance(5)
        work = self.gate.open(self.request(part=True, token="t"))
        with self.assertRaises(StopIteration):
            work.send(None)
        self.assertEqual(len(self.backend.questions), 2)


class IdentityTests(GateTestCase):
    """Who is the same viewer."""

    def test_auto_token(self) -> None:
        """Who comes without a token gets one: the same each time, on every protocol, and after a restart."""
        self.make()
        session = self.granted(self.request())
        token = session.token
        self.assertRegex(token, "^[0-9a-f]{32}$")
        self.assertIs(self.granted(self.request()), session)
        self.assertIs(self.granted(self.request(token=token)), session)
        self.assertIs(self.granted(self.request("cmaf", part=True, token=token)), session)
        self.assertEqual(self.granted(self.request("dash")).token, token)
        self.assertEqual(self.backend.questions[0].token, token)
        self.assertNotEqual(self.granted(self.request(peer="192.0.2.2")).token, token)
        self.assertNotEqual(self.granted(self.request(name="other")).token, token)
        self.make()
        self.assertEqual(self.granted(self.request()).token, token)

    def test_no_auto_token(self) -> None:
        """Where tokens are not made, who has none is refused without a question."""
        self.make(AuthConfig(on_play="http://b", auto_token=False))
        self.assertIs(self.refused(self.request()).reason, Reason.DENIED)
        self.refused(self.request("rtmp"))
        self.refused(self.request(part=True))
        self.assertEqual(self.backend.questions, [])
        self.granted(self.request(token="t"))

    def test_playback_id(self) -> None:
        """What the player calls its session is its token, if it has no other."""
        self.make(AuthConfig(on_play="http://b", auto_token=False))
        session = self.granted(self.request(playback_id="apple-1"))
        self.assertEqual(session.token, "apple-1")
        self.assertEqual(self.backend.questions[0].token, "apple-1")
        self.assertIs(self.granted(self.request("hls", part=True, token="apple-1")), session)
        self.assertIsNot(self.granted(self.request(token="t", playback_id="apple-1")), session)

    def test_address_stream_protocol_token(self) -> None:
        """Another address, stream, protocol or token is another session, and asked about (A02)."""
        self.make()
        first = self.granted(self.request(token="t"))
        for more in ({"peer": "192.0.2.2"}, {"name": "other"}, {"proto": "rtmp"}, {"token": "u"}):
            other = self.granted(self.request(**{"token": "t", **more}))
            self.assertIsNot(other, first)
        self.assertEqual(len(self.backend.questions), 5)
        self.assertIs(self.granted(self.request(token="t", user_agent="other")), first)

    def test_session_keys(self) -> None:
        """The configuration says what makes a session."""
        self.make(AuthConfig(on_play="http://b", session_keys=("name", "ip", "proto")))
        session = self.granted(self.request(token="t"))
        self.assertIs(self.granted(self.request(token="u")), session)
        self.assertIs(self.granted(self.request(part=True, token="v")), session)
        self.make(AuthConfig(on_play="http://b", session_keys=("name", "ip", "proto", "token", "user_agent")))
        session = self.granted(self.request(token="t", user_agent="a"))
        self.assertIsNot(self.granted(self.request(token="t", user_agent="b")), session)

    def test_many_behind_one_address(self) -> None:
        """Connections that nothing but a shared address tells apart are viewers of their own."""
        self.make(OPEN)
        first, second = (self.granted(self.request("rtmp")) for _ in range(2))
        self.assertIsNot(first, second)
        self.assertIs(
            self.granted(self.request("rtmp", token="t")), self.granted(self.request("rtmp", token="t"))
        )

    def test_nodes_and_pages(self) -> None:
        """Nodes that pull or push, and pages, are no viewers."""
        self.make()
        for proto in ("m4f", "m4fs", "api"):
            for action in ("play", "publish"):
                request = self.request(proto, action=action)
                self.successResultOf(self.begin(request))
                assert request.account is not None
                self.assertIsNone(request.account.viewing)
        self.assertEqual((self.backend.questions, len(self.table), self.table.total()), ([], 0, 0))

    def test_zap(self) -> None:
        """Another stream is another session."""
        self.make()
        first = self.granted(self.request(token="t"))
        second = self.granted(self.request(name="b", token="t"))
        self.assertNotEqual(first.session_id, second.session_id)
        self.assertEqual(self.backend.questions[1].request_type, "new_session")

    def test_domains(self) -> None:
        """A page of another site may not embed the player; who names none is not stopped."""
        self.make(AuthConfig(domains=("a.example", "*.b.example")))
        for referer in (
            "",
            "https://a.example/x",
            "http://b.example",
            "https://www.B.example:8/",
            "HTTPS://A.EXAMPLE/",
        ):
            self.granted(self.request(referer=referer))
        for referer in (
            "https://evil.example/a.example",
            "https://aa.example",
            "https://[::1",
            "x",
            "https://cb.example",
        ):
            self.assertIs(self.refused(self.request(referer=referer)).reason, Reason.DENIED)

    def test_ranges(self) -> None:
        """Of the archive only the ranges that the backend names may be played."""
        second = 90_000
        self.make()
        self.backend.say = Answer(verdict=Verdict.ALLOW, ranges=((100, 200), (300, 400)))
        self.granted(self.request(span=(100 * second, 200 * second)))
        self.granted(self.request(span=(310 * second, 320 * second)))
        for begin, end in ((99, 150), (150, 201), (200, 300), (150, 350), (500, 600)):
            self.refused(self.request(span=(begin * second, end * second)))
        self.refused(self.request(span=(0, second), part=True, token=self.granted(self.request()).token))
        self.granted(self.request())
        self.make()
        self.backend.say = Answer(verdict=Verdict.ALLOW, ranges=())
        self.refused(self.request(span=(100 * second, 200 * second)))


class PublisherTests(GateTestCase):
    """Publishers."""

    def test_answers(self) -> None:
        """Each answer to a new publisher, after the password."""
        for answer, granted in (
            (ALLOW, True),
            (NOWHERE, True),
            (DENY, False),
            (UNDECIDED, False),
            (FAILED, False),
        ):
            self.make()
            self.backend.say = answer
            request = self.request("rtmp", action="publish", password="p")
            if granted:
                session = self.granted(request)
                self.assertEqual((session.kind, self.table.total()), ("publish", 0))
                self.assertEqual(self.heard.words, ["publish_opened", "publish_authorized"])
            else:
                self.assertIs(self.refused(request).reason, Reason.DENIED)
            self.assertEqual(self.backend.questions[0].action, "publish")
            self.assertEqual(self.backend.questions[0].password, "p")

    def test_password_first(self) -> None:
        """A wrong password is refused without a question."""
        self.make()
        self.passwords["cam"] = "secret"
        self.refused(self.request("rtmp", action="publish", password="p"))
        self.assertEqual(self.backend.questions, [])
        self.granted(self.request("rtmp", action="publish", password="secret"))

    def test_life(self) -> None:
        """A publisher is asked about again, cut when it is denied, and over when its connection is."""
        self.make()
        session = self.granted(self.request("rtmp", action="publish"))
        connection = self.connect(session)
        self.pass_time(182)
        self.assertEqual(self.backend.questions[1].request_type, "update_session")
        self.backend.say = DENY
        self.pass_time(182)
        self.assertEqual(len(connection.kicked), 1)
        self.backend.say = ALLOW
        session = self.granted(self.request("rtmp", action="publish"))
        connection = self.connect(session)
        connection.detach()
        self.assertEqual(session.closed_why, "left")


class ReconfiguredTests(GateTestCase):
    """Another configuration."""

    def test_rules(self) -> None:
        """Sessions under other rules are asked about anew; the others are left alone."""
        self.make({"open": OPEN, "closing": OPEN, "other": ASKED})
        sessions: dict[str, Session] = {}
        connections = {}
        for name in self.rules:
            sessions[name] = self.granted(self.request("rtmp", name=name, token="t"))
            connections[name] = self.connect(sessions[name])
        self.assertEqual(len(self.backend.questions), 1)
        self.backend.say = DENY
        self.rules["closing"] = ASKED
        self.gate.reconfigured()
        self.pass_time(2)
        self.assertEqual(len(self.backend.questions), 2)
        self.assertEqual([len(each.kicked) for each in connections.values()], [0, 1, 0])

    def test_opened(self) -> None:
        """Where nobody is asked any more sessions go on for ever."""
        self.make({"cam": ASKED})
        connection = self.connect(self.granted(self.request("rtmp", token="t")))
        self.rules["cam"] = OPEN
        self.gate.reconfigured()
        self.backend.say = DENY
        self.pass_time(1000)
        self.assertEqual((len(self.backend.questions), connection.kicked), (1, []))
