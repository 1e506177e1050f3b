"""A folder of this process alone, for its UNIX sockets.

It is locked (flock(2)) as long as the process lives: systemd-tmpfiles(8), which knows nothing of sockets in a
private /tmp, leaves it alone however old it gets; and folders of processes that were killed are told by it.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import socket
import stat
import tempfile
import time
from pathlib import Path
from typing import Final

_PREFIX: Final = "restreamer-"
#: What may be in it. A folder with anything else is somebody else's.
_SOCKETS: Final = frozenset({"main", "node"})
#: A folder that is younger may be about to be locked, seconds.
_YOUNG_SECONDS: Final = 60.0


class OwnFolder:
    """See the module. Made at once; those that processes of this user left behind go.

    @ivar path: of the folder.
    """

    def __init__(self) -> None:
        base = Path(tempfile.gettempdir())
        for left in base.glob(f"{_PREFIX}*"):
            _remove_if_left(left)
        self.path = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=base))
        self._lock = _locked(self.path)

    def close(self) -> None:
        """Remove it."""
        shutil.rmtree(self.path, ignore_errors=True)
        lock, self._lock = self._lock, None
        if lock is not None:
            os.close(lock)


def _locked(folder: Path) -> int | None:
    """A descriptor that holds the lock of C{folder}; None: somebody else has it, or it cannot be had."""
    try:
        held = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(held)
        return None
    return held


def _remove_if_left(folder: Path) -> None:
    """Remove C{folder} if its process is gone."""
    try:
        about = folder.lstat()
        names = set(os.listdir(folder)) if stat.S_ISDIR(about.st_mode) else set()
    except OSError:
        return
    ours = about.st_uid == os.geteuid() and bool(names) and names <= _SOCKETS
    if not ours or time.time() - about.st_mtime < _YOUNG_SECONDS:
        return
    held = _locked(folder)
    if held is None:
        return
    try:
        if not any(_answers(folder / name) for name in names):
            shutil.rmtree(folder, ignore_errors=True)
    finally:
        os.close(held)


def _answers(path: Path) -> bool:
    """Whether somebody listens on the UNIX socket C{path}; True, too, where that cannot be told."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK) as asked:
        try:
            asked.connect(str(path))
        except (ConnectionRefusedError, FileNotFoundError):
            return False
        except OSError:
            return True
    return True
