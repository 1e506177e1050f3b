"""Locked ranges: what is kept of them, and what a damaged file means."""

from __future__ import annotations

import errno

from hypothesis import given, settings
from hypothesis import strategies as some
from twisted.trial.unittest import SynchronousTestCase
from typing_extensions import override

from restreamer.dvr import locks
from restreamer.dvr.locks import LOCKS, Locks, decode_locks, encode_locks, joined, locked, unlocked
from restreamer.errors import Refused
from test.dvr.simulated_disk import Fault, SimulatedDisk

_RANGE = some.tuples(some.integers(0, 40), some.integers(1, 10)).map(
    lambda each: (each[0], each[0] + each[1])
)


def covered(ranges: locks.Ranges) -> set[int]:
    return {at for start, end in ranges for at in range(start, end)}


class Arithmetic(SynchronousTestCase):
    """Of ranges."""

    def test_table(self) -> None:
        """Ranges that touch are one; one may become two."""
        self.assertEqual(locked(((0, 5),), 5, 7), ((0, 7),))
        self.assertEqual(locked(((0, 5), (9, 12)), 4, 9), ((0, 12),))
        self.assertEqual(unlocked(((0, 10),), 3, 5), ((0, 3), (5, 10)))
        self.assertEqual(unlocked(((0, 10),), 0, 10), ())
        self.assertEqual(unlocked(((0, 2), (8, 10)), 1, 9), ((0, 1), (9, 10)))

    @settings(deadline=None, max_examples=60, derandomize=True)
    @given(some.lists(some.tuples(some.booleans(), _RANGE), max_size=12))
    def test_sets(self, changes: list[tuple[bool, tuple[int, int]]]) -> None:
        """Whatever is locked and unlocked: as with sets, in order and apart."""
        ranges: locks.Ranges = ()
        wanted: set[int] = set()
        for lock, (start, end) in changes:
            ranges = (locked if lock else unlocked)(ranges, start, end)
            wanted = wanted | set(range(start, end)) if lock else wanted - set(range(start, end))
            self.assertEqual(covered(ranges), wanted)
            self.assertEqual(joined(ranges), ranges)
        self.assertEqual(decode_locks(encode_locks(ranges)), ranges)


class OnDisk(SynchronousTestCase):
    """The file."""

    @override
    def setUp(self) -> None:
        self.disk = SimulatedDisk()
        self.disk.make_folder("/d")
        self.locks = Locks(self.disk, "/d")

    def test_kept(self) -> None:
        """What was locked is known to the next start."""
        self.assertEqual(self.locks.ranges("live/a"), ())
        self.locks.lock("live/a", 10, 20)
        self.locks.lock("live/a", 30, 40)
        self.locks.unlock("live/a", 15, 32)
        again = Locks(self.disk, "/d")
        self.assertEqual(again.ranges("live/a"), ((10, 15), (32, 40)))
        self.assertEqual(again.ranges("live/b"), ())

    def test_damaged(self) -> None:
        """Nothing can be deleted while it is not known what is locked, and nothing is overwritten."""
        for text in (b"", b"{", b"[]", b'{"version": 2, "locks": []}', b'{"version": 1, "locks": [[5, 1]]}'):
            with self.subTest(text):
                self.disk.make_folder("/d/x")
                file = self.disk.open(f"/d/x/{LOCKS}")
                file.truncate(0)
                file.write(0, [text])
                file.close()
                fresh = Locks(self.disk, "/d")
                self.assertRaises(ValueError, fresh.ranges, "x")
                self.assertRaises(ValueError, fresh.lock, "x", 1, 2)
                (all_of_it,) = fresh.spans("x")
                self.assertEqual(all_of_it.start, 0)

    def test_not_possible(self) -> None:
        """A disk that fails leaves what was locked; too many are refused."""
        self.locks.lock("x", 1, 2)
        self.disk.faults.append(Fault("rename", code=errno.ENOSPC))
        self.assertRaises(OSError, self.locks.lock, "x", 3, 4)
        self.assertEqual(self.locks.ranges("x"), ((1, 2),))
        self.disk.faults.clear()
        self.patch(locks, "MAX_LOCKS", 2)
        self.locks.lock("x", 5, 6)
        self.assertRaises(Refused, self.locks.lock, "x", 8, 9)
