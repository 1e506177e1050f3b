"""Connections that were refused leave no object behind."""

from __future__ import annotations

import gc
import os
import socket
from collections import Counter
from typing import Any

from twisted.internet import reactor as global_reactor
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase
from typing_extensions import override

from restreamer.config.load import parse
from restreamer.node import Node
from test.test_node import HOST, free_port

reactor: Any = global_reactor
UPGRADE = b"GET /m4f HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: m4f\r\n\r\n"
#: Classes of which a connection has at least one object.
WATCHED = frozenset(
    (
        *("FrontProtocol", "HeadParser", "SiteChannel", "LinkProtocol", "Link", "RecordReader"),
        *("ControlServer", "MediaServer", "RtmpServerProtocol", "ServerConnection", "ChunkReader"),
        *("ServerHandshake", "Viewer"),
    )
)
ROUNDS = 40


def counted() -> Counter[str]:
    """Live objects of the watched classes."""
    gc.collect()
    return Counter(type(each).__name__ for each in gc.get_objects() if type(each).__name__ in WATCHED)


class LeakTests(TestCase):
    """A node of its own, attacked through its sockets."""

    timeout = 60

    @override
    def setUp(self) -> None:
        self.http, self.rtmp = free_port(), free_port()
        text = (
            f"http {HOST}:{self.http}; rtmp {HOST}:{self.rtmp}; cluster_key abcdefghijklmnop;"
            "template live { prefix live; input publish://; }"
        )
        self.node = Node(reactor, parse(text).configuration)
        self.node.startService()
        self.addCleanup(self.node.stopService)

    def _attack(self, port: int, data: bytes) -> None:
        with socket.create_connection((HOST, port), 5) as client:
            client.sendall(data)
            client.settimeout(0.02)
            try:
                while client.recv(4096):
                    pass
            except OSError:
                pass

    def _attack_all(self) -> None:
        garbage = os.urandom(600)
        attacks = (
            (self.http, garbage),
            (self.http, UPGRADE + garbage),
            (self.http, UPGRADE),
            (self.http, b"GET /live/none/mpegts HTTP/1.1\r\nHost: x\r\n\r\n"),
            (self.http, b"GET /streamer/api/v3/streams HTTP/1.1\r\nHost: x\r\n\r\n"),
            (self.http, b"GET / HTTP/1.1\r\nX: " + b"a" * 40_000),
            (self.rtmp, garbage),
            (self.rtmp, b"\x03" + bytes(1536) + bytes(1536) + garbage),
            (self.rtmp, b"\x03" + bytes(100)),
        )
        for _ in range(ROUNDS):
            for port, data in attacks:
                self._attack(port, data)

    async def test_nothing_is_left(self) -> None:
        """After hundreds of refused connections there are as many connection objects as before: none."""
        before = counted()
        await deferToThread(self._attack_all)
        left = counted() - before
        for _ in range(100):
            if not left:
                break
            await deferLater(reactor, 0.1)
            left = counted() - before
        self.assertEqual(left, Counter())
