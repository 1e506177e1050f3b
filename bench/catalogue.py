"""How long until an edge knows all streams of a source, how long until it knows a new one, what do they cost?

A source offers many streams on demand, from a file that nobody plays; an edge lists them. Some others run and
are taken by the edge's white list. Printed: the time from the edge's start to its whole list, and from the
start of a source to the list of an edge that waits for it; the time from a new stream's appearance on the
source to its appearance on the edge; processor time and memory of both nodes at rest, and of the same nodes
with no stream at all.

    python -m bench.catalogue --streams 1000 --running 20
"""

from __future__ import annotations

import argparse
import os
import statistics
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from typing_extensions import override

from test.e2e.nodes import KEY, ROOT, Node, wait_until
from test.e2e.rtmp_wire import PacedPublisher, WireClient, looped, read_flv
from test.e2e.samples import BFRAMES, make

#: Looking takes about a millisecond; this is between two looks, seconds.
LOOK_EVERY = 0.001
_TICK = os.sysconf("SC_CLK_TCK")


def source_body(streams: int, running: int) -> str:
    """Configuration of a source: C{running} streams C{mylive/…} that run, the rest C{idle/…} on demand."""
    lines = [f"vod demo {{ storage {ROOT / 'restreamer' / 'demo'}; }}"]
    lines.append("template mylive { prefix mylive; input publish://; segment_duration 2; segment_count 4; }")
    for index in range(running):
        lines.append(f"stream mylive/s{index} {{ input file://demo/demo.mp4; segment_duration 2; }}")
    for index in range(streams - running):
        lines.append(f"ondemand idle/s{index} {{ input file://demo/demo.mp4; segment_duration 2; }}")
    return "\n".join(lines)


def edge_body(source: Node) -> str:
    """Configuration of its edge."""
    return f"source 127.0.0.1:{source.http} {{ cluster_key {KEY}; only mylive/*; }}"


def count(edge: Node) -> int:
    """How many streams C{edge} knows from its source."""
    (source,) = edge.get("/streamer/api/v3/cluster/sources").json()["sources"]
    return int(source["stats"]["total_streams"])


def seconds_until_listed(node: Node, streams: int, patience: float = 30.0) -> float:
    """Seconds from now until C{node} knows so many streams from its source."""
    began = time.monotonic()

    def listed() -> float:
        return time.monotonic() - began if count(node) >= streams else 0.0

    return wait_until(listed, patience, f"{node.name} knows {streams} streams")


def has(node: Node, name: str) -> bool:
    """Whether C{node} has a stream C{name}."""
    return node.get(f"/streamer/api/v3/streams/{name}").status == 200


class Fresh(threading.Thread):
    """Publishes a stream that was not there before, until it is told to end."""

    def __init__(self, node: Node, name: str) -> None:
        super().__init__(daemon=True)
        app, _, key = name.rpartition("/")
        self.client = WireClient.connect(node.rtmp, app)
        self.client.publish(key)
        self.paced = PacedPublisher(self.client, looped(read_flv(make(BFRAMES))))
        self.over = threading.Event()

    @override
    def run(self) -> None:
        while not self.over.is_set():
            self.paced.run_for(0.05)

    def first_key(self) -> float:
        """The moment the first keyframe was sent, monotonic seconds."""
        return wait_until(lambda: self.paced.first_key, 5.0, "the publisher sent a keyframe")

    def end(self) -> float:
        """Stop and hang up; the moment of it, monotonic seconds."""
        self.over.set()
        self.join(5)
        self.client.close()
        return time.monotonic()


def discovery(source: Node, edge: Node, name: str) -> float:
    """Seconds, at most, from the appearance of a new stream on C{source} to that on C{edge}.

    Both are asked by turns. Counted from the last look that did not see it on the source.
    """
    missing = time.monotonic()
    fresh = Fresh(source, name)
    fresh.start()
    try:
        deadline = time.monotonic() + 10.0
        while time.monotonic() < deadline:
            now = time.monotonic()
            if has(source, name):
                break
            missing = now
            time.sleep(LOOK_EVERY)
        while not has(edge, name):
            if time.monotonic() > deadline:
                raise AssertionError(f"{name} never appeared on {edge.name}")
            time.sleep(LOOK_EVERY)
        return time.monotonic() - missing
    finally:
        fresh.end()


def processor_seconds(node: Node) -> float:
    """Processor time C{node} has used so far."""
    fields = Path(f"/proc/{node.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICK


def load(nodes: Sequence[Node], seconds: float) -> list[float]:
    """Share of one core that each of C{nodes} uses over C{seconds}."""
    before = [processor_seconds(node) for node in nodes]
    time.sleep(seconds)
    return [(processor_seconds(node) - start) / seconds for node, start in zip(nodes, before, strict=True)]


def run(folder: Path, streams: int, running: int, seconds: float, fresh: int) -> None:
    """One source and one edge with so many streams: print what is found."""
    source = Node("source", source_body(streams, running), folder, loglevel="info")
    edge = Node("edge", edge_body(source), folder, loglevel="info")
    try:
        source.up()
        edge.start()
        edge.wait_ready()
        took = seconds_until_listed(edge, streams)
        print(f"{streams} streams, {running} of them running")
        print(f"  edge started: the whole list {took:.3f} s after it was ready")
        time.sleep(3.0)
        at_source, at_edge = load([source, edge], seconds)
        print(f"  at rest: source {at_source:.1%} of a core, {source.rss() / 2**20:.0f} MiB;", end=" ")
        print(f"edge {at_edge:.1%}, {edge.rss() / 2**20:.0f} MiB")
        if fresh:
            found = [discovery(source, edge, f"mylive/fresh{index}") * 1000 for index in range(fresh)]
            median, worst = statistics.median(found), max(found)
            print(f"  a new stream is on the edge after: median {median:.1f} ms, longest {worst:.1f} ms")
        if not streams:
            return
        source.kill()
        wait_until(lambda: count(edge) <= fresh, 20.0, "the edge has forgotten the source's list")
        source.start()
        source.wait_ready()
        seconds_until_listed(edge, streams)
        whole = time.time()
        (told,) = edge.get("/streamer/api/v3/cluster/sources").json()["sources"]
        took = whole - told["stats"]["opened_at"] / 1000
        print(f"  source started again: the whole list on the edge {took:.3f} s after the link")
    finally:
        edge.stop()
        source.stop()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--streams", type=int, default=1000, help="streams of the source")
    parser.add_argument("--running", type=int, default=20, help="those among them that run")
    parser.add_argument("--seconds", type=float, default=10.0, help="how long to watch the load")
    parser.add_argument("--fresh", type=int, default=20, help="how many new streams to time")
    given = parser.parse_args()
    for streams, running in ((0, 0), (given.streams, 0), (given.streams, given.running)):
        with TemporaryDirectory(prefix="bench-catalogue-") as name:
            run(Path(name), streams, running, given.seconds, given.fresh if running else 0)


if __name__ == "__main__":
    main()
