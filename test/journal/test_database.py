"""The same tests against SQLite and a real PostgreSQL."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from attrs import evolve
from sqlalchemy import create_engine, text
from twisted.trial.unittest import SynchronousTestCase
from typing_extensions import override

from restreamer.journal.database import Database, JournalError, SessionQuery, checked_url
from restreamer.journal.rows import Row, SessionRow, TrafficRow
from test.journal.postgres import shared


def row(number: int, **more: Any) -> SessionRow:
    """Closed session C{number}."""
    made = SessionRow(
        session_id=f"{number:032x}",
        node_id="11" * 16,
        name="live",
        kind="play",
        proto="hls",
        ip="10.0.0.1",
        country="",
        token_hash="",
        user_id="",
        user_agent="a player/1.0 ☃",
        referer="",
        opened_at=1000 + number,
        started_at=None,
        closed_at=2000 + number,
        bytes=5_000_000_000 + number,
        past=False,
        closed_why="left",
    )
    return evolve(made, **more)


def minute(number: int, **more: Any) -> TrafficRow:
    """What was sent in minute C{number}."""
    made = TrafficRow(
        minute=60_000 * number,
        node_id="11" * 16,
        epoch=7,
        name="live",
        proto="hls",
        bytes=100,
        opened=2,
        viewers=3,
    )
    return evolve(made, **more)


class Cases:
    """What any database has to do."""

    database: Database
    address: str

    def test_written_once(self: Any) -> None:
        rows: list[Row] = [row(1), row(2), minute(1)]
        self.assertEqual(self.database.write(rows).rejected, [])
        self.assertEqual(self.database.write([*rows, row(3)]).rejected, [])
        found = self.database.sessions(SessionQuery())
        self.assertEqual([each["session_id"] for each in found], [row(each).session_id for each in (3, 2, 1)])
        self.assertEqual(found[0]["bytes"], 5_000_000_003)
        self.assertEqual(found[0]["user_agent"], "a player/1.0 ☃")
        told = self.database.traffic(0, 120_000, 60_000)
        self.assertEqual(told, [{"at": 60_000, "proto": "hls", "bytes": 100, "opened": 2}])

    def test_questions(self: Any) -> None:
        self.database.write(
            [row(number, name="ab"[number % 2], user_id=f"u{number % 3}") for number in range(30)]
        )
        self.assertEqual(len(self.database.sessions(SessionQuery(name="a"))), 15)
        self.assertEqual(len(self.database.sessions(SessionQuery(user_id="u1", name="b"))), 5)
        self.assertEqual(len(self.database.sessions(SessionQuery(since=2010, until=2020))), 10)
        seen: list[str] = []
        before = None
        while page := self.database.sessions(SessionQuery(limit=7, before=before)):
            seen += [each["session_id"] for each in page]
            before = (page[-1]["closed_at"], page[-1]["session_id"])
        self.assertEqual(seen, [row(number).session_id for number in reversed(range(30))])

    def test_quotes_are_text(self: Any) -> None:
        evil = "'; DROP TABLE sessions; --"
        self.database.write([row(1, name=evil)])
        self.assertEqual(len(self.database.sessions(SessionQuery(name=evil))), 1)

    def test_traffic_is_added_up(self: Any) -> None:
        rows = [minute(number, proto=proto) for number in range(120) for proto in ("hls", "rtmp")]
        rows += [minute(5, node_id="22" * 16), minute(5, epoch=8), minute(5, name="other", bytes=1)]
        self.database.write(rows)
        hours = self.database.traffic(0, 7_200_000, 3_600_000, "live")
        self.assertEqual(
            [(each["at"], each["proto"], each["bytes"]) for each in hours],
            [(0, "hls", 6200), (0, "rtmp", 6000), (3_600_000, "hls", 6000), (3_600_000, "rtmp", 6000)],
        )

    def test_pruned(self: Any) -> None:
        self.database.write([row(number) for number in range(30)])
        self.database.write([minute(number) for number in range(30)])
        self.assertEqual(self.database.prune(2010), 10 + 1)
        self.assertEqual(len(self.database.sessions(SessionQuery())), 20)
        self.assertEqual(self.database.prune(2010), 0)

    def test_a_row_that_cannot_be(self: Any) -> None:
        """It is told of, and the others are written."""
        bad = row(2, bytes=None)
        rejected = self.database.write([row(1), bad, row(3)]).rejected
        self.assertEqual([each for each, _ in rejected], [bad])
        self.assertEqual(len(self.database.sessions(SessionQuery())), 2)

    def test_opened_again(self: Any) -> None:
        """The tables are kept, and no step is done twice."""
        self.database.write([row(1)])
        self.database.close()
        with self.assertRaises(JournalError):
            self.database.sessions(SessionQuery())
        again = Database(checked_url(self.address))
        again.open()
        self.assertEqual(len(again.sessions(SessionQuery())), 1)
        again.close()
        self.database.open()


class SqliteTests(Cases, SynchronousTestCase):
    """A file."""

    @override
    def setUp(self) -> None:
        self.address = f"sqlite:///{self.mktemp()}"
        self.database = Database(checked_url(self.address))
        self.database.open()
        self.addCleanup(self.database.close)

    def test_no_such_folder(self) -> None:
        database = Database(checked_url(f"sqlite:///{self.mktemp()}/no/such/folder.db"))
        with self.assertRaises(JournalError):
            database.open()

    def test_no_secret_is_shown(self) -> None:
        """A password may stand in the query, too."""
        for address in (
            "postgresql://u@127.0.0.1:1/db?password=hidden",
            "postgresql://u:hidden@127.0.0.1:1/db?sslpassword=hidden&application_name=x",
        ):
            database = Database(checked_url(address))
            with self.subTest(address), self.assertRaises(JournalError) as caught:
                database.open()
            self.assertNotIn("hidden", database.shown)
            self.assertNotIn("hidden", str(caught.exception))
            self.assertIn("127.0.0.1:1/db", database.shown)

    def test_no_database(self) -> None:
        path = Path(self.mktemp())
        path.write_bytes(b"something else" * 1000)
        with self.assertRaises(JournalError):
            Database(checked_url(f"sqlite:///{path}")).open()


class PostgresTests(Cases, SynchronousTestCase):
    """A server."""

    @override
    def setUp(self) -> None:
        self.server = shared()
        self.address = self.server.url
        engine = create_engine(checked_url(self.address))
        with engine.begin() as connection:
            connection.execute(text("DROP SCHEMA public CASCADE"))
            connection.execute(text("CREATE SCHEMA public"))
        engine.dispose()
        self.database = Database(checked_url(self.address))
        self.database.open()
        self.addCleanup(self.database.close)

    def test_wrong_password(self) -> None:
        """The error says who, and not the password."""
        wrong = Database(checked_url(self.address.replace("secret-of-it", "wrong-secret")))
        with self.assertRaises(JournalError) as caught:
            wrong.open()
        self.assertIn("journal", str(caught.exception))
        self.assertNotIn("wrong-secret", str(caught.exception))

    def test_killed_in_between(self) -> None:
        self.database.write([row(1)])
        self.server.kill()
        with self.assertRaises(JournalError):
            self.database.write([row(2)])
        self.server.start()
        self.database.close()
        self.database.open()
        self.database.write([row(1), row(2)])
        self.assertEqual(len(self.database.sessions(SessionQuery())), 2)


class UrlTests(SynchronousTestCase):
    """What may be configured."""

    def test_good(self) -> None:
        for address, driver in (
            ("sqlite:////var/lib/x.db", "sqlite"),
            ("postgresql://u:p@h/d", "postgresql+psycopg"),
            ("postgres://u:p@h:5433/d", "postgresql+psycopg"),
        ):
            self.assertEqual(checked_url(address).drivername, driver)

    def test_bad(self) -> None:
        for address in ("", "x", "mysql://h/d", "sqlite://", "postgresql://h", "file:///x"):
            with self.assertRaises(ValueError):
                checked_url(address)

    def test_the_password_is_not_shown(self) -> None:
        self.assertNotIn("hidden", Database(checked_url("postgresql://u:hidden@h/d")).shown)
