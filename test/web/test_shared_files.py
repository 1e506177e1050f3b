"""Bodies in files that exist in memory only."""

from __future__ import annotations

import os
import socket

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from typing_extensions import override

from restreamer.http1.reply import FullReply, HttpRequest, Reply
from restreamer.web import shared_files
from restreamer.web.shared_files import MAX_FILES, SHARE_FROM, SHARE_TO, UNUSED, SharedFiles
from test.web.wires import Visit

#: No two blocks of it are alike.
BODY = b"".join(b"%08x" % number for number in range(SHARE_FROM // 4))


def descriptors() -> int:
    """How many files are open."""
    return len(os.listdir("/proc/self/fd"))


def get(path: str) -> bytes:
    """A request."""
    return f"GET {path} HTTP/1.1\r\nHost: a\r\n\r\n".encode()


class FilesTests(SynchronousTestCase):
    """Which bodies get a file, and for how long."""

    @override
    def setUp(self) -> None:
        self.clock = Clock()
        self.files = SharedFiles(self.clock)
        self.addCleanup(self.files.close)

    def test_the_second_time(self) -> None:
        body = bytes(SHARE_FROM)
        self.assertIsNone(self.files.of(body, 0.0))
        file = self.files.of(body, 0.0)
        assert file is not None
        self.assertIs(file.body, body)
        self.assertIs(self.files.of(body, 1.0), file)
        self.assertEqual(self.files.size, SHARE_FROM)

    def test_sizes(self) -> None:
        for size, wanted in ((SHARE_FROM - 1, False), (SHARE_TO, True), (SHARE_TO + 1, False)):
            body = bytes(size)
            self.files.of(body, 0.0)
            self.assertEqual(self.files.of(body, 0.0) is not None, wanted, size)

    def test_unused_ones_go(self) -> None:
        """Some seconds after the last request, and nothing is looked for when there are none."""
        before = descriptors()
        used, unused = bytes(SHARE_FROM), bytes(SHARE_FROM + 1)
        for body in (used, unused) * 2:
            self.files.of(body, 0.0)
        self.assertEqual(descriptors(), before + 2)
        self.clock.pump([UNUSED / 4] * 4)
        self.files.of(used, self.clock.seconds())
        self.clock.pump([UNUSED / 4] * 2)
        self.assertEqual((self.files.size, descriptors()), (SHARE_FROM, before + 1))
        self.clock.pump([UNUSED / 4] * 8)
        self.assertEqual((self.files.size, descriptors()), (0, before))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_bounds(self) -> None:
        self.patch(shared_files, "MAX_BYTES", 3 * SHARE_FROM)
        bodies = [bytes(SHARE_FROM) for _ in range(5)]
        found = [self.files.of(body, 0.0) for body in bodies * 2][5:]
        self.assertEqual([each is not None for each in found], [True] * 3 + [False] * 2)
        self.assertGreater(MAX_FILES, 3)

    def test_none_where_there_is_no_memory(self) -> None:
        def full(name: str) -> int:
            raise OSError(12, "Cannot allocate memory")

        self.patch(os, "memfd_create", full)
        for _ in range(3):
            self.assertIsNone(self.files.of(BODY, 0.0))

    def test_closed_while_somebody_sends(self) -> None:
        self.files.of(BODY, 0.0)
        file = self.files.of(BODY, 0.0)
        assert file is not None
        self.files.close()
        near, far = socket.socketpair()
        self.addCleanup(near.close)
        self.addCleanup(far.close)
        near.setblocking(False)
        sent = file.send(near, len(BODY) - 100)
        self.assertEqual((sent, far.recv(1000)), (100, BODY[-100:]))


class SentTests(SynchronousTestCase):
    """What clients get is the same."""

    def test_same_bytes(self) -> None:
        """At the first request, and at later ones, to readers that are slow and fast."""

        def media(request: HttpRequest) -> Reply:
            return FullReply(status=200, body=BODY, etag='"e"')

        visit = Visit(media)
        for _ in range(4):
            visit.got = b""
            visit.send(get("/a"))
            self.assertTrue(visit.got.endswith(BODY))
            self.assertEqual(visit.got.count(b"HTTP/1.1 200"), 1)
        self.assertEqual(visit.factory.files.size, len(BODY))
        visit.got = b""
        visit.wire.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        visit.send(get("/a") * 2)
        self.assertEqual(visit.got.count(BODY), 2)
        visit.got = b""
        visit.send(b"GET /a HTTP/1.1\r\nHost: a\r\nRange: bytes=100-199\r\n\r\n")
        self.assertTrue(visit.got.endswith(BODY[100:200]))
        visit.lose()
        visit.factory.stopFactory()

    def test_reader_leaves(self) -> None:
        """In the middle of a body: nothing is held for it."""
        before = descriptors()
        visit = Visit(lambda request: FullReply(status=200, body=BODY))
        for _ in range(2):
            visit.send(get("/a"))
        visit.wire.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        visit.protocol.dataReceived(get("/a"))
        self.assertIsNotNone(visit.wire.producer)
        visit.factory.stopFactory()
        visit.lose()
        visit.wire.socket.close()
        visit.wire.client.close()
        self.assertEqual(descriptors(), before)

    def test_broken_while_it_is_sent(self) -> None:
        visit = Visit(lambda request: FullReply(status=200, body=BODY))
        for _ in range(2):
            visit.send(get("/a"))
        visit.wire.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        visit.protocol.dataReceived(get("/a"))
        visit.wire.client.close()
        visit.wire.flush()
        self.assertTrue(visit.wire.aborted)
        visit.factory.stopFactory()
