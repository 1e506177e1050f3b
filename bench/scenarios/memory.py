"""Memory of a viewer and of a stream, and what streams cost as they become many.

A stream's window is what of it is kept in memory: the segments that are listed and those that were a moment
ago.
"""

from __future__ import annotations

import contextlib
import time
from typing import Final

from bench.fleet import Fleet
from bench.machine import rss_bytes
from bench.scenario import Aim, Bench
from bench.scenarios.fanout import target
from bench.scenarios.ingest import share_used
from bench.servers import Running, nginx_rtmp, node
from bench.viewers import Audience, Target
from test.e2e.nodes import get, wait_until
from test.e2e.samples import MEGABIT, Sample, byte_rate

NAME: Final = "memory"
TITLE: Final = "Memory, and many streams"
BUDGET: Final = 900.0

#: A segment of two seconds, four listed; as many more are kept for those who still fetch them.
_BODY: Final = "template live { prefix live; input publish://; segment_duration 2; segment_count 4; }"
#: Small streams, for many of them: 10 pictures a second.
SMALL: Final = Sample(seconds=20, size="320x180", rate=10, gop=20, bframes=0, video_kbps=90, audio="")
_FEW: Final = 200
_MANY: Final = 1200


def viewers(bench: Bench) -> None:
    """Growth of the process from a few viewers to a thousand more, per viewer."""
    figures = {}
    for proto in ("rtmp", "tshttp"):
        # A node for each: memory that one crowd has left would serve the next.
        with (
            node(bench.core, _BODY) as ours,
            Fleet([ours.rtmp], ["live/cam"], MEGABIT, cores=bench.others[:1]),
        ):
            # Until the stream's window is full: it is no viewer's.
            time.sleep(20.0)
            figures[proto] = per_viewer(bench, ours, target(ours, 0, proto))
    with nginx_rtmp(bench.core) as nginx, Fleet([nginx.rtmp], ["live/cam"], MEGABIT, cores=bench.others[:1]):
        theirs = per_viewer(
            bench, nginx, Target(proto="rtmp", host="127.0.0.1", port=nginx.rtmp, path="live/cam")
        )
    for proto, name in (("rtmp", "RTMP"), ("tshttp", "HTTP-TS")):
        row = bench.row(f"viewer-{proto}", f"memory of a viewer, {name}", "KB", Aim(4.0), "nginx-rtmp")
        row.add(figures[proto] / 1000, theirs / 1000)
        bench.say(f"{name}: {figures[proto] / 1000:.1f} KB per viewer, nginx-rtmp {theirs / 1000:.1f}")


def per_viewer(bench: Bench, server: Running, where: Target) -> float:
    """Bytes."""
    bench.need(14)
    with Audience(where, _FEW, processes=len(bench.others), cores=bench.others) as first:
        wait_until(first.filled, 20.0, "viewers")
        time.sleep(1.5)
        before = rss_bytes(server.pid)
        with Audience(where, _MANY - _FEW, processes=len(bench.others), cores=bench.others) as more:
            wait_until(more.filled, 20.0, "viewers")
            time.sleep(2.5)
            return (rss_bytes(server.pid) - before) / (_MANY - _FEW)


def streams(bench: Bench) -> None:
    """Growth of the process with streams of 1 Mbit/s, against what their windows hold."""
    count = 40
    bench.need(50)
    with contextlib.ExitStack() as stack:
        ours = stack.enter_context(node(bench.core, _BODY))
        stack.enter_context(Fleet([ours.rtmp], ["live/first"], MEGABIT, cores=bench.others[:1]))
        wait_until(lambda: get(ours.http, "/live/first/index.m3u8").status == 200, 20.0, "a playlist")
        time.sleep(2.0)
        before = rss_bytes(ours.pid)
        names = [f"live/{number}" for number in range(count)]
        stack.enter_context(Fleet([ours.rtmp], names, MEGABIT, cores=bench.others[1:2] or bench.others))
        # Until the windows are full and segments go as fast as they come.
        time.sleep(30.0)
        grown = (rss_bytes(ours.pid) - before) / count
        listed = get(ours.http, "/live/0/index.m3u8").body.decode().count("#EXTINF")
    window = byte_rate(MEGABIT) * 2 * listed
    row = bench.row("stream", "memory of a stream of 1 Mbit/s beyond 1.3 of its window", "MB", Aim(1.0))
    row.add((grown - 1.3 * window) / 1e6)
    row.note(f"{grown / 1e6:.2f} MB in all, {listed} segments of 2 s are listed ({window / 1e6:.2f} MB)")
    bench.say(f"{grown / 1e6:.2f} MB per stream; listed window {window / 1e6:.2f} MB")


def growth(bench: Bench) -> None:
    """Processor time and memory of a small stream as their number grows."""
    for count in (10, 100, 1000):
        bench.need(25 + count / 50)
        with node(bench.core, _BODY) as ours:
            idle = rss_bytes(ours.pid)
            names = [f"live/{number}" for number in range(count)]
            with Fleet([ours.rtmp], names, SMALL, cores=bench.others[:1]) as fleet:
                time.sleep(12.0)
                fleet.told()
                share = share_used(ours.pid, bench.seconds)
                late, _ = fleet.told()
                memory = (rss_bytes(ours.pid) - idle) / count
        row = bench.row(
            f"growth-{count}", f"{count:,} streams of 0.1 Mbit/s, nobody watches: per stream", "ms/s"
        )
        row.add(share * 1000 / count)
        row.note(f"core {share * 100:.0f} % used")
        row.note(f"{memory / 1e6:.2f} MB per stream")
        row.note(f"publisher {late * 1000:.0f} ms late at most")
        bench.say(
            f"{count} streams: {share * 100:.1f} % of the core, {memory / 1e6:.2f} MB each, "
            f"late {late * 1000:.0f} ms"
        )


def run(bench: Bench) -> None:
    """One repeat."""
    viewers(bench)
    streams(bench)
    growth(bench)
