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

    Counters of a worker begin at 0 with its process; what it counted until it died is kept, of a stream for
    as long as there is the stream.

    @param here: whether there is a stream of a name.
    """

    def __init__(self, here: Callable[[str], bool] = lambda name: True) -> None:
        self._here = here
        self._now: dict[int, Figures] = {}
        self._before = 0
        self._streams: dict[str, tuple[int, dict[str, Row]]] = {}

    def told(self, place: int, figures: Figures) -> None:
        """Worker C{place} is like that now."""
        before = self._now.get(place)
        self._now[place] = figures
        if before is not None:
            now = figures.streams
            # It lets go of streams that nobody watches there, and begins anew with them.
            self._keep(
                {
                    name: row
                    for name, row in before.streams.items()
                    if name not in now or now[name][0] < row[0]
                }
            )

    def gone(self, place: int) -> None:
        """Its process is no more."""
        figures = self._now.pop(place, None)
        if figures is not None:
            self._before += figures.sent
            self._keep(figures.streams)

    def _keep(self, streams: Mapping[str, tuple[int, Mapping[str, Row]]]) -> None:
        """These have ended on a worker."""
        if not streams:
            return
        for name, (sent, rows) in streams.items():
            before, kept = self._streams.get(name, (0, {}))
            for container, row in rows.items():
                kept[container] = added(kept.get(container, _NONE), (0, *row[1:5], 0.0))
            self._streams[name] = before + sent, kept
        for name in [name for name in self._streams if not self._here(name)]:
            del self._streams[name]

    def of(self, place: int) -> Figures | None:
        """What worker C{place} told last."""
        return self._now.get(place)

    @property
    def sent(self) -> int:
        """Bytes sent by all, so far."""
        return self._before + sum(each.sent for each in self._now.values())

    def stream_sent(self, name: str) -> int:
        """Bytes that the feeds of a stream sent."""
        now = sum(each.streams[name][0] for each in self._now.values() if name in each.streams)
        return now + self._streams.get(name, (0, {}))[0]

    def containers(self, name: str) -> Mapping[str, Row]:
        """The feeds of a stream by container."""
        found: dict[str, Row] = dict(self._streams.get(name, (0, {}))[1])
        rows: Iterable[Mapping[str, Row]] = (
            each.streams[name][1] for each in self._now.values() if name in each.streams
        )
        for of_worker in rows:
            for container, row in of_worker.items():
                found[container] = added(found.get(container, _NONE), row)
        return found
