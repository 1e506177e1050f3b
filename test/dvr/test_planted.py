"""What is put in the place of an archive's files harms neither files elsewhere nor what else is recorded."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase
from typing_extensions import override

from restreamer.dvr.filesystem import RealFilesystem
from restreamer.dvr.hour_file import data_name, index_name, rows_name
from restreamer.dvr.store import LOCK, MARKER, Store
from restreamer.dvr.summary import SUMMARY
from test.dvr.recordings import FIRST_HOUR, HOUR, several

#: What is elsewhere, and must stay as it is.
PRECIOUS = b"precious" * 1000


class PlantedTests(SynchronousTestCase):
    """Links, hard links, pipes, folders."""

    @override
    def setUp(self) -> None:
        self.elsewhere = Path(self.mktemp())
        self.elsewhere.write_bytes(PRECIOUS)

    def store(self, root: Path) -> Store:
        """The store of a folder."""
        store = Store(str(root), RealFilesystem(), None, 100_000, lambda: "id1")
        store.open()
        return store

    def archive(self) -> tuple[Path, Path]:
        """Three hours of one stream. @return: the root and the folder of the day."""
        root = Path(self.mktemp())
        root.mkdir()
        store = self.store(root)
        store.stream("cam").append(several([0, HOUR, 2 * HOUR]))
        store.close()
        return root, next((root / "cam").rglob(data_name(FIRST_HOUR, 0))).parent

    def plants(self) -> dict[str, Callable[[Path], None]]:
        """How something gets to a path."""
        return {
            "link": lambda path: path.symlink_to(self.elsewhere.resolve()),
            "hard link": lambda path: path.hardlink_to(self.elsewhere),
            "device": lambda path: path.symlink_to("/dev/zero"),
            "pipe": os.mkfifo,
            "folder": lambda path: path.mkdir(),
        }

    def test_hours(self) -> None:
        """In place of the data, the index, the log of an hour that is over, or of several of them."""
        hour = FIRST_HOUR + 1
        names = data_name(hour, 0), index_name(hour), rows_name(hour)
        for chosen in (names[:1], names[1:2], names[2:], names[:2], names):
            for kind, plant in self.plants().items():
                with self.subTest(kind=kind, names=chosen):
                    root, day = self.archive()
                    for name in chosen:
                        (day / name).unlink(missing_ok=True)
                        plant(day / name)
                    self.use(root, kind)
                    self.assertEqual(self.elsewhere.read_bytes(), PRECIOUS)
                    if kind == "hard link":
                        self.elsewhere = Path(self.mktemp())
                        self.elsewhere.write_bytes(PRECIOUS)

    def use(self, root: Path, kind: str) -> None:
        """Read and record in an archive."""
        store = self.store(root)
        self.addCleanup(store.close)
        stream = store.stream("cam")
        self.assertEqual(len(stream.hour(FIRST_HOUR)), 1)
        self.assertEqual(len(stream.hour(FIRST_HOUR + 2)), 1)
        stream.append(several([2 * HOUR + 1, 3 * HOUR]))
        self.assertEqual(len(stream.hour(FIRST_HOUR + 3)), 1)
        store.close()

    def test_about_the_whole(self) -> None:
        """In place of a stream's summary."""
        for kind, plant in self.plants().items():
            with self.subTest(kind):
                root, _ = self.archive()
                path = root / "cam" / SUMMARY
                path.unlink(missing_ok=True)
                plant(path)
                self.use(root, kind)
                self.assertEqual(self.elsewhere.read_bytes(), PRECIOUS)

    def test_marker_and_lock(self) -> None:
        """An archive whose marker or lock is none is not used, and it is said why."""
        for name in (MARKER, LOCK):
            for kind, plant in self.plants().items():
                if (name, kind) == (MARKER, "hard link"):
                    continue
                with self.subTest(kind=kind, name=name):
                    root, _ = self.archive()
                    (root / name).unlink(missing_ok=True)
                    plant(root / name)
                    error = self.assertRaises(OSError, self.store, root)
                    self.assertTrue(str(error))
                    self.assertEqual(self.elsewhere.read_bytes(), PRECIOUS)
