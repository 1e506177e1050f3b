"""What is deleted: the oldest, what is over, nothing that is locked, and not by a clock that jumped."""

from __future__ import annotations

import errno

from twisted.trial.unittest import SynchronousTestCase
from typing_extensions import override

from restreamer.dvr import retention as module
from restreamer.dvr.filesystem import Space
from restreamer.dvr.retention import FROZEN, MAX_FILES, Limits, Retention
from restreamer.dvr.seams import Span
from restreamer.dvr.store import Store
from restreamer.media.timebase import TICKS_PER_SECOND
from test.dvr.recordings import HOUR, recorded, ticks
from test.dvr.simulated_disk import Fault, SimulatedDisk

_BYTES = b"x" * 900


class Retentions(SynchronousTestCase):
    """Over a simulated disk with small data files."""

    @override
    def setUp(self) -> None:
        self.disk = SimulatedDisk()
        self.store = Store("/d", self.disk, file_bytes=12_000)
        self.store.open()
        self.now = 1000.0
        self.step = 0.0
        self.utc = ticks(0) / TICKS_PER_SECOND
        self.locked: dict[str, list[Span]] = {}
        self.retention = Retention(
            self.store, lambda name: self.locked.get(name, ()), lambda: self.utc, self.clock
        )

    def clock(self) -> float:
        self.now += self.step
        return self.now

    def record(self, name: str, first: int, count: int) -> None:
        """Segments C{first} and on, each of about a kilobyte, one by one."""
        stream = self.store.stream(name)
        for number in range(first, first + count):
            stream.append([recorded(number, _BYTES)])

    def later(self, number: int) -> None:
        """Time goes to the start of segment C{number}."""
        utc = ticks(number) / TICKS_PER_SECOND
        self.now += utc - self.utc
        self.utc = utc

    def numbers(self, name: str) -> list[int]:
        """What is left, counted from the first one."""
        stream = self.store.stream(name)
        try:
            hours = stream.holdings().hours
        except Exception:
            return []
        first = recorded(0).segment.number
        return [row.number - first for hour in hours for row in stream.hour(hour)]

    def sweep(self, **limits: Limits) -> bool:
        return self.retention.sweep(limits)

    def test_depth(self) -> None:
        """What is older goes, the rest stays, the file that is written stays in any case."""
        self.record("a", 0, 40)
        self.later(40)
        self.assertFalse(self.sweep(a=Limits(depth=40)))
        left = self.numbers("a")
        self.assertEqual(left, list(range(left[0], 40)))
        # Twenty segments of two seconds, and what is in one file with the oldest of them.
        self.assertTrue(15 <= left[0] <= 20, left)
        self.later(10 * HOUR)
        self.sweep(a=Limits(depth=40))
        self.assertTrue(self.numbers("a"))

    def test_no_limit(self) -> None:
        """Without limits nothing goes, and nothing of a stream that is not named."""
        self.record("a", 0, 20)
        self.record("b", 0, 20)
        self.later(10 * HOUR)
        self.sweep(a=Limits())
        self.assertEqual(len(self.numbers("a") + self.numbers("b")), 40)

    def test_size(self) -> None:
        """The oldest goes until the size is right; the other stream keeps all."""
        self.record("a", 0, 40)
        self.record("b", 0, 40)
        self.sweep(a=Limits(size=36_000), b=Limits(size=10**9))
        self.assertLessEqual(self.store.stream("a").disk_size, 36_000)
        self.assertGreaterEqual(self.store.stream("a").disk_size, 22_000)
        self.assertEqual(self.numbers("a")[-1], 39)
        self.assertEqual(len(self.numbers("b")), 40)

    def test_locks(self) -> None:
        """A locked range outlives depth and size; what is around it goes."""
        self.record("a", 0, 40)
        self.locked["a"] = [Span(ticks(10), ticks(12))]
        self.later(10 * HOUR)
        self.sweep(a=Limits(depth=60, size=10))
        left = self.numbers("a")
        self.assertLessEqual({10, 11}, set(left))
        self.assertLessEqual(len([number for number in left if number < 30]), 9)

    def test_a_little_at_a_time(self) -> None:
        """No more files than allowed in one sweep, nor more time; the next one goes on, with each stream."""
        self.record("a", 0, 400)
        self.later(10 * HOUR)
        before = len(self.store.stream("a").data_files())
        self.assertGreater(before, MAX_FILES)
        self.assertTrue(self.sweep(a=Limits(depth=60)))
        self.assertEqual(before - len(self.store.stream("a").data_files()), MAX_FILES)
        while self.sweep(a=Limits(depth=60)):
            pass
        self.assertEqual(self.store.stream("a").data_files(), [])
        for name in "bcde":
            self.record(name, 0, 20)
        self.step = module.WORK_SECONDS
        limits = {name: Limits(depth=60) for name in "bcde"}
        for _ in range(8):
            self.retention.sweep(limits)
        self.assertFalse([name for name in "bcde" if self.store.stream(name).data_files()])

    def test_share(self) -> None:
        """Too full a disk gives the oldest, of whichever stream that has the limit, and only so much
        (D08).
        """
        self.record("old", 0, 40)
        self.record("new", 40, 40)
        self.record("kept", 0, 40)
        self.disk.capacity = self.disk.used * 10 // 8
        self.retention.sweep(
            {"old": Limits(percent=70), "new": Limits(percent=70), "kept": Limits(depth=10**8)}
        )
        space = self.store.space()
        self.assertLessEqual((space.total - space.free) * 100, 70 * space.total)
        self.assertGreater((space.total - space.free) * 100, 64 * space.total)
        self.assertLess(len(self.numbers("old")), 40)
        self.assertEqual((len(self.numbers("new")), len(self.numbers("kept"))), (40, 40))
        self.assertEqual(self.retention.alarm, "")

    def test_nothing_left(self) -> None:
        """Somebody else fills the disk: an alarm, when all that may go is gone; it ends with the
        trouble (D08).
        """
        self.record("a", 0, 40)
        self.locked["a"] = [Span(ticks(0), ticks(4))]
        size = self.disk.used
        self.patch(self.store, "space", lambda: Space(size * 100, size * 3))
        self.sweep(a=Limits(percent=50))
        self.assertIn("fuller than 50%", self.retention.alarm)
        self.assertLessEqual({0, 1, 2, 3, 39}, set(self.numbers("a")))
        self.patch(self.store, "space", lambda: Space(size * 4, size * 3))
        self.sweep(a=Limits(percent=50))
        self.assertEqual(self.retention.alarm, "")

    def test_full(self) -> None:
        """A full disk gives the oldest of what is recorded there, limits or not; locked ranges stay."""
        self.record("a", 0, 40)
        self.record("b", 20, 40)
        self.locked["a"] = [Span(ticks(0), ticks(1))]
        self.sweep(a=Limits(), b=Limits())
        self.disk.capacity = self.disk.used
        self.retention.make_room(27_000)
        self.assertGreaterEqual(self.store.space().free, 27_000)
        left = self.numbers("a")
        self.assertIn(0, left)
        self.assertLess(len(left), 40)
        self.assertEqual(len(self.numbers("b")), 40)

    def test_full_whatever_it_says(self) -> None:
        """A quota or a lack of inodes shows in no figure: each failure frees a file."""
        self.record("a", 0, 40)
        self.sweep(a=Limits())
        before = len(self.store.stream("a").data_files())
        self.retention.make_room(1000, full=True)
        self.assertEqual(len(self.store.stream("a").data_files()), before - 1)
        self.disk.faults.append(Fault("remove", code=errno.EIO))
        self.retention.make_room(1000, full=True)
        self.assertTrue(self.retention.failed)

    def test_clock(self) -> None:
        """A clock that jumps by more than a day deletes nothing for ten minutes; nor does one never set
        (D10).
        """
        self.record("a", 0, 40)
        limits = Limits(depth=60)
        self.sweep(a=Limits(depth=10**8))
        self.utc += 40 * 86400
        self.sweep(a=limits)
        self.assertTrue(self.retention.frozen)
        self.assertEqual(len(self.numbers("a")), 40)
        self.utc -= 40 * 86400
        self.sweep(a=limits)
        for _ in range(2):
            self.now += FROZEN / 2
            self.utc += FROZEN / 2
            self.assertEqual(len(self.numbers("a")), 40)
            self.sweep(a=limits)
        self.assertFalse(self.retention.frozen)
        self.assertLess(len(self.numbers("a")), 40)
        self.utc = 100.0
        fresh = Retention(self.store, lambda name: (), lambda: self.utc, self.clock)
        fresh.sweep({"a": limits})
        self.assertTrue(fresh.frozen)

    def test_one_stream_fails(self) -> None:
        """A stream that cannot be read does not keep the others."""
        self.record("a", 0, 20)
        self.record("b", 0, 20)
        self.later(10 * HOUR)
        self.store.close()
        self.store = Store("/d", self.disk, file_bytes=12_000)
        retention = Retention(self.store, lambda name: (), lambda: self.utc, self.clock)
        self.disk.faults.append(Fault("names", part="/d/a"))
        retention.sweep({"a": Limits(depth=60), "b": Limits(depth=60)})
        self.assertEqual(self.store.stream("b").data_files(), [])
