"""One seed from beginning to end."""

from __future__ import annotations

import gc
import random
import time
from collections.abc import Callable

from attrs import frozen

from test.simulator.audit import Audit
from test.simulator.plan import Size
from test.simulator.trace import traced
from test.simulator.trouble import Trouble
from test.simulator.world import SOURCE_TIMEOUT, World

#: How much time passes between two looks at tables and transfers, seconds.
_LOOK_EVERY = 1.0


@frozen
class Outcome:
    """What became of a seed.

    @ivar failure: empty, or the invariant and what was seen, at which second. @ivar tail: of the log.
    @ivar digest: of every event; @ivar events: how many. @ivar simulated, @ivar seconds: of simulated time,
        of this machine's processor. @ivar counts: faults by kind.
    """

    seed: int
    failure: str
    tail: tuple[str, ...]
    digest: str
    events: int
    simulated: float
    seconds: float
    counts: dict[str, int]

    @property
    def factor(self) -> float:
        """How many times faster than real time."""
        return self.simulated / self.seconds if self.seconds else 0.0


class Simulation:
    """Runs a world: trouble and peace in turn, then the end."""

    def __init__(self, seed: int, size: Size, say: Callable[[str], None] | None = None) -> None:
        self.world = World(seed, size, say)
        self.trouble = Trouble(self.world, random.Random(f"trouble {seed}"))
        self.audit = Audit(self.world)

    def run(self) -> Outcome:
        """The whole of it; stops at the first violation."""
        world, size = self.world, self.world.size
        began = time.process_time()
        collecting = gc.isenabled()
        gc.disable()
        try:
            with world:
                self._run(size)
        finally:
            if collecting:
                gc.enable()
        found = world.journal.violation
        return Outcome(
            world.seed,
            f"{found.invariant} at {found.at:.3f} s: {found.text}" if found is not None else "",
            world.journal.tail if found is not None else (),
            world.journal.digest,
            world.journal.events,
            world.now,
            time.process_time() - began,
            dict(sorted(self.trouble.counts.items())),
        )

    def _run(self, size: Size) -> None:
        end = size.minutes * 60
        self.trouble.begin()
        if not self._pass(6.0):
            return
        while self.world.now < end:
            self.trouble.go_on(self.world.now + size.trouble)
            if not self._pass(size.trouble):
                return
            self.trouble.make_peace()
            if not self._pass(size.calm):
                return
            self.audit.peace()
        self.trouble.send_all_away()
        if not self._pass(SOURCE_TIMEOUT + 8):
            return
        self.audit.empty()
        for host in list(self.world.up):
            self.world.stop(host)
        if self._pass(15.0):
            self.audit.ended()

    def _pass(self, seconds: float) -> bool:
        """Let time pass; whether all is well."""
        world = self.world
        clock = world.rig.clock
        end = clock.now + seconds
        while clock.now < end and world.journal.violation is None:
            clock.run_until(min(end, clock.now + _LOOK_EVERY))
            self.audit.look()
            if not int(clock.now) % 30:
                gc.collect(1)
        return world.journal.violation is None


def simulate(
    seed: int, size: Size, say: Callable[[str], None] | None = None, trace: str | None = None
) -> Outcome:
    """Run one seed.

    @param say: gets every line of the log as it comes. @param trace: C{host:name}: see L{traced}.
    """
    simulation = Simulation(seed, size, say)
    if trace is None:
        return simulation.run()
    with traced(simulation.world, *trace.split(":", 1)):
        return simulation.run()
