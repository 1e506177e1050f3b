"""Power cuts at any moment, with what was not synced lost, torn or out of turn; processes killed with -9."""

from __future__ import annotations

import errno
import random

from twisted.trial.unittest import SynchronousTestCase

from restreamer.dvr.store import Store
from restreamer.dvr.stream_store import StreamStore
from restreamer.errors import Refused
from restreamer.m4f.hour_index import Row
from restreamer.m4f.segment import Segment
from test.dvr.crash import kill_often
from test.dvr.memory_archive import FIRST
from test.dvr.recordings import HOUR, several, ticks
from test.dvr.simulated_disk import Fault, Platter, SimulatedDisk

ROOT = "/dvr"
NAME = "a/cam"
FILE_BYTES = 1500
CUTS = 2000


def store_on(disk: SimulatedDisk) -> Store:
    """The store on a disk."""
    return Store(ROOT, disk, file_bytes=FILE_BYTES, new_id=lambda: "v")


def work(disk: SimulatedDisk) -> dict[int, set[int]]:
    """Record two hours with all that may happen. @return: the checksums that were given of each number."""
    store = store_on(disk)
    store.open()
    stream = store.stream(NAME)
    given: dict[int, set[int]] = {}

    def append(numbers: range, payload: bytes = b"\x21\x1a") -> None:
        items = several(numbers, payload)
        for item in items:
            given.setdefault(item.segment.number, set()).add(item.segment.checksum)
        for item, _ in stream.append(items):
            disk.mark("recorded", item.segment.number, item.segment.checksum)

    append(range(HOUR - 12, HOUR - 10))
    for number in range(HOUR - 10, HOUR - 2):
        append(range(number, number + 1), bytes(number % 90))
    disk.faults.append(Fault("sync", ".m4f", errno.EIO, 1))
    append(range(HOUR - 2, HOUR + 1))
    stream.seal(ticks(HOUR + 100))
    append(range(HOUR + 1, HOUR + 5), bytes(300))
    append(range(HOUR - 20, HOUR - 18))
    append(range(HOUR - 2, HOUR + 2), b"other")
    disk.faults.append(Fault("write", ".m4f", errno.ENOSPC, 1))
    try:
        append(range(HOUR + 5, HOUR + 7))
    except OSError:
        append(range(HOUR + 5, HOUR + 7))
    stream.seal(ticks(HOUR + 100))
    doomed = stream.data_files()[:3]
    for file in doomed:
        for row in stream.hour(file.hour):
            if row.file == file.facts.number:
                disk.mark("doomed", row.number)
    stream.delete(doomed)
    append(range(HOUR + 7, HOUR + 10))
    stream.seal(ticks(3 * HOUR))
    append(range(2 * HOUR, 2 * HOUR + 3))
    return given


def read_all(stream: StreamStore) -> dict[int, tuple[Row, Segment]]:
    """All that an archive shows, verified."""
    found: dict[int, tuple[Row, Segment]] = {}
    try:
        holdings = stream.holdings()
    except Refused:
        return found
    for hour in holdings.hours:
        for row in stream.hour(hour):
            assert row.number not in found
            found[row.number] = row, stream.segment(row)
    return found


class PowerCuts(SynchronousTestCase):
    """Nothing that was acknowledged is lost, nothing false is shown, and a start never fails."""

    def test_every_moment(self) -> None:
        """Cuts after each operation, several ways each (D01)."""
        disk = SimulatedDisk()
        given = work(disk)
        self.assertEqual(disk.open_files, 0)
        chance = random.Random(5)
        platter = Platter()
        kept: dict[int, int] = {}
        ways = -(-CUTS // len(disk.log))
        for at, op in enumerate(disk.log):
            if op[0] == "mark":
                if op[1] == "recorded":
                    kept.setdefault(op[2], op[3])
                else:
                    kept.pop(op[2], None)
            platter.take(op)
            for way in range(ways):
                after = platter.cut(chance)
                try:
                    self.judge(after, given, kept)
                except Exception as error:
                    raise AssertionError(f"cut after operation {at} {op[:2]}, way {way}: {error}") from error

    def judge(self, disk: SimulatedDisk, given: dict[int, set[int]], kept: dict[int, int]) -> None:
        """Start on what is left, go on recording, and start again."""
        store = store_on(disk)
        store.open()
        stream = store.stream(NAME)
        found = read_all(stream)
        for number, (row, segment) in found.items():
            assert segment.checksum in given[number], f"{number} is not what was recorded"
            assert row.start == segment.start and row.duration == segment.duration
        for number, checksum in kept.items():
            assert number in found, f"{number - FIRST} is lost"
            assert found[number][1].checksum == checksum, f"{number} has other bytes"
        new = several(range(HOUR - 30, HOUR - 28)) + several(range(2 * HOUR + 50, 2 * HOUR + 51))
        assert len(stream.append(new)) == 3
        before = read_all(stream)
        store.close()
        store = store_on(disk)
        store.open()
        again = read_all(store.stream(NAME))
        assert before.keys() == again.keys()
        assert disk.open_files == 0


class Kills(SynchronousTestCase):
    """A real process, on a real disk."""

    def test_killed(self) -> None:
        """It is killed while it writes, and what it said to be on the disk is there (D02)."""
        self.assertEqual(kill_often(20, seed=1).lost, [])
