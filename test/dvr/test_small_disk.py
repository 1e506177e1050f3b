"""A real disk that is full: a small file system in memory, mounted for the test."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from unittest import SkipTest

from typing_extensions import override

from restreamer.dvr.disks import SWEEP_SECONDS, Disk
from restreamer.dvr.filesystem import RealFilesystem
from restreamer.dvr.retention import Limits
from restreamer.media.timebase import TICKS_PER_SECOND
from test.dvr.memory_archive import FIRST, D
from test.dvr.recordings import recorded
from test.dvr.test_disks import VolumesCase

#: Bytes of the file system, and of a segment, about.
SIZE = 48 << 20
PAYLOAD = bytes(100_000)
SEGMENT = 3 * len(PAYLOAD) + 1000
PERCENT = 80


class SmallDisk(VolumesCase):
    """With a file system that is really full at some time."""

    @override
    def setUp(self) -> None:
        super().setUp()
        self.root = str(Path(self.mktemp()).absolute())
        os.makedirs(self.root)
        if os.geteuid() or shutil.which("mount") is None:
            raise SkipTest("a file system is mounted by root only")
        options = f"size={SIZE},nr_inodes=200"
        made = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", options, "none", self.root], capture_output=True, timeout=20
        )
        if made.returncode:
            raise SkipTest(f"nothing can be mounted here: {made.stderr.decode(errors='replace').strip()}")
        # What uses the disk ends before, in the opposite order.
        self.addCleanup(subprocess.run, ["umount", "-l", self.root], check=True, timeout=20)

    def opened(self) -> Disk:
        disks = self.disks(RealFilesystem())
        return self.started(disks, self.root)

    def used(self) -> int:
        figures = os.statvfs(self.root)
        return (figures.f_blocks - figures.f_bfree) * figures.f_frsize

    def numbers(self, disk: Disk) -> list[int]:
        """What is there, each verified."""
        stream = disk.store.stream("x")
        rows = [row for hour in stream.holdings().hours for row in stream.hour(hour)]
        return [stream.segment(row).number - FIRST for row in rows]

    def test_share(self) -> None:
        """It never gets fuller than its share and one segment; the oldest goes, locked ones stay (D08)."""
        self.limits["x"] = Limits(percent=PERCENT)
        disk = self.opened()
        self.recorded(disk, *[0, 1])
        milliseconds = FIRST * D // (TICKS_PER_SECOND // 1000)
        disk.locks.lock("x", milliseconds, milliseconds + 1000)
        for number in range(2, 300):
            self.assertTrue(disk.record("x", recorded(number, PAYLOAD)))
            self.clock.wait_for(lambda: not disk.writer.status.queued)
            self.assertLess(self.used(), SIZE * PERCENT / 100 + SEGMENT, number)
            if not number % 25:
                self.clock.advance(SWEEP_SECONDS)
                self.clock.wait_for(lambda: not disk._sweeping)
        found = self.numbers(disk)
        self.assertIn(0, found, "it is locked")
        rest = [number for number in found if number > 20]
        self.assertEqual(rest, list(range(rest[0], 300)), "the newest are whole")
        self.assertGreater(len(rest) * SEGMENT, SIZE * PERCENT / 100 * 0.7, "and no more went than had to")
        self.assertEqual((disk.alarm, disk.writer.status.dropped), ("", 0))

    def test_somebody_fills_it(self) -> None:
        """Nothing is half written, it is told, and recording goes on when there is room (D04)."""
        disk = self.opened()
        self.recorded(disk, 0, 1, 2)
        self.fill("other")
        for number in (3, 4):
            disk.record("x", recorded(number, PAYLOAD))
        self.clock.wait_for(lambda: disk.writer.status.error)
        self.assertIn("No space left", disk.alarm)
        self.assertEqual(self.numbers(disk), [0, 1, 2])
        os.remove(f"{self.root}/other")
        self.clock.wait_for(lambda: disk.writer.status.written == 5)
        self.assertEqual(self.numbers(disk), [0, 1, 2, 3, 4])
        self.clock.advance(SWEEP_SECONDS)
        self.clock.wait_for(lambda: not disk.alarm)

    def test_no_more_files(self) -> None:
        """The same when it is the number of files that is at its end."""
        disk = self.opened()
        self.recorded(disk, 0)
        others: list[str] = []
        try:
            while True:
                others.append(f"{self.root}/{len(others)}")
                with open(others[-1], "xb"):
                    pass
        except OSError:
            others.pop()
        # Of another hour: it needs files of its own.
        disk.record("x", recorded(2000, PAYLOAD))
        self.clock.wait_for(lambda: disk.writer.status.error)
        self.assertEqual(self.numbers(disk), [0])
        for other in others:
            os.remove(other)
        self.clock.wait_for(lambda: disk.writer.status.written == 2)
        self.assertEqual(self.numbers(disk), [0, 2000])

    def fill(self, name: str) -> None:
        """Leave no room."""
        with open(f"{self.root}/{name}", "wb", buffering=0) as file:
            try:
                while True:
                    file.write(bytes(1 << 16))
            except OSError:
                pass
