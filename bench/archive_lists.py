"""What does a playlist of a week of an archive cost, in time and in memory?

Segments of five seconds, 121,000 of them; hours are as they come from the disk. Every figure is processor
time of one process.

    python -m bench.archive_lists
    python -m bench.archive_lists --days 1 --duration 2
"""

from __future__ import annotations

import argparse
import gzip
import time
import tracemalloc
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final

from twisted.internet.defer import Deferred

from restreamer.dvr.forms import ArchiveAsk, Kind, parse_archive_path
from restreamer.dvr.seams import Holdings, Span
from restreamer.dvr.timeline import ArchiveHours
from restreamer.hls.archive_body import gzipped, size_of, texts
from restreamer.hls.archive_playlists import ArchivePlaylists, Listing
from restreamer.m4f.hour_index import HourIndex, Row, decode_hour, encode_hour
from restreamer.m4f.segment import Segment
from restreamer.media.timebase import TICKS_PER_SECOND
from test.dvr.fake_archive import TRACKS, Made, filled

NOW: Final = 1_700_006_400


class Hours:
    """An archive whose hours are read from their bytes each time."""

    def __init__(self, encoded: dict[int, bytes]) -> None:
        self._encoded = encoded
        self.decoding = 0.0

    def takes(self, name: str) -> bool:
        """All names."""
        return True

    async def holdings(self, name: str) -> Holdings:
        """What there is."""
        hours = tuple(sorted(self._encoded))
        return Holdings(hours=hours, spans=(Span(0, NOW * TICKS_PER_SECOND),), size=0)

    async def hour(self, name: str, hour: int) -> HourIndex:
        """An hour."""
        before = time.process_time()
        index = decode_hour(self._encoded[hour])
        self.decoding += time.process_time() - before
        return index

    async def segment(self, name: str, row: Row) -> Segment:
        """Not asked for."""
        raise NotImplementedError

    async def find(self, name: str, hours: object, number: int) -> Row | None:
        """Not asked for."""
        raise NotImplementedError

    async def headers(self, name: str, rows: Sequence[Row]) -> Sequence[bytes | None]:
        """Not asked for."""
        raise NotImplementedError


def week(days: float, duration: float) -> dict[int, bytes]:
    """The hours of so many days until now."""
    step = round(duration * TICKS_PER_SECOND)
    first = int(NOW - days * 86_400) * TICKS_PER_SECOND // step
    numbers = range(first, NOW * TICKS_PER_SECOND // step)
    archive = filled(Made(number, number * step + 3600, step, False, 0, TRACKS) for number in numbers)
    return {hour: encode_hour(builder.build()) for hour, builder in archive.builders.items()}


def run(making: Awaitable[Listing]) -> Listing:
    """The outcome of what does not wait."""
    found: list[Listing] = []

    async def wait() -> None:
        found.append(await making)

    _ = Deferred.fromCoroutine(wait())
    return found[0]


async def at_once(call: Callable[..., Any], *args: Any) -> Any:
    """In place of a thread."""
    return call(*args)


def timed(what: str, work: Callable[[], Any], less: Callable[[], float] = lambda: 0.0) -> Any:
    """Print what C{work} takes, without what C{less} says."""
    left, before = less(), time.process_time()
    result = work()
    spent = time.process_time() - before - (less() - left)
    print(f"{what:<52}{spent * 1000:9.1f} ms")
    return result


class Lists:
    """Playlists of an archive, and a clock that is set by hand."""

    def __init__(self, archive: Hours) -> None:
        self.clock = 0.0
        hours = ArchiveHours(archive, self.utc, lambda: self.clock)
        self.playlists = ArchivePlaylists(hours, at_once, self.utc, lambda: self.clock)

    @staticmethod
    def utc() -> int:
        """UTC ticks."""
        return NOW * TICKS_PER_SECOND

    def listing(self, ask: ArchiveAsk) -> Listing:
        """The playlist of C{ask}, a second later than the one before."""
        self.clock += 1.0
        return run(self.playlists.listing(ask))


def measure(archive: Hours, ask: ArchiveAsk) -> None:
    """Print what the playlist of C{ask} costs."""
    lists = Lists(archive)
    tracemalloc.start()
    listing = lists.listing(ask)
    kept, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    lists = Lists(archive)
    _ = timed("  first time (without reading)", lambda: lists.listing(ask), lambda: archive.decoding)
    lists.clock += 31.0
    _ = timed("  later, each hour read and compared", lambda: lists.listing(ask))
    if ask.kind is Kind.REWIND:
        _ = timed("  a second later", lambda: lists.listing(ask))
    whole = timed("  as gzip", lambda: gzipped(listing.pieces))
    timed("  as plain text", lambda: sum(len(text) for text in texts(listing.pieces)))
    assert len(gzip.decompress(whole)) == size_of(listing.pieces)
    lines = gzip.decompress(whole).count(b"#EXTINF")
    print(f"  {lines} segments, {size_of(listing.pieces)} bytes of text, {len(whole)} compressed")
    print(f"  memory kept {kept // 1024} KiB (hours too), at most {most // 1024} KiB")


def main() -> None:
    """See the module."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--days", type=float, default=7)
    options.add_argument("--duration", type=float, default=5)
    chosen = options.parse_args()
    archive = Hours(week(chosen.days, chosen.duration))
    back = round(chosen.days * 86_400)
    for file in (
        f"video-{NOW - back}-{back}.m3u8",
        f"tracks-v1/mono-archive-{NOW - back}-{back}.fmp4.m3u8",
        f"video-rewind-{back}.m3u8",
    ):
        ask = parse_archive_path(f"/x/{file}", "", NOW)
        assert ask is not None
        print(file)
        measure(archive, ask)


if __name__ == "__main__":
    main()
