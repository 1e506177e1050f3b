"""What was made with effort, kept within bounds, and made once however many want it."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, TypeVar

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from restreamer.errors import Reason, Refused

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")

#: Things being made at once, and requests that wait for them.
MAX_FLIGHTS = 256
MAX_WAITING = 10_000


class Kept(Generic[K, V]):
    """Values by key, the least recently used go first when there are too many or they are too large.

    The newest value stays, however large it is alone.
    @ivar bytes: what the values cost together.
    """

    def __init__(self, max_bytes: int, max_entries: int, cost: Callable[[V], int]) -> None:
        self.bytes = 0
        self._max_bytes = max_bytes
        self._max_entries = max_entries
        self._cost = cost
        self._values: OrderedDict[K, V] = OrderedDict()

    def __len__(self) -> int:
        return len(self._values)

    def get(self, key: K) -> V | None:
        """The value of C{key}, which is used now; None without one."""
        value = self._values.get(key)
        if value is not None:
            self._values.move_to_end(key)
        return value

    def put(self, key: K, value: V) -> None:
        """Keep C{value}."""
        self.drop(key)
        self._values[key] = value
        self.bytes += self._cost(value)
        while len(self._values) > 1 and (
            self.bytes > self._max_bytes or len(self._values) > self._max_entries
        ):
            _, gone = self._values.popitem(last=False)
            self.bytes -= self._cost(gone)

    def drop(self, key: K) -> None:
        """Keep the value of C{key} no longer."""
        value = self._values.pop(key, None)
        if value is not None:
            self.bytes -= self._cost(value)

    def clear(self) -> None:
        """Keep nothing."""
        self._values.clear()
        self.bytes = 0


class SingleFlight(Generic[K, V]):
    """Runs one making of each key at a time; everybody who wants it meanwhile gets its outcome.

    Whoever goes away does not stop it.
    """

    def __init__(
        self,
        max_flights: int = MAX_FLIGHTS,
        max_waiting: int = MAX_WAITING,
        group: Callable[[K], Hashable] | None = None,
        max_of_group: int = MAX_FLIGHTS,
    ) -> None:
        """@param group: what has a share of its own, so that one that hangs leaves room for the others.
        @param max_of_group: makings of one group at a time.
        """
        self._max_flights = max_flights
        self._max_waiting = max_waiting
        self._group = group
        self._max_of_group = max_of_group
        self._of_group: dict[Hashable, int] = {}
        self._waiting = 0
        self._flights: dict[K, dict[Deferred[V], None]] = {}

    def __len__(self) -> int:
        return len(self._flights)

    async def run(self, key: K, make: Callable[[], Awaitable[V]]) -> V:
        """The outcome of C{make()}, or of the one for C{key} that runs already.

        @raise Refused: OVERLOADED when too much is being made or waited for; whatever C{make} raises.
        """
        if self._waiting >= self._max_waiting:
            raise Refused(Reason.OVERLOADED, "too many requests wait for files")
        waiters = self._flights.get(key)
        begin = waiters is None
        if waiters is None:
            if len(self._flights) >= self._max_flights or not self._has_share(key):
                raise Refused(Reason.OVERLOADED, "too many files are being read")
            waiters = self._flights[key] = {}
        waiter: Deferred[V] = Deferred()
        waiters[waiter] = None
        self._waiting += 1
        try:
            if begin:
                making: Deferred[V] = Deferred.fromCoroutine(_awaited(make))
                _ = making.addBoth(self._landed, key)
            return await waiter
        finally:
            self._waiting -= 1
            waiters.pop(waiter, None)

    def _has_share(self, key: K) -> bool:
        """Whether the group of C{key} may have one more, which is counted then."""
        if self._group is None:
            return True
        group = self._group(key)
        count = self._of_group.get(group, 0)
        if count >= self._max_of_group:
            return False
        self._of_group[group] = count + 1
        return True

    def _landed(self, outcome: V | Failure, key: K) -> None:
        if self._group is not None:
            group = self._group(key)
            left = self._of_group[group] - 1
            if left:
                self._of_group[group] = left
            else:
                del self._of_group[group]
        for waiter in list(self._flights.pop(key)):
            if waiter.called:
                continue
            if isinstance(outcome, Failure):
                waiter.errback(outcome)
            else:
                waiter.callback(outcome)


async def _awaited(make: Callable[[], Awaitable[V]]) -> V:
    return await make()
