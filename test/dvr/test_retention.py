"""What is deleted: the oldest, what is over, nothing that is locked, and not by a clock that jumped."""

from __future__ import annotations

import errno

from twisted.trial.unittest import SynchronousTestCase
from typing_extensions import override

from restreamer.dvr import retention as module
from restreamer.dvr.ages import AHEAD, CLOCK, KEEP_SECONDS
from restreamer.dvr.filesystem import Space
from restreamer.dvr.retention import MAX_FILES, STUCK_SECONDS, UNCOPIED_SECONDS, Limits, Retention
from restreamer.dvr.seams import Span
from restreamer.dvr.store import Store
from restreamer.dvr.stream_store import DataFile, StreamStore
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

    def started(self) -> Retention:
        """As after a start."""
        self.store.close()
        self.store = Store("/d", self.disk, file_bytes=12_000)
        self.store.open()
        return Retention(self.store, lambda name: self.locked.get(name, ()), lambda: self.utc, self.clock)

    def test_clock_that_jumps(self) -> None:
        """One that is ahead for a while takes as much as the while is long; one that falls back takes
        nothing, then or later (D10).
        """
        self.record("a", 0, 40)
        self.later(40)
        self.sweep(a=Limits(depth=80))
        self.assertEqual(len(self.numbers("a")), 40)
        for seconds in (7 * 3600, 40 * 86400, -40 * 86400):
            self.utc += seconds
            for _ in range(10):
                self.now += 1
                self.utc += 1
                self.sweep(a=Limits(depth=140))
            self.assertEqual(self.retention.frozen, seconds > 0, seconds)
            self.utc -= seconds
            self.sweep(a=Limits(depth=140))
            self.assertFalse(self.retention.frozen)
        self.assertEqual(len(self.numbers("a")), 40)
        # And the limit is kept.
        self.later(50)
        self.sweep(a=Limits(depth=60))
        self.assertLess(len(self.numbers("a")), 40)

    def test_clock_that_is_ahead_at_the_start(self) -> None:
        """A year ahead, with or without what is known of the time: nothing goes, whatever is recorded with
        that clock, and however often it is started (D10).
        """
        for known in (True, False):
            self.setUp()
            self.record("a", 0, 40)
            self.later(40)
            self.sweep(a=Limits(depth=100))
            if not known:
                self.disk.remove(f"/d/{CLOCK}")
            self.utc += 365 * 86400
            for _ in range(3):
                retention = self.started()
                self.store.stream("a").append([recorded(365 * 43200 + int(self.now), _BYTES)])
                for _ in range(9):
                    retention.sweep({"a": Limits(depth=100)})
                    self.now += 1
                    self.utc += 1
                self.assertTrue(retention.frozen)
            self.utc -= 365 * 86400
            retention = self.started()
            retention.sweep({"a": Limits(depth=100)})
            self.assertFalse(retention.frozen)
            self.assertLessEqual(set(range(20, 40)), set(self.numbers("a")), known)

    def test_after_a_long_pause(self) -> None:
        """A clock that went on for a whole depth is believed: what was there before is older than that."""
        self.record("a", 0, 40)
        self.sweep(a=Limits(depth=60))
        self.later(100 * HOUR)
        self.store.stream("a")
        retention = self.started()
        self.record("a", 100 * HOUR, 20)
        retention.sweep({"a": Limits(depth=3600)})
        self.assertIn(39, self.numbers("a"))
        self.now += 3600
        self.utc += 3600
        retention.sweep({"a": Limits(depth=3600)})
        self.assertFalse(set(range(40)) & set(self.numbers("a")))

    def test_clock_never_set(self) -> None:
        """Nothing goes for its age, and the limit on size holds all the same; all is well when it is set."""
        self.record("a", 0, 40)
        self.utc, utc = 100.0, self.utc
        self.sweep(a=Limits(depth=1))
        self.assertTrue(self.retention.frozen)
        self.assertEqual(len(self.numbers("a")), 40)
        self.sweep(a=Limits(depth=1, size=30_000))
        self.assertLess(len(self.numbers("a")), 40)
        self.assertNotIn(f"/d/{CLOCK}", self.disk.paths())
        self.utc = utc
        self.later(41)
        self.sweep(a=Limits(depth=10))
        self.assertFalse(self.retention.frozen)
        self.assertEqual(self.store.stream("a").data_files(), [])

    def test_what_is_written_of_the_time(self) -> None:
        """Seldom; a disk that is full, or a file that is damaged, is no trouble."""
        self.sweep(a=Limits(depth=60))
        self.disk.log.clear()
        self.sweep(a=Limits(depth=60))
        self.assertEqual(self.disk.log, [])
        self.now += KEEP_SECONDS
        self.utc += KEEP_SECONDS
        self.disk.capacity = 0
        self.sweep(a=Limits(depth=60))
        self.assertNotIn(f"/d/{CLOCK}.new", self.disk.paths())
        for wrong in (b"", b"{", b"[]", b'{"utc": "x"}', b'{"utc": 1e999}', b'{"utc": NaN}', b'{"utc": 5}'):
            self.disk.data(f"/d/{CLOCK}")[:] = wrong
            self.started().sweep({"a": Limits(depth=60)})
        self.assertLess(AHEAD, 86400)

    def test_no_more_is_looked_at_than_may_go(self) -> None:
        """At its share, a disk is full each time something is written: what stays costs nothing (H3)."""
        names = [f"s{number}" for number in range(20)]
        for place, name in enumerate(names):
            for hour in range(24):
                self.record(name, place + hour * HOUR, 1)
            self.store.stream(name).seal(ticks(100 * HOUR))
        looked: list[tuple[str, int]] = []
        real = StreamStore.files_of

        def files_of(store: StreamStore, hour: int) -> list[DataFile]:
            looked.append((store.name, hour))
            return real(store, hour)

        self.patch(StreamStore, "files_of", files_of)
        limits = {name: Limits(percent=70) for name in names}
        self.retention.sweep(limits)
        self.disk.capacity = self.disk.used * 10 // 7
        looked.clear()
        self.retention.make_room(1000)
        self.assertEqual(self.retention.deleted, 1)
        self.assertLessEqual(len(looked), len(names))
        self.assertNotIn(0, self.numbers("s0"))

    def test_different_shares(self) -> None:
        """Each stream gives no more than its own limit asks for."""
        self.record("a", 0, 40)
        self.record("b", 0, 40)
        self.disk.capacity = self.disk.used * 10 // 9
        self.retention.sweep({"a": Limits(percent=80), "b": Limits(percent=60)})
        space = self.store.space()
        self.assertLessEqual((space.total - space.free) * 100, 61 * space.total)
        a, b = len(self.numbers("a")), len(self.numbers("b"))
        self.assertTrue(15 < a < 40 and b < a, (a, b))

    def test_nothing_left_is_not_looked_for_all_the_time(self) -> None:
        """Only locked ranges are left: it is looked again after a while (H3)."""
        self.record("a", 0, 40)
        self.locked["a"] = [Span(0, ticks(100 * HOUR))]
        self.disk.capacity = self.disk.used + 1
        self.retention.sweep({"a": Limits(percent=50)})
        self.assertIn("nothing is left", self.retention.alarm)
        self.locked["a"] = []
        self.retention.make_room(0)
        self.assertEqual(self.retention.deleted, 0)
        self.assertIn("nothing is left", self.retention.alarm)
        self.now += STUCK_SECONDS
        self.retention.make_room(0)
        self.assertGreater(self.retention.deleted, 0)

    def test_before_it_was_copied(self) -> None:
        """What is deleted to make room before it was copied is told, for a while, and counted."""
        self.record("a", 0, 40)
        retention = Retention(
            self.store,
            lambda name: (),
            lambda: self.utc,
            self.clock,
            held=lambda name, file: True,
            uncopied=lambda name, file: file.facts.number > 0,
        )
        size = self.store.stream("a").disk_size - 1
        retention.sweep({"a": Limits(depth=10**8, size=size)})
        self.assertEqual((retention.deleted, retention.lost, retention.loss), (1, 0, ""))
        self.disk.capacity = self.disk.used
        retention.make_room(1)
        self.assertEqual((retention.deleted, retention.lost), (2, 1))
        self.assertIn("not copied yet is deleted to make room, a of 2023-11-14 22:00", retention.loss)
        self.now += UNCOPIED_SECONDS + 1
        self.assertEqual((retention.lost, retention.loss), (1, ""))

    def test_one_stream_fails(self) -> None:
        """A stream that cannot be read does not keep the others."""
        self.record("a", 0, 20)
        self.record("b", 0, 20)
        self.later(10 * HOUR)
        self.store.close()
        self.store = Store("/d", self.disk, file_bytes=12_000)
        retention = Retention(self.store, lambda name: (), lambda: self.utc, self.clock)
        retention.sweep({"a": Limits(depth=10**8)})
        self.later(20 * HOUR)
        self.disk.faults.append(Fault("remove", part="/d/a"))
        retention.sweep({"a": Limits(depth=60), "b": Limits(depth=60)})
        self.assertEqual(self.store.stream("b").data_files(), [])
