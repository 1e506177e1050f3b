"""A viewer that must notice nothing: it watches while a test does harm to others, and then says whether it
lost a frame."""

from __future__ import annotations

import threading
import time
from pathlib import Path

from test.e2e.machine import Delays
from test.e2e.nodes import Node, wait_until
from test.e2e.players import HttpStream, assert_unbroken, decode, probe_packets


class Canary:
    """Watches C{stream} on C{node} as HTTP MPEG-TS between C{with} and its end, then checks every frame.

    @param least: shortest time to watch, seconds. @param gap: longest time without a byte that is allowed,
        seconds; what the machine keeps programs waiting is added to it.
    """

    def __init__(
        self, node: Node, stream: str, folder: Path, *, least: float = 2.0, gap: float = 0.7
    ) -> None:
        self.node = node
        self.stream = stream
        self.path = folder / f"canary-{time.monotonic_ns()}.ts"
        self.least = least
        self.gap = gap
        self.data = bytearray()
        self.longest = 0.0
        self.ended = False
        self.over = threading.Event()
        self.delays = Delays()

    def __enter__(self) -> Canary:
        self.began = time.monotonic()
        self.http = HttpStream(self.node.http, f"/{self.stream}/mpegts")
        assert self.http.status == 200, self.http.head
        self.thread = threading.Thread(target=self._watch, daemon=True)
        self.thread.start()
        wait_until(lambda: len(self.data) > 10_000, 10.0, "the canary sees media")
        self.longest = 0.0
        self.delays.start()
        return self

    def _watch(self) -> None:
        last = time.monotonic()
        self.http.sock.settimeout(0.2)
        while not self.over.is_set():
            try:
                piece = self.http.read()
            except TimeoutError:
                piece = None
            now = time.monotonic()
            self.longest = max(self.longest, now - last)
            if piece == b"":
                self.ended = True
                return
            if piece:
                self.data += piece
                last = now

    def __exit__(self, kind: object, *rest: object) -> None:
        if kind is None:
            self.over.wait(max(0.0, self.began + self.least - time.monotonic()))
        self.over.set()
        self.thread.join(5)
        self.delays.__exit__()
        self.http.close()
        if kind is None:
            self.check()

    def check(self) -> None:
        """Fail when the canary lost its connection, a frame, or waited too long."""
        assert not self.ended, "the canary lost its connection"
        allowance = self.delays.allowance
        assert self.longest <= self.gap + allowance, (
            f"the canary saw nothing for {self.longest:.2f} s; the limit is {self.gap} s, "
            f"and {allowance:.2f} s for delays of the machine"
        )
        self.path.write_bytes(self.data[: len(self.data) - len(self.data) % 188])
        result = decode(str(self.path), 0)
        assert result.complaints == "", f"the canary's decoder complains: {result.complaints[:1000]}"
        assert_unbroken(probe_packets(str(self.path)))
