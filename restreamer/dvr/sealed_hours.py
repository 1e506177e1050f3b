"""The hours of a stream that are over: what they hold, and what of that its summary does not say (pure)."""

from __future__ import annotations

from collections.abc import Iterable

from restreamer.dvr.summary import HourFacts

#: So many hours may be other than the summary says before it is written anew: it only saves time at a start,
#: where each of them costs reading an index.
SUMMARY_HOURS = 6


class SealedHours:
    """See the module. Whoever uses it from several threads locks it.

    @param facts: of the hours. @param summarised: the hours that the summary names.
    @param stale: those of which it does not tell the truth.
    @ivar size: bytes of all their data files.
    """

    def __init__(
        self,
        facts: Iterable[HourFacts] = (),
        summarised: Iterable[int] = (),
        stale: Iterable[int] = (),
    ) -> None:
        self.size = 0
        self.summarised = set(summarised)
        self._facts: dict[int, HourFacts] = {}
        self._hours: tuple[int, ...] | None = None
        self._stale: set[int] = set()
        for each in facts:
            self.put(each)
        self._stale = set(stale)

    def __len__(self) -> int:
        return len(self._facts)

    def __contains__(self, hour: int) -> bool:
        return hour in self._facts

    def get(self, hour: int) -> HourFacts | None:
        """What an hour holds; None: it is not over, or holds nothing."""
        return self._facts.get(hour)

    @property
    def hours(self) -> tuple[int, ...]:
        """Their numbers, rising."""
        if self._hours is None:
            self._hours = tuple(sorted(self._facts))
        return self._hours

    def all(self) -> list[HourFacts]:
        """All facts, oldest first."""
        return [self._facts[hour] for hour in self.hours]

    def put(self, facts: HourFacts) -> None:
        """An hour holds this now."""
        before = self._facts.get(facts.hour)
        if before is None:
            self._hours = None
        else:
            self.size -= before.disk_size
        self._facts[facts.hour] = facts
        self.size += facts.disk_size
        self._stale.add(facts.hour)

    def drop(self, hour: int) -> None:
        """An hour is written again, or holds nothing any more."""
        before = self._facts.pop(hour, None)
        if before is not None:
            self._hours = None
            self.size -= before.disk_size
        if hour in self.summarised:
            self._stale.add(hour)
        else:
            self._stale.discard(hour)

    @property
    def stale(self) -> bool:
        """Whether the summary does not tell the truth."""
        return bool(self._stale)

    @property
    def very_stale(self) -> bool:
        """Whether it is time to write it anew."""
        return len(self._stale) >= SUMMARY_HOURS

    def summary_written(self, hours: Iterable[int]) -> None:
        """The summary names C{hours} now, and tells the truth of them."""
        self.summarised = set(hours)
        self._stale = self._facts.keys() ^ self.summarised
