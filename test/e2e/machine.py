"""How much the machine itself keeps programs waiting: what a limit in seconds has to allow for.

A limit that holds for our programs says nothing of a processor that others use: so the delay is measured
while the limit is tested, and added to it. On a machine with time to spare it is next to nothing.
"""

from __future__ import annotations

import threading
import time
from typing import Self

from typing_extensions import override

#: How often the delay is looked at, and how much processor time a look takes, seconds.
_EVERY = 0.02
_WORK = 0.001
#: Programs a frame passes one after the other: encoder, two or three nodes, the viewer.
PROGRAMS = 5
#: A deadline is stretched by no more than this.
MOST_STRETCH = 4.0


def _work(seconds: float) -> float:
    """Use so much processor time; the seconds this was kept waiting."""
    began, wall = time.thread_time(), time.monotonic()
    while (used := time.thread_time() - began) < seconds:
        pass
    return max(0.0, time.monotonic() - wall - used)


def stretch() -> float:
    """How many times as long as on an idle machine work takes now, from 1 to L{MOST_STRETCH}."""
    return min(MOST_STRETCH, 1.0 + _work(0.05) / 0.05)


class Delays(threading.Thread):
    """Measures between C{with} and its end: a little work now and then, and how late it is done.

    @ivar longest: the longest delay since L{mark}, seconds.
    """

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.longest = 0.0
        self._over = threading.Event()

    @override
    def run(self) -> None:
        while not self._over.is_set():
            began = time.monotonic()
            self._over.wait(_EVERY)
            late = max(0.0, time.monotonic() - began - _EVERY)
            self.longest = max(self.longest, late + _work(_WORK))

    def mark(self) -> None:
        """Forget the delays so far."""
        self.longest = 0.0

    @property
    def allowance(self) -> float:
        """What the way of a frame through all programs may have taken longer for it, seconds."""
        return PROGRAMS * self.longest

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._over.set()
        self.join(5)
