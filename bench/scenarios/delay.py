"""How late does a viewer see a picture: on the node it is published to, and what an M4F hop adds.

Every picture carries the moment it was sent; viewers are processes that are woken up by each arrival.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import time
from collections.abc import Sequence
from typing import Final

from bench.fleet import Fleet
from bench.hop_latency import listen, on_both
from bench.machine import median, quantile
from bench.scenario import Aim, Bench
from bench.servers import nginx_rtmp, node
from bench.viewers import Audience, Target
from test.e2e.nodes import KEY, free_ports
from test.e2e.players import first_media
from test.e2e.samples import MEGABIT

NAME: Final = "delay"
TITLE: Final = "Delay of a picture"
BUDGET: Final = 240.0

_BODY: Final = "template live { prefix live; input publish://; }"
_VIEWERS: Final = 10
_NAMES: Final = {"rtmp": "RTMP", "flv": "HTTP-FLV", "tshttp": "HTTP-TS", "rtsp": "RTSP (TCP)"}


def seen(where: Sequence[tuple[str, int]], seconds: float) -> list[dict[int, int]]:
    """What a viewer by each (protocol, port) saw: when each stamp came, ns."""
    pipes, processes = [], []
    for proto, port in where:
        ours, theirs = multiprocessing.Pipe()
        process = multiprocessing.Process(target=listen, args=(proto, port, "live/cam", theirs), daemon=True)
        process.start()
        processes.append(process)
        pipes.append(ours)
    time.sleep(seconds + 1.0)
    for pipe in pipes:
        pipe.send("end")
    found = [pipe.recv() for pipe in pipes]
    for process in processes:
        process.join(5)
    return found


def delays(each: dict[int, int]) -> list[float]:
    """Milliseconds; what was sent before it listened came as a burst and says nothing."""
    began = min(each.values()) + 500_000_000
    return [(came - sent) / 1e6 for sent, came in each.items() if sent >= began]


def one_node(bench: Bench) -> None:
    """Ten viewers of each protocol, one protocol after the other, and nginx-rtmp."""
    (rtsp,) = free_ports(1)
    found: dict[str, list[float]] = {}
    bench.need(6 * bench.seconds + 10)
    with (
        nginx_rtmp(bench.core) as nginx,
        Fleet([nginx.rtmp], ["live/cam"], MEGABIT, stamps=True, cores=bench.others),
    ):
        time.sleep(2.5)
        theirs = [
            late for each in seen([("rtmp", nginx.rtmp)] * _VIEWERS, bench.seconds) for late in delays(each)
        ]
    with (
        node(bench.core, f"rtsp 127.0.0.1:{rtsp};\n{_BODY}") as ours,
        Fleet([ours.rtmp], ["live/cam"], MEGABIT, stamps=True, cores=bench.others),
    ):
        time.sleep(2.5)
        ports = {"rtmp": ours.rtmp, "flv": ours.http, "tshttp": ours.http, "rtsp": rtsp}
        for proto, port in ports.items():
            late = [one for each in seen([(proto, port)] * _VIEWERS, bench.seconds) for one in delays(each)]
            found[proto] = late
            aim = None if proto == "rtsp" else Aim(1.0)
            row = bench.row(
                f"node-{proto}",
                f"one node, {_VIEWERS} viewers, {_NAMES[proto]}: median",
                "ms",
                aim,
                "nginx-rtmp",
            )
            row.add(median(late), median(theirs))
            row.note(f"p99 {quantile(late, 0.99):.1f} ms")
            bench.say(
                f"{proto}: median {median(late):.2f} p99 {quantile(late, 0.99):.2f} ms; "
                f"nginx-rtmp {median(theirs):.2f}"
            )


def hop(bench: Bench, background: int) -> None:
    """What an edge adds, with so many other viewers on each node."""
    bench.need(2 * bench.seconds + background / 200 + 10)
    edge_core = bench.others[0] if bench.others else bench.core
    rest = bench.others[1:] or bench.others
    with contextlib.ExitStack() as stack:
        origin = stack.enter_context(node(bench.core, _BODY, name="origin"))
        source = f"source 127.0.0.1:{origin.http} {{ cluster_key {KEY}; }}"
        edge = stack.enter_context(node(edge_core, source, name="edge"))
        stack.enter_context(Fleet([origin.rtmp], ["live/cam"], MEGABIT, stamps=True, cores=rest[:1]))
        first_media(edge.http, "live/cam", 15.0)
        if background:
            for server in (origin, edge):
                target = Target(proto="tshttp", host="127.0.0.1", port=server.http, path="/live/cam/mpegts")
                crowd = Audience(target, background, processes=1, woken=True, cores=rest[-1:])
                stack.enter_context(crowd)
        time.sleep(3.0)
        at_origin, at_edge = seen([("tshttp", origin.http), ("tshttp", edge.http)], 2 * bench.seconds)
    added = [(at_edge[sent] - at_origin[sent]) / 1e6 for sent in on_both(at_origin, at_edge)]
    aims = (Aim(5.0), Aim(30.0)) if background else (Aim(1.0), Aim(5.0))
    with_whom = f"{background} viewers on each side" if background else "idle"
    for part, name, aim in ((0.5, "p50", aims[0]), (0.99, "p99", aims[1])):
        row = bench.row(f"hop-{background}-{name}", f"added by one M4F hop, {with_whom}: {name}", "ms", aim)
        row.add(quantile(added, part))
        row.note(f"{len(added)} pictures")
    bench.say(f"hop, {with_whom}: p50 {quantile(added, 0.5):.2f} p99 {quantile(added, 0.99):.2f} ms")


def run(bench: Bench) -> None:
    """One repeat."""
    one_node(bench)
    hop(bench, 0)
    hop(bench, 500)
