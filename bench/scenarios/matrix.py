"""What does one viewer cost, of each protocol, at two rates, in audiences of three sizes?

What is measured of RTMP with 1,000 and 4,000 viewers of 1 Mbit/s is in L{bench.scenarios.fanout}. 4,000
viewers of 4 Mbit/s are 16 Gbit/s, which no server sends from one core in small pieces: at longer intervals
alone.
"""

from __future__ import annotations

from bench.scenario import Bench
from bench.scenarios.fanout import PROTOS, Plan, go_through

NAME = "matrix"
TITLE = "Fan-out on one core: rates and audiences"
BUDGET = 3600.0

PLAN: Plan = [
    (1, 40, [*((proto, 100) for proto in PROTOS), *((proto, 4000) for proto in PROTOS if proto != "rtmp")]),
    (1, 100, [(proto, viewers) for proto in PROTOS if proto != "rtmp" for viewers in (100, 1000, 4000)]),
    (4, 40, [(proto, viewers) for proto in PROTOS for viewers in (100, 1000)]),
    (4, 100, [(proto, viewers) for proto in PROTOS for viewers in (1000, 4000)]),
    (4, 350, [(proto, 4000) for proto in PROTOS]),
]


def run(bench: Bench) -> None:
    """One repeat."""
    go_through(bench, PLAN, (1000, 100))
