"""The account that a node runs under, as the system has it, and what that account may write."""

from __future__ import annotations

import errno
import os
import pwd
import tempfile
from collections.abc import Callable

_ROOT = "this process runs as root, and needs no right of it but to listen: run it as a user of its own"
_BACK = (
    "the real user of this process is root still (twistd --euid), so that it can become root again: "
    "let it change its user for good (--uid and --gid without --euid)"
)


def account() -> str:
    """The user whose rights count, as text for people: C{user www-data (uid 33)}."""
    uid = os.geteuid()
    try:
        return f"user {pwd.getpwuid(uid).pw_name} (uid {uid})"
    except KeyError:
        return f"uid {uid}"


def too_much(effective: Callable[[], int] = os.geteuid, real: Callable[[], int] = os.getuid) -> str:
    """Why this process has more rights than it should have; empty: it has not."""
    if effective() == 0:
        return _ROOT
    return _BACK if real() == 0 else ""


def cannot_write(folder: str) -> str:
    """Why nothing can be kept in C{folder}; empty: it can. It is made when it is absent. Blocks."""
    try:
        os.makedirs(folder, mode=0o750, exist_ok=True)
        # Tried, not worked out: the mode of a folder tells nothing of a file system that is read only.
        with tempfile.TemporaryFile(dir=folder):
            return ""
    except OSError as error:
        return describe(error)


def describe(error: OSError) -> str:
    """What went wrong; with the account, when it is its rights that are not enough."""
    why = error.strerror or str(error)
    return f"{why}: {account()} must be able to write there" if error.errno in _RIGHTS else why


_RIGHTS = frozenset({errno.EACCES, errno.EPERM})
