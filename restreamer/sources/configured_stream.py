"""A stream of the configuration: owns its name and keeps its input running, for ever or on demand."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, Protocol

from attrs import define, field, frozen

from restreamer.errors import Refused
from restreamer.live.demand import OnDemand
from restreamer.live.registry import Claim, StreamRegistry, StreamSettings
from restreamer.live.silence import SilenceWatch
from restreamer.logs import Logger
from restreamer.seams import Clock, Timer

_log = Logger()

#: First and longest pause before an input that failed is started again, seconds.
FIRST_PAUSE = 1.0
LONGEST_PAUSE = 30.0
#: Pause before a name that somebody else has is asked for again, seconds.
CLAIM_EVERY = 2.0
#: An input that ran so long counts as having worked: its next pause is the first again.
STEADY_SECONDS = 60.0


class RunningInput(Protocol):
    """An input that was started."""

    def stop(self) -> Any:
        """End it; gives None or a Deferred that fires when it is closed."""
        ...


#: Starts an input for a stream; it calls the given function once when it fails.
InputStarter = Callable[[StreamSettings, Callable[[str], None]], RunningInput]


@frozen
class PlannedInput:
    """One input of a stream.

    @ivar begin: starts it. @ivar source_timeout: seconds without a frame after which it is lost; None: never.
    """

    begin: InputStarter
    source_timeout: float | None


@define(eq=False)
class ConfiguredStream:
    """One stream of the configuration with an input of its own (a file, another node).

    Its inputs are tried in their order: one that fails, or gives no frame for its C{source_timeout}, is
    followed by the next, the last by the first.

    @ivar static: run for ever; otherwise from the first viewer to C{linger} seconds after the last.
    @ivar inputs: at least one. @ivar jitter: random.uniform.
    @ivar spawn: runs a coroutine; None: a name that cannot be had is not asked for again.
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
    failures: int = field(default=0, init=False)
    _claim: Claim | None = field(default=None, init=False)
    _input: RunningInput | None = field(default=None, init=False)
    _began: float = field(default=0.0, init=False)
    _pause: float = field(default=FIRST_PAUSE, init=False)
    _retry: Timer | None = field(default=None, init=False)
    _demand: OnDemand | None = field(default=None, init=False)
    _turn: int = field(default=0, init=False)
    _watch: SilenceWatch | None = field(default=None, init=False)
    _stopped: bool = field(default=False, init=False)
    _said: str = field(default="", init=False)

    async def start(self) -> None:
        """Take the name, as soon as it can be had, and start the input, now or when somebody wants it."""
        self._retry = None
        try:
            claim = await self.registry.claim(self.name, "config")
        except Refused as refusal:
            if self._said != refusal.text:
                self._said = refusal.text
                _log.error("configured stream {name} does not start: {why}", name=self.name, why=refusal)
            if not self._stopped and self.spawn is not None:
                self._retry = self.clock.callLater(CLAIM_EVERY, self._start_again)
            return
        if self._stopped:
            self.registry.release(claim)
            return
        self._claim = claim
        if self.static:
            self._run()
            return
        self._demand = OnDemand(
            clock=self.clock,
            start=self._run,
            stop=self._halt,
            busy=self._busy,
            linger=self.linger,
            title=self.settings.title,
        )
        self.registry.offer(self.name, self._demand)

    def stop(self) -> Any:
        """Stop the input and give the name back, for good; gives None or a Deferred."""
        self._stopped = True
        if self._demand is not None:
            self.registry.withdraw(self.name, self._demand)
            self._demand.close()
            self._demand = None
        closing = self._halt()
        if self._claim is not None:
            self.registry.release(self._claim)
            self._claim = None
        return closing

    def retitle(self, settings: StreamSettings) -> None:
        """Take settings that change nothing of the media."""
        self.settings = settings
        if self.registry.find(self.name) is not None:
            self.registry.obtain(self.name, settings)

    def _start_again(self) -> None:
        assert self.spawn is not None
        self.spawn(self.start())

    def _run(self) -> None:
        self._retry = None
        self._began = self.clock.seconds()
        planned = self.inputs[self._turn % len(self.inputs)]
        self._watch = SilenceWatch(self.clock, self._frames, planned.source_timeout, self._silent)
        self._watch.start()
        try:
            self._input = planned.begin(self.settings, self._failed)
        except Refused as refusal:
            self._failed(refusal.text)
        except Exception as error:
            _log.failure("an input of stream {name} could not be started", name=self.name)
            self._failed(repr(error))

    def _halt(self) -> Any:
        if self._retry is not None and self._retry.active():
            self._retry.cancel()
        self._retry = None
        if self._watch is not None:
            self._watch.stop()
            self._watch = None
        running, self._input = self._input, None
        return running.stop() if running is not None else None

    def _frames(self) -> int:
        entry = self.registry.find(self.name)
        return entry.stream.traffic.frames_in if entry is not None else 0

    def _silent(self) -> None:
        planned = self.inputs[self._turn % len(self.inputs)]
        self._halt()
        self._failed(f"no frame for {planned.source_timeout:g} s")

    def _failed(self, reason: str) -> None:
        if self._stopped:
            return
        self.failures += 1
        self._turn += 1
        self._halt()
        if self.clock.seconds() - self._began > STEADY_SECONDS:
            self._pause = FIRST_PAUSE
        pause = self.jitter(self._pause / 2, self._pause)
        self._pause = min(LONGEST_PAUSE, self._pause * 2)
        _log.error(
            "input of stream {name} failed: {reason}; next try in {pause:.1f} s",
            name=self.name,
            reason=reason,
            pause=pause,
        )
        self._retry = self.clock.callLater(pause, self._run)

    def _busy(self) -> bool:
        entry = self.registry.find(self.name)
        return entry is not None and entry.stream.taps > 0
