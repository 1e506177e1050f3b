"""Rates of counters that only rise."""

from __future__ import annotations

from collections import deque


class Meter:
    """The rate of a counter over the last seconds; made of samples that somebody takes now and then.

    A counter that fell (what it was added up from has partly gone) counts on from where it is.

    @ivar total: what the counter rose altogether while it was watched.
    @param seconds: over which the rate is taken, if there are samples.
    """

    def __init__(self, seconds: float = 10.0) -> None:
        self.total = 0
        self._seconds = seconds
        self._last = 0
        self._samples: deque[tuple[float, int]] = deque()

    def sample(self, now: float, count: int) -> None:
        """The counter stands at C{count} at C{now} seconds."""
        self.total += max(0, count - self._last)
        self._last = count
        samples = self._samples
        samples.append((now, self.total))
        while len(samples) > 2 and now - samples[1][0] >= self._seconds:
            samples.popleft()

    @property
    def rate(self) -> float | None:
        """Units a second between the oldest and the newest sample held; None before there are two."""
        if len(self._samples) < 2:
            return None
        (began, first), (ended, last) = self._samples[0], self._samples[-1]
        return (last - first) / (ended - began) if ended > began else None
