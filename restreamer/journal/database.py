"""The database of the journal: one class for SQLite and PostgreSQL. Everything here blocks: threads call it.

Rows have keys of their own (L{restreamer.journal.schema}), and a row that is there already is left as it is,
so a batch that may or may not have been written is written again.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from attrs import asdict, define, frozen
from sqlalchemy import Engine, Table, create_engine, delete, event, func, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DataError, IntegrityError, SQLAlchemyError

from restreamer.journal.rows import Row, SessionRow, TrafficRow
from restreamer.journal.schema import SESSIONS, TRAFFIC

_MIGRATIONS = Path(__file__).with_name("migrations")
#: Seconds to connect, and for one statement.
CONNECT_SECONDS = 5
STATEMENT_SECONDS = 30
#: Rows deleted in one go.
PRUNE_ROWS = 5000
#: Rows one question gives at most.
MAX_ROWS = 1000


class JournalError(Exception):
    """The database cannot be used now. The text has no password."""


def checked_url(text: str) -> URL:
    """C{sqlite:///PATH} or C{postgresql://USER:PASSWORD@HOST/DATABASE}, with the driver we use.

    @raise ValueError: it is neither.
    """
    try:
        url = make_url(text)
    except (ArgumentError, ValueError):
        raise ValueError("sqlite:///PATH or postgresql://USER:PASSWORD@HOST/DATABASE") from None
    name = url.drivername.partition("+")[0]
    if name == "sqlite" and url.database:
        return url.set(drivername="sqlite")
    if name in ("postgresql", "postgres") and url.database:
        return url.set(drivername="postgresql+psycopg")
    raise ValueError("sqlite:///PATH or postgresql://USER:PASSWORD@HOST/DATABASE")


@frozen(kw_only=True)
class SessionQuery:
    """Which closed sessions are wanted, the newest first.

    @ivar name, user_id, ip: of them only; empty: all. @ivar since, until: UTC milliseconds of the end.
    @ivar before: (closed_at, session_id) of the last one of the page before.
    """

    name: str = ""
    user_id: str = ""
    ip: str = ""
    since: int | None = None
    until: int | None = None
    before: tuple[int, str] | None = None
    limit: int = 100


@define(eq=False)
class Written:
    """What became of a batch. @ivar rejected: rows the database will never take, and why."""

    rejected: list[tuple[Row, str]]


class Database:
    """One database, opened by L{open}.

    @param url: by L{checked_url}.
    """

    def __init__(self, url: URL) -> None:
        # The query may hold passwords, too (password, sslpassword).
        self.shown = url.set(query={}).render_as_string(hide_password=True)
        self._url = url
        self._engine: Engine | None = None

    def open(self) -> None:
        """Connect, and bring the tables up to date.

        @raise JournalError: it is away, or of a newer version than this program.
        """
        if self._engine is not None:
            return
        engine = _engine(self._url)
        try:
            config = Config()
            config.set_main_option("script_location", str(_MIGRATIONS))
            with engine.begin() as connection:
                if engine.dialect.name == "postgresql":
                    # Two nodes that share a database do not migrate it at the same time.
                    connection.execute(select(func.pg_advisory_xact_lock(0x4D3446)))
                config.attributes["connection"] = connection
                command.upgrade(config, "head")
        except Exception as error:
            engine.dispose()
            raise JournalError(self._text(error)) from None
        self._engine = engine

    def close(self) -> None:
        """Disconnect; L{open} connects again."""
        engine, self._engine = self._engine, None
        if engine is not None:
            engine.dispose()

    def write(self, rows: Sequence[Row]) -> Written:
        """Write C{rows}, all or none; those that are there already stay.

        @raise JournalError: nothing is known to be written.
        """
        try:
            self._write_all(rows)
        except (DataError, IntegrityError):
            return Written(self._write_each(rows))
        except SQLAlchemyError as error:
            raise JournalError(self._text(error)) from None
        return Written([])

    def prune(self, before: int) -> int:
        """Delete some of what is older than C{before} (UTC milliseconds); how many rows."""
        deleted = 0
        try:
            with self._ready().begin() as connection:
                old = select(SESSIONS.c.session_id).where(SESSIONS.c.closed_at < before).limit(PRUNE_ROWS)
                deleted += connection.execute(delete(SESSIONS).where(SESSIONS.c.session_id.in_(old))).rowcount
                minutes = select(TRAFFIC.c.minute).where(TRAFFIC.c.minute < before).order_by(TRAFFIC.c.minute)
                newest = connection.execute(minutes.offset(PRUNE_ROWS).limit(1)).scalar()
                limit = before if newest is None else min(before, newest)
                deleted += connection.execute(delete(TRAFFIC).where(TRAFFIC.c.minute < limit)).rowcount
        except SQLAlchemyError as error:
            raise JournalError(self._text(error)) from None
        return deleted

    def sessions(self, query: SessionQuery) -> list[dict[str, Any]]:
        """Closed sessions.

        @raise JournalError: the database is away.
        """
        table = SESSIONS.c
        wanted = select(SESSIONS).order_by(table.closed_at.desc(), table.session_id.desc())
        for column, value in ((table.name, query.name), (table.user_id, query.user_id), (table.ip, query.ip)):
            if value:
                wanted = wanted.where(column == value)
        if query.since is not None:
            wanted = wanted.where(table.closed_at >= query.since)
        if query.until is not None:
            wanted = wanted.where(table.closed_at < query.until)
        if query.before is not None:
            closed_at, session_id = query.before
            wanted = wanted.where(
                (table.closed_at < closed_at)
                | ((table.closed_at == closed_at) & (table.session_id < session_id))
            )
        return self._rows(wanted.limit(max(1, min(query.limit, MAX_ROWS))))

    def traffic(self, since: int, until: int, step: int, name: str = "") -> list[dict[str, Any]]:
        """Traffic from C{since} to C{until} (UTC milliseconds) in steps of C{step} milliseconds, by protocol.

        @raise JournalError: the database is away.
        """
        table = TRAFFIC.c
        begin = (table.minute - table.minute % step).label("at")
        wanted = (
            select(
                begin,
                table.proto,
                func.sum(table.bytes).label("bytes"),
                func.sum(table.opened).label("opened"),
            )
            .where(table.minute >= since, table.minute < until)
            .group_by(begin, table.proto)
            .order_by(begin, table.proto)
            .limit(100 * MAX_ROWS)
        )
        if name:
            wanted = wanted.where(table.name == name)
        return [
            {**row, "bytes": int(row["bytes"]), "opened": int(row["opened"])} for row in self._rows(wanted)
        ]

    def _rows(self, wanted: Any) -> list[dict[str, Any]]:
        try:
            with self._ready().connect() as connection:
                return [dict(row) for row in connection.execute(wanted).mappings()]
        except SQLAlchemyError as error:
            raise JournalError(self._text(error)) from None

    def _ready(self) -> Engine:
        if self._engine is None:
            raise JournalError(f"{self.shown}: not open")
        return self._engine

    def _write_all(self, rows: Sequence[Row]) -> None:
        with self._ready().begin() as connection:
            for table, cls in ((SESSIONS, SessionRow), (TRAFFIC, TrafficRow)):
                some = [asdict(row) for row in rows if isinstance(row, cls)]
                if some:
                    connection.execute(self._insert(table), some)

    def _write_each(self, rows: Sequence[Row]) -> list[tuple[Row, str]]:
        rejected = []
        for row in rows:
            try:
                self._write_all([row])
            except (DataError, IntegrityError) as error:
                rejected.append((row, self._text(error)))
            except SQLAlchemyError as error:
                raise JournalError(self._text(error)) from None
        return rejected

    def _insert(self, table: Table) -> Any:
        dialect: Any = postgresql if self._ready().dialect.name == "postgresql" else sqlite
        return dialect.insert(table).on_conflict_do_nothing()

    def _text(self, error: Exception) -> str:
        """What went wrong, in one line, without statement, values or password."""
        cause = getattr(error, "orig", None) or error
        text = " ".join(str(cause).split())[:300]
        query = self._url.normalized_query
        secrets = [self._url.password, *(query.get("password", ())), *(query.get("sslpassword", ()))]
        for password in filter(None, secrets):
            text = text.replace(str(password), "***")
        return f"{self.shown}: {text}"


def _engine(url: URL) -> Engine:
    if url.drivername == "sqlite":
        engine = create_engine(url, connect_args={"timeout": CONNECT_SECONDS})

        def opened(connection: Any, _: Any) -> None:
            cursor = connection.cursor()
            # Readers and the writer do not wait for each other. What is committed is on disk: the spool that
            # has it too is deleted after that.
            cursor.execute("PRAGMA journal_mode=WAL")
            cursor.execute("PRAGMA synchronous=FULL")
            cursor.close()

        event.listen(engine, "connect", opened)
        return engine
    return create_engine(
        url,
        pool_size=3,
        max_overflow=0,
        pool_timeout=CONNECT_SECONDS,
        pool_pre_ping=True,
        connect_args={
            "connect_timeout": CONNECT_SECONDS,
            "options": f"-c statement_timeout={STATEMENT_SECONDS * 1000}",
            "keepalives": 1,
            "keepalives_idle": 5,
            "keepalives_interval": 2,
            "keepalives_count": 3,
            "tcp_user_timeout": 10_000,
        },
    )
