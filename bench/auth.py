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
import os
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from attrs import define, field

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
    """Answers 200 to everybody, from a thread with a loop of its own. @ivar questions: so far, by kind."""

    def __init__(self, port: int, duration: int) -> None:
        self.questions: Counter[str] = Counter()
        self._answer = f"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nX-AuthDuration: {duration}\r\n\r\n".encode(
            "ascii"
        )
        self._port = port
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> None:
        """Listen."""
        self._thread.start()
        wait_for_port(self._port, 5)

    def kill(self) -> None:
        """Be gone, with all connections."""
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        server = self._loop.run_until_complete(asyncio.start_server(self._serve, "127.0.0.1", self._port))
        with contextlib.suppress(RuntimeError):
            self._loop.run_forever()
        server.close()
        for task in asyncio.all_tasks(self._loop):
            task.cancel()
        self._loop.run_until_complete(asyncio.sleep(0.1))

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                first = b"request_type=new_session" in head
                self.questions["new" if first else "update"] += 1
                writer.write(self._answer)
        except (asyncio.IncompleteReadError, asyncio.CancelledError, ConnectionError):
            pass
        finally:
            writer.close()


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


def usage(pid: int) -> tuple[float, int]:
    """Processor seconds and resident bytes of a process."""
    parts = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return (int(parts[11]) + int(parts[12])) / _TICK, pages * os.sysconf("SC_PAGE_SIZE")


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


async def come(folder: Path, sessions: int, rate: float) -> None:
    """Everybody comes; one question each."""
    (port,) = free_ports(1)
    backend = Backend(port, 3600)
    backend.start()
    async with cluster(folder, port) as edge:
        load = Load(edge.http, sessions, rate)
        before, memory = usage(edge.pid)
        work = asyncio.ensure_future(load.run(30.0))
        while load.came < sessions:
            await asyncio.sleep(0.05)
        await asyncio.sleep(2 * EVERY)
        coming, grown = usage(edge.pid)
        asked = load.requests
        load.slow = 0.0
        await asyncio.sleep(EVERY)
        after, _ = usage(edge.pid)
        steady = (after - coming) / max(1, load.requests - asked)
        await work
        counted = edge.streams()[NAME]["stats"]["online_clients"]
        newcomers = (coming - before - steady * asked) / sessions
        print(f"sessions {counted}; questions {dict(backend.questions)}")
        print(f"outcomes {dict(load.outcomes)}")
        print(f"processor: {steady * 1e6:.0f} us a request, {newcomers * 1e6:.0f} us more for each who comes")
        print(
            f"memory: {(grown - memory) / sessions:.0f} bytes a session; the slowest answer {load.slow:.3f} s"
        )
    backend.kill()


async def outlive(folder: Path, sessions: int, dead: float) -> None:
    """The backend dies while everybody watches, and answers run out after 15 s."""
    (port,) = free_ports(1)
    backend = Backend(port, 15)
    backend.start()
    async with cluster(folder, port) as edge:
        load = Load(edge.http, sessions, 500.0)
        work = asyncio.ensure_future(load.run(25.0 + dead))
        await asyncio.sleep(sessions / 500.0 + 20.0)
        asked = dict(backend.questions)
        backend.kill()
        load.outcomes.clear()
        await asyncio.sleep(5.0)
        newcomers = Load(edge.http, 100, 50.0, "new")
        await newcomers.run(dead - 20.0)
        print(f"questions until the backend died {asked}; dead for {dead:.0f} s")
        print(f"who watched: {dict(load.outcomes)}")
        print(f"who was new: {dict(newcomers.outcomes)}")
        await work


def main(arguments: Sequence[str]) -> None:
    """Run both."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sessions", type=int, default=20_000)
    parser.add_argument("--rate", type=float, default=500.0, help="that come each second")
    parser.add_argument("--dead", type=float, default=60.0, help="seconds without a backend")
    given = parser.parse_args(arguments)
    print(f"load average {os.getloadavg()[0]:.2f}")
    with TemporaryDirectory(prefix="bench-auth-") as folder:
        asyncio.run(come(Path(folder), given.sessions, given.rate))
    with TemporaryDirectory(prefix="bench-auth-") as folder:
        asyncio.run(outlive(Path(folder), min(5_000, given.sessions), given.dead))


if __name__ == "__main__":
    main(sys.argv[1:])
