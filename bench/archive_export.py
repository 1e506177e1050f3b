"""What does an MP4 of a day of an archive cost, in time, memory and temporary files?

Segments of two seconds, 25 pictures and 47 frames of sound a second, made when they are asked for; the time
that takes is left out. The head is built, then every byte of the file is read.

    python -m bench.archive_export
    python -m bench.archive_export --hours 6
"""

from __future__ import annotations

import argparse
import resource
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.task import Clock

from restreamer.dvr.export import ExportBuilder, ExportPieces
from restreamer.dvr.export_room import Room
from restreamer.dvr.forms import parse_archive_path
from restreamer.dvr.playback import Playback
from restreamer.dvr.seams import Holdings, Span
from restreamer.dvr.timeline import ArchiveHours
from restreamer.m4f.hour_index import ArchivedRun, HourBuilder, HourIndex, Row, TrackSpan
from restreamer.m4f.segment import Segment, SegmentBuilder, SegmentOpening
from restreamer.media.frame import Frame
from restreamer.media.timebase import TICKS_PER_SECOND
from restreamer.testing.media import aac_track, audio_frames, h264_track, video_frames

FIRST: Final = 1_699_999_200
SECONDS: Final = 2
D: Final = SECONDS * TICKS_PER_SECOND
TRACKS: Final = (h264_track(1, 1_000_000), aac_track(2, 100_000))
FRAMES: Final = sorted(
    [*video_frames(SECONDS, start=0), *audio_frames(SECONDS, start=0)], key=lambda each: each.dts
)


def _segment(number: int) -> Segment:
    start = number * D
    builder = SegmentBuilder(SegmentOpening(number, start, False, True, 0, TRACKS))
    builder.extend([Frame(f.track_id, f.dts + start, f.cts, f.key, f.data) for f in FRAMES])
    return builder.close(D)


class Made:
    """An archive that is made while it is read. @ivar making: seconds that took."""

    def __init__(self, hours: int) -> None:
        self._hours = tuple(range(FIRST // 3600, FIRST // 3600 + hours))
        self.making = 0.0

    def takes(self, name: str) -> bool:
        """All names."""
        return True

    async def holdings(self, name: str) -> Holdings:
        """All of it."""
        end = (self._hours[-1] + 1) * 3600 * TICKS_PER_SECOND
        return Holdings(hours=self._hours, spans=(Span(FIRST * TICKS_PER_SECOND, end),), size=0)

    async def hour(self, name: str, hour: int) -> HourIndex:
        """An hour; checksums are not compared here."""
        before = time.process_time()
        builder = HourBuilder(hour)
        run = ArchivedRun(1, FIRST * TICKS_PER_SECOND, 0, bytes(16))
        spans = [TrackSpan(1, 50, 0, D, 6), TrackSpan(2, 93, 0, D, 6)]
        for number in range(hour * 3600 // SECONDS, (hour + 1) * 3600 // SECONDS):
            builder.add(Row(number, number * D, D, 2, 0, number, 1, 0, 0, 0, 0), TRACKS, run, spans)
        index = builder.build()
        self.making += time.process_time() - before
        return index

    async def segment(self, name: str, row: Row) -> Segment:
        """A segment, read as from a disk."""
        before = time.process_time()
        encoded = _segment(row.number).encoded
        self.making += time.process_time() - before
        return Segment.parse(encoded)

    async def headers(self, name: str, rows: Sequence[Row]) -> list[bytes]:
        """Headers, read as from a disk."""
        before = time.process_time()
        found = [
            segment.encoded[: segment._header_size] for segment in map(_segment, [r.number for r in rows])
        ]
        self.making += time.process_time() - before
        return found

    async def find(self, name: str, hours: Sequence[int], number: int) -> Row | None:
        """Not asked for."""
        raise NotImplementedError


def _in_thread(call: Callable[..., Any], *args: Any) -> Deferred[Any]:
    return maybeDeferred(call, *args)


def _run(awaitable: Awaitable[Any]) -> Any:
    async def all_of_it() -> Any:
        return await awaitable

    found: list[Any] = []
    _ = Deferred.fromCoroutine(all_of_it()).addCallbacks(found.append, lambda why: why.raiseException())
    return found[0]


def _rss() -> float:
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * resource.getpagesize() / 1e6


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--hours", type=int, default=24)
    seconds = parser.parse_args().hours * 3600
    archive = Made(seconds // 3600)
    now = (FIRST + seconds + 3600) * TICKS_PER_SECOND
    clock = Clock()
    hours = ArchiveHours(archive, lambda: now, clock.seconds)
    ask = parse_archive_path(f"/x/archive-{FIRST}-{seconds}.mp4", "", now // TICKS_PER_SECOND)
    assert ask is not None

    def walk() -> Playback:
        return Playback.of(ask, hours, clock, lambda: now)

    memory, began = _rss(), time.process_time()
    playback = walk()
    share = Room(lambda: False).share()
    builder = ExportBuilder(playback.start, None, seconds * TICKS_PER_SECOND, share)
    export = _run(builder.build(playback, _in_thread, lambda: True))
    took = time.process_time() - began - archive.making
    print(f"head of {seconds // 3600} h: {took:.1f} s cpu, {export.head_size / 1e6:.1f} MB of tables,")
    print(
        f"  {export.size / 1e9:.2f} GB file, {export.count} segments, memory {memory:.0f} -> {_rss():.0f} MB"
    )
    archive.making, memory, began = 0.0, _rss(), time.process_time()
    pieces = ExportPieces(export, walk(), _in_thread, 0, export.size - 1)
    size = 0
    while (piece := _run(pieces.next())) is not None:
        size += len(piece.body)
    took = time.process_time() - began - archive.making
    print(f"body: {size / 1e6 / took:.0f} MB/s of cpu, memory {memory:.0f} -> {_rss():.0f} MB")
    assert size == export.size


if __name__ == "__main__":
    main()
