"""VOD paths: nothing outside the storage, nothing but regular files (reliability row A13)."""

from __future__ import annotations

import errno
import os
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase
from typing_extensions import override

from restreamer.sources.vod_path import (
    VodPathError,
    check_vod_path,
    open_vod_file,
    split_vod_url,
    vod_opener,
)


class PathTests(SynchronousTestCase):
    """Paths before the file system sees them."""

    def test_good(self) -> None:
        for path in ("a.mp4", "films/2026/Ein schöner Film.mp4", "a/b/c/d", "x" * 255):
            self.assertEqual(tuple(path.split("/")), check_vod_path(path))

    def test_bad(self) -> None:
        for path in (
            "",
            "/etc/passwd",
            "..",
            "../a",
            "a/../b",
            "a/./b",
            ".hidden",
            "a//b",
            "a/",
            "a\0b",
            "a\nb",
            "a\x1b[0m",
            "a\\b",
            "x" * 256,
            "é" * 128,
            "a/" * 16 + "a",
            "a" * 1025,
            "a\u202eb",
            "a\ud800b",
        ):
            self.assertRaises(VodPathError, check_vod_path, path)

    def test_url(self) -> None:
        names = ("vod", "vod/hd", "other")
        self.assertEqual(("vod", "a/b.mp4"), split_vod_url("file://vod/a/b.mp4", names))
        self.assertEqual(("vod", "b.mp4"), split_vod_url("vod/b.mp4", names))
        self.assertEqual(("vod/hd", "b.mp4"), split_vod_url("file://vod/hd/b.mp4", names))
        for url in (
            "file:///etc/passwd",
            "file://vod/",
            "file://vod",
            "file://nope/a",
            "file://vod/../a",
            "",
        ):
            self.assertRaises(VodPathError, split_vod_url, url, names)

    @settings(deadline=None, max_examples=200, derandomize=True)
    @given(st.text(alphabet="ab./\\\0%é", max_size=30))
    def test_nothing_climbs(self, path: str) -> None:
        try:
            parts = check_vod_path(path)
        except VodPathError:
            return
        joined = os.path.normpath(os.path.join("/root", *parts))
        self.assertTrue(joined.startswith("/root/") and not set(joined) & {"\0", "\\"})


class OpenTests(SynchronousTestCase):
    """Paths against a file system full of traps."""

    @override
    def setUp(self) -> None:
        self.base = Path(self.mktemp())
        self.root = self.base / "root"
        (self.root / "films").mkdir(parents=True)
        (self.root / "films" / "a.mp4").write_bytes(b"film")
        (self.base / "secret").write_bytes(b"secret")
        (self.base / "out").mkdir()
        (self.base / "out" / "b.mp4").write_bytes(b"outside")

    def read(self, path: str, *storages: Path) -> bytes:
        fd = open_vod_file([str(each) for each in storages or (self.root,)], path)
        try:
            self.assertFalse(os.get_inheritable(fd))
            return os.read(fd, 100)
        finally:
            os.close(fd)

    def refused(self, path: str, text: str) -> None:
        before = os.listdir("/proc/self/fd") if os.path.isdir("/proc/self/fd") else []
        error = self.assertRaises(VodPathError, open_vod_file, [str(self.root)], path)
        self.assertIn(text, str(error))
        if before:
            self.assertEqual(len(before), len(os.listdir("/proc/self/fd")))

    def test_opens(self) -> None:
        self.assertEqual(b"film", self.read("films/a.mp4"))

    def test_next_storage(self) -> None:
        self.assertEqual(b"outside", self.read("b.mp4", self.base / "missing", self.root, self.base / "out"))

    def test_storage_may_be_a_link(self) -> None:
        (self.base / "link").symlink_to(self.root.absolute())
        self.assertEqual(b"film", self.read("films/a.mp4", self.base / "link"))

    def test_links_are_not_followed(self) -> None:
        (self.root / "link.mp4").symlink_to((self.base / "secret").absolute())
        (self.root / "folder").symlink_to((self.base / "out").absolute())
        (self.root / "inside.mp4").symlink_to("films/a.mp4")
        (self.root / "loop").symlink_to("loop")
        for path in ("link.mp4", "folder/b.mp4", "inside.mp4", "loop", "loop/a"):
            self.refused(path, "links are not followed")

    def test_regular_files_only(self) -> None:
        os.mkfifo(self.root / "fifo.mp4")
        self.refused("fifo.mp4", "not a regular file")
        self.refused("films", "not a regular file")

    def test_device(self) -> None:
        error = self.assertRaises(VodPathError, open_vod_file, ["/dev"], "null")
        self.assertIn("not a regular file", str(error))

    def test_missing(self) -> None:
        self.refused("nope.mp4", "no storage has it")
        self.refused("films/a.mp4/b", "no storage has it")
        self.assertRaises(VodPathError, open_vod_file, [], "a.mp4")

    def test_unreadable(self) -> None:
        def denied(*args: object, **kwargs: object) -> int:
            raise PermissionError(errno.EACCES, "Permission denied")

        self.patch(os, "open", denied)
        self.refused("films/a.mp4", "Permission denied")

    def test_opener(self) -> None:
        opener = vod_opener("file://vod/films/a.mp4", {"vod": [str(self.root)]})
        for _ in range(2):
            fd = opener()
            self.assertEqual(b"film", os.read(fd, 100))
            os.close(fd)
        self.assertRaises(VodPathError, vod_opener, "file://dov/films/a.mp4", {"vod": [str(self.root)]})
