"""Bodies that many ask for, in files that exist in memory only: the kernel sends those without copying them.

A segment of 250 KB costs a third less so. A file is made when a body is asked for a second time, and is gone
some seconds after the last.

The figures are those of the loopback interface (bench/scenarios/segments.py): below L{SHARE_FROM} a second
system call costs more than the copy, and beyond L{SHARE_TO}, where the connection does not take the body in
one go, pages that many connections share cost more than copies.
"""

from __future__ import annotations

import os
from typing import Final

from restreamer.seams import Clock, Timer
from restreamer.web.memory_file import MemoryFile

#: Bytes of bodies that are sent so.
SHARE_FROM: Final = 48 * 1024
SHARE_TO: Final = 512 * 1024
#: Bytes of all files of one listener, and how many there are.
MAX_BYTES: Final = 128 * 1024 * 1024
MAX_FILES: Final = 256
#: Bodies that were asked for once are remembered: so many.
_MAX_SEEN: Final = 4096
#: Seconds after which a file goes that nobody asked for, and between looks for those.
UNUSED: Final = 10.0
_LOOK: Final = 5.0


class _Kept:
    """A file. @ivar used: when it was asked for last."""

    __slots__ = ("file", "used")

    def __init__(self, file: MemoryFile) -> None:
        self.file = file
        self.used = 0.0


class SharedFiles:
    """The files of one listener."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._files: dict[int, _Kept] = {}
        # By identity, without holding them: another body in the same place gets its file a request early.
        self._seen: set[int] = set()
        self._size = 0
        self._timer: Timer | None = None
        self._possible = hasattr(os, "memfd_create")

    @property
    def size(self) -> int:
        """Bytes in files."""
        return self._size

    def of(self, body: bytes, now: float) -> MemoryFile | None:
        """The file of C{body}; None: it has none, since it is asked for the first time, its size is not right
        or there is no room for more.

        @param now: the clock's seconds.
        """
        size = len(body)
        if size < SHARE_FROM or size > SHARE_TO:
            return None
        key = id(body)
        found = self._files.get(key)
        if found is None:
            if key not in self._seen:
                if len(self._seen) >= _MAX_SEEN:
                    self._seen.clear()
                self._seen.add(key)
                return None
            found = self._make(body)
            if found is None:
                return None
        found.used = now
        return found.file

    def _make(self, body: bytes) -> _Kept | None:
        if not self._possible or len(self._files) >= MAX_FILES or self._size + len(body) > MAX_BYTES:
            return None
        try:
            made = _Kept(MemoryFile(body))
        except OSError:
            # No memory, or not allowed here: it goes without.
            self._possible = False
            return None
        self._files[id(body)] = made
        self._size += len(body)
        if self._timer is None:
            self._timer = self._clock.callLater(_LOOK, self._look)
        return made

    def _look(self) -> None:
        self._timer = self._clock.callLater(_LOOK, self._look)
        then = self._clock.seconds() - UNUSED
        for key, kept in list(self._files.items()):
            if kept.used <= then:
                del self._files[key]
                self._size -= len(kept.file.body)
        if not self._files:
            self._timer.cancel()
            self._timer = None

    def close(self) -> None:
        """Let go of all."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._files.clear()
        self._seen.clear()
        self._size = 0
        self._possible = False
