"""One volume with archives: its marker, its lock, the streams on it.

A volume carries a marker with an id. Whoever has used the volume before knows the id: where the marker is
absent then, the disk is not mounted, and nothing is written to the folder that shows in its place.
"""

from __future__ import annotations

import errno
import json
import threading
import uuid
from collections.abc import Callable, Collection

from typing_extensions import override

from restreamer.account import describe
from restreamer.dvr.filesystem import Filesystem, RealFilesystem, Space, replace_file
from restreamer.dvr.hour_cache import HourCache
from restreamer.dvr.hour_file import parse_day
from restreamer.dvr.open_hour import FILE_BYTES
from restreamer.dvr.repairs import Repairs
from restreamer.dvr.stream_store import StreamStore
from restreamer.media.names import valid_stream_name

#: The marker of a volume, and the file that is locked.
MARKER = ".restreamer-dvr"
LOCK = ".lock"
_VERSION = 1
#: A data file is at most this part of the volume, so that deleting one is never much; and never smaller than:
_PART = 512
_SMALLEST_FILE = 1024 * 1024
#: Folders below each other that a stream's name may make.
_DEPTH = 8


class StoreUnavailableError(OSError):
    """A volume that may not be written: it is not mounted, of another version, or another process has it."""


class Store:
    """A volume. All but L{stream}, L{opened} and L{forget} blocks and is called in threads.

    @param root: its folder. @param volume: the id it had when it was used before; None: it was not.
    @param file_bytes: of a data file, about; None: as the size of the volume asks.
    @ivar volume: the id, as soon as it is open: to be remembered.
    """

    def __init__(
        self,
        root: str,
        files: Filesystem | None = None,
        volume: str | None = None,
        file_bytes: int | None = None,
        new_id: Callable[[], str] = lambda: uuid.uuid4().hex,
    ) -> None:
        self.root = root.rstrip("/") or "/"
        self.files = files or RealFilesystem()
        self.volume = volume
        self._file_bytes = file_bytes
        self._new_id = new_id
        self._cache = HourCache()
        self._repairs = Repairs()
        self._opening = threading.RLock()
        self._lock = threading.Lock()
        self._release: Callable[[], None] | None = None
        self._streams: dict[str, StreamStore] = {}

    @override
    def __repr__(self) -> str:
        return f"Store({self.root!r})"

    def open(self) -> None:
        """Take the volume for this process; nothing happens when it is taken already.

        @raise StoreUnavailableError: it may not be written. @raise OSError: it cannot be.
        """
        with self._opening:
            if self._release is not None:
                return
            self._make_root()
            try:
                release = self.files.lock(f"{self.root}/{LOCK}")
            except BlockingIOError:
                raise StoreUnavailableError(
                    errno.EBUSY, "another process writes to this archive", self.root
                ) from None
            try:
                self._take_marker()
            except BaseException:
                release()
                raise
            self._release = release

    def in_use(self) -> bool:
        """Whether another process has the volume now."""
        try:
            self.files.lock(f"{self.root}/{LOCK}")()
        except BlockingIOError:
            return True
        return False

    def close(self) -> None:
        """Give the volume free."""
        with self._opening:
            if self._release is not None:
                self._release()
                self._release = None

    @property
    def taken(self) -> bool:
        """Whether this process has the volume."""
        with self._opening:
            return self._release is not None

    def check(self) -> None:
        """Whether it may be written now.

        @raise OSError: no: see L{open}.
        """
        self.open()
        self._take_marker()

    def stream(self, name: str) -> StreamStore:
        """The archive of a stream; nothing is read or made for that.

        @raise ValueError: not a stream name.
        """
        if not valid_stream_name(name):
            raise ValueError("not a stream name")
        with self._lock:
            held = self._streams.get(name)
            if held is None:
                held = self._streams[name] = StreamStore(
                    self.files,
                    self.root,
                    name,
                    self._cache,
                    self.check,
                    self._used,
                    self._bytes_of_file,
                    self._repairs.ask,
                )
            return held

    def opened(self) -> list[StreamStore]:
        """The archives that were asked or written since the start."""
        with self._lock:
            return [each for each in self._streams.values() if each.known]

    def drop_empty(self, kept: Collection[str]) -> None:
        """Forget the archives that hold nothing, but those named in C{kept}; in the thread that writes."""
        with self._lock:
            for name, held in list(self._streams.items()):
                if held.empty and name not in kept:
                    del self._streams[name]

    def names(self, wrong: Callable[[str, OSError], None] = lambda path, error: None) -> list[str]:
        """The streams that have something here, whoever recorded it.

        @param wrong: told of folders below that cannot be read; what is no folder is none of them.
        @raise OSError: the volume cannot be read.
        """
        found: list[str] = []
        self._names("", _DEPTH, found, wrong)
        return sorted(found)

    def space(self) -> Space:
        """What the volume has.

        @raise OSError: it cannot be read.
        """
        return self.files.space(self.root)

    def forget(self) -> None:
        """Give the memory of indexes back."""
        self._cache.clear()

    # Inside.

    def _names(
        self, prefix: str, depth: int, found: list[str], wrong: Callable[[str, OSError], None]
    ) -> None:
        folder = f"{self.root}/{prefix}".rstrip("/")
        try:
            names = self.files.names(folder)
        except OSError as error:
            if not prefix:
                raise
            # No folder, a link to nowhere or to itself, gone, or out of order: the others are there.
            if error.errno not in (errno.ENOTDIR, errno.ENOENT, errno.ELOOP):
                wrong(folder, error)
            return
        if prefix and any(parse_day(name) is not None for name in names):
            found.append(prefix)
        if depth:
            for name in names:
                below = f"{prefix}/{name}" if prefix else name
                if "@" not in name and valid_stream_name(below):
                    self._names(below, depth - 1, found, wrong)

    def _make_root(self) -> None:
        if self.volume is not None:
            self._take_marker()
            return
        path = ""
        for part in self.root.split("/")[1:]:
            above, path = path, f"{path}/{part}"
            try:
                self.files.names(path)
            except FileNotFoundError:
                self.files.make_folder(path)
                self.files.sync_folder(above or "/")
            except PermissionError:
                continue

    def _take_marker(self) -> None:
        """Compare the marker with what is known, or make it on a new volume."""
        try:
            marker = self.files.read(f"{self.root}/{MARKER}", 0, 4096)
        except FileNotFoundError:
            if self.volume is not None:
                raise StoreUnavailableError(
                    errno.ENODEV, "the volume is not there: its marker is absent", self.root
                ) from None
            volume = self._new_id()
            encoded = json.dumps({"version": _VERSION, "volume": volume}).encode() + b"\n"
            replace_file(self.files, self.root, MARKER, [encoded])
            self.volume = volume
            return
        try:
            fields = json.loads(marker)
            version, volume = fields["version"], fields["volume"]
        except (ValueError, KeyError, TypeError):
            raise StoreUnavailableError(
                errno.EINVAL, "the marker of the volume is damaged", self.root
            ) from None
        if version != _VERSION or not isinstance(volume, str) or not volume:
            raise StoreUnavailableError(errno.EINVAL, "a volume of another version", self.root)
        if self.volume is not None and self.volume != volume:
            raise StoreUnavailableError(errno.ENODEV, "another volume is in its place", self.root)
        self.volume = volume

    def _used(self) -> bool:
        """Whether there is a volume. @raise OSError: there was, and is not now."""
        with self._opening:
            if self.volume is None and MARKER not in self._names_of_root():
                return False
            self._take_marker()
            return True

    def _names_of_root(self) -> list[str]:
        try:
            return self.files.names(self.root)
        except FileNotFoundError:
            return []

    def _bytes_of_file(self) -> int:
        if self._file_bytes is None:
            self._file_bytes = min(FILE_BYTES, max(_SMALLEST_FILE, self.space().total // _PART))
        return self._file_bytes


def describe_error(error: BaseException) -> str:
    """What went wrong, for the log and the API."""
    if isinstance(error, OSError) and error.errno is not None:
        return describe(error)
    return str(error) or type(error).__name__
