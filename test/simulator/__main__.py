"""C{python -m test.simulator}: run seeds of the cluster simulator."""

from __future__ import annotations

import argparse
import multiprocessing
import os
import sys
import time
from collections.abc import Iterator, Sequence
from functools import partial

from test.simulator.mutations import MUTATIONS, mutated
from test.simulator.plan import Size
from test.simulator.simulation import Outcome, simulate


def _arguments(given: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m test.simulator",
        description="Runs a whole cluster on simulated time, with faults, and checks what must always hold.",
    )
    parser.add_argument("--seed", type=int, default=1, help="the (first) seed")
    parser.add_argument("--seeds", type=int, default=1, help="so many seeds, one after the other")
    parser.add_argument("--nodes", type=int, default=20)
    parser.add_argument("--streams", type=int, default=6, help="names that publishers use")
    parser.add_argument("--minutes", type=float, default=10.0, help="of simulated time")
    parser.add_argument("--processes", type=int, default=0, help="at once; 0: as many as there are cores")
    parser.add_argument("--mutation", choices=sorted(MUTATIONS), help="plant this bug")
    parser.add_argument("--single", action="store_true", help="no stream is published to two nodes at once")
    parser.add_argument("--verbose", action="store_true", help="print what happens")
    parser.add_argument("--trace", metavar="HOST:NAME", help="print what the links of a node bring of a name")
    return parser.parse_args(given)


def _run(size: Size, mutation: str | None, verbose: bool, trace: str | None, seed: int) -> Outcome:
    with mutated(mutation):
        return simulate(seed, size, print if verbose else None, trace)


def _outcomes(arguments: argparse.Namespace, size: Size) -> Iterator[Outcome]:
    seeds = range(arguments.seed, arguments.seed + arguments.seeds)
    run = partial(_run, size, arguments.mutation, arguments.verbose, arguments.trace)
    processes = min(arguments.processes or os.cpu_count() or 1, len(seeds))
    if processes == 1:
        yield from map(run, seeds)
        return
    with multiprocessing.Pool(processes, maxtasksperchild=4) as pool:
        yield from pool.imap_unordered(run, seeds)


def main(given: Sequence[str] | None = None) -> int:
    """Run; the exit status is 1 when an invariant was violated."""
    arguments = _arguments(given)
    size = Size(
        nodes=arguments.nodes,
        streams=arguments.streams,
        minutes=arguments.minutes,
        dual=not arguments.single,
    )
    failed: list[Outcome] = []
    simulated = seconds = 0.0
    began = time.monotonic()
    for outcome in _outcomes(arguments, size):
        simulated += outcome.simulated
        seconds += outcome.seconds
        faults = sum(outcome.counts.values())
        print(
            f"seed {outcome.seed}: {outcome.failure or 'ok'}; {faults} faults and changes, "
            f"{outcome.events} events, {outcome.factor:.0f} x real time, digest {outcome.digest}",
            flush=True,
        )
        if outcome.failure:
            failed.append(outcome)
            if not arguments.verbose:
                for line in outcome.tail:
                    print(f"    {line}")
            print(
                f"again: python -m test.simulator --seed {outcome.seed} --nodes {size.nodes} "
                f"--streams {size.streams} --minutes {size.minutes:g} --verbose"
                + (" --single" if arguments.single else "")
                + (f" --mutation {arguments.mutation}" if arguments.mutation else ""),
                flush=True,
            )
    print(
        f"{arguments.seeds} seeds, {len(failed)} violated an invariant"
        + (f": {sorted(each.seed for each in failed)}" if failed else "")
        + f"; {simulated:.0f} s simulated in {time.monotonic() - began:.0f} s "
        f"({simulated / max(seconds, 1e-9):.0f} x real time per core)"
    )
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
