"""Keep-alive HTTP requests as fast as a server answers them, from several processes with many connections
each.

One request is in flight on each connection. Bodies are thrown away inside the kernel (C{MSG_TRUNC}), so a
process moves tens of Gbit/s; short answers are received, and cut by their Content-Length.
"""

from __future__ import annotations

import gc
import multiprocessing
import multiprocessing.connection
import os
import re
import select
import socket
import time
from collections.abc import Sequence

from attrs import frozen

from bench.viewers import GULP, TRUNC

#: Answers up to this size are received and looked at, not thrown away.
SHORT = 32_768
_LENGTH = re.compile(rb"\r\nContent-Length: (\d+)", re.IGNORECASE)


@frozen(kw_only=True)
class Served:
    """What came in a window.

    @ivar seconds: its length. @ivar answers, @ivar bytes: all of them. @ivar busiest: processor time of the
        busiest process of the load generator, as a share of the time. @ivar failed: connections that ended
        or stood still.
    """

    seconds: float
    answers: int
    bytes: int
    busiest: float
    failed: int


def request_bytes(port: int, path: str) -> bytes:
    """A request as a browser's player sends it."""
    return (
        f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUser-Agent: Mozilla/5.0 (X11; Linux x86_64) "
        "AppleWebKit/537.36\r\nAccept: */*\r\nAccept-Language: en\r\nConnection: keep-alive\r\n\r\n"
    ).encode()


def answer_size(port: int, path: str) -> int:
    """Bytes of one answer, head and body.

    @raise ConnectionError: it is not a 200.
    """
    with socket.create_connection(("127.0.0.1", port), 5.0) as sock:
        sock.sendall(request_bytes(port, path))
        data = bytearray()
        while b"\r\n\r\n" not in data:
            piece = sock.recv(65_536)
            if not piece:
                raise ConnectionError(f"closed after {bytes(data)!r}")
            data += piece
    head = bytes(data[: data.index(b"\r\n\r\n") + 4])
    length = _LENGTH.search(head)
    if b" 200 " not in head[:20] or length is None:
        raise ConnectionError(f"{path} was answered {head[:200]!r}")
    return len(head) + int(length[1])


class _Clients:
    """The connections of one process."""

    def __init__(self, port: int, path: str, count: int, size: int) -> None:
        self.request = request_bytes(port, path)
        self.size = size
        self.poll = select.epoll()
        self.socks: dict[int, socket.socket] = {}
        self.missing: dict[int, int] = {}
        self.scratch = bytearray(GULP)
        self.answers = self.bytes = self.failed = 0
        for _ in range(count):
            sock = socket.create_connection(("127.0.0.1", port), 5.0)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.setblocking(False)
            self.socks[sock.fileno()] = sock
            self.missing[sock.fileno()] = size
            self.poll.register(sock.fileno(), select.EPOLLIN)
            sock.send(self.request)

    def turn(self, until: float) -> None:
        """Answers until then."""
        short = self.size <= SHORT
        while time.monotonic() < until:
            for fd, _ in self.poll.poll(0.01):
                try:
                    done = self.short(fd) if short else self.long(fd)
                    if done:
                        self.answers += 1
                        self.socks[fd].send(self.request)
                except BlockingIOError:
                    continue
                except OSError:
                    self.failed += 1
                    self.poll.unregister(fd)
                    self.socks.pop(fd).close()

    def long(self, fd: int) -> bool:
        """Throw away what came; whether the answer is whole."""
        count = self.socks[fd].recv_into(self.scratch, 0, TRUNC)
        if not count:
            raise ConnectionResetError
        self.bytes += count
        left = self.missing[fd] - count
        self.missing[fd] = left or self.size
        return not left

    def short(self, fd: int) -> bool:
        """Receive; whether the answer is whole. Answers of a live playlist need not be of one size."""
        data = self.socks[fd].recv(65_536)
        if not data:
            raise ConnectionResetError
        self.bytes += len(data)
        at = data.find(b"ength: ")
        left = self.missing[fd] - len(data)
        if at > 0 and data.startswith(b"HTTP/1.1 200"):
            head = data.find(b"\r\n\r\n", at)
            left = head + 4 + int(data[at + 7 : data.find(b"\r", at)]) - len(data)
        self.missing[fd] = left or self.size
        return left <= 0


def _work(
    port: int,
    path: str,
    count: int,
    size: int,
    pipe: multiprocessing.connection.Connection,
    cores: Sequence[int],
    settle: float,
    seconds: float,
) -> None:
    if cores:
        os.sched_setaffinity(0, cores)
    gc.disable()
    clients = _Clients(port, path, count, size)
    clients.turn(time.monotonic() + settle)
    pipe.send("settled")
    clients.answers = clients.bytes = 0
    began, used = time.monotonic(), time.process_time()
    clients.turn(began + seconds)
    took = time.monotonic() - began
    pipe.send((took, clients.answers, clients.bytes, (time.process_time() - used) / took, clients.failed))


class Load:
    """A load of C{connections} on C{path} that runs for C{settle} + C{seconds}; L{window} and L{served}
    follow it.
    """

    def __init__(
        self,
        port: int,
        path: str,
        connections: int,
        cores: Sequence[int],
        seconds: float,
        settle: float = 1.0,
    ) -> None:
        size = answer_size(port, path)
        self.size = size
        self.pipes = []
        count = max(1, len(cores))
        for index in range(count):
            ours, theirs = multiprocessing.Pipe()
            share = connections // count + (index < connections % count)
            where = (cores[index],) if cores else ()
            process = multiprocessing.Process(
                target=_work, args=(port, path, share, size, theirs, where, settle, seconds), daemon=True
            )
            process.start()
            theirs.close()
            self.pipes.append(ours)

    def window(self) -> None:
        """Wait until the window begins."""
        for pipe in self.pipes:
            pipe.recv()

    def served(self) -> Served:
        """Wait until it is over."""
        parts = [pipe.recv() for pipe in self.pipes]
        return Served(
            seconds=sum(part[0] for part in parts) / len(parts),
            answers=sum(part[1] for part in parts),
            bytes=sum(part[2] for part in parts),
            busiest=max(part[3] for part in parts),
            failed=sum(part[4] for part in parts),
        )
