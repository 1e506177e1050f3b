"""Threads for files: few at once, and nobody's answer is lost."""

from __future__ import annotations

import threading
from collections.abc import Callable
from queue import Queue
from typing import Any

from twisted.internet.defer import CancelledError
from twisted.trial.unittest import SynchronousTestCase

from restreamer.vod.disk import DiskThreads


class Loop:
    """A reactor's C{callFromThread}, and time that is moved by hand."""

    def __init__(self) -> None:
        self.calls: Queue[tuple[Callable[..., object], tuple[Any, ...]]] = Queue()
        self.now = 0.0

    def seconds(self) -> float:
        return self.now

    def callFromThread(self, call: Callable[..., object], *args: Any) -> None:  # noqa: N802
        self.calls.put((call, args))

    def turn(self) -> None:
        call, args = self.calls.get(timeout=10)
        call(*args)


class DiskTests(SynchronousTestCase):
    def test_answers(self) -> None:
        loop = Loop()
        disk = DiskThreads(loop)
        good, bad = disk.call(divmod, 7, 2), disk.call(divmod, 7, 0)
        loop.turn()
        loop.turn()
        self.assertEqual(self.successResultOf(good), (3, 1))
        self.failureResultOf(bad, ZeroDivisionError)

    def test_few_at_once(self) -> None:
        loop, gate = Loop(), threading.Event()
        disk = DiskThreads(loop, max_running=2)
        running: list[int] = []

        def work(number: int) -> int:
            running.append(number)
            gate.wait(10)
            return number

        results = [disk.call(work, number) for number in range(6)]
        results[4].cancel()
        self.failureResultOf(results[4], CancelledError)
        results[0].cancel()
        self.failureResultOf(results[0], CancelledError)
        self.assertLessEqual(len(running), 2)
        gate.set()
        for _ in range(5):
            loop.turn()
        self.assertEqual([self.successResultOf(results[n]) for n in (1, 2, 3, 5)], [1, 2, 3, 5])
        self.assertEqual(sorted(running), [0, 1, 2, 3, 5])

    def test_who_leaves_takes_no_memory(self) -> None:
        """A call that is given up leaves the line at once, while all threads hang."""
        loop, gate = Loop(), threading.Event()
        disk = DiskThreads(loop, max_running=1)
        hanging = disk.call(gate.wait, 10)
        for _ in range(100):
            waiting = disk.call(divmod, 7, 2)
            waiting.cancel()
            self.failureResultOf(waiting, CancelledError)
        self.assertEqual(disk.waiting, 0)
        gate.set()
        loop.turn()
        self.assertTrue(self.successResultOf(hanging))

    def test_all_threads_hang(self) -> None:
        """It is known for how long nobody was served, also when nobody waits for the answers any more."""
        loop, gate = Loop(), threading.Event()
        disk = DiskThreads(loop, max_running=2)
        hanging = disk.call(gate.wait, 10)
        loop.now = 50.0
        self.assertEqual(disk.hung_for(), 0.0, "one is free")
        given_up = disk.call(gate.wait, 10)
        given_up.cancel()
        self.failureResultOf(given_up, CancelledError)
        self.assertEqual(disk.hung_for(), 0.0)
        loop.now = 60.0
        self.assertEqual(disk.hung_for(), 10.0)
        gate.set()
        loop.turn()
        loop.turn()
        self.assertEqual(disk.hung_for(), 0.0)
        self.assertTrue(self.successResultOf(hanging))
