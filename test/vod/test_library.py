"""The files of a node: opened once, read on request, never outside the folders (reliability row A13)."""

from __future__ import annotations

import os
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from typing_extensions import override

from restreamer.errors import Reason, Refused
from restreamer.vod import library as library_module
from restreamer.vod.seams import location_of
from test.vod.fakes import Threads, film, library

T = TypeVar("T")


class LocationTests(SynchronousTestCase):
    def test_the_longest_that_fits(self) -> None:
        known = {"vod", "vod/hd", "a"}
        for name, found in (
            ("vod/x.mp4", ("vod", "x.mp4")),
            ("vod/hd/x.mp4", ("vod/hd", "x.mp4")),
            ("vod/hd", ("vod", "hd")),
            ("vod/sd/a/b.mp4", ("vod", "sd/a/b.mp4")),
            ("vod", None),
            ("vod/", None),
            ("vodka/x.mp4", None),
            ("", None),
            ("/vod/x", None),
            ("x/a/y", None),
        ):
            self.assertEqual(location_of(name, known), found, name)


class LibraryTests(SynchronousTestCase):
    @override
    def setUp(self) -> None:
        self.folder = Path(self.mktemp())
        self.folder.mkdir()
        self.clock = Clock()
        self.threads = Threads()
        self.library = library(self.folder.absolute(), self.clock, self.threads)
        (self.folder / "a.mp4").write_bytes(film())

    def got(self, work: Coroutine[Any, Any, T]) -> T:
        return self.successResultOf(Deferred.fromCoroutine(work))

    def refused(self, work: Coroutine[Any, Any, Any], reason: Reason) -> Refused:
        error: Refused = self.failureResultOf(Deferred.fromCoroutine(work), Refused).value
        self.assertIs(error.reason, reason, error)
        return error

    def test_opened_once(self) -> None:
        index = self.got(self.library.index("films/a.mp4"))
        self.assertEqual(len(index), 4)
        for number in (3, 0, 3, 0):
            segment = self.got(self.library.segment("films/a.mp4", index.version, number))
            self.assertEqual(segment.number, number)
        self.assertIs(self.got(self.library.index("films/a.mp4")), index)
        self.assertEqual(self.threads.calls, ["read_plan", "read_segment", "read_segment"])

    def test_asked_by_many_at_once(self) -> None:
        self.threads.hold = True
        asked = [Deferred.fromCoroutine(self.library.index("films/a.mp4")) for _ in range(20)]
        self.threads.run()
        (index, *_) = [self.successResultOf(each) for each in asked]
        again = [
            Deferred.fromCoroutine(self.library.segment("films/a.mp4", index.version, 1)) for _ in range(20)
        ]
        self.threads.run()
        self.assertEqual(len({id(self.successResultOf(each)) for each in again}), 1)
        self.assertEqual(self.threads.calls, ["read_plan", "read_segment"])

    def test_looked_at_again(self) -> None:
        index = self.got(self.library.index("films/a.mp4"))
        self.clock.advance(5)
        self.assertIs(self.got(self.library.index("films/a.mp4")), index)
        self.assertEqual(self.threads.calls, ["read_plan", "read_plan"])
        (self.folder / "b.mp4").write_bytes(film(6))
        (self.folder / "b.mp4").rename(self.folder / "a.mp4")
        self.clock.advance(5)
        fresh = self.got(self.library.index("films/a.mp4"))
        self.assertEqual((len(fresh), fresh.version == index.version), (6, False))
        self.refused(self.library.segment("films/a.mp4", index.version, 0), Reason.NOT_FOUND)

    def test_replaced_in_between(self) -> None:
        """The index is a moment old: the segment is not made of another file's bytes."""
        index = self.got(self.library.index("films/a.mp4"))
        (self.folder / "b.mp4").write_bytes(film(6))
        (self.folder / "b.mp4").rename(self.folder / "a.mp4")
        self.refused(self.library.segment("films/a.mp4", index.version, 0), Reason.NOT_FOUND)
        self.assertEqual(len(self.got(self.library.index("films/a.mp4"))), 6)

    def test_no_such_segment(self) -> None:
        version = self.got(self.library.index("films/a.mp4")).version
        for wrong, number in ((version, 4), (version, -1), (version + 1, 0), (0, 0)):
            self.refused(self.library.segment("films/a.mp4", wrong, number), Reason.NOT_FOUND)
        self.assertEqual(self.threads.calls, ["read_plan"])

    def test_outside(self) -> None:
        """Nothing but regular files inside the folder is ever opened."""
        secret = self.folder.parent / "secret.mp4"
        secret.write_bytes(film())
        (self.folder / "link.mp4").symlink_to(secret.absolute())
        (self.folder / "folder").symlink_to(self.folder.parent.absolute())
        (self.folder / "device.mp4").symlink_to("/dev/zero")
        os.mkfifo(self.folder / "fifo.mp4")
        (self.folder / "sub").mkdir()
        for path in (
            "link.mp4",
            "folder/secret.mp4",
            "device.mp4",
            "fifo.mp4",
            "sub",
            "none.mp4",
            "../secret.mp4",
            "/etc/passwd",
            "a.mp4/x",
            "./a.mp4",
            ".hidden.mp4",
            "sub//a.mp4",
            "a\0.mp4",
            "x" * 300,
            "x/" * 30 + "x",
            "\ud800.mp4",
        ):
            self.assertEqual(
                self.refused(self.library.index(f"films/{path}"), Reason.NOT_FOUND).text, "no such file"
            )
        self.assertFalse(self.library.takes("films"))
        self.refused(self.library.index("other/a.mp4"), Reason.NOT_FOUND)

    def test_damaged(self) -> None:
        """Refused with a reason, looked at once in a while; others play on."""
        whole = film()
        for name, data in (
            ("empty", b""),
            ("text", b"hello"),
            ("torn", whole[: len(whole) // 2]),
            ("size", b"\xff\xff\xff\xffmoov"),
            ("zero", b"\0\0\0\0moov"),
        ):
            (self.folder / f"{name}.mp4").write_bytes(data)
            self.refused(self.library.index(f"films/{name}.mp4"), Reason.UNSUPPORTED)
        self.threads.calls.clear()
        for _ in range(10):
            self.refused(self.library.index("films/torn.mp4"), Reason.UNSUPPORTED)
        self.assertEqual(self.threads.calls, [])
        self.assertEqual(len(self.got(self.library.index("films/a.mp4"))), 4)
        (self.folder / "torn.mp4").write_bytes(whole)
        self.clock.advance(3)
        self.assertEqual(len(self.got(self.library.index("films/torn.mp4"))), 4)

    def test_cannot_be_read(self) -> None:
        index = self.got(self.library.index("films/a.mp4"))

        def broken(*_: object) -> None:
            raise OSError(5, "Input/output error")

        self.patch(library_module, "read_segment", broken)
        self.refused(self.library.segment("films/a.mp4", index.version, 0), Reason.NOT_READY)

    def test_refusals_are_bounded(self) -> None:
        self.patch(library_module, "MAX_REFUSED", 10)
        for number in range(100):
            self.refused(self.library.index(f"films/{number}.mp4"), Reason.NOT_FOUND)
        self.assertEqual(len(self.library._refused), 10)

    def test_locations_change(self) -> None:
        index = self.got(self.library.index("films/a.mp4"))
        self.library.set_locations({"other": [str(self.folder.absolute())]})
        self.assertEqual(self.library.locations, ("other",))
        self.refused(self.library.index("films/a.mp4"), Reason.NOT_FOUND)
        self.refused(self.library.segment("films/a.mp4", index.version, 0), Reason.NOT_FOUND)
        self.assertEqual(self.got(self.library.index("other/a.mp4")), index)

    def test_the_first_folder_that_has_it(self) -> None:
        second = self.folder.parent / "second"
        second.mkdir()
        (second / "b.mp4").write_bytes(film(2))
        (second / "a.mp4").write_bytes(film(2))
        self.library.set_locations({"films": [str(self.folder.absolute()), str(second.absolute())]})
        self.assertEqual(len(self.got(self.library.index("films/a.mp4"))), 4)
        self.assertEqual(len(self.got(self.library.index("films/b.mp4"))), 2)

    def test_descriptors(self) -> None:
        """Nothing stays open."""
        before = len(os.listdir("/proc/self/fd"))
        index = self.got(self.library.index("films/a.mp4"))
        self.got(self.library.segment("films/a.mp4", index.version, 0))
        (self.folder / "text.mp4").write_bytes(b"hello")
        self.refused(self.library.index("films/text.mp4"), Reason.UNSUPPORTED)
        self.assertEqual(len(os.listdir("/proc/self/fd")), before)
