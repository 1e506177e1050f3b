"""The same as L{bench.scenarios.fanout}, but all viewers are in one process of the load generator.

Viewers that are served one after the other are then of one process: the first of them wakes it, and it is
awake for the others. With a process on each core they take turns, and each wakes another one that has gone to
sleep.
"""

from __future__ import annotations

from bench.scenario import Bench
from bench.scenarios.fanout import AIMS, go_through

NAME = "neighbours"
TITLE = "Fan-out on one core: all viewers in one process"
BUDGET = 1200.0


def run(bench: Bench) -> None:
    """One repeat."""
    bench.crowds = 1
    go_through(bench, AIMS, (1000,))
