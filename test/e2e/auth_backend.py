"""A backend for C{on_play} and C{on_publish}: a real HTTP server whose answers are scripted per token.

It serves from threads, beside tests that block. What it does for a token is one of L{ANSWERS}, or what
L{AuthBackend.script} said; it keeps every question it was sent.
"""

from __future__ import annotations

import gzip
import json
import socket
import threading
import time
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, Final, Self
from urllib.parse import parse_qsl, urlsplit

from attrs import frozen

#: Seconds after which a connection that hangs, drips or never ends is closed.
PATIENCE: Final = 60.0
#: Where a token C{302} is sent.
ELSEWHERE: Final = "http://127.0.0.1:9/elsewhere"
#: Where a token C{302inner} is sent: what no server may ever fetch.
METADATA: Final = "http://169.254.169.254/latest/meta-data/"


@frozen(kw_only=True)
class Asked:
    """One question. @ivar at: C{time.monotonic()}. @ivar fields: from the query, or the JSON body of a POST.
    @ivar headers: lower-case names. @ivar connection: number of the connection it came on, from 0.
    """

    at: float
    method: str
    path: str
    fields: Mapping[str, str]
    headers: Mapping[str, str]
    connection: int

    @property
    def token(self) -> str:
        """The viewer's token; the publisher's password where it has none."""
        return self.fields.get("token") or self.fields.get("password", "")


@frozen(kw_only=True)
class Answered:
    """One scripted answer. @ivar delay: seconds before it is sent. @ivar raw: sent as it stands, then closed.
    @ivar mode: C{""}; C{"hang"} (no byte), C{"endless"} (a body without end), C{"dribble"} (a byte a second),
    C{"close"} (the connection is reset).
    """

    status: int = 200
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""
    delay: float = 0.0
    raw: bytes | None = None
    mode: str = ""


def allow(**headers: object) -> Answered:
    """200 with fields such as C{X_UserId="u", X_Max_Sessions=2}."""
    told = tuple((name.replace("_", "-"), str(value)) for name, value in headers.items())
    return Answered(headers=told)


def _json(value: object) -> Answered:
    return Answered(headers=(("Content-Type", "application/json"),), body=json.dumps(value).encode())


def _bomb() -> Answered:
    coded = (("Content-Type", "application/json"), ("Content-Encoding", "gzip"))
    return Answered(headers=coded, body=gzip.compress(b" " * 50_000_000))


#: What is answered to a token of this name (or one that begins with it and a C{-}).
ANSWERS: Final[Mapping[str, Answered]] = {
    "200": Answered(),
    "302": Answered(status=302, headers=(("Location", ELSEWHERE),)),
    "302inner": Answered(status=302, headers=(("Location", METADATA),)),
    "401": Answered(status=401),
    "403": Answered(status=403),
    "404": Answered(status=404),
    "500": Answered(status=500),
    "hang": Answered(mode="hang"),
    "slow": Answered(delay=10.0),
    "close": Answered(mode="close"),
    "garbage": Answered(raw=b"\x00\xff\x01 nothing of HTTP\r\n\r\n\r\n"),
    "badheader": Answered(raw=b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\nX-Auth\xffDuration\r\n\r\n"),
    "gzip": _bomb(),
    "endless": Answered(mode="endless"),
    "dribble": Answered(mode="dribble"),
    "nan": allow(X_AuthDuration="NaN"),
    "short": allow(X_AuthDuration=1),
    "user": allow(X_UserId="user", X_Max_Sessions=2, X_AuthDuration=30),
    "unique": allow(X_UserId="user", X_Unique="true", X_AuthDuration=30),
    "badjson": Answered(headers=(("Content-Type", "application/json"),), body=b'{"user_id":[NaN'),
    "norange": _json({"allowed_dvr_ranges": []}),
}


class AuthBackend:
    """The server, on a port of 127.0.0.1 of its own choosing. Use it with C{with}, or L{close} it.

    @ivar asked: all questions, in order. @ivar default: for tokens that nothing is said of.
    """

    def __init__(self, port: int = 0) -> None:
        self.asked: list[Asked] = []
        self.default = Answered(status=403)
        self._script: dict[str, Answered | Callable[[Asked], Answered]] = {}
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        self._connections = 0
        self._closed = threading.Event()
        self._listener: socket.socket | None = None
        self.port = port
        self.start()

    @property
    def url(self) -> str:
        """What C{on_play} says."""
        return f"http://127.0.0.1:{self.port}/auth?site=1"

    def script(self, token: str, answer: Answered | Callable[[Asked], Answered]) -> None:
        """Answer C{token} so from now on."""
        with self._lock:
            self._script[token] = answer

    def of(self, token: str) -> list[Asked]:
        """The questions about one token."""
        with self._lock:
            return [each for each in self.asked if each.token == token]

    def start(self) -> None:
        """Listen (again, on the same port, after L{refuse})."""
        listener = socket.create_server(("127.0.0.1", self.port), backlog=1024)
        self.port = listener.getsockname()[1]
        self._listener = listener
        threading.Thread(target=self._accept, args=(listener,), daemon=True).start()

    def refuse(self) -> None:
        """Stop listening and cut what is open: connections are refused from now on."""
        listener, self._listener = self._listener, None
        if listener is not None:
            try:
                listener.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
            listener.close()
        with self._lock:
            connections = list(self._open)
        for each in connections:
            _cut(each)

    def close(self) -> None:
        """End it."""
        self._closed.set()
        self.refuse()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with self._lock:
                number = self._connections
                self._connections += 1
                self._open.add(connection)
            threading.Thread(target=self._serve, args=(connection, number), daemon=True).start()

    def _serve(self, connection: socket.socket, number: int) -> None:
        try:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            reader: Any = connection.makefile("rb")
            while (asked := _read(reader, number)) is not None:
                with self._lock:
                    self.asked.append(asked)
                    found = self._script.get(asked.token)
                if found is None:
                    found = ANSWERS.get(asked.token.partition("-")[0], self.default)
                if not self._answer(connection, found(asked) if callable(found) else found):
                    return
        except (OSError, ValueError):
            pass
        finally:
            with self._lock:
                self._open.discard(connection)
            _cut(connection)

    def _answer(self, connection: socket.socket, answer: Answered) -> bool:
        """Send it; whether another question may follow."""
        if answer.delay:
            _ = self._closed.wait(answer.delay)
        if answer.mode == "close":
            return False
        if answer.mode == "hang":
            _ = self._closed.wait(PATIENCE)
            return False
        if answer.raw is not None:
            connection.sendall(answer.raw)
            return False
        length = 1_000_000_000 if answer.mode else len(answer.body)
        head = [f"HTTP/1.1 {answer.status} Answer", f"Content-Length: {length}"]
        head += [f"{name}: {value}" for name, value in answer.headers]
        connection.sendall("\r\n".join([*head, "", ""]).encode("latin-1") + answer.body)
        ends = time.monotonic() + PATIENCE
        while answer.mode and time.monotonic() < ends and not self._closed.is_set():
            connection.sendall(b"x" * (65_536 if answer.mode == "endless" else 1))
            if answer.mode == "dribble":
                _ = self._closed.wait(1.0)
        return not answer.mode


def _read(reader: Any, number: int) -> Asked | None:
    """The next request; None: the connection has ended.

    @raise ValueError: it is none.
    """
    line = reader.readline(65_536)
    if not line:
        return None
    method, target, _ = line.decode("latin-1").split()
    headers: dict[str, str] = {}
    while (line := reader.readline(65_536).strip()) != b"":
        name, _, value = line.decode("latin-1").partition(":")
        headers[name.lower()] = value.strip()
    body = reader.read(int(headers.get("content-length", "0")))
    parts = urlsplit(target)
    fields = dict(parse_qsl(parts.query, keep_blank_values=True))
    if body:
        fields |= {key: str(value) for key, value in json.loads(body).items()}
    return Asked(
        at=time.monotonic(),
        method=method,
        path=parts.path,
        fields=fields,
        headers=headers,
        connection=number,
    )


def _cut(connection: socket.socket) -> None:
    try:
        connection.shutdown(socket.SHUT_RDWR)
    except OSError:
        pass
    connection.close()
