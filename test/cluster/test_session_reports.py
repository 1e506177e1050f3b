"""What a node tells of its viewers, and what the node above makes of it, over any number of links."""

from __future__ import annotations

from collections.abc import Iterator

from attrs import evolve
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from typing_extensions import override

from restreamer.cluster.session_receipts import SessionReceipts
from restreamer.cluster.session_reports import CLAIM_SECONDS, PROGRESS_BEATS, SessionReports
from restreamer.m4f.records import Record, RecordReader, SessionClaim, encode_record
from restreamer.sessions.remote_sessions import AWAY_SECONDS, RemoteSessions
from restreamer.viewer_facts import SessionFacts

OWN = "11" * 16
EDGE = bytes(15) + b"\1"


def session(number: int, name: str = "live", **more: object) -> SessionFacts:
    """Viewer C{number}."""
    facts = SessionFacts(
        session_id=f"{number:032x}",
        node_id=EDGE.hex(),
        name=name,
        proto="hls",
        ip="10.0.0.1",
        opened_at=1000,
        updated_at=1000,
    )
    return evolve(facts, **more)  # type: ignore[arg-type]


class Book:
    """The sessions of the node below."""

    def __init__(self) -> None:
        self.sessions: dict[str, SessionFacts] = {}
        self.ended: list[tuple[str, str]] = []
        self.asked: list[str] = []

    def __iter__(self) -> Iterator[SessionFacts]:
        return iter(list(self.sessions.values()))

    def find(self, session_id: str) -> SessionFacts | None:
        return self.sessions.get(session_id)

    def end(self, session_id: str, why: str) -> bool:
        self.ended.append((session_id, why))
        return session_id in self.sessions

    def ask_again(self, session_id: str) -> None:
        self.asked.append(session_id)


class Wire:
    """One direction of a link: a C{LinkWriter} whose records are delivered at C{flush}."""

    peer_name = "test"
    round_trip = None

    def __init__(self, peer_id: bytes) -> None:
        self.peer_id = peer_id
        self.paused = False
        self.sent: list[bytes] = []

    def send(self, record: Record) -> None:
        self.sent.append(encode_record(record))

    def send_encoded(self, data: bytes) -> None:
        self.sent.append(data)

    def close(self, reason: str) -> None:
        raise AssertionError(reason)

    def abort(self, reason: str) -> None:
        raise AssertionError(reason)

    def flush(self) -> list[Record]:
        sent, self.sent = self.sent, []
        return RecordReader().receive(b"".join(sent))


class Pair:
    """A node below and one above with a link between them that can be cut."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.book = Book()
        self.names = {"live": "live", "here": "there"}
        self.remote = RemoteSessions(self.clock, OWN)
        self.told: list[SessionFacts] = []
        self.remote.listen(self)
        self.claims: list[SessionClaim] = []
        self.granted = True
        self.reports = SessionReports(self.book, self.names.get, self.clock)
        self.link()

    def remote_changed(self, facts: SessionFacts) -> None:
        self.told.append(facts)

    async def claim(self, claim: SessionClaim) -> bool:
        self.claims.append(claim)
        return self.granted

    def link(self) -> None:
        self.up, self.down = Wire(bytes.fromhex(OWN)), Wire(EDGE)
        self.receipts = SessionReceipts(self.remote, self.claim)
        self.receipts.link_up(self.down)
        self.reports.link_up(self.up)

    def cut(self, delivered: bool = True) -> None:
        """The link breaks; what was sent came, or did not."""
        if delivered:
            for record in self.up.flush():
                assert self.receipts.take(record)
        self.reports.link_down()
        self.receipts.link_down()

    def beat(self, times: int = 1) -> None:
        for _ in range(times):
            self.reports.beat()
            for record in self.up.flush():
                assert self.receipts.take(record), record
            for record in self.down.flush():
                assert self.reports.take(record), record

    def open(self, facts: SessionFacts) -> None:
        self.book.sessions[facts.session_id] = facts
        self.reports.changed(facts)

    def close(self, facts: SessionFacts) -> None:
        self.book.sessions.pop(facts.session_id, None)
        self.reports.changed(evolve(facts, closed_at=2000, closed_why="left"))


class ReportTests(SynchronousTestCase):
    """One link."""

    @override
    def setUp(self) -> None:
        self.pair = Pair()
        self.pair.beat()

    def test_open_progress_close(self) -> None:
        pair = self.pair
        pair.open(session(1, "here", user_id="u"))
        pair.open(session(2, "elsewhere"))
        pair.beat()
        (known,) = pair.remote
        self.assertEqual((known.name, known.user_id), ("there", "u"))
        self.assertEqual(pair.remote.count("there"), 1)
        self.assertEqual(pair.remote.of_user("u"), (known,))
        pair.book.sessions[known.session_id] = session(1, "here", user_id="u", bytes=500, started_at=1100)
        pair.beat(PROGRESS_BEATS + 1)
        (known,) = pair.remote
        self.assertEqual((known.bytes, known.started_at), (500, 1100))
        pair.close(session(1, "here", user_id="u", bytes=700))
        pair.beat()
        self.assertEqual(list(pair.remote), [])
        self.assertEqual((pair.remote.count("there"), pair.remote.of_user("u")), (0, ()))
        self.assertEqual([(each.closed_at, each.bytes) for each in pair.told], [(None, 0), (2000, 700)])

    def test_a_session_that_is_over_before_it_was_told(self) -> None:
        pair = self.pair
        pair.open(session(1))
        pair.close(session(1))
        pair.beat()
        self.assertEqual((list(pair.remote), pair.told), ([], []))

    def test_another_source_feeds_the_stream(self) -> None:
        pair = self.pair
        pair.open(session(1))
        pair.beat()
        del pair.names["live"]
        pair.beat(PROGRESS_BEATS + 1)
        self.assertEqual([each.closed_why for each in pair.told], ["", "moved"])
        self.assertEqual(len(pair.remote), 0)

    def test_orders(self) -> None:
        pair = self.pair
        pair.open(session(1))
        pair.beat()
        self.assertTrue(pair.remote.end(session(1).session_id, "kicked"))
        self.assertFalse(pair.remote.end("0" * 32, "kicked"))
        self.assertEqual(pair.remote.ask_again("live"), 1)
        pair.beat()
        self.assertEqual(pair.book.ended, [(session(1).session_id, "kicked")])
        self.assertEqual(pair.book.asked, [session(1).session_id])

    def test_own_sessions_are_not_taken_back(self) -> None:
        self.pair.open(session(1, node_id=OWN))
        self.pair.beat()
        self.assertEqual(len(self.pair.remote), 0)

    def test_many_sessions_wait_for_their_turn(self) -> None:
        pair = Pair()
        for number in range(3000):
            pair.open(session(number, user_agent="x" * 256))
        pair.reports.beat()
        self.assertLessEqual(len(pair.up.sent), 16)
        pair.beat(20)
        self.assertEqual(len(pair.remote), 3000)

    def test_a_source_that_takes_nothing(self) -> None:
        pair = self.pair
        for number in range(100):
            pair.open(session(number))
            pair.reports.beat()
        self.assertLessEqual(len(pair.up.sent), 17)


class ClaimTests(SynchronousTestCase):
    """Limits over the cluster."""

    def test_answers(self) -> None:
        pair = Pair()
        for granted in (True, False):
            pair.granted = granted
            answer = pair.reports.claim("here", "ab" * 16, "u", 2, None, True)
            assert answer is not None
            pair.beat()
            self.assertIs(self.successResultOf(answer), granted)
        self.assertEqual(pair.claims[0], SessionClaim(1, "there", "ab" * 16, "u", 2, None, True))

    def test_no_answer(self) -> None:
        pair = Pair()
        answer = pair.reports.claim("here", "ab" * 16, "u", 2, None, False)
        assert answer is not None
        pair.clock.advance(CLAIM_SECONDS)
        self.assertIsNone(self.successResultOf(answer))
        pair.beat()

    def test_the_link_is_lost(self) -> None:
        pair = Pair()
        answer = pair.reports.claim("here", "ab" * 16, "u", 2, None, False)
        assert answer is not None
        pair.cut()
        self.assertIsNone(self.successResultOf(answer))
        self.assertIsNone(pair.reports.claim("here", "ab" * 16, "u", 2, None, False))
        self.assertEqual(pair.clock.getDelayedCalls(), pair.clock.getDelayedCalls()[:1])

    def test_it_feeds_nothing_of_that_name(self) -> None:
        self.assertIsNone(Pair().reports.claim("other", "ab" * 16, "u", 2, None, False))


class LostLinkTests(SynchronousTestCase):
    """Nothing is lost, and nothing counts twice."""

    def test_back_in_time(self) -> None:
        pair = Pair()
        pair.open(session(1))
        pair.open(session(2))
        pair.beat(2)
        pair.cut()
        pair.close(session(1, bytes=900))
        pair.clock.advance(AWAY_SECONDS - 1)
        self.assertEqual(len(pair.remote), 2)
        pair.link()
        pair.beat()
        self.assertEqual([each.session_id for each in pair.remote], [session(2).session_id])
        closed = [each for each in pair.told if each.closed_at is not None]
        self.assertEqual([(each.bytes, each.closed_why) for each in closed], [(900, "left")])
        pair.clock.advance(AWAY_SECONDS)
        self.assertEqual(len(pair.remote), 1)

    def test_away_for_good(self) -> None:
        pair = Pair()
        pair.open(session(1))
        pair.beat(2)
        pair.cut()
        pair.clock.advance(AWAY_SECONDS)
        self.assertEqual((len(pair.remote), pair.remote.count("live")), (0, 0))
        self.assertEqual([each.closed_why for each in pair.told], ["", "lost"])

    def test_two_links_of_one_node(self) -> None:
        """A node that has two ways to this one tells different streams by each."""
        clock = Clock()
        remote = RemoteSessions(clock, OWN)

        async def claim(_: SessionClaim) -> bool:
            return True

        ends = []
        for number in (1, 2):
            end = SessionReceipts(remote, claim)
            end.link_up(Wire(EDGE))
            book = Book()
            book.sessions[session(number).session_id] = session(number)
            reports = SessionReports(book, lambda name: name, clock)
            wire = Wire(bytes.fromhex(OWN))
            reports.link_up(wire)
            reports.beat()
            for record in wire.flush():
                end.take(record)
            ends.append(end)
        self.assertEqual(len(remote), 2)
        ends[0].link_down()
        clock.advance(AWAY_SECONDS)
        self.assertEqual([each.session_id for each in remote], [session(2).session_id])

    @settings(deadline=None, max_examples=150, derandomize=True)
    @given(st.lists(st.integers(0, 5), max_size=60))
    def test_whatever_happens(self, steps: list[int]) -> None:
        """Opened, closed, told, cut before and after delivery: in the end each is told of once."""
        pair = Pair()
        linked = True
        number = 0
        for step in steps:
            if step in (0, 1):
                number += 1
                pair.open(session(number))
            elif step == 2 and pair.book.sessions:
                first = next(iter(pair.book.sessions.values()))
                pair.close(evolve(first, bytes=int(first.session_id, 16)))
            elif step == 3 and linked:
                pair.beat()
            elif step in (4, 5):
                if linked:
                    pair.reports.beat()
                    pair.cut(delivered=step == 4)
                else:
                    pair.link()
                linked = not linked
        if not linked:
            pair.link()
        pair.beat(4)
        self.assertEqual({each.session_id for each in pair.remote}, set(pair.book.sessions))
        self.assertEqual(pair.remote.count("live"), len(pair.book.sessions))
        closed = [each.session_id for each in pair.told if each.closed_at is not None]
        self.assertEqual(len(closed), len(set(closed)))
        for facts in pair.told:
            if facts.closed_at is not None:
                self.assertEqual(facts.bytes, int(facts.session_id, 16))
