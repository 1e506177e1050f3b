"""Segments and playlists of a live stream, next to nginx that serves the same bytes as files from memory.

The figures are for one second of the server's processor time: should the load generator not fill the server's
core, the comparison holds all the same.
"""

from __future__ import annotations

from typing import Final

from bench.http_load import Load, Served
from bench.machine import server_cpu
from bench.scenario import Aim, Bench
from bench.scenarios.fanout import FOUR
from bench.servers import Running, nginx_static, node, publisher
from test.e2e.nodes import get, wait_until
from test.e2e.samples import MEGABIT

NAME: Final = "segments"
TITLE: Final = "HLS segments and playlists"
BUDGET: Final = 240.0

#: Long enough that what is asked for is still there at the end.
_BODY = "template live { prefix live; input publish://; segment_duration 2; segment_count 60; }"
_SIZES: Final = {"250 KB": MEGABIT, "1 MB": FOUR}
_LISTED = 8


def load(bench: Bench, server: Running, path: str, connections: int) -> tuple[Served, float]:
    """What was served, and the share of its core the server used."""
    bench.need(bench.seconds + 2)
    asked = Load(server.http, path, connections, bench.others, bench.seconds)
    asked.window()
    used = server_cpu(server.pid)
    served = asked.served()
    return served, (server_cpu(server.pid) - used) / served.seconds


def run(bench: Bench) -> None:
    """One repeat."""
    for size, sample in _SIZES.items():
        bench.need(2 * _LISTED + 12)
        with (
            node(bench.core, _BODY) as ours,
            publisher(f"rtmp://127.0.0.1:{ours.rtmp}/live/cam", sample, bench.others),
        ):

            def listed(server: Running = ours) -> str | None:
                answer = get(server.http, "/live/cam/index.ts.m3u8")
                return answer.body.decode() if answer.body.count(b".ts\n") >= _LISTED else None

            text = wait_until(listed, 60.0, "segments")
            last = [line for line in text.splitlines() if line.endswith(".ts")][-2]
            segment = f"/live/cam/{last}"
            files = {"segment.ts": get(ours.http, segment).body, "index.m3u8": text.encode()}
            with nginx_static(bench.core, files) as nginx:
                for connections in (100, 1000) if bench.full else (100,):
                    compare(bench, ours, nginx, size, segment, connections)
                if size == "250 KB":
                    compare(bench, ours, nginx, "playlist", "/live/cam/index.ts.m3u8", 100)


def compare(bench: Bench, ours: Running, nginx: Running, size: str, path: str, connections: int) -> None:
    """One answer of both."""
    playlist = size == "playlist"
    mine, my_share = load(bench, ours, path, connections)
    theirs, their_share = load(bench, nginx, "/index.m3u8" if playlist else "/segment.ts", connections)
    if playlist:
        figures = [mine.answers / mine.seconds / my_share, theirs.answers / theirs.seconds / their_share]
        unit, what = "requests/s", "playlist requests per second of a core"
    else:
        figures = [
            each.bytes * 8e-9 / each.seconds / share
            for each, share in ((mine, my_share), (theirs, their_share))
        ]
        unit, what = "Gbit/s", f"segments of {size}, {connections:,} connections, per core"
    bench.say(
        f"{what}: {figures[0]:.4g} {unit} ({my_share * 100:.0f} % of the core), nginx {figures[1]:.4g} "
        f"({their_share * 100:.0f} %), ratio {figures[0] / figures[1]:.2f}, "
        f"load {mine.busiest:.2f} {theirs.busiest:.2f}"
    )
    key = f"{size.replace(' ', '')}-{connections}"
    row = bench.row(key, what, unit, Aim(0.8, most=False, ratio=True), "nginx")
    row.add(figures[0], figures[1], max(mine.busiest, theirs.busiest))
    row.note(f"core {my_share * 100:.0f} % used by ours, {their_share * 100:.0f} % by nginx")
    if mine.failed or theirs.failed:
        row.note(f"failed connections: {mine.failed} of ours, {theirs.failed} of nginx")
