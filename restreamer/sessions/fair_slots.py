"""A number of places that are handed round: whoever asks for many waits for himself, not others for him."""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable
from typing import Final

from attrs import define, field
from twisted.internet.defer import Deferred, succeed

#: Who waits of one group, at most.
MAX_OF_GROUP: Final = 1_000


@define(eq=False)
class _Queue:
    """Those who wait, by group, in the order in which it is their turn."""

    groups: dict[Hashable, deque[Deferred[None]]] = field(factory=dict)

    def add(self, group: Hashable, waiter: Deferred[None]) -> None:
        self.groups.setdefault(group, deque()).append(waiter)

    def remove(self, group: Hashable, waiter: Deferred[None]) -> bool:
        waiting = self.groups.get(group)
        if waiting is None or waiter not in waiting:
            return False
        waiting.remove(waiter)
        if not waiting:
            del self.groups[group]
        return True

    def take(self) -> Deferred[None] | None:
        """The next one, whose group goes to the end; None: nobody waits."""
        for group, waiting in self.groups.items():
            waiter = waiting.popleft()
            del self.groups[group]
            if waiting:
                self.groups[group] = waiting
            return waiter
        return None


class FairSlots:
    """See the module.

    @param places: at once. @ivar waiting: who waits for one.
    """

    def __init__(self, places: int) -> None:
        self.waiting = 0
        self._free = places
        self._first = _Queue()
        self._others = _Queue()

    def has_room(self, group: Hashable) -> bool:
        """Whether one more of C{group} may wait."""
        held = self._others.groups.get(group)
        return held is None or len(held) < MAX_OF_GROUP

    def acquire(self, group: Hashable, first: bool = False) -> Deferred[None]:
        """Wait for a place. @param group: who asks. @param first: goes before all who are not."""
        if self._free:
            self._free -= 1
            return succeed(None)
        queue = self._first if first else self._others

        def cancel(waiter: Deferred[None]) -> None:
            self.waiting -= queue.remove(group, waiter)

        waiter: Deferred[None] = Deferred(cancel)
        queue.add(group, waiter)
        self.waiting += 1
        return waiter

    def release(self) -> None:
        """Give a place back."""
        waiter = self._first.take() or self._others.take()
        if waiter is None:
            self._free += 1
            return
        self.waiting -= 1
        waiter.callback(None)
