"""Do more workers serve as many more viewers?

With N workers the node has N cores, and N times the viewers. What is compared is the processor time of all
its processes for one viewer: N workers that cost as much for each viewer as one does serve N times the
viewers.
"""

from __future__ import annotations

import contextlib
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from bench.machine import family, family_cpu, median, server_cpu
from bench.scenario import Aim, Bench, SkipError
from bench.servers import TunedNode, publisher
from bench.viewers import Audience, Target
from test.e2e.nodes import ROOT
from test.e2e.samples import MEGABIT, byte_rate

NAME: Final = "scaling"
TITLE: Final = "Workers"
BUDGET: Final = 240.0

_VIEWERS: Final = 1000
_FLUSH: Final = 100
_SETTLE: Final = 4.0


def known() -> None:
    """@raise SkipError: this version has no workers."""
    with TemporaryDirectory(prefix="bench-check-") as folder:
        path = Path(folder) / "node.conf"
        path.write_text("http 127.0.0.1:1;\nworkers 2;\n")
        command = [sys.executable, "-m", "restreamer.cli", "check", str(path)]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if "workers" in done.stdout + done.stderr and done.returncode:
        raise SkipError("the configuration has no word workers yet")


def cost(bench: Bench, workers: int, cores: list[int], others: list[int]) -> tuple[float, float, float, str]:
    """(processor seconds per second and viewer, share of viewers supplied, load, how even)."""
    viewers = _VIEWERS * workers
    bench.need(_SETTLE + bench.seconds + 14)
    with TemporaryDirectory(prefix="bench-crew-") as folder, contextlib.ExitStack() as stack:
        body = f"workers {workers};\ntemplate live {{ prefix live; input publish://; }}"
        ours = TunedNode(
            "crew",
            body,
            Path(folder),
            loglevel="info",
            prefix=["taskset", "-c", ",".join(map(str, cores))],
            environment={"BENCH_FLUSH": str(_FLUSH)},
        )
        stack.callback(ours.stop)
        ours.start()
        ours.wait_ready()
        time.sleep(2.0)
        stack.enter_context(publisher(f"rtmp://127.0.0.1:{ours.rtmp}/live/cam", MEGABIT, others))
        target = Target(proto="tshttp", host="127.0.0.1", port=ours.http, path="/live/cam/mpegts")
        crowd = stack.enter_context(
            Audience(target, viewers, processes=len(others), woken=True, cores=others, per_second=800)
        )
        time.sleep(crowd.fill_seconds + _SETTLE)
        crowd.mark()
        pids = family(ours.pid)
        each = [server_cpu(pid) for pid in pids]
        used, began = family_cpu(ours.pid), time.monotonic()
        time.sleep(bench.seconds)
        used, took = family_cpu(ours.pid) - used, time.monotonic() - began
        shares = [(server_cpu(pid) - before) / took for pid, before in zip(pids, each, strict=True)]
        window = crowd.report()
    least = 0.99 * median(window.bytes) - byte_rate(MEGABIT) * _FLUSH / 1000
    ok = sum(1 for count in window.bytes if count >= least) / viewers
    even = " ".join(f"{share * 100:.0f}" for share in shares if share > 0.001)
    return used / took / viewers, ok, window.busiest, even


def run(bench: Bench) -> None:
    """One repeat: 1, 2, … workers, as long as a core is left for the load generator."""
    known()
    alone = 0.0
    cores = [bench.core, *bench.others]
    most = max(1, len(cores) - 1)
    # The same for every number of workers: viewers that are awake already are woken up for less.
    rest = cores[most:] or cores
    for workers in range(1, most + 1):
        mine = cores[:workers]
        found, ok, load, even = cost(bench, workers, mine, rest)
        alone = alone or found
        row = bench.row(
            f"workers-{workers}",
            f"HTTP-TS, {workers} x {_VIEWERS:,} viewers, flush {_FLUSH} ms, {workers} workers: of linear",
            "",
            Aim(0.9, most=False) if workers > 1 else None,
        )
        row.add(alone / found, load=load)
        row.note(f"{found * 1000:.4f} cpu-ms")
        row.note(f"processes: {even} % of a core")
        row.note(f"supplied: {ok * 100:.1f} % of the viewers")
        bench.say(
            f"{workers} workers: {found * 1000:.4f} cpu-ms per viewer, {alone / found:.2f} of linear, "
            f"ok {ok:.3f}, processes {even} %, load {load:.2f}"
        )
