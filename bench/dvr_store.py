"""How soon is a long archive open, what does an hour of it cost, and what does recording cost?

First an archive of very many small segments is written; then a new store opens it: with its summary (the
last hour is still being written), and without. Printed: the time for each, for the index of an hour and of a
week, and for one segment. Then streams are recorded in real time through the writer: processor time, lag, and
bytes that went to the disk for each byte of a segment.

    python -m bench.dvr_store --segments 1000000 --streams 50 --seconds 20 --folder /var/tmp
"""

from __future__ import annotations

import argparse
import random
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

from restreamer.dvr.recorded import Recorded
from restreamer.dvr.store import Store
from restreamer.dvr.stream_store import StreamStore
from restreamer.dvr.summary import SUMMARY
from restreamer.dvr.writer import Writer
from restreamer.m4f.segment import Segment, SegmentBuilder, SegmentOpening
from restreamer.media.frame import Frame
from restreamer.media.timebase import TICKS_PER_SECOND
from restreamer.testing.media import aac_track, h264_track
from test.dvr.memory_archive import FIRST, D, segment
from test.dvr.recordings import HOUR, RUN

_BATCH = 5000
_WEEK = 7 * 24


def timed(call: Callable[[], object], repeats: int = 5) -> float:
    """Milliseconds, the best of some."""
    best = float("inf")
    for _ in range(repeats):
        begun = time.perf_counter()
        call()
        best = min(best, time.perf_counter() - begun)
    return best * 1000


def fill(root: str, segments: int) -> None:
    """Write an archive."""
    store = Store(root)
    store.open()
    stream = store.stream("cam")
    begun = time.perf_counter()
    for first in range(0, segments, _BATCH):
        numbers = range(first, min(segments, first + _BATCH))
        stream.append([Recorded(segment(FIRST + number), RUN, False) for number in numbers])
        stream.seal((FIRST + numbers.stop) * D)
    stream.write_summary()
    store.close()
    took = time.perf_counter() - begun
    print(f"{segments} segments of 2 s written in {took:.0f} s, {took / segments * 1e6:.0f} us each")


def opened(root: str) -> StreamStore:
    """The archive, as after a start."""
    return Store(root).stream("cam")


def measure_reading(root: str) -> None:
    """Print what opening and reading cost."""

    def show(what: str, value: float) -> None:
        print(f"{what:58} {value:9.2f} ms")

    stream = opened(root)
    hours = stream.holdings().hours
    show(f"open {len(hours)} hours with the summary", timed(lambda: opened(root).holdings()))
    show("open, then the index of one hour", timed(lambda: opened(root).hour(hours[len(hours) // 2])))
    show("index of an hour, from memory", timed(lambda: stream.hour(hours[-2])))

    def week() -> None:
        fresh = opened(root)
        for hour in hours[-_WEEK - 1 : -1]:
            fresh.hour(hour)

    show("open, then the indexes of a week", timed(week, 3))
    rows = list(stream.hour(hours[-2]))
    chance = random.Random(1)
    show("one segment, verified", timed(lambda: stream.segment(chance.choice(rows)), 50))
    summary = Path(root, "cam", SUMMARY)
    kept = summary.read_bytes()
    print(f"{'the summary is':58} {len(kept) / 1024:9.0f} KiB")

    def without() -> None:
        summary.unlink(missing_ok=True)
        opened(root).holdings()

    show("open without the summary, and write it", timed(without, 1))


def large(number: int, bits: int) -> Segment:
    """A segment of 2 s of video and sound, of so many bits/s."""
    start = number * D
    tracks = (h264_track(), aac_track())
    builder = SegmentBuilder(SegmentOpening(number, start, False, True, 0, tracks))
    size = bits * 2 // 8 // 50
    body = random.Random(number).randbytes(size)
    for at in range(50):
        builder.add(Frame(1, start + at * 3600, 0, at == 0, body))
    for at in range(94):
        builder.add(Frame(2, start + at * 1920, 0, True, body[:300]))
    return builder.close(D)


def measure_recording(root: str, streams: int, bits: int, seconds: int) -> None:
    """Record in real time, and print what it costs."""
    store = Store(root)
    writer = Writer(store)
    made = [Recorded(large(FIRST + at, bits), RUN, False) for at in range(seconds // 2 + 1)]
    written, cpu, begun = _written(), time.process_time(), time.monotonic()
    lag = 0.0
    slowest = 0.0
    for at, item in enumerate(made[:-1]):
        for stream in range(streams):
            due = begun + (at + stream / streams) * D / TICKS_PER_SECOND
            time.sleep(max(0.0, due - time.monotonic()))
            before = time.perf_counter()
            writer.record(f"cam{stream}", item)
            slowest = max(slowest, time.perf_counter() - before)
            lag = max(lag, writer.status.lag)
    writer.stop(30)
    took = time.monotonic() - begun
    status = writer.status
    store.close()
    print(
        f"{streams} streams of {bits / 1e6:.1f} Mbit/s for {took:.0f} s: {status.written} segments, "
        f"{status.dropped} dropped; cpu {100 * (time.process_time() - cpu) / took:.1f} % of a core; "
        f"longest lag {lag:.2f} s; record() took at most {slowest * 1000:.2f} ms; "
        f"written {(_written() - written) / max(1, status.written_bytes):.3f} bytes for each one"
    )


def _written() -> int:
    """Bytes this process caused to be written to disks, and those that are still to come."""
    with open("/proc/self/io") as file:
        return int(next(line for line in file if line.startswith("write_bytes")).split()[1])


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--segments", type=int, default=100_000)
    parser.add_argument("--streams", type=int, default=50)
    parser.add_argument("--bits", type=int, default=2_000_000)
    parser.add_argument("--seconds", type=int, default=20)
    parser.add_argument("--folder")
    arguments = parser.parse_args()
    with TemporaryDirectory(dir=arguments.folder) as folder:
        if arguments.segments >= 4 * HOUR:
            fill(f"{folder}/long", arguments.segments)
            measure_reading(f"{folder}/long")
        if arguments.seconds:
            measure_recording(f"{folder}/live", arguments.streams, arguments.bits, arguments.seconds)


if __name__ == "__main__":
    main()
