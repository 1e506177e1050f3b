"""Bounded caches, and making a thing once however many want it."""

from __future__ import annotations

from collections.abc import Awaitable

from twisted.internet.defer import CancelledError, Deferred
from twisted.trial.unittest import SynchronousTestCase
from typing_extensions import override

from restreamer.errors import Refused
from restreamer.vod.keep import Kept, SingleFlight


class KeptTests(SynchronousTestCase):
    def test_bytes(self) -> None:
        kept: Kept[str, bytes] = Kept(10, 100, len)
        for name in "abc":
            kept.put(name, b"1234")
        self.assertEqual([kept.get(name) for name in "abc"], [None, b"1234", b"1234"])
        self.assertEqual((kept.bytes, len(kept)), (8, 2))
        kept.get("b")
        kept.put("d", b"12345")
        self.assertEqual([kept.get(name) for name in "bcd"], [b"1234", None, b"12345"])
        kept.put("d", b"1")
        self.assertEqual(kept.bytes, 5)
        kept.drop("x")
        kept.drop("b")
        self.assertEqual(kept.bytes, 1)
        kept.clear()
        self.assertEqual((kept.bytes, len(kept)), (0, 0))

    def test_entries_and_one_too_large(self) -> None:
        kept: Kept[int, bytes] = Kept(10, 3, len)
        for number in range(5):
            kept.put(number, b"1")
        self.assertEqual(len(kept), 3)
        kept.put(9, b"x" * 100)
        self.assertEqual((len(kept), kept.bytes), (1, 100))
        kept.put(1, b"1")
        self.assertEqual((len(kept), kept.bytes), (1, 1))


class FlightTests(SynchronousTestCase):
    @override
    def setUp(self) -> None:
        self.made: list[Deferred[str]] = []
        self.flight: SingleFlight[str, str] = SingleFlight(max_flights=2, max_waiting=5)

    def make(self) -> Awaitable[str]:
        self.made.append(Deferred())
        return self.made[-1]

    def ask(self, key: str) -> Deferred[str]:
        return Deferred.fromCoroutine(self.flight.run(key, self.make))

    def test_once(self) -> None:
        asked = [self.ask("a") for _ in range(3)]
        self.assertEqual(len(self.made), 1)
        self.made[0].callback("made")
        self.assertEqual([self.successResultOf(each) for each in asked], ["made"] * 3)
        self.assertEqual(len(self.flight), 0)
        again = self.ask("a")
        self.assertEqual(len(self.made), 2)
        self.made[1].errback(ValueError("no"))
        self.failureResultOf(again, ValueError)

    def test_at_once(self) -> None:
        async def at_once() -> str:
            return "there"

        self.assertEqual(self.successResultOf(Deferred.fromCoroutine(self.flight.run("a", at_once))), "there")

    def test_who_goes_away_does_not_stop_it(self) -> None:
        first, second = self.ask("a"), self.ask("a")
        first.cancel()
        self.failureResultOf(first, CancelledError)
        self.made[0].callback("made")
        self.assertEqual(self.successResultOf(second), "made")

    def test_bounds(self) -> None:
        asked = [self.ask("a"), self.ask("b")]
        self.failureResultOf(self.ask("c"), Refused)
        asked += [self.ask("a") for _ in range(3)]
        self.failureResultOf(self.ask("a"), Refused)
        for each in asked:
            each.cancel()
            self.failureResultOf(each, CancelledError)
        asked = [self.ask("a") for _ in range(5)]
        for made in self.made:
            made.callback("made")
        self.assertEqual([self.successResultOf(each) for each in asked], ["made"] * 5)

    def test_shares(self) -> None:
        """A group whose makings hang leaves room for the others, and has room again when they are over."""
        self.flight = SingleFlight(10, 100, lambda key: key[0], 2)
        held = [self.ask(key) for key in ("a1", "a2")]
        self.failureResultOf(self.ask("a3"), Refused)
        other = self.ask("b1")
        self.assertNoResult(other)
        for made in self.made:
            made.callback("made")
        self.assertEqual([self.successResultOf(each) for each in [*held, other]], ["made"] * 3)
        self.assertNoResult(self.ask("a3"))
