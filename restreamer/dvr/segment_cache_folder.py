"""The files of a segment cache: one for each segment, with its canonical bytes and nothing else.

ROOT/.lock           one process
ROOT/.index          L{restreamer.dvr.segment_cache_index}
ROOT/3f/NAME         a segment; the folder is made of its checksum

Everything blocks, and is called in threads. Everything raises C{OSError} when the disk fails.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from attrs import define

from restreamer.dvr.filesystem import Filesystem, RealFilesystem, remove_quietly
from restreamer.dvr.segment_cache_index import CacheIndex
from restreamer.errors import RemoteProtocolError
from restreamer.m4f.hour_index import Row
from restreamer.m4f.segment import Segment

INDEX = ".index"
LOCK = ".lock"
FOLDERS = 256
#: Files that go in one step.
_STEP = 64
#: Uses that are noted together.
_USES = 64
#: Free space that is left to others: this part of the volume, and at most so many bytes.
_FREE_PART = 100
_FREE_MOST = 1_000_000_000
_NAME = re.compile(r"[0-9a-f]{32}-[0-9a-f]{1,16}-[0-9a-f]{6}([0-9a-f]{2})")
_FULL = (errno.ENOSPC, errno.EDQUOT)
_IN_THE_WAY = (errno.EISDIR, errno.ENOTDIR, errno.EEXIST)


@define(eq=False)
class FolderCounters:
    """What happened. @ivar damaged: files that were not what they should be."""

    evictions: int = 0
    damaged: int = 0


def path_of(name: str, row: Row) -> str:
    """Where the segment of a row is kept, below the root."""
    digest = hashlib.blake2b(name.encode(), digest_size=16).hexdigest()
    return f"{row.checksum & 0xFF:02x}/{digest}-{row.number:x}-{row.checksum:08x}"


class CacheFolder:
    """See the module.

    @param utc: seconds since the epoch.
    @ivar limit: bytes of all files; None: as many as there is room. @ivar age: seconds after its last use
        when a file goes; None: never. @ivar counters: what happened.
    """

    def __init__(
        self,
        root: str,
        utc: Callable[[], float],
        age: int | None,
        limit: int | None,
        files: Filesystem | None = None,
    ) -> None:
        self.age = age
        self.limit = limit
        self.counters = FolderCounters()
        self._root = root
        self._utc = utc
        self._files = files or RealFilesystem()
        self._lock = threading.Lock()
        self._index: CacheIndex | None = None
        self._identity: tuple[int, int] = (0, 0)
        self._release: Callable[[], None] | None = None
        self._used: dict[str, int] = {}
        self._last = 0
        self._place = 0
        self._unknown = 0
        self._made: set[str] = set()
        self._closed = False

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return self._index.size if self._index is not None else 0

    @property
    def count(self) -> int:
        """How many there are."""
        return self._index.count if self._index is not None else 0

    def read(self, name: str, row: Row) -> Segment | None:
        """The segment of a row, verified."""
        path = path_of(name, row)
        with self._opened() as index:
            if index.find(path) is None:
                return None
        try:
            encoded = self._files.read(f"{self._root}/{path}", 0, row.size + 1)
        except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
            encoded = b""
        try:
            segment = Segment.parse(encoded)
        except RemoteProtocolError:
            segment = None
        with self._opened() as index:
            if segment is None or (segment.number, segment.checksum) != (row.number, row.checksum):
                size = index.find(path)
                if size is not None:
                    self.counters.damaged += 1
                    self._remove(index, [(path, size)])
                return None
            self._used[path] = self._now()
            if len(self._used) >= _USES:
                self._note_uses(index)
        return segment

    def write(self, name: str, row: Row, encoded: bytes) -> bool:
        """Keep a segment. @return: False: there is no room for it."""
        path = path_of(name, row)
        with self._opened() as index:
            if index.find(path) is not None:
                return True
            if self._unknown or not self._make_room(index, len(encoded)):
                return False
            index.begin(path, len(encoded), self._now())
            try:
                self._write(path, encoded)
            except OSError as error:
                self._remove(index, [(path, len(encoded))])
                if error.errno in _FULL:
                    self._evict(index, index.oldest(_STEP))
                if error.errno in _IN_THE_WAY:
                    # Something that is not ours lies there; the others have their places.
                    return False
                raise
            index.finish(path)
            return True

    def tend(self) -> bool:
        """Do a part of what has to be done from time to time: drop what is old, compare a folder with what
        is known of it. @return: whether it is to be called again at once.
        """
        with self._opened() as index:
            if self.age is not None:
                self._note_uses(index)
                before = int((self._utc() - self.age) * 1e6)
                self._evict(index, index.oldest(_STEP, before))
                again = bool(index.oldest(1, before))
            else:
                again = False
            self._compare(index, f"{self._place:02x}")
            self._place = (self._place + 1) % FOLDERS
            self._unknown = max(0, self._unknown - 1)
            self._make_room(index, 0)
            return again or bool(self._unknown)

    def close(self) -> None:
        """Give the folder free."""
        with self._lock:
            self._closed = True
            self._shut()

    # Inside.

    @contextmanager
    def _opened(self) -> Iterator[CacheIndex]:
        """The index, for one at a time; what it raises becomes C{OSError}."""
        with self._lock:
            try:
                yield self._open()
            except sqlite3.DatabaseError as error:
                damaged = not isinstance(error, sqlite3.OperationalError)
                self._shut()
                if damaged:
                    for behind in ("", "-wal", "-shm"):
                        remove_quietly(self._files, f"{self._root}/{INDEX}{behind}")
                raise OSError(errno.EIO, f"the index of the cache: {error}", self._root) from error

    def _open(self) -> CacheIndex:
        path = f"{self._root}/{INDEX}"
        if self._closed:
            raise OSError(errno.ESHUTDOWN, "the cache is closed", self._root)
        if self._index is not None:
            if _identity(path) == self._identity:
                return self._index
            # Somebody removed it.
            self._shut()
        self._make_root()
        if os.path.isdir(path):
            raise OSError(errno.EISDIR, "there is a folder in the place of the cache's index", path)
        try:
            self._release = self._files.lock(f"{self._root}/{LOCK}")
        except BlockingIOError:
            raise OSError(errno.EBUSY, "another process uses this cache", self._root) from None
        index = self._index = CacheIndex(path)
        self._identity = _identity(path)
        index.not_after(int(self._utc() * 1e6))
        self._last = index.last_used()
        there = any(len(name) == 2 for name in self._files.names(self._root))
        self._unknown = FOLDERS if index.new and there else 0
        self._place = 0
        self._remove(index, index.unfinished())
        return index

    def _shut(self) -> None:
        index, self._index = self._index, None
        if index is not None:
            try:
                self._note_uses(index)
            except sqlite3.Error:
                pass
            index.close()
        self._used.clear()
        self._made.clear()
        if self._release is not None:
            self._release()
            self._release = None

    def _make_root(self) -> None:
        path = ""
        for part in self._root.strip("/").split("/"):
            path = f"{path}/{part}"
            try:
                self._files.names(path)
            except FileNotFoundError:
                self._files.make_folder(path)
            except PermissionError:
                continue

    def _now(self) -> int:
        """Microseconds; no two uses are at one time."""
        self._last = max(self._last + 1, int(self._utc() * 1e6))
        return self._last

    def _note_uses(self, index: CacheIndex) -> None:
        used, self._used = self._used, {}
        index.touch([(at, path) for path, at in used.items()])

    def _write(self, path: str, encoded: bytes) -> None:
        folder = path[:2]
        if folder not in self._made:
            self._files.make_folder(f"{self._root}/{folder}")
            self._made.add(folder)
        try:
            file = self._files.open(f"{self._root}/{path}")
        except FileNotFoundError:
            self._made.discard(folder)
            raise
        try:
            file.truncate(0)
            file.write(0, [encoded])
        finally:
            file.close()

    def _make_room(self, index: CacheIndex, size: int) -> bool:
        """Let the oldest go until C{size} bytes fit."""
        if self.limit is not None and size > self.limit:
            return False
        while True:
            space = self._files.space(self._root)
            over = min(space.total // _FREE_PART, _FREE_MOST) + size - space.free
            if self.limit is not None:
                over = max(over, index.size + size - self.limit)
            if over <= 0:
                return True
            self._note_uses(index)
            doomed = []
            for path, length in index.oldest(_STEP):
                doomed.append((path, length))
                over -= length
                if over <= 0:
                    break
            if not doomed:
                return False
            self._evict(index, doomed)

    def _evict(self, index: CacheIndex, doomed: list[tuple[str, int]]) -> None:
        self._remove(index, doomed)
        self.counters.evictions += len(doomed)

    def _remove(self, index: CacheIndex, doomed: list[tuple[str, int]]) -> None:
        """Remove files, and forget those that are gone."""
        index.doom([path for path, _ in doomed])
        gone = []
        try:
            for path, size in doomed:
                try:
                    self._files.remove(f"{self._root}/{path}")
                except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
                    # Gone; or there is something that is not ours.
                    pass
                gone.append((path, size))
        finally:
            index.forget(gone)

    def _compare(self, index: CacheIndex, folder: str) -> None:
        """Compare what is in a folder with what is known of it: others may have been there."""
        known = index.folder(folder)
        try:
            names = self._files.names(f"{self._root}/{folder}")
        except (FileNotFoundError, NotADirectoryError):
            names = []
        found: list[tuple[str, int]] = []
        for name in names:
            path = f"{folder}/{name}"
            match = _NAME.fullmatch(name)
            if match is None or match[1] != folder:
                continue
            try:
                size = self._files.size(f"{self._root}/{path}")
            except FileNotFoundError:
                continue
            if os.path.isdir(f"{self._root}/{path}"):
                continue
            if known.get(path) == size:
                del known[path]
            elif path not in known:
                found.append((path, size))
        self._remove(index, list(known.items()))
        index.add(found, self._now())


def _identity(path: str) -> tuple[int, int]:
    try:
        found = os.stat(path)
    except FileNotFoundError:
        return (0, 0)
    return (found.st_dev, found.st_ino)
