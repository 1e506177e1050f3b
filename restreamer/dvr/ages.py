"""The time that ages are counted from: a clock that is ahead must not delete an archive.

What was the time is kept on the volume. From there on the clock is followed at most twice as fast as time
goes by: one that is a year ahead for ten minutes takes ten minutes of the archive. When it went on without a
jump for a whole depth, what was there before is older than that by any clock, and the clock is believed: so a
node that was off for long never keeps more than was recorded in a depth.
"""

from __future__ import annotations

import json
from collections.abc import Callable

from restreamer.dvr.filesystem import Filesystem, replace_file

#: The file, in the folder of the volume.
CLOCK = ".clock"
#: It is written so often, seconds.
KEEP_SECONDS = 600.0
#: A clock that is further ahead is not believed, seconds: it is told.
AHEAD = 3600.0
#: A clock that says less was never set, UTC seconds: 2023.
EARLIEST = 1_672_531_200
#: What is followed of a clock that is ahead, in one second.
_PACE = 2.0
#: By so much a clock may be set without a word, seconds.
_JUMP = 60.0


class AgeClock:
    """See the module. Everything blocks and is called in the thread that writes to the volume.

    @param utc: seconds since the epoch. @param clock: monotonic. @param found: where what the volume held
        at the start ended, seconds since the epoch; None: it held nothing. It is asked once, when nothing is
        kept on the volume; it raises C{OSError} when the disk fails.
    @ivar frozen: the clock is far ahead, or was never set.
    """

    def __init__(
        self,
        files: Filesystem,
        root: str,
        utc: Callable[[], float],
        clock: Callable[[], float],
        found: Callable[[], float | None],
    ) -> None:
        self.frozen = False
        self._files = files
        self._root = root
        self._utc = utc
        self._clock = clock
        self._found = found
        self._until: float | None = None
        self._at = 0.0
        self._utc_at = 0.0
        self._steady_at = 0.0
        self._kept_at = 0.0

    def look(self) -> None:
        """Look at the clock.

        @raise OSError: the disk cannot be read.
        """
        utc, at = self._utc(), self._clock()
        passed = at - self._at
        if self._until is None or abs(utc - self._utc_at - passed) > _JUMP:
            self._steady_at = at
        if self._until is not None:
            # A clock that falls back takes nothing away from what is believed.
            self._until = max(self._until + passed, min(utc, self._until + passed * _PACE))
        else:
            first = self._first(utc)
            if first >= EARLIEST:
                self._until = first
                self._kept_at = at - KEEP_SECONDS
        self._at, self._utc_at = at, utc
        self.frozen = self._until is None or utc < EARLIEST or utc > self._until + AHEAD
        if self._until is not None and utc >= EARLIEST and at - self._kept_at >= KEEP_SECONDS:
            self._kept_at = at
            self._keep(min(utc, self._until))

    def before(self, depth: float) -> float:
        """What ended before this is older than C{depth} seconds: UTC seconds, as of the last L{look}."""
        if self._until is None or self._at - self._steady_at >= depth:
            return self._utc_at - depth
        return min(self._utc_at, self._until) - depth

    def _first(self, utc: float) -> float:
        """What was the time when this volume was used last; without that, as what it holds says."""
        try:
            kept = json.loads(self._files.read(f"{self._root}/{CLOCK}", 0, 100))["utc"]
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            kept = None
        if isinstance(kept, (int, float)) and kept >= EARLIEST:
            return float(kept)
        found = self._found()
        return utc if found is None or found < EARLIEST else found

    def _keep(self, utc: float) -> None:
        try:
            replace_file(self._files, self._root, CLOCK, [json.dumps({"utc": round(utc)}).encode() + b"\n"])
        except OSError:
            # Then less is believed after the next start.
            return
