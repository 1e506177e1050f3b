"""The cache of segments: exact about its bytes whatever happens, and in nobody's way."""

from __future__ import annotations

import errno
import os
import random
import shutil
import sqlite3
from collections.abc import Callable, Sequence
from typing import Any

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from typing_extensions import override

from restreamer.dvr.filesystem import OpenFile, RealFilesystem, Space
from restreamer.dvr.segment_cache import MAX_READS, PATIENCE, QUEUED_PIECES, REST, DiskCache
from restreamer.dvr.segment_cache_folder import INDEX, CacheFolder, path_of
from restreamer.m4f.segment import Segment
from test.dvr.memory_archive import FIRST, row, segment


class Killed(BaseException):
    """The process is gone."""


class Disk(RealFilesystem):
    """A real folder that fails.

    @ivar left: operations until the process is killed; None: it is not. @ivar code: they fail with it.
    """

    def __init__(self) -> None:
        self.left: int | None = None
        self.code = 0
        self.free = 1 << 40

    def step(self) -> None:
        """An operation that changes something."""
        if self.left is not None:
            self.left -= 1
            if self.left < 0:
                raise Killed
        if self.code:
            raise OSError(self.code, errno.errorcode[self.code])

    @override
    def open(self, path: str) -> OpenFile:
        self.step()
        return _File(self, super().open(path))

    @override
    def remove(self, path: str) -> None:
        self.step()
        super().remove(path)
        self.step()

    @override
    def make_folder(self, path: str) -> None:
        self.step()
        super().make_folder(path)

    @override
    def space(self, path: str) -> Space:
        return Space(1 << 40, self.free)


class _File:
    def __init__(self, disk: Disk, file: OpenFile) -> None:
        self.disk = disk
        self.file = file

    def write(self, offset: int, pieces: Sequence[bytes]) -> None:
        data = b"".join(pieces)
        self.file.write(offset, [data[: len(data) // 2]])
        self.disk.step()
        self.file.write(offset, [data])
        self.disk.step()

    def sync(self) -> None:
        self.disk.step()

    def truncate(self, size: int) -> None:
        self.disk.step()
        self.file.truncate(size)

    def close(self) -> None:
        self.file.close()


def seg(number: int, size: int = 500) -> Segment:
    """A segment of about C{2 * size} bytes."""
    return segment(FIRST + number, bytes(size))


SIZE = len(seg(0).encoded) * 1


class FolderCase(SynchronousTestCase):
    @override
    def setUp(self) -> None:
        self.root = self.mktemp()
        self.root = os.path.abspath(self.root)
        self.disk = Disk()
        self.now = 1_700_000_000.0
        self.opened: list[CacheFolder] = []

    @override
    def tearDown(self) -> None:
        self.disk.left = None
        self.disk.code = 0
        for folder in self.opened:
            folder.close()

    def folder(self, limit: int | None = None, age: int | None = None) -> CacheFolder:
        folder = CacheFolder(self.root, lambda: self.now, age, limit, self.disk)
        self.opened.append(folder)
        return folder

    def crash(self, folder: CacheFolder) -> None:
        """The process is gone: what it had not told the index is lost."""
        self.disk.left = None
        self.opened.remove(folder)
        assert folder._index is not None
        folder._index.close()
        if folder._release is not None:
            folder._release()

    def put(self, folder: CacheFolder, number: int, name: str = "cam", size: int = 500) -> bool:
        self.now += 1
        made = seg(number, size)
        return folder.write(name, row(made), made.encoded)

    def has(self, folder: CacheFolder, number: int, name: str = "cam") -> bool:
        self.now += 1
        made = seg(number)
        found = folder.read(name, row(made))
        self.assertIn(found, (None, made))
        return found is not None

    def real(self) -> tuple[int, int]:
        """Bytes and number of the files that are there."""
        sizes = [
            os.path.getsize(os.path.join(where, name))
            for where, _, names in os.walk(self.root)
            for name in names
            if not name.startswith((".", "foreign"))
        ]
        return sum(sizes), len(sizes)

    def exact(self, folder: CacheFolder) -> None:
        self.assertEqual((folder.size, folder.count), self.real())


class InTheWay(FolderCase):
    """Things that are not ours, an index that is not true, a clock that was wrong."""

    def keep(self, folder: CacheFolder, *numbers: int) -> list[bool]:
        return [folder.write("cam", row(seg(each)), seg(each).encoded) for each in numbers]

    def path(self, number: int) -> str:
        return f"{self.root}/{path_of('cam', row(seg(number)))}"

    def round(self, folder: CacheFolder) -> None:
        """Tend all of it."""
        for _ in range(256):
            folder.tend()

    def test_folders_and_files(self) -> None:
        """What lies in the place of a file or a folder costs that file, and nothing else."""
        folder = self.folder()
        self.assertEqual(self.keep(folder, 0, 1), [True, True])
        os.remove(self.path(0))
        os.mkdir(self.path(0))
        self.assertIsNone(folder.read("cam", row(seg(0))))
        self.assertEqual(self.keep(folder, 0), [False])
        shutil.rmtree(os.path.dirname(self.path(2)), ignore_errors=True)
        with open(os.path.dirname(self.path(2)), "w"):
            pass
        self.assertEqual(self.keep(folder, 2, 3), [False, True])
        self.round(folder)
        self.assertEqual((folder.count, folder.size), (2, 2 * SIZE))
        self.assertIsNotNone(folder.read("cam", row(seg(1))))

    def test_false_index(self) -> None:
        """No table, no sense: it is made anew of what is there, or put right."""
        folder = self.folder()
        self.keep(folder, 0, 1, 2)
        folder.close()
        for statement in ("DROP TABLE kept", "UPDATE kept SET size = -5", "UPDATE kept SET unfinished = 1"):
            rows = sqlite3.connect(f"{self.root}/.index", isolation_level=None)
            rows.execute(statement)
            rows.close()
            folder = self.folder()
            self.round(folder)
            self.assertEqual(folder.size, folder.count * SIZE, statement)
            self.keep(folder, 0, 1, 2)
            folder.close()
        os.rename(f"{self.root}/.index", f"{self.root}/old")
        os.mkdir(f"{self.root}/.index")
        with self.assertRaises(OSError) as refused:
            self.keep(self.folder(), 5)
        self.assertIn("a folder in the place", str(refused.exception))
        os.rmdir(f"{self.root}/.index")
        self.assertEqual(self.keep(self.opened[-1], 5), [False])
        self.round(self.opened[-1])
        self.assertEqual(self.keep(self.opened[-1], 5), [True])

    def test_a_clock_that_was_ahead(self) -> None:
        """Files that were used in the future grow old from now on."""
        self.now += 10 * 86_400
        folder = self.folder(age=60)
        self.keep(folder, 0, 1)
        folder.close()
        self.now -= 10 * 86_400
        folder = self.folder(age=60)
        self.round(folder)
        self.assertEqual(folder.count, 2)
        self.now += 120
        self.round(folder)
        self.assertEqual(folder.count, 0)

    def test_another_process(self) -> None:
        """It is said what keeps the cache from being used."""
        self.keep(self.folder(), 0)
        with self.assertRaises(OSError) as refused:
            self.keep(self.folder(), 1)
        self.assertIn("another process", str(refused.exception))


class FolderTests(FolderCase):
    def test_kept(self) -> None:
        """Each stream has its own; they are there after a new start."""
        folder = self.folder()
        for number in range(20):
            self.assertTrue(self.put(folder, number))
            self.assertTrue(self.put(folder, number))
        self.assertTrue(self.has(folder, 3))
        self.assertFalse(self.has(folder, 3, "other"))
        self.assertFalse(self.has(folder, 30))
        self.assertEqual(folder.size, 20 * SIZE)
        self.exact(folder)
        folder.close()
        again = self.folder()
        self.assertTrue(self.has(again, 19))
        self.exact(again)

    def test_the_least_recently_used_go(self) -> None:
        """Also when the uses were before a new start."""
        folder = self.folder(10 * SIZE)
        for number in range(10):
            self.put(folder, number)
        self.assertTrue(self.has(folder, 0))
        self.put(folder, 10)
        folder.close()
        folder = self.folder(10 * SIZE)
        self.put(folder, 11)
        self.assertEqual([n for n in range(12) if self.has(folder, n)], [0, *range(3, 12)])
        self.assertEqual((folder.size, folder.counters.evictions), (10 * SIZE, 1))
        self.exact(folder)
        self.assertFalse(self.put(folder, 50, size=50_000), "larger than the cache")
        self.assertEqual(folder.count, 10)
        folder.limit = 4 * SIZE
        folder.tend()
        self.assertEqual(folder.count, 4)
        self.exact(folder)

    def test_age(self) -> None:
        folder = self.folder(age=3600)
        for number in range(100):
            self.put(folder, number)
        self.now += 3500
        self.assertTrue(self.has(folder, 7))
        self.now += 100
        while folder.tend():
            pass
        self.assertEqual([n for n in range(100) if self.has(folder, n)], [7])
        self.exact(folder)

    def test_damaged_files(self) -> None:
        """Nothing false is given, whichever byte it is."""
        rng = random.Random(5)
        folder = self.folder()
        for number in range(40):
            self.put(folder, number)
            path = os.path.join(self.root, path_of("cam", row(seg(number))))
            with open(path, "r+b") as file:
                if number % 4 == 3:
                    file.truncate(rng.randrange(SIZE))
                else:
                    file.seek(rng.randrange(SIZE))
                    byte = file.read(1)
                    file.seek(-1, 1)
                    file.write(bytes((byte[0] ^ (1 << rng.randrange(8)),)))
            self.assertFalse(self.has(folder, number))
        self.assertEqual((folder.counters.damaged, folder.size, self.real()), (40, 0, (0, 0)))

    def test_others_delete(self) -> None:
        """Files, folders, all of it: noticed when they are asked for, or when the folder is looked at."""
        folder = self.folder()
        for number in range(100):
            self.put(folder, number)
        for number in range(50):
            os.unlink(os.path.join(self.root, path_of("cam", row(seg(number)))))
        self.assertFalse(self.has(folder, 10))
        for _ in range(256):
            folder.tend()
        self.assertEqual(folder.count, 50)
        self.exact(folder)
        for where, folders, names in os.walk(self.root, topdown=False):
            for name in names:
                os.unlink(os.path.join(where, name))
            for name in folders:
                os.rmdir(os.path.join(where, name))
        self.assertFalse(self.has(folder, 60))
        self.assertEqual(folder.count, 0)
        self.assertTrue(self.put(folder, 60))
        self.assertTrue(self.has(folder, 60))
        self.exact(folder)

    def test_the_index_is_lost(self) -> None:
        """Removed or damaged: what is there is taken in, and until then nothing is added."""
        for damage in (False, True):
            folder = self.folder()
            self.put(folder, 1)
            self.put(folder, 2)
            folder.close()
            path = os.path.join(self.root, INDEX)
            if damage:
                with open(path, "r+b") as file:
                    file.write(b"garbage" * 20)
            else:
                os.unlink(path)
            with open(os.path.join(self.root, "foreign"), "w"):
                pass
            folder = self.folder()
            if damage:
                self.assertRaises(OSError, self.put, folder, 3)
            self.assertFalse(self.put(folder, 3))
            while folder.tend():
                pass
            self.assertTrue(self.has(folder, 1) and self.has(folder, 2))
            self.assertTrue(self.put(folder, 3))
            self.exact(folder)
            folder.close()

    def test_killed_anywhere(self) -> None:
        """Whatever was being written or removed: after a new start every file is known, and each is whole."""
        self.disk.left = None
        for steps in range(0, 60, 2):
            folder = self.folder(6 * SIZE)
            self.has(folder, 0)
            self.disk.left = steps
            number = 0
            try:
                for number in range(steps * 10, steps * 10 + 10):
                    self.put(folder, number)
            except Killed:
                pass
            self.crash(folder)
            folder = self.folder(6 * SIZE)
            self.has(folder, number)
            self.exact(folder)
            self.assertLessEqual(folder.size, 6 * SIZE)
            folder.close()

    def test_a_full_disk(self) -> None:
        """It makes room for others, and keeps nothing while there is none."""
        folder = self.folder()
        for number in range(100):
            self.put(folder, number)
        self.disk.code = errno.ENOSPC
        self.disk.remove = RealFilesystem().remove  # type: ignore[method-assign]
        self.assertRaises(OSError, self.put, folder, 200)
        self.assertEqual(folder.count, 36)
        self.disk.code = 0
        self.exact(folder)
        self.disk.free = 0
        self.assertFalse(self.put(folder, 201))
        self.assertEqual(folder.count, 0)
        self.exact(folder)

    def test_one_process(self) -> None:
        folder = self.folder()
        self.put(folder, 1)
        self.assertRaises(OSError, self.put, self.folder(), 2)
        folder.close()
        self.assertRaises(OSError, self.put, folder, 3)

    def test_a_million(self) -> None:
        """An index of very many files opens at once."""
        folder = self.folder()
        self.put(folder, 1)
        folder.close()
        rows = sqlite3.connect(os.path.join(self.root, INDEX))
        rows.executemany(
            "INSERT INTO kept VALUES (?, 1000, ?, 0)",
            ((f"{n & 255:02x}/{n:032x}-{n:x}-{n:08x}", n) for n in range(20_000)),
        )
        rows.commit()
        rows.close()
        folder = self.folder()
        self.assertTrue(self.has(folder, 1))
        self.assertEqual(folder.count, 20_001)


class Threads:
    """Runs at once, or when a test says so.

    @ivar hang: nothing comes back.
    """

    def __init__(self) -> None:
        self.hang = False
        self.line: list[tuple[Deferred[Any], Callable[..., Any], tuple[Any, ...]]] = []

    def call(self, call: Callable[..., Any], *args: Any) -> Deferred[Any]:
        if not self.hang:
            return maybeDeferred(call, *args)
        made: Deferred[Any] = Deferred()
        self.line.append((made, call, args))
        return made

    def go(self) -> None:
        self.hang = False
        line, self.line = self.line, []
        for made, call, args in line:
            _ = maybeDeferred(call, *args).chainDeferred(made)


class CacheTests(SynchronousTestCase):
    @override
    def setUp(self) -> None:
        self.clock = Clock()
        self.threads = Threads()
        self.disk = Disk()
        self.cache = DiskCache(
            os.path.abspath(self.mktemp()),
            self.threads.call,
            self.threads.call,
            self.clock,
            utc=lambda: 1e9 + self.clock.seconds(),
            files=self.disk,
        )
        self.addCleanup(self.end)

    def end(self) -> None:
        self.disk.code = 0
        self.threads.go()
        _ = self.cache.close()
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def get(self, number: int, misses: int = 0) -> Deferred[Segment | None]:
        return Deferred.fromCoroutine(self.cache.for_stream(misses).get("cam", row(seg(number))))

    def put(self, number: int, misses: int = 0) -> None:
        self.cache.for_stream(misses).put("cam", row(seg(number)), seg(number))

    def test_counters(self) -> None:
        self.cache.start()
        self.assertIsNone(self.successResultOf(self.get(1)))
        self.put(1)
        self.assertEqual(self.successResultOf(self.get(1)), seg(1))
        facts = self.cache.facts
        self.assertEqual((facts.hits, facts.misses, facts.count, facts.size), (1, 1, 1, SIZE))
        self.clock.advance(100)
        self.cache.configure(10, None)
        self.clock.pump([10.0] * 10)
        self.assertEqual((self.cache.facts.count, self.cache.facts.evictions), (0, 1))
        self.assertEqual(self.cache.facts.error, "")

    def test_misses(self) -> None:
        """Kept from the third request on."""
        for _ in range(3):
            self.assertIsNone(self.successResultOf(self.get(1, 3)))
            self.put(1, 3)
        self.assertIsNotNone(self.successResultOf(self.get(1, 3)))

    def test_a_disk_that_hangs(self) -> None:
        """One read waits a moment, the others do not, and nothing piles up; then it goes on by itself."""
        self.put(1)
        self.threads.hang = True
        first = self.get(1)
        self.assertNoResult(first)
        self.clock.advance(PATIENCE)
        self.assertIsNone(self.successResultOf(first))
        for number in range(300):
            self.assertIsNone(self.successResultOf(self.get(1)))
            self.put(number)
        self.assertEqual(len(self.threads.line), 1)
        self.assertEqual(self.cache.facts.error, "the disk does not answer")
        self.threads.go()
        self.assertEqual(self.successResultOf(self.get(1)), seg(1))
        self.assertEqual((self.cache.facts.error, self.cache.facts.dropped), ("", 300))

    def test_a_slow_disk(self) -> None:
        """What it does not take in time is dropped; no more than so many reads wait."""
        self.threads.hang = True
        for number in range(QUEUED_PIECES + 10):
            self.put(number)
        self.assertEqual((len(self.threads.line), self.cache.facts.dropped), (QUEUED_PIECES, 10))
        self.threads.line.clear()
        waiting = [self.get(number) for number in range(MAX_READS)]
        self.assertIsNone(self.successResultOf(self.get(500)))
        self.clock.advance(10)
        for each in waiting:
            self.assertIsNone(self.successResultOf(each))

    def test_a_disk_that_fails(self) -> None:
        """It is left alone for a while."""
        self.put(1)
        self.disk.code = errno.EIO
        self.put(2)
        self.assertEqual(self.cache.facts.errors, 1)
        self.assertNotEqual(self.cache.facts.error, "")
        self.assertIsNone(self.successResultOf(self.get(1)))
        self.disk.code = 0
        self.clock.advance(REST)
        self.assertIsNotNone(self.successResultOf(self.get(1)))
        self.assertEqual(self.cache.facts.error, "")
