"""What viewers cost who are asked about: 20,000 HLS sessions on one edge, 500 new ones a second.

An origin has a little sound, an edge with C{on_play} serves it; each viewer has a token of its own and loads
the playlist and a segment every ten seconds. Printed: questions to the backend (there should be one for each
session), processor time of the edge for each session that comes and for each request, memory for each; then
the backend is killed while everybody watches: who watches goes on, who is new is refused.

    python -m bench.auth --sessions 20000 --rate 500
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import heapq
import multiprocessing
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from attrs import define, field, frozen

from bench.servers import pin
from test.e2e.nodes import KEY, Node, free_ports, wait_for_port
from test.e2e.samples import FFMPEG

#: Seconds between two visits of one viewer.
EVERY = 10.0
#: Connections that the viewers share: the edge sees a proxy's.
CONNECTIONS = 128
NAME = "live/show"
_TICK = os.sysconf("SC_CLK_TCK")


class Backend:
    """Answers 200 to everybody, in a process of its own."""

    def __init__(self, port: int, duration: int) -> None:
        self._questions = {kind: multiprocessing.Value("Q", 0) for kind in ("new", "update")}
        self._process = multiprocessing.Process(
            target=_answer, args=(port, duration, self._questions), daemon=True
        )
        self._port = port

    @property
    def questions(self) -> dict[str, int]:
        """So far, by kind."""
        return {kind: int(counted.value) for kind, counted in self._questions.items()}

    def start(self) -> None:
        """Listen."""
        self._process.start()
        wait_for_port(self._port, 5)

    def kill(self) -> None:
        """Be gone, with all connections."""
        self._process.kill()
        self._process.join()


def _answer(port: int, duration: int, questions: dict[str, Any]) -> None:
    """The backend's process."""
    words = f"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nX-AuthDuration: {duration}\r\n\r\n".encode("ascii")

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                questions["new" if b"request_type=new_session" in head else "update"].value += 1
                writer.write(words)
        writer.close()

    async def run() -> None:
        async with await asyncio.start_server(serve, "127.0.0.1", port, backlog=1024) as server:
            await server.serve_forever()

    asyncio.run(run())


@define(eq=False)
class Load:
    """The viewers.

    @ivar outcomes: of requests, by what was asked and its status. @ivar requests: so far.
    @ivar slow: the slowest answer lately, seconds.
    """

    port: int
    sessions: int
    rate: float
    prefix: str = "viewer"
    outcomes: Counter[tuple[str, int]] = field(factory=Counter)
    requests: int = 0
    came: int = 0
    slow: float = 0.0
    _due: list[tuple[float, int]] = field(factory=list)

    async def run(self, seconds: float) -> None:
        """Let all come, then go on for C{seconds}."""
        until = time.monotonic() + self.sessions / self.rate + seconds
        await asyncio.gather(self._come(), *[self._connection(until) for _ in range(CONNECTIONS)])

    async def _come(self) -> None:
        began = time.monotonic()
        while self.came < self.sessions:
            wanted = min(self.sessions, int((time.monotonic() - began) * self.rate))
            for number in range(self.came, wanted):
                heapq.heappush(self._due, (0.0, number))
            self.came = max(self.came, wanted)
            await asyncio.sleep(0.01)

    async def _connection(self, until: float) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port, limit=1 << 20)
        while (now := time.monotonic()) < until:
            if not self._due or self._due[0][0] > now:
                await asyncio.sleep(0.005)
                continue
            _, number = heapq.heappop(self._due)
            try:
                await self._visit(reader, writer, number)
            except (asyncio.IncompleteReadError, ConnectionError):
                # A connection is good for a bounded number of requests.
                writer.close()
                reader, writer = await asyncio.open_connection("127.0.0.1", self.port, limit=1 << 20)
                await self._visit(reader, writer, number)
            heapq.heappush(self._due, (time.monotonic() + EVERY, number))
        writer.close()

    async def _visit(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int) -> None:
        path = f"/{NAME}/index.m3u8?token={self.prefix}{number}"
        status, body = await self._get(reader, writer, path)
        self.outcomes["list", status] += 1
        if status == 200:
            last = [line for line in body.decode().splitlines() if line and line[0] != "#"][-1]
            status, _ = await self._get(reader, writer, f"/{NAME}/{last}")
            self.outcomes["segment", status] += 1

    async def _get(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, path: str
    ) -> tuple[int, bytes]:
        began = time.monotonic()
        writer.write(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode("ascii"))
        head = await reader.readuntil(b"\r\n\r\n")
        size = int(head.lower().partition(b"content-length:")[2].partition(b"\r")[0])
        body = await reader.readexactly(size)
        self.requests += 1
        self.slow = max(self.slow, time.monotonic() - began)
        return int(head[9:12]), body


@frozen
class Usage:
    """Of a process: processor seconds, resident bytes, bytes that are its alone."""

    seconds: float
    resident: int
    own: int

    @classmethod
    def of(cls, pid: int) -> Usage:
        """Now."""
        parts = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        rows = (line.split() for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:])
        sizes = {row[0]: int(row[1]) * 1024 for row in rows}
        own = sizes["Private_Clean:"] + sizes["Private_Dirty:"]
        return cls((int(parts[11]) + int(parts[12])) / _TICK, sizes["Rss:"], own)


@contextlib.asynccontextmanager
async def cluster(folder: Path, backend: int) -> AsyncIterator[Node]:
    """An origin with a stream of little sound, and an edge that asks about its viewers."""
    with contextlib.ExitStack() as stack:
        body = "template live { prefix live; input publish://; segment_duration 5; }"
        origin = Node("origin", body, folder, loglevel="warning", prefix=pin(1))
        rules = f"on_play http://127.0.0.1:{backend}/;"
        source = f"source 127.0.0.1:{origin.http} {{ cluster_key {KEY}; {rules} }}"
        edge = Node("edge", source, folder, loglevel="error", prefix=pin(0))
        for node in (origin, edge):
            stack.callback(node.stop)
            node.up()
        sound = "-v error -nostdin -re -f lavfi -i sine=f=300 -c:a aac -b:a 32k -f flv"
        command = [FFMPEG or "ffmpeg", *sound.split(), origin.url(NAME, "rtmp")]
        publisher = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        stack.callback(publisher.wait)
        stack.callback(publisher.terminate)
        edge.wait_alive(NAME, 20.0)
        await asyncio.sleep(12)
        yield edge


async def watch(folder: Path, sessions: int, rate: float, dead: float) -> None:
    """Everybody comes, one question each; then the backend dies, and each decision runs out meanwhile."""
    (port,) = free_ports(1)
    coming = sessions / rate
    # Nobody is asked about again before the backend is dead, everybody is before the end.
    duration = int(coming + 2 * EVERY)
    backend = Backend(port, duration)
    backend.start()
    async with cluster(folder, port) as edge:
        load = Load(edge.http, sessions, rate)
        before = Usage.of(edge.pid)
        work = asyncio.ensure_future(load.run(1.5 * EVERY + dead))
        while load.came < sessions:
            await asyncio.sleep(0.05)
        await asyncio.sleep(0.5)
        there = Usage.of(edge.pid)
        asked, began = load.requests, time.process_time()
        load.slow = 0.0
        await asyncio.sleep(EVERY)
        after = Usage.of(edge.pid)
        busy = (time.process_time() - began) / EVERY
        steady = (after.seconds - there.seconds) / max(1, load.requests - asked)
        newcomers = (there.seconds - before.seconds - steady * asked) / sessions
        resident, own = (there.resident - before.resident) / sessions, (there.own - before.own) / sessions
        counted = edge.streams()[NAME]["stats"]["online_clients"]
        print(f"sessions {counted}; questions {backend.questions}; outcomes {dict(load.outcomes)}")
        print(f"processor: {steady * 1e6:.0f} us a request, {newcomers * 1e6:.0f} us more for each who comes")
        print(f"memory: {resident:.0f} bytes a session resident, {own:.0f} its own")
        print(f"the slowest answer {load.slow:.3f} s; the load generator was busy {busy:.0%}")
        known = backend.questions
        backend.kill()
        killed = time.monotonic()
        load.outcomes.clear()
        load.slow = 0.0
        began_dead = Usage.of(edge.pid)
        newcomers_of = Load(edge.http, 100, 100 / (dead - 5.0), "new")
        await newcomers_of.run(0.0)
        await asyncio.sleep(max(0.0, killed + dead - time.monotonic()))
        spent = Usage.of(edge.pid).seconds - began_dead.seconds
        counted = edge.streams()[NAME]["stats"]["online_clients"]
        print(f"the backend dead for {time.monotonic() - killed:.0f} s, decisions were good for {duration} s")
        print(f"who watched: {counted} sessions, {dict(load.outcomes)}; the slowest answer {load.slow:.3f} s")
        print(f"who was new: {dict(newcomers_of.outcomes)}; processor {spent / dead:.0%}")
        print(f"questions until then {known}")
        await work


def main(arguments: Sequence[str]) -> None:
    """Run it."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sessions", type=int, default=20_000)
    parser.add_argument("--rate", type=float, default=500.0, help="that come each second")
    parser.add_argument("--dead", type=float, default=60.0, help="seconds without a backend")
    given = parser.parse_args(arguments)
    print(f"load average {os.getloadavg()[0]:.2f}")
    with TemporaryDirectory(prefix="bench-auth-") as folder:
        asyncio.run(watch(Path(folder), given.sessions, given.rate, given.dead))


if __name__ == "__main__":
    main(sys.argv[1:])
