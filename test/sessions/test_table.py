"""The life of sessions, limits and what is told of them: L{restreamer.sessions.table}."""

from __future__ import annotations

import io
from collections.abc import Awaitable, Sequence

from attrs import define, field
from twisted.internet.defer import Deferred
from twisted.logger import globalLogPublisher, textFileLogObserver
from twisted.python.failure import Failure
from typing_extensions import override

from restreamer.config.model import AuthConfig
from restreamer.errors import Reason
from restreamer.sessions.answers import Answer, Verdict
from restreamer.sessions.limits import Others, Upstream
from restreamer.viewer_facts import SessionFacts
from test.sessions.rig import ASKED, DENY, UNDECIDED, GateTestCase, Heard

OPEN = AuthConfig()


def user(name: str, most: int | None = None, unique: bool = False, duration: float | None = None) -> Answer:
    """An answer that names a user."""
    return Answer(verdict=Verdict.ALLOW, user_id=name, max_sessions=most, unique=unique, duration=duration)


def facts(session_id: str, name: str = "cam", user_id: str = "") -> SessionFacts:
    """A session of another node."""
    return SessionFacts(
        session_id=session_id,
        name=name,
        proto="hls",
        ip="192.0.2.9",
        opened_at=1,
        updated_at=1,
        user_id=user_id,
    )


@define(eq=False)
class FakeOthers(Others):
    """Sessions of other nodes."""

    held: list[SessionFacts] = field(factory=list)
    ended: list[tuple[str, str]] = field(factory=list)

    @override
    def count(self, name: str) -> int:
        return sum(each.name == name for each in self.held)

    @override
    def of_user(self, user_id: str) -> Sequence[SessionFacts]:
        return [each for each in self.held if each.user_id == user_id]

    @override
    def end(self, session_id: str, why: str) -> bool:
        self.ended.append((session_id, why))
        return True


@define(eq=False)
class FakeUpstream(Upstream):
    """The nodes above. @ivar say: what they say; C{...}: they wait."""

    say: bool | None = None
    claims: list[tuple[object, ...]] = field(factory=list)
    waiting: list[Deferred[bool | None]] = field(factory=list)
    wait: bool = False

    @override
    def claim(
        self,
        name: str,
        user_id: str,
        session_id: str,
        unique: bool,
        max_sessions_user: int | None,
        max_sessions_stream: int | None,
    ) -> Awaitable[bool | None]:
        self.claims.append((name, user_id, unique, max_sessions_user, max_sessions_stream))
        answer: Deferred[bool | None] = Deferred()
        if self.wait:
            self.waiting.append(answer)
        else:
            answer.callback(self.say)
        return answer


class LifeTests(GateTestCase):
    """When sessions end."""

    def test_idle(self) -> None:
        """One who comes back is gone a minute after the last request; with short answers sooner."""
        for auth, duration, life in (
            (OPEN, None, 60),
            (ASKED, None, 60),
            (ASKED, 20.0, 40),
            (ASKED, 5.0, 15),
        ):
            self.make(auth)
            self.backend.say = Answer(verdict=Verdict.ALLOW, duration=duration)
            session = self.granted(self.request(token="t"))
            session.count(10)
            self.watch(100, self.request(token="t"), every=2)
            self.assertTrue(session.live)
            self.pass_time(life - 1)
            self.assertTrue(session.live, life)
            self.pass_time(3)
            self.assertEqual(session.closed_why, "idle")
            self.assertEqual((len(self.table), self.table.total(), self.table.places()), (0, 0, ()))

    def test_never_began(self) -> None:
        """Who was granted and got nothing, as for a stream that is not there, leaves no trace."""
        for proto in ("hls", "rtmp"):
            self.make(OPEN)
            self.granted(self.request(proto))
            self.assertEqual(list(self.table), [])
            self.pass_time(17)
            self.assertEqual((len(self.table), self.heard.events), (0, []))

    def test_connections(self) -> None:
        """A continuous session is over with its last connection, and not before."""
        self.make()
        session = self.granted(self.request("rtmp", token="t"))
        first, second = self.connect(session), self.connect(session)
        self.pass_time(170)
        first.detach()
        first.detach()
        self.assertTrue(session.live)
        second.bytes = 77
        second.detach()
        self.assertEqual((session.closed_why, session.bytes), ("left", 77))
        self.assertEqual(first.kicked + second.kicked, [])
        self.assertEqual(self.heard.words[-1], "play_closed")

    def test_file_in_pieces(self) -> None:
        """A file that is fetched in pieces, by one connection after another, is one session."""
        self.make()
        session = self.granted(self.request("mp4", token="t"))
        self.connect(session).detach()
        self.pass_time(30)
        self.assertIs(self.granted(self.request("mp4", token="t")), session)
        connection = self.connect(session)
        self.pass_time(170)
        self.assertTrue(session.live)
        connection.detach()
        self.pass_time(62)
        self.assertFalse(session.live)

    def test_attach_after_the_end(self) -> None:
        """A connection that comes too late is told so at once."""
        self.make()
        session = self.granted(self.request("rtmp"))
        self.table.kick(session.session_id)
        connection = self.connect(session)
        self.assertEqual(connection.kicked, ["kicked"])
        connection.detach()

    def test_kick(self) -> None:
        """A kicked session ends at once, whatever the protocol, and is refused for a moment."""
        self.make()
        for proto in ("hls", "rtmp"):
            session = self.granted(self.request(proto))
            connection = self.connect(session)
            self.assertTrue(self.table.kick(session.session_id))
            self.assertFalse(self.table.kick(session.session_id))
            self.assertEqual(connection.kicked, ["this session was ended"])
            self.assertEqual(session.closed_why, "kicked")
            self.assertIs(self.refused(self.request(proto)).reason, Reason.DENIED)
            self.pass_time(11)
            self.assertIsNot(self.granted(self.request(proto)), session)

    def test_kick_that_raises(self) -> None:
        """A connection that fails to end takes nothing with it."""
        self.make()
        session = self.granted(self.request("rtmp", token="t"))

        def kick(why: str) -> None:
            raise RuntimeError(why)

        session.attach(lambda: 0, kick)
        connection = self.connect(session)
        self.table.kick(session.session_id)
        self.assertEqual(len(connection.kicked), 1)
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)

    def test_kick_that_opens(self) -> None:
        """A viewer that comes back while it is being ended confuses nothing."""
        self.make()
        session = self.granted(self.request("rtmp", token="t"))
        again = []
        session.attach(lambda: 0, lambda why: again.append(self.granted(self.request("rtmp", token="t"))))
        self.table.kick(session.session_id)
        self.assertEqual(len(again), 1)
        self.assertTrue(again[0].live)
        self.assertEqual((len(self.table), self.table.stream_clients("cam")), (1, 1))
        self.table.kick(again[0].session_id)
        self.assertEqual((len(self.table), self.table.stream_clients("cam")), (0, 0))

    def test_stop(self) -> None:
        """At the end of the node everybody's session is over."""
        self.make()
        connection = self.connect(self.granted(self.request("rtmp")))
        self.granted(self.request())
        self.table.stop()
        self.assertEqual(self.heard.words[-2:], ["play_closed"] * 2)
        self.assertEqual(len(connection.kicked), 1)
        self.assertEqual(self.clock.getDelayedCalls(), [])


class LimitTests(GateTestCase):
    """How many there may be."""

    def test_of_stream(self) -> None:
        """A stream has no more viewers than it may, over all protocols and nodes."""
        others = FakeOthers([facts("9" * 32)])
        self.make(AuthConfig(max_sessions=3), others)
        self.granted(self.request("hls", token="a"))
        rtmp = self.granted(self.request("rtmp", token="b"))
        connection = self.connect(rtmp)
        self.granted(self.request("rtmp", name="other", token="c"))
        error = self.refused(self.request("rtsp", token="c"))
        self.assertIs(error.reason, Reason.DENIED)
        self.granted(self.request("hls", part=True, token="a"))
        connection.detach()
        self.granted(self.request("rtsp", token="d"))

    def test_of_user(self) -> None:
        """A user has no more sessions than the backend says, over streams, protocols and nodes."""
        others = FakeOthers([facts("9" * 32, user_id="ann"), facts("8" * 32, user_id="bob")])
        self.make(ASKED, others)
        self.backend.say = user("ann", 3)
        self.granted(self.request("hls", token="a"))
        self.granted(self.request("rtmp", name="b", token="b"))
        self.refused(self.request("rtsp", name="c", token="c"))
        self.backend.say = user("bob", 3)
        self.granted(self.request("rtsp", name="c", token="d"))
        self.backend.say = user("", 0)
        self.granted(self.request("rtsp", name="c", token="e"))
        self.assertEqual(len(self.table.of_user("ann")), 2)

    def test_ban(self) -> None:
        """Who is one too many is refused for as long as the answer holds, and not asked about."""
        self.make()
        self.backend.say = user("ann", 1, duration=50)
        first = self.granted(self.request("hls", token="a"))
        self.refused(self.request("rtmp", token="b"))
        self.table.close(first, "left")
        self.refused(self.request("rtmp", token="b"))
        self.assertEqual(len(self.backend.questions), 2)
        self.pass_time(52)
        self.granted(self.request("rtmp", token="b"))

    def test_unique(self) -> None:
        """A user that may have one session has the newest; another address is not fought with."""
        others = FakeOthers([facts("9" * 32, user_id="ann")])
        self.make(ASKED, others)
        self.backend.say = user("ann", unique=True)
        first = self.granted(self.request("rtmp", token="a"))
        connection = self.connect(first)
        second = self.granted(self.request("hls", name="b", token="b", peer="192.0.2.7"))
        self.assertEqual((first.closed_why, len(connection.kicked), second.live), ("limit", 1, True))
        self.assertEqual(others.ended[0], ("9" * 32, "limit"))
        self.refused(self.request("rtmp", token="a"))
        self.assertTrue(second.live)
        third = self.granted(self.request("hls", token="b", peer="192.0.2.7"))
        self.assertFalse(second.live)
        # Zapping back is no other place.
        self.granted(self.request("hls", name="b", token="b", peer="192.0.2.7"))
        self.assertFalse(third.live)

    def test_unique_at_update(self) -> None:
        """Only a new session ends the others."""
        self.make()
        self.backend.say = user("ann", unique=True)
        first = self.granted(self.request("rtmp", token="a"))
        self.connect(first)
        self.backend.say = user("ann")
        second = self.granted(self.request("rtsp", token="b"))
        self.connect(second)
        self.backend.say = user("ann", unique=True)
        self.pass_time(400)
        self.assertTrue(first.live and second.live)

    def test_soft(self) -> None:
        """With soft limitation who is one too many is cut half a minute later, unless there is room then."""
        for leaves in (False, True):
            self.make(AuthConfig(on_play="http://b", soft_limitation=True))
            self.backend.say = user("ann", 1)
            first = self.connect(self.granted(self.request("rtmp", token="a")))
            session = self.granted(self.request("rtmp", name="b", token="a"))
            second = self.connect(session)
            self.pass_time(25)
            if leaves:
                first.detach()
            self.pass_time(7)
            self.assertEqual(second.kicked != [], not leaves)
            if not leaves:
                self.assertEqual(session.closed_why, "limit")
                self.refused(self.request("rtmp", name="b", token="a"))
            self.pass_time(100)
            self.assertEqual(session.live, leaves)

    def test_soft_zap(self) -> None:
        """A player of HLS that went to another channel is not cut for what it left."""
        self.make(AuthConfig(on_play="http://b", soft_limitation=True))
        self.backend.say = user("ann", 1)
        self.granted(self.request("hls", name="a", token="t"))
        second = self.granted(self.request("hls", name="b", token="t"))
        self.watch(60, self.request("hls", name="b", token="t"))
        self.assertTrue(second.live)

    def test_upstream(self) -> None:
        """Where others count too they are asked; when they cannot say the local rule holds."""
        upstream = FakeUpstream()
        self.make(AuthConfig(on_play="http://b", max_sessions=1), upstream=upstream)
        self.backend.say = user("ann", 5, unique=True)
        self.granted(self.request("rtmp", token="a"))
        self.assertEqual(upstream.claims, [("cam", "ann", True, 5, 1)])
        self.backend.say = user("bob")
        self.refused(self.request("rtmp", token="b"))
        upstream.say = True
        self.granted(self.request("rtmp", token="c"))
        upstream.say = False
        self.refused(self.request("rtmp", token="d"))

    def test_upstream_is_waited_for(self) -> None:
        """No grant before they have said."""
        for auth in (AuthConfig(max_sessions=5), AuthConfig(on_play="http://b", max_sessions=5)):
            upstream = FakeUpstream(wait=True)
            self.make(auth, upstream=upstream)
            first, second = (self.begin(self.request(token="t")) for _ in range(2))
            self.assertNoResult(first)
            self.assertEqual(len(upstream.claims), 1)
            upstream.waiting[0].callback(True)
            self.successResultOf(first)
            self.successResultOf(second)

    def test_of_address(self) -> None:
        """An address may not begin too many at once; others are not concerned."""
        self.make(OPEN, max_of_address=100)
        for number in range(100):
            self.granted(self.request(token=str(number)))
        self.assertIs(self.refused(self.request(token="x")).reason, Reason.OVERLOADED)
        self.granted(self.request(token="0"))
        self.granted(self.request(token="x", peer="192.0.2.2"))
        self.pass_time(2)
        self.granted(self.request(token="x"))
        self.assertEqual(self.table.full, 1)

    def test_of_all(self) -> None:
        """There is an end to sessions; those that are there go on."""
        self.make(OPEN, max_sessions=10)
        for number in range(10):
            self.granted(self.request(token=str(number)))
        self.assertIs(self.refused(self.request(token="x")).reason, Reason.OVERLOADED)
        self.granted(self.request(token="3"))

    def test_user_changes(self) -> None:
        """A later answer may name another user."""
        self.make()
        self.backend.say = user("ann")
        session = self.granted(self.request("rtmp", token="a"))
        self.connect(session)
        self.backend.say = user("bob")
        self.pass_time(182)
        self.assertEqual(self.table.of_user("ann"), ())
        self.assertEqual(self.table.of_user("bob")[0].session_id, session.session_id)
        self.table.kick(session.session_id)
        self.assertEqual(self.table.of_user("bob"), ())


class ToldTests(GateTestCase):
    """What is told of sessions."""

    def test_events(self) -> None:
        """The events of a session, in order."""
        for auth in (ASKED, OPEN):
            self.make(auth)
            session = self.granted(self.request(token="t"))
            session.count(100)
            self.assertEqual(self.heard.words, ["play_opened", "play_authorized"])
            self.granted(self.request(part=True, token="t")).count(1000)
            self.watch(130, self.request(token="t"), self.request(part=True, token="t"))
            self.pass_time(100)
            words = ["play_opened", "play_authorized", "play_started"] + ["play_updated"] * 3
            self.assertEqual(self.heard.words, [*words, "play_closed"])
            last = self.heard.events[-1][1]
            self.assertEqual((last.bytes, last.closed_why), (1100, "idle"))
            assert last.started_at is not None and last.closed_at is not None
            self.assertLessEqual(last.opened_at, last.started_at)
            self.assertLess(last.started_at, last.updated_at)

    def test_facts(self) -> None:
        """All that is told, while it goes on."""
        self.make(ASKED, country_of=lambda ip: "NL")
        self.backend.say = user("ann")
        session = self.granted(
            self.request(
                "rtmp", token="t", query="a=1&token=t&Password=x&key=k&b=2", user_agent="U", referer="R"
            )
        )
        connection = self.connect(session)
        connection.bytes = 5
        self.pass_time(3)
        told = self.table.find(session.session_id)
        assert told is not None
        self.assertEqual((told.name, told.kind, told.proto, told.ip), ("cam", "play", "rtmp", "192.0.2.1"))
        self.assertEqual((told.country, told.user_id, told.user_agent, told.referer), ("NL", "ann", "U", "R"))
        self.assertEqual((told.query, told.bytes, told.node_id), ("a=1&b=2", 5, "ab" * 16))
        self.assertEqual(told.updated_at - told.opened_at, 3000)
        self.assertRegex(told.token_hash, "^[0-9a-f]{16}$")
        self.assertEqual(list(self.table), [told])
        self.assertEqual(list(self.table.sessions("cam")), [told])
        self.assertEqual(list(self.table.sessions("other")), [])
        self.assertIsNone(self.table.find("0"))

    def test_secrets_of_pages(self) -> None:
        """A player tells of the page it is in, whose URL may have the token; backends know that anyway."""
        self.make(ASKED)
        self.table.secret_fields = frozenset({"pass"})
        page = "https://site.example/watch"
        for referer, told in (
            (f"{page}?token=SECRET&pass=SECRET&Password=SECRET&a=1", f"{page}?a=1"),
            (f"{page}?token=SECRET", page),
            (f"{page}?a=1&b=2", f"{page}?a=1&b=2"),
            (f"{page}?", page),
            (page, page),
        ):
            session = self.granted(self.request("hls", token=told + referer, referer=referer))
            facts = self.table.find(session.session_id)
            assert facts is not None
            self.assertEqual(facts.referer, told)
            self.assertEqual(self.backend.questions[-1].referer, referer)
        self.assertNotIn("SECRET", repr(self.heard.events))

    def test_secrets(self) -> None:
        """Neither token nor password is in anything that is told, logged or shown of objects."""
        self.make(AuthConfig(on_play="http://u:SECRET@b/", on_publish="http://b/?SECRET", max_sessions=1))
        log = io.StringIO()
        observer = textFileLogObserver(log)
        globalLogPublisher.addObserver(observer)
        self.addCleanup(globalLogPublisher.removeObserver, observer)
        hidden = {"token": "SECRET", "query": "token=SECRET&password=SECRET", "password": "SECRET"}
        texts: list[str] = []

        def traced(failure: Failure) -> None:
            texts.append(failure.getTraceback())

        for action, proto in (("play", "rtmp"), ("publish", "rtmp"), ("play", "hls")):
            for answer in (user("ann", 1), DENY, UNDECIDED):
                self.backend.say = answer
                request = self.request(proto, action=action, **hidden)
                _ = self.begin(request).addErrback(traced)
                assert request.account is not None
                texts += [repr(request), repr(request.account), repr(request.account.viewing)]
                texts += [repr(place) for place in self.table.places()]
                texts += [repr(each) for place in self.table.places() for each in place.sessions.values()]
                self.pass_time(200)
        texts += [
            repr(self.heard.events),
            repr(self.backend.questions),
            repr(list(self.table)),
            log.getvalue(),
        ]
        for text in texts:
            self.assertNotIn("SECRET", text)

    def test_listener_that_raises(self) -> None:
        """A listener that fails is logged; the others hear, and the viewer plays."""
        self.make()

        class Bad(Heard):
            @override
            def session_event(self, event: str, facts: SessionFacts) -> None:
                raise RuntimeError(event)

        self.table.listen(Bad())
        later = Heard()
        self.table.listen(later)
        self.granted(self.request())
        self.assertEqual(later.words, ["play_opened", "play_authorized"])
        self.table.stop()
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 3)

    def test_traffic(self) -> None:
        """Bytes by name and protocol, each once."""
        self.make(OPEN)
        hls = self.granted(self.request("hls"))
        rtmp = self.granted(self.request("rtmp", name="b"))
        connection = self.connect(rtmp)
        hls.count(100)
        connection.bytes = 10
        self.watch(125, self.request("hls"))
        connection.bytes = 30
        hls.count(1)
        connection.detach()
        self.table.close(hls, "left")
        traffic: dict[tuple[str, str], int] = self.table.take_traffic()
        self.assertEqual(traffic, {("cam", "hls"): 101, ("b", "rtmp"): 30})
        self.assertEqual(self.table.take_traffic(), {})

    def test_counts(self) -> None:
        """Viewers of streams: granted ones, publishers not among them, those of other nodes too."""
        self.make(ASKED, FakeOthers([facts("9" * 32)]))
        self.granted(self.request())
        self.granted(self.request("rtmp", action="publish"))
        self.backend.say = DENY
        self.refused(self.request(token="u"))
        self.assertEqual((self.table.stream_clients("cam"), self.table.total()), (2, 1))
        self.assertEqual((self.table.stream_clients("x"), len(self.table)), (0, 2))
        self.assertEqual(self.table.counts(), {("cam", "hls"): 1})
        self.table.stop()
        self.assertEqual(self.table.counts(), {})


class WorkTests(GateTestCase):
    """The periodic work."""

    def test_turns(self) -> None:
        """Many sessions that end at once are ended some at a time."""
        self.make(OPEN, max_of_address=5000)
        for number in range(2000):
            self.granted(self.request(token=str(number))).count(1)
        self.pass_time(60)
        self.assertEqual(len(self.table), 2000)
        self.clock.rightNow += 2
        closed = []
        while len(self.table):
            before = len(self.table)
            call = self.clock.calls.pop(0)
            call.called = 1
            call.func(*call.args, **call.kw)
            closed.append(before - len(self.table))
        self.assertEqual(closed, [250] * 8)

    def test_failure(self) -> None:
        """An error in a look at one session is logged and counted, and the work goes on."""
        self.make(OPEN)
        bad, good = (self.granted(self.request("rtmp", token=token)) for token in "ab")

        broken = True

        def sent() -> int:
            if broken and good.announced:
                raise RuntimeError("no")
            return 0

        bad.attach(sent, lambda why: None)
        good.count(1)
        self.pass_time(70)
        self.assertFalse(good.live)
        self.assertGreater(self.table.failures, 0)
        self.assertGreater(len(self.flushLoggedErrors(RuntimeError)), 0)
        broken = False
        bad.links = None
        self.pass_time(130)
        self.assertFalse(bad.live)

    def test_refusals_are_bounded(self) -> None:
        """What is remembered of refusals goes away by itself."""
        self.make()
        self.backend.say = DENY
        for number in range(50):
            self.refused(self.request(token=str(number)))
        self.assertEqual(self.table.refusals, 50)
        self.pass_time(182)
        self.assertEqual((self.table.refusals, self.table.places()), (0, ()))

    def test_nothing_to_do(self) -> None:
        """Without sessions there is no timer."""
        self.make()
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.granted(self.request())
        self.pass_time(130)
        self.assertEqual(self.clock.getDelayedCalls(), [])
