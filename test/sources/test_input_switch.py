"""Who feeds a stream, and when another input does."""

from __future__ import annotations

import itertools
from typing import cast

from attrs import define, field
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.logger import ILogObserver, LogEvent, formatEvent, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase
from typing_extensions import override

from restreamer.sources.input_facts import facts_of
from restreamer.sources.input_slot import (
    FIRST_SETTLE,
    LONGEST_SETTLE,
    BackupRule,
    InputPlan,
    InputReports,
)
from restreamer.sources.input_states import TRANSITIONS, InputEvent, InputState, follow
from restreamer.sources.input_switch import InputSwitch
from restreamer.sources.progress import Progress


@define(eq=False)
class _Input:
    """An input that does what the test says."""

    name: str
    reports: InputReports
    standby: bool
    stopped: bool = False
    active: bool = field(init=False)
    counters: dict[str, int] = field(factory=dict, init=False)

    def __attrs_post_init__(self) -> None:
        self.active = not self.standby

    def activate(self) -> None:
        self.active = True

    def stop(self) -> None:
        self.stopped = True


class _Case(SynchronousTestCase):
    @override
    def setUp(self) -> None:
        self.clock = Clock()
        self.begun: list[_Input] = []
        self.progress = Progress(0)
        self.gave_up: list[str] = []

    def switch(self, backup: BackupRule | None = None, source_timeout: float | None = None) -> InputSwitch:
        return InputSwitch(
            "film",
            self.clock,
            lambda low, high: high,
            lambda: self.progress,
            source_timeout=source_timeout,
            backup=backup,
            gave_up=self.gave_up.append,
        )

    def plan(
        self,
        name: str,
        rank: int,
        stands_by: bool = True,
        persistent: bool = True,
        backup: bool = False,
        external: bool = False,
    ) -> InputPlan:
        def begin(reports: InputReports, standby: bool) -> _Input:
            self.begun.append(_Input(name, reports, standby))
            return self.begun[-1]

        return InputPlan(
            url=name,
            rank=(rank,),
            begin=begin,
            stands_by=stands_by,
            persistent=persistent,
            backup=backup,
            external=external,
            patience=2.0,
        )

    def last(self, name: str) -> _Input:
        return [each for each in self.begun if each.name == name][-1]

    def names(self) -> list[str]:
        """What was begun, C{~} before a standby."""
        return [("~" if each.standby else "") + each.name for each in self.begun]


class TableTests(SynchronousTestCase):
    def test_every_state_can_be_left_and_reached(self) -> None:
        """No state is a trap, and none is out of reach."""
        for state in InputState:
            self.assertTrue([1 for (before, _), after in TRANSITIONS.items() if before is state is not after])
            self.assertIn(state, TRANSITIONS.values())

    def test_what_is_not_in_the_table(self) -> None:
        """It is an error, with both words in it."""
        with self.assertRaisesRegex(ValueError, "held cannot be delivered"):
            follow(InputState.HELD, InputEvent.DELIVERED)


class TwoSourcesTests(_Case):
    def feed(self) -> InputSwitch:
        switch = self.switch()
        switch.put("a", self.plan("a", 0))
        switch.put("b", self.plan("b", 1))
        switch.start()
        self.last("a").reports.delivered()
        return switch

    def test_first_in_order_feeds_and_the_next_stands_by(self) -> None:
        switch = self.feed()
        self.assertEqual(self.names(), ["a", "~b"])
        self.assertEqual(switch.feeding, "a")
        self.assertFalse(self.last("b").active)
        self.assertEqual(switch.switches, 0)

    def test_nothing_is_begun_before_it_is_wanted(self) -> None:
        switch = self.switch()
        switch.put("a", self.plan("a", 0))
        self.assertEqual(self.names(), [])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_loss_asks_the_standby_at_once(self) -> None:
        """One that stands by is asked on its open link; the lost one is closed and rests."""
        switch = self.feed()
        self.last("a").reports.lost("reset")
        self.assertTrue(self.last("b").active)
        self.assertTrue(self.begun[0].stopped)
        self.assertEqual(self.names(), ["a", "~b"])
        self.last("b").reports.delivered()
        self.assertEqual(switch.feeding, "b")
        self.assertEqual(switch.switches, 1)

    def test_reports_of_a_beginning_that_is_over_are_void(self) -> None:
        switch = self.feed()
        old = self.last("a")
        old.reports.lost("reset")
        self.last("b").reports.delivered()
        old.reports.delivered()
        old.reports.lost("again")
        self.assertEqual(switch.feeding, "b")

    def test_fail_back_waits_and_makes_before_it_breaks(self) -> None:
        """The better source is asked once it has been there for a while; the worse feeds till it delivers."""
        switch = self.feed()
        self.last("a").reports.lost("reset")
        self.last("b").reports.delivered()
        self.clock.advance(1.0)
        self.assertEqual(self.names()[-1], "~a")
        self.clock.advance(FIRST_SETTLE)
        self.assertFalse(self.last("a").active, "it was lost once: twice the time")
        self.clock.pump([1.0] * 6)
        self.assertTrue(self.last("a").active)
        self.assertEqual(switch.feeding, "b")
        self.assertFalse(self.last("b").stopped)
        feeding_b = self.last("b")
        self.last("a").reports.delivered()
        self.assertEqual(switch.feeding, "a")
        self.assertTrue(feeding_b.stopped)
        self.assertEqual(self.names()[-1], "~b")

    def test_flapping_is_slowed_down(self) -> None:
        """A source that is lost each second: at most one way back for each hold time, which doubles."""
        switch = self.feed()
        begins: list[float] = []
        for _ in range(600):
            feeding = switch.feeding
            if feeding == "a":
                begins.append(self.clock.seconds())
                self.last("a").reports.lost("flap")
            for name in "ab":
                one = self.last(name)
                if one.active and not one.stopped:
                    one.reports.delivered()
            self.clock.advance(1.0)
        gaps = [later - before for before, later in itertools.pairwise(begins)]
        self.assertLess(len(begins), 16)
        self.assertGreaterEqual(gaps[0], FIRST_SETTLE)
        self.assertGreaterEqual(gaps[-1], LONGEST_SETTLE)

    def test_no_answer_in_time(self) -> None:
        """A source that keeps its link and delivers nothing is given up for the next."""
        switch = self.switch()
        switch.put("a", self.plan("a", 0))
        switch.put("b", self.plan("b", 1))
        switch.start()
        self.clock.advance(2.1)
        self.assertTrue(self.begun[0].stopped)
        self.assertTrue(self.last("b").active)

    def test_all_are_dead(self) -> None:
        """They are tried in turn, and whoever returns feeds."""
        switch = self.feed()
        self.last("a").reports.lost("reset")
        self.last("b").reports.lost("reset")
        for _ in range(40):
            self.clock.advance(1.0)
        self.assertGreater(len(self.begun), 6)
        self.assertLess(len(self.begun), 40)
        running = [each for each in self.begun if each.active and not each.stopped]
        self.assertEqual(len(running), 1)
        running[0].reports.delivered()
        self.assertEqual(switch.feeding, running[0].name)

    def test_suspect(self) -> None:
        """What lags behind is left when there is another, and kept when there is not."""
        switch = self.feed()
        switch.suspect("b is ahead of it")
        self.assertTrue(self.begun[0].stopped)
        self.last("b").reports.delivered()
        switch.drop("a")
        switch.suspect("it is ahead")
        self.assertEqual(switch.feeding, "b")

    def test_stop_leaves_nothing(self) -> None:
        switch = self.feed()
        self.last("a").reports.lost("reset")
        switch.stop()
        self.assertTrue(all(each.stopped for each in self.begun))
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.assertIsNone(switch.feeding)

    def test_dropped_while_it_feeds(self) -> None:
        """A source that lists the stream no more is left for the next."""
        switch = self.feed()
        switch.drop("a")
        self.assertTrue(self.begun[0].stopped)
        self.assertTrue(self.last("b").active)

    def test_rank_changes(self) -> None:
        """A source whose control link is lost ranks last; it feeds on as long as it delivers."""
        switch = self.feed()
        switch.put("a", self.plan("a", 5))
        self.assertEqual(switch.feeding, "a")
        self.clock.pump([1.0] * 7)
        self.assertTrue(self.last("b").active)
        self.last("b").reports.delivered()
        self.assertEqual(switch.feeding, "b")


class OneSourceTests(_Case):
    def test_persistent_is_left_alone(self) -> None:
        """An input that reconnects by itself is not begun again when there is no other."""
        switch = self.switch()
        switch.put("a", self.plan("a", 0))
        switch.start()
        self.last("a").reports.delivered()
        self.last("a").reports.lost("reset")
        self.clock.advance(60)
        self.assertEqual(self.names(), ["a"])
        self.assertFalse(self.last("a").stopped)
        self.last("a").reports.delivered()
        self.assertEqual(switch.feeding, "a")
        self.assertEqual(switch.switches, 0)

    def test_second_source_appears_while_the_first_is_lost(self) -> None:
        switch = self.switch()
        switch.put("a", self.plan("a", 0))
        switch.start()
        self.last("a").reports.delivered()
        self.last("a").reports.lost("reset")
        switch.put("b", self.plan("b", 1))
        self.assertTrue(self.last("b").active)
        self.assertTrue(self.begun[0].stopped)

    def test_failures_rest_longer_and_longer(self) -> None:
        """An input that must be begun anew (a file) is, after a growing pause."""
        switch = self.switch()
        switch.put("file", self.plan("file", 0, stands_by=False, persistent=False))
        switch.start()
        moments = []
        for _ in range(8):
            self.last("file").reports.lost("broken")
            before = len(self.begun)
            began = self.clock.seconds()
            while len(self.begun) == before:
                self.clock.advance(0.25)
            moments.append(self.clock.seconds() - began)
        self.assertEqual(moments[:3], [1.0, 2.0, 4.0])
        self.assertEqual(moments[-1], 30.0)
        self.assertEqual(len(self.gave_up), 8)

    def test_cannot_be_begun(self) -> None:
        """An input whose beginning raises is a failed one."""

        def begin(reports: InputReports, standby: bool) -> _Input:
            raise RuntimeError("no such file")

        switch = self.switch()
        switch.put("file", InputPlan(url="file", rank=(0,), begin=begin))
        switch.start()
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)
        (slot,) = switch.slots
        self.assertIs(slot.state, InputState.HELD)
        self.assertIn("no such file", slot.error)
        switch.stop()

    def test_silent_link(self) -> None:
        """A source that keeps its link and sends no frame for source_timeout is left, and asked again."""
        switch = self.switch(source_timeout=5.0)
        switch.put("a", self.plan("a", 0))
        switch.start()
        self.last("a").reports.delivered()
        self.clock.pump([0.5] * 20)
        self.assertTrue(self.begun[0].stopped)
        self.assertEqual(self.names(), ["a", "a"])
        switch.stop()

    def test_silence(self) -> None:
        """Connected, and no frame for source_timeout: lost."""
        switch = self.switch(source_timeout=5.0)
        switch.put("file", self.plan("file", 0, stands_by=False, persistent=False))
        switch.start()
        self.last("file").reports.delivered()
        for count in range(20):
            self.progress = Progress(count)
            self.clock.advance(1.0)
        self.assertEqual(switch.feeding, "file")
        self.clock.pump([0.5] * 12)
        self.assertTrue(self.begun[0].stopped)


class BackupTests(_Case):
    def feed(self, rule: BackupRule) -> InputSwitch:
        switch = self.switch(rule)
        switch.put("a", self.plan("a", 0))
        switch.put("backup", self.plan("backup", 9, stands_by=False, persistent=False, backup=True))
        switch.start()
        return switch

    def test_shown_after_the_timeout_and_left_when_an_input_returns(self) -> None:
        switch = self.feed(BackupRule(3.0))
        self.last("a").reports.delivered()
        self.clock.pump([0.1] * 5)
        self.last("a").reports.lost("reset")
        self.clock.advance(2.9)
        self.assertNotIn("backup", self.names())
        self.clock.advance(0.2)
        self.last("backup").reports.delivered()
        self.assertEqual(switch.feeding, "backup")
        self.assertFalse(self.last("a").stopped, "it is tried on meanwhile")
        self.last("a").reports.delivered()
        self.assertEqual(switch.feeding, "a")
        self.assertTrue(self.last("backup").stopped)

    def test_the_log_says_what_is_shown(self) -> None:
        """That the backup is shown is said when it is; why it cannot be is said once per reason."""
        told: list[str] = []

        def observer(event: LogEvent) -> None:
            if event.get("log_namespace", "").startswith("restreamer.sources"):
                told.append(formatEvent(event))

        seen = cast(ILogObserver, observer)
        globalLogPublisher.addObserver(seen)
        self.addCleanup(globalLogPublisher.removeObserver, seen)
        self.feed(BackupRule(3.0))
        self.clock.advance(3.1)
        for _ in range(10):
            self.last("backup").reports.lost("no storage has it")
            self.clock.pump([1.0] * 40)
        self.assertGreater(self.names().count("backup"), 5)
        said = [line for line in told if "backup" in line]
        self.assertEqual(said, ["stream film: backup: no storage has it"])
        self.last("backup").reports.lost("it is no film")
        self.clock.pump([1.0] * 40)
        self.last("backup").reports.delivered()
        said = [line for line in told if "backup" in line]
        self.assertEqual(
            said[1:], ["stream film: backup: it is no film", "stream film: showing the backup backup"]
        )

    def test_shown_at_the_start(self) -> None:
        """Also when no input has ever delivered."""
        self.feed(BackupRule(3.0))
        self.clock.advance(3.1)
        self.assertIn("backup", self.names())

    def test_shown_for_an_input_that_is_silent(self) -> None:
        """The input is connected and gives no frame: the backup, and the input is tried anew."""
        switch = self.feed(BackupRule(3.0))
        self.last("a").reports.delivered()
        self.clock.pump([0.5] * 7)
        self.last("backup").reports.delivered()
        self.assertEqual(switch.feeding, "backup")
        self.clock.pump([0.5] * 4)
        self.assertEqual(self.names().count("a"), 2)
        self.last("a").reports.delivered()
        self.assertEqual(switch.feeding, "a")

    def test_audio_alone_is_missing(self) -> None:
        switch = self.feed(BackupRule(30.0, audio_timeout=2.0))
        self.progress = Progress(1, 1, 1, True, True)
        self.last("a").reports.delivered()
        for count in range(2, 8):
            self.progress = Progress(count, count, 1, True, True)
            self.clock.advance(0.5)
        self.last("backup").reports.delivered()
        self.assertEqual(switch.feeding, "backup")

    def test_publisher_that_falls_silent(self) -> None:
        """A publisher is not ours to stop: the backup covers it until its frames return."""
        switch = self.switch(BackupRule(3.0))
        switch.put("backup", self.plan("backup", 9, stands_by=False, persistent=False, backup=True))
        switch.start()
        switch.put("publish", self.plan("publish", 0, external=True))
        switch.took_over("publish")
        self.assertEqual(switch.feeding, "publish")
        self.clock.pump([0.5] * 7)
        self.last("backup").reports.delivered()
        self.assertEqual(switch.feeding, "backup")
        switch.took_over("publish")
        self.assertEqual(switch.feeding, "publish")
        self.assertTrue(self.last("backup").stopped)
        switch.drop("publish")
        self.assertIsNone(switch.feeding)
        self.clock.advance(3.1)
        self.assertFalse(self.last("backup").stopped)

    def test_publisher_before_the_stream_is_wanted(self) -> None:
        """On demand: the publisher feeds already when the first viewer comes: nothing else is begun."""
        switch = self.switch()
        switch.put("a", self.plan("a", 5))
        switch.put("publish", self.plan("publish", 0, external=True))
        switch.took_over("publish")
        switch.start()
        self.assertEqual(switch.feeding, "publish")
        self.assertEqual([name for name in self.names() if not name.startswith("~")], [])


class AnyOrderTests(_Case):
    @settings(max_examples=150, deadline=None, derandomize=True)
    @given(st.lists(st.tuples(st.integers(0, 7), st.integers(0, 2)), max_size=60))
    def test_any_order_of_events(self, events: list[tuple[int, int]]) -> None:
        """Whatever happens in whatever order: the table is kept, at most one feeds, at most two transfer
        beside a backup, and nothing is left behind."""
        self.setUp()
        switch = self.switch(BackupRule(3.0), source_timeout=10.0)
        names = ["a", "b", "c"]
        switch.put("backup", self.plan("backup", 9, stands_by=False, persistent=False, backup=True))
        for kind, which in events:
            name = names[which]
            live = [each for each in self.begun if each.active and not each.stopped]
            if kind == 0:
                switch.put(name, self.plan(name, which))
            elif kind == 1:
                switch.drop(name)
            elif kind == 2:
                switch.start()
            elif kind == 3 and which == 2:
                switch.stop()
            elif kind == 4 and live:
                live[which % len(live)].reports.delivered()
            elif kind == 5 and live:
                live[which % len(live)].reports.lost("x", link=which == 0)
            elif kind == 6:
                self.clock.advance((0.3, 2.5, 11.0)[which])
            else:
                switch.nudge(name)
            states = [slot.state for slot in switch.slots]
            self.assertLessEqual(states.count(InputState.FEEDING), 1)
            self.assertLessEqual(states.count(InputState.STANDBY), 1)
            live = [each for each in self.begun if each.active and not each.stopped and each.name != "backup"]
            self.assertLessEqual(len(live), 2)
        switch.stop()
        self.assertTrue(all(each.stopped for each in self.begun))
        self.assertEqual(self.clock.getDelayedCalls(), [])


class LimitTests(_Case):
    def test_given_up(self) -> None:
        """So many attempts on end that failed or gave nothing, and the owner is told; a start begins anew."""
        exhausted: list[int] = []
        switch = self.switch()
        switch.limit = 3
        switch.exhausted = lambda: exhausted.append(switch.failures)
        switch.put("file", self.plan("file", 0, stands_by=False, persistent=False))
        switch.start()
        self.last("file").reports.lost("broken")
        self.clock.advance(1.0)
        self.clock.advance(2.1)
        self.assertEqual(exhausted, [])
        self.last("file").reports.lost("broken")
        self.assertEqual(exhausted, [3])
        switch.stop()
        switch.start()
        self.assertEqual(switch.failures, 0)
        self.last("file").reports.delivered()
        self.last("file").reports.lost("broken")
        self.assertEqual((exhausted, switch.failures), ([3], 0))
        switch.stop()


class BeginningTests(_Case):
    """Inputs that say what became of them while they are begun, and links that may not be opened yet."""

    def test_lost_while_it_begins(self) -> None:
        """What C{begin} gave of a beginning that is over is stopped, and nobody keeps it."""

        def begin(reports: InputReports, standby: bool) -> _Input:
            self.begun.append(_Input("a", reports, standby))
            reports.lost("no way")
            return self.begun[-1]

        switch = self.switch()
        switch.put("a", InputPlan(url="a", rank=(0,), begin=begin))
        switch.start()
        self.assertEqual([each.stopped for each in self.begun], [True])
        self.assertIsNone(switch.slots[0].running)
        switch.stop()
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_counters_go_on(self) -> None:
        """What an input counted in its earlier attempts is added to what it counts now."""
        switch = self.switch()
        switch.put("a", self.plan("a", 0, persistent=False))
        switch.start()
        slot = switch.slots[0]
        self.assertEqual(slot.counters, {})
        self.begun[0].counters = {"errors_ts_cc": 2}
        self.begun[0].reports.lost("gone")
        self.assertEqual(slot.counters, {"errors_ts_cc": 2})
        self.clock.pump([0.5] * 4)
        self.begun[1].counters = {"errors_ts_cc": 1, "errors_desync": 3}
        self.assertEqual(slot.counters, {"errors_ts_cc": 3, "errors_desync": 3})
        self.assertEqual(facts_of(switch, 0)[0].counters, slot.counters)
        switch.stop()
        switch.start()
        self.assertEqual(slot.counters, {"errors_ts_cc": 3, "errors_desync": 3})
        switch.stop()

    def test_given_up_while_it_begins(self) -> None:
        """A stream that is given up in the middle of a decision gets neither backup nor standby."""

        def begin(reports: InputReports, standby: bool) -> _Input:
            raise OSError("no way")

        switch = self.switch(backup=BackupRule(0.0))
        switch.limit = 1
        switch.exhausted = lambda: switch.stop().clear()
        switch.put("a", InputPlan(url="a", rank=(0,), begin=begin))
        switch.put("backup", self.plan("backup", 9, backup=True))
        switch.start()
        self.assertEqual(len(self.flushLoggedErrors(OSError)), 1)
        self.assertFalse(switch.running)
        self.assertEqual(self.names(), [])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_stands_by_as_soon_as_it_may(self) -> None:
        """An input whose link was opened a moment ago stands by when that is allowed, with nothing else
        happening.
        """
        switch = self.switch()
        switch.put("a", self.plan("a", 0))
        plan = InputPlan(
            url="b",
            rank=(1,),
            begin=self.plan("b", 1).begin,
            stands_by=True,
            may_stand_by=lambda: self.clock.seconds() >= 4.0,
            not_before=lambda: 4.0,
        )
        switch.put("b", plan)
        switch.start()
        self.last("a").reports.delivered()
        self.assertEqual(self.names(), ["a"])
        self.clock.advance(4.1)
        self.assertEqual(self.names(), ["a", "~b"])
