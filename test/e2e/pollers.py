"""Many HLS clients in one thread: each asks on a kept connection, again and again, and keeps what it was
told."""

from __future__ import annotations

import selectors
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence

from attrs import define, field
from typing_extensions import override

from test.e2e.nodes import Answer

#: Seconds after which an answer counts as lost.
PATIENCE = 15.0


@define(eq=False)
class Poller:
    """One client.

    @ivar requests: what it asks in turn, as whole heads without the last empty line; a function gets the
        answer before and gives the next one.
    @ivar due: when it asks next, monotonic seconds. @ivar asked: when it asked, 0.0 while nothing is on its
        way.
    @ivar answers: (seconds it took, answer) of each request; @ivar closed: why it was hung up on.
    """

    sock: socket.socket
    next_request: Callable[[Answer | None], str]
    due: float
    asked: float = 0.0
    head_only: bool = False
    got: bytearray = field(factory=bytearray)
    answers: list[tuple[float, Answer]] = field(factory=list)
    closed: str = ""

    def ask(self, now: float) -> None:
        """Send the next request."""
        request = self.next_request(self.answers[-1][1] if self.answers else None)
        self.head_only = request.startswith("HEAD ")
        self.asked = now
        self.sock.send(f"{request}\r\n\r\n".encode())

    def take(self, data: bytes, now: float) -> bool:
        """Bytes came; whether the answer is whole."""
        self.got += data
        answer = parse_answer(bytes(self.got), self.head_only)
        if answer is None:
            return False
        self.answers.append((now - self.asked, answer))
        self.got.clear()
        self.asked = 0.0
        return True


def parse_answer(data: bytes, head_only: bool = False) -> Answer | None:
    """A complete answer with Content-Length, or None while bytes are missing.

    @raise AssertionError: more came than was asked for.
    """
    head, found, body = data.partition(b"\r\n\r\n")
    if not found:
        return None
    first, *lines = head.decode("latin-1").split("\r\n")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
    status = int(first.split(" ", 2)[1])
    length = 0 if head_only or status in (204, 304) else int(headers["content-length"])
    if len(body) > length:
        raise AssertionError(f"{len(body)} bytes of body where {length} were promised: {head!r}")
    return Answer(status, headers, body) if len(body) == length else None


class Pollers(threading.Thread):
    """Clients of one HTTP port; use as a context manager.

    @param makers: for each client, what gives its next request from the answer before.
    @param interval: seconds between two requests of one client.
    @ivar clients: them, to be looked at when all is over. @ivar trouble: what went wrong in the thread.
    """

    def __init__(self, port: int, makers: Sequence[Callable[[Answer | None], str]], interval: float) -> None:
        super().__init__(daemon=True)
        self.interval = interval
        self.selector = selectors.DefaultSelector()
        self.over = threading.Event()
        self.clients: list[Poller] = []
        self.trouble: BaseException | None = None
        now = time.monotonic()
        for index, maker in enumerate(makers):
            sock = socket.create_connection(("127.0.0.1", port), 5.0)
            sock.setblocking(False)
            client = Poller(sock, maker, now + interval * index / len(makers))
            self.clients.append(client)
            self.selector.register(sock, selectors.EVENT_READ, client)

    @override
    def run(self) -> None:
        try:
            while not self.over.is_set():
                now = time.monotonic()
                for client in self.clients:
                    if not client.asked and not client.closed and client.due <= now:
                        client.due = max(client.due + self.interval, now)
                        client.ask(now)
                for key, _ in self.selector.select(0.005):
                    self.read(key.data)
        except BaseException as error:
            self.trouble = error

    def read(self, client: Poller) -> None:
        """Take what is there for C{client}."""
        try:
            data = client.sock.recv(65_536)
        except BlockingIOError:
            return
        except OSError as error:
            data, client.closed = b"", str(error)
        if not data:
            client.closed = client.closed or "closed by the server"
            self.selector.unregister(client.sock)
        else:
            client.take(data, time.monotonic())

    def __enter__(self) -> Pollers:
        self.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.over.set()
        self.join(PATIENCE)
        for client in self.clients:
            client.sock.close()
        self.selector.close()
        if self.trouble is not None and exc[0] is None:
            raise self.trouble

    def answers(self) -> list[tuple[float, Answer]]:
        """All answers of all clients, each with the seconds it took."""
        return [answer for client in self.clients for answer in client.answers]

    def statuses(self) -> Counter[int]:
        """How often each status came."""
        return Counter(answer.status for _, answer in self.answers())

    def unanswered(self, seconds: float) -> int:
        """Clients that have waited for longer than C{seconds} now."""
        now = time.monotonic()
        return sum(1 for client in self.clients if client.asked and now - client.asked > seconds)


def fixed(path: str, *headers: str, method: str = "GET") -> Callable[[Answer | None], str]:
    """Always the same request."""
    request = "\r\n".join((f"{method} {path} HTTP/1.1", "Host: x", *headers))
    return lambda _: request


def conditional(path: str) -> Callable[[Answer | None], str]:
    """Asks for what is newer than what it has."""
    etag = ""

    def request(before: Answer | None) -> str:
        nonlocal etag
        etag = before.headers.get("etag", etag) if before is not None else ""
        condition = f"\r\nIf-None-Match: {etag}" if etag else ""
        return f"GET {path} HTTP/1.1\r\nHost: x{condition}"

    return request


def player(path: str) -> Callable[[Answer | None], str]:
    """Asks for the playlist C{path} and its newest segment in turn, as a player does."""
    folder = path.rpartition("/")[0]

    def request(before: Answer | None) -> str:
        wanted = path
        if before is not None and is_playlist(before):
            uris = [line for line in before.body.decode().splitlines() if line and not line.startswith("#")]
            wanted = f"{folder}/{uris[-1]}"
        return f"GET {wanted} HTTP/1.1\r\nHost: x"

    return request


def is_playlist(answer: Answer) -> bool:
    """Whether a playlist was given."""
    return answer.body.startswith(b"#EXTM3U")
