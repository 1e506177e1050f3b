"""Coroutines run to their first wait, and on from there."""

from __future__ import annotations

from twisted.internet.defer import CancelledError, Deferred
from twisted.trial.unittest import SynchronousTestCase

from restreamer.web.eager import Paused, carried_on, first_step


async def _rest(paused: Paused) -> object:
    return await carried_on(paused)


class Steps(SynchronousTestCase):
    def begin(self, *waits: Deferred[int]) -> Deferred[object]:
        async def work() -> int:
            total = 0
            for wait in waits:
                try:
                    total += await wait
                except KeyError:
                    total += 1000
            return total

        paused = first_step(work())
        assert isinstance(paused, Paused)
        return Deferred.fromCoroutine(_rest(paused))

    def test_at_once(self) -> None:
        async def work() -> int:
            ready = Deferred[int]()
            ready.callback(5)
            return await ready

        self.assertEqual(first_step(work()), 5)

    def test_raises(self) -> None:
        async def work() -> int:
            raise KeyError("x")

        with self.assertRaises(KeyError):
            first_step(work())

    def test_carried_on(self) -> None:
        waits = [Deferred[int]() for _ in range(3)]
        result = self.begin(*waits)
        waits[1].callback(20)
        self.assertNoResult(result)
        waits[0].callback(1)
        waits[2].errback(KeyError("x"))
        self.assertEqual(self.successResultOf(result), 1021)

    def test_an_error_leaves(self) -> None:
        wait = Deferred[int]()
        result = self.begin(wait)
        wait.errback(ValueError("x"))
        self.failureResultOf(result, ValueError)

    def test_cancelled(self) -> None:
        wait = Deferred[int]()
        result = self.begin(wait)
        result.cancel()
        self.failureResultOf(result, CancelledError)
