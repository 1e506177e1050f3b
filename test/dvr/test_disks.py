"""Volumes: found again, not taken for another, never waited for."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.logger import ILogObserver, LogEvent, formatEvent, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase
from typing_extensions import override
from zope.interface import implementer

from restreamer.dvr import disks as dvr_disks
from restreamer.dvr.disks import READ_SECONDS, SWEEP_SECONDS, Disk, Disks
from restreamer.dvr.filesystem import Filesystem
from restreamer.dvr.local_archive import RecordedArchive
from restreamer.dvr.retention import Limits
from restreamer.dvr.store import MARKER
from restreamer.errors import Reason, Refused
from test.dvr.recordings import recorded
from test.dvr.simulated_disk import SimulatedDisk

_PATIENCE = 10.0


class ThreadClock(Clock):
    """Time that is moved by hand, and calls from threads, which are made when they are waited for."""

    def __init__(self) -> None:
        super().__init__()
        self._from_threads: list[tuple[Callable[..., object], tuple[Any, ...]]] = []

    def callFromThread(self, call: Callable[..., object], *args: Any) -> None:  # noqa: N802
        """Make the call later."""
        self._from_threads.append((call, args))

    def turn(self) -> None:
        """Make the calls that came."""
        while self._from_threads:
            call, args = self._from_threads.pop(0)
            call(*args)

    def wait_for(self, what: Callable[[], object]) -> None:
        """Until threads did it."""
        end = time.monotonic() + _PATIENCE
        self.turn()
        while not what():
            if time.monotonic() > end:
                raise AssertionError("nothing came")
            time.sleep(0.002)
            self.turn()


class VolumesCase(SynchronousTestCase):
    """Over a simulated disk."""

    @override
    def setUp(self) -> None:
        self.clock = ThreadClock()
        self.disk = SimulatedDisk()
        self.state = self.mktemp()
        os.mkdir(self.state)
        self.limits: dict[str, Limits] = {"x": Limits()}

    def of(self, root: str, names: set[str]) -> Mapping[str, Limits]:
        return {name: limit for name, limit in self.limits.items() if name in names}

    def disks(self, files: Filesystem | None = None) -> Disks:
        """Volumes that end with the test."""
        disks = Disks.over(self.clock, self.state, self.of, files or self.disk)

        def end() -> None:
            if self.disk.gate is not None:
                self.disk.gate.set()
            self.close(disks)

        self.addCleanup(end)
        return disks

    def close(self, disks: Disks) -> None:
        waits = disks.close()
        self.clock.wait_for(lambda: all(each.called for each in waits))

    def found(self, disks: Disks, root: str) -> Disk:
        disk = disks.find(root)
        assert disk is not None
        return disk

    def started(self, disks: Disks, root: str = "/d") -> Disk:
        """A volume that was looked at once."""
        disks.configure({root: 0.0})
        self.clock.advance(0)
        disk = self.found(disks, root)
        self.clock.wait_for(lambda: not disk._sweeping)
        return disk

    def recorded(self, disk: Disk, *numbers: int) -> None:
        before = disk.writer.status.written
        for number in numbers:
            self.assertTrue(disk.record("x", recorded(number)))
        self.clock.wait_for(lambda: disk.writer.status.written == before + len(numbers))

    def asked(self, work: Any) -> Any:
        """What a reader gives."""
        result: Deferred[Any] = Deferred.fromCoroutine(work)
        self.clock.wait_for(lambda: result.called)
        return self.successResultOf(result)

    def refused(self, work: Any) -> Reason:
        result: Deferred[Any] = Deferred.fromCoroutine(work)
        self.clock.wait_for(lambda: result.called)
        refusal = self.failureResultOf(result, Refused).value
        assert isinstance(refusal, Refused)
        return refusal.reason


class Volumes(VolumesCase):
    """What is recorded, read and let go."""

    def test_recorded_and_read(self) -> None:
        """What was recorded is read, also by the next start; a name nobody recorded takes no memory."""
        disks = self.disks()
        disk = self.started(disks)
        self.recorded(disk, 0, 1, 2)
        archive = RecordedArchive(disks, lambda name: ("/other", "/d"))
        self.assertTrue(archive.records("x"))
        held = self.asked(archive.holdings("x"))
        index = self.asked(archive.hour("x", held.hours[0]))
        self.assertEqual(len(index), 3)
        self.assertEqual(self.asked(archive.segment("x", index[0])).number, index[0].number)
        self.assertIs(self.refused(archive.holdings("made/up")), Reason.NOT_FOUND)
        self.assertNotIn("made/up", disk.store._streams)
        self.close(disks)
        archive = RecordedArchive(again := self.disks(), lambda name: ("/d",))
        again.configure({"/d": 1.0})
        self.assertEqual(self.asked(archive.holdings("x")).spans, held.spans)

    def test_facts(self) -> None:
        """What is kept of a stream, and how the volume does."""
        disk = self.started(self.disks())
        self.recorded(disk, 0, 1, 5)
        self.clock.advance(SWEEP_SECONDS)
        self.clock.wait_for(lambda: disk.stream_facts("x"))
        facts = disk.stream_facts("x")
        assert facts is not None
        self.assertLess(facts.duration, facts.end - facts.start)
        self.assertGreater(facts.size, 0)
        self.assertEqual((disk.facts.alarm, disk.facts.writer.written), ("", 3))

    def test_not_mounted(self) -> None:
        """A volume that was used and has no marker any more: nothing is written, it says so, and goes on when
        the volume is back; a restart does not forget it."""
        disks = self.disks()
        disk = self.started(disks)
        self.recorded(disk, 0)
        marker = self.disk.read(f"/d/{MARKER}")
        self.close(disks)
        with open(os.path.join(self.state, "volumes.json"), encoding="utf-8") as file:
            self.assertIn("/d", json.load(file))
        self.disk.remove(f"/d/{MARKER}")
        disks = self.disks()
        disk = self.started(disks)
        disk.record("x", recorded(1))
        self.clock.wait_for(lambda: disk.writer.status.error)
        self.assertIn("marker is absent", disk.alarm)
        self.assertNotIn(MARKER, self.disk.names("/d"))
        file_ = self.disk.open(f"/d/{MARKER}")
        file_.write(0, [marker])
        file_.close()
        self.clock.wait_for(lambda: disk.writer.status.written == 1)
        self.clock.advance(SWEEP_SECONDS)
        self.clock.wait_for(lambda: not disk.alarm)

    def test_two_processes(self) -> None:
        """The second says so and records nothing; it goes on when the first one ends."""
        first, second = self.disks(), self.disks()
        self.started(first)
        disk = self.started(second)
        self.assertIn("another process", disk.alarm)
        disk.record("x", recorded(0))
        self.clock.wait_for(lambda: disk.writer.status.error)
        self.assertEqual(disk.writer.status.written, 0)
        self.close(first)
        self.clock.wait_for(lambda: disk.writer.status.written == 1)

    def test_hanging(self) -> None:
        """A disk that hangs: recording and asking come back at once, a read is refused in time."""
        disks = self.disks()
        disk = self.started(disks)
        self.recorded(disk, 0)
        self.disk.gate = threading.Event()
        began = time.monotonic()
        for number in range(1, 400):
            disk.record("x", recorded(number, b"x" * 100_000))
        archive = RecordedArchive(disks, lambda name: ("/d",))
        disk._seen.clear()
        waiting = [Deferred.fromCoroutine(archive.holdings("x")) for _ in range(30)]
        self.assertTrue(disk.writer.status.dropped)
        self.assertLess(time.monotonic() - began, 1.0)
        self.clock.advance(READ_SECONDS)
        for each in waiting:
            refusal = self.failureResultOf(each, Refused).value
            assert isinstance(refusal, Refused)
            self.assertIs(refusal.reason, Reason.NOT_READY)
        self.assertEqual(disk.facts.reading, 0)
        self.disk.gate.set()
        self.clock.wait_for(lambda: disk.writer.status.queued == 0)

    def test_what_is_gone_takes_no_memory(self) -> None:
        """Streams whose archive is gone are forgotten; those that are recorded are not (H15)."""
        disk = self.started(self.disks())
        self.recorded(disk, 0, 1)
        for name in ("made", "up"):
            disk.record(name, recorded(0))
        self.clock.wait_for(lambda: disk.writer.status.written == 4)
        self.asked(disk.read("made", lambda store: store.stream("made").holdings()))
        self.limits["made"] = Limits()
        self.clock.advance(SWEEP_SECONDS)
        self.clock.wait_for(lambda: disk.stream_facts("made"))
        for path in [path for path in self.disk.paths() if path.startswith(("/d/made/@", "/d/up/@"))]:
            self.disk.remove(path)
        for name in ("made", "up"):
            for folder in self.disk.names(f"/d/{name}"):
                self.disk.remove_folder(f"/d/{name}/{folder}")
            # As retention does it.
            disk.store.stream(name)._open.clear()
        del self.limits["made"]
        disk._recorded.clear()
        disk.record("x", recorded(2))
        disk._named_at = None
        self.clock.advance(SWEEP_SECONDS)
        self.clock.wait_for(lambda: disk.names == ["x"])
        self.clock.wait_for(lambda: not disk._sweeping)
        self.assertEqual(disk._seen - {"x"}, set())
        self.assertIsNone(disk.stream_facts("made"))
        self.assertEqual(set(disk.store._streams), {"x"})

    def test_locks_of_another_disk(self) -> None:
        """What was locked on the disk before is not locked on the one in its place (H15)."""
        disk = self.started(self.disks())
        self.recorded(disk, 0)
        disk.locks.lock("x", 0, 1000)
        self.assertEqual(disk.locks.ranges("x"), ((0, 1000),))
        marker = self.disk.read(f"/d/{MARKER}")
        self.disk.remove(f"/d/{MARKER}")
        self.disk.remove("/d/x/@locks")
        self.clock.advance(SWEEP_SECONDS)
        self.clock.wait_for(lambda: disk.alarm)
        file_ = self.disk.open(f"/d/{MARKER}")
        file_.write(0, [marker])
        file_.close()
        self.assertEqual(disk.locks.ranges("x"), ())

    def test_uncopied(self) -> None:
        """What went before it was copied: one line in the log, an alarm, a figure."""
        disk = self.started(self.disks())
        disk.uncopied = lambda root, store, name, file: True
        self.recorded(disk, 0, 200, 400)
        self.limits["x"] = Limits(size=1)
        messages: list[str] = []

        @implementer(ILogObserver)
        def observer(event: LogEvent) -> None:
            messages.append(formatEvent(event))

        globalLogPublisher.addObserver(observer)
        self.addCleanup(globalLogPublisher.removeObserver, observer)
        self.clock.advance(SWEEP_SECONDS)
        self.clock.wait_for(lambda: disk.facts.lost == 2 and not disk._sweeping)
        self.assertIn("not copied yet", disk.facts.alarm)
        self.clock.advance(SWEEP_SECONDS)
        self.clock.wait_for(lambda: not disk._sweeping)
        self.assertEqual(len([each for each in messages if "not copied yet" in each]), 1)
        self.flushLoggedErrors()

    def test_reload(self) -> None:
        """A root that leaves the configuration is let go with all that waited; others are not touched."""
        disks = self.disks()
        kept, gone = self.started(disks), self.started(disks, "/e")
        self.assertIsNone(disks.find("/d"))
        disks.configure({"/d": 0.0, "/e": 0.5})
        self.assertIs(disks.find("/e"), gone)
        self.assertEqual(gone.writer.interval, 0.5)
        self.assertIsNot(disks.find("/d"), kept)
        gone.record("x", recorded(3))
        disks.configure({"/d": 0.0})
        self.clock.wait_for(lambda: not self.disk.locks & {"/e/.lock"})
        self.assertEqual(gone.writer.status.written, 1)

    def test_reads_of_a_hung_disk(self) -> None:
        """They are refused at once when all threads have hung long enough, and nothing piles up."""
        disks = self.disks()
        disk = self.started(disks)
        self.recorded(disk, 0)
        self.disk.gate = threading.Event()
        archive = RecordedArchive(disks, lambda name: ("/d",))
        disk._seen.clear()
        for again in range(3):
            waiting = [Deferred.fromCoroutine(archive.holdings("x")) for _ in range(30)]
            if not again:
                self.clock.advance(READ_SECONDS)
            else:
                self.assertTrue(all(each.called for each in waiting), "nobody waits")
            for each in waiting:
                refusal = self.failureResultOf(each, Refused).value
                assert isinstance(refusal, Refused)
                self.assertIs(refusal.reason, Reason.NOT_READY)
            self.assertEqual(disk._threads.waiting, 0)
            self.clock.advance(0.001)
        self.disk.gate.set()
        self.clock.wait_for(lambda: not disk._threads.hung_for())
        self.assertEqual(len(self.asked(archive.holdings("x")).hours), 1)

    def test_a_hung_disk_is_taken_out_and_put_back(self) -> None:
        """The volume is let go when the disk lets go, and is recorded to again."""
        self.patch(dvr_disks, "STOP_SECONDS", 0.05)
        disks = self.disks()
        old = self.started(disks)
        self.recorded(old, 0)
        self.disk.gate = threading.Event()
        old.record("x", recorded(1))
        disks.configure({})
        self.clock.wait_for(lambda: not disks._closing)
        self.assertIn("/d/.lock", self.disk.locks, "what is written still is not given away")
        disks.configure({"/d": 0.0})
        new = self.found(disks, "/d")
        self.disk.gate.set()
        self.clock.wait_for(lambda: not old.store.taken)
        self.recorded(new, 2)
        self.assertEqual(old.writer.status.written, 2)
        # A thread of the old one that comes back late does not take it again.
        with self.assertRaises(OSError):
            old.locks.lock("x", 0, 1000)
        self.assertFalse(old.store.taken)
