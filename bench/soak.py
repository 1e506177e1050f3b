"""Does a node stay as it is? An origin that records, an edge that pulls from it, viewers that come and go.

    python -m bench.soak --minutes 60

Every minute all viewers of the continuous protocols leave and others come, and a stream is published anew;
HLS players go on all the time. Memory (resident), descriptors and processor time of both nodes are noted
twice a minute. The figure is what memory grew by per hour over the second half, and in all.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import os
import time
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from attrs import define, field

from bench.fleet import Fleet
from bench.http_watch import Watchers
from bench.machine import Machine, cores_for, rss_bytes, server_cpu
from bench.servers import Running, node
from bench.viewers import Audience, Target
from test.e2e.nodes import KEY, free_ports, get, wait_until
from test.e2e.samples import MEGABIT

_STREAMS: Final = tuple(f"live/{number}" for number in range(4))
_SAMPLE_SECONDS: Final = 30.0
_TURN_SECONDS: Final = 60.0


@define
class Course:
    """How one node fares. @ivar rows: (seconds, resident bytes, descriptors, processor seconds)."""

    name: str
    pid: int
    rows: list[tuple[float, int, int, float]] = field(factory=list)

    def note(self, at: float) -> None:
        """Take a sample."""
        descriptors = len(os.listdir(f"/proc/{self.pid}/fd"))
        self.rows.append((at, rss_bytes(self.pid), descriptors, server_cpu(self.pid)))

    def slope(self) -> float:
        """Bytes per hour over the second half, by least squares."""
        rows = self.rows[len(self.rows) // 2 :]
        if len(rows) < 3:
            return 0.0
        middle = sum(row[0] for row in rows) / len(rows)
        mean = sum(row[1] for row in rows) / len(rows)
        spread = sum((row[0] - middle) ** 2 for row in rows)
        return 3600 * sum((row[0] - middle) * (row[1] - mean) for row in rows) / spread

    def describe(self) -> str:
        """A line."""
        first, half, last = self.rows[0], self.rows[len(self.rows) // 2], self.rows[-1]
        most = max(row[1] for row in self.rows)
        cpu = (last[3] - first[3]) / max(1.0, last[0] - first[0])
        return (
            f"{self.name}: {first[1] / 1e6:.1f} MB at first, {half[1] / 1e6:.1f} half-way, "
            f"{last[1] / 1e6:.1f} at the end, {most / 1e6:.1f} at most; {self.slope() / 1e6:+.2f} MB an hour "
            f"over the second half; descriptors {first[2]} .. {last[2]}; {100 * cpu:.1f} % of a core"
        )


def audiences(server: Running, rtsp: int, viewers: int, cores: Sequence[int]) -> list[Audience]:
    """C{viewers} of each continuous protocol, each at another stream."""
    found = []
    for proto, stream in zip(("rtmp", "tshttp", "flv", "rtsp"), _STREAMS, strict=True):
        path = {"tshttp": f"/{stream}/mpegts", "flv": f"/{stream}/live.flv"}.get(proto, stream)
        port = {"rtmp": server.rtmp, "rtsp": rtsp}.get(proto, server.http)
        where = Target(proto=proto, host="127.0.0.1", port=port, path=path)
        found.append(Audience(where, viewers, processes=1, cores=cores, per_second=200))
    return found


def soak(minutes: float, viewers: int, core: int, out: Path) -> list[Course]:
    """Run it."""
    others = cores_for(core)
    with TemporaryDirectory(prefix="bench-soak-") as archive, contextlib.ExitStack() as stack:
        body = f"template live {{ prefix live; input publish://; segment_duration 2; dvr {archive} 10m; }}"
        origin = stack.enter_context(node(core, body, "origin"))
        (rtsp,) = free_ports(1)
        pull = f"rtsp 127.0.0.1:{rtsp};\nsource 127.0.0.1:{origin.http} {{ cluster_key {KEY}; }}"
        edge = stack.enter_context(node(core, pull, "edge"))
        stack.enter_context(Fleet([origin.rtmp], list(_STREAMS), MEGABIT, cores=others))
        for stream in _STREAMS:
            wait_until(
                lambda path=f"/{stream}/index.m3u8": get(edge.http, path).status == 200,  # type: ignore[misc]
                30.0,
                stream,
            )
        lists = [
            f"/{stream}/{file}" for stream in _STREAMS for file in ("index.m3u8", "tracks-v1/index.m3u8")
        ]
        watchers = stack.enter_context(Watchers(edge.http, lists, 2.0, others))
        courses = [Course("origin", origin.pid), Course("edge", edge.pid)]
        began = time.monotonic()
        fetched = missed = 0
        while time.monotonic() - began < minutes * 60:
            turn = time.monotonic()
            with contextlib.ExitStack() as crowd:
                crowd.enter_context(Fleet([origin.rtmp], ["live/now-and-then"], MEGABIT, cores=others))
                for audience in audiences(edge, rtsp, viewers, others):
                    crowd.enter_context(audience)
                for _ in range(int(_TURN_SECONDS / _SAMPLE_SECONDS)):
                    time.sleep(_SAMPLE_SECONDS - 1)
                    for course in courses:
                        course.note(time.monotonic() - began)
            got = watchers.told()
            fetched, missed = fetched + got[0], missed + got[1]
            _write(out, courses)
            print(
                f"{(turn - began) / 60:.0f} min",
                *(course.describe() for course in courses),
                sep="\n  ",
                flush=True,
            )
        print(f"HLS players fetched {fetched / 1e6:.0f} MB and missed {missed} segments")
        return courses


def _write(out: Path, courses: Sequence[Course]) -> None:
    with out.open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["node", "seconds", "resident_bytes", "descriptors", "cpu_seconds"])
        for course in courses:
            table.writerows([course.name, *row] for row in course.rows)


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m bench.soak", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--viewers", type=int, default=50, help="of each of RTMP, HTTP-TS, HTTP-FLV, RTSP")
    parser.add_argument("--core", type=int, default=0, help="of both nodes")
    parser.add_argument("--out", type=Path, default=Path("soak.csv"))
    options = parser.parse_args()
    print(Machine.here().describe())
    for course in soak(options.minutes, options.viewers, options.core, options.out):
        print(course.describe())


if __name__ == "__main__":
    main()
