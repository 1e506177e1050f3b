"""What happened in a simulation: a digest of everything, the tail of the log, the first violation."""

from __future__ import annotations

import hashlib
import struct
from collections import deque
from collections.abc import Callable

from attrs import define, field, frozen

_SEEN = struct.Struct(">dIQ").pack
TAIL = 60


@frozen
class Violation:
    """An invariant that did not hold.

    @ivar invariant: its short name. @ivar text: what was seen. @ivar at: simulated seconds.
    """

    invariant: str
    text: str
    at: float


@define(eq=False)
class Journal:
    """Keeps what a failing seed has to tell.

    @ivar now: gives simulated seconds. @ivar say: prints each line as it comes; None: nobody listens.
    @ivar violation: the first one. @ivar events: how many were noted.
    """

    now: Callable[[], float]
    say: Callable[[str], None] | None = None
    violation: Violation | None = None
    events: int = 0
    _hash: hashlib.blake2b = field(factory=lambda: hashlib.blake2b(digest_size=16))
    _tail: deque[str] = field(factory=lambda: deque(maxlen=TAIL))

    def note(self, text: str) -> None:
        """Something worth a line happened."""
        line = f"{self.now():9.3f}  {text}"
        self.events += 1
        self._hash.update(line.encode())
        self._tail.append(line)
        if self.say is not None:
            self.say(line)

    def saw(self, node: int, code: int) -> None:
        """A node shows a frame: only the digest learns of it."""
        self.events += 1
        self._hash.update(_SEEN(self.now(), node, code))

    def violated(self, invariant: str, text: str) -> None:
        """An invariant does not hold; only the first counts."""
        if self.violation is None:
            self.note(f"VIOLATED {invariant}: {text}")
            self.violation = Violation(invariant, text, self.now())

    @property
    def digest(self) -> str:
        """Of everything so far."""
        return self._hash.hexdigest()

    @property
    def tail(self) -> tuple[str, ...]:
        """The newest lines."""
        return tuple(self._tail)
