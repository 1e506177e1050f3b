"""How the program of a worker ends."""

from __future__ import annotations

import os
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from typing_extensions import override

from restreamer.workers.messages import Stop
from restreamer.workers.process import END_SECONDS, Worker


class Loop(Clock):
    """Notes that it is stopped. @ivar worker: ends before that, as a reactor would have it."""

    def __init__(self) -> None:
        super().__init__()
        self.stopped = 0
        self.waiting: Any = None
        self.worker: Any = None

    def stop(self) -> None:
        """See C{IReactorCore}."""
        self.stopped += 1
        self.waiting = self.worker.going_down()


class Node:
    """A node that takes a while to stop."""

    running = True

    def __init__(self) -> None:
        self.done: Deferred[None] = Deferred()
        self.stops = 0

    def stopService(self) -> Deferred[None]:
        """See C{IService}."""
        self.stops += 1
        return self.done


class Ends(SynchronousTestCase):
    """See the module."""

    @override
    def setUp(self) -> None:
        self.loop = Loop()
        self.worker = self.loop.worker = Worker(self.loop)
        self.node = Node()
        node: Any = self.node
        self.worker.node = node
        self.exits: list[int] = []
        self.patch(os, "_exit", self.exits.append)

    def test_told(self) -> None:
        """The main process says so; a signal comes besides, or its end."""
        self.worker.heard(Stop(), ())
        self.worker.lost()
        self.assertEqual((self.node.stops, self.loop.stopped), (1, 0))
        self.node.done.callback(None)
        self.assertEqual((self.node.stops, self.loop.stopped), (1, 1))
        self.successResultOf(self.loop.waiting)

    def test_signal(self) -> None:
        """All processes of the service are told to end: who is served gets the rest first."""
        self.loop.stop()
        self.assertNoResult(self.loop.waiting)
        self.worker.heard(Stop(), ())
        self.assertNoResult(self.loop.waiting)
        self.node.done.callback(None)
        self.successResultOf(self.loop.waiting)
        self.assertEqual((self.node.stops, self.loop.stopped), (1, 1))

    def test_told_then_signal(self) -> None:
        """The loop is stopped once."""
        self.worker.heard(Stop(), ())
        self.loop.stop()
        self.node.done.callback(None)
        self.assertEqual((self.node.stops, self.loop.stopped), (1, 1))
        self.successResultOf(self.loop.waiting)

    def test_hangs(self) -> None:
        """It ends in any case."""
        self.worker.lost()
        self.loop.advance(END_SECONDS)
        self.assertEqual(self.exits, [1])
