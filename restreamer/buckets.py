"""Leaky buckets: how much came lately, at a rate that drains (pure: the caller brings the time)."""

from __future__ import annotations

from typing import Final

from restreamer.addresses import is_loopback, subscriber

#: Bytes per second that are read of one publisher (200 Mbit/s), beyond a burst: time stamps that stand still
#: would let it send at the speed of the link.
PUBLISHER_RATE: Final = 25_000_000
PUBLISHER_BURST: Final = 32 * 1024 * 1024
#: Who sends too fast is read in turns of this length, in seconds.
_TURN: Final = 0.1
#: Addresses that are remembered.
_ADDRESSES: Final = 10_000


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


class Pace:
    """Holds one sender to a rate, of bytes and of the pieces they come in: tiny ones cost as much work."""

    __slots__ = ("_bucket", "_burst", "_piece", "_rate")

    def __init__(self, piece: int, rate: int = PUBLISHER_RATE, burst: int = PUBLISHER_BURST) -> None:
        """Let it send C{rate} bytes per second beyond C{burst}; a piece counts C{piece} bytes more."""
        self._piece = piece
        self._rate = rate
        self._burst = burst
        self._bucket = LeakyBucket()

    def take(self, size: int, pieces: int, now: float) -> float:
        """Count C{size} bytes in C{pieces}; gives the seconds for which no more should be read, often 0."""
        excess = self._bucket.pour(size + pieces * self._piece, self._rate, now) - self._burst
        return excess / self._rate + _TURN if excess > 0 else 0.0

    def full(self, now: float) -> bool:
        """Whether it has sent too much already, for what cannot be left unread."""
        return self._bucket.pour(0, self._rate, now) > self._burst


class AddressBuckets:
    """A bucket for each address (of IPv6: each network of one client), for a bounded number of them."""

    def __init__(self, burst: int, seconds: float, addresses: int = _ADDRESSES) -> None:
        """Let an address have C{burst} at once and the same again every C{seconds}."""
        self._burst = burst
        self._rate = burst / seconds
        self._addresses = addresses
        self._buckets: dict[str, LeakyBucket] = {}

    def admit(self, address: str, now: float) -> bool:
        """Count one for C{address}, unless that would be more than it may have."""
        address = subscriber(address)
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


#: Lines of one address at once, and seconds in which one more is due.
_LINES: Final = 6
_LINE_SECONDS: Final = 10.0


class AddressLines:
    """Keeps what anybody can cause from filling the log: some lines of an address, then one in 10 s.

    Those of this machine itself, as of a proxy, are all said.
    """

    def __init__(self) -> None:
        self._buckets = AddressBuckets(_LINES, _LINES * _LINE_SECONDS)
        self._held: dict[str, int] = {}

    def ending(self, address: str, now: float) -> str | None:
        """How a line about C{address} has to end, with the number of those left out; None: leave it out."""
        if is_loopback(address):
            return ""
        held = self._held.pop(address, 0)
        if self._buckets.admit(address, now):
            return f" ({held} lines about it left out)" if held else ""
        if len(self._held) >= _ADDRESSES:
            del self._held[next(iter(self._held))]
        self._held[address] = held + 1
        return None
