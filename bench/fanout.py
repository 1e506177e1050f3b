"""What does one viewer cost? Our HTTP MPEG-TS and RTMP play against nginx with its RTMP module, on the same
core.

Each round starts one server after the other on the same core, publishes the same looped sample of about 1
Mbit/s with ffmpeg, connects the viewers and measures the server's processor time over a few windows. The
figure is milliseconds of processor time per second of one viewer's stream (cpu-ms): 0.10 means 10,000 viewers
per core, were it linear.

    python -m bench.fanout --viewers 1000 --rounds 3 --windows 3 --seconds 6

Notes on noise. Loopback charges the sender with the receiver's half of TCP; a network card costs other things
instead: read the ratios, not the absolute figures. Rounds alternate between the servers, so that what else
the machine does hits all of them; expect ten to twenty percent between windows at 1000 viewers and more below
300. The first window after connecting is not measured. Viewers are polled every 20 ms by default; C{--mode
woken} costs servers that write often.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections import defaultdict
from collections.abc import Callable
from contextlib import AbstractContextManager

from bench.servers import Running, nginx_rtmp, node, publisher
from bench.viewers import Audience, Target, Window, rss_bytes, server_cpu
from test.e2e.samples import MEGABIT, byte_rate

SETTLE_SECONDS = 4.0


def nginx_play(server: Running) -> Target:
    return Target(proto="rtmp", host="127.0.0.1", port=server.rtmp, path="live/cam")


def our_play(server: Running) -> Target:
    return Target(proto="rtmp", host="127.0.0.1", port=server.rtmp, path="live/cam")


def our_http(server: Running) -> Target:
    return Target(proto="tshttp", host="127.0.0.1", port=server.http, path="/live/cam/mpegts")


Case = tuple[Callable[[int], AbstractContextManager[Running]], Callable[[Running], Target]]
CASES: dict[str, Case] = {
    "nginx-rtmp rtmp": (nginx_rtmp, nginx_play),
    "restreamer tshttp": (node, our_http),
    "restreamer rtmp": (node, our_play),
}
YARDSTICK = "nginx-rtmp rtmp"


def measure(case: Case, options: argparse.Namespace, others: list[int], label: str) -> list[float]:
    """One server's life: cpu-ms of each window."""
    start, target_of = case
    costs: list[float] = []
    rate = byte_rate(MEGABIT)
    with (
        start(options.core) as server,
        publisher(f"rtmp://127.0.0.1:{server.rtmp}/live/cam", MEGABIT, others),
    ):
        idle = rss_bytes(server.pid)
        with Audience(
            target_of(server),
            options.viewers,
            processes=options.processes,
            woken=options.mode == "woken",
            cores=others,
        ) as audience:
            time.sleep(audience.fill_seconds + SETTLE_SECONDS)
            for _ in range(options.windows):
                cost, window = one_window(server, audience, options)
                costs.append(cost)
                print(f"{label:18} {cost:.4f} cpu-ms  {window.describe(rate)}", flush=True)
            per_viewer = (rss_bytes(server.pid) - idle) / options.viewers / 1000
            print(
                f"{label:18} RSS {rss_bytes(server.pid) / 1e6:.1f} MB, {per_viewer:.1f} KB per viewer",
                flush=True,
            )
    return costs


def one_window(server: Running, audience: Audience, options: argparse.Namespace) -> tuple[float, Window]:
    """Processor time per viewer-second over one window, and what the viewers saw."""
    audience.mark()
    before, began = server_cpu(server.pid), time.monotonic()
    time.sleep(options.seconds)
    spent, took = server_cpu(server.pid) - before, time.monotonic() - began
    window = audience.report()
    return spent * 1000 / took / options.viewers, window


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--viewers", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=3, help="how often the servers take turns")
    parser.add_argument("--windows", type=int, default=3, help="windows per round")
    parser.add_argument("--seconds", type=float, default=6.0, help="length of a window")
    parser.add_argument(
        "--core", type=int, default=0, help="the server's core; everything else runs on the others"
    )
    parser.add_argument("--processes", type=int, default=3, help="processes of the load generator")
    parser.add_argument("--mode", choices=("polled", "woken"), default="polled")
    parser.add_argument("--only", choices=sorted(CASES), action="append", help="measure these only")
    options = parser.parse_args()
    others = sorted(os.sched_getaffinity(0) - {options.core})
    cases = {name: case for name, case in CASES.items() if not options.only or name in options.only}
    costs: dict[str, list[float]] = defaultdict(list)
    for _ in range(options.rounds):
        for name, case in cases.items():
            costs[name] += measure(case, options, others, name)
    rate = f"{byte_rate(MEGABIT) * 8 / 1e6:.2f} Mbit/s"
    print(f"\n{options.viewers} viewers, {rate}, {options.mode}, core {options.core}")
    for name, values in costs.items():
        median = statistics.median(values)
        line = f"{name:18} median {median:.4f} cpu-ms  min {min(values):.4f}  max {max(values):.4f}"
        if YARDSTICK in costs and name != YARDSTICK:
            line += f"  {median / statistics.median(costs[YARDSTICK]):.2f} x {YARDSTICK}"
        print(line)


if __name__ == "__main__":
    main()
