"""The reactor's turn."""

from __future__ import annotations

import os
import socket
import sys
from functools import partial

from twisted.internet.epollreactor import EPollReactor
from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from typing_extensions import override

from restreamer.polling import MOST_EVENTS, SWITCH_SECONDS, TURN_SECONDS, quicken


class Reader:
    """Reads a socket, and does what it is told then."""

    def __init__(self, reader: socket.socket) -> None:
        self.socket = reader
        self.read: list[bytes] = []
        self.wrote = 0
        self.lost: list[object] = []
        self.error: Exception | None = None

    def fileno(self) -> int:
        return self.socket.fileno()

    def logPrefix(self) -> str:  # noqa: N802
        return "reader"

    def doRead(self) -> object:  # noqa: N802
        data = self.socket.recv(100)
        if self.error is not None:
            raise self.error
        self.read.append(data)
        return None if data else ConnectionDone()

    def doWrite(self) -> None:  # noqa: N802
        self.wrote += 1

    def connectionLost(self, reason: object) -> None:
        self.lost.append(reason)


class TurnTests(SynchronousTestCase):
    """With a reactor that nobody runs."""

    @override
    def setUp(self) -> None:
        self.reactor = EPollReactor()
        self.addCleanup(self.reactor._poller.close)
        self.addCleanup(self.reactor.waker.connectionLost, None)
        self.assertTrue(quicken(self.reactor))

    def pair(self) -> tuple[Reader, socket.socket]:
        """A reader that is watched, and the other end."""
        near, far = socket.socketpair()
        near.setblocking(False)
        self.addCleanup(near.close)
        self.addCleanup(far.close)
        reader = Reader(near)
        self.reactor.addReader(reader)
        return reader, far

    def test_reads(self) -> None:
        readers = [self.pair() for _ in range(3)]
        for _, far in readers:
            far.send(b"x")
        self.reactor.doIteration(0)
        self.reactor.doIteration(0)
        self.assertEqual([reader.read for reader, _ in readers], [[b"x"]] * 3)

    def test_nothing_to_do(self) -> None:
        reader, _ = self.pair()
        self.reactor.doIteration(0.001)
        self.assertEqual(reader.read, [])

    def test_reads_and_writes(self) -> None:
        reader, far = self.pair()
        self.reactor.addWriter(reader)
        far.send(b"x")
        self.reactor.doIteration(0)
        self.assertEqual((reader.read, reader.wrote), ([b"x"], 1))

    def test_the_end(self) -> None:
        """Of the other side."""
        reader, far = self.pair()
        far.close()
        for _ in range(3):
            self.reactor.doIteration(0)
        self.assertEqual(len(reader.lost), 1)
        self.assertNotIn(reader, self.reactor.getReaders())

    def test_an_error_ends_one(self) -> None:
        broken, far = self.pair()
        sound, other = self.pair()
        broken.error = ZeroDivisionError()
        for end in (far, other):
            end.send(b"x")
        self.reactor.doIteration(0)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertEqual((len(broken.lost), sound.read, sound.lost), (1, [b"x"], []))
        self.assertIn(sound, self.reactor.getReaders())

    def test_one_ends_the_other(self) -> None:
        """What is no longer watched is not served, though it was ready in the same turn."""
        first, far = self.pair()
        second, other = self.pair()
        first.doRead = lambda: self.reactor.removeReader(second)  # type: ignore[method-assign]
        second.doRead = lambda: self.reactor.removeReader(first)  # type: ignore[method-assign]
        for end in (far, other):
            end.send(b"x")
        self.reactor.doIteration(0)
        self.assertEqual(len({first, second} & set(self.reactor.getReaders())), 1)

    def test_many(self) -> None:
        """More than are asked for at a time."""
        reading, writing = os.pipe()
        self.addCleanup(os.close, reading)
        self.addCleanup(os.close, writing)
        served: list[int] = []

        class Copy:
            def __init__(self) -> None:
                self.descriptor = os.dup(reading)

            def fileno(self) -> int:
                return self.descriptor

            def doRead(self) -> None:  # noqa: N802
                served.append(self.descriptor)

        copies = [Copy() for _ in range(MOST_EVENTS + 10)]
        for copy in copies:
            self.addCleanup(os.close, copy.descriptor)
            self.reactor.addReader(copy)
        os.write(writing, b"x")
        self.reactor.doIteration(0)
        self.reactor.doIteration(0)
        self.assertEqual(set(served), {copy.descriptor for copy in copies})

    def test_a_turn_ends(self) -> None:
        """When it took too long; the others are served in the next one, first and without waiting."""
        now = [0.0]
        self.reactor.seconds = lambda: now[0]
        quicken(self.reactor)
        order: list[Reader] = []

        def slow(reader: Reader) -> None:
            reader.socket.recv(100)
            order.append(reader)
            now[0] += TURN_SECONDS

        pairs = [self.pair() for _ in range(40)]
        for reader, far in pairs:
            self.patch(reader, "doRead", partial(slow, reader))
            far.send(b"x")
        self.reactor.doIteration(0)
        self.assertEqual(len(order), 8)
        gone = next(reader for reader, _ in pairs if reader not in order)
        self.reactor.removeReader(gone)
        for reader, far in pairs:
            if reader in order:
                far.send(b"x")
        for _ in range(4):
            self.reactor.doIteration(60)
        self.assertEqual(len(set(order)), 39)
        self.assertEqual(len(order), 39)
        self.reactor.doIteration(60)
        self.assertEqual(len(order), 47)

    def test_threads_do_not_hold_it_up(self) -> None:
        """One that computes lets the reactor in after each of its system calls, and soon."""
        self.addCleanup(sys.setswitchinterval, sys.getswitchinterval())
        sys.setswitchinterval(0.005)
        quicken(self.reactor)
        self.assertAlmostEqual(sys.getswitchinterval(), SWITCH_SECONDS)
        self.assertLess(SWITCH_SECONDS, TURN_SECONDS)

    def test_another_reactor(self) -> None:
        self.assertFalse(quicken(Clock()))
