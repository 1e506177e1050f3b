"""A volume: its marker, its lock, the streams on it."""

from __future__ import annotations

import errno
import os
import posixpath
import subprocess
import sys
import threading
from pathlib import Path

from hypothesis import example, given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase
from typing_extensions import override

from restreamer.dvr.store import LOCK, MARKER, Store, StoreUnavailableError, describe_error
from restreamer.errors import Reason, Refused
from restreamer.media.names import valid_stream_name
from test.dvr.memory_archive import FIRST
from test.dvr.recordings import FIRST_HOUR, recorded, several
from test.dvr.simulated_disk import Fault, SimulatedDisk


class Volumes(SynchronousTestCase):
    """Markers."""

    @override
    def setUp(self) -> None:
        self.disk = SimulatedDisk()

    def store(self, volume: str | None = None) -> Store:
        """A store that knows C{volume}."""
        return Store("/mnt/dvr/", self.disk, volume, 100_000, lambda: "id1")

    def test_new(self) -> None:
        """A new folder gets a marker, and its id is remembered."""
        store = self.store()
        store.open()
        store.open()
        self.assertEqual(store.volume, "id1")
        self.assertEqual(self.disk.read(f"/mnt/dvr/{MARKER}"), b'{"version": 1, "volume": "id1"}\n')
        store.close()
        again = self.store()
        again.open()
        self.assertEqual(again.volume, "id1")

    def test_not_mounted(self) -> None:
        """Where the marker of a volume that was used is absent, nothing is written."""
        store = self.store("id1")
        self.assertRaises(StoreUnavailableError, store.open)
        self.disk.make_folder("/mnt")
        self.disk.make_folder("/mnt/dvr")
        self.disk.log.clear()
        self.assertRaises(StoreUnavailableError, store.open)
        self.assertRaises(OSError, store.stream("cam").append, several([0]))
        self.assertEqual(self.disk.log, [])

    def test_unmounted_while_it_runs(self) -> None:
        """The same, and it goes on when the volume is back (D05)."""
        store = self.store()
        store.open()
        stream = store.stream("cam")
        stream.append(several([0]))
        folders = dict(self.disk.folders)
        for path in folders:
            if path.startswith("/mnt/dvr"):
                del self.disk.folders[path]
        self.disk.folders["/mnt/dvr"] = {}
        error = self.assertRaises(StoreUnavailableError, stream.append, several([1]))
        self.assertEqual(describe_error(error), "the volume is not there: its marker is absent")
        self.assertEqual(self.disk.folders["/mnt/dvr"], {})
        self.disk.folders.update(folders)
        stream.append(several([1]))
        self.assertEqual(len(stream.hour(FIRST_HOUR)), 2)

    def test_mounted_late(self) -> None:
        """Nothing is said of a volume that is not there, and all that it holds when it is."""
        store = self.store()
        store.open()
        store.stream("cam").append(several([0]))
        store.close()
        folders = dict(self.disk.folders)
        for path in folders:
            if path.startswith("/mnt/dvr/"):
                del self.disk.folders[path]
        mounted = self.disk.folders["/mnt/dvr"]
        self.disk.folders["/mnt/dvr"] = {}
        store = self.store("id1")
        stream = store.stream("cam")
        refusal = self.assertRaises(Refused, stream.holdings)
        self.assertIs(refusal.reason, Reason.NOT_READY)
        self.assertIs(self.assertRaises(Refused, stream.hour, FIRST_HOUR).reason, Reason.NOT_READY)
        self.disk.folders.update(folders)
        self.disk.folders["/mnt/dvr"] = mounted
        self.assertEqual(stream.holdings().hours, (FIRST_HOUR,))

    def test_asked_before_it_is_used(self) -> None:
        """Asking makes no volume."""
        stream = self.store().stream("cam")
        self.assertIs(self.assertRaises(Refused, stream.holdings).reason, Reason.NOT_FOUND)
        self.assertEqual(self.disk.log, [])
        stream.append(several([0]))
        self.assertEqual(stream.holdings().hours, (FIRST_HOUR,))

    def test_a_hanging_disk(self) -> None:
        """It holds up nobody who only asks for the archive of a stream."""
        store = self.store()
        self.disk.gate = threading.Event()
        thread = threading.Thread(target=store.open, daemon=True)
        thread.start()
        self.assertEqual(store.stream("cam").name, "cam")
        self.assertEqual(store.opened(), [])
        self.disk.gate.set()
        thread.join(10)
        self.assertEqual(store.volume, "id1")

    def test_another_volume(self) -> None:
        """Of another id, another version, or with a marker that is none."""
        store = self.store()
        store.open()
        marker = self.disk.data(f"/mnt/dvr/{MARKER}")
        self.assertRaises(StoreUnavailableError, self.store("id2").open)
        for wrong in (
            b"",
            b"[]",
            b'"x"',
            b"{",
            b'{"version": 2, "volume": "id1"}',
            b'{"version": 1, "volume": 3}',
        ):
            marker[:] = wrong
            self.assertRaises(StoreUnavailableError, store.check)

    def test_locked(self) -> None:
        """One process has it."""
        store = self.store()
        store.open()
        error = self.assertRaises(StoreUnavailableError, self.store().open)
        self.assertEqual(error.errno, errno.EBUSY)
        store.close()
        self.store().open()

    def test_a_failed_start(self) -> None:
        """The lock is free again."""
        self.disk.faults.append(Fault("rename", MARKER, errno.ENOSPC, 1))
        store = self.store()
        self.assertRaises(OSError, store.open)
        self.assertEqual(self.disk.locks, set())
        store.open()

    def test_two_processes(self) -> None:
        """The lock is one of the system, and goes with its process (D12)."""
        root = self.mktemp()
        store = Store(os.path.abspath(root))
        store.open()
        script = (
            "import sys; from restreamer.dvr.store import Store\n"
            "try: Store(sys.argv[1]).open()\n"
            "except OSError as error: print(error.strerror)\n"
            "else: print('open')"
        )

        def other() -> str:
            return subprocess.run(
                [sys.executable, "-c", script, os.path.abspath(root)],
                env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
                cwd=Path(__file__).parents[2],
                capture_output=True,
                text=True,
                check=True,
            ).stdout.strip()

        self.assertEqual(other(), "another process writes to this archive")
        store.close()
        self.assertEqual(other(), "open")
        self.assertEqual(sorted(os.listdir(root)), sorted([LOCK, MARKER]))


class Streams(SynchronousTestCase):
    """The streams of a volume."""

    @override
    def setUp(self) -> None:
        self.disk = SimulatedDisk()
        self.store = Store("/d", self.disk, file_bytes=100_000)
        self.store.open()

    def test_names(self) -> None:
        """Streams and those below them are told apart, and strangers are left alone."""
        for name in ("cam", "cam/a", "x/y/z"):
            self.store.stream(name).append([recorded(0)])
        self.disk.make_folder("/d/lost+found")
        self.disk.make_folder("/d/empty")
        self.assertEqual(self.store.names(), ["cam", "cam/a", "x/y/z"])
        self.assertIs(self.store.stream("cam"), self.store.stream("cam"))
        self.assertEqual([each.name for each in self.store.opened()], ["cam", "cam/a", "x/y/z"])

    def test_bad_names(self) -> None:
        """No name leads out of the volume."""
        for name in ("..", "../x", "/x", "", "a//b", "@locks", "a/@2023-11-14", ".lock", "a\0b"):
            self.assertRaises(ValueError, self.store.stream, name)

    @settings(deadline=None, max_examples=200, derandomize=True)
    @example("cafe\u0301")
    @example("caf\u00e9")
    @example("a/../../etc")
    @example("x" * 300)
    @example("%2e%2e/a")
    @given(st.text(max_size=40) | st.text("aA0._-/@~ %", max_size=12))
    def test_any_name(self, name: str) -> None:
        """What may name a stream has a folder of its own below the volume; what may not has none (A14)."""
        if not valid_stream_name(name):
            self.assertRaises(ValueError, self.store.stream, name)
            return
        folder = self.store.stream(name).folder
        self.assertEqual(folder, f"/d/{name}")
        self.assertEqual(posixpath.normpath(folder), folder)
        self.assertTrue(folder.isascii())

    def test_letters_are_different(self) -> None:
        """Names that differ in the size of a letter are two streams with two folders."""
        for name, mark in (("cam", b"a"), ("Cam", b"b")):
            list(self.store.stream(name).append(several(range(2), mark)))
        streams = [self.store.stream(name) for name in ("cam", "Cam")]
        first, second = (next(iter(each.hour(each.holdings().hours[0]))).checksum for each in streams)
        self.assertNotEqual(first, second)

    def test_file_size(self) -> None:
        """Data files are a small part of the volume."""
        for capacity, size in ((1 << 20, 1 << 20), (1 << 30, 2 << 20), (1 << 40, 64 << 20)):
            disk = SimulatedDisk(capacity)
            store = Store("/d", disk)
            store.open()
            self.assertEqual(store._bytes_of_file(), size)

    def test_a_number_is_used_once(self) -> None:
        """Over a hundred starts, whatever is given again with other bytes (D11)."""
        seen: dict[int, int] = {}
        for start in range(100):
            self.store.close()
            self.store = Store("/d", self.disk, file_bytes=2000)
            self.store.open()
            stream = self.store.stream("cam")
            last = stream.last_number
            first = 0 if last is None else max(0, last - FIRST - 1)
            for item, row in stream.append(several(range(first, first + 4), bytes([start]))):
                self.assertNotIn(row.number, seen)
                seen[row.number] = item.segment.checksum
        found = {row.number: row.checksum for hour in stream.holdings().hours for row in stream.hour(hour)}
        self.assertEqual(found, seen)
