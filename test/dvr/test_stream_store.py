"""The archive of one stream."""

from __future__ import annotations

import errno
import threading
from collections.abc import Callable

from attrs import evolve
from twisted.trial.unittest import SynchronousTestCase
from typing_extensions import override

from restreamer.dvr.hour_cache import HourCache
from restreamer.dvr.recorded import Recorded
from restreamer.dvr.sealed_hours import SUMMARY_HOURS
from restreamer.dvr.seams import Span
from restreamer.dvr.stream_store import DataFile, StreamStore, span_of
from restreamer.dvr.summary import SUMMARY
from restreamer.errors import Reason, Refused
from restreamer.m4f.hour_index import hour_of
from restreamer.m4f.segment import Segment
from test.dvr.memory_archive import FIRST, D
from test.dvr.recordings import FIRST_HOUR, HOUR, RUN, recorded, several, ticks
from test.dvr.simulated_disk import Fault, SimulatedDisk

NAME = "cam"
DAY = "/cam/@2023-11-14"


class StreamStoreCase(SynchronousTestCase):
    """A store on a simulated disk.

    @ivar file_bytes: of data files.
    """

    file_bytes = 100_000

    @override
    def setUp(self) -> None:
        self.disk = SimulatedDisk()
        self.store = self.fresh()

    def fresh(self) -> StreamStore:
        """As after a start."""
        return StreamStore(self.disk, "", NAME, HourCache(), file_bytes=lambda: self.file_bytes)

    def numbers(self, store: StreamStore) -> list[int]:
        """The numbers of all segments, after L{FIRST}; each is read and verified."""
        found = []
        for hour in store.holdings().hours:
            for row in store.hour(hour):
                segment = store.segment(row)
                self.assertEqual((segment.number, segment.start), (row.number, row.start))
                found.append(row.number - FIRST)
        return found

    def refused(self, reason: Reason, call: object, *args: object) -> None:
        """C{call} is refused for C{reason}."""
        assert callable(call)
        refusal = self.assertRaises(Refused, call, *args)
        self.assertIs(refusal.reason, reason)


class Recording(StreamStoreCase):
    """What is recorded is there."""

    def test_nothing(self) -> None:
        """Asking makes nothing."""
        self.refused(Reason.NOT_FOUND, self.store.holdings)
        self.refused(Reason.NOT_FOUND, self.store.hour, FIRST_HOUR)
        self.assertEqual((self.store.last_number, self.store.data_files()), (None, []))
        self.assertEqual(self.disk.log, [])

    def test_recorded(self) -> None:
        """Segments come back as they were, now and after a start, sealed or not."""
        given = several(range(HOUR - 5, HOUR + 5))
        taken = self.store.append(given)
        self.assertEqual([item for item, _ in taken], given)
        for seal in (False, True):
            if seal:
                self.assertEqual(self.store.seal(ticks(HOUR + 10)), 0)
                self.assertEqual(self.store.seal(ticks(HOUR + 46)), 1)
            for store in (self.store, self.fresh()):
                self.assertEqual(self.numbers(store), list(range(HOUR - 5, HOUR + 5)))
                holdings = store.holdings()
                self.assertEqual(holdings.hours, (FIRST_HOUR, FIRST_HOUR + 1))
                self.assertEqual(holdings.spans, (Span(ticks(HOUR - 5), ticks(HOUR + 5)),))
                self.assertEqual(holdings.size, sum(len(item.segment.encoded) for item in given))
                self.assertEqual(store.last_number, FIRST + HOUR + 4)
                self.assertEqual(len(store.hour(FIRST_HOUR + 5)), 0)
                self.assertEqual((store.counters.damaged, store.counters.recovered), (0, 0))
        self.assertIn(f"{DAY}/22.index", self.disk.paths())
        self.assertNotIn(f"{DAY}/22.rows", self.disk.paths())

    def test_rows(self) -> None:
        """What an index says is what was shown, after a start, too, and when the index was lost."""
        run = evolve(RUN, discontinuities=3, run_id=9, continuation=5)
        first, second = several(range(2))
        third = Recorded(recorded(2).segment, run, True)
        self.store.append([first, second, third])
        index = self.store.hour(FIRST_HOUR)
        self.assertEqual([row.discontinuity for row in index], [False, False, True])
        self.assertEqual([row.discontinuity_sequence for row in index], [0, 0, 3])
        self.assertEqual([index.runs[row.run].run_id for row in index], [7, 7, 9])
        self.assertEqual([len(index.spans(place)) for place in range(3)], [1, 1, 1])
        del self.disk.data(f"{DAY}/22.rows")[:]
        again = self.fresh().hour(FIRST_HOUR)
        self.assertEqual((list(again), again.runs), (list(index), index.runs))
        self.assertEqual(again.packed_spans, index.packed_spans)

    def test_first_wins(self) -> None:
        """Of two segments of one number the first one stays, in one batch and after a start."""
        other = recorded(1, b"other")
        self.store.append([*several(range(3)), other])
        self.assertEqual(self.store.counters.refused, 1)
        self.assertEqual(self.store.append([*several(range(3)), other]), [])
        self.assertEqual((self.store.counters.refused, self.store.counters.repeated), (2, 3))
        self.store.seal(ticks(2 * HOUR))
        store = self.fresh()
        self.assertEqual(store.append([other, recorded(1)]), [])
        self.assertEqual((store.counters.refused, store.counters.repeated), (1, 1))

    def test_late(self) -> None:
        """A segment of an hour that is sealed opens it again."""
        self.store.append(several([*range(5), HOUR]))
        self.store.seal(ticks(HOUR + 50))
        self.store.append(several([7, 6]))
        for store in (self.store, self.fresh()):
            self.assertEqual(self.numbers(store), [0, 1, 2, 3, 4, 6, 7, HOUR])
        self.store.seal(ticks(HOUR + 50))
        for store in (self.store, self.fresh()):
            self.assertEqual(self.numbers(store), [0, 1, 2, 3, 4, 6, 7, HOUR])
        self.assertEqual(self.disk.names(DAY).count("22.rows"), 0)

    def test_impossible_times(self) -> None:
        """A segment of no calendar is refused, and harms no other."""
        item = recorded(0)
        for start in (-D, -1):
            segment = Segment(
                **{name: getattr(item.segment, name) for name in ("number", "duration", "tracks", "encoded")},
                start=start,
                discontinuity=False,
                independent=True,
                discontinuity_sequence=0,
                checksum=1,
                frame_count=0,
                parts=(),
                table_offset=0,
                header_size=0,
            )
            taken = self.store.append([Recorded(segment, RUN, False), recorded(1 + start % 7)])
            self.assertEqual(len(taken), 1)
        self.assertEqual(self.store.counters.refused, 2)

    def test_a_step_back(self) -> None:
        """A clock that goes back an hour overwrites nothing (D10)."""
        self.store.append(several(range(HOUR, HOUR + 3)))
        self.store.append(several(range(2), b"x") + several(range(HOUR, HOUR + 5), b"x"))
        self.assertEqual(self.store.counters.refused, 3)
        self.assertEqual(self.numbers(self.fresh()), [0, 1, *range(HOUR, HOUR + 5)])

    def test_files_are_bounded(self) -> None:
        """A data file ends after five minutes, or when it is large."""
        self.store.append(several(range(310)))
        self.assertEqual([file.facts.number for file in self.store.data_files()], [0, 1])
        self.file_bytes = 2000
        store = self.fresh()
        store.append(several(range(310, 330), bytes(300)))
        self.assertTrue(all(file.facts.size <= 2000 for file in store.data_files()[3:]))
        self.assertEqual(self.numbers(self.fresh()), list(range(330)))

    def test_one_sync_for_a_batch(self) -> None:
        """A batch costs one sync of its data file, and one of the folder when that is new."""
        self.store.append(several([0]))
        self.disk.log.clear()
        self.store.append(several(range(1, 5)))
        kinds = [op[0] for op in self.disk.log]
        self.assertEqual(kinds, ["write", "write", "write", "write", "sync", "write"])


class Failing(StreamStoreCase):
    """Disks that fail."""

    def test_every_operation(self) -> None:
        """Whatever fails while it is recorded: all or nothing, and the next attempt succeeds (D04)."""
        for code in (errno.ENOSPC, errno.EIO, errno.EMFILE, errno.EDQUOT, errno.EROFS):
            for kind in ("open", "write", "make_folder", "sync_folder", "truncate", "names", "read", "size"):
                for part in ("", ".m4f", ".rows"):
                    self.setUp()
                    self.disk.faults.append(Fault(kind, part, code, 1))
                    what = (errno.errorcode[code], kind, part)
                    try:
                        taken = self.store.append(several(range(3)))
                    except OSError:
                        self.assertEqual(self.disk.open_files, 0, what)
                        self.disk.faults.clear()
                        taken = self.store.append(several(range(3)))
                    self.disk.faults.clear()
                    self.assertEqual(len(taken), 3, what)
                    self.store.append(several([3]))
                    for store in (self.store, self.fresh()):
                        self.assertEqual(self.numbers(store), [0, 1, 2, 3], what)
                    self.assertEqual(self.disk.open_files, 0, what)

    def test_full(self) -> None:
        """A disk with no room: nothing is there of what did not fit, and recording goes on with room."""
        self.store.append(several(range(3)))
        before = {path: len(self.disk.data(path)) for path in self.disk.paths()}
        self.disk.capacity = self.disk.used + 150
        self.assertRaises(OSError, self.store.append, several(range(3, 6)))
        self.assertEqual({path: len(self.disk.data(path)) for path in self.disk.paths()}, before)
        self.assertEqual(self.numbers(self.store), [0, 1, 2])
        self.disk.capacity = 1 << 30
        self.store.append(several(range(4, 6)))
        self.assertEqual(self.numbers(self.fresh()), [0, 1, 2, 4, 5])

    def test_sync_fails(self) -> None:
        """What a sync did not keep is written anew to another file, and the first one is not trusted
        (D07).
        """
        self.store.append(several(range(2)))
        self.disk.faults.append(Fault("sync", "22.m4f", errno.EIO, 1))
        taken = self.store.append(several(range(2, 4)))
        self.assertEqual([row.file for _, row in taken], [1, 1])
        self.assertEqual(self.store.counters.rewritten, 2)
        (row,) = self.store.append(several([4]))
        self.assertEqual(row[1].file, 1)
        self.assertEqual(self.numbers(self.fresh()), [0, 1, 2, 3, 4])

    def test_sync_fails_for_good(self) -> None:
        """Then nothing is recorded, and nothing is left open."""
        self.disk.faults.append(Fault("sync", ".m4f"))
        self.assertRaises(OSError, self.store.append, several(range(2)))
        self.refused(Reason.NOT_FOUND, self.store.holdings)
        self.assertEqual(self.disk.open_files, 0)
        self.disk.faults.clear()
        self.store.append(several(range(2)))
        self.assertEqual(self.numbers(self.fresh()), [0, 1])

    def test_guard(self) -> None:
        """Nothing is written to what is not the volume."""

        def guard() -> None:
            raise OSError(errno.ENODEV, "gone")

        store = StreamStore(self.disk, "", NAME, HourCache(), guard)
        self.assertRaises(OSError, store.append, several([0]))
        self.assertEqual(self.disk.log, [])

    def test_damaged_segment(self) -> None:
        """One that is damaged is refused and counted; its neighbours are read (D14)."""
        self.store.append(several(range(3)))
        row = self.store.hour(FIRST_HOUR)[1]
        self.disk.data(f"{DAY}/22.m4f")[row.offset + 60] ^= 1
        self.refused(Reason.NOT_FOUND, self.store.segment, row)
        self.assertEqual(self.store.counters.damaged, 1)
        for place in (0, 2):
            self.store.segment(self.store.hour(FIRST_HOUR)[place])

    def test_another_segment_in_its_place(self) -> None:
        """A good segment that is not the row's is refused, too."""
        self.store.append(several(range(2)))
        first, second = self.store.hour(FIRST_HOUR)
        self.refused(Reason.NOT_FOUND, self.store.segment, first._replace(offset=second.offset))
        self.refused(Reason.NOT_FOUND, self.store.segment, first._replace(checksum=5))
        self.refused(Reason.NOT_FOUND, self.store.segment, first._replace(offset=1 << 40))
        self.refused(Reason.NOT_FOUND, self.store.segment, first._replace(file=9))
        self.refused(Reason.NOT_FOUND, self.store.segment, first._replace(start=-5))

    def test_disk_that_cannot_be_read(self) -> None:
        """A place that cannot be read is lost, as one that is damaged: others are asked (D05)."""
        self.store.append(several(range(2)))
        self.disk.faults.append(Fault("read", ".m4f"))
        self.refused(Reason.NOT_FOUND, self.store.segment, self.store.hour(FIRST_HOUR)[0])

    def test_damaged_index(self) -> None:
        """It is made anew from the data, at a start and while it runs."""
        for summary in (False, True):
            self.setUp()
            self.store.append(several(range(5)))
            self.store.seal(ticks(2 * HOUR))
            self.store.write_summary()
            self.disk.data(f"{DAY}/22.index")[40] ^= 1
            if not summary:
                self.disk.remove(f"/cam/{SUMMARY}")
            store = self.fresh()
            self.assertEqual(self.numbers(store), list(range(5)))
            store.seal(ticks(2 * HOUR))
            self.assertEqual(self.numbers(self.fresh()), list(range(5)))

    def test_a_damaged_index_stops_nobody(self) -> None:
        """All data of an hour is read to make its index anew; meanwhile others are recorded (H13)."""
        self.store.append(several(range(5)))
        self.store.seal(ticks(2 * HOUR))
        self.disk.data(f"{DAY}/22.index")[40] ^= 1
        self.store.write_summary()
        self.disk.slow, self.disk.slow_part = threading.Event(), "22.m4f"
        self.addCleanup(self.disk.slow.set)
        store = self.fresh()
        found: list[int] = []
        refusals: list[Reason] = []
        threads: list[threading.Thread] = []

        def run(call: Callable[[], object]) -> None:
            thread = threading.Thread(target=call, daemon=True)
            thread.start()
            threads.append(thread)

        run(lambda: found.append(len(store.hour(FIRST_HOUR))))
        self.disk.reached.wait(10)
        run(lambda: store.append(several([HOUR + 1])))
        # Whoever asks for the same does not read all of it, too.
        run(lambda: refusals.append(self.assertRaises(Refused, store.hour, FIRST_HOUR).reason))
        for thread in threads[1:]:
            thread.join(5)
            self.assertFalse(thread.is_alive())
        self.assertEqual((found, refusals), ([], [Reason.NOT_READY]))
        self.disk.slow.set()
        threads[0].join(10)
        self.assertEqual((found, len(store.hour(FIRST_HOUR + 1))), ([5], 1))
        self.assertEqual(self.numbers(self.fresh()), [*range(5), HOUR + 1])

    def test_a_damaged_index_that_is_needed_to_write(self) -> None:
        """Who writes does not read the hour, but says that it is to be tried again, and who reads it."""
        asked: list[tuple[Callable[[int], None], int]] = []
        self.store.append(several([*range(5), HOUR]))
        self.store.seal(ticks(3 * HOUR))
        self.store.write_summary()
        self.disk.data(f"{DAY}/22.index")[40] ^= 1
        store = StreamStore(
            self.disk, "", NAME, HourCache(), later=lambda call, hour: asked.append((call, hour))
        )
        self.assertRaises(OSError, store.append, several([7]))
        self.assertRaises(OSError, store.delete, store.data_files()[:1])
        self.assertEqual({hour for _, hour in asked}, {FIRST_HOUR})
        asked[0][0](asked[0][1])
        self.assertEqual(len(store.append(several([7, 2]))), 1)
        self.assertEqual(self.numbers(store), [0, 1, 2, 3, 4, 7, HOUR])

    def test_an_hour_that_cannot_be_read(self) -> None:
        """The others can."""
        self.store.append(several([0, HOUR]))
        self.disk.faults.append(Fault("read", "22.rows"))
        store = self.fresh()
        self.assertEqual(self.numbers(store), [HOUR])
        self.assertEqual(store.counters.damaged, 1)

    def test_a_hanging_disk(self) -> None:
        """Whoever asks for what is in memory is not held up by a write that hangs."""
        self.store.append(several(range(3)))
        self.disk.gate = threading.Event()
        thread = threading.Thread(target=self.store.append, args=(several([3]),), daemon=True)
        thread.start()
        self.assertEqual(len(self.store.hour(FIRST_HOUR)), 3)
        self.assertEqual(self.store.holdings().hours, (FIRST_HOUR,))
        self.assertEqual(self.store.data_files(), [])
        self.disk.gate.set()
        thread.join(5)
        self.assertEqual(len(self.store.hour(FIRST_HOUR)), 4)


class Summaries(StreamStoreCase):
    """A long archive is opened without reading it."""

    def test_nothing_is_read(self) -> None:
        """A start reads the summary, and lists folders (D13)."""
        self.store.append(several(range(0, 10 * HOUR, 300)))
        self.store.seal(ticks(20 * HOUR))
        self.store.write_summary()
        holdings = self.store.holdings()
        self.disk.reads = 0
        store = self.fresh()
        self.assertEqual(store.holdings(), holdings)
        self.assertEqual(self.disk.reads, 1)

    def test_damaged_or_old(self) -> None:
        """It only saves time."""
        self.store.append(several(range(0, 3 * HOUR, 300)))
        self.store.seal(ticks(20 * HOUR))
        self.store.write_summary()
        holdings = self.store.holdings()
        path = f"/cam/{SUMMARY}"
        right = bytes(self.disk.data(path))
        for wrong in (b"", right[:-1], b"\0" * 50):
            self.disk.data(path)[:] = wrong
            self.assertEqual(self.fresh().holdings(), holdings)
            self.assertEqual(bytes(self.disk.data(path)), right)
        self.store.append(several(range(5 * HOUR, 6 * HOUR, 300)))
        self.store.seal(ticks(20 * HOUR))
        self.store.write_summary()
        more = self.store.holdings()
        self.disk.data(path)[:] = right
        self.assertEqual(self.fresh().holdings(), more)

    def test_no_room_for_it(self) -> None:
        """Then it is made later."""
        self.store.append(several(range(5)))
        self.disk.faults.append(Fault("open", SUMMARY, errno.ENOSPC, 1))
        self.store.seal(ticks(20 * HOUR))
        self.store.write_summary()
        self.assertNotIn(f"/cam/{SUMMARY}", self.disk.paths())
        self.store.write_summary()
        self.assertIn(f"/cam/{SUMMARY}", self.disk.paths())

    def test_seldom(self) -> None:
        """Each costs two waits for the disk: one hour that was sealed is no reason for it, several are."""
        self.store.append(several(range(5)))
        self.store.seal(ticks(20 * HOUR))
        self.assertNotIn(f"/cam/{SUMMARY}", self.disk.paths())
        self.assertFalse(self.store.needs_summary)
        self.store.append(several(range(HOUR, SUMMARY_HOURS * HOUR, HOUR)))
        self.store.seal(ticks(20 * HOUR))
        self.assertTrue(self.store.needs_summary)
        self.store.write_summary()
        self.assertFalse(self.store.needs_summary)
        self.assertEqual(self.fresh().holdings(), self.store.holdings())

    def test_names_that_come_back(self) -> None:
        """Files of an hour that go and come again, named as before: an old summary is not believed."""
        self.file_bytes = 1500
        for whole in (True, False):
            self.setUp()
            self.store.append(several(range(10)))
            self.store.seal(ticks(20 * HOUR))
            self.store.write_summary()
            files = self.store.data_files()
            self.store.delete(files if whole else files[-1:])
            left = [] if whole else self.numbers(self.store)
            store = self.fresh()
            store.append(several(range(20, 21)))
            store.seal(ticks(20 * HOUR))
            # And then it is killed.
            again = self.fresh()
            self.assertEqual(self.numbers(again), [*left, 20])
            self.assertEqual(again.holdings(), store.holdings())
            self.assertEqual(again.data_files()[-1].facts.end, ticks(21))


class Deleting(StreamStoreCase):
    """The oldest goes first."""

    file_bytes = 1000

    @override
    def setUp(self) -> None:
        super().setUp()
        self.store.append(several(range(HOUR - 20, HOUR + 20)))

    def check(self, count: int) -> None:
        """Delete the first C{count} files."""
        doomed = self.store.data_files()[:count]
        gone = {
            row.number - FIRST
            for file in doomed
            for row in self.store.hour(file.hour)
            if row.file == file.facts.number
        }
        before = self.store.disk_size
        left = [number for number in self.numbers(self.store) if number not in gone]
        used = self.disk.used
        freed = self.store.delete(doomed)
        self.assertEqual(freed, sum(file.facts.size for file in doomed))
        self.assertEqual(self.store.disk_size, before - freed)
        self.assertLess(self.disk.used, used)
        for store in (self.store, self.fresh()):
            self.assertEqual(self.numbers(store), left)
            self.assertEqual(store.disk_size, before - freed)

    def test_open_hours(self) -> None:
        """Files of an hour that is being written, but not the one that is."""
        self.check(2)
        newest = self.store.data_files()[-1]
        current = DataFile(newest.hour, newest.facts._replace(number=newest.facts.number + 1), True)
        self.assertEqual(self.store.delete([current]), 0)

    def test_sealed_hours(self) -> None:
        """Files, then whole hours and days."""
        self.store.seal(ticks(10 * HOUR))
        self.check(1)
        self.check(2)
        self.check(len(self.store.data_files()) - 1)
        self.assertNotIn("22.index", self.disk.names(DAY))
        (last,) = self.store.data_files()
        self.store.delete([last])
        self.assertEqual(self.disk.paths(), [f"/cam/{SUMMARY}"])
        self.assertEqual(self.disk.names("/cam"), [SUMMARY])
        self.refused(Reason.NOT_FOUND, self.fresh().holdings)

    def test_oldest_first(self) -> None:
        """By their times."""
        self.store.append(several(range(5)))
        files = self.store.data_files()
        self.assertEqual(files, sorted(files, key=lambda file: file.facts.start))
        self.assertTrue(all(hour_of(span_of(file).start) == file.hour for file in files))

    def test_on_a_full_disk(self) -> None:
        """Room is made where there is no room for a shorter index."""
        for seal in (False, True):
            self.setUp()
            if seal:
                self.store.seal(ticks(10 * HOUR))
            self.disk.capacity = self.disk.used
            self.check(2)

    def test_interrupted(self) -> None:
        """Files that cannot be removed: nothing false is shown, now and after a start."""
        self.store.seal(ticks(10 * HOUR))
        self.disk.faults.append(Fault("remove", ".m4f", errno.EIO, 1))
        self.assertRaises(OSError, self.store.delete, self.store.data_files()[:2])
        self.numbers(self.store)
        self.numbers(self.fresh())
