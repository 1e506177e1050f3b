"""One push that fails does not keep the others of its stream from being begun."""

from __future__ import annotations

from typing import Any, cast

from twisted.trial.unittest import SynchronousTestCase

from restreamer.cluster.push import Pushes
from restreamer.live.stream import Stream


class _Registry:
    def listen(self, listener: object) -> None:
        """Nobody is told of anything."""


class _Push:
    def __init__(self, fails: bool) -> None:
        self.key = None
        self.fails = fails
        self.followed = 0

    def follow(self, stream: object) -> None:
        if self.fails:
            raise OverflowError("int too big to convert")
        self.followed += 1


class _Running:
    name = "cam"
    running = True


class ApartTests(SynchronousTestCase):
    def test_a_push_that_fails(self) -> None:
        made = [_Push(True), _Push(False)]
        pushes = Pushes(cast(Any, _Registry()), lambda name: cast(Any, made))
        pushes.stream_changed(cast(Stream, _Running()))
        self.assertEqual(made[1].followed, 1)
        self.assertEqual(len(self.flushLoggedErrors(OverflowError)), 1)
