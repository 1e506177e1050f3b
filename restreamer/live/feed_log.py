"""The shared log of a feed: immutable entries of muxed bytes, and where viewers may begin.

Every entry boundary is a legal place to stop; joins and skips happen only at key points, which stand
at the beginning of an entry. Entries are plain C{bytes}: one that was trimmed lives until the last
viewer that still sends it lets go. Places are told in bytes since the feed began, so that where a viewer is
says what it has been sent, too.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import deque

from attrs import define, field, frozen


@frozen
class KeyPoint:
    """An entry that begins with a random access point.

    @ivar entry: where it begins; @ivar join: private bytes for a viewer that starts here.
    @ivar skip: private bytes for a viewer that jumps here from an older place.
    @ivar at: its decoding time in ticks.
    """

    entry: int
    join: bytes
    skip: bytes
    at: int = 0


@define(eq=False)
class FeedLog:
    """The bytes from C{base} to C{end}, in entries.

    @ivar max_bytes, @ivar max_seconds: what is kept beyond the newest key point.
    """

    max_bytes: int
    max_seconds: float
    base: int = 0
    end: int = 0
    entries: deque[bytes] = field(factory=deque)
    keys: deque[KeyPoint] = field(factory=deque)
    _begins: deque[int] = field(factory=deque)
    _times: deque[float] = field(factory=deque)

    @property
    def size(self) -> int:
        """Bytes held."""
        return self.end - self.base

    def mark(self, join: bytes, skip: bytes, at: int = 0) -> None:
        """The next entry begins with a random access point (with this one, if several come before it)."""
        if self.keys and self.keys[-1].entry == self.end:
            self.keys.pop()
        self.keys.append(KeyPoint(self.end, join, skip, at))

    def append(self, entry: bytes, now: float) -> None:
        """Add an entry (not an empty one) made at C{now} seconds; drop what is too old by the bounds."""
        self.entries.append(entry)
        self._begins.append(self.end)
        self._times.append(now)
        self.end += len(entry)
        newest_key = self.keys[-1].entry if self.keys else self.end
        while self.base < newest_key and (
            self.size > self.max_bytes or now - self._times[0] > self.max_seconds
        ):
            self._drop()
        # A keyframe that never comes must not keep everything: twice the bound is the end of it.
        while self.size > 2 * self.max_bytes and len(self.entries) > 1:
            self._drop()

    def entry(self, begin: int) -> bytes:
        """The entry that begins at C{begin}; it must be held."""
        return self.entries[bisect_left(self._begins, begin)]

    def newest_key(self) -> KeyPoint | None:
        """The newest key point whose entry is held already."""
        for key in reversed(self.keys):
            if key.entry < self.end:
                return key
        return None

    def key_before(self, at: int) -> KeyPoint | None:
        """The newest key point held that is not later than C{at} ticks; the oldest when all are later."""
        found = None
        for key in reversed(self.keys):
            if key.entry < self.end:
                found = key
                if key.at <= at:
                    break
        return found

    def age(self, begin: int, now: float) -> float:
        """Seconds since the entry that begins at C{begin} was made; 0.0 for one not made yet."""
        if begin >= self.end:
            return 0.0
        return now - self._times[bisect_left(self._begins, begin)]

    def _drop(self) -> None:
        self.base += len(self.entries.popleft())
        self._begins.popleft()
        self._times.popleft()
        while self.keys and self.keys[0].entry < self.base:
            self.keys.popleft()
