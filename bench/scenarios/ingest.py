"""How many streams of 4 Mbit/s does a core take in and serve as MPEG-TS and CMAF segments?"""

from __future__ import annotations

import contextlib
import time
from typing import Final

from bench.fleet import Fleet
from bench.http_watch import Watchers
from bench.machine import server_cpu
from bench.scenario import Aim, Bench
from bench.scenarios.fanout import FOUR
from bench.servers import node
from test.e2e.nodes import get, wait_until

NAME: Final = "ingest"
TITLE: Final = "Streams taken in by RTMP"
BUDGET: Final = 240.0

_BODY: Final = "template live { prefix live; input publish://; segment_duration 2; chunk_duration false; }"
_STREAMS: Final = 60
_MANY: Final = 150


def run(bench: Bench) -> None:
    """One repeat: a third of a core's worth, and in the whole matrix as many as are aimed at."""
    for streams in (_STREAMS, _MANY) if bench.full else (_STREAMS,):
        measure(bench, streams)


def measure(bench: Bench, streams: int) -> None:
    """So many streams."""
    bench.need(bench.seconds * 2 + 25)
    names = [f"live/{number}" for number in range(streams)]
    with contextlib.ExitStack() as stack:
        ours = stack.enter_context(node(bench.core, _BODY))
        rest = bench.others
        fleet = stack.enter_context(Fleet([ours.rtmp], names, FOUR, cores=rest[:1]))
        playlists = [f"/{name}/index.ts.m3u8" for name in names]
        wait_until(lambda: get(ours.http, playlists[-1]).status == 200, 40.0, "segments")
        time.sleep(4.0)
        ingest = share_used(ours.pid, bench.seconds * 2)
        for kind in ("ts", "cmaf"):
            if kind == "cmaf":
                playlists = [f"/{name}/tracks-v1/mono.fmp4.m3u8" for name in names]
                playlists += [f"/{name}/tracks-a1/mono.fmp4.m3u8" for name in names]
            stack.enter_context(Watchers(ours.http, playlists, 2.0, rest[1:] or rest))
        time.sleep(5.0)
        fleet.told()
        share = share_used(ours.pid, bench.seconds * 2)
        late, _ = fleet.told()
    what = f"in and out as TS and CMAF, 4 Mbit/s ({streams} streams)"
    row = bench.row(f"ingest-{streams}", what, "streams per core", Aim(150, most=False))
    row.add(streams / share)
    row.note(f"core {share * 100:.0f} % used, {ingest * 100:.0f} % without anybody watching")
    row.note(f"publisher {late * 1000:.0f} ms late at most")
    bench.say(
        f"{streams} streams: {share * 100:.1f} % of the core: {streams / share:.0f} per core "
        f"(ingest alone {ingest * 100:.1f} %: {streams / ingest:.0f}); publisher late {late * 1000:.0f} ms"
    )


def share_used(pid: int, seconds: float) -> float:
    """The share of its core a server uses over C{seconds}."""
    used, began = server_cpu(pid), time.monotonic()
    time.sleep(seconds)
    used, took = server_cpu(pid) - used, time.monotonic() - began
    return used / took
