"""Who feeds a stream: its inputs in order of preference, and when to go from one to another.

One input feeds; the best of the others stands by with its link open, if it can. An input that is lost is
followed at once by the best one that is left. A better input that is back is tried while the worse one
still feeds, once it has been there for a while, and the worse one is stopped when the better one has taken
the stream: make before break. A backup is no input like the others: it is shown when nothing has fed the
stream for its timeout, and the others are tried on meanwhile.

Nothing here touches media: an input takes the stream by itself and reports it
(L{restreamer.live.stream.StreamWriter} makes the one before powerless).
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any

from attrs import define, field

from restreamer.errors import Refused
from restreamer.logs import Logger
from restreamer.seams import Clock, Timer
from restreamer.sources.input_slot import (
    FIRST_SETTLE,
    LONGEST_REST,
    LONGEST_SETTLE,
    STEADY_SECONDS,
    BackupRule,
    InputPlan,
    InputSlot,
    PastSlots,
)
from restreamer.sources.input_states import InputEvent, InputState, follow
from restreamer.sources.progress import Progress, ProgressWatch

_log = Logger()

#: How often the progress of the feeding input is looked at, with a backup and without, seconds.
LOOK_EVERY = 0.5
LOOK_SELDOM = 1.0
#: Seconds a better input gets to take over while another one feeds.
EASY_PATIENCE = 6.0
_AVAILABLE = (InputState.IDLE, InputState.STANDBY)


def _nothing(*_: object) -> None:
    """Used when nobody wants to be told."""


@define(eq=False)
class InputSwitch:
    """The inputs of one stream.

    @ivar name: the stream's. @ivar progress: what the stream has taken so far.
    @ivar jitter: random.uniform. @ivar backup: when the backup is shown; None: there is none.
    @ivar source_timeout: seconds without a frame after which the feeding input is lost; None: never.
    @ivar changed: told when another input feeds the stream, or none does.
    @ivar gave_up: told why when an input that was tried is refused, or fails and does not try again by
        itself, and there is no other to try now.
    @ivar failures: attempts that failed, or gave nothing in their patience, since an input last fed it.
    @ivar limit: after so many failures on end L{exhausted} is called; None: never.
    @ivar switches: how often the stream went from one input to another.
    """

    name: str
    clock: Clock
    jitter: Callable[[float, float], float]
    progress: Callable[[], Progress]
    source_timeout: float | None = None
    backup: BackupRule | None = None
    changed: Callable[[], None] = _nothing
    gave_up: Callable[[str], None] = _nothing
    exhausted: Callable[[], None] = _nothing
    limit: int | None = None
    failures: int = field(default=0, init=False)
    switches: int = field(default=0, init=False)
    _slots: dict[Hashable, InputSlot] = field(factory=dict, init=False)
    _past: PastSlots = field(factory=PastSlots, init=False)
    _feeding: InputSlot | None = field(default=None, init=False)
    _fed_last: InputSlot | None = field(default=None, init=False)
    _dry_since: float = field(default=0.0, init=False)
    _wanted: bool = field(default=False, init=False)
    _deciding: bool = field(default=False, init=False)
    _again: bool = field(default=False, init=False)
    _wake: Timer | None = field(default=None, init=False)
    _look: Timer | None = field(default=None, init=False)
    _watch: ProgressWatch = field(factory=ProgressWatch, init=False)

    # What the owner says.

    @property
    def running(self) -> bool:
        """Whether the stream is wanted."""
        return self._wanted

    @property
    def feeding(self) -> Hashable | None:
        """Key of the input that feeds the stream now."""
        return self._feeding.key if self._feeding is not None else None

    @property
    def slots(self) -> tuple[InputSlot, ...]:
        """All inputs, the preferred first."""
        return tuple(sorted(self._slots.values(), key=lambda slot: slot.plan.rank))

    def put(self, key: Hashable, plan: InputPlan) -> None:
        """Take an input, or another rank for one that is there."""
        slot = self._slots.get(key)
        now = self.clock.seconds()
        if slot is None:
            slot = self._slots[key] = InputSlot(key, plan, since=now)
            self._past.recall(slot, now)
        else:
            if plan.rank < slot.plan.rank:
                slot.since = now
            slot.plan = plan
        if plan.external and self._wanted and slot.state is InputState.IDLE:
            self._start(slot)
        self._decide()

    def drop(self, key: Hashable) -> Any:
        """Forget an input and stop it; gives None or a Deferred that fires when it is closed."""
        slot = self._slots.pop(key, None)
        if slot is None:
            return None
        if slot is self._feeding:
            self._account(slot, failed=True)
        closing = self._stop_slot(slot)
        self._past.keep(slot, self.clock.seconds())
        if slot is self._feeding:
            self._dry()
        self._decide()
        return closing

    def has(self, key: Hashable) -> bool:
        """Whether there is such an input."""
        return key in self._slots

    def start(self) -> None:
        """The stream is wanted: feed it."""
        if self._wanted:
            return
        self._wanted = True
        self.failures = 0
        self._dry_since = self.clock.seconds()
        for slot in self._slots.values():
            if slot.plan.external and slot.state is InputState.IDLE:
                self._start(slot)
        self._look_later()
        self._decide()

    def stop(self) -> list[Any]:
        """The stream is not wanted: stop every input; gives what their C{stop} gave."""
        self._wanted = False
        for timer in (self._wake, self._look):
            if timer is not None and timer.active():
                timer.cancel()
        self._wake = self._look = None
        closing = [self._stop_slot(slot) for slot in self._slots.values()]
        if self._feeding is not None:
            self._feeding = None
            self.changed()
        return [each for each in closing if each is not None]

    def took_over(self, key: Hashable) -> None:
        """An external input's media took the stream (whether the stream is wanted or not)."""
        slot = self._slots.get(key)
        if slot is None:
            return
        slot.fresh = True
        if slot.state is InputState.FEEDING:
            return
        self._delivered(slot)

    def suspect(self, reason: str) -> None:
        """The feeding input was seen to lag behind another one: leave it, if there is another to go to."""
        slot = self._feeding
        if slot is not None and not slot.plan.backup and self._alternatives(slot):
            self._lost(slot, reason)

    def resettle(self, settings: object) -> None:
        """The stream is kept otherwise from now on: tell the inputs that run and make it themselves."""
        for slot in self._slots.values():
            resettle = getattr(slot.running, "resettle", None)
            if resettle is not None:
                resettle(settings)

    def nudge(self, key: Hashable) -> None:
        """There is news of an input (its node is back): whatever waits to try it again does so now."""
        slot = self._slots.get(key)
        if slot is None:
            return
        if slot.state is InputState.HELD and (self._feeding is None or self._feeding.plan.backup):
            self._rested(slot)
        elif slot.state in (InputState.TRYING, InputState.STANDBY) and slot.running is not None:
            retry = getattr(slot.running, "retry", None)
            if retry is not None:
                retry()
        self._decide()

    # What an input reports, through its slot.

    def _delivered(self, slot: InputSlot) -> None:
        if self._slots.get(slot.key) is not slot or slot.state is not InputState.TRYING:
            return
        self._move(slot, InputEvent.DELIVERED)
        now = self.clock.seconds()
        slot.fed_since = now
        slot.error = ""
        if not slot.plan.backup:
            self.failures = 0
        before, self._feeding = self._feeding, slot
        if before is not None:
            self._account(before, failed=False)
            _ = self._stop_slot(before)
        if self._fed_last is not None and self._fed_last is not slot:
            self.switches += 1
            if not slot.plan.backup:
                _log.info("stream {name}: now fed by {url}", name=self.name, url=slot.plan.url)
        if slot.plan.backup:
            _log.warn("stream {name}: showing the backup {url}", name=self.name, url=slot.plan.url)
        self._fed_last = slot
        self._watch.begin(now, self.progress())
        for other in list(self._slots.values()):
            if other.state is InputState.TRYING and not other.plan.external:
                if slot.plan.backup or other.plan.rank < slot.plan.rank:
                    continue
                _ = self._stop_slot(other)
        self.changed()
        self._decide()

    def _lost(self, slot: InputSlot, reason: str, keep: bool = True, refused: bool = False) -> None:
        """An input failed. C{keep}: one that reconnects by itself may go on when nobody could do better."""
        if self._slots.get(slot.key) is not slot:
            return
        if slot.state not in (InputState.TRYING, InputState.FEEDING):
            return
        slot.error = reason
        slot.losses += 1
        fed = slot is self._feeding
        if fed:
            _log.warn("stream {name}: lost {url}: {reason}", name=self.name, url=slot.plan.url, reason=reason)
            self._account(slot, failed=True)
        elif slot.said != reason:
            _log.warn("stream {name}: {url}: {reason}", name=self.name, url=slot.plan.url, reason=reason)
        slot.said = reason
        if slot.plan.external:
            self._move(slot, InputEvent.DRIED)
        elif keep and slot.plan.persistent and not self._alternatives(slot):
            self._move(slot, InputEvent.DRIED)
            slot.overdue = True
        else:
            self._close(slot)
            self._move(slot, InputEvent.LOST)
            self._rest(slot)
        if fed:
            self._dry()
        elif self._feeding is None and not self._alternatives(slot) and (refused or not slot.plan.persistent):
            self.gave_up(reason)
        if not fed and not slot.plan.backup:
            self._failed()
        self._decide()

    # Inside.

    def _failed(self) -> None:
        """One attempt more was in vain."""
        self.failures += 1
        if self.limit is not None and self._wanted and self.failures >= self.limit:
            _log.warn(
                "stream {name}: given up after {count} failed attempts", name=self.name, count=self.failures
            )
            self.exhausted()

    def _alternatives(self, slot: InputSlot) -> bool:
        """Whether there is another input to go to."""
        return any(
            other is not slot and not other.plan.backup and other.state in (*_AVAILABLE, InputState.TRYING)
            for other in self._slots.values()
            if not (other.state is InputState.TRYING and other.overdue)
        )

    def _dry(self) -> None:
        """Nothing feeds the stream."""
        self._feeding = None
        self._dry_since = self.clock.seconds()
        self.changed()

    def _move(self, slot: InputSlot, event: InputEvent) -> None:
        """Follow the table, and say so."""
        before = slot.state
        slot.state = follow(before, event)
        slot.counts[event] = slot.counts.get(event, 0) + 1
        if before is not slot.state:
            slot.since = self.clock.seconds()
        _log.debug(
            "stream {name}: input {url}: {before} -> {after} ({event})",
            name=self.name,
            url=slot.plan.url,
            before=before.value,
            after=slot.state.value,
            event=event.value,
        )

    def _account(self, slot: InputSlot, failed: bool) -> None:
        """The slot feeds no more: how steady was it?"""
        fed = self.clock.seconds() - slot.fed_since
        slot.fed_seconds += fed
        if fed >= STEADY_SECONDS:
            slot.settle = FIRST_SETTLE
            slot.rest = slot.plan.rest
        elif failed:
            slot.settle = min(LONGEST_SETTLE, slot.settle * 2)

    def _rest(self, slot: InputSlot) -> None:
        pause = self.jitter(slot.rest / 2, slot.rest)
        slot.rest = min(LONGEST_REST, slot.rest * 2)
        slot.resting = self.clock.callLater(pause, self._rest_over, slot)

    def _rest_over(self, slot: InputSlot) -> None:
        slot.resting = None
        if slot.state is InputState.HELD:
            self._rested(slot)
            self._decide()

    def _rested(self, slot: InputSlot) -> None:
        if slot.resting is not None and slot.resting.active():
            slot.resting.cancel()
        slot.resting = None
        self._move(slot, InputEvent.RESTED)

    def _close(self, slot: InputSlot) -> Any:
        running, slot.running = slot.running, None
        slot.session += 1
        closing = running.stop() if running is not None else None
        slot.counted = slot.with_counters(running)
        return closing

    def _stop_slot(self, slot: InputSlot) -> Any:
        """Close a slot that is not needed; gives what its C{stop} gave."""
        if slot.resting is not None and slot.resting.active():
            slot.resting.cancel()
        slot.resting = None
        closing = self._close(slot)
        if slot.state is not InputState.IDLE:
            self._move(slot, InputEvent.STOPPED)
        return closing

    def _open(self, slot: InputSlot, standby: bool) -> None:
        """Begin the input; what it reports counts while it is this beginning that speaks."""
        slot.session += 1
        reports = _Reports(self, slot, slot.session)
        try:
            running = slot.plan.begin(reports, standby)
        except Refused as refusal:
            reports.lost(refusal.text)
        except Exception as error:
            _log.failure("stream {name}: {url} could not be started", name=self.name, url=slot.plan.url)
            reports.lost(f"could not be started: {error}")
        else:
            if slot.session == reports.session:
                slot.running = running
            else:
                # It said that it is lost before it was there.
                _ = running.stop()

    def _start(self, slot: InputSlot) -> None:
        now = self.clock.seconds()
        opened = slot.state is InputState.STANDBY
        self._move(slot, InputEvent.START)
        slot.tried_at = now
        slot.overdue = False
        if slot.plan.external:
            if slot.fresh:
                self._delivered(slot)
            return
        if opened and slot.running is not None:
            slot.running.activate()
        else:
            self._open(slot, standby=False)

    def _decide(self) -> None:
        """Do what the states call for now; look again when time may call for more."""
        if not self._wanted:
            return
        if self._deciding:
            self._again = True
            return
        self._deciding = True
        try:
            self._again = True
            rounds = 0
            while self._again and self._wanted and rounds < 20:
                self._again = False
                rounds += 1
                self._decide_once()
        finally:
            self._deciding = False
        if self._wanted:
            self._wake_later()

    def _decide_once(self) -> None:
        now = self.clock.seconds()
        feeding = self._feeding
        inputs = [slot for slot in self.slots if not slot.plan.backup]
        for slot in inputs:
            tried = slot.state is InputState.TRYING and not slot.overdue
            if tried and now >= slot.tried_at + self._patience(slot):
                slot.overdue = True
                self._failed()
                if not self._wanted:
                    return
        free = [slot for slot in inputs if slot.state in _AVAILABLE and not slot.plan.external]
        ready = [slot for slot in free if slot.state is InputState.STANDBY or now >= slot.plan.not_before()]
        if feeding is None or feeding.plan.backup:
            self._find_one(inputs, ready)
        else:
            self._find_better(feeding, inputs, ready, now)
        # What was begun may have failed at once, and that may have been once too often.
        if self._wanted:
            self._decide_backup(now)
        if self._wanted:
            self._stand_by()

    def _patience(self, slot: InputSlot) -> float:
        """How long C{slot} gets to deliver: longer while another feeds, as it may wait for a keyframe."""
        feeding = self._feeding
        dry = feeding is None or feeding.plan.backup
        return slot.plan.patience if dry else max(slot.plan.patience, EASY_PATIENCE)

    def _find_one(self, inputs: list[InputSlot], ready: list[InputSlot]) -> None:
        """Nothing feeds: somebody has to be tried."""
        trying = [slot for slot in inputs if slot.state is InputState.TRYING and not slot.plan.external]
        if any(not slot.overdue for slot in trying) or not ready:
            return
        for slot in trying:
            self._close(slot)
            self._move(slot, InputEvent.LOST)
            slot.error = slot.error or "gave nothing in time"
            self._rest(slot)
        self._start(ready[0])

    def _find_better(
        self, feeding: InputSlot, inputs: list[InputSlot], ready: list[InputSlot], now: float
    ) -> None:
        """Something feeds: is there a better input, and has it been there for long enough?"""
        for slot in inputs:
            if slot.state is InputState.TRYING and slot.overdue and not slot.plan.external:
                self._close(slot)
                self._move(slot, InputEvent.LOST)
                slot.error = slot.error or "gave nothing in time"
                self._rest(slot)
        if any(slot.state is InputState.TRYING and not slot.plan.external for slot in inputs):
            return
        for slot in ready:
            if slot.plan.rank < feeding.plan.rank and now >= slot.since + slot.settle:
                self._start(slot)
                return

    def _decide_backup(self, now: float) -> None:
        rule = self.backup
        slot = next((slot for slot in self._slots.values() if slot.plan.backup), None)
        if slot is None or rule is None:
            return
        if self._feeding is not None:
            if slot is not self._feeding and slot.state is InputState.TRYING:
                _ = self._stop_slot(slot)
        elif slot.state is InputState.IDLE and now >= self._dry_since + rule.timeout:
            self._start(slot)

    def _stand_by(self) -> None:
        """One input beside the one in use has its link open."""
        used = [
            slot for slot in self._slots.values() if slot.state in (InputState.TRYING, InputState.FEEDING)
        ]
        if not any(not slot.plan.backup for slot in used):
            return
        standing = [slot for slot in self._slots.values() if slot.state is InputState.STANDBY]
        idle = [
            slot
            for slot in self.slots
            if slot.state is InputState.IDLE and slot.plan.stands_by and slot.plan.may_stand_by()
        ]
        if not idle:
            return
        best = idle[0]
        worse = [slot for slot in standing if best.plan.rank < slot.plan.rank]
        if standing and not worse:
            return
        for slot in worse:
            _ = self._stop_slot(slot)
        self._move(best, InputEvent.STAND_BY)
        self._open(best, standby=True)

    # Time.

    def _wake_later(self) -> None:
        """Be woken at the next moment at which time alone changes what is to be done."""
        if self._wake is not None and self._wake.active():
            self._wake.cancel()
        self._wake = None
        now = self.clock.seconds()
        moments: list[float] = []
        feeding = self._feeding
        standing = any(slot.state is InputState.STANDBY for slot in self._slots.values())
        for slot in self._slots.values():
            plan = slot.plan
            if plan.backup or plan.external:
                continue
            if slot.state is InputState.TRYING and not slot.overdue:
                moments.append(slot.tried_at + self._patience(slot))
            elif slot.state in _AVAILABLE:
                if feeding is None or feeding.plan.backup:
                    moments.append(plan.not_before())
                else:
                    if plan.rank < feeding.plan.rank:
                        moments.append(max(slot.since + slot.settle, plan.not_before()))
                    if plan.stands_by and not standing:
                        moments.append(plan.not_before())
        if self.backup is not None and feeding is None:
            moments.append(self._dry_since + self.backup.timeout)
        later = [moment for moment in moments if moment > now]
        if later:
            self._wake = self.clock.callLater(min(later) - now + 0.001, self._woken)

    def _woken(self) -> None:
        self._wake = None
        self._decide()

    def _look_later(self) -> None:
        every = LOOK_SELDOM if self.backup is None else LOOK_EVERY
        self._look = self.clock.callLater(every, self._looked)

    def _looked(self) -> None:
        """Whether the feeding input still gives what it should."""
        self._look_later()
        slot = self._feeding
        if slot is None or slot.plan.backup:
            return
        now = self.clock.seconds()
        self._watch.see(now, self.progress())
        own = slot.plan.source_timeout
        lack = self._watch.lack(now, self.source_timeout if own is None else own, None, None)
        if lack is not None:
            self._lost(slot, lack, keep=False)
            return
        rule = self.backup
        if rule is None or not any(each.plan.backup for each in self._slots.values()):
            return
        lack = self._watch.lack(now, rule.timeout, rule.audio_timeout, rule.video_timeout)
        if lack is not None:
            self._cover(slot, lack, now - rule.timeout)

    def _cover(self, slot: InputSlot, lack: str, dry_since: float) -> None:
        """The feeding input gives nothing (of some kind): show the backup at once, and try it again."""
        _log.warn("stream {name}: {url}: {lack}", name=self.name, url=slot.plan.url, lack=lack)
        slot.error = lack
        self._account(slot, failed=True)
        if slot.plan.external:
            self._move(slot, InputEvent.DRIED)
        else:
            # It has to join anew behind the backup.
            _ = self._close(slot)
            self._move(slot, InputEvent.LOST)
            self._rest(slot)
        self._feeding = None
        self._dry_since = dry_since
        self.changed()
        self._decide()


@define(eq=False)
class _Reports:
    """What one beginning of an input may say; L{restreamer.sources.input_slot.InputReports}."""

    switch: InputSwitch
    slot: InputSlot
    session: int

    def delivered(self) -> None:
        """The input's media took the stream."""
        if self.slot.session == self.session:
            self.switch._delivered(self.slot)

    def lost(self, reason: str, link: bool = True, refused: bool = False) -> None:
        """The input failed, or ceased to give media."""
        if self.slot.session == self.session:
            self.switch._lost(self.slot, reason, refused=refused)
