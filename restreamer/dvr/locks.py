"""Ranges of an archive that retention does not touch, kept beside the data."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterable

from restreamer.dvr.filesystem import Filesystem, make_folders, replace_file
from restreamer.dvr.seams import Span
from restreamer.errors import Reason, Refused
from restreamer.media.timebase import TICKS_PER_MS

#: The file, in the folder of the stream; C{@} is in no name of a stream.
LOCKS = "@locks"
#: Ranges of one stream.
MAX_LOCKS = 10_000
#: Bytes of the file that are read.
MAX_FILE = 1 << 20
#: What a lock may reach to, UTC milliseconds: the year 9999.
MAX_MS = 253_402_300_800_000
_VERSION = 1

#: Locked ranges, milliseconds of UTC: rising, apart from each other.
Ranges = tuple[tuple[int, int], ...]


def joined(ranges: Iterable[tuple[int, int]]) -> Ranges:
    """C{ranges} in order, those that overlap or touch put together."""
    found: list[tuple[int, int]] = []
    for start, end in sorted(ranges):
        if found and start <= found[-1][1]:
            found[-1] = (found[-1][0], max(found[-1][1], end))
        else:
            found.append((start, end))
    return tuple(found)


def locked(ranges: Ranges, start: int, end: int) -> Ranges:
    """C{ranges} and C{start} to C{end}."""
    return joined([*ranges, (start, end)])


def unlocked(ranges: Ranges, start: int, end: int) -> Ranges:
    """C{ranges} without C{start} to C{end}: one may be cut or become two."""
    left: list[tuple[int, int]] = []
    for first, last in ranges:
        if last <= start or first >= end:
            left.append((first, last))
            continue
        if first < start:
            left.append((first, start))
        if last > end:
            left.append((end, last))
    return tuple(left)


def spans_of_ranges(ranges: Ranges) -> tuple[Span, ...]:
    """C{ranges} in UTC ticks."""
    return tuple([Span(start * TICKS_PER_MS, end * TICKS_PER_MS) for start, end in ranges])


def encode_locks(ranges: Ranges) -> bytes:
    """The text of the file."""
    return json.dumps({"version": _VERSION, "locks": ranges}).encode() + b"\n"


def decode_locks(encoded: bytes) -> Ranges:
    """What a file says.

    @raise ValueError: it is damaged, or of another version.
    """
    try:
        found = json.loads(encoded)
        if found["version"] != _VERSION or len(found["locks"]) > MAX_LOCKS:
            raise ValueError("another version, or too many ranges")
        ranges = []
        for start, end in found["locks"]:
            if not (isinstance(start, int) and isinstance(end, int) and 0 <= start < end <= MAX_MS):
                raise ValueError("not a range")
            ranges.append((start, end))
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ValueError("the file of locked ranges is damaged") from error
    return joined(ranges)


class Locks:
    """The locked ranges of the streams of one volume. Everything blocks, and is called in threads.

    What cannot be read counts as locked as a whole: nothing is deleted because a file is damaged.
    @param guard: raises C{OSError} when nothing may be written now.
    """

    def __init__(self, files: Filesystem, root: str, guard: Callable[[], None] = lambda: None) -> None:
        self._files = files
        self._root = root
        self._guard = guard
        self._lock = threading.Lock()
        self._known: dict[str, Ranges] = {}

    def ranges(self, name: str) -> Ranges:
        """What is locked of stream C{name}.

        @raise OSError: it cannot be read. @raise ValueError: the file is damaged.
        """
        with self._lock:
            return self._ranges(name)

    def spans(self, name: str) -> tuple[Span, ...]:
        """The same in UTC ticks, for retention: everything when it cannot be known."""
        try:
            return spans_of_ranges(self.ranges(name))
        except (OSError, ValueError):
            return spans_of_ranges(((0, MAX_MS),))

    def forget(self) -> None:
        """Read all anew when it is asked for: the volume may be another one, or other streams are on it."""
        with self._lock:
            self._known.clear()

    def lock(self, name: str, start: int, end: int) -> Ranges:
        """Lock C{start} to C{end}, UTC milliseconds.

        @return: what is locked then. @raise Refused: BAD_NAME: too many ranges.
        @raise OSError: nothing changed. @raise ValueError: the file is damaged.
        """
        with self._lock:
            ranges = locked(self._ranges(name), start, end)
            if len(ranges) > MAX_LOCKS:
                raise Refused(Reason.BAD_NAME, f"at most {MAX_LOCKS} ranges of a stream are locked")
            return self._keep(name, ranges)

    def unlock(self, name: str, start: int, end: int) -> Ranges:
        """Unlock C{start} to C{end}; as L{lock}."""
        with self._lock:
            return self._keep(name, unlocked(self._ranges(name), start, end))

    # Inside.

    def _ranges(self, name: str) -> Ranges:
        held = self._known.get(name)
        if held is None:
            try:
                encoded = self._files.read(f"{self._root}/{name}/{LOCKS}", 0, MAX_FILE)
            except FileNotFoundError:
                held = ()
            else:
                held = decode_locks(encoded)
            self._known[name] = held
        return held

    def _keep(self, name: str, ranges: Ranges) -> Ranges:
        if ranges != self._ranges(name):
            self._guard()
            make_folders(self._files, self._root, name)
            replace_file(self._files, f"{self._root}/{name}", LOCKS, [encode_locks(ranges)])
            self._known[name] = ranges
        return ranges
