"""How hard the process is pressed: a reactor that runs late, memory that runs out."""

from __future__ import annotations

import os
import resource
from collections.abc import Callable

from restreamer.logs import Logger
from restreamer.seams import Clock, Timer

_log = Logger()

#: How often it is looked at, seconds.
LOOK_EVERY = 1.0
#: A timer that comes this much late is worth a line in the log, at most one per L{QUIET_SECONDS}.
LATE_SECONDS = 0.2
QUIET_SECONDS = 10.0
#: A reactor that is so late, so many looks in a row, has more to do than it can: no new viewers are taken
#: until it has been in time as often.
OVERLOAD_SECONDS = 1.0
OVERLOAD_LOOKS = 3
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


def address_space() -> tuple[int, int]:
    """Addresses this process uses and may use (C{ulimit -v}), bytes; the second is 0 where there is no limit.

    Python raises MemoryError at that limit, whatever is resident.
    """
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    if limit == resource.RLIM_INFINITY:
        return 0, 0
    try:
        with open("/proc/self/statm", "rb") as file:
            return int(file.read().split()[0]) * os.sysconf("SC_PAGE_SIZE"), limit
    except (OSError, ValueError, IndexError):
        return 0, 0


def machine_bytes() -> int:
    """Memory of this machine."""
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def allowed_bytes(groups: str = "/proc/self/cgroup", mounted: str = "/sys/fs/cgroup") -> int:
    """Memory this process may have: the machine's, or less where a control group (version 2) above it says so
    (systemd's C{MemoryHigh=} and C{MemoryMax=}, containers).
    """
    least = machine_bytes()
    try:
        with open(groups) as file:
            place = next((line[3:].strip() for line in file if line.startswith("0::")), None)
    except OSError:
        place = None
    if place is None or ".." in place:
        return least
    parts = place.strip("/").split("/")
    for count in range(len(parts) + 1):
        folder = os.path.join(mounted, *parts[:count])
        for kind in ("memory.high", "memory.max"):
            try:
                with open(os.path.join(folder, kind)) as file:
                    text = file.read(32).strip()
            except OSError:
                continue
            if text.isascii() and text.isdigit():
                least = min(least, int(text))
    return least


class Pressure:
    """Looks once a second.

    @ivar late: seconds by which the last look came late. @ivar worst: the most so far.
    @ivar crowded: the process holds so much memory, or has so much to do, that it should take no new viewers.
    """

    def __init__(
        self,
        clock: Clock,
        resident: Callable[[], int] = resident_bytes,
        limit: int | None = None,
        shed: Callable[[], int] = lambda: 0,
        space: Callable[[], tuple[int, int]] = address_space,
    ) -> None:
        """@param limit: bytes this process may grow to; what L{allowed_bytes} says when None.

        @param space: addresses it uses and may use, see L{address_space}.

        @param shed: drops viewers that are behind, tells how many; asked while memory is full.
        """
        self._shed = shed
        self.late = 0.0
        self.worst = 0.0
        self.crowded = False
        self._clock = clock
        self._resident = resident
        self._space = space
        self._limit = allowed_bytes() if limit is None else limit
        self._overloaded = False
        self._looks = 0
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
        used, share = self._memory()
        if share > FULL_SHARE:
            dropped = self._shed()
            if dropped:
                _log.error("memory is full: {dropped} viewers that were behind are dropped", dropped=dropped)
        full = share > CROWDED_SHARE
        crowded = self._overload() or full
        if crowded != self.crowded:
            self.crowded = crowded
            if full:
                _log.error("{used}: no new viewers are taken", used=used)
            elif crowded:
                _log.error("more to do than can be done in time: no new viewers are taken")
            else:
                _log.warn("there is room again: viewers are taken")

    def _memory(self) -> tuple[str, float]:
        """What is nearest to its limit, in words, and its share of that: 0 where there is none."""
        resident = self._resident()
        share = resident / self._limit if self._limit > 0 else 0.0
        addresses, may = self._space()
        if may and addresses / may > share:
            words = f"{addresses >> 20} of {may >> 20} MiB of addresses (ulimit -v) in use"
            return words, addresses / may
        return f"{resident >> 20} MiB of memory in use", share

    def _overload(self) -> bool:
        """Whether the reactor runs late for good."""
        if (self.late >= OVERLOAD_SECONDS) == self._overloaded:
            self._looks = 0
        else:
            self._looks += 1
            if self._looks >= OVERLOAD_LOOKS:
                self._looks = 0
                self._overloaded = not self._overloaded
        return self._overloaded
