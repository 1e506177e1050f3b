"""The file system as the archive uses it: a small seam over C{os}, so that a test can be a failing disk.

Everything here blocks and raises C{OSError}; it is called in threads. All reading and writing
goes through it.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

from attrs import define
from typing_extensions import override

#: Permissions of files and folders: others of the group may read an archive.
FILE_MODE = 0o640
FOLDER_MODE = 0o750
#: Behind the name of a file while it is being written.
TEMPORARY = ".new"


class Space(NamedTuple):
    """Of a volume, bytes. @ivar free: what this process may still write."""

    total: int
    free: int


class OpenFile(Protocol):
    """A file that is being written."""

    def write(self, offset: int, pieces: Sequence[bytes]) -> None:
        """Write all of it there."""
        ...

    def sync(self) -> None:
        """Come back when what was written is on the disk (fdatasync)."""
        ...

    def truncate(self, size: int) -> None:
        """Cut the file to C{size} bytes."""
        ...

    def close(self) -> None:
        """Done."""
        ...


class Filesystem(Protocol):
    """What the archive needs of a file system. Paths are absolute."""

    def names(self, folder: str) -> list[str]:
        """What is in a folder, in any order."""
        ...

    def files(self, folder: str) -> list[str]:
        """The ordinary files in a folder, in any order: no links, pipes, devices or folders."""
        ...

    def make_folder(self, path: str) -> None:
        """Make a folder; it may be there already. The folder above must be there."""
        ...

    def remove_folder(self, path: str) -> None:
        """Remove an empty folder."""
        ...

    def open(self, path: str) -> OpenFile:
        """Open a file to write in it; it is made when it is not there."""
        ...

    def is_link(self, path: str) -> bool:
        """Whether C{path} is a symbolic link."""
        ...

    def size(self, path: str) -> int:
        """Length of a file."""
        ...

    def read(self, path: str, offset: int = 0, size: int | None = None) -> bytes:
        """What is in a file; less than C{size} when it ends before."""
        ...

    def rename(self, old: str, new: str) -> None:
        """Give a file its name, in place of one that has it."""
        ...

    def remove(self, path: str) -> None:
        """Remove a file."""
        ...

    def sync_folder(self, path: str) -> None:
        """Come back when the names in a folder are on the disk."""
        ...

    def space(self, path: str) -> Space:
        """What the volume has."""
        ...

    def lock(self, path: str) -> Callable[[], None]:
        """Lock a file for this process, and make it when it is not there.

        @return: gives it free.
        @raise BlockingIOError: another process has it.
        """
        ...


def replace_file(files: Filesystem, folder: str, name: str, pieces: Sequence[bytes]) -> None:
    """Write a file whole: after a power cut there is the old one or the new one.

    @raise OSError: nothing changed.
    """
    path = f"{folder}/{name}"
    new = path + TEMPORARY
    file = files.open(new)
    try:
        try:
            file.truncate(0)
            file.write(0, pieces)
            file.sync()
        finally:
            file.close()
        files.rename(new, path)
    except OSError:
        remove_quietly(files, new)
        raise
    files.sync_folder(folder)


def remove_quietly(files: Filesystem, path: str) -> None:
    """Remove a file, if that is possible."""
    try:
        files.remove(path)
    except OSError:
        pass


def make_folders(files: Filesystem, root: str, path: str) -> None:
    """Make C{path} below C{root}, each folder on the disk before what is in it."""
    at = root
    for part in path.split("/"):
        above, at = at, f"{at}/{part}"
        if part not in files.names(above):
            files.make_folder(at)
            files.sync_folder(above)


@define(eq=False)
class _RealFile:
    """A descriptor."""

    _descriptor: int

    def write(self, offset: int, pieces: Sequence[bytes]) -> None:
        left = memoryview(pieces[0] if len(pieces) == 1 else b"".join(pieces))
        while left:
            written = os.pwrite(self._descriptor, left, offset)
            offset += written
            left = left[written:]

    def sync(self) -> None:
        os.fdatasync(self._descriptor)

    def truncate(self, size: int) -> None:
        os.ftruncate(self._descriptor, size)

    def close(self) -> None:
        os.close(self._descriptor)


class RealFilesystem(Filesystem):
    """The real one."""

    @override
    def names(self, folder: str) -> list[str]:
        return os.listdir(folder)

    @override
    def files(self, folder: str) -> list[str]:
        with os.scandir(folder) as found:
            return [each.name for each in found if each.is_file(follow_symlinks=False)]

    @override
    def make_folder(self, path: str) -> None:
        try:
            os.mkdir(path, FOLDER_MODE)
        except FileExistsError:
            if not os.path.isdir(path):
                raise

    @override
    def remove_folder(self, path: str) -> None:
        os.rmdir(path)

    @override
    def open(self, path: str) -> OpenFile:
        return _RealFile(_descriptor(path, os.O_WRONLY | os.O_CREAT))

    @override
    def is_link(self, path: str) -> bool:
        return os.path.islink(path)

    @override
    def size(self, path: str) -> int:
        return os.lstat(path).st_size

    @override
    def read(self, path: str, offset: int = 0, size: int | None = None) -> bytes:
        with open(_descriptor(path, os.O_RDONLY), "rb", buffering=0) as file:
            if size is None:
                return file.readall()[offset:]
            found = os.pread(file.fileno(), size, offset)
            while found and len(found) < size:
                more = os.pread(file.fileno(), size - len(found), offset + len(found))
                if not more:
                    break
                found += more
            return found

    @override
    def rename(self, old: str, new: str) -> None:
        os.replace(old, new)

    @override
    def remove(self, path: str) -> None:
        os.unlink(path)

    @override
    def sync_folder(self, path: str) -> None:
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    @override
    def space(self, path: str) -> Space:
        found = os.statvfs(path)
        return Space(found.f_blocks * found.f_frsize, found.f_bavail * found.f_frsize)

    @override
    def lock(self, path: str) -> Callable[[], None]:
        descriptor = _descriptor(path, os.O_RDWR | os.O_CREAT)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(descriptor)
            raise
        return lambda: os.close(descriptor)


def _descriptor(path: str, flags: int) -> int:
    """Open a file of the archive: no link, device or pipe that somebody put in its place.

    @raise OSError: it is one, or would be written although it has another name (a hard link), as which it may
        be anything.
    """
    try:
        # Without O_NONBLOCK opening a pipe would wait for its other end.
        descriptor = os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, FILE_MODE)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise OSError(errno.ELOOP, "It is a link, which is not followed", path) from None
        raise
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode):
        os.close(descriptor)
        # What is in the way is a folder, or as good as one.
        raise IsADirectoryError(errno.EISDIR, "It is no ordinary file", path)
    if status.st_nlink > 1 and flags & (os.O_WRONLY | os.O_RDWR):
        os.close(descriptor)
        raise OSError(errno.EMLINK, "It has another name (a hard link) and is not written to", path)
    return descriptor
