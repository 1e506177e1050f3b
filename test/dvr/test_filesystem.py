"""The file system seam: the real one, and what is built on it."""

from __future__ import annotations

import errno

from twisted.trial.unittest import SynchronousTestCase

from restreamer.dvr.filesystem import Filesystem, RealFilesystem, make_folders, replace_file
from test.dvr.simulated_disk import Fault, SimulatedDisk


class Filesystems(SynchronousTestCase):
    """The real one and the simulated one do the same."""

    def _both(self) -> list[tuple[Filesystem, str]]:
        simulated = SimulatedDisk()
        simulated.make_folder("/r")
        root = self.mktemp()
        real = RealFilesystem()
        real.make_folder(root)
        return [(real, root), (simulated, "/r")]

    def test_files(self) -> None:
        """Written at offsets, read in part, cut, renamed over another, removed."""
        for files, root in self._both():
            path = f"{root}/a"
            file = files.open(path)
            file.write(0, [b"hello ", b"world"])
            file.write(4, [b"0"])
            file.sync()
            file.truncate(9)
            file.close()
            self.assertEqual(files.read(path), b"hell0 wor")
            self.assertEqual(files.read(path, 2, 3), b"ll0")
            self.assertEqual(files.read(path, 7, 30), b"or")
            self.assertEqual(files.size(path), 9)
            files.open(f"{root}/b").close()
            files.rename(path, f"{root}/b")
            files.sync_folder(root)
            self.assertEqual(files.names(root), ["b"])
            files.remove(f"{root}/b")
            self.assertRaises(FileNotFoundError, files.read, path)
            self.assertRaises(FileNotFoundError, files.remove, path)
            self.assertRaises(FileNotFoundError, files.names, f"{root}/none")
            self.assertGreater(files.space(root).free, 0)

    def test_folders(self) -> None:
        """Made below each other, once; removed when they are empty."""
        for files, root in self._both():
            make_folders(files, root, "x/y")
            make_folders(files, root, "x/y")
            self.assertEqual(files.names(f"{root}/x"), ["y"])
            with self.assertRaises(OSError) as caught:
                files.remove_folder(f"{root}/x")
            self.assertEqual(caught.exception.errno, errno.ENOTEMPTY)
            files.remove_folder(f"{root}/x/y")
            self.assertEqual(files.names(f"{root}/x"), [])

    def test_lock(self) -> None:
        """One has it at a time."""
        for files, root in self._both():
            release = files.lock(f"{root}/lock")
            self.assertRaises(BlockingIOError, files.lock, f"{root}/lock")
            release()
            files.lock(f"{root}/lock")()

    def test_no_link_is_followed(self) -> None:
        """A link in place of a file is not written through."""
        import os

        root = self.mktemp()
        os.mkdir(root)
        os.symlink("/nowhere", f"{root}/link")
        self.assertRaises(OSError, RealFilesystem().open, f"{root}/link")

    def test_replaced_whole_or_not(self) -> None:
        """Whatever fails, the old file is there, and nothing else."""
        for kind in ("open", "write", "sync", "rename", "truncate"):
            disk = SimulatedDisk()
            replace_file(disk, "", "f", [b"old"])
            disk.faults.append(Fault(kind, "f", errno.ENOSPC, 1))
            self.assertRaises(OSError, replace_file, disk, "", "f", [b"new"])
            self.assertEqual((disk.paths(), disk.read("/f"), disk.open_files), (["/f"], b"old", 0), kind)
            replace_file(disk, "", "f", [b"new"])
            self.assertEqual(disk.read("/f"), b"new")
