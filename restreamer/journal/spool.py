"""The spool: rows on disk between the node and the database, so that neither a database that is away nor a
node that is killed loses them.

Files C{00000001.rows}, in the order of their numbers, a line per row. The newest one is written to; the older
ones are loaded and then deleted. Everything here blocks: threads call it.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence
from pathlib import Path

from restreamer.journal.rows import Row, from_line, to_line
from restreamer.logs import Logger

_log = Logger()

_SUFFIX = ".rows"
#: What goes by: another try may read the file.
_PASSES = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EINTR, errno.EAGAIN})


class Spool:
    """Rows on disk.

    @param folder: is made, readable by nobody else. @param most: bytes; beyond that the oldest file goes.
    @ivar lost: rows that were given up for want of room. @ivar broken: lines that were no rows, and
        files that could not be read.
    """

    def __init__(self, folder: Path, most: int = 1 << 30) -> None:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._folder = folder
        self._most = most
        self.lost = 0
        self.broken = 0
        self._damaged: set[int] = set()
        self._sizes = {number: path.stat().st_size for number, path in self._found()}
        self._next = max(self._sizes, default=0) + 1

    @property
    def size(self) -> int:
        """Bytes on disk."""
        return sum(tuple(self._sizes.values()))

    @property
    def files(self) -> tuple[int, ...]:
        """The numbers of the files, rising."""
        return tuple(sorted(self._sizes))

    def append(self, rows: Sequence[Row]) -> int:
        """Write C{rows} into a file of their own, and have it on disk before this returns.

        @return: its number.
        @raise OSError: they are not on disk.
        """
        data = b"".join([to_line(row) for row in rows])
        number = self._next
        path = self._path(number)
        fresh = path.with_suffix(".new")
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        try:
            with open(descriptor, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            fresh.rename(path)
            self._sync_folder()
        except OSError:
            fresh.unlink(missing_ok=True)
            raise
        self._next += 1
        self._sizes[number] = len(data)
        self._make_room(number)
        return number

    def load(self, number: int) -> list[Row]:
        """The rows of a file; what is none is passed over and counted.

        @raise OSError: it cannot be read.
        """
        rows = []
        for line in self._path(number).read_bytes().splitlines():
            try:
                rows.append(from_line(line))
            except (ValueError, RecursionError):
                self.broken += 1
                self._damaged.add(number)
        return rows

    def set_aside(self, number: int, error: OSError) -> None:
        """A file that cannot be read does not keep those behind it waiting: it is left under another name.

        @raise OSError: C{error}: the process lacks something for the moment.
        """
        if error.errno in _PASSES:
            raise error
        self._leave(number, error.strerror or str(error))
        self.broken += 1

    def _leave(self, number: int, why: str) -> None:
        """Give a file another name, by which it is not loaded again."""
        path = self._path(number)
        aside = path.with_suffix(".unreadable")
        try:
            path.rename(aside)
        except OSError:
            # Somebody took it away, or it stays as it is until the next start.
            aside = path
        self._sizes.pop(number, None)
        _log.error(
            "a file of the journal's spool cannot be read ({why}): it is left as {path}", why=why, path=aside
        )

    def drop(self, number: int) -> None:
        """The rows of a file are in the database; one with lines that were none is left aside."""
        if number in self._damaged:
            self._damaged.discard(number)
            self._leave(number, "lines that are no rows")
            return
        self._path(number).unlink(missing_ok=True)
        self._sizes.pop(number, None)

    def _make_room(self, newest: int) -> None:
        for number in self.files:
            if self.size <= self._most or number == newest:
                return
            try:
                rows = len(self.load(number))
            except OSError:
                rows = 0
            self.lost += rows
            _log.error(
                "the spool of the journal is full ({most} bytes): {rows} rows are given up",
                most=self._most,
                rows=rows,
            )
            self._damaged.discard(number)
            self.drop(number)

    def _found(self) -> list[tuple[int, Path]]:
        found = []
        for path in self._folder.iterdir():
            if path.suffix == ".new":
                # Was being written when the node was killed: nobody was told that it is kept.
                path.unlink(missing_ok=True)
            elif path.suffix == _SUFFIX and path.stem.isascii() and path.stem.isdigit():
                found.append((int(path.stem), path))
        return found

    def _path(self, number: int) -> Path:
        return self._folder / f"{number:08d}{_SUFFIX}"

    def _sync_folder(self) -> None:
        descriptor = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
