"""The writer: never in anybody's way, and it comes back by itself."""

from __future__ import annotations

import errno
import threading
import time
from collections.abc import Callable

from twisted.trial.unittest import SynchronousTestCase
from typing_extensions import override

from restreamer.dvr.store import MARKER, Store
from restreamer.dvr.write_queue import QueueLimits, WriteQueue
from restreamer.dvr.writer import (
    SEAL_AGAIN,
    SEAL_EVERY,
    SEAL_SECONDS,
    Writer,
    WriterState,
    WriterStatus,
)
from test.dvr.memory_archive import FIRST
from test.dvr.recordings import FIRST_HOUR, HOUR, recorded, several, ticks
from test.dvr.simulated_disk import Fault, SimulatedDisk

_PATIENCE = 10.0


def wait_for(what: Callable[[], bool]) -> None:
    """Until another thread did it."""
    end = time.monotonic() + _PATIENCE
    while not what():
        if time.monotonic() > end:
            raise AssertionError("nothing came")
        time.sleep(0.001)


class Writers(SynchronousTestCase):
    """Over a simulated disk."""

    @override
    def setUp(self) -> None:
        self.disk = SimulatedDisk()
        self.store = Store("/d", self.disk, file_bytes=100_000)
        self.told: list[WriterStatus] = []

    def writer(self, interval: float = 0.0, **more: object) -> Writer:
        """A writer; it ends with the test."""
        writer = Writer(self.store, interval, changed=self.told.append, **more)  # type: ignore[arg-type]

        def end() -> None:
            if self.disk.gate is not None:
                self.disk.gate.set()
            self.assertTrue(writer.stop(_PATIENCE))
            self.assertEqual(writer.broken, 0)

        self.addCleanup(end)
        return writer

    def test_recorded(self) -> None:
        """Segments of several streams are on the disk soon."""
        writer = self.writer()
        for number in range(3):
            for name in ("a", "b"):
                self.assertTrue(writer.record(name, recorded(number)))
        wait_for(lambda: writer.status.written == 6)
        for name in ("a", "b"):
            self.assertEqual(len(self.store.stream(name).hour(FIRST_HOUR)), 3)
            status = writer.stream_status(name)
            assert status is not None
            self.assertEqual((status.acknowledged, status.queued, status.dropped), (FIRST + 2, 0, 0))
        self.assertIsNone(writer.stream_status("c"))
        self.assertIs(writer.status.state, WriterState.WORKING)
        self.assertGreater(writer.status.speed, 0)
        writer.forget("a")
        self.assertIsNone(writer.stream_status("a"))

    def test_a_batch(self) -> None:
        """All streams are written before the first sync."""
        writer = self.writer(interval=1000.0)
        for number in range(2):
            for name in ("a", "b"):
                writer.record(name, recorded(number))
        self.assertEqual(writer.status.queued, 4 * len(recorded(0).segment.encoded))
        self.assertTrue(writer.stop(_PATIENCE))
        ops = [op[0] for op in self.disk.log]
        data = [at for at, op in enumerate(self.disk.log) if op[0] == "write" and len(op[3]) > 150]
        self.assertLess(data[3], ops.index("sync", data[0]))
        self.assertEqual(len(self.store.stream("b").hour(FIRST_HOUR)), 2)
        self.assertIs(writer.status.state, WriterState.STOPPED)
        self.assertFalse(writer.record("a", recorded(9)))

    def test_a_hanging_disk(self) -> None:
        """Recording takes no time, what finds no room is dropped, and it goes on when the disk does (D06)."""
        writer = self.writer(limits=QueueLimits(pieces=3))
        writer.record("a", recorded(0))
        wait_for(lambda: writer.status.written == 1)
        self.disk.gate = threading.Event()
        taken = [writer.record("a", recorded(number)) for number in range(1, 30)]
        self.assertEqual(taken, [True] * 3 + [False] * 26)
        self.assertTrue(writer.record("b", recorded(0)))
        self.assertEqual((writer.status.state, writer.status.dropped), (WriterState.BEHIND, 26))
        self.assertFalse(writer.stop(0.01))
        self.disk.gate.set()
        wait_for(lambda: writer.status.queued == 0)
        self.assertEqual(len(self.store.stream("a").hour(FIRST_HOUR)), 4)

    def test_lag(self) -> None:
        """A disk that does not answer is seen before anything is dropped."""
        now = [0.0]
        writer = self.writer(clock=lambda: now[0])
        self.disk.gate = threading.Event()
        writer.record("a", recorded(0))
        self.assertIs(writer.status.state, WriterState.WORKING)
        now[0] = 7.0
        self.assertEqual((writer.status.state, writer.status.lag), (WriterState.BEHIND, 7.0))
        status = writer.stream_status("a")
        assert status is not None
        self.assertEqual(status.lag, 7.0)

    def test_full_and_again(self) -> None:
        """A full disk is told, tried again, and what was kept is written when there is room (D04)."""
        for code in (errno.ENOSPC, errno.EIO):
            self.setUp()
            writer = self.writer()
            writer.record("a", recorded(0))
            wait_for(lambda writer=writer: writer.status.written == 1)  # type: ignore[misc]
            self.disk.faults.append(Fault("write", ".m4f", code))
            for number in range(1, 100):
                writer.record("a", recorded(number, bytes(100_000)))
            wait_for(lambda: len(self.told) > 0)
            self.assertIs(self.told[0].state, WriterState.FAILED)
            self.assertEqual(self.told[0].error, errno.errorcode[code])
            self.assertGreater(writer.status.dropped, 0)
            self.disk.faults.clear()
            wait_for(lambda writer=writer: writer.status.queued == 0)  # type: ignore[misc]
            wait_for(lambda: self.told[-1].state is WriterState.WORKING)
            self.assertEqual(writer.status.error, "")
            self.assertEqual(len(self.store.stream("a").hour(FIRST_HOUR)) + writer.status.dropped, 100)

    def test_one_stream_fails(self) -> None:
        """The others are written."""
        writer = self.writer()
        self.disk.faults.append(Fault("any", "/d/bad"))
        for name in ("bad", "good"):
            writer.record(name, recorded(0))
        wait_for(lambda: writer.status.written == 1)
        wait_for(lambda: bool((writer.stream_status("bad") or 0) and writer.status.error))
        status = writer.stream_status("good")
        assert status is not None
        self.assertEqual((status.acknowledged, status.error), (FIRST, ""))
        self.disk.faults.clear()
        wait_for(lambda: writer.status.written == 2)

    def test_not_mounted(self) -> None:
        """Nothing is written to the folder in the volume's place; the reason is told."""
        self.store.open()
        data = bytes(self.disk.data(f"/d/{MARKER}"))
        self.disk.remove(f"/d/{MARKER}")
        self.disk.log.clear()
        writer = self.writer()
        writer.record("a", recorded(0))
        wait_for(lambda: writer.status.state is WriterState.FAILED)
        self.assertIn("its marker is absent", writer.status.error)
        self.assertEqual(self.disk.log, [])
        file = self.disk.open(f"/d/{MARKER}")
        file.write(0, [data])
        file.close()
        wait_for(lambda: writer.status.written == 1)

    def test_no_start(self) -> None:
        """A disk that is not there at the start is taken when it comes."""
        self.disk.faults.append(Fault("any"))
        writer = self.writer()
        writer.record("a", recorded(0))
        wait_for(lambda: writer.status.state is WriterState.FAILED)
        self.disk.faults.clear()
        wait_for(lambda: writer.status.written == 1)

    def test_sealed_in_time(self) -> None:
        """Hours that are over get their index, by the clock that was given."""
        now = [0.0]
        writer = self.writer(clock=lambda: now[0], utc=lambda: ticks(2 * HOUR) / 90_000)
        for item in several(range(2)):
            writer.record("a", item)
        wait_for(lambda: writer.status.written == 2)
        now[0] = 11.0
        self.assertTrue(writer.call(lambda: None))
        wait_for(lambda: any(path.endswith("22.index") for path in self.disk.paths()))

    def test_sealed_little_by_little(self) -> None:
        """At the end of an hour not all streams are sealed in one go: what is recorded does not wait (H6)."""
        now = [0.0]
        step = [0.0]

        def clock() -> float:
            now[0] += step[0]
            return now[0]

        writer = self.writer(clock=clock, utc=lambda: ticks(2 * HOUR) / 90_000)
        names = [f"s{number}" for number in range(20)]
        for name in names:
            writer.record(name, recorded(0))
        wait_for(lambda: writer.status.written == 20)

        def sealed() -> int:
            return len([path for path in self.disk.paths() if path.endswith("22.index")])

        before = now[0]
        turns = 0
        while sealed() < 20:
            at = sealed()
            now[0] += SEAL_EVERY if not at else SEAL_AGAIN
            step[0] = SEAL_SECONDS / 4
            done = threading.Event()
            writer.call(done.set)
            self.assertTrue(done.wait(_PATIENCE))
            wait_for(lambda at=at: sealed() > at)  # type: ignore[misc]
            step[0] = 0.0
            turns += 1
            writer.record("live", recorded(turns))
            wait_for(lambda turns=turns: writer.status.written == 20 + turns)  # type: ignore[misc]
        self.assertGreaterEqual(turns, 4)
        self.assertLess(now[0] - before, 60)

    def test_calls(self) -> None:
        """Work between batches, bounded; what it raises stops nothing."""
        writer = self.writer()
        done = threading.Event()
        self.assertTrue(writer.call(done.set))
        self.assertTrue(done.wait(_PATIENCE))
        self.disk.gate = threading.Event()
        writer.record("a", recorded(0))
        wait_for(lambda: not all(writer.call(lambda: None) for _ in range(100)))
        self.disk.gate.set()

    def test_room(self) -> None:
        """Whoever deletes what is old is asked before anything is written."""
        asked: list[int] = []
        writer = self.writer(make_room=asked.append)
        item = recorded(0)
        writer.record("a", item)
        wait_for(lambda: writer.status.written == 1)
        self.assertEqual(asked, [len(item.segment.encoded)])

    def test_very_many_streams(self) -> None:
        """They are written in several goes: each one is an open file."""
        writer = self.writer(interval=1000.0)
        for number in range(300):
            writer.record(f"s{number}", recorded(0))
        asked: list[int] = []
        writer._make_room = lambda _: asked.append(self.disk.open_files)
        self.assertTrue(writer.stop(_PATIENCE))
        self.assertEqual((writer.status.written, asked), (300, [0, 0, 0]))

    def test_a_fault_of_ours(self) -> None:
        """It is told, the segments are dropped, and recording goes on."""
        faults: list[BaseException] = []
        writer = Writer(self.store, 0.0, fault=faults.append)
        writer.call(lambda: 1 // 0)  # type: ignore[arg-type]
        writer.record("../x", recorded(0))
        writer.record("a", recorded(0))
        wait_for(lambda: writer.status.written == 1 and len(faults) == 2)
        self.assertEqual((writer.broken, writer.status.dropped, writer.status.queued), (2, 1, 0))
        self.assertTrue(writer.stop(_PATIENCE))


class Queues(SynchronousTestCase):
    """Bounds."""

    def test_large_segments(self) -> None:
        """Two of a stream, whatever their size; more when they are small."""
        queue = WriteQueue(QueueLimits(segments=2, bytes=10_000, pieces=5, in_all=1_000_000))
        self.assertEqual(
            [queue.put("a", recorded(n, bytes(9000)), 0.0) for n in range(4)], [True, True, False, False]
        )
        self.assertEqual([queue.put("b", recorded(n), 0.0) for n in range(6)], [True] * 5 + [False])
        self.assertEqual((queue.streams["a"].dropped, queue.streams["b"].dropped), (2, 1))

    def test_in_all(self) -> None:
        """The memory of all streams is bounded."""
        size = len(recorded(0).segment.encoded)
        queue = WriteQueue(QueueLimits(in_all=10 * size))
        taken = [queue.put(f"s{n}", recorded(0), 0.0) for n in range(20)]
        self.assertEqual(taken, [True] * 10 + [False] * 10)
        queue.done("s0", 1)
        self.assertEqual(queue.size, 9 * size)
        self.assertTrue(queue.put("s11", recorded(0), 0.0))

    def test_the_oldest_first(self) -> None:
        """A disk too slow for all of them leaves none out (H6)."""
        queue = WriteQueue()
        for at, name in enumerate("abc"):
            queue.put(name, recorded(0), float(at))
        queue.done("a", 1)
        queue.put("a", recorded(1), 5.0)
        self.assertEqual(queue.ready(9.0), ["b", "c", "a"])

    def test_times(self) -> None:
        """When something may be written."""
        queue = WriteQueue()
        self.assertIsNone(queue.next_at(1.0))
        queue.put("a", recorded(0), 5.0)
        queue.put("b", recorded(0), 7.0)
        self.assertEqual((queue.next_at(1.0), queue.oldest()), (6.0, 5.0))
        queue.failed("a", "full", 10.0, lambda delay: delay * 2 or 0.5)
        queue.failed("a", "full", 10.0, lambda delay: delay * 2 or 0.5)
        self.assertEqual((queue.streams["a"].retry_at, queue.ready(10.5)), (11.0, ["b"]))
        queue.done("b", 1)
        self.assertEqual(queue.next_at(1.0), 11.0)
