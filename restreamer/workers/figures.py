"""How workers are: what one measures, and what the main process makes of all of them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from typing import Final

from restreamer.live.registry import StreamRegistry
from restreamer.workers.messages import Figures

#: What is told of a container: viewers now, joined, skips, dropped, bytes, flush interval in seconds.
Row = tuple[int, int, int, int, int, float]
_NONE: Final[Row] = (0, 0, 0, 0, 0, 0.0)


def measure(
    registry: StreamRegistry,
    sent: Callable[[], int],
    connections: Callable[[], int],
    resident: Callable[[], int],
    late: float,
) -> Figures:
    """The figures of this process.

    @param sent: bytes that went out other than by feeds. @param late: see L{Figures}.
    """
    streams: dict[str, tuple[int, Mapping[str, Row]]] = {}
    total = 0
    for entry in registry:
        playout = entry.playout
        rows: dict[str, Row] = {}
        for name, counters in playout.counters.items():
            feeds = playout.feeds_of(name)
            rows[name] = (
                sum(len(feed) for feed in feeds),
                counters.joined,
                counters.skips,
                counters.dropped,
                counters.bytes_out + sum(feed.bytes_here for feed in feeds),
                max((feed.flush_interval for feed in feeds), default=0.0),
            )
        total += playout.bytes_out
        if rows or playout.bytes_out:
            streams[entry.stream.name] = (playout.bytes_out, rows)
    return Figures(
        sent=total + sent(),
        connections=connections(),
        resident=resident(),
        late=late,
        cpu=time.process_time(),
        streams=streams,
    )


def added(one: Row, other: Row) -> Row:
    """Both together."""
    return (
        one[0] + other[0],
        one[1] + other[1],
        one[2] + other[2],
        one[3] + other[3],
        one[4] + other[4],
        max(one[5], other[5]),
    )


class Totals:
    """The figures of all workers together, those of workers that are gone included.

    Counters of a worker begin at 0 with its process; what it counted until it died is kept.
    """

    def __init__(self) -> None:
        self._now: dict[int, Figures] = {}
        self._before = 0

    def told(self, place: int, figures: Figures) -> None:
        """Worker C{place} is like that now."""
        self._now[place] = figures

    def gone(self, place: int) -> None:
        """Its process is no more."""
        figures = self._now.pop(place, None)
        if figures is not None:
            self._before += figures.sent

    def of(self, place: int) -> Figures | None:
        """What worker C{place} told last."""
        return self._now.get(place)

    @property
    def sent(self) -> int:
        """Bytes sent by all, so far."""
        return self._before + sum(each.sent for each in self._now.values())

    def stream_sent(self, name: str) -> int:
        """Bytes that the feeds of a stream sent."""
        return sum(each.streams[name][0] for each in self._now.values() if name in each.streams)

    def containers(self, name: str) -> Mapping[str, Row]:
        """The feeds of a stream by container."""
        found: dict[str, Row] = {}
        rows: Iterable[Mapping[str, Row]] = (
            each.streams[name][1] for each in self._now.values() if name in each.streams
        )
        for of_worker in rows:
            for container, row in of_worker.items():
                found[container] = added(found.get(container, _NONE), row)
        return found
