"""Names that cannot be had: refused at once, remembered for a moment, forgotten at the first news of them."""

from __future__ import annotations

from typing import Any
from unittest import mock

from attrs import evolve
from twisted.internet.defer import Deferred
from typing_extensions import override

from restreamer.errors import Reason
from restreamer.live.demand import OnDemand
from restreamer.live.protocols import allowed
from restreamer.live.registry import LiveEntry
from restreamer.viewers import waiting
from restreamer.viewers.gate import PasswordGate
from restreamer.viewers.points import Playing
from restreamer.viewers.waiting import MAX_STARTING, REFUSED_SECONDS
from test.live.rig import D
from test.live.test_registry import Supplied, run_now
from test.viewers.test_waiting import WaitingCase, request


class UnknownNames(WaitingCase):
    """M19: viewers ask for thousands of names."""

    def test_names_nobody_has(self) -> None:
        """Ten thousand are answered from what the node knows, and nothing is kept of them."""
        for index in range(10_000):
            self.assertEqual(self.reason(self.wait(f"none{index}")), Reason.NOT_FOUND)
        self.assertEqual(self.room._refused, {})
        self.nothing_left()

    def test_listed_names_that_never_start(self) -> None:
        """Of ten thousand that are offered and give nothing, a hundred are tried at a time."""
        supplies = {f"s{index}": Supplied() for index in range(10_000)}
        for name, supply in supplies.items():
            self.registry.offer(name, supply)
        waits = [self.wait(name) for name in supplies]
        self.assertEqual(sum(supply.wanted for supply in supplies.values()), MAX_STARTING)
        self.assertEqual({self.reason(each) for each in waits[MAX_STARTING:]}, {Reason.OVERLOADED})
        self.clock.advance(10)
        self.assertEqual({self.reason(each) for each in waits[:MAX_STARTING]}, {Reason.NOT_READY})
        self.assertEqual(len(self.room._refused), MAX_STARTING)
        self.nothing_left()

    def test_what_is_remembered_is_bounded(self) -> None:
        with mock.patch.object(waiting, "MAX_REFUSED", 5):
            for index in range(20):
                self.registry.refuse(f"n{index}", "no")
        self.assertEqual(list(self.room._refused), [f"n{index}" for index in range(15, 20)])


class Refusals(WaitingCase):
    """A name whose source refuses the pull."""

    @override
    def setUp(self) -> None:
        super().setUp()
        self.supply = Supplied()
        self.registry.offer("a", self.supply)

    def test_all_who_wait_are_answered_at_once(self) -> None:
        """M20: a thousand viewers of one cold stream are one start, and get one answer."""
        starts: list[str] = []
        demand = OnDemand(self.clock, lambda: starts.append("start"), lambda: None, lambda: False, 10)
        self.registry.offer("b", demand)
        waits = [self.wait("b") for _ in range(1000)]
        self.assertEqual(starts, ["start"])
        self.registry.refuse("b", "the source does not give it")
        self.assertEqual({self.reason(each) for each in waits}, {Reason.NOT_READY})
        demand.close()
        self.nothing_left()

    def test_those_who_come_after_are_answered_without_another_attempt(self) -> None:
        first = self.wait()
        self.registry.refuse("a", "the source does not give it")
        self.assertEqual(self.reason(first), Reason.NOT_READY)
        for _ in range(100):
            self.assertEqual(self.reason(self.wait()), Reason.NOT_READY)
        self.assertEqual(self.supply.wanted, 1)
        self.clock.advance(REFUSED_SECONDS)
        again = self.wait()
        self.assertNoResult(again)
        self.assertEqual(self.supply.wanted, 2)
        again.cancel()
        self.failureResultOf(again)
        self.assertEqual(self.room._refused, {})

    def test_one_that_did_not_start_in_time(self) -> None:
        """The first waits its whole time; for a while after that nobody else does."""
        first = self.wait()
        self.clock.advance(10)
        self.assertEqual(self.reason(first), Reason.NOT_READY)
        self.assertEqual(self.reason(self.wait()), Reason.NOT_READY)
        self.assertEqual(self.supply.wanted, 1)

    def test_a_slow_kind_of_request_speaks_only_for_itself(self) -> None:
        """A stream that runs and has no segment yet may be played by others."""
        self.feed("a")
        late = self.wait(ready=lambda stream: False)
        self.clock.advance(10)
        self.assertEqual(self.reason(late), Reason.NOT_READY)
        self.successResultOf(self.wait())

    def test_who_waits_for_a_publisher_is_held_each_time(self) -> None:
        self.registry.reserve(frozenset(["p"]))
        for _ in range(2):
            held = self.wait("p")
            self.clock.advance(9)
            self.assertNoResult(held)
            self.clock.advance(1)
            self.assertEqual(self.reason(held), Reason.NOT_READY)

    def test_news_of_the_name_end_it(self) -> None:
        """A catalogue that lists it, an owner, a stream that runs: each is a reason to try again at once."""

        def listed() -> None:
            self.registry.offer("a", self.supply)

        def claimed() -> None:
            claim = run_now(self.registry.claim("a", "publish"))
            self.addCleanup(self.registry.release, claim)

        def running() -> None:
            self.feed("a")

        for news in (listed, claimed, running):
            self.registry.refuse("a", "no")
            self.assertIn("a", self.room._refused)
            news()
            self.assertEqual(self.room._refused, {}, news.__name__)

    def test_a_refusal_while_it_runs_says_nothing(self) -> None:
        """One of several sources refuses; the viewers that are there stay, and new ones are let in."""
        self.feed("a")
        self.registry.refuse("a", "no")
        self.assertEqual(self.room._refused, {})
        self.successResultOf(self.wait())

    def test_a_refusal_on_the_spot(self) -> None:
        """A supply that says no while it is asked."""
        self.registry.offer("c", OnDemand(self.clock, self.say_no, lambda: None, lambda: False, 3))
        self.assertEqual(self.reason(self.wait("c")), Reason.NOT_READY)
        self.nothing_left()
        self.clock.pump([1.0] * 5)

    def say_no(self) -> None:
        self.registry.refuse("c", "no")


class Protocols(WaitingCase):
    """The protocols option."""

    @override
    def setUp(self) -> None:
        super().setUp()
        self.playing = Playing(PasswordGate(lambda name: ""), self.room)
        self.supply = Supplied(protocols=frozenset(["hls", "m4f"]))
        self.registry.offer("a", self.supply)

    def ask(self, how: Any, proto: str) -> Deferred[Any]:
        return Deferred.fromCoroutine(how(evolve(request(), proto=proto)))

    def test_words(self) -> None:
        for protocols, proto, answer in (
            (None, "rtmp", True),
            (frozenset[str](), "rtmp", False),
            (frozenset(["mpegts"]), "tshttp", True),
            (frozenset(["tshttp"]), "tshttp", True),
            (frozenset(["tshttp"]), "mpegts", True),
            (frozenset(["hls"]), "tshttp", False),
            (frozenset(["m4f"]), "m4fs", True),
        ):
            self.assertIs(allowed(protocols, proto), answer, (protocols, proto))

    def test_refused_before_it_is_started(self) -> None:
        for proto in ("rtmp", "tshttp"):
            self.assertEqual(self.reason(self.ask(self.playing.play, proto)), Reason.DENIED)
        self.assertEqual(self.supply.wanted, 0)

    def test_granted(self) -> None:
        self.settings = evolve(self.settings, protocols=self.supply.protocols)
        writer = self.feed("a")
        writer.close(D)
        self.successResultOf(self.ask(self.playing.watch, "hls"))
        self.assertEqual(self.reason(self.ask(self.playing.play, "rtmp")), Reason.DENIED)
        pull: Deferred[LiveEntry] = Deferred.fromCoroutine(self.room.entry("a", lambda stream: True, "m4f"))
        self.successResultOf(pull)

    def test_what_the_stream_says_counts(self) -> None:
        """A request held for a name that turns out to be somebody else's stream."""
        self.registry.offer("b", Supplied())
        held = self.ask(lambda wanted: self.playing.play(evolve(wanted, name="b")), "rtmp")
        self.settings = evolve(self.settings, protocols=frozenset(["hls"]))
        self.feed("b")
        self.assertEqual(self.reason(held), Reason.DENIED)
