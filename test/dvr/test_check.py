"""C{restreamer dvr check}."""

from __future__ import annotations

import io
import os
import shutil

from attrs import evolve
from twisted.trial.unittest import SynchronousTestCase
from typing_extensions import override

from restreamer.cli import main
from restreamer.dvr.check import CheckReport, NoArchivesError, check_store
from restreamer.dvr.filesystem import RealFilesystem
from restreamer.dvr.store import MARKER, Store
from restreamer.dvr.summary import SUMMARY, decode_summary, encode_summary
from test.dvr.recordings import HOUR, several, ticks
from test.dvr.simulated_disk import SimulatedDisk

DAY = "/d/cam/@2023-11-14"


class Terminal(io.StringIO):
    """Somebody looks at it."""

    @override
    def isatty(self) -> bool:
        return True


class Checks(SynchronousTestCase):
    """Over a simulated disk."""

    @override
    def setUp(self) -> None:
        self.disk = SimulatedDisk()
        store = Store("/d", self.disk, file_bytes=1000)
        store.open()
        store.stream("cam").append(several(range(HOUR - 10, HOUR + 10)))
        store.stream("cam").seal(ticks(HOUR + 50))
        store.stream("cam").write_summary()
        store.stream("x/y").append(several(range(4)))
        store.close()

    def check(self, repair: bool = False) -> CheckReport:
        """Check all of it."""
        return check_store("/d", repair, files=self.disk)

    def judge(self, *texts: str, segments: int = 24) -> None:
        """These things are wrong; a repair puts them right."""
        report = self.check()
        self.assertEqual([problem.text for problem in report.problems], list(texts))
        self.assertFalse(report.right and texts)
        again = self.check(repair=True)
        self.assertEqual([problem.text for problem in again.problems], list(texts))
        self.assertTrue(again.right)
        after = self.check()
        self.assertEqual((after.problems, after.segments), ([], segments))
        self.assertEqual(self.disk.open_files, 0)
        stream = Store("/d", self.disk).stream("cam")
        for hour in stream.holdings().hours:
            for row in stream.hour(hour):
                stream.segment(row)

    def test_right(self) -> None:
        """Nothing is wrong, and nothing is changed."""
        before = {path: bytes(self.disk.data(path)) for path in self.disk.paths()}
        report = self.check()
        self.assertEqual((report.streams, report.hours, report.segments), (2, 3, 24))
        self.assertEqual((report.problems, report.notes, report.right), ([], [], True))
        self.assertEqual({path: bytes(self.disk.data(path)) for path in self.disk.paths()}, before)
        self.assertEqual(self.disk.locks, set())

    def test_no_index(self) -> None:
        """An index that is lost is made anew, byte by byte."""
        right = self.disk.read(f"{DAY}/22.index")
        self.disk.remove(f"{DAY}/22.index")
        self.judge("has no index", "10 segments without a row")
        self.assertEqual(self.disk.read(f"{DAY}/22.index"), right)

    def test_damaged_index(self) -> None:
        """So is one that is damaged."""
        right = self.disk.read(f"{DAY}/22.index")
        self.disk.data(f"{DAY}/22.index")[50] ^= 4
        self.judge("its index is damaged", "10 segments without a row")
        self.assertEqual(self.disk.read(f"{DAY}/22.index"), right)

    def test_torn_tail(self) -> None:
        """It is cut."""
        size = self.disk.size(f"{DAY}/22-1.m4f")
        self.disk.data(f"{DAY}/22-1.m4f").extend(b"\x23\0\0\0\2\0half")
        self.judge("22-1.m4f has a torn tail of 10 bytes")
        self.assertEqual(self.disk.size(f"{DAY}/22-1.m4f"), size)

    def test_torn_log(self) -> None:
        """The hour of a log is sealed."""
        del self.disk.data("/d/x/y/@2023-11-14/22.rows")[-3:]
        self.judge("the end of its log is torn", "4 segments without a row")
        self.assertIn("22.index", self.disk.names("/d/x/y/@2023-11-14"))

    def test_damaged_segment(self) -> None:
        """Its row goes; the bytes stay, and are noted."""
        self.disk.data(f"{DAY}/22.m4f")[70] ^= 1
        self.judge("1 row without a whole segment", segments=23)
        (note,) = self.check().notes
        self.assertTrue(note.path.endswith("22.m4f"))
        self.assertIn("are no segment", note.text)

    def test_nothing_can_be_read(self) -> None:
        """A data file without one good segment keeps its bytes: after a repair, and after a start."""
        for repair in (True, False):
            self.setUp()
            data = self.disk.data(f"{DAY}/22.m4f")
            data[:] = bytes(len(data))
            self.disk.remove(f"{DAY}/22.index")
            before = len(data)
            if repair:
                _ = self.check(repair=True)
            else:
                store = Store("/d", self.disk)
                store.open()
                store.stream("cam").open()
                store.stream("cam").seal(ticks(2 * HOUR))
                store.close()
            self.assertEqual(self.disk.size(f"{DAY}/22.m4f"), before)

    def test_a_file_in_place_of_a_day(self) -> None:
        """The node opens the other days."""
        self.disk.open("/d/cam/@2023-11-22").close()
        self.assertTrue(Store("/d", self.disk).stream("cam").holdings().hours)

    def test_a_file_that_is_gone(self) -> None:
        """Its rows go."""
        count = len(self.disk.names(DAY))
        self.disk.remove(f"{DAY}/22.m4f")
        report = self.check(repair=True)
        self.assertTrue(report.right)
        self.assertLess(self.check().segments, 24)
        self.assertEqual(len(self.disk.names(DAY)), count - 1)

    def test_false_summary(self) -> None:
        """It is made anew."""
        facts = decode_summary(self.disk.read(f"/d/cam/{SUMMARY}"))
        self.disk.data(f"/d/cam/{SUMMARY}")[:] = encode_summary([evolve(facts[0], rows=99)])
        self.judge("does not say what the hours hold")
        self.disk.data(f"/d/cam/{SUMMARY}")[:] = b"x"
        self.judge("is damaged")

    def test_leftovers(self) -> None:
        """What was never finished is noted, and removed by a repair."""
        self.disk.open(f"{DAY}/22.index.new").close()
        self.assertEqual(len(self.check().notes), 1)
        self.assertEqual(len(self.check(repair=True).notes), 1)
        self.assertEqual(self.check().notes, [])

    def test_progress(self) -> None:
        """From nothing to all."""
        told: list[tuple[int, int, str]] = []
        check_store("/d", False, lambda *facts: told.append(facts), self.disk)
        done = [each[0] for each in told]
        self.assertEqual(done, sorted(done))
        self.assertEqual(told[-1][0], told[-1][1])
        self.assertEqual({each[1] for each in told}, {told[-1][1]})

    def test_no_archives(self) -> None:
        """A folder without the marker is left alone."""
        self.disk.make_folder("/e")
        self.assertRaises(NoArchivesError, check_store, "/e", True, files=self.disk)
        self.assertEqual(self.disk.names("/e"), [])


class Commands(SynchronousTestCase):
    """The command, on a real disk."""

    @override
    def setUp(self) -> None:
        self.root = os.path.abspath(self.mktemp())
        store = Store(self.root)
        store.open()
        store.stream("cam").append(several(range(5)))
        store.close()

    def run_command(self, *more: str, err: io.StringIO | None = None) -> tuple[int, str, str]:
        """Run it."""
        out, err = io.StringIO(), err or io.StringIO()
        status = main(["dvr", "check", self.root, *more], out, err)
        return status, out.getvalue(), err.getvalue()

    def test_right(self) -> None:
        """It says so."""
        status, out, err = self.run_command()
        self.assertEqual((status, err), (0, ""))
        self.assertEqual(out, f"{self.root}: right, 1 stream, 5 segments, 0.0 MiB\n")

    def test_wrong(self) -> None:
        """It says what, and repairs it when asked to."""
        with open(f"{self.root}/cam/@2023-11-14/22.m4f", "ab") as file:
            file.write(b"torn")
        text = f"{self.root}/cam/@2023-11-14/22: 22.m4f has a torn tail of 4 bytes"
        status, out, _ = self.run_command()
        self.assertEqual(status, 1)
        self.assertEqual(out, f"{text}\n{self.root}: 1 problem, 1 stream, 5 segments, 0.0 MiB\n")
        status, out, _ = self.run_command("--repair")
        self.assertEqual((status, out.split("\n")[0]), (0, f"{text} (repaired)"))
        self.assertEqual(self.run_command()[0], 0)

    def test_locked(self) -> None:
        """While a node has it, it is refused."""
        store = Store(self.root)
        store.open()
        status, out, err = self.run_command("--repair")
        self.assertEqual((status, out), (2, ""))
        self.assertEqual(err, f"{self.root}: another process writes to this archive\n")
        store.close()

    def test_while_a_node_records(self) -> None:
        """An archive is looked at while it is written, and what is not written to its end is no problem."""
        store = Store(self.root)
        store.open()
        store.stream("cam").append(several(range(5, 7)))
        with open(f"{self.root}/cam/@2023-11-14/22.m4f", "ab") as file:
            file.write(b"\x23\0\0\0\2\0half")
        status, out, err = self.run_command()
        self.assertEqual((status, err), (0, ""), out)
        self.assertIn("it is being written", out)
        store.close()
        self.assertEqual(self.run_command()[0], 1)

    def test_another_hour(self) -> None:
        """A file under the name of another hour is told of, and left for somebody to move it."""
        folder = f"{self.root}/cam/@2023-11-14"
        for kind in ("m4f", "rows"):
            os.rename(f"{folder}/22.{kind}", f"{folder}/03.{kind}")
        size = os.path.getsize(f"{folder}/03.m4f")
        for more in ((), ("--repair",), ("--repair",), ()):
            status, out, _ = self.run_command(*more)
            self.assertEqual(status, 1, out)
            self.assertIn(
                "03.m4f: 5 segments of another hour: the place of the file is @2023-11-14/22.m4f", out
            )
            self.assertEqual(os.path.getsize(f"{folder}/03.m4f"), size)
        os.rename(f"{folder}/03.m4f", f"{folder}/22.m4f")
        self.assertEqual(self.run_command("--repair")[0], 0)
        self.assertEqual(self.run_command()[1], f"{self.root}: right, 1 stream, 5 segments, 0.0 MiB\n")

    def test_stray_things(self) -> None:
        """What is none of ours does not keep the rest from being checked."""
        os.symlink("/nowhere", f"{self.root}/link")
        os.symlink("loop", f"{self.root}/loop")
        os.symlink("/nowhere", f"{self.root}/cam/@2023-11-15")
        with open(f"{self.root}/cam/@2023-11-16", "w"):
            pass
        status, out, err = self.run_command()
        self.assertEqual((status, err), (0, ""), out)
        self.assertIn("@2023-11-15: is a link", out)
        self.assertIn("@2023-11-16: is no folder", out)
        shutil.copy(f"{self.root}/cam/@2023-11-14/22.m4f", f"{self.root}/cam/@2023-11-14/22-1.m4f")
        self.assertIn("22-1.m4f: ", self.run_command()[1])
        with open(f"{self.root}/cam/@locks", "w") as file:
            file.write("{")
        status, out, _ = self.run_command()
        self.assertEqual(status, 1)
        self.assertIn("@locks: is damaged", out)

    def test_a_linked_day(self) -> None:
        """Its files are another day's, and stay."""
        os.symlink(f"{self.root}/cam/@2023-11-14", f"{self.root}/cam/@2023-11-13")
        before = sorted(os.listdir(f"{self.root}/cam/@2023-11-14"))
        self.assertIn("is a link", self.run_command("--repair")[1])
        store = Store(self.root)
        store.open()
        stream = store.stream("cam")
        stream.open()
        self.assertEqual(len(stream.holdings().hours), 1)
        stream.seal(ticks(3 * HOUR))
        store.close()
        after = sorted(os.listdir(f"{self.root}/cam/@2023-11-14"))
        self.assertIn("22.m4f", after)
        self.assertEqual(
            [each for each in before if each.endswith("m4f")], [e for e in after if e.endswith("m4f")]
        )

    def test_no_archive(self) -> None:
        """Nothing is made of another folder."""
        RealFilesystem().remove(f"{self.root}/{MARKER}")
        status, _, err = self.run_command()
        self.assertEqual(status, 2)
        self.assertIn("no archives", err)

    def test_bar(self) -> None:
        """Shown to people, and gone at the end."""
        _, out, err = self.run_command(err=Terminal())
        self.assertIn("100%", err)
        self.assertTrue(err.endswith(" \r"))
        self.assertNotIn("%", out)
