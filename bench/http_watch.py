"""Players of HLS that take everything once, cheaply: many streams in one process, one connection."""

from __future__ import annotations

import http.client
import multiprocessing
import multiprocessing.connection
import os
import time
from collections.abc import Sequence


def _text(connection: http.client.HTTPConnection, path: str) -> bytes:
    connection.request("GET", path)
    reply = connection.getresponse()
    body = reply.read()
    return body if reply.status == 200 else b""


def _work(
    port: int,
    playlists: Sequence[str],
    period: float,
    cores: Sequence[int],
    pipe: multiprocessing.connection.Connection,
) -> None:
    if cores:
        os.sched_setaffinity(0, cores)
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    seen: dict[str, str] = {}
    fetched = missed = 0
    began = time.monotonic()
    turn = 0
    while True:
        for number, path in enumerate(playlists):
            if pipe.poll(0):
                if pipe.recv() == "end":
                    return
                pipe.send((fetched, missed))
                fetched = missed = 0
            wait = began + (turn + number / len(playlists)) * period - time.monotonic()
            if wait > 0:
                time.sleep(wait)
            lines = _text(connection, path).decode().splitlines()
            last = next((line for line in reversed(lines) if line and not line.startswith("#")), "")
            if not last or seen.get(path) == last:
                continue
            seen[path] = last
            body = _text(connection, f"{path.rpartition('/')[0]}/{last}")
            fetched += len(body)
            missed += not body
        turn += 1


class Watchers:
    """Takes the newest segment of each of C{playlists} every C{period} seconds; use as a context manager."""

    def __init__(self, port: int, playlists: Sequence[str], period: float, cores: Sequence[int]) -> None:
        self.pipe, theirs = multiprocessing.Pipe()
        self.process = multiprocessing.Process(
            target=_work, args=(port, playlists, period, cores, theirs), daemon=True
        )
        self.process.start()
        theirs.close()

    def told(self) -> tuple[int, int]:
        """Bytes of segments, and segments that could not be had, since it was asked last."""
        self.pipe.send("told")
        fetched, missed = self.pipe.recv()
        return fetched, missed

    def __enter__(self) -> Watchers:
        return self

    def __exit__(self, *exc: object) -> None:
        try:
            self.pipe.send("end")
        except OSError:
            pass
        self.process.join(3)
        if self.process.is_alive():
            self.process.kill()
