"""Several datagrams at once."""

from __future__ import annotations

import errno
import socket
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from restreamer.rtsp.datagram_burst import MOST, MOST_BYTES, BurstSender, run_of


class Wire:
    """A socket that notes what it is given. @ivar fault: what it answers to several at once."""

    def __init__(self, fault: int = 0, full: bool = False) -> None:
        self.fault = fault
        self.full = full
        self.sent: list[list[bytes]] = []
        self.tries = 0

    def sendmsg(self, datagrams: Any, ancillary: Any, flags: int, address: Any) -> None:
        self.tries += 1
        if self.fault:
            raise OSError(self.fault, "no")
        self.sent.append(list(datagrams))

    def sendto(self, datagram: bytes, address: Any) -> None:
        if self.full:
            raise BlockingIOError(errno.EAGAIN, "full")
        self.sent.append([datagram])


def sender(wire: Wire) -> BurstSender:
    """One that sends to C{wire}."""
    return BurstSender(wire)  # type: ignore[arg-type]


class RunTests(SynchronousTestCase):
    """What goes as one."""

    @settings(deadline=None, derandomize=True, max_examples=200)
    @given(st.lists(st.integers(0, 40), min_size=1, max_size=200))
    def test_any_lengths(self, lengths: list[int]) -> None:
        """All goes, in order; of a run all are of one length but the last, which is not longer."""
        wire = Wire()
        datagrams = [bytes([number % 256]) * length for number, length in enumerate(lengths)]
        sender(wire).send(datagrams, ("192.0.2.1", 5000))
        self.assertEqual([each for run in wire.sent for each in run], datagrams)
        for run in wire.sent:
            self.assertLessEqual(len(run), MOST)
            self.assertLessEqual({len(each) for each in run[:-1]}, {len(run[0])})
            self.assertLessEqual(len(run[-1]), len(run[0]))
            if len(run) > 1:
                self.assertTrue(all(run))

    def test_bounds(self) -> None:
        self.assertEqual(run_of([bytes(1400)] * 100, 0), MOST_BYTES // 1400)
        self.assertEqual(run_of([bytes(100)] * 100, 10), 10 + MOST)
        self.assertEqual(run_of([b"ab", b"abc"], 0), 1)
        self.assertEqual(run_of([b"abc", b"ab", b"ab"], 0), 2)


class FaultTests(SynchronousTestCase):
    """What the system may say."""

    def test_not_here(self) -> None:
        """Then one by one, and it is not tried again."""
        wire = Wire(fault=errno.EINVAL)
        burst = sender(wire)
        for _ in range(2):
            burst.send([b"aa", b"bb", b"c"], ("192.0.2.1", 5000))
        self.assertEqual(wire.sent, [[b"aa"], [b"bb"], [b"c"]] * 2)
        self.assertEqual((wire.tries, burst.failed), (1, 0))

    def test_full(self) -> None:
        """What it has no room for is lost, and counted."""
        wire = Wire(fault=errno.EAGAIN, full=True)
        burst = sender(wire)
        burst.send([b"aa", b"bb", b"c", b"dddd"], ("192.0.2.1", 5000))
        self.assertEqual((wire.sent, wire.tries, burst.failed), ([], 1, 4))

    def test_real(self) -> None:
        """They arrive as they were."""
        for family, host in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")):
            receiving = socket.socket(family, socket.SOCK_DGRAM)
            self.addCleanup(receiving.close)
            try:
                receiving.bind((host, 0))
            except OSError:
                continue
            receiving.settimeout(5)
            sending = socket.socket(family, socket.SOCK_DGRAM)
            self.addCleanup(sending.close)
            datagrams = [bytes([number]) * 1200 for number in range(20)] + [b"end", b"and more"]
            burst = BurstSender(sending)
            burst.send(datagrams, receiving.getsockname()[:2])
            self.assertEqual([receiving.recv(2000) for _ in datagrams], datagrams)
            self.assertEqual(burst.failed, 0)
