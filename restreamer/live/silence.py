"""Notices that an input has gone silent: connected, and yet no frame for C{source_timeout}."""

from __future__ import annotations

from collections.abc import Callable

from attrs import define, field

from restreamer.seams import Clock, Timer

#: How often progress is looked at, seconds.
LOOK_EVERY = 1.0


@define(eq=False)
class SilenceWatch:
    """Watches one input.

    @ivar progress: a number that rises with every frame taken.
    @ivar timeout: seconds without progress after which the input is lost; None: never.
    @ivar lost: told, once per silence; the watch goes on.
    """

    clock: Clock
    progress: Callable[[], int]
    timeout: float | None
    lost: Callable[[], None]
    _seen: int = field(default=-1, init=False)
    _since: float = field(default=0.0, init=False)
    _timer: Timer | None = field(default=None, init=False)

    def start(self) -> None:
        """Begin to watch: the time without a frame counts from here."""
        self.stop()
        if self.timeout is not None:
            self._seen = self.progress()
            self._since = self.clock.seconds()
            self._timer = self.clock.callLater(LOOK_EVERY, self._look)

    def stop(self) -> None:
        """Watch no more. Idempotent."""
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self._timer = None

    def silent_for(self) -> float:
        """Seconds since a frame was last seen to come (to the second)."""
        return self.clock.seconds() - self._since if self._timer is not None else 0.0

    def _look(self) -> None:
        # The next look first: whatever C{lost} does, or raises, the watch goes on unless it is stopped.
        self._timer = self.clock.callLater(LOOK_EVERY, self._look)
        now = self.clock.seconds()
        seen = self.progress()
        if seen != self._seen:
            self._seen = seen
            self._since = now
        elif self.timeout is not None and now - self._since >= self.timeout:
            self._since = now
            self.lost()
