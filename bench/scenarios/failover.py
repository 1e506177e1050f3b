"""How long has a viewer of an edge nothing when the origin it is fed from dies (SIGKILL), while another
has the stream?
"""

from __future__ import annotations

import contextlib
import itertools
import os
import select
import signal
import threading
import time
from typing import Final

from bench.fleet import Fleet
from bench.machine import median, quantile
from bench.scenario import Bench
from bench.servers import node
from test.e2e.nodes import KEY
from test.e2e.players import HttpStream, first_media
from test.e2e.samples import MEGABIT

NAME: Final = "failover"
TITLE: Final = "Failover"
BUDGET: Final = 90.0

_BODY: Final = "template live { prefix live; input publish://; }"


def arrivals(port: int, over: threading.Event) -> list[float]:
    """When something came for a viewer, until C{over}."""
    stream = HttpStream(port, "/live/cam/mpegts")
    stream.sock.setblocking(False)
    poll = select.poll()
    poll.register(stream.sock.fileno(), select.POLLIN)
    found: list[float] = []
    while not over.is_set():
        if not poll.poll(200):
            continue
        try:
            data = stream.sock.recv(1 << 18)
        except BlockingIOError:
            continue
        if not data:
            break
        found.append(time.monotonic())
    return found


def run(bench: Bench) -> None:
    """One repeat: both origins are published the same film; the first of the edge's sources dies."""
    bench.need(22)
    with contextlib.ExitStack() as stack:
        origins = [stack.enter_context(node(bench.core, _BODY, name=name)) for name in ("first", "second")]
        sources = "\n".join(f"source 127.0.0.1:{each.http} {{ cluster_key {KEY}; }}" for each in origins)
        edge = stack.enter_context(node(bench.others[0], sources, name="edge"))
        ports = [each.rtmp for each in origins]
        stack.enter_context(Fleet(ports, ["live/cam"], MEGABIT, cores=bench.others[1:2] or bench.others))
        first_media(edge.http, "live/cam", 15.0)
        over = threading.Event()
        found: list[list[float]] = []
        thread = threading.Thread(target=lambda: found.append(arrivals(edge.http, over)))
        thread.start()
        time.sleep(6.0)
        killed = time.monotonic()
        with contextlib.suppress(ProcessLookupError):
            os.kill(origins[0].pid, signal.SIGKILL)
        time.sleep(6.0)
        over.set()
        thread.join(5)
    times = found[0]
    pauses = [(late - early, late) for early, late in itertools.pairwise(times)]
    usual = [pause for pause, at in pauses if at < killed]
    after = [pause for pause, at in pauses if at >= killed]
    gap = max(after, default=0.0) if times[-1] > killed + 3 else time.monotonic() - times[-1]
    row = bench.row("failover", "origin killed: longest silence at a viewer of the edge", "ms")
    row.add(gap * 1000)
    row.note(
        f"usual silence: median {median(usual) * 1000:.0f} ms, p99 {quantile(usual, 0.99) * 1000:.0f} ms"
    )
    bench.say(f"longest silence {gap * 1000:.0f} ms; usual p99 {quantile(usual, 0.99) * 1000:.0f} ms")
