"""Endpoints about viewers: lists, kicks, the journal, events."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from attrs import evolve
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from typing_extensions import override

from restreamer.events.bus import EventBus
from restreamer.events.sinks import SinkFacts
from restreamer.journal.database import JournalError, SessionQuery
from restreamer.journal.service import JournalFacts
from restreamer.viewer_facts import SessionFacts
from restreamer.web.v3.event_stream import MAX_A_SECOND, MAX_READERS, PULSE_SECONDS, EventStreams
from restreamer.web.v3.viewing import PER_TURN, ViewingApi, viewing_endpoints
from test.web.v3.calls import EDITOR, VIEWER, Asker


def facts(number: int, **more: Any) -> SessionFacts:
    """Session C{number}."""
    made = SessionFacts(
        session_id=f"{number:032x}",
        name="live",
        proto="hls",
        ip="10.0.0.1",
        opened_at=1000 + number,
        updated_at=2000,
        token_hash="aa",
    )
    return evolve(made, **more)


class Directory:
    """Two sessions here and one elsewhere."""

    def __init__(self) -> None:
        self.sessions = {each.session_id: each for each in (facts(1), facts(2, user_id="u", proto="rtmp"))}
        self.others = {each.session_id: each for each in (facts(3, node_id="bb" * 16),)}
        self.asked: list[str] = []

    def ids(self, cluster: bool) -> Sequence[str]:
        return [*self.sessions, *(self.others if cluster else ())]

    def find(self, session_id: str) -> SessionFacts | None:
        return self.sessions.get(session_id) or self.others.get(session_id)

    def end(self, session_id: str) -> bool:
        return self.sessions.pop(session_id, None) is not None or session_id in self.others

    def reauth(self, name: str) -> int:
        self.asked.append(name)
        return 2


class Journal:
    """A journal that can be away."""

    away = False

    def __init__(self) -> None:
        self.queries: list[Any] = []

    def facts(self) -> JournalFacts:
        return JournalFacts(
            state="ok", url="sqlite:///x", waiting=1, spooled=2, written=3, lost=0, rejected=0, last_error=""
        )

    def sessions(self, query: SessionQuery) -> Deferred[list[dict[str, Any]]]:
        self.queries.append(query)
        if self.away:
            return fail(JournalError("away"))
        row = {"session_id": "0" * 32, "name": "live", "closed_at": 5, "started_at": None, "token_hash": ""}
        return succeed([{**row, "past": False, "node_id": "11", "bytes": 7}] * query.limit)

    def traffic(self, since: int, until: int, step: int, name: str = "") -> Deferred[list[dict[str, Any]]]:
        self.queries.append((since, until, step, name))
        return succeed([{"at": since, "proto": "hls", "bytes": 1, "opened": 2}])


class ViewingCase(SynchronousTestCase):
    """The endpoints on fakes."""

    @override
    def setUp(self) -> None:
        self.clock = Clock()
        self.directory, self.journal = Directory(), Journal()
        self.bus = EventBus(lambda: 0)
        self.streams = EventStreams(self.clock, self.bus, lambda: {"clients": 5})
        self.turns = 0
        sink = SinkFacts(name="s", url="http://h", waiting=0, sent=1, resent=0, dropped=0, last_error="")
        self.api = ViewingApi(
            self.directory,
            self.streams,
            lambda: 0.0,
            lambda: 10_000_000,
            self.turn,
            lambda: self.journal,
            lambda: [sink],
        )
        self.asker = Asker(viewing_endpoints(self.api), self.clock)

    async def turn(self) -> None:
        self.turns += 1

    def get(self, path: str, status: int = 200) -> Any:
        """What a viewer of the API is told."""
        told = self.asker.ask("GET", path, headers=VIEWER)
        self.assertEqual(told.status, status, (path, told.body))
        return told.json


class SessionEndpoints(ViewingCase):
    """Who watches."""

    def test_list(self) -> None:
        told = self.get("/sessions?sort=-opened_at")
        self.assertEqual([int(each["id"], 16) for each in told["sessions"]], [2, 1])
        self.assertEqual((told["scope"], told["estimated_count"]), ("node", 2))
        self.assertEqual(
            told["sessions"][1],
            {
                "id": f"{1:032x}",
                "name": "live",
                "kind": "play",
                "proto": "hls",
                "ip": "10.0.0.1",
                "token": "aa",
                "opened_at": 1001,
                "updated_at": 2000,
                "bytes": 0,
                "dvr": False,
            },
        )
        self.assertEqual(self.get("/sessions?scope=cluster")["estimated_count"], 3)
        self.assertEqual(self.get("/sessions?proto=rtmp&select=user_id")["sessions"][0]["user_id"], "u")
        self.assertEqual(self.get("/sessions?q=10.0")["estimated_count"], 2)
        self.get("/sessions?scope=all", 400)

    def test_many_are_looked_at_in_turns(self) -> None:
        self.directory.sessions = {f"{number:032x}": facts(number) for number in range(3 * PER_TURN)}
        self.assertEqual(self.get("/sessions?sort=ip")["estimated_count"], 3 * PER_TURN)
        self.assertEqual(self.turns, 2)

    def test_only_the_page_is_looked_at(self) -> None:
        self.directory.sessions = {f"{number:032x}": facts(number) for number in range(3 * PER_TURN)}
        told = self.get("/sessions?limit=2")
        self.assertEqual((told["estimated_count"], len(told["sessions"])), (3 * PER_TURN, 2))
        self.assertEqual(self.turns, 0)

    def test_by_node(self) -> None:
        told = self.get("/cluster/viewers")
        nodes = [(each["viewers"], each["streams"], each["most_watched"]) for each in told["nodes"]]
        self.assertEqual(sum(viewers for viewers, _, _ in nodes), 3)
        self.assertIn((1, 1, ["live"]), nodes)

    def test_item(self) -> None:
        self.assertEqual(self.get(f"/sessions/{3:032x}")["server_id"], "bb" * 16)
        self.get(f"/sessions/{9:032x}", 404)

    def test_kick(self) -> None:
        path = f"/sessions/{1:032x}"
        self.assertEqual(self.asker.ask("DELETE", path, headers=VIEWER).status, 403)
        self.assertEqual(self.asker.ask("DELETE", path, headers=EDITOR).status, 204)
        self.assertEqual(self.asker.ask("DELETE", path, headers=EDITOR).status, 404)

    def test_reauth(self) -> None:
        told = self.asker.ask("POST", "/sessions/reauth?name=live", {}, headers=EDITOR)
        self.assertEqual((told.status, told.json, self.directory.asked), (200, {"sessions": 2}, ["live"]))
        self.assertEqual(self.asker.ask("POST", "/sessions/reauth", {}, headers=EDITOR).status, 400)

    def test_addresses_are_not_for_everybody(self) -> None:
        for path in ("/sessions", "/cluster/viewers", "/journal/sessions", "/events", "/event_sinks"):
            self.assertEqual(self.asker.ask("GET", path).status, 401, path)
            free = Asker(viewing_endpoints(self.api), view=None, edit=None)
            self.assertEqual(free.ask("GET", path).status, 403, path)


class JournalEndpoints(ViewingCase):
    """Who watched."""

    def test_sessions(self) -> None:
        told = self.get("/journal/sessions?name=live&limit=2&since=5")
        self.assertEqual(len(told["sessions"]), 2)
        first = told["sessions"][0]
        self.assertEqual(
            first,
            {"id": "0" * 32, "name": "live", "closed_at": 5, "dvr": False, "server_id": "11", "bytes": 7},
        )
        self.get("/journal/sessions?cursor=" + told["next"])
        self.assertEqual(self.journal.queries[1].before, (5, "0" * 32))

    def test_bad(self) -> None:
        for query in (
            "limit=x",
            "limit=5000",
            "since=-1",
            "cursor=a",
            "cursor=5.x",
            "until=99999999999999999999",
        ):
            self.get("/journal/sessions?" + query, 400)
        for query in ("step=5", "since=5&until=5", "since=0&until=999999999999"):
            self.get("/journal/traffic?" + query, 400)

    def test_traffic(self) -> None:
        told = self.get("/journal/traffic?name=live")
        self.assertEqual(self.journal.queries, [(6_400_000, 10_000_000, 60_000, "live")])
        self.assertEqual((told["step"], told["traffic"][0]["bytes"]), (60_000, 1))

    def test_away(self) -> None:
        self.journal.away = True
        self.assertIn("away", self.get("/journal/sessions", 503)["errors"][0]["title"])

    def test_none(self) -> None:
        self.api.journal = lambda: None
        self.get("/journal/sessions", 404)
        self.get("/journal", 404)

    def test_state(self) -> None:
        self.assertEqual(self.get("/journal")["written"], 3)
        self.assertEqual(self.get("/event_sinks")["event_sinks"][0]["sent"], 1)


class FakeRequest:
    """As much of a request as a stream of events needs."""

    def __init__(self) -> None:
        self.written = b""
        self.finished = False
        self.over: Deferred[None] = Deferred()

    def setHeader(self, name: bytes, value: bytes) -> None:  # noqa: N802
        pass

    def notifyFinish(self) -> Deferred[None]:  # noqa: N802
        return self.over

    def registerProducer(self, producer: Any, streaming: bool) -> None:  # noqa: N802
        self.producer = producer

    def unregisterProducer(self) -> None:  # noqa: N802
        pass

    def write(self, data: bytes) -> None:
        self.written += data

    def finish(self) -> None:
        self.finished = True
        self.over.callback(None)

    def take(self) -> list[str]:
        """Kinds of the events written since the last call."""
        written, self.written = self.written, b""
        return [line[7:] for line in written.decode().splitlines() if line.startswith("event: ")]


class EventEndpoints(ViewingCase):
    """What happens."""

    def begin(self, since: int | None = None) -> FakeRequest:
        request: Any = FakeRequest()
        self.streams.begin(since)(request)
        made: FakeRequest = request
        return made

    def test_recent(self) -> None:
        self.bus.emit("stream_opened", "a")
        self.bus.emit("stream_closed", "a")
        told = self.get("/events?since=1")
        self.assertEqual([each["event"] for each in told["events"]], ["stream_closed"])
        self.assertEqual(told["newest"], 2)

    def test_stream(self) -> None:
        self.bus.emit("stream_opened", "a")
        request = self.begin(0)
        self.assertIn(b'id: 1\nevent: event\ndata: {"event":"stream_opened"', request.written)
        self.assertIn(b'event: pulse\ndata: {"clients":5}\n\n', request.written)
        request.take()
        self.bus.emit("stream_closed", "a")
        self.clock.advance(PULSE_SECONDS)
        self.assertEqual(request.take(), ["event", "pulse"])
        request.over.errback(Exception("the client left"))
        self.bus.emit("stream_opened", "a")
        self.clock.advance(PULSE_SECONDS)
        self.assertEqual((request.take(), len(self.streams), self.clock.getDelayedCalls()), ([], 0, []))

    def test_one_that_does_not_keep_up(self) -> None:
        request = self.begin()
        request.take()
        request.producer.pauseProducing()
        for _ in range(1000):
            self.bus.emit("stream_opened", "a")
        self.clock.advance(PULSE_SECONDS)
        self.assertEqual(request.written, b"")
        request.producer.resumeProducing()
        self.assertEqual(request.written, b'event: missed\ndata: {"count":1000}\n\n')

    def test_more_than_anybody_reads(self) -> None:
        """A storm of events is told of by their number."""
        readers = [self.begin(), self.begin()]
        for request in readers:
            request.take()
        for _ in range(3 * MAX_A_SECOND):
            self.bus.emit("stream_opened", "a")
        self.clock.advance(1)
        self.bus.emit("stream_closed", "a")
        for request in readers:
            self.assertIn(b'event: missed\ndata: {"count":%d}\n\n' % (2 * MAX_A_SECOND), request.written)
            self.assertEqual(request.take(), ["event"] * MAX_A_SECOND + ["missed", "event"])

    def test_too_many(self) -> None:
        requests = [self.begin() for _ in range(MAX_READERS)]
        self.get("/events/stream", 503)
        self.streams.close()
        self.assertTrue(all(request.finished for request in requests))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_a_line_break_is_no_end(self) -> None:
        request = self.begin()
        self.bus.emit("stream_opened", "a\n\nevent: x")
        self.assertEqual(request.take(), ["pulse", "event"])
