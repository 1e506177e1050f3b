"""Leaky buckets: how much came lately, at a rate that drains (pure: the caller brings the time)."""

from __future__ import annotations


class LeakyBucket:
    """What was poured in and has not drained yet.

    @ivar level: that amount, in units of the caller, at the time of the last L{pour}.
    """

    __slots__ = ("_at", "level")

    def __init__(self) -> None:
        self.level = 0.0
        self._at = 0.0

    def pour(self, amount: float, rate: float, now: float) -> float:
        """Add C{amount} to what is left after draining at C{rate} a second; gives the new level."""
        self.level = level = max(0.0, self.level - (now - self._at) * rate) + amount
        self._at = now
        return level


class AddressBuckets:
    """A bucket for each address, for a bounded number of them."""

    def __init__(self, burst: int, seconds: float, addresses: int = 10_000) -> None:
        """Let an address have C{burst} at once and the same again every C{seconds}."""
        self._burst = burst
        self._rate = burst / seconds
        self._addresses = addresses
        self._buckets: dict[str, LeakyBucket] = {}

    def admit(self, address: str, now: float) -> bool:
        """Count one for C{address}, unless that would be more than it may have."""
        bucket = self._buckets.pop(address, None)
        if bucket is None:
            bucket = LeakyBucket()
            if len(self._buckets) >= self._addresses:
                del self._buckets[next(iter(self._buckets))]
        self._buckets[address] = bucket
        if bucket.pour(0, self._rate, now) + 1 > self._burst:
            return False
        bucket.level += 1
        return True
