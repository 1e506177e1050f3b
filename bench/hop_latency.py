"""How much later does a frame arrive through an edge than from the origin?

A publisher of ours stamps every picture with the moment it was sent (see C{bench.publish}); readers on origin
and edge find the stamps in what they receive. Printed: publisher to origin's viewer, publisher to edge's
viewer, and the difference for the same frame, which is what the hop added.

    python -m bench.hop_latency --seconds 20
    python -m bench.hop_latency --proto rtmp --background 500     # with other viewers on the edge
"""

from __future__ import annotations

import argparse
import contextlib
import multiprocessing
import multiprocessing.connection
import os
import select
import socket
import statistics
import threading
import time
from collections.abc import Sequence

from bench import publish
from bench.dialogues import open_rtsp
from bench.servers import Running, nginx_rtmp, node
from bench.viewers import Audience, Target
from test.e2e.nodes import KEY, Node
from test.e2e.players import HttpStream, first_media
from test.e2e.rtmp_wire import WireClient
from test.e2e.samples import BFRAMES, MEGABIT


def open_socket(proto: str, port: int, name: str) -> socket.socket:
    """A connection on which media follows."""
    if proto == "tshttp":
        return HttpStream(port, f"/{name}/mpegts").sock
    if proto == "flv":
        return HttpStream(port, f"/{name}/live.flv").sock
    if proto == "rtsp":
        sock = socket.create_connection(("127.0.0.1", port), 10.0)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        open_rtsp(sock, port, name)
        return sock
    app, _, key = name.rpartition("/")
    client = WireClient.connect(port, app)
    client.play(key)
    return client.sock


def listen(proto: str, port: int, name: str, pipe: multiprocessing.connection.Connection) -> None:
    """Collect (sent, received) of every stamp until told to end, then send them."""
    sock = open_socket(proto, port, name)
    sock.setblocking(False)
    poll = select.poll()
    poll.register(sock.fileno(), select.POLLIN)
    poll.register(pipe.fileno(), select.POLLIN)
    seen: dict[int, int] = {}
    tail = b""
    while not pipe.poll(0):
        poll.poll(200)
        try:
            data = sock.recv(1 << 18)
        except BlockingIOError:
            continue
        now = time.monotonic_ns()
        if not data:
            break
        tail += data
        for sent in publish.stamps(tail):
            seen.setdefault(sent, now)
        tail = tail[-publish.STAMP_SIZE :]
    pipe.send(seen)


def quantiles(values: list[float]) -> str:
    """Median, 95th and 99th percentile and maximum of milliseconds."""
    ordered = sorted(values)
    at = [ordered[min(len(ordered) - 1, int(len(ordered) * part))] for part in (0.95, 0.99)]
    median = statistics.median(ordered)
    return f"median {median:6.2f}  p95 {at[0]:6.2f}  p99 {at[1]:6.2f}  max {ordered[-1]:6.2f} ms"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--proto", choices=("tshttp", "rtmp"), default="tshttp")
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--background", type=int, default=0, help="further HTTP viewers on the edge")
    parser.add_argument("--megabit", action="store_true", help="publish the 1 Mbit/s sample")
    parser.add_argument(
        "--nginx",
        action="store_true",
        help="two nginx with the RTMP module and its pull relay instead (RTMP only)",
    )
    options = parser.parse_args()
    cores = sorted(os.sched_getaffinity(0))
    with contextlib.ExitStack() as stack:
        origin, edge = start(stack, options, cores)
        paced = publish.publisher(origin.rtmp, "live", "cam", MEGABIT if options.megabit else BFRAMES)
        over = threading.Event()

        def run() -> None:
            while not over.is_set():
                paced.run_for(0.5)

        thread = threading.Thread(target=run)
        thread.start()
        stack.callback(thread.join)
        stack.callback(over.set)
        if edge.http:
            first_media(edge.http, "live/cam", 10.0)
        else:
            time.sleep(3.0)
        if options.background:
            target = Target(proto="tshttp", host="127.0.0.1", port=edge.http, path="/live/cam/mpegts")
            stack.enter_context(Audience(target, options.background, processes=1))
            time.sleep(3.0)
        seen = watch([origin, edge], options.proto, options.seconds)
    report(seen, options.proto)


def start(
    stack: contextlib.ExitStack, options: argparse.Namespace, cores: Sequence[int]
) -> tuple[Running, Running]:
    """Origin and edge on a core each."""
    other = cores[1 % len(cores)]
    if options.nginx:
        options.proto = "rtmp"
        origin = stack.enter_context(nginx_rtmp(cores[0]))
        return origin, stack.enter_context(nginx_rtmp(other, f"pull rtmp://127.0.0.1:{origin.rtmp}/live;"))
    origin = stack.enter_context(node(cores[0], name="origin"))
    source = f"source 127.0.0.1:{origin.http} {{ cluster_key {KEY}; }}"
    return origin, stack.enter_context(node(other, body=source, name="edge"))


def watch(servers: Sequence[Running | Node], proto: str, seconds: float) -> list[dict[int, int]]:
    """What a listener on each of C{servers} saw of C{live/cam} within C{seconds}."""
    pipes = []
    for server in servers:
        ours, theirs = multiprocessing.Pipe()
        port = server.http if proto == "tshttp" else server.rtmp
        multiprocessing.Process(target=listen, args=(proto, port, "live/cam", theirs), daemon=True).start()
        pipes.append(ours)
    time.sleep(seconds)
    for pipe in pipes:
        pipe.send("end")
    return [pipe.recv() for pipe in pipes]


def on_both(at_origin: dict[int, int], at_edge: dict[int, int]) -> list[int]:
    """The stamps that were seen on both nodes, but for the first half second.

    What was sent before both listened comes as a burst and says nothing of the delay.
    """
    began = max(min(at_origin.values()), min(at_edge.values())) + 500_000_000
    return [sent for sent in at_origin if sent in at_edge and sent >= began]


def report(seen: list[dict[int, int]], proto: str) -> None:
    """Print what was asked."""
    at_origin, at_edge = seen
    both = on_both(at_origin, at_edge)
    print(f"{proto}: {len(both)} frames seen on both nodes")
    print("publisher to origin's viewer  ", quantiles([(at_origin[sent] - sent) / 1e6 for sent in both]))
    print("publisher to edge's viewer    ", quantiles([(at_edge[sent] - sent) / 1e6 for sent in both]))
    print(
        "added by the hop              ",
        quantiles([(at_edge[sent] - at_origin[sent]) / 1e6 for sent in both]),
    )


if __name__ == "__main__":
    main()
