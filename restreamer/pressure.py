"""How hard the process is pressed: a reactor that runs late, memory that runs out."""

from __future__ import annotations

import os
from collections.abc import Callable

from restreamer.logs import Logger
from restreamer.seams import Clock, Timer

_log = Logger()

#: How often it is looked at, seconds.
LOOK_EVERY = 1.0
#: A timer that comes this much late is worth a line in the log, at most one per L{QUIET_SECONDS}.
LATE_SECONDS = 0.2
QUIET_SECONDS = 10.0
#: Share of the machine's memory above which the process takes no new viewers.
CROWDED_SHARE = 0.7
#: Share above which viewers that are behind are dropped.
FULL_SHARE = 0.85


def resident_bytes() -> int:
    """Resident memory of this process; 0 where the system does not tell."""
    try:
        with open("/proc/self/statm", "rb") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        return 0


def machine_bytes() -> int:
    """Memory of this machine."""
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


class Pressure:
    """Looks once a second.

    @ivar late: seconds by which the last look came late. @ivar worst: the most so far.
    @ivar crowded: the process holds so much memory that it should take no new viewers.
    """

    def __init__(
        self,
        clock: Clock,
        resident: Callable[[], int] = resident_bytes,
        limit: int | None = None,
        shed: Callable[[], int] = lambda: 0,
    ) -> None:
        """@param limit: bytes this process may grow to; the machine's memory when None.

        @param shed: drops viewers that are behind, tells how many; asked while memory is full.
        """
        self._shed = shed
        self.late = 0.0
        self.worst = 0.0
        self.crowded = False
        self._clock = clock
        self._resident = resident
        self._limit = machine_bytes() if limit is None else limit
        self._due = 0.0
        self._said = float("-inf")
        self._timer: Timer | None = None

    def start(self) -> None:
        """Begin to look."""
        self._schedule()

    def stop(self) -> None:
        """Look no more."""
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self._timer = None

    def _schedule(self) -> None:
        self._due = self._clock.seconds() + LOOK_EVERY
        self._timer = self._clock.callLater(LOOK_EVERY, self._look)

    def _look(self) -> None:
        now = self._clock.seconds()
        self.late = max(0.0, now - self._due)
        self.worst = max(self.worst, self.late)
        self._schedule()
        if self.late > LATE_SECONDS and now - self._said > QUIET_SECONDS:
            self._said = now
            _log.warn("held up: a timer came {late:.0f} ms late", late=self.late * 1000)
        resident = self._resident()
        if self._limit > 0 and resident > FULL_SHARE * self._limit:
            dropped = self._shed()
            if dropped:
                _log.error("memory is full: {dropped} viewers that were behind are dropped", dropped=dropped)
        crowded = self._limit > 0 and resident > CROWDED_SHARE * self._limit
        if crowded != self.crowded:
            self.crowded = crowded
            if crowded:
                _log.error("{mib} MiB of memory in use: no new viewers are taken", mib=resident >> 20)
            else:
                _log.warn("memory is free again: viewers are taken")
