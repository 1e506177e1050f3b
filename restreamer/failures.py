"""How often each address failed lately, and what was said lately (pure: the caller brings the time)."""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable


class FailureWindow:
    """Counts failures per address in a sliding window, for a bounded number of addresses."""

    def __init__(self, limit: int, seconds: float, addresses: int = 10_000) -> None:
        """Block an address that failed C{limit} times within C{seconds}; remember C{addresses} at most."""
        self._limit = limit
        self._seconds = seconds
        self._addresses = addresses
        self._times: dict[str, deque[float]] = {}

    def failed(self, address: str, now: float) -> None:
        """Note a failure."""
        times = self._times.pop(address, None)
        if times is None:
            times = deque(maxlen=self._limit)
            if len(self._times) >= self._addresses:
                del self._times[next(iter(self._times))]
        times.append(now)
        self._times[address] = times

    def blocked(self, address: str, now: float) -> bool:
        """Whether C{address} has to wait; forgets it when its last failure is too old."""
        times = self._times.get(address)
        if times is None:
            return False
        if now - times[-1] >= self._seconds:
            del self._times[address]
            return False
        return len(times) == self._limit and now - times[0] < self._seconds


class SaidLately:
    """Keeps what is tried again and again from being logged each time."""

    def __init__(self, seconds: float, lines: int = 1000) -> None:
        """A line is news again after C{seconds}; C{lines} are remembered at most."""
        self._seconds = seconds
        self._lines = lines
        self._said: dict[Hashable, float] = {}

    def news(self, line: Hashable, now: float) -> bool:
        """Whether C{line} was not said lately; it counts as said from here on."""
        before = self._said.get(line)
        if before is not None and now - before < self._seconds:
            return False
        self._said.pop(line, None)
        if len(self._said) >= self._lines:
            del self._said[next(iter(self._said))]
        self._said[line] = now
        return True

    def forget(self, line: Hashable) -> None:
        """C{line} is news when it is said next."""
        self._said.pop(line, None)

    def clear(self) -> None:
        """Everything is news again."""
        self._said.clear()
