"""How late does a viewer of an edge see what a publisher sent to its origin, by each protocol?

A publisher of ours stamps every picture with the moment it was sent (see C{bench.publish}); players on the
edge find the stamps in what they receive. For low-latency HLS a browser plays the page of the stream, and the
delay is that of its playhead: the wall clock less the time (EXT-X-PROGRAM-DATE-TIME) of the picture shown.

    python -m bench.latency --seconds 20
"""

from __future__ import annotations

import argparse
import contextlib
import multiprocessing
import os
import re
import statistics
import threading
import time
from unittest import SkipTest

from bench import publish
from bench.hop_latency import listen, quantiles
from bench.servers import node
from test.e2e.browser import Browser
from test.e2e.nodes import KEY, free_ports
from test.e2e.players import first_media
from test.e2e.samples import BFRAMES

#: What is aimed at, ms.
AIMS = {"rtmp": 250, "rtsp": 250, "tshttp": 300}
LL_HLS_AIM = 2.0
BODY = "template live { prefix live; input publish://; segment_duration 2; chunk_duration 200; }"


def watched(ports: dict[str, int], seconds: float) -> dict[str, dict[int, int]]:
    """When a player by each protocol saw each stamp."""
    pipes = {}
    for proto, port in ports.items():
        ours, theirs = multiprocessing.Pipe()
        multiprocessing.Process(target=listen, args=(proto, port, "live/cam", theirs), daemon=True).start()
        pipes[proto] = ours
    time.sleep(seconds)
    for pipe in pipes.values():
        pipe.send("end")
    return {proto: pipe.recv() for proto, pipe in pipes.items()}


def playhead(port: int, seconds: float) -> list[float]:
    """How many seconds the playhead of a browser is behind, asked twice a second."""
    found = []
    with Browser.open_or_skip() as browser:
        browser.go(f"http://127.0.0.1:{port}/live/cam/embed.html?proto=ll-hls")
        browser.wait_advance(4.0, 30.0)
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            told = browser.run("return document.getElementById('delay').textContent")
            match = re.match(r"(-?[\d.]+) s", told)
            if match:
                found.append(float(match[1]))
            time.sleep(0.5)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=20.0)
    options = parser.parse_args()
    cores = sorted(os.sched_getaffinity(0))
    (rtsp,) = free_ports(1)
    with contextlib.ExitStack() as stack:
        origin = stack.enter_context(node(cores[0], BODY, name="origin"))
        source = f"rtsp 127.0.0.1:{rtsp};\nsource 127.0.0.1:{origin.http} {{ cluster_key {KEY}; }}"
        edge = stack.enter_context(node(cores[1 % len(cores)], source, name="edge"))
        paced = publish.publisher(origin.rtmp, "live", "cam", BFRAMES)
        over = threading.Event()

        def run() -> None:
            while not over.is_set():
                paced.run_for(0.5)

        thread = threading.Thread(target=run)
        thread.start()
        stack.callback(thread.join)
        stack.callback(over.set)
        first_media(edge.http, "live/cam", 10.0)
        time.sleep(3.0)
        ports = {"rtmp": edge.rtmp, "rtsp": rtsp, "tshttp": edge.http}
        print("publisher to a viewer of the edge")
        for proto, seen in watched(ports, options.seconds).items():
            # What was sent before it listened comes as a burst.
            began = min(seen.values()) + 500_000_000
            late = [(came - sent) / 1e6 for sent, came in seen.items() if sent >= began]
            print(f"{proto:8} {len(late):5} frames  {quantiles(late)}  (aim: {AIMS[proto]} ms)")
        try:
            delays = playhead(edge.http, options.seconds)
        except SkipTest as reason:
            print(f"ll-hls   {reason}")
            return
        middle, most = statistics.median(delays), max(delays)
        print(
            f"ll-hls   playhead of hls.js {middle:.2f} s behind, at most {most:.2f} s (aim: {LL_HLS_AIM} s)"
        )


if __name__ == "__main__":
    main()
