"""What does a viewer cost that stops reading? Memory of the server over time, and what the others notice.

Ordinary viewers watch; some more connect with the smallest receive buffer, read for a moment and then never
again. A server that queues without bound grows by the stream's rate for each of them; ours must stay flat,
skip or drop them, and the others must not have a longer gap than without them.

    python -m bench.slow_viewer --viewers 200 --slow 50 --seconds 40
"""

from __future__ import annotations

import argparse
import os
import time

from bench.servers import node, publisher
from bench.viewers import Audience, Target, rss_bytes
from test.e2e.samples import MEGABIT, byte_rate


def connections(pid: int) -> int:
    """Open descriptors of the server: shows when it hung up on somebody."""
    return len(os.listdir(f"/proc/{pid}/fd"))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--proto", choices=("tshttp", "rtmp"), default="tshttp")
    parser.add_argument("--viewers", type=int, default=200)
    parser.add_argument("--slow", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=40.0)
    parser.add_argument("--step", type=float, default=4.0, help="seconds between the lines printed")
    parser.add_argument("--core", type=int, default=0)
    options = parser.parse_args()
    others = sorted(os.sched_getaffinity(0) - {options.core})
    with node(options.core) as server, publisher(f"rtmp://127.0.0.1:{server.rtmp}/live/cam", MEGABIT, others):
        port = server.http if options.proto == "tshttp" else server.rtmp
        path = "/live/cam/mpegts" if options.proto == "tshttp" else "live/cam"
        good = Target(proto=options.proto, host="127.0.0.1", port=port, path=path)
        bad = Target(proto=options.proto, host="127.0.0.1", port=port, path=path, rcvbuf=4096, stop_after=1.0)
        with Audience(good, options.viewers, processes=2, cores=others) as audience:
            time.sleep(audience.fill_seconds + 3.0)
            watch(server.pid, audience, 2, options.step, "before")
            began = rss_bytes(server.pid)
            with Audience(bad, options.slow, processes=1, cores=others):
                watch(server.pid, audience, int(options.seconds / options.step), options.step, "during")
            watch(server.pid, audience, 1, options.step, "after ")
            grown = rss_bytes(server.pid) - began
    print(f"\n{options.slow} viewers stopped reading: RSS +{grown / 1e6:.1f} MB in {options.seconds:.0f} s")


def watch(pid: int, audience: Audience, count: int, step: float, label: str) -> None:
    """Print C{count} lines of what the server holds and the ordinary viewers see."""
    for _ in range(count):
        audience.mark()
        time.sleep(step)
        window = audience.report()
        state = f"{label}  RSS {rss_bytes(pid) / 1e6:6.1f} MB  descriptors {connections(pid):5}"
        print(f"{state}  {window.describe(byte_rate(MEGABIT))}", flush=True)


if __name__ == "__main__":
    main()
