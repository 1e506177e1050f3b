"""From C{file://VOD/PATH} to an open file, never outside the VOD's folders.

A path is checked part by part before the file system sees it, and opened part by part from the folder
down, following no link on the way. What is opened is a regular file and nothing else.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Mapping, Sequence

from restreamer.errors import RestreamerError

MAX_PATH = 1024
MAX_PARTS = 16
MAX_PART_BYTES = 255

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class VodPathError(RestreamerError):
    """A VOD path that may not be, or cannot be, opened; its text is one plain sentence."""


def check_vod_path(path: str) -> tuple[str, ...]:
    """The parts of a path inside a VOD.

    @param path: relative, parts joined by C{/}, taken as written (nothing is percent-decoded).
    @raise VodPathError: it is empty, absolute, too long or too deep, or a part is empty, begins with a dot
        or holds a backslash or a control character.
    """
    if not path or len(path) > MAX_PATH:
        raise VodPathError(f"a VOD path has 1 to {MAX_PATH} characters, this one {len(path)}")
    if path.startswith("/"):
        raise VodPathError(f"VOD path {path!r} is absolute; it is relative to the storage of its vod")
    parts = tuple(path.split("/"))
    if len(parts) > MAX_PARTS:
        raise VodPathError(f"VOD path {path!r} has {len(parts)} parts, at most {MAX_PARTS} are taken")
    for part in parts:
        if not part or part.startswith("."):
            raise VodPathError(f"VOD path {path!r} has a part that is empty or begins with a dot")
        if "\\" in part or not part.isprintable():
            raise VodPathError(f"VOD path {path!r} has a character that may not be in a name")
        if len(part.encode("utf-8", "surrogatepass")) > MAX_PART_BYTES:
            raise VodPathError(f"VOD path {path!r} has a part of over {MAX_PART_BYTES} bytes")
    return parts


def split_vod_url(url: str, names: Sequence[str]) -> tuple[str, str]:
    """(VOD name, path) of C{file://VOD/PATH}, or of C{VOD/PATH} as C{backup} writes it.

    @param names: the VODs there are; of several that fit, the longest is meant.
    @raise VodPathError: it is no such URL, names no VOD of C{names}, or its path is bad (L{check_vod_path}).
    """
    rest = url.removeprefix("file://")
    fitting = [name for name in names if rest.startswith(name + "/")]
    if not fitting:
        raise VodPathError(f"{url!r} names no vod of this node (there are: {', '.join(names) or 'none'})")
    name = max(fitting, key=len)
    path = rest[len(name) + 1 :]
    check_vod_path(path)
    return name, path


def _open_under(storage: str, parts: tuple[str, ...]) -> int:
    """Open C{parts} below C{storage}.

    @raise OSError: something on the way is missing, a link, or may not be read.
    @raise VodPathError: it is no regular file.
    """
    folder = os.open(storage, _DIRECTORY)
    try:
        for part in parts[:-1]:
            deeper = os.open(part, _DIRECTORY | os.O_NOFOLLOW, dir_fd=folder)
            os.close(folder)
            folder = deeper
        name = parts[-1]
        # Looked at before it is opened: opening a device can already do something.
        mode = os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode
        if stat.S_ISLNK(mode):
            raise VodPathError("links are not followed")
        if not stat.S_ISREG(mode):
            raise VodPathError("it is not a regular file")
        fd = os.open(name, _FILE, dir_fd=folder)
    finally:
        os.close(folder)
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise VodPathError("it is not a regular file")
    except BaseException:
        os.close(fd)
        raise
    return fd


def open_vod_file(storages: Sequence[str], path: str) -> int:
    """Open C{path} for reading under the first of C{storages} that has it. Blocks: call it in a thread.

    @param storages: absolute folders (these themselves may be links).
    @return: a file descriptor, the caller's to close.
    @raise VodPathError: the path is bad, is in no storage, goes over a link, or is no regular file that this
        process may read.
    """
    parts = check_vod_path(path)
    reason = "there is no storage to look in"
    for storage in storages:
        try:
            return _open_under(storage, parts)
        except VodPathError as error:
            raise VodPathError(f"VOD file {path!r} cannot be played: {error}") from error
        except OSError as error:
            if error.errno not in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
                raise VodPathError(f"VOD file {path!r} cannot be opened: {error.strerror}") from error
            reason = "no storage has it (links are not followed)"
    raise VodPathError(f"VOD file {path!r} cannot be played: {reason}")


def vod_opener(url: str, vods: Mapping[str, Sequence[str]]) -> Callable[[], int]:
    """What opens the file of a VOD URL, each time it is called.

    @param vods: VOD names to their storages.
    @raise VodPathError: (at once) as L{split_vod_url}; (when called) as L{open_vod_file}.
    """
    name, path = split_vod_url(url, tuple(vods))
    storages = tuple(vods[name])
    return lambda: open_vod_file(storages, path)
