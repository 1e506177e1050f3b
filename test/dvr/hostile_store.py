"""A server that says whatever a test wants where an object store should answer."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from contextlib import suppress

from restreamer.config.model import S3Config

#: Answers a request, given its first line; the connection is closed then.
Answering = Callable[[str, socket.socket], None]


class HostileStore:
    """See the module. @ivar port: on the loopback. @ivar asked: the first lines of requests."""

    def __init__(self, answer: Answering) -> None:
        self.asked: list[str] = []
        self.over = threading.Event()
        self._answer = answer
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def config(self, scheme: str = "http") -> S3Config:
        """A bucket there."""
        return S3Config(
            endpoint=f"{scheme}://127.0.0.1:{self.port}", key="key", secret="hidden", bucket="b", prefix="p"
        )

    def stop(self) -> None:
        """Answer no more."""
        self.over.set()
        self._socket.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self._socket.accept()
                threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with suppress(OSError), connection:
            head = b""
            while b"\r\n\r\n" not in head:
                piece = connection.recv(65536)
                if not piece:
                    return
                head += piece
            line = head.split(b"\r\n", 1)[0].decode(errors="replace")
            self.asked.append(line)
            self._answer(line, connection)


def says(status: str, body: bytes = b"", *headers: str, length: int | None = None) -> Answering:
    """Answers with this, whatever is asked. @param length: what C{Content-Length} says."""
    size = len(body) if length is None else length
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {size}", "Connection: close", *headers]
    encoded = "\r\n".join([*lines, "", ""]).encode() + body

    def answer(line: str, connection: socket.socket) -> None:
        connection.sendall(encoded)

    return answer
