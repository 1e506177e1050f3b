"""On-demand life: start an input at the first request, stop it a while after the last viewer."""

from __future__ import annotations

from collections.abc import Callable

from attrs import define, field

from restreamer.seams import Clock, Timer

#: How often a running on-demand input is checked for viewers, seconds.
CHECK_EVERY = 1.0


@define(eq=False)
class OnDemand:
    """A L{restreamer.live.registry.Supply}: starts and stops one input.

    @ivar start, @ivar stop: of the input; @ivar busy: whether anybody takes the stream now.
    @ivar linger: seconds the input is kept after the last viewer or request; a new one cancels the end.
        0: once started it is kept for ever.
    @ivar title, @ivar path: what the catalogue says of the stream.
    @ivar protocols: by which it may be played; None: by all.
    """

    clock: Clock
    start: Callable[[], None]
    stop: Callable[[], None]
    busy: Callable[[], bool]
    linger: float
    title: str = ""
    path: tuple[bytes, ...] = ()
    protocols: frozenset[str] | None = None
    started: bool = field(default=False, init=False)
    _wanted_at: float = field(default=0.0, init=False)
    _timer: Timer | None = field(default=None, init=False)

    def want(self) -> None:
        """Somebody asks for the stream."""
        self._wanted_at = self.clock.seconds()
        if not self.started:
            self.started = True
            self._timer = self.clock.callLater(CHECK_EVERY, self._check)
            self.start()

    def close(self) -> None:
        """Stop the input and all checks."""
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self._timer = None
        if self.started:
            self.started = False
            self.stop()

    def abandon(self) -> None:
        """Stop all checks and leave the input to somebody else, running or not."""
        self.started = False
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self._timer = None

    def _check(self) -> None:
        self._timer = self.clock.callLater(CHECK_EVERY, self._check)
        now = self.clock.seconds()
        if self.busy():
            self._wanted_at = now
        if self.linger > 0 and now - self._wanted_at >= self.linger:
            self.close()
