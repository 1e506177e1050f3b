"""A stream of the configuration: owns its name and keeps one of its inputs feeding it."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

from attrs import define, field, frozen

from restreamer.errors import Refused
from restreamer.facts import InputFacts
from restreamer.live.demand import OnDemand
from restreamer.live.registry import Claim, StreamRegistry, StreamSettings
from restreamer.logs import Logger
from restreamer.seams import Clock, Timer
from restreamer.sources.input_facts import facts_of
from restreamer.sources.input_slot import BackupRule, InputPlan, InputReports, RunningInput
from restreamer.sources.input_switch import InputSwitch
from restreamer.sources.stream_progress import progress_of

_log = Logger()

#: Pause before a name that somebody else has is asked for again, seconds.
CLAIM_EVERY = 2.0
#: Seconds an input gets to deliver before the next one is tried.
PATIENCE = 10.0
#: The key of the publisher among the inputs.
PUBLISHER = "publish"
#: The key of the backup.
BACKUP = "backup"

#: Starts an input for a stream, or (C{standby}) opens its link; what it does is told to the reports.
InputStarter = Callable[[StreamSettings, InputReports, bool], RunningInput]


@frozen
class PlannedInput:
    """One input of a stream.

    @ivar url: what it is, without secrets; C{publish://} is whoever publishes.
    @ivar begin: starts it; None: somebody else does (a publisher).
    @ivar source_timeout: seconds without a frame after which it is lost; None: never.
    @ivar priority: lower is preferred; inputs of the same one in their order.
    @ivar linked: it is another node's: it reconnects by itself and can stand by.
    """

    url: str
    begin: InputStarter | None
    source_timeout: float | None
    priority: int = 0
    linked: bool = False


@frozen
class PlannedBackup:
    """What is shown when no input feeds the stream. @ivar rule: when."""

    url: str
    begin: InputStarter
    rule: BackupRule


@define(eq=False)
class ConfiguredStream:
    """One stream of the configuration, or one that a publisher made by a template, with inputs of its own.

    @ivar static: run for ever; otherwise from the first viewer to C{linger} seconds after the last.
    @ivar inputs: at least one, or a backup. @ivar jitter: random.uniform.
    @ivar spawn: runs a coroutine; None: a name that cannot be had is not asked for again.
    @ivar passing: it exists while its publisher does and C{source_timeout} longer; @ivar passed: told when
        that is over.
    """

    name: str
    settings: StreamSettings
    static: bool
    linger: float
    inputs: tuple[PlannedInput, ...]
    registry: StreamRegistry
    clock: Clock
    jitter: Callable[[float, float], float]
    spawn: Callable[[Coroutine[Any, Any, None]], object] | None = None
    backup: PlannedBackup | None = None
    passing: bool = False
    passed: Callable[[], object] = lambda: None
    _switch: InputSwitch = field(init=False)
    _claim: Claim | None = field(default=None, init=False)
    _retry: Timer | None = field(default=None, init=False)
    _demand: OnDemand | None = field(default=None, init=False)
    _stopped: bool = field(default=False, init=False)
    _said: str = field(default="", init=False)

    def __attrs_post_init__(self) -> None:
        self._switch = InputSwitch(
            self.name,
            self.clock,
            self.jitter,
            lambda: progress_of(self.registry.find(self.name)),
            source_timeout=None,
            backup=self.backup.rule if self.backup is not None else None,
            gave_up=lambda reason: self.registry.refuse(self.name, reason),
            exhausted=self._give_up,
            limit=None if self.static else self.settings.retry_limit,
        )
        for index, planned in enumerate(self.inputs):
            if planned.begin is not None:
                self._switch.put(index, self._plan(index, planned, planned.begin))
        if self.backup is not None:
            self._switch.put(BACKUP, self._backup_plan(self.backup))

    @property
    def takes_publisher(self) -> bool:
        """Whether a publisher is among the inputs: then the name is not owned, but lent to it."""
        return any(planned.begin is None for planned in self.inputs)

    async def start(self) -> None:
        """Take the name, as soon as it can be had, and start an input, now or when somebody wants it."""
        self._retry = None
        if not self.takes_publisher:
            try:
                claim = await self.registry.claim(self.name, "config")
            except Refused as refusal:
                self._not_yet(refusal)
                return
            if self._stopped:
                self.registry.release(claim)
                return
            self._claim = claim
        self.begin()

    def begin(self) -> None:
        """Feed the stream, now or when somebody wants it; the name is ours, or a publisher's."""
        if self.static:
            self._switch.start()
            return
        self._demand = OnDemand(
            clock=self.clock,
            start=self._switch.start,
            stop=self._halt,
            busy=self._busy,
            linger=self.linger,
            title=self.settings.title,
            protocols=self.settings.protocols,
        )
        self.registry.offer(self.name, self._demand)

    def stop(self) -> list[Any]:
        """Stop the inputs and give the name back, for good; gives Deferreds of what is being closed."""
        self._stopped = True
        self._cancel_retry()
        if self._demand is not None:
            self.registry.withdraw(self.name, self._demand)
            self._demand.abandon()
            self._demand = None
        closing = self._switch.stop()
        if self._claim is not None:
            self.registry.release(self._claim)
            self._claim = None
        return closing

    def retitle(self, settings: StreamSettings) -> None:
        """Take settings that change nothing of the media."""
        self.settings = settings
        self._switch.resettle(settings)
        self._switch.limit = None if self.static else settings.retry_limit
        if self._demand is not None and self._demand.protocols != settings.protocols:
            self._demand.protocols = settings.protocols
            self.registry.offer(self.name, self._demand)
        if self.registry.find(self.name) is not None:
            self.registry.obtain(self.name, settings)

    def publisher_came(self) -> None:
        """A publisher holds the name."""
        self._cancel_retry()
        for index, planned in enumerate(self.inputs):
            if planned.begin is None:
                self._switch.put(PUBLISHER, self._plan(index, planned, _external))
                return

    def publisher_fed(self) -> None:
        """The publisher's media took the stream."""
        self._switch.took_over(PUBLISHER)

    def publisher_left(self) -> None:
        """The name has no publisher any more."""
        self._switch.drop(PUBLISHER)
        timeout = self.settings.source_timeout
        if self.passing and timeout is not None and not self._stopped:
            self._cancel_retry()
            self._retry = self.clock.callLater(timeout, self._pass_away)

    @property
    def feeding(self) -> str | None:
        """URL of the input that feeds the stream now."""
        for slot in self._switch.slots:
            if slot.key == self._switch.feeding:
                return slot.plan.url
        return None

    def facts(self, utc: int) -> tuple[InputFacts, ...]:
        """The inputs at C{utc} ticks, the preferred first."""
        return facts_of(self._switch, utc)

    @property
    def switches(self) -> int:
        """How often the stream went from one input to another."""
        return self._switch.switches

    # Inside.

    def _plan(self, index: int, planned: PlannedInput, begin: InputStarter) -> InputPlan:
        external = planned.begin is None
        return InputPlan(
            url=planned.url,
            # A publisher is there because somebody sends to this name now: it comes first.
            rank=(0 if external else 1, planned.priority, index),
            begin=lambda reports, standby: begin(self.settings, reports, standby),
            stands_by=planned.linked,
            persistent=planned.linked,
            external=external,
            patience=PATIENCE,
            source_timeout=planned.source_timeout,
        )

    def _backup_plan(self, backup: PlannedBackup) -> InputPlan:
        return InputPlan(
            url=backup.url,
            rank=(9, 0, 0),
            begin=lambda reports, standby: backup.begin(self.settings, reports, standby),
            backup=True,
        )

    def _give_up(self) -> None:
        """It cannot be fed: not tried any more until somebody asks for it again."""
        if self._demand is not None:
            self._demand.close()

    def _halt(self) -> None:
        self._switch.stop()

    def _not_yet(self, refusal: Refused) -> None:
        if self._said != refusal.text:
            self._said = refusal.text
            _log.error("configured stream {name} does not start: {why}", name=self.name, why=refusal)
        if not self._stopped and self.spawn is not None:
            self._retry = self.clock.callLater(CLAIM_EVERY, self._start_again)

    def _start_again(self) -> None:
        assert self.spawn is not None
        self.spawn(self.start())

    def _pass_away(self) -> None:
        self._retry = None
        self.registry.remove(self.name, "its publisher did not come back in time")
        self.passed()

    def _cancel_retry(self) -> None:
        if self._retry is not None and self._retry.active():
            self._retry.cancel()
        self._retry = None

    def _busy(self) -> bool:
        entry = self.registry.find(self.name)
        return entry is not None and entry.stream.taps > 0


def _external(settings: StreamSettings, reports: InputReports, standby: bool) -> RunningInput:
    """Never called: a publisher begins by itself."""
    raise AssertionError("a publisher is not started from here")
