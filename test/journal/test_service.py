"""From a closed session to the database: over the spool, exactly once, whatever is away for how long."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from typing_extensions import override

from restreamer.journal.database import Database, JournalError, SessionQuery, Written, checked_url
from restreamer.journal.rows import Row, SessionRow, TrafficRow, from_line, to_line
from restreamer.journal.service import LONGEST_PAUSE, MAX_WAITING, PRUNE_SECONDS, Journal
from restreamer.journal.spool import Spool
from restreamer.viewer_facts import SessionFacts
from test.journal.test_database import minute, row

NOW = 1_700_000_000_000


def facts(number: int, closed: bool = True) -> SessionFacts:
    """Session C{number}."""
    return SessionFacts(
        session_id=f"{number:032x}",
        node_id="11" * 16,
        name="live",
        proto="hls",
        ip="::1",
        opened_at=NOW,
        updated_at=NOW,
        closed_at=NOW + number if closed else None,
    )


def at_once(call: Callable[..., Any], *args: Any) -> Deferred[Any]:
    """A thread that is always ready."""
    try:
        return succeed(call(*args))
    except Exception:
        return fail()


class Away(Database):
    """A database that can be away, and that can fail after it has written."""

    away = False
    torn = False

    @override
    def open(self) -> None:
        """Connect."""
        if self.away:
            raise JournalError("away")
        super().open()

    @override
    def write(self, rows: Any) -> Written:
        """Write, and perhaps not say so."""
        written = super().write(rows)
        if self.torn:
            self.torn = False
            raise JournalError("the connection was lost while it was committed")
        return written


class JournalTests(SynchronousTestCase):
    """On a clock of its own."""

    @override
    def setUp(self) -> None:
        self.clock = Clock()
        self.folder = Path(self.mktemp())
        self.database = Away(checked_url(f"sqlite:///{self.mktemp()}"))
        self.addCleanup(self.database.close)
        self.minutes: list[int] = []
        self.made = self.make()

    def make(self, lane: Any = at_once, depth: float | None = None) -> Journal:
        """A journal on the same spool and database."""

        def traffic(of: int) -> list[TrafficRow]:
            self.minutes.append(of)
            return [minute(of // 60_000)]

        def utc() -> int:
            return NOW + int(self.clock.seconds() * 1000)

        journal = Journal(self.clock, utc, self.database, Spool(self.folder), lane, at_once, traffic, depth)
        journal.startService()
        return journal

    def numbers(self) -> list[int]:
        """Which sessions the database has."""
        self.database.open()
        return sorted(
            int(each["session_id"], 16) for each in self.database.sessions(SessionQuery(limit=1000))
        )

    def test_closed_ones_are_written(self) -> None:
        self.made.session_event("play_opened", facts(1, closed=False))
        self.made.session_event("play_closed", facts(1))
        self.assertEqual(self.made.facts().waiting, 1)
        self.clock.advance(1)
        self.assertEqual(self.numbers(), [1])
        told = self.made.facts()
        self.assertEqual((told.state, told.waiting, told.spooled, told.written), ("ok", 0, 0, 1))

    def test_traffic_of_each_minute(self) -> None:
        self.clock.pump([1] * 121)
        self.assertEqual([each % 60_000 for each in self.minutes], [0, 0])
        self.assertEqual(len(self.database.traffic(0, 2 * NOW, 60_000)), 2)

    def test_the_database_is_away(self) -> None:
        self.database.away = True
        self.database.close()
        for number in range(100):
            self.made.session_event("play_closed", facts(number))
            self.clock.advance(1)
        told = self.made.facts()
        self.assertEqual((told.state, told.waiting, told.written), ("away", 0, 0))
        self.assertGreater(told.spooled, 0)
        self.database.away = False
        self.clock.pump([1] * int(LONGEST_PAUSE + 2))
        self.assertEqual(self.numbers(), list(range(100)))
        self.assertEqual((self.made.facts().state, self.made.facts().spooled), ("ok", 0))
        self.assertEqual(len(self.flushLoggedErrors()), 0)

    def test_lost_while_it_was_committed(self) -> None:
        self.database.torn = True
        self.made.session_event("play_closed", facts(1))
        self.clock.pump([1] * 4)
        self.assertEqual(self.numbers(), [1])

    def test_killed(self) -> None:
        """What was in the spool when the node was killed is loaded by the next one."""
        self.database.away = True
        self.database.close()
        self.made.session_event("play_closed", facts(1))
        self.clock.advance(1)
        self.database.away = False
        next_one = self.make()
        self.assertEqual(self.numbers(), [1])
        self.assertEqual(next_one.facts().written, 1)

    def test_a_file_that_cannot_be_read(self) -> None:
        """It is left under another name, once, and those behind it are written."""
        self.database.away = True
        self.database.close()
        self.made.session_event("play_closed", facts(1))
        self.clock.advance(1)
        self.made.session_event("play_closed", facts(2))
        self.clock.advance(1)
        first, second = sorted(self.folder.glob("*.rows"))
        first.unlink()
        first.mkdir()
        self.database.away = False
        self.clock.pump([10.0] * 6)
        self.assertEqual(self.numbers(), [2])
        self.assertEqual([each.name for each in self.folder.iterdir()], [f"{first.stem}.unreadable"])
        self.assertEqual((self.made.facts().rejected, second.exists()), (1, False))

    def test_a_file_that_cannot_be_read_now(self) -> None:
        """The process has too many files open: it is tried again."""
        spool = Spool(self.folder)
        number = spool.append([row(1)])
        error = self.assertRaises(OSError, spool.set_aside, number, OSError(24, "Too many open files"))
        self.assertEqual((error.errno, spool.files), (24, (number,)))

    def test_stopped(self) -> None:
        """Everything is written, without waiting for the next second."""
        for number in range(3):
            self.made.session_event("play_closed", facts(number))
        self.successResultOf(self.made.stopService())
        self.assertEqual(self.numbers(), [0, 1, 2])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_stopped_while_the_database_is_away(self) -> None:
        self.database.away = True
        self.database.close()
        self.made.session_event("play_closed", facts(1))
        self.successResultOf(self.made.stopService())
        self.database.away = False
        self.make()
        self.assertEqual(self.numbers(), [1])

    def test_a_disk_that_is_full(self) -> None:
        """Rows stay in memory, bounded, and are written when there is room."""
        full = [True]

        def lane(call: Callable[..., Any], *args: Any) -> Deferred[Any]:
            return fail(OSError(28, "No space left on device")) if full[0] else at_once(call, *args)

        journal = self.make(lane)
        for number in range(5):
            journal.session_event("play_closed", facts(number))
        self.clock.advance(1)
        self.assertEqual(journal.facts().waiting, 5)
        self.assertIn("No space left", journal.facts().last_error)
        full[0] = False
        self.clock.advance(1)
        self.assertEqual(self.numbers(), list(range(5)))

    def test_a_disk_that_hangs(self) -> None:
        journal = self.make(lambda *_: Deferred())
        for number in range(MAX_WAITING + 10_000):
            journal.session_event("play_closed", facts(number))
            if number % 50_000 == 0:
                self.clock.advance(1)
        self.assertLessEqual(journal.facts().waiting, MAX_WAITING)
        self.assertGreater(journal.facts().lost, 0)

    def test_pruned(self) -> None:
        journal = self.make(depth=3600)
        journal.session_event("play_closed", facts(1))
        self.clock.advance(2)
        self.assertEqual(self.numbers(), [1])
        self.clock.pump([PRUNE_SECONDS] * 8)
        self.assertEqual(self.numbers(), [])


class SpoolTests(SynchronousTestCase):
    """Files of rows."""

    def test_order_and_room(self) -> None:
        folder = Path(self.mktemp())
        spool = Spool(folder, most=2000)
        for number in range(10):
            spool.append([row(number)])
        self.assertLessEqual(spool.size, 2000)
        self.assertEqual(spool.files[-1], 10)
        self.assertEqual(spool.lost, 10 - len(spool.files))
        self.assertEqual(Spool(folder).files, spool.files)
        self.assertEqual(Spool(folder).load(10), [row(9)])

    def test_torn_and_foreign_files(self) -> None:
        folder = Path(self.mktemp())
        spool = Spool(folder)
        spool.append([row(1), row(2)])
        (folder / "00000002.new").write_bytes(b"half")
        (folder / "notes.txt").write_bytes(b"mine")
        path = folder / "00000001.rows"
        path.write_bytes(path.read_bytes()[:-10] + b"\n\xff{}\n[]\n{}\n" + b"[" * 100_000 + b"\n")
        again = Spool(folder)
        self.assertEqual(again.files, (1,))
        self.assertEqual(again.load(1), [row(1)])
        self.assertEqual(again.broken, 5)
        self.assertEqual(sorted(path.name for path in folder.iterdir()), ["00000001.rows", "notes.txt"])
        # What it held besides is left for whoever wants to know.
        again.drop(1)
        self.assertEqual(again.files, ())
        self.assertEqual(sorted(path.name for path in folder.iterdir()), ["00000001.unreadable", "notes.txt"])
        self.assertEqual(Spool(folder).files, ())

    def test_damaged_ones_go_when_there_is_no_room(self) -> None:
        folder = Path(self.mktemp())
        spool = Spool(folder, most=2000)
        number = spool.append([row(1)])
        spool._path(number).write_bytes(b"x" * 2000)
        again = Spool(folder, most=2000)
        again.append([row(2)])
        self.assertEqual([path.name for path in folder.iterdir()], ["00000002.rows"])

    def test_nobody_else_reads_it(self) -> None:
        folder = Path(self.mktemp())
        Spool(folder).append([row(1)])
        self.assertEqual(folder.stat().st_mode & 0o077, 0)
        self.assertEqual((folder / "00000001.rows").stat().st_mode & 0o077, 0)

    @settings(deadline=None, derandomize=True)
    @given(st.text(), st.text())
    def test_any_text(self, name: str, agent: str) -> None:
        """What viewers send is written as text, whatever it is."""
        made = SessionRow.of(
            SessionFacts(
                session_id="0" * 32,
                name=name,
                proto="hls",
                ip="",
                opened_at=0,
                updated_at=0,
                user_agent=agent,
            )
        )
        line = to_line(made)
        self.assertEqual(line.count(b"\n"), 1)
        self.assertEqual(from_line(line), made)
        self.assertNotIn("\0", made.name + made.user_agent)

    def test_rows(self) -> None:
        rows: list[Row] = [row(1), minute(1)]
        for each in rows:
            self.assertEqual(from_line(to_line(each)), each)
        for bad in (b"", b"{", b'{"row":"x"}', b'{"row":"traffic"}', b"1", b"null", b'{"row":[]}'):
            with self.assertRaises(ValueError):
                from_line(bad)
