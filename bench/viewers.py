"""How many viewers can a server keep supplied? A load generator for every protocol with an endless answer.

Several processes hold N sockets each and throw the media away inside the kernel (C{MSG_TRUNC}), so that a
modest machine can play some thousand viewers without being the limit itself. By default sockets are polled
every 20 ms, as a player with a jitter buffer would do; C{--mode woken} wakes up on each arrival instead and
makes servers that write often pay for it.

    python -m bench.viewers tshttp 127.0.0.1:8080 /live/cam/mpegts --viewers 500 --seconds 10
    python -m bench.viewers rtmp 127.0.0.1:1935 live/cam --viewers 500 --seconds 10
"""

from __future__ import annotations

import argparse
import gc
import multiprocessing
import multiprocessing.connection
import os
import select
import socket
import statistics
import time
from collections.abc import Sequence

from attrs import define, field, frozen

from bench.dialogues import open_rtsp, open_tls
from bench.machine import rss_bytes as rss_bytes
from bench.machine import server_cpu as server_cpu
from test.e2e import rtmp_wire

#: How a server can be watched.
PROTOS = ("tshttp", "flv", "rtmp", "rtsp", "tshttps")
_HTTP = ("tshttp", "flv", "tshttps")
POLL_SECONDS = 0.02
#: Bytes asked of one receive; nothing is copied where the system knows MSG_TRUNC.
GULP = 1 << 19
#: A viewer has its first media when so many bytes followed the request: heads and RTMP commands are smaller.
FIRST_MEDIA = 2_000
STALL_SECONDS = 1.0
TRUNC = getattr(socket, "MSG_TRUNC", 0) if os.uname().sysname == "Linux" else 0


@frozen(kw_only=True)
class Target:
    """What to watch.

    @ivar proto: one of L{PROTOS}; C{"tshttps"} is HTTP over TLS whose records nobody deciphers here.
    @ivar host, port: the server. @ivar path: C{/NAME/mpegts} or the like for HTTP, C{APP/KEY} for the
        others. @ivar rcvbuf: SO_RCVBUF in bytes, 0 for the system's. @ivar stop_after: stop reading for good
        after so many seconds (a viewer that hangs), 0 for never.
    """

    proto: str
    host: str
    port: int
    path: str
    rcvbuf: int = 0
    stop_after: float = 0.0


@frozen(kw_only=True)
class Window:
    """What happened to the viewers between two moments.

    @ivar seconds: its length. @ivar bytes: received, per viewer that was ever connected.
    @ivar gaps: longest time without a byte, per viewer, seconds. @ivar first: seconds from connect to first
        media, per viewer that got any. @ivar closed: viewers whose connection ended, or never came to be.
    @ivar busiest: processor time of the busiest process of the load generator, as a share of the time: near
        1.0 it is the generator that was measured. @ivar reads: how often woken viewers were woken up.
    """

    seconds: float
    bytes: Sequence[int]
    gaps: Sequence[float]
    first: Sequence[float]
    closed: int
    busiest: float = 0.0
    reads: int = 0

    def ok(self, rate: float = 0.0) -> int:
        """Viewers that got at least 95 % of C{rate} bytes/s (or of the median viewer, whichever is more)."""
        wanted = 0.95 * max(rate * self.seconds, statistics.median(self.bytes or [0]))
        return sum(1 for count in self.bytes if count and count >= wanted)

    @property
    def stalls(self) -> int:
        """Viewers that went more than a second without a byte."""
        return sum(1 for gap in self.gaps if gap > STALL_SECONDS)

    @property
    def gigabits(self) -> float:
        """Gbit/s received by all together."""
        return sum(self.bytes) * 8 / self.seconds / 1e9

    def describe(self, rate: float = 0.0) -> str:
        """One line for people."""
        first = sorted(self.first) or [0.0]
        median, worst = statistics.median(first) * 1000, first[-1] * 1000
        return (
            f"ok {self.ok(rate)}/{len(self.bytes)}  stalled {self.stalls}  closed {self.closed}  "
            f"max gap {max(self.gaps or [0]):.2f} s  first media median/max {median:.0f}/{worst:.0f} ms  "
            f"{self.gigabits:.2f} Gbit/s"
        )


@define(eq=False)
class Viewer:
    """One connection and where it stands in its dialogue."""

    target: Target
    sock: socket.socket
    born: float
    step: int = 0
    talk: bytearray = field(factory=bytearray)
    total: int = 0
    first: float = 0.0
    last: float = 0.0
    gap: float = 0.0
    mark: int = 0
    closed: bool = False

    def begin(self) -> bytes:
        """The first bytes to send."""
        if self.target.proto in _HTTP:
            self.step = 3
            host = f"{self.target.host}:{self.target.port}"
            return f"GET {self.target.path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: viewers\r\n\r\n".encode()
        return rtmp_wire.hello()

    def talked(self, data: bytes) -> bytes:
        """The next bytes of the RTMP dialogue once C{data} came; step 3 is media."""
        self.talk += data
        app, _, key = self.target.path.rpartition("/")
        if self.step == 0 and len(self.talk) >= 1 + 2 * rtmp_wire.HANDSHAKE:
            echo = bytes(self.talk[1 : 1 + rtmp_wire.HANDSHAKE])
            self.talk.clear()
            self.step = 1
            return echo + rtmp_wire.connect_bytes(app, f"rtmp://{self.target.host}:{self.target.port}/{app}")
        if self.step == 1 and b"_result" in self.talk:
            self.talk.clear()
            self.step = 2
            return rtmp_wire.command("createStream", 2, None)
        if self.step == 2 and b"_result" in self.talk:
            self.talk.clear()
            self.step = 3
            return rtmp_wire.play_bytes(key)
        return b""


class Crowd:
    """The viewers of one process."""

    def __init__(self, target: Target, count: int, per_second: float, woken: bool) -> None:
        self.target = target
        self.count = count
        self.per_second = per_second
        self.viewers: list[Viewer] = []
        self.live: dict[int, Viewer] = {}
        self.scratch = bytearray(GULP)
        self.poll = select.epoll() if woken else None
        self.started = self.marked = time.monotonic()
        self.starting = True
        self.used = 0.0
        self.reads = 0

    def open_some(self, now: float) -> None:
        """Connect those whose turn has come."""
        due = min(self.count, int((now - self.started) * self.per_second) + 1)
        while len(self.viewers) < due:
            self.open_one(now)

    def open_one(self, now: float) -> None:
        """Connect one viewer; the loopback interface answers at once, so a blocking connect is used."""
        sock = socket.socket()
        viewer = Viewer(self.target, sock, now, last=now)
        self.viewers.append(viewer)
        try:
            if self.target.rcvbuf:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, self.target.rcvbuf)
            sock.settimeout(5.0)
            sock.connect((self.target.host, self.target.port))
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self.target.proto == "rtsp":
                open_rtsp(sock, self.target.port, self.target.path)
                viewer.step = 3
            elif self.target.proto == "tshttps":
                open_tls(sock, viewer.begin())
            else:
                sock.sendall(viewer.begin())
            sock.setblocking(False)
        except OSError:
            viewer.closed = True
            sock.close()
            return
        self.live[sock.fileno()] = viewer
        if self.poll is not None:
            self.poll.register(sock.fileno(), select.EPOLLIN)

    def read(self, viewer: Viewer, now: float) -> None:
        """Take what is there, once."""
        sock = viewer.sock
        try:
            if viewer.step == 3:
                count = sock.recv_into(self.scratch, 0, TRUNC)
            else:
                data = sock.recv(65_536)
                count = len(data)
                reply = viewer.talked(data)
                if reply:
                    sock.sendall(reply)
        except BlockingIOError:
            return
        except OSError:
            count = 0
        if not count:
            self.drop(viewer)
            return
        if viewer.step == 3:
            viewer.total += count
            gap = now - viewer.last
            if viewer.first:
                viewer.gap = max(viewer.gap, gap)
            elif viewer.total >= FIRST_MEDIA:
                viewer.first = now - viewer.born
        viewer.last = now

    def drop(self, viewer: Viewer) -> None:
        """Forget a connection that ended."""
        viewer.closed = True
        self.live.pop(viewer.sock.fileno(), None)
        viewer.sock.close()

    def turn(self, until: float) -> None:
        """Serve the viewers until C{until}."""
        now = time.monotonic()
        self.open_some(now)
        if self.target.stop_after and now - self.started > self.target.stop_after:
            time.sleep(max(0.0, until - now))
            return
        if self.poll is None:
            for viewer in list(self.live.values()):
                self.read(viewer, now)
            self.rest(min(until, now + POLL_SECONDS))
            return
        while now < until:
            self.wake(min(until - now, POLL_SECONDS))
            now = time.monotonic()
            if len(self.viewers) < self.count:
                self.open_some(now)

    def wake(self, seconds: float) -> None:
        """Read what has come, waiting for it up to C{seconds}."""
        assert self.poll is not None
        live, scratch = self.live, self.scratch
        ready = self.poll.poll(seconds)
        self.reads += len(ready)
        now = time.monotonic()
        for fd, _ in ready:
            viewer = live.get(fd)
            if viewer is None:
                continue
            if not viewer.first:
                self.read(viewer, time.monotonic())
                continue
            # As L{read}, without calls: this is done a hundred thousand times a second.
            try:
                count = viewer.sock.recv_into(scratch, 0, TRUNC)
            except BlockingIOError:
                continue
            except OSError:
                count = 0
            if not count:
                self.drop(viewer)
                continue
            viewer.total += count
            gap = now - viewer.last
            if gap > viewer.gap:
                viewer.gap = gap
            viewer.last = now

    def rest(self, until: float) -> None:
        """Wait until C{until}, but keep on serving viewers that have no media yet: start-up is timed, too."""
        while (now := time.monotonic()) < until:
            fresh = [viewer for viewer in self.live.values() if not viewer.first] if self.starting else []
            self.starting = bool(fresh) or len(self.viewers) < self.count
            for viewer in fresh:
                self.read(viewer, now)
            time.sleep(max(0.0, min(until - time.monotonic(), 0.001 if fresh else POLL_SECONDS)))

    def begin_window(self) -> None:
        """Count from here."""
        self.marked = time.monotonic()
        self.used = time.process_time()
        self.reads = 0
        for viewer in self.viewers:
            viewer.mark = viewer.total
            viewer.gap = 0.0

    def end_window(self) -> Window:
        """What came since L{begin_window}; a silence that goes on counts as a gap."""
        now = time.monotonic()
        return Window(
            seconds=now - self.marked,
            bytes=[viewer.total - viewer.mark for viewer in self.viewers],
            gaps=[max(viewer.gap, now - max(viewer.last, self.marked)) for viewer in self.viewers],
            first=[viewer.first for viewer in self.viewers if viewer.first],
            closed=sum(viewer.closed for viewer in self.viewers),
            busiest=(time.process_time() - self.used) / max(now - self.marked, 1e-9),
            reads=self.reads,
        )


def work(crowd: Crowd, pipe: multiprocessing.connection.Connection, cores: Sequence[int]) -> None:
    """The life of one process: serve, and answer C{mark}, C{report} and C{end} from the pipe."""
    if cores:
        os.sched_setaffinity(0, cores)
    gc.disable()
    crowd.started = time.monotonic()
    while True:
        while pipe.poll(0):
            word = pipe.recv()
            if word == "mark":
                crowd.begin_window()
            elif word == "report":
                pipe.send(crowd.end_window())
            else:
                return
        crowd.turn(time.monotonic() + 0.05)


class Audience:
    """All viewers, in several processes; use as a context manager."""

    def __init__(
        self,
        target: Target,
        count: int,
        *,
        processes: int = 3,
        per_second: float = 1000.0,
        woken: bool = False,
        cores: Sequence[int] = (),
    ) -> None:
        self.pipes: list[multiprocessing.connection.Connection] = []
        self.processes: list[multiprocessing.Process] = []
        self.count = count
        processes = max(1, min(processes, count))
        self.fill_seconds = count / per_second
        for index in range(processes):
            share = count // processes + (index < count % processes)
            ours, theirs = multiprocessing.Pipe()
            crowd = Crowd(target, share, per_second / processes, woken)
            where = (cores[index % len(cores)],) if cores else ()
            process = multiprocessing.Process(target=work, args=(crowd, theirs, where), daemon=True)
            process.start()
            theirs.close()
            self.pipes.append(ours)
            self.processes.append(process)

    def mark(self) -> None:
        """Begin a window in every process."""
        for pipe in self.pipes:
            pipe.send("mark")

    def report(self) -> Window:
        """End the window begun last."""
        for pipe in self.pipes:
            pipe.send("report")
        parts: list[Window] = [pipe.recv() for pipe in self.pipes]
        return Window(
            seconds=statistics.mean(part.seconds for part in parts),
            bytes=[count for part in parts for count in part.bytes],
            gaps=[gap for part in parts for gap in part.gaps],
            first=[first for part in parts for first in part.first],
            closed=sum(part.closed for part in parts),
            busiest=max(part.busiest for part in parts),
            reads=sum(part.reads for part in parts),
        )

    def filled(self) -> bool:
        """Whether every viewer has media, or lost its connection. Begins a window."""
        self.mark()
        window = self.report()
        return len(window.first) + window.closed >= self.count

    def close(self) -> None:
        """Disconnect everybody."""
        for pipe in self.pipes:
            try:
                pipe.send("end")
            except OSError:
                pass
        for process in self.processes:
            process.join(5)

    def __enter__(self) -> Audience:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("proto", choices=PROTOS)
    parser.add_argument("server", help="HOST:PORT")
    parser.add_argument("path", help="/NAME/mpegts or APP/KEY")
    parser.add_argument("--viewers", type=int, default=100)
    parser.add_argument("--processes", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--windows", type=int, default=1)
    parser.add_argument("--rate", type=float, default=0.0, help="expected bytes per second and viewer")
    parser.add_argument("--mode", choices=("polled", "woken"), default="polled")
    parser.add_argument(
        "--pid", type=int, default=0, help="process of the server, to report its processor time"
    )
    options = parser.parse_args()
    host, _, port = options.server.rpartition(":")
    target = Target(proto=options.proto, host=host, port=int(port), path=options.path)
    with Audience(
        target, options.viewers, processes=options.processes, woken=options.mode == "woken"
    ) as audience:
        time.sleep(audience.fill_seconds + 3.0)
        for _ in range(options.windows):
            audience.mark()
            before = server_cpu(options.pid) if options.pid else 0.0
            time.sleep(options.seconds)
            spent = server_cpu(options.pid) - before if options.pid else 0.0
            window = audience.report()
            cost = (
                f"  {spent * 1000 / window.seconds / options.viewers:.4f} cpu-ms per viewer-s"
                if options.pid
                else ""
            )
            print(window.describe(options.rate) + cost, flush=True)


if __name__ == "__main__":
    main()
