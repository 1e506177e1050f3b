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
from twisted.trial.unittest import SynchronousTestCase
from typing_extensions import override

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


class Volumes(SynchronousTestCase):
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
