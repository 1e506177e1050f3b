"""How many tracks go over UDP now, and to whom: each has two sockets (pure)."""

from __future__ import annotations

from collections import Counter

from restreamer.addresses import is_loopback


class UdpShare:
    """Counts tracks, all and by address.

    @ivar tracks: all that are open.
    """

    def __init__(self, limit: int, per_address: int) -> None:
        """Grant C{limit} tracks in all, C{per_address} of one address; this machine's own have no share."""
        self._limit = limit
        self._per_address = per_address
        self._by_address: Counter[str] = Counter()
        self.tracks = 0

    @property
    def addresses(self) -> int:
        """Addresses that have tracks."""
        return len(self._by_address)

    def room(self, address: str) -> bool:
        """Whether C{address} may have one more."""
        if self.tracks >= self._limit:
            return False
        return self._by_address.get(address, 0) < self._per_address or is_loopback(address)

    def opened(self, address: str) -> None:
        """One more is open."""
        self.tracks += 1
        self._by_address[address] += 1

    def closed(self, address: str) -> None:
        """One is closed."""
        self.tracks -= 1
        self._by_address[address] -= 1
        if not self._by_address[address]:
            del self._by_address[address]
