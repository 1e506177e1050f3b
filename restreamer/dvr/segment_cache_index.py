"""What a segment cache knows of its files: an index on the disk, so that memory and start cost nothing.

It is a SQLite database (WAL): what was written to it outlives the process, whenever that is killed. A row is
there before its file is and goes after it, so a file that nobody knows of cannot be left behind; rows of
which that is not certain are marked as unfinished.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence

_SCHEMA = """
CREATE TABLE kept (path TEXT PRIMARY KEY, size INTEGER NOT NULL, used INTEGER NOT NULL,
    unfinished INTEGER NOT NULL) WITHOUT ROWID;
CREATE INDEX by_use ON kept (used);
CREATE INDEX open ON kept (unfinished) WHERE unfinished;
PRAGMA user_version = 1;
"""
#: Kilobytes of the index in memory.
_MEMORY = 4096
#: Seconds for which another process that reads it may hold it.
_TIMEOUT = 0.2


class CacheIndex:
    """Rows by path. All raise C{sqlite3.Error}.

    @ivar new: it was made just now: what is in the folder is not known. @ivar size: bytes of all files.
    @ivar count: how many.
    """

    def __init__(self, path: str) -> None:
        self._rows = sqlite3.connect(path, timeout=_TIMEOUT, isolation_level=None, check_same_thread=False)
        try:
            self._rows.execute("PRAGMA journal_mode = WAL")
            self._rows.execute("PRAGMA synchronous = NORMAL")
            self._rows.execute(f"PRAGMA cache_size = -{_MEMORY}")
            version = self._rows.execute("PRAGMA user_version").fetchone()[0]
            table = self._rows.execute("SELECT 1 FROM sqlite_master WHERE name = 'kept'").fetchone()
            self.new = version != 1 or table is None
            if self.new:
                self._rows.executescript("BEGIN; DROP TABLE IF EXISTS kept;" + _SCHEMA + "COMMIT;")
            # What no file can have was written by nobody: such a file is found again.
            self._rows.execute("DELETE FROM kept WHERE size < 0")
            self._count()
        except BaseException:
            self._rows.close()
            raise

    def _count(self) -> None:
        self.size, self.count = self._rows.execute(
            "SELECT coalesce(sum(size), 0), count(*) FROM kept"
        ).fetchone()

    def not_after(self, now: int) -> None:
        """Nothing was used after C{now}: the clock that said so was wrong."""
        self._rows.execute("UPDATE kept SET used = ? WHERE used > ?", (now, now))

    def find(self, path: str) -> int | None:
        """The size of a file that is there for certain."""
        row = self._rows.execute(
            "SELECT size FROM kept WHERE path = ? AND NOT unfinished", (path,)
        ).fetchone()
        return None if row is None else int(row[0])

    def begin(self, path: str, size: int, used: int) -> None:
        """A file is about to be written."""
        self._rows.execute("INSERT INTO kept VALUES (?, ?, ?, 1)", (path, size, used))
        self.size += size
        self.count += 1

    def finish(self, path: str) -> None:
        """It is there."""
        self._rows.execute("UPDATE kept SET unfinished = 0 WHERE path = ?", (path,))

    def add(self, files: Iterable[tuple[str, int]], used: int) -> None:
        """Files that were found; those that are about to go stay so."""
        rows = [(path, size, used) for path, size in files]
        if rows:
            self._together("INSERT OR IGNORE INTO kept VALUES (?, ?, ?, 0)", rows)
            self._count()

    def doom(self, paths: Sequence[str]) -> None:
        """These files are about to go."""
        self._together("UPDATE kept SET unfinished = 1 WHERE path = ?", [(path,) for path in paths])

    def forget(self, files: Sequence[tuple[str, int]]) -> None:
        """These files are gone."""
        self._together("DELETE FROM kept WHERE path = ?", [(path,) for path, _ in files])
        self.size -= sum([size for _, size in files])
        self.count -= len(files)

    def touch(self, used: Sequence[tuple[int, str]]) -> None:
        """When files were used last: (time, path)."""
        self._together("UPDATE kept SET used = ? WHERE path = ?", used)

    def oldest(self, count: int, before: int | None = None) -> list[tuple[str, int]]:
        """The files that were not used for the longest; with C{before}: not since then."""
        limit = (1 << 62) if before is None else before
        return self._rows.execute(
            "SELECT path, size FROM kept WHERE used < ? ORDER BY used LIMIT ?", (limit, count)
        ).fetchall()

    def unfinished(self) -> list[tuple[str, int]]:
        """Files that may be there or not, or in part."""
        return self._rows.execute("SELECT path, size FROM kept WHERE unfinished = 1").fetchall()

    def folder(self, folder: str) -> dict[str, int]:
        """The files of a folder, with their sizes."""
        return dict(
            self._rows.execute(
                "SELECT path, size FROM kept WHERE path > ? AND path < ? AND NOT unfinished",
                (folder + "/", folder + "0"),
            )
        )

    def last_used(self) -> int:
        """When the newest file was used."""
        return int(self._rows.execute("SELECT coalesce(max(used), 0) FROM kept").fetchone()[0])

    def close(self) -> None:
        """Done."""
        self._rows.close()

    def _together(self, statement: str, rows: Sequence[tuple[object, ...]]) -> None:
        if not rows:
            return
        self._rows.execute("BEGIN")
        try:
            self._rows.executemany(statement, rows)
            self._rows.execute("COMMIT")
        except BaseException:
            self._rows.execute("ROLLBACK")
            raise
