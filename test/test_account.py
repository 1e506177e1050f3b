"""The account of the process."""

from __future__ import annotations

import errno
import os
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from restreamer import account


class AccountTests(SynchronousTestCase):
    """Who one is and what one may."""

    def test_account(self) -> None:
        self.assertIn(f"uid {os.geteuid()}", account.account())
        self.patch(os, "geteuid", lambda: 54321)
        self.assertEqual(account.account(), "uid 54321")

    def test_too_much(self) -> None:
        self.assertIn("runs as root", account.too_much(lambda: 0, lambda: 0))
        self.assertIn("--euid", account.too_much(lambda: 33, lambda: 0))
        self.assertEqual(account.too_much(lambda: 33, lambda: 33), "")

    def test_can_write(self) -> None:
        """The folder is made, and nothing is left in it."""
        folder = Path(self.mktemp()) / "a" / "b"
        self.assertEqual(account.cannot_write(str(folder)), "")
        self.assertEqual(list(folder.iterdir()), [])

    def test_cannot_write(self) -> None:
        path = Path(self.mktemp())
        path.write_bytes(b"")
        self.assertEqual(account.cannot_write(str(path / "state")), os.strerror(errno.ENOTDIR))
        self.assertIn("File exists", account.cannot_write(str(path)))

        def refused(*_: object, **__: object) -> None:
            raise PermissionError(errno.EACCES, "Permission denied")

        self.patch(os, "makedirs", refused)
        why = account.cannot_write("/var/lib/x")
        self.assertEqual(why, f"Permission denied: {account.account()} must be able to write there")
