"""UTC for media: steady like a monotonic clock, true like the system's.

Wall clocks step (NTP after boot, an operator, a leap smear). Frames are stamped from a monotonic clock
that was set to UTC once and is slewed towards the wall clock by at most 1 %, so the timeline of a running
stream never jumps or falls back.
"""

from __future__ import annotations

from collections.abc import Callable

from restreamer.media.timebase import TICKS_PER_SECOND

#: Largest rate at which the difference to the wall clock is worked off.
SLEW = 0.01


class UtcClock:
    """Gives UTC in ticks.

    @param monotonic: seconds that never step (a reactor's C{seconds}).
    @param wall: the system's Unix time in seconds.
    """

    def __init__(self, monotonic: Callable[[], float], wall: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._wall = wall
        self._last = monotonic()
        self._utc = wall()

    def seconds(self) -> float:
        """UTC seconds now."""
        now = self._monotonic()
        elapsed = max(0.0, now - self._last)
        self._last = now
        self._utc += elapsed
        error = self._wall() - self._utc
        allowed = elapsed * SLEW
        self._utc += max(-allowed, min(allowed, error))
        return self._utc

    def ticks(self) -> int:
        """UTC ticks now."""
        return int(self.seconds() * TICKS_PER_SECOND)

    def error(self) -> float:
        """Seconds by which the system's clock is ahead of this one (large after a step)."""
        return self._wall() - self.seconds()
