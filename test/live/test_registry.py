"""Names, streams and their lives; on-demand inputs."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

from attrs import define, evolve, field
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from typing_extensions import override

from restreamer.errors import Reason, Refused
from restreamer.live.demand import OnDemand
from restreamer.live.feed import FeedLimits
from restreamer.live.ledger import Ledger
from restreamer.live.playout import Playout
from restreamer.live.registry import Claim, StreamRegistry, StreamSettings
from restreamer.live.stream import Stream, StreamWriter
from restreamer.m4f.records import RunInfo
from restreamer.m4f.segment import SegmentOpening
from restreamer.media.frame import Frame
from test.live.rig import AV, NODE, D, RecordingTap

RUN = RunInfo(1, 0, NODE, (NODE,))


@define(eq=False)
class Listener:
    events: list[str] = field(factory=list)
    fail: bool = False

    def stream_changed(self, stream: Stream) -> None:
        self.events.append(f"changed {stream.name} {stream.running}")
        if self.fail:
            raise ZeroDivisionError

    def stream_removed(self, stream: Stream) -> None:
        self.events.append(f"removed {stream.name}")

    def claim_changed(self, name: str, claimed: bool) -> None:
        self.events.append(f"claim {name} {claimed}")

    def supply_changed(self, name: str) -> None:
        self.events.append(f"supply {name}")


@define
class Supplied:
    wanted: int = 0
    title: str = ""
    path: tuple[bytes, ...] = ()
    protocols: frozenset[str] | None = None

    def want(self) -> None:
        self.wanted += 1


def run_now(work: Coroutine[Any, Any, Any]) -> Any:
    """The result of a coroutine that does not wait."""
    found: list[Any] = []
    _ = Deferred.fromCoroutine(work).addBoth(found.append)
    (result,) = found
    if hasattr(result, "value"):
        raise result.value
    return result


class RegistryCase(SynchronousTestCase):
    @override
    def setUp(self) -> None:
        self.clock = Clock()
        self.faults: list[str] = []
        self.registry = StreamRegistry(
            self.clock,
            Ledger(),
            lambda stream: Playout(stream, self.clock, {}, FeedLimits()),
            lambda what, error: self.faults.append(repr(error)),
            max_streams=5,
        )
        self.listener = Listener()
        self.registry.listen(self.listener)
        self.settings = StreamSettings(segment_duration=D, source_timeout=60.0)

    def claim(self, name: str, kind: str = "publish") -> Claim:
        claim: Claim = run_now(self.registry.claim(name, kind))
        return claim

    def refused(self, call: Callable[[], object]) -> Reason:
        refused: Refused = self.assertRaises(Refused, call)
        return refused.reason

    def feed(self, name: str, run: RunInfo = RUN, number: int = 1) -> StreamWriter:
        stream = self.registry.obtain(name, self.settings)
        writer = stream.begin_run(run, D, local=True)
        writer.open(SegmentOpening(number, number * D, False, True, 0, AV))
        writer.frames([Frame(1, number * D, 0, True, b"x")])
        return writer


class ClaimTests(RegistryCase):
    """Who owns a name."""

    def test_one_owner(self) -> None:
        """A name has one (R19)."""
        claim = self.claim("a")
        self.assertEqual(self.refused(lambda: self.claim("a")), Reason.BUSY)
        self.assertEqual(self.refused(lambda: self.claim("a", "config")), Reason.BUSY)
        self.registry.release(claim)
        self.registry.release(claim)
        again = self.claim("a", "config")
        self.registry.release(claim)
        self.assertTrue(self.registry.claimed("a"))
        self.assertEqual(again.kind, "config")
        self.assertEqual(self.listener.events, ["claim a True", "claim a False", "claim a True"])

    def test_limit(self) -> None:
        for index in range(5):
            self.claim(f"n{index}")
        self.assertEqual(self.refused(lambda: self.claim("more")), Reason.OVERLOADED)

    def test_reserved_names_stay_claimed(self) -> None:
        self.registry.reserve(frozenset(["a", "b"]))
        claim = self.claim("a")
        self.registry.release(claim)
        self.assertEqual(self.listener.events[2:], ["claim a True", "claim a True"])
        self.claim("b")
        self.registry.reserve(frozenset(["c"]))
        self.assertEqual(self.listener.events[5:], ["claim a False", "claim c True"])
        self.assertEqual([self.registry.claimed(n) for n in "abc"], [False, True, True])

    def test_a_failing_listener_fails_alone(self) -> None:
        self.listener.fail = True
        other = Listener()
        self.registry.listen(other)
        self.feed("a")
        self.assertEqual(other.events, ["changed a True"])
        self.assertEqual(self.faults, ["ZeroDivisionError()"])
        self.registry.unlisten(self.listener)
        self.registry.unlisten(self.listener)

    def test_want(self) -> None:
        self.assertFalse(self.registry.want("a"))
        supply = Supplied()
        self.registry.offer("a", supply)
        self.assertTrue(self.registry.want("a"))
        self.assertEqual(supply.wanted, 1)
        self.registry.withdraw("a", Supplied())
        self.assertIs(self.registry.supply("a"), supply)
        self.registry.withdraw("a", supply)
        self.assertFalse(self.registry.want("a"))
        self.assertEqual(self.listener.events, ["supply a", "supply a"])
        self.claim("b")
        self.registry.reserve(frozenset(["c"]))
        self.assertEqual([self.registry.want(n) for n in "abcd"], [False, True, True, False])


class LifeTests(RegistryCase):
    """A stream lives while it is fed, and source_timeout longer."""

    def test_expiry(self) -> None:
        writer = self.feed("a")
        tap = RecordingTap()
        self.registry.obtain("a", self.settings).attach(tap)
        self.clock.advance(1000)
        self.assertEqual(len(self.registry), 1)
        writer.lose("cut")
        self.clock.advance(59)
        self.assertEqual(len(self.registry), 1)
        self.clock.advance(2)
        self.assertEqual(len(self.registry), 0)
        self.assertEqual(tap.events[-1], "ended no input came back in time")
        self.assertEqual(self.listener.events[-1], "removed a")
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_input_returns_in_time(self) -> None:
        self.feed("a").lose("cut")
        self.clock.advance(59)
        self.feed("a", evolve(RUN, run_id=2), 2)
        self.clock.advance(1000)
        self.assertEqual(len(self.registry), 1)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_a_claim_keeps_it(self) -> None:
        self.feed("a").lose("cut")
        claim = self.claim("a")
        self.clock.advance(1000)
        self.assertEqual(len(self.registry), 1)
        self.registry.release(claim)
        self.clock.advance(61)
        self.assertEqual(len(self.registry), 0)

    def test_for_ever(self) -> None:
        self.settings = evolve(self.settings, source_timeout=None)
        self.feed("a").lose("cut")
        self.clock.advance(1e6)
        self.assertEqual((len(self.registry), self.clock.getDelayedCalls()), (1, []))

    def test_limit(self) -> None:
        for index in range(5):
            self.feed(f"n{index}")
        self.assertEqual(self.refused(lambda: self.feed("more")), Reason.OVERLOADED)
        self.feed("n0")

    def test_a_removed_stream_is_dead(self) -> None:
        writer = self.feed("a")
        stream = self.registry.obtain("a", self.settings)
        self.registry.remove("a", "test")
        self.registry.remove("a", "test")
        events = list(self.listener.events)
        self.assertFalse(writer.in_power)
        late = stream.begin_run(evolve(RUN, run_id=2), D, local=True)
        late.open(SegmentOpening(9, 9 * D, False, True, 0, AV))
        late.frames([Frame(1, 9 * D, 0, True, b"x")])
        self.assertEqual(self.listener.events, events)
        self.assertIsNone(self.registry.find("a"))

    def test_close(self) -> None:
        self.feed("a")
        self.feed("b").lose("cut")
        self.registry.close()
        self.assertEqual((len(self.registry), self.clock.getDelayedCalls()), (0, []))
        self.assertEqual([e for e in self.listener.events if "removed" in e], ["removed a", "removed b"])

    def test_settings_are_taken_over(self) -> None:
        stream = self.registry.obtain("a", evolve(self.settings, title="one"))
        self.registry.obtain("a", evolve(self.settings, title="", segment_count=9))
        self.assertEqual((stream.title, stream.window.segment_count), ("one", 9))


class DemandTests(SynchronousTestCase):
    """On-demand inputs: M21."""

    @override
    def setUp(self) -> None:
        self.clock = Clock()
        self.events: list[str] = []
        self.busy = False

    def demand(self, linger: float = 10.0) -> OnDemand:
        return OnDemand(
            self.clock,
            lambda: self.events.append(f"start {self.clock.seconds():.0f}"),
            lambda: self.events.append(f"stop {self.clock.seconds():.0f}"),
            lambda: self.busy,
            linger,
        )

    def pass_time(self, seconds: int) -> None:
        self.clock.pump([1] * seconds)

    def test_started_by_a_request_and_kept_for_a_linger(self) -> None:
        demand = self.demand()
        self.pass_time(5)
        demand.want()
        demand.want()
        self.pass_time(30)
        self.assertEqual(self.events, ["start 5", "stop 15"])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_viewers_keep_it(self) -> None:
        demand = self.demand()
        demand.want()
        self.busy = True
        self.pass_time(100)
        self.busy = False
        self.pass_time(30)
        self.assertEqual(self.events, ["start 0", "stop 110"])

    def test_a_new_request_cancels_the_end(self) -> None:
        demand = self.demand()
        demand.want()
        for _ in range(10):
            self.pass_time(9)
            demand.want()
        self.assertEqual(self.events, ["start 0"])
        self.pass_time(11)
        self.assertEqual(self.events, ["start 0", "stop 100"])
        demand.want()
        self.assertEqual(self.events[2:], ["start 101"])

    def test_viewers_that_come_and_go_each_second_do_not_make_it_flap(self) -> None:
        demand = self.demand()
        demand.want()
        for second in range(120):
            self.busy = second % 2 == 0
            self.pass_time(1)
        self.assertEqual(self.events, ["start 0"])

    def test_close(self) -> None:
        demand = self.demand()
        demand.close()
        demand.want()
        demand.close()
        demand.close()
        self.pass_time(30)
        self.assertEqual(self.events, ["start 0", "stop 0"])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_no_linger_is_for_ever(self) -> None:
        demand = self.demand(0)
        demand.want()
        self.pass_time(1000)
        self.assertEqual(self.events, ["start 0"])
        demand.close()

    def test_a_start_that_fails_is_stopped_and_tried_again(self) -> None:
        def start() -> None:
            self.events.append("start")
            raise ZeroDivisionError

        demand = OnDemand(self.clock, start, lambda: self.events.append("stop"), lambda: False, 3)
        self.assertRaises(ZeroDivisionError, demand.want)
        self.pass_time(5)
        self.assertEqual(self.events, ["start", "stop"])
        self.assertRaises(ZeroDivisionError, demand.want)
        demand.close()
