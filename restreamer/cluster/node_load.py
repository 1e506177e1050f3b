"""How busy this node is, as it tells other nodes."""

from __future__ import annotations

from collections.abc import Callable

from restreamer.m4f.records import NodeLoad

#: Seconds for which a measurement holds, however many links tell it.
HOLDS_SECONDS = 0.9


class LoadGauge:
    """Measures at most once a second.

    @param seconds: monotonic time. @param measure: the load now; it walks all streams.
    """

    def __init__(self, seconds: Callable[[], float], measure: Callable[[], NodeLoad]) -> None:
        self._seconds = seconds
        self._measure = measure
        self._due = 0.0
        self._load: NodeLoad | None = None

    def load(self) -> NodeLoad:
        """The load, at most C{HOLDS_SECONDS} old."""
        now = self._seconds()
        if self._load is None or now >= self._due:
            self._due = now + HOLDS_SECONDS
            self._load = self._measure()
        return self._load
