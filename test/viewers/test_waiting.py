"""The waiting room and the points where publishers and viewers arrive."""

from __future__ import annotations

from typing import Any
from unittest import mock

from attrs import evolve
from twisted.internet.defer import CancelledError, Deferred
from typing_extensions import override

from restreamer.errors import Reason, Refused
from restreamer.live.registry import LiveEntry, StreamSettings
from restreamer.live.stream import Stream
from restreamer.m4f.segment import SegmentBuilder, SegmentOpening
from restreamer.media.frame import Frame
from restreamer.seams import Account, OpenRequest
from restreamer.viewers import waiting
from restreamer.viewers.gate import PasswordGate
from restreamer.viewers.points import IngestMaker, Playing, Publishing
from restreamer.viewers.waiting import MAX_STARTING, WaitingRoom
from test.live.rig import AV, NODE, D, Now, av
from test.live.test_registry import RUN, RegistryCase, Supplied
from test.viewers.viewing import FakeViewing


def is_running(stream: Stream) -> bool:
    return stream.running


def never(stream: Stream) -> bool:
    return False


def request(name: str = "a", action: str = "play", password: str = "") -> OpenRequest:
    return OpenRequest(name=name, action=action, proto="test", peer="127.0.0.1", password=password)


class WaitingCase(RegistryCase):
    @override
    def setUp(self) -> None:
        super().setUp()
        self.room = WaitingRoom(self.registry, self.clock, 10.0)

    def wait(self, name: str = "a", ready: Any = is_running) -> Deferred[LiveEntry]:
        return Deferred.fromCoroutine(self.room.entry(name, ready))

    def reason(self, waiting: Deferred[Any]) -> Reason:
        refused = self.failureResultOf(waiting, Refused).value
        assert isinstance(refused, Refused)
        return refused.reason

    def nothing_left(self) -> None:
        self.assertEqual(len(self.room), 0)
        self.assertEqual(self.room._waits, {})
        timers = [call for call in self.clock.getDelayedCalls() if "answer" in str(call)]
        self.assertEqual(timers, [])
        self.assertEqual(sum(entry.stream.taps for entry in self.registry), 0)


class WaitingTests(WaitingCase):
    """Requests for streams that are not there yet."""

    def test_at_once(self) -> None:
        self.feed("a")
        self.assertEqual(self.successResultOf(self.wait()).stream.name, "a")
        self.nothing_left()

    def test_nothing_could_ever_feed_it(self) -> None:
        self.assertEqual(self.reason(self.wait()), Reason.NOT_FOUND)
        self.nothing_left()

    def test_a_stream_that_starts(self) -> None:
        supply = Supplied()
        self.registry.offer("a", supply)
        waits = [self.wait() for _ in range(1000)]
        self.assertEqual((len(self.room), supply.wanted), (1000, 1000))
        self.clock.advance(9)
        self.feed("a")
        self.assertEqual({self.successResultOf(each).stream.name for each in waits}, {"a"})
        self.nothing_left()

    def test_a_thousand_waiters_are_one_tap(self) -> None:
        self.feed("a")
        waits = [self.wait(ready=never) for _ in range(1000)]
        entry = self.registry.find("a")
        assert entry is not None
        self.assertEqual(entry.stream.taps, 1)
        self.clock.advance(10)
        self.assertEqual({self.reason(each) for each in waits}, {Reason.NOT_READY})
        self.nothing_left()

    def test_each_has_its_own_time(self) -> None:
        self.registry.offer("a", Supplied())
        first = self.wait()
        self.clock.advance(6)
        second = self.wait()
        self.clock.advance(5)
        self.assertEqual(self.reason(first), Reason.NOT_READY)
        self.assertNoResult(second)
        self.feed("a")
        self.successResultOf(second)
        self.nothing_left()

    def test_cancelled(self) -> None:
        self.registry.offer("a", Supplied())
        self.feed("a")
        first, second = self.wait(ready=never), self.wait(ready=never)
        first.cancel()
        self.failureResultOf(first, CancelledError)
        self.assertEqual(len(self.room), 1)
        second.cancel()
        self.failureResultOf(second, CancelledError)
        self.nothing_left()

    def test_cancelled_while_others_are_answered(self) -> None:
        self.registry.offer("a", Supplied())
        waits = [self.wait() for _ in range(3)]
        _ = waits[0].addCallback(lambda _: waits[1].cancel())
        _ = waits[1].addErrback(lambda failure: failure.trap(CancelledError))
        self.feed("a")
        self.successResultOf(waits[2])
        self.successResultOf(waits[1])
        self.nothing_left()

    def test_who_comes_while_others_are_answered(self) -> None:
        self.registry.offer("a", Supplied())
        more: list[Deferred[LiveEntry]] = []
        first = self.wait()
        _ = first.addCallback(lambda _: more.append(self.wait(ready=never)))
        self.feed("a")
        self.assertNoResult(more[0])
        self.clock.advance(10)
        self.assertEqual(self.reason(more[0]), Reason.NOT_READY)
        self.nothing_left()

    def test_limit(self) -> None:
        self.patch(waiting, "MAX_WAITING", 2)
        self.registry.offer("a", Supplied())
        held = [self.wait(), self.wait()]
        self.assertEqual(self.reason(self.wait()), Reason.OVERLOADED)
        for each in held:
            each.cancel()
            self.failureResultOf(each, CancelledError)
        self.nothing_left()

    def test_the_stream_ends_while_they_wait(self) -> None:
        self.feed("a")
        held = self.wait(ready=never)
        self.registry.remove("a", "gone")
        self.assertEqual(self.reason(held), Reason.NOT_FOUND)
        self.nothing_left()

    def test_another_stream_of_the_name(self) -> None:
        """The stream that is followed is the one the registry has."""
        self.registry.offer("a", Supplied())
        self.registry.obtain("a", self.settings)
        held = self.wait()
        self.registry.remove("a", "expired")
        self.assertEqual(self.reason(held), Reason.NOT_FOUND)
        held = self.wait()
        self.feed("a")
        self.assertIs(self.successResultOf(held), self.registry.find("a"))
        self.nothing_left()

    def test_a_supply_that_takes_over_hears_that_somebody_waits(self) -> None:
        first, second = Supplied(), Supplied()
        self.registry.offer("a", first)
        held = self.wait()
        self.registry.withdraw("a", first)
        self.registry.offer("a", second)
        self.assertEqual((first.wanted, second.wanted), (1, 1))
        held.cancel()
        self.failureResultOf(held, CancelledError)
        self.registry.withdraw("a", second)
        self.registry.offer("a", second)
        self.assertEqual(second.wanted, 1)


class PlayingTests(WaitingCase):
    """When a stream can be played."""

    @override
    def setUp(self) -> None:
        super().setUp()
        self.playing = Playing(PasswordGate(lambda name: ""), self.room)

    def test_play_waits_for_what_is_live(self) -> None:
        """History that a link brings first is not where playing begins."""
        self.registry.offer("a", Supplied())
        play = Deferred.fromCoroutine(self.playing.play(request()))
        watch = Deferred.fromCoroutine(self.playing.watch(request()))
        stream = self.registry.obtain("a", self.settings)
        writer = stream.begin_run(RUN, D, local=False)
        for number in (5, 6):
            builder = SegmentBuilder(SegmentOpening(number, number * D, False, True, 0, AV))
            builder.add(Frame(1, number * D, 0, True, b"x"))
            writer.copy(builder.close(D), RUN)
        self.assertNoResult(play)
        self.assertNoResult(watch)
        writer.open(SegmentOpening(7, 7 * D, False, True, 0, AV))
        self.assertNoResult(play)
        writer.frames([Frame(2, 7 * D, 0, True, b"sound")])
        self.assertIs(self.successResultOf(watch), stream)
        self.assertEqual(len(self.successResultOf(play).stream.recent()[1]), 2)
        self.nothing_left()

    def test_play_waits_for_a_keyframe(self) -> None:
        stream = self.registry.obtain("a", self.settings)
        writer = stream.begin_run(RUN, D, local=True)
        writer.open(SegmentOpening(7, 7 * D, False, False, 0, AV))
        writer.frames([Frame(1, 7 * D, 0, False, b"x")])
        play = Deferred.fromCoroutine(self.playing.play(request()))
        writer.frames([Frame(2, 7 * D, 0, True, b"sound")])
        self.assertNoResult(play)
        writer.frames([Frame(1, 7 * D + 1, 0, True, b"picture")])
        self.successResultOf(play)

    def test_a_stream_whose_input_is_away(self) -> None:
        """Its window can be watched; to play it is to wait for the input."""
        writer = self.feed("a")
        writer.close(D)
        writer.lose("cut")
        self.successResultOf(Deferred.fromCoroutine(self.playing.watch(request())))
        play = Deferred.fromCoroutine(self.playing.play(request()))
        self.assertNoResult(play)
        self.feed("a", evolve(RUN, run_id=2), 2)
        self.successResultOf(play)


class LimitTests(WaitingCase):
    """Many streams that start at once, and a node short of memory."""

    def test_starting_at_once(self) -> None:
        self.registry.reserve(frozenset(f"s{index}" for index in range(MAX_STARTING + 1)))
        playing = Playing(PasswordGate(lambda name: ""), self.room)
        waits = [Deferred.fromCoroutine(playing.play(request(f"s{index}"))) for index in range(MAX_STARTING)]
        late = Deferred.fromCoroutine(playing.play(request(f"s{MAX_STARTING}")))
        self.assertEqual(self.reason(late), Reason.OVERLOADED)
        again = Deferred.fromCoroutine(playing.play(request("s0")))
        self.clock.advance(60)
        self.assertEqual({self.reason(each) for each in [*waits, again]}, {Reason.NOT_READY})

    def test_short_of_memory(self) -> None:
        playing = Playing(PasswordGate(lambda name: ""), self.room, lambda: True)
        self.assertEqual(self.reason(Deferred.fromCoroutine(playing.play(request("a")))), Reason.OVERLOADED)


class PublishingTests(WaitingCase):
    """Publishers."""

    @override
    def setUp(self) -> None:
        super().setUp()
        self.taken: dict[str, StreamSettings] = {"a": self.settings}
        self.kicked: list[str] = []
        ids = iter(range(1, 100))
        self.makers = IngestMaker(self.registry, NODE, Now(), lambda: next(ids))
        self.publishing = Publishing(
            PasswordGate(lambda name: "geheim" if name == "locked" else ""),
            self.registry,
            self.makers,
            self.taken.get,
            self.clock,
        )

    def publish(self, name: str = "a", password: str = "") -> Deferred[Any]:
        wanted = request(name, "publish", password)
        return Deferred.fromCoroutine(self.publishing.publish(wanted, self.kicked.append))

    def test_a_silent_publisher(self) -> None:
        """A publisher that stays connected and sends no frame for source_timeout is sent away."""
        self.taken["a"] = evolve(self.settings, source_timeout=5.0)
        ingest = self.successResultOf(self.publish())
        ingest.configure(AV)
        for _ in range(4):
            self.clock.pump([1.0] * 3)
            ingest.push(av(1))
        self.assertEqual(self.kicked, [])
        self.clock.pump([1.0] * 6)
        self.assertEqual(self.kicked, ["no frame for 5 s"])
        ingest.end("sent away")

    def test_a_silent_publisher_gives_way(self) -> None:
        """A publisher whose connection may be dead does not keep its name from another one."""
        first = self.successResultOf(self.publish())
        first.configure(AV)
        self.clock.pump([1.0] * 4)
        self.assertEqual(self.reason(self.publish()), Reason.BUSY)
        self.clock.pump([1.0] * 2)
        second = self.successResultOf(self.publish())
        self.assertEqual(self.kicked, ["another publisher takes over"])
        first.end("its connection is lost at last")
        self.assertEqual((self.publishing.publishers(), self.registry.claimed("a")), (("a",), True))
        second.end("left")
        self.assertEqual((self.publishing.publishers(), self.registry.claimed("a")), ((), False))

    def test_a_publisher(self) -> None:
        ingest = self.successResultOf(self.publish())
        self.assertEqual(self.reason(self.publish()), Reason.BUSY)
        ingest.configure(AV)
        ingest.push(av(1))
        entry = self.registry.find("a")
        assert entry is not None and entry.stream.running
        self.publishing.kick("a", "go")
        self.publishing.kick("b", "go")
        self.assertEqual((self.kicked, self.publishing.publishers()), (["go"], ("a",)))
        ingest.end("left")
        self.assertEqual((self.publishing.publishers(), self.registry.claimed("a")), ((), False))
        self.successResultOf(self.publish())

    def test_the_session_of_a_publisher(self) -> None:
        """It is attached while the publisher has the name, and ends the publisher."""
        viewing = FakeViewing()
        wanted = evolve(request("a", "publish", ""), account=Account(viewing))
        publish = self.publishing.publish
        first = self.successResultOf(Deferred.fromCoroutine(publish(wanted, self.kicked.append)))
        first.configure(AV)
        first.push(av(1))
        self.assertGreater(viewing.sent, 0)
        self.clock.pump([1.0] * 6)
        second = self.successResultOf(Deferred.fromCoroutine(publish(wanted, self.kicked.append)))
        self.assertEqual((len(viewing.links), viewing.detached), (1, 1))
        first.end("its connection is lost at last")
        self.assertEqual(viewing.detached, 1)
        viewing.kick("denied")
        self.assertEqual(self.kicked, ["another publisher takes over", "denied"])
        second.end("left")
        self.assertEqual((viewing.links, viewing.detached), ([], 2))

    def test_who_gets_no_name_has_no_session(self) -> None:
        """It was let in, and the name is taken: its session ends at once."""
        self.successResultOf(self.publish())
        viewing = FakeViewing()
        wanted = evolve(request("a", "publish", ""), account=Account(viewing))
        second = Deferred.fromCoroutine(self.publishing.publish(wanted, self.kicked.append))
        self.assertEqual(self.reason(second), Reason.BUSY)
        self.assertEqual((viewing.links, viewing.detached), ([], 1))

    def test_an_encoder_that_comes_back_all_the_time(self) -> None:
        """Each publish takes a number: when they are far ahead of time it has to wait, or the stream would
        begin anew and its numbers fall.
        """
        now = Now()
        ids = iter(range(1, 10_000))
        self.publishing._ingests = IngestMaker(self.registry, NODE, now, lambda: next(ids))
        grid = now() // self.settings.segment_duration
        for ahead, reason in ((300, None), (301, Reason.BUSY), (999, Reason.BUSY), (1000, None), (-5, None)):
            self.registry.ledger.note("a", grid + ahead, 0)
            publishing = self.publish()
            if reason is not None:
                self.assertEqual(self.reason(publishing), reason)
            else:
                self.successResultOf(publishing).end("left")

    def test_names_nobody_takes(self) -> None:
        self.assertEqual(self.reason(self.publish("zzz")), Reason.NOT_FOUND)
        self.assertFalse(self.registry.claimed("zzz"))

    def test_passwords(self) -> None:
        self.taken["locked"] = self.settings
        for wrong in ("", "falsch", "geheim ", "\udcff", "ä"):
            self.assertEqual(self.reason(self.publish("locked", wrong)), Reason.DENIED)
        self.successResultOf(self.publish("locked", "geheim"))

    def test_the_claim_is_given_back_when_there_is_no_room(self) -> None:
        for index in range(5):
            self.registry.obtain(f"n{index}", self.settings)
        self.assertEqual(self.reason(self.publish()), Reason.OVERLOADED)
        self.assertFalse(self.registry.claimed("a"))

    def test_the_claim_is_given_back_after_a_fault_of_ours(self) -> None:
        with mock.patch.object(self.makers, "ingest", side_effect=ZeroDivisionError):
            self.failureResultOf(self.publish(), ZeroDivisionError)
        self.assertFalse(self.registry.claimed("a"))
