"""Many connections that are up to no good at once: memory, descriptors and the canary stay as they were."""

from __future__ import annotations

import contextlib
import resource
import socket
import struct
from typing import ClassVar
from unittest import SkipTest

from typing_extensions import override

from test.e2e.canary import Canary
from test.e2e.nodes import Node, wait_until
from test.e2e.shared import Stage, StageCase

STREAM = "live/target"
#: What a storm may cost while it lasts, bytes.
GROWTH = 96 << 20
#: C0, C1 and C2 of a publisher, then the begin of messages of 16 MiB on forty chunk streams.
HANDSHAKE = b"\x03" + bytes(1536) + bytes(1536)
PARTIAL = b"".join(
    bytes((csid,)) + b"\0\0\0" + b"\x7f\xff\xff" + b"\x09" + struct.pack("<I", 1) + bytes(128)
    for csid in range(4, 44)
)


class Storms(StageCase):
    """One node with a stream that must go on."""

    node: ClassVar[Node]

    @override
    @classmethod
    def build(cls, stage: Stage) -> None:
        cls.node = stage.node("node")
        stage.publish(cls.node, STREAM)
        cls.node.wait_alive(STREAM)

    @override
    def setUp(self) -> None:
        super().setUp()
        limit = resource.getrlimit(resource.RLIMIT_NOFILE)
        if limit[1] < 3000:
            raise SkipTest(f"only {limit[1]} files can be open here")
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(limit[0], 3000), limit[1]))
        self.addCleanup(resource.setrlimit, resource.RLIMIT_NOFILE, limit)

    def test_a_thousand_unfinished_messages(self) -> None:
        """A thousand RTMP connections that announce huge messages and send a little of each (R03)."""
        before = self.node.rss()
        descriptors = self.node.descriptors()
        with Canary(self.node, STREAM, self.stage.folder), contextlib.ExitStack() as stack:
            for _ in range(1000):
                client = stack.enter_context(socket.create_connection(("127.0.0.1", self.node.rtmp), 10))
                with contextlib.suppress(OSError):
                    client.sendall(HANDSHAKE + PARTIAL)
            self.assertLess(self.node.rss() - before, GROWTH)
            wait_until(lambda: self.node.descriptors() < descriptors + 20, 40, "they are sent away")
        self.assertLess(self.node.rss() - before, GROWTH)

    def test_viewers_that_leave_midway(self) -> None:
        """Two thousand viewers that ask and go before the answer is whole (H17)."""
        before = self.node.rss()
        descriptors = self.node.descriptors()
        request = f"GET /{STREAM}/mpegts HTTP/1.1\r\nHost: x\r\n\r\n".encode()
        with Canary(self.node, STREAM, self.stage.folder):
            for _ in range(2000):
                with socket.create_connection(("127.0.0.1", self.node.http), 10) as client:
                    client.sendall(request)
                    client.recv(100)
            wait_until(lambda: self.node.descriptors() < descriptors + 20, 30, "their connections are gone")
        self.assertLess(self.node.rss() - before, GROWTH)
        wait_until(
            lambda: self.node.streams()[STREAM]["stats"]["online_clients"] == 0, 10, "nobody is counted"
        )

    def test_pipelined_requests(self) -> None:
        """Clients that send thousands of requests without reading an answer (H05)."""
        request = f"GET /{STREAM}/index.m3u8 HTTP/1.1\r\nHost: x\r\n\r\n".encode()
        descriptors = self.node.descriptors()
        before = self.node.rss()
        with Canary(self.node, STREAM, self.stage.folder), contextlib.ExitStack() as stack:
            for _ in range(4):
                client = stack.enter_context(socket.create_connection(("127.0.0.1", self.node.http), 10))
                client.settimeout(2)
                with contextlib.suppress(OSError):
                    client.sendall(request * 20_000)
            wait_until(lambda: self.node.descriptors() < descriptors + 20, 40, "they are sent away")
        self.assertLess(self.node.rss() - before, GROWTH)
