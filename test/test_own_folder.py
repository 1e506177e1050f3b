"""The folder of a process: locked while it lives, removed by the next if it was killed."""

from __future__ import annotations

import os
import socket
import tempfile
import time
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase
from typing_extensions import override

from restreamer.own_folder import OwnFolder


class Folders(SynchronousTestCase):
    """See the module."""

    @override
    def setUp(self) -> None:
        # Paths of UNIX sockets are short.
        folder = tempfile.TemporaryDirectory(prefix="own-")
        self.addCleanup(folder.cleanup)
        self.base = Path(folder.name)
        self.patch(tempfile, "tempdir", folder.name)

    def left(self, name: str, age: float = 100.0) -> Path:
        """What a process leaves that was killed so many seconds after it began."""
        folder = self.base / f"restreamer-{name}"
        folder.mkdir(mode=0o700)
        with socket.socket(socket.AF_UNIX) as bound:
            bound.bind(str(folder / "main"))
        then = time.time() - age
        os.utime(folder, (then, then))
        return folder

    def test_own(self) -> None:
        """Nobody else may look into it; it goes at the end."""
        own = OwnFolder()
        self.assertEqual(own.path.stat().st_mode & 0o777, 0o700)
        self.assertEqual(own.path.parent, self.base)
        own.close()
        own.close()
        self.assertEqual(list(self.base.iterdir()), [])

    def test_left_behind(self) -> None:
        """What killed processes left goes; what is young, alive or not ours stays."""
        gone, young = self.left("gone"), self.left("young", 1.0)
        strange = self.left("strange")
        (strange / "notes").touch()
        os.utime(strange, (0, 0))
        (self.base / "restreamer-link").symlink_to(gone)
        (self.base / "restreamer-file").touch()
        alive = self.left("alive")
        (alive / "main").unlink()
        with socket.socket(socket.AF_UNIX) as listening:
            listening.bind(str(alive / "main"))
            listening.listen()
            os.utime(alive, (0, 0))
            first = OwnFolder()
            (first.path / "main").touch()
            os.utime(first.path, (0, 0))
            second = OwnFolder()
        kept = {young, strange, alive, first.path, second.path}
        left = {each for each in self.base.iterdir() if each.is_dir() and not each.is_symlink()}
        self.assertEqual(left, kept)
        first.close()
        second.close()
