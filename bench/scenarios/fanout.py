"""What does one viewer of an endless protocol cost, next to nginx-rtmp on the same core?

Viewers are woken up by each arrival. The figure is cpu-ms: milliseconds of the server's processor time for a
second of one viewer's stream; of thousands of viewers, the share of the core.
"""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from attrs import frozen

from bench.machine import median, quantile, rss_bytes, server_cpu, server_wait
from bench.scenario import Aim, Bench, Row
from bench.servers import Running, bare_sender, nginx_rtmp, node, node_media_server, publisher
from bench.tuned_node import Lateness
from bench.viewers import Audience, Target
from test.e2e.nodes import free_ports, get
from test.e2e.samples import MEGABIT, Sample, byte_rate

NAME = "fanout"
TITLE = "Fan-out on one core"
BUDGET = 1200.0

#: 4 Mbit/s, as MEGABIT is 1.
FOUR = Sample(seconds=60, size="1280x720", gop=50, bframes=0, video_kbps=3900)
_SAMPLES = {1: MEGABIT, 4: FOUR}
PROTOS = ("rtmp", "flv", "tshttp", "rtsp")
_NAMES = {"rtmp": "RTMP", "flv": "HTTP-FLV", "tshttp": "HTTP-TS", "rtsp": "RTSP (TCP)"}
_SETTLE = 2.5
#: Until a node has done with viewers that left; the journal writes them down once a second.
_GONE = 1.6
#: Seconds that two processes of the load generator look apart, at most.
_APART = 0.1
#: The size of a keyframe, seconds of the stream's rate.
_KEYFRAME = 0.15
_PEER = "nginx-rtmp"
#: Viewers whose memory can be told from what a process takes and gives back anyway.
_ENOUGH = 1000
_LOSSES = re.compile(r"^restreamer_feed_(?:jumps|drops)_total\{.*\} (\S+)$", re.MULTILINE)


@frozen
class Cell:
    """What one audience saw.

    @ivar cost: the server's processor time, as a share of its core. @ivar ok: share of viewers that got 99 %
        of what the median viewer got, but for one flush. @ivar supply: what the median viewer got, of the
        sample's rate. @ivar load: the busiest process of the load generator. @ivar late: p99 of the probe,
        ms. @ivar memory: bytes per viewer. @ivar waited: share of the time in which others had the server's
        core although it had something to do. @ivar lost: viewers that were moved to a keyframe, or dropped.
    @ivar arrivals: how often a second a viewer was woken up. @ivar leaving: the worst of the probe while all
        of them left at once, ms.
    """

    cost: float
    ok: float
    supply: float
    load: float
    late: float
    memory: float
    waited: float
    lost: int
    arrivals: float
    leaving: float


def jumps(server: Running) -> int:
    """How often a node of ours has moved a slow viewer to a newer keyframe, or dropped one; 0 of others."""
    if not server.ours:
        return 0
    text = get(server.http, "/metrics").body.decode()
    return sum(int(float(count)) for count in _LOSSES.findall(text))


def watch(
    bench: Bench,
    server: Running,
    target: Target,
    viewers: int,
    rate: float,
    flush: float,
    late: Lateness | None,
    woken: bool = True,
) -> Cell:
    """Measure C{viewers} of C{target}, woken up by each arrival or reading every 20 ms."""
    before, lost = rss_bytes(server.pid), jumps(server)
    processes = bench.crowds or len(bench.others)
    with Audience(
        target, viewers, processes=processes, woken=woken, cores=bench.others, per_second=1500
    ) as audience:
        until = time.monotonic() + 30
        time.sleep(audience.fill_seconds)
        while not audience.filled() and time.monotonic() < until:
            time.sleep(0.2)
        time.sleep(_SETTLE)
        audience.mark()
        if late is not None:
            late.mark()
        used, waited, began = server_cpu(server.pid), server_wait(server.pid), time.monotonic()
        time.sleep(bench.seconds)
        used, took = server_cpu(server.pid) - used, time.monotonic() - began
        waited = (server_wait(server.pid) - waited) / took
        window = audience.report()
        lateness = late.since() if late is not None else []
        memory = (rss_bytes(server.pid) - before) / viewers
        if late is not None:
            late.mark()
    time.sleep(_GONE)
    leaving = max(late.since(), default=0.0) if late is not None else 0.0
    got = median(window.bytes)
    # One flush, the moments at which the processes looked, and a keyframe that came before or after them.
    lost = jumps(server) - lost
    least = 0.99 * got - rate * (flush + _APART) - _KEYFRAME * rate
    return Cell(
        cost=used / took,
        ok=sum(1 for count in window.bytes if count >= least) / viewers,
        supply=got / window.seconds / rate,
        load=window.busiest,
        late=quantile(lateness, 0.99),
        memory=memory,
        waited=waited,
        lost=lost,
        arrivals=window.reads / window.seconds / viewers,
        leaving=leaving,
    )


@contextlib.contextmanager
def ours(
    bench: Bench, flush: int, sample: Sample, probed: bool = True
) -> Iterator[tuple[Running, int, Lateness]]:
    """A node that flushes every C{flush} ms, with a publisher; its RTSP port and its probe."""
    (rtsp,) = free_ports(1)
    body = f"rtsp 127.0.0.1:{rtsp};\ntemplate live {{ prefix live; input publish://; }}"
    with TemporaryDirectory(prefix="bench-probe-") as folder:
        late = Lateness(Path(folder) / "late")
        extra = {"BENCH_FLUSH": str(flush), **({"BENCH_PROBE": str(late.path)} if probed else {})}
        with (
            node(bench.core, body, environment=extra) as server,
            publisher(f"rtmp://127.0.0.1:{server.rtmp}/live/cam", sample, bench.others),
        ):
            yield server, rtsp, late


def target(server: Running, rtsp: int, proto: str) -> Target:
    """Where C{proto} is watched."""
    paths = {
        "rtmp": "live/cam",
        "rtsp": "live/cam",
        "tshttp": "/live/cam/mpegts",
        "flv": "/live/cam/live.flv",
    }
    port = {"rtmp": server.rtmp, "rtsp": rtsp}.get(proto, server.http)
    return Target(proto=proto, host="127.0.0.1", port=port, path=paths[proto])


def peer(bench: Bench, rate: int, counts: Sequence[int]) -> dict[int, Cell]:
    """nginx-rtmp with each number of viewers."""
    sample = _SAMPLES[rate]
    with (
        nginx_rtmp(bench.core) as server,
        publisher(f"rtmp://127.0.0.1:{server.rtmp}/live/cam", sample, bench.others),
    ):
        where = Target(proto="rtmp", host="127.0.0.1", port=server.rtmp, path="live/cam")
        return {viewers: of_peer(bench, server, where, rate, viewers) for viewers in counts}


def node_peer(bench: Bench) -> None:
    """node-media-server, where it is installed, by RTMP and HTTP-FLV."""
    try:
        with (
            node_media_server(bench.core) as server,
            publisher(f"rtmp://127.0.0.1:{server.rtmp}/live/cam", MEGABIT, bench.others),
        ):
            for proto, port, path in (
                ("rtmp", server.rtmp, "live/cam"),
                ("flv", server.http, "/live/cam.flv"),
            ):
                of_peer(bench, server, Target(proto=proto, host="127.0.0.1", port=port, path=path), 1, 1000)
    except FileNotFoundError as reason:
        bench.row("node-media-server", "node-media-server", "").skipped = str(reason)


def of_peer(bench: Bench, server: Running, where: Target, rate: int, viewers: int) -> Cell:
    """A row of a peer."""
    bench.need(_SETTLE + bench.seconds + viewers / 1000 + 3)
    cell = watch(bench, server, where, viewers, byte_rate(_SAMPLES[rate]), 0.04, None)
    bench.say(
        f"{server.name} {where.proto} {rate} Mbit/s x {viewers}: {cell.cost * 1000 / viewers:.4f} cpu-ms, "
        f"ok {cell.ok:.3f}, supply {cell.supply:.3f}, load {cell.load:.2f}"
    )
    key = f"{server.name}-{where.proto}-{rate}-{viewers}"
    row = bench.row(
        key, f"{server.name} itself, {_NAMES[where.proto]}, {viewers:,} x {rate} Mbit/s", "cpu-ms"
    )
    row.add(cell.cost * 1000 / viewers, load=cell.load)
    row.note(f"supplied: {cell.ok * 100:.1f} %")
    row.note(f"woken: {cell.arrivals:.0f} times/s")
    if viewers >= _ENOUGH:
        row.note(f"memory: {cell.memory / 1000:.1f} KB per viewer")
    return cell


def cost_row(bench: Bench, proto: str, rate: int, flush: int, viewers: int) -> Row:
    """The row of a ratio to nginx-rtmp."""
    aim = None
    if rate == 1 and viewers == 1000:
        aim = {40: Aim(0.45, ratio=True), 100: Aim(0.22, ratio=True) if proto == "rtmp" else None}.get(flush)
    what = f"{_NAMES[proto]}, {viewers:,} x {rate} Mbit/s, flush {flush} ms"
    return bench.row(f"{proto}-{rate}-{flush}-{viewers}", what, "cpu-ms", aim, _PEER)


def core_rows(bench: Bench, proto: str, flush: int, cell: Cell, viewers: int) -> None:
    """The rows of thousands of viewers: the core, the supply, the reactor."""
    limit = {40: 65.0, 100: 30.0, 350: 12.0}[flush]
    what = f"{_NAMES[proto]}, {viewers:,} x 1 Mbit/s, flush {flush} ms"
    aim = viewers == 4000
    row = bench.row(f"core-{proto}-{flush}", f"{what}: share of the core", "%", Aim(limit) if aim else None)
    row.add(cell.cost * 100, load=cell.load)
    row = bench.row(
        f"ok-{proto}-{flush}",
        f"{what}: viewers with 99 % of the stream",
        "%",
        Aim(99.0, most=False) if aim else None,
    )
    row.add(cell.ok * 100)
    row.note(f"median: {cell.supply * 100:.1f} % of the film's rate")
    row.note(f"jumps: {cell.lost}")
    bench.row(
        f"late-{proto}-{flush}", f"{what}: timer of 10 ms late, p99", "ms", Aim(5.0) if aim else None
    ).add(cell.late)


#: (Mbit/s, flush, [(protocol, viewers)]).
Plan = Sequence[tuple[int, int, Sequence[tuple[str, int]]]]
#: What there is an aim for; the rest is L{bench.scenarios.matrix}.
AIMS: Plan = [
    (1, 40, [*((proto, 1000) for proto in PROTOS), ("rtmp", 4000)]),
    (1, 100, [("rtmp", 1000), ("rtmp", 4000)]),
    (1, 350, [("rtmp", 4000)]),
]


def bare(bench: Bench, rate: int, flush: int, viewers: int) -> float:
    """Processor time of a loop that only sends the same, as a share of the core; its row."""
    bench.need(_SETTLE + bench.seconds + viewers / 1000 + 3)
    speed = byte_rate(_SAMPLES[rate])
    with bare_sender(bench.core, speed, flush) as server:
        where = Target(proto="tshttp", host="127.0.0.1", port=server.http, path="/")
        cell = watch(bench, server, where, viewers, speed, flush / 1000, None)
    what = f"a loop that only sends, {viewers:,} x {rate} Mbit/s, every {flush} ms"
    row = bench.row(f"bare-{rate}-{flush}-{viewers}", what, "cpu-ms")
    row.add(cell.cost * 1000 / viewers, load=cell.load)
    row.note(f"core {cell.cost * 100:.1f} %")
    bench.say(f"{what}: {cell.cost * 1000 / viewers:.4f} cpu-ms ({cell.cost * 100:.1f} %)")
    return cell.cost


def run(bench: Bench) -> None:
    """One repeat."""
    go_through(bench, AIMS, (1000,))
    node_peer(bench)


def go_through(bench: Bench, plan: Plan, counts: Sequence[int]) -> None:
    """One repeat of C{plan}, beside nginx-rtmp with C{counts} viewers."""
    theirs = {rate: peer(bench, rate, counts) for rate in sorted({rate for rate, _, _ in plan})}
    for rate, flush, wanted in plan:
        sample = _SAMPLES[rate]
        floors = {viewers: bare(bench, rate, flush, viewers) for viewers in sorted({n for _, n in wanted})}
        with ours(bench, flush, sample) as (server, rtsp, late):
            for proto, viewers in wanted:
                bench.need(_SETTLE + bench.seconds + viewers / 1000 + 3)
                cell = watch(
                    bench, server, target(server, rtsp, proto), viewers, byte_rate(sample), flush / 1000, late
                )
                cost = cell.cost * 1000 / viewers
                other = theirs[rate].get(viewers)
                bench.say(
                    f"{proto} {rate} Mbit/s x {viewers} flush {flush}: {cost:.4f} cpu-ms "
                    f"({cell.cost * 100:.1f} %), ok {cell.ok:.3f}, supply {cell.supply:.3f}, "
                    f"late {cell.late:.1f} ms (leaving {cell.leaving:.0f}), load {cell.load:.2f}, "
                    f"disturbed {cell.waited:.3f}, woken {cell.arrivals:.1f}/s"
                    + (f", ratio {cell.cost / other.cost:.3f}" if other else "")
                )
                row = cost_row(bench, proto, rate, flush, viewers)
                row.add(cost, other.cost * 1000 / viewers if other else None, cell.load)
                row.note(f"loop: {cell.cost / floors[viewers]:.2f} x one that only sends")
                row.note(f"supplied: {cell.ok * 100:.1f} %")
                row.note(f"woken: {cell.arrivals:.0f} times/s")
                row.note(f"probe: p99 {cell.late:.1f} ms late")
                row.note(f"all leave at once: {cell.leaving:.0f} ms late at most")
                if cell.waited > 0.02:
                    row.note(f"disturbed: others had its core for {cell.waited * 100:.0f} % of the time")
                if viewers == 4000 and rate == 1:
                    core_rows(bench, proto, flush, cell, viewers)
                    where = target(server, rtsp, proto)
                    polled = watch(
                        bench, server, where, viewers, byte_rate(sample), flush / 1000, late, woken=False
                    )
                    what = (
                        f"{_NAMES[proto]}, {viewers:,} x 1 Mbit/s, flush {flush} ms: the core when they read "
                        "every 20 ms"
                    )
                    bench.row(f"polled-{proto}-{flush}", what, "%").add(polled.cost * 100, load=polled.load)
                    bench.say(f"polled: {polled.cost * 100:.1f} %")
