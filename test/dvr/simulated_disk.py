"""A disk in memory that fails as disks do: it fills up, errs, hangs, and loses what was not synced."""

from __future__ import annotations

import errno
import random
import threading
from collections.abc import Callable, Sequence
from typing import Any

from attrs import define, field

from restreamer.dvr.filesystem import OpenFile, Space

_Op = tuple[Any, ...]
_BLOCK = 512


@define(eq=False)
class Inode:
    """A file, whatever its names."""

    data: bytearray = field(factory=bytearray)


@define
class Fault:
    """Operations C{kind} on paths that hold C{part} fail C{times} times."""

    kind: str
    part: str = ""
    code: int = errno.EIO
    times: int = 1 << 30


@define(eq=False)
class SimulatedFile:
    """An open file."""

    disk: SimulatedDisk
    path: str
    inode: Inode

    def write(self, offset: int, pieces: Sequence[bytes]) -> None:
        """See the seam; a full disk takes a part of it."""
        data = b"".join(pieces)
        self.disk.before("write", self.path)
        room = self.disk.capacity - self.disk.used
        more = max(0, offset + len(data) - len(self.inode.data))
        taken = data if more <= room else data[: max(0, len(data) - more + room)]
        self.disk.log.append(("write", self.inode, offset, taken))
        apply(self.inode.data, offset, taken)
        if len(taken) < len(data):
            raise OSError(errno.ENOSPC, "No space left on device", self.path)

    def sync(self) -> None:
        """See the seam."""
        self.disk.before("sync", self.path)
        self.disk.syncs += 1
        self.disk.log.append(("sync", self.inode))

    def truncate(self, size: int) -> None:
        """See the seam."""
        self.disk.before("truncate", self.path)
        self.disk.log.append(("truncate", self.inode, size))
        cut(self.inode.data, size)

    def close(self) -> None:
        """See the seam."""
        self.disk.open_files -= 1


def apply(data: bytearray, offset: int, written: bytes) -> None:
    """Write into a file."""
    if offset > len(data):
        data.extend(bytes(offset - len(data)))
    data[offset : offset + len(written)] = written


def cut(data: bytearray, size: int) -> None:
    """Truncate a file."""
    if size <= len(data):
        del data[size:]
    else:
        data.extend(bytes(size - len(data)))


@define(eq=False)
class SimulatedDisk:
    """The disk. C{/} is there.

    @ivar log: every operation that changes it, and marks. @ivar faults: what fails. @ivar gate: everything
        waits for it, once it is there. @ivar slow: reads of paths that hold C{slow_part} wait for it; then
        C{reached} is set. @ivar open_files: that were not closed.
    """

    capacity: int = 1 << 40
    folders: dict[str, dict[str, Inode | None]] = field(factory=lambda: {"": {}})
    log: list[_Op] = field(factory=list)
    faults: list[Fault] = field(factory=list)
    gate: threading.Event | None = None
    locks: set[str] = field(factory=set)
    open_files: int = 0
    syncs: int = 0
    reads: int = 0
    slow: threading.Event | None = None
    slow_part: str = ""
    reached: threading.Event = field(factory=threading.Event)

    def before(self, kind: str, path: str) -> None:
        """An operation begins."""
        if self.slow is not None and kind == "read" and self.slow_part in path:
            self.reached.set()
            self.slow.wait()
        if self.gate is not None:
            self.gate.wait()
        for fault in self.faults:
            if fault.kind in (kind, "any") and fault.part in path and fault.times:
                fault.times -= 1
                raise OSError(fault.code, errno.errorcode[fault.code], path)

    def mark(self, *what: Any) -> None:
        """Note something in the log."""
        self.log.append(("mark", *what))

    @property
    def used(self) -> int:
        """Bytes of files."""
        inodes = {id(each): each for names in self.folders.values() for each in names.values() if each}
        return sum(len(each.data) for each in inodes.values())

    def names(self, folder: str) -> list[str]:
        """See the seam."""
        self.before("names", folder)
        return list(self._folder(folder))

    def files(self, folder: str) -> list[str]:
        """See the seam."""
        self.before("names", folder)
        return [name for name, inode in self._folder(folder).items() if inode is not None]

    def is_link(self, path: str) -> bool:
        """See the seam: it has none."""
        return False

    def make_folder(self, path: str) -> None:
        """See the seam."""
        self.before("make_folder", path)
        above, name = _split(path)
        names = self._folder(above)
        if name not in names:
            names[name] = None
            self.folders[path.rstrip("/")] = {}
            self.log.append(("make_folder", path))

    def remove_folder(self, path: str) -> None:
        """See the seam."""
        self.before("remove_folder", path)
        if self._folder(path):
            raise OSError(errno.ENOTEMPTY, "Directory not empty", path)
        above, name = _split(path)
        del self._folder(above)[name]
        del self.folders[path]
        self.log.append(("remove", path))

    def open(self, path: str) -> OpenFile:
        """See the seam."""
        self.before("open", path)
        above, name = _split(path)
        names = self._folder(above)
        inode = names.get(name)
        if inode is None:
            inode = names[name] = Inode()
            self.log.append(("create", path, inode))
        self.open_files += 1
        return SimulatedFile(self, path, inode)

    def size(self, path: str) -> int:
        """See the seam."""
        self.before("size", path)
        return len(self._inode(path).data)

    def read(self, path: str, offset: int = 0, size: int | None = None) -> bytes:
        """See the seam."""
        self.before("read", path)
        self.reads += 1
        data = self._inode(path).data
        return bytes(data[offset:] if size is None else data[offset : offset + size])

    def rename(self, old: str, new: str) -> None:
        """See the seam."""
        self.before("rename", new)
        inode = self._inode(old)
        above, name = _split(new)
        self._folder(above)[name] = inode
        above, name = _split(old)
        del self._folder(above)[name]
        self.log.append(("rename", old, new, inode))

    def remove(self, path: str) -> None:
        """See the seam."""
        self.before("remove", path)
        self._inode(path)
        above, name = _split(path)
        del self._folder(above)[name]
        self.log.append(("remove", path))

    def sync_folder(self, path: str) -> None:
        """See the seam."""
        self.before("sync_folder", path)
        self._folder(path)
        self.log.append(("sync_folder", path))

    def space(self, path: str) -> Space:
        """See the seam."""
        self.before("space", path)
        return Space(self.capacity, self.capacity - self.used)

    def lock(self, path: str) -> Callable[[], None]:
        """See the seam."""
        self.open(path).close()
        if path in self.locks:
            raise BlockingIOError(errno.EAGAIN, "locked", path)
        self.locks.add(path)
        return lambda: self.locks.discard(path)

    def data(self, path: str) -> bytearray:
        """The bytes of a file, to be damaged."""
        return self._inode(path).data

    def paths(self) -> list[str]:
        """Every file."""
        return sorted(
            f"{folder}/{name}" for folder, names in self.folders.items() for name in names if names[name]
        )

    def _folder(self, path: str) -> dict[str, Inode | None]:
        path = path.rstrip("/")
        if path not in self.folders:
            above, name = _split(path)
            if self.folders.get(above, {}).get(name) is not None:
                raise NotADirectoryError(errno.ENOTDIR, "Not a directory", path)
            raise FileNotFoundError(errno.ENOENT, "No such file or directory", path)
        return self.folders[path]

    def _inode(self, path: str) -> Inode:
        above, name = _split(path)
        inode = self._folder(above).get(name)
        if inode is None:
            raise FileNotFoundError(errno.ENOENT, "No such file or directory", path)
        return inode


def _split(path: str) -> tuple[str, str]:
    above, _, name = path.rpartition("/")
    return above, name


@define(eq=False)
class Platter:
    """What of a log of operations is on the disk for certain, and what is on its way.

    @ivar names: every path, with its file; None: a folder.
    """

    names: dict[str, Inode | None] = field(factory=dict)
    _kept: dict[Inode, bytearray] = field(factory=dict)
    _data: dict[Inode, list[_Op]] = field(factory=dict)
    _entries: dict[str, list[_Op]] = field(factory=dict)

    def take(self, op: _Op) -> None:
        """The next operation."""
        kind = op[0]
        if kind in ("write", "truncate"):
            self._data.setdefault(op[1], []).append(op)
        elif kind == "sync":
            kept = self._kept.setdefault(op[1], bytearray())
            for each in self._data.pop(op[1], []):
                _perform(kept, each)
        elif kind == "sync_folder":
            for each in self._entries.pop(op[1].rstrip("/"), []):
                _enter(self.names, each)
        elif kind != "mark":
            self._entries.setdefault(_split(op[1])[0], []).append(op)

    def cut(self, chance: random.Random) -> SimulatedDisk:
        """The disk after a power cut now: of what was not synced anything may be there, or not."""
        names = dict(self.names)
        for ops in self._entries.values():
            for op in _some(ops, chance):
                _enter(names, op)
        disk = SimulatedDisk()
        made: dict[Inode, Inode] = {}
        for path in sorted(names):
            above, name = _split(path)
            inode = names[path]
            if above not in disk.folders:
                continue
            if inode is None:
                disk.folders[above][name] = None
                disk.folders[path] = {}
            else:
                if inode not in made:
                    made[inode] = Inode(self._survivor(inode, chance))
                disk.folders[above][name] = made[inode]
        return disk

    def _survivor(self, inode: Inode, chance: random.Random) -> bytearray:
        data = bytearray(self._kept.get(inode, b""))
        for op in _some(self._data.get(inode, []), chance):
            if op[0] == "truncate":
                cut(data, op[2])
                continue
            _, _, offset, written = op
            way = chance.randrange(4)
            if way == 0:
                apply(data, offset, written)
            elif way == 1:
                apply(data, offset, written[: chance.randrange(len(written) + 1)])
            elif way == 2:
                apply(data, offset, bytes(len(written)))
            else:
                blocks = bytearray(len(written))
                for at in range(0, len(written), _BLOCK):
                    if chance.random() < 0.7:
                        blocks[at : at + _BLOCK] = written[at : at + _BLOCK]
                apply(data, offset, bytes(blocks))
        return data


def _some(ops: list[_Op], chance: random.Random) -> list[_Op]:
    """All of them, none, those up to one of them, or any."""
    way = chance.randrange(4)
    if way == 0:
        return ops
    if way == 1:
        return []
    if way == 2:
        return ops[: chance.randrange(len(ops) + 1)]
    return [op for op in ops if chance.random() < 0.6]


def _perform(data: bytearray, op: _Op) -> None:
    if op[0] == "write":
        apply(data, op[2], op[3])
    else:
        cut(data, op[2])


def _enter(names: dict[str, Inode | None], op: _Op) -> None:
    kind, path = op[0], op[1]
    if kind == "make_folder":
        names[path] = None
    elif kind == "create":
        names[path] = op[2]
    elif kind == "rename":
        names.pop(path, None)
        names[op[2]] = op[3]
    else:
        names.pop(path, None)
