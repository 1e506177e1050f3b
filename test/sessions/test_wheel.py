"""The wheel that sessions are looked at by."""

from __future__ import annotations

from attrs import define
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from restreamer.sessions.wheel import Wheel


@define(eq=False)
class Thing:
    wake: int = 0


class WheelTests(SynchronousTestCase):
    def test_one_timer_whatever_is_arranged_while_it_turns(self) -> None:
        clock = Clock()
        things = [Thing() for _ in range(5)]
        looked = 0

        def look(thing: Thing) -> float:
            nonlocal looked
            looked += 1
            for each in things:
                wheel.at(each, clock.seconds() + 1.0)
            return clock.seconds() + 1.0

        wheel: Wheel[Thing] = Wheel(clock, look)
        wheel.at(things[0], 0.0)
        for _ in range(20):
            clock.advance(1.0)
            self.assertEqual(len(clock.getDelayedCalls()), 1)
        self.assertGreater(looked, 20)
        wheel.stop()
        wheel.at(things[0], clock.seconds())
        self.assertEqual(clock.getDelayedCalls(), [])
