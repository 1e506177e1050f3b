"""A process that records and is killed with C{kill -9} again and again: nothing it told of may be lost.

    python -m test.dvr.crash --kills 500

(The child is this module, too.)
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from attrs import define, field

from restreamer.dvr.recorded import Recorded
from restreamer.dvr.store import Store
from restreamer.dvr.writer import Writer
from restreamer.errors import Refused
from restreamer.m4f.segment import Segment
from test.dvr.memory_archive import FIRST, D, segment
from test.dvr.recordings import HOUR, RUN

NAMES = ("cam", "a/b")
_FILE_BYTES = 40_000


@define
class Outcome:
    """@ivar lost: acknowledged segments that are not there. @ivar told: those that were acknowledged."""

    kills: int = 0
    told: int = 0
    found: int = 0
    recovered: int = 0
    torn: int = 0
    lost: list[tuple[str, int]] = field(factory=list)


def made(number: int) -> Segment:
    """Segment C{number}: always the same bytes, of a size of its own."""
    return segment(number, random.Random(number).randbytes(random.Random(-number).randrange(1, 9000)))


def record(root: str, first: int) -> None:
    """The child: record from C{first} on, and tell what is on the disk."""
    store = Store(root, file_bytes=_FILE_BYTES)
    writer = Writer(store, interval=0.0)
    told = dict.fromkeys(NAMES, first - 1)
    number = first
    sys.stdout.write("\n")
    sys.stdout.flush()
    while True:
        for name in NAMES:
            taken = writer.record(name, Recorded(made(number), RUN, False))
            while not taken:
                time.sleep(0.0005)
                taken = writer.record(name, Recorded(made(number), RUN, False))
        number += 1
        time.sleep(0.001)
        if number % HOUR == HOUR // 2:
            store.stream(NAMES[0]).seal(number * D)
        for name in NAMES:
            status = writer.stream_status(name)
            if status is not None and status.acknowledged is not None and status.acknowledged > told[name]:
                sys.stdout.write(f"{name} {told[name] + 1} {status.acknowledged}\n")
                told[name] = status.acknowledged
        sys.stdout.flush()


def kill_often(kills: int, seed: int, shown: bool = False) -> Outcome:
    """Start it and kill it C{kills} times."""
    chance = random.Random(seed)
    outcome = Outcome()
    with _folder() as root:
        told: dict[str, set[int]] = {name: set() for name in NAMES}
        first = FIRST + HOUR - 60
        for _ in range(kills):
            child = subprocess.Popen(
                [sys.executable, "-m", "test.dvr.crash", "--record", root, str(first)],
                stdout=subprocess.PIPE,
                cwd=Path(__file__).parents[2],
                env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            )
            assert child.stdout is not None
            child.stdout.readline()
            said = child.stdout.readline()
            time.sleep(chance.random() * 0.05)
            child.kill()
            lines = (said + child.stdout.read()).decode().split("\n")[:-1]
            child.stdout.close()
            child.wait()
            for line in lines:
                name, begin, end = line.split()
                told[name].update(range(int(begin), int(end) + 1))
            outcome.kills += 1
            first = max(_judge(root, told, outcome), first) + 1
            if shown:
                print(f"\r{outcome.kills} kills, {sum(map(len, told.values()))} told", end="", flush=True)
        outcome.told = sum(map(len, told.values()))
        assert outcome.told > kills, "nothing was written before the kills"
    return outcome


def _judge(root: str, told: dict[str, set[int]], outcome: Outcome) -> int:
    """Compare what is there with what was told. @return: the highest number."""
    store = Store(root, file_bytes=_FILE_BYTES)
    store.open()
    highest = 0
    outcome.found = 0
    for name, numbers in told.items():
        stream = store.stream(name)
        there = set()
        with contextlib.suppress(Refused):
            for hour in stream.holdings().hours:
                for row in stream.hour(hour):
                    assert stream.segment(row) == made(row.number)
                    there.add(row.number)
        outcome.found += len(there)
        outcome.recovered += stream.counters.recovered
        outcome.torn += stream.counters.torn
        outcome.lost += [(name, number) for number in sorted(numbers - there)]
        highest = max([highest, *there])
    store.close()
    return highest


@contextlib.contextmanager
def _folder() -> Iterator[str]:
    root = tempfile.mkdtemp(prefix="dvr-crash-")
    try:
        yield root
    finally:
        shutil.rmtree(root)


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--kills", type=int, default=500)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--record", nargs=2, metavar=("ROOT", "FIRST"))
    arguments = parser.parse_args()
    if arguments.record:
        record(arguments.record[0], int(arguments.record[1]))
    outcome = kill_often(arguments.kills, arguments.seed, shown=True)
    print(f"\n{outcome}")
    return 1 if outcome.lost else 0


if __name__ == "__main__":
    sys.exit(main())
