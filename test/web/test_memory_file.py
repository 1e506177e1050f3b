"""Shared bytes in a file."""

from __future__ import annotations

import os
import socket

from twisted.trial.unittest import SynchronousTestCase

from restreamer.web.memory_file import MemoryFile

BODY = b"".join(b"%08x" % number for number in range(64 * 1024))


class MemoryFileTests(SynchronousTestCase):
    """To a real connection."""

    def pair(self) -> tuple[socket.socket, socket.socket]:
        near, far = socket.socketpair()
        for end in (near, far):
            self.addCleanup(end.close)
            end.setblocking(False)
        return near, far

    def test_head_first(self) -> None:
        near, far = self.pair()
        file = MemoryFile(b"body" * 10)
        self.assertEqual(file.send_after(near, b"head"), 44)
        self.assertEqual(far.recv(1000), b"head" + b"body" * 10)

    def test_in_pieces(self) -> None:
        """As the connection takes them; all of it comes, in order."""
        near, far = self.pair()
        file = MemoryFile(BODY)
        got = bytearray()
        sent = file.send_after(near, b"head") - 4
        self.assertLess(sent, len(BODY))
        while sent < len(BODY):
            got += far.recv(100_000)
            try:
                sent += file.send(near, sent)
            except BlockingIOError:
                pass
        while len(got) < len(BODY) + 4:
            got += far.recv(100_000)
        self.assertEqual(bytes(got), b"head" + BODY)

    def test_a_full_connection(self) -> None:
        near, _ = self.pair()
        file = MemoryFile(BODY)
        with self.assertRaises(BlockingIOError):
            while True:
                near.send(bytes(10_000))
        self.assertRaises(BlockingIOError, file.send, near)
        self.assertRaises(BlockingIOError, file.send_after, near, b"head")

    def test_a_closed_connection(self) -> None:
        """Even when another one has its number by now."""
        near, far = self.pair()
        near.close()
        self.assertRaises(OSError, MemoryFile(BODY).send, near)
        near, far = self.pair()
        far.close()
        self.assertRaises(BrokenPipeError, MemoryFile(BODY).send, near)

    def test_closed_with_the_last_who_has_it(self) -> None:
        before = os.listdir("/proc/self/fd")
        file = MemoryFile(BODY)
        del file
        self.assertEqual(os.listdir("/proc/self/fd"), before)
