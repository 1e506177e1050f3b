"""What no server in this language can do without: a loop that only sends.

    python -m bench.bare_sender PORT BYTES_PER_SECOND INTERVAL_MS

Whoever connects and sends something gets an HTTP head, and from then on the same bytes as everybody,
INTERVAL_MS apart: one C{send} each, no stream, no muxer, no queue, no position, no session. What it costs is
the kernel's, but for the loop itself. A viewer that does not take a piece whole is cut.
"""

from __future__ import annotations

import os
import select
import socket
import sys
import time
from typing import Final

_HEAD: Final = b"HTTP/1.1 200 OK\r\nContent-Type: video/mp2t\r\nConnection: close\r\n\r\n"


def _newcomers(listening: socket.socket, poll: select.epoll, waiting: dict[int, socket.socket]) -> None:
    while True:
        try:
            connection, _ = listening.accept()
        except BlockingIOError:
            return
        connection.setblocking(False)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        waiting[connection.fileno()] = connection
        poll.register(connection.fileno(), select.EPOLLIN)


def serve(port: int, rate: float, interval: float) -> None:
    """For ever. @param rate: bytes per second for each viewer. @param interval: seconds."""
    listening = socket.create_server(("127.0.0.1", port), backlog=4096)
    listening.setblocking(False)
    poll = select.epoll()
    poll.register(listening.fileno(), select.EPOLLIN)
    waiting: dict[int, socket.socket] = {}
    viewers: list[socket.socket] = []
    due = time.monotonic()
    while True:
        for descriptor, _ in poll.poll(max(0.0, due - time.monotonic())):
            if descriptor == listening.fileno():
                _newcomers(listening, poll, waiting)
                continue
            viewer = waiting.pop(descriptor)
            poll.unregister(descriptor)
            viewer.recv(65_536)
            viewer.send(_HEAD)
            viewers.append(viewer)
        if time.monotonic() < due:
            continue
        due += interval
        # New bytes each time, as a stream has.
        piece = os.urandom(round(rate * interval))
        size = len(piece)
        lost = []
        for viewer in viewers:
            try:
                if viewer.send(piece) != size:
                    lost.append(viewer)
            except OSError:
                lost.append(viewer)
        for viewer in lost:
            viewers.remove(viewer)
            viewer.close()


if __name__ == "__main__":
    serve(int(sys.argv[1]), float(sys.argv[2]), float(sys.argv[3]) / 1000)
