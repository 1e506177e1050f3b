"""Where sinks send: HTTP with treq, and files of JSON lines."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote_to_bytes, urlsplit, urlunsplit

import treq
from twisted.internet.defer import Deferred
from twisted.web.client import Agent, HTTPConnectionPool
from twisted.web.http_headers import Headers

from restreamer.events.sinks import Send

#: Seconds for one request in all.
TIMEOUT: Final = 3.0
#: Bytes of an answer that are read.
MAX_ANSWER: Final = 64 * 1024

#: Runs something that blocks in a thread.
InThread = Callable[..., Deferred[Any]]


class SinkError(Exception):
    """A batch was not taken."""


def http_send(reactor: Any, url: str, version: str) -> tuple[Send, Callable[[], Deferred[Any]]]:
    """Sends batches to C{url}: a JSON array by POST, to be answered with 2xx. Redirections are not followed.
    A login in the URL is sent by Basic.

    @return: what sends, and what closes its connections.
    """
    pool = HTTPConnectionPool(reactor, persistent=True)
    pool.maxPersistentPerHost = 1
    agent = Agent(reactor, connectTimeout=TIMEOUT, pool=pool)
    headers = Headers({"Content-Type": ["application/json"], "User-Agent": [f"Restreamer/{version}"]})
    target, login = login_of(url)
    if login is not None:
        headers.addRawHeader("Authorization", login)

    async def send(batch: list[bytes]) -> None:
        body = b"[" + b",".join(batch) + b"]"
        try:
            answer = await treq.post(
                target,
                data=body,
                headers=headers,
                agent=agent,
                allow_redirects=False,
                timeout=TIMEOUT,
                unbuffered=True,
            )
            size = 0

            def count(data: bytes) -> None:
                nonlocal size
                size += len(data)
                if size > MAX_ANSWER:
                    raise SinkError("its answer is too long")

            await treq.collect(answer, count).addTimeout(TIMEOUT, reactor)
        except SinkError:
            raise
        except Exception as error:
            # Of the URL, which may be secret, errors of the client may have something.
            raise SinkError(f"not reached: {type(error).__name__}") from None
        if not 200 <= answer.code < 300:
            raise SinkError(f"it answered {answer.code}")

    return send, pool.closeCachedConnections


def login_of(url: str) -> tuple[str, str | None]:
    """C{url} without USER:PASSWORD@, and the C{Authorization} field that these make (RFC 7617 section 2);
    None: it has none.
    """
    parts = urlsplit(url)
    userinfo, at, host = parts.netloc.rpartition("@")
    if not at:
        return url, None
    user, _, password = userinfo.partition(":")
    login = b64encode(unquote_to_bytes(user) + b":" + unquote_to_bytes(password)).decode()
    return urlunsplit(parts._replace(netloc=host)), f"Basic {login}"


def file_send(path: Path, in_thread: InThread) -> Send:
    """Appends a line per event to C{path}, which may be moved away at any time (logrotate)."""

    def write(data: bytes) -> None:
        with path.open("ab") as file:
            file.write(data)

    async def send(batch: list[bytes]) -> None:
        try:
            await in_thread(write, b"\n".join(batch) + b"\n")
        except OSError as error:
            raise SinkError(f"not written: {error.strerror}") from None

    return send
