"""How often each address failed lately (pure: the caller brings the time)."""

from __future__ import annotations

from collections import deque


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
