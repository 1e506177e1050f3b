"""The journal of a node: rows go to the spool once a second, and from there to the database.

Neither waits for the other: while a database is away the spool grows, and what is in it is loaded when the
database is back. All disk and database work is done in threads.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from typing import Any

from attrs import frozen
from twisted.application.service import Service
from twisted.internet.defer import Deferred
from typing_extensions import override

from restreamer.journal.database import Database, JournalError, SessionQuery
from restreamer.journal.rows import Row, SessionRow, TrafficRow
from restreamer.journal.spool import Spool
from restreamer.logs import Logger
from restreamer.seams import Clock, Timer
from restreamer.viewer_facts import SessionFacts

_log = Logger()

#: Seconds from one writing of the spool to the next.
FLUSH_SECONDS = 1.0
#: Rows in memory that wait for the spool; beyond that the oldest are given up.
MAX_WAITING = 200_000
#: Rows of one file of the spool, which is one transaction.
FILE_ROWS = 5000
#: Seconds until a database that is away is tried again: at first, and at most.
FIRST_PAUSE, LONGEST_PAUSE = 1.0, 30.0
#: Seconds from one deletion of what is too old to the next.
PRUNE_SECONDS = 600.0
MINUTE = 60_000

#: Runs something that blocks in a thread of its own; what is given to one of them is done in order.
Lane = Callable[..., Deferred[Any]]


@frozen(kw_only=True)
class JournalFacts:
    """How the journal is.

    @ivar state: C{ok}, C{away} (the database), C{off}. @ivar url: without its password.
    @ivar waiting: rows in memory; @ivar spooled: bytes on disk that are not in the database yet.
    @ivar written, @ivar lost, @ivar rejected: rows so far; rejected ones the database will never take.
    @ivar last_error: the newest, or empty.
    """

    state: str
    url: str
    waiting: int
    spooled: int
    written: int
    lost: int
    rejected: int
    last_error: str


class Journal(Service):
    """A L{restreamer.sessions.table.SessionListener} that writes down what is over.

    @param spool_lane, base_lane: threads for the spool and for the database.
    @param traffic: what every stream sent by every protocol since the last call, for the minute given.
    @param depth: seconds that rows are kept; None: for ever.
    """

    def __init__(
        self,
        clock: Clock,
        utc_ms: Callable[[], int],
        database: Database,
        spool: Spool,
        spool_lane: Lane,
        base_lane: Lane,
        traffic: Callable[[int], Iterable[TrafficRow]] = lambda minute: (),
        depth: float | None = None,
    ) -> None:
        self._clock = clock
        self._utc_ms = utc_ms
        self._database = database
        self._spool = spool
        self._spool_lane = spool_lane
        self._base_lane = base_lane
        self._traffic = traffic
        self.depth = depth
        self._rows: deque[Row] = deque()
        self._flushing: Deferred[Any] | None = None
        self._loading: Deferred[Any] | None = None
        self._timer: Timer | None = None
        self._retry: Timer | None = None
        self._pause = FIRST_PAUSE
        self._pruned_at: float | None = None
        self._minute = utc_ms() // MINUTE
        self._away = False
        self._written = 0
        self._lost = 0
        self._rejected = 0
        self._error = ""

    @override
    def startService(self) -> None:
        """Begin, with what the last run left in the spool."""
        super().startService()
        self._timer = self._clock.callLater(FLUSH_SECONDS, self._tick)
        self._load()

    @override
    def stopService(self) -> Deferred[Any]:
        """Have everything on disk; fires when it is. What is not in the database then is loaded next time."""
        super().stopService()
        for timer in (self._timer, self._retry):
            if timer is not None and timer.active():
                timer.cancel()
        return Deferred.fromCoroutine(self._finish())

    def session_event(self, event: str, facts: SessionFacts) -> None:
        """Write down a session that is over."""
        if facts.closed_at is not None:
            self._add(SessionRow.of(facts))

    def facts(self) -> JournalFacts:
        """How it is."""
        return JournalFacts(
            state="away" if self._away else "ok",
            url=self._database.shown,
            waiting=len(self._rows),
            spooled=self._spool.size,
            written=self._written,
            lost=self._lost + self._spool.lost,
            rejected=self._rejected + self._spool.broken,
            last_error=self._error,
        )

    def sessions(self, query: SessionQuery) -> Deferred[list[dict[str, Any]]]:
        """Closed sessions, the newest first; fails with L{JournalError}."""
        return self._base_lane(self._database.sessions, query)

    def traffic(self, since: int, until: int, step: int, name: str = "") -> Deferred[list[dict[str, Any]]]:
        """Traffic by protocol (L{Database.traffic}); fails with L{JournalError}."""
        return self._base_lane(self._database.traffic, since, until, step, name)

    # Inside.

    def _add(self, row: Row) -> None:
        if len(self._rows) >= MAX_WAITING:
            self._rows.popleft()
            self._lost += 1
        self._rows.append(row)

    def _tick(self) -> None:
        self._timer = self._clock.callLater(FLUSH_SECONDS, self._tick)
        try:
            self._end_minute()
        except Exception:
            _log.failure("the traffic of a minute was not written down")
        self._flush()
        self._prune()

    def _end_minute(self) -> None:
        minute = self._utc_ms() // MINUTE
        if minute != self._minute:
            over, self._minute = self._minute, minute
            for row in self._traffic(over * MINUTE):
                self._add(row)

    def _flush(self) -> None:
        """Have the next rows on disk; then the rest, then load them."""
        if self._flushing is not None or not self._rows:
            return
        rows = [self._rows.popleft() for _ in range(min(FILE_ROWS, len(self._rows)))]

        def done(number: int) -> None:
            self._flushing = None
            self._load()
            self._flush()

        def failed(failure: Any) -> None:
            self._flushing = None
            self._rows.extendleft(reversed(rows))
            while len(self._rows) > MAX_WAITING:
                self._rows.popleft()
                self._lost += 1
            self._said(f"the spool cannot be written: {failure.value}")

        self._flushing = self._spool_lane(self._spool.append, rows)
        _ = self._flushing.addCallbacks(done, failed)

    def _load(self) -> None:
        """Bring the oldest file of the spool into the database; then the next one."""
        waits = self._retry is not None and self._retry.active()
        if self._loading is not None or waits or not self._spool.files or not self.running:
            return
        number = self._spool.files[0]

        def done(result: tuple[int, list[tuple[Row, str]]]) -> None:
            self._loading = None
            count, rejected = result
            self._written += count - len(rejected)
            self._rejected += len(rejected)
            for _, why in rejected[:1]:
                self._said(f"{len(rejected)} rows are not taken: {why}")
            if self._away:
                self._away = False
                _log.info("the journal is written to {url} again", url=self._database.shown)
            self._pause = FIRST_PAUSE
            self._load()

        def failed(failure: Any) -> None:
            self._loading = None
            if failure.check(JournalError, OSError) is None:
                _log.failure("the journal is not written", failure)
            if not self._away:
                self._away = True
                self._said(str(failure.value))
            if self.running:
                self._retry = self._clock.callLater(self._pause, self._load)
                self._pause = min(2 * self._pause, LONGEST_PAUSE)

        self._loading = self._base_lane(self._carry, number)
        _ = self._loading.addCallbacks(done, failed)

    def _carry(self, number: int) -> tuple[int, list[tuple[Row, str]]]:
        """One file from the spool into the database (in a thread)."""
        try:
            self._database.open()
            try:
                rows = self._spool.load(number)
            except OSError as error:
                self._spool.set_aside(number, error)
                return 0, []
            written = self._database.write(rows)
        except JournalError:
            self._database.close()
            raise
        self._spool.drop(number)
        return len(rows), written.rejected

    def _prune(self) -> None:
        now = self._clock.seconds()
        if (
            self.depth is None
            or self._away
            or (self._pruned_at is not None and now - self._pruned_at < PRUNE_SECONDS)
        ):
            return
        self._pruned_at = now
        before = self._utc_ms() - int(self.depth * 1000)

        def pruned(count: int) -> None:
            if count and self.running:
                # There may be more.
                self._pruned_at = now - PRUNE_SECONDS + 2 * FLUSH_SECONDS

        def failed(failure: Any) -> None:
            if failure.check(JournalError) is None:
                _log.failure("the journal is not pruned", failure)

        _ = self._base_lane(self._pruned, before).addCallbacks(pruned, failed)

    def _pruned(self, before: int) -> int:
        self._database.open()
        return self._database.prune(before)

    async def _finish(self) -> None:
        self._end_minute_now()
        for _ in range(2):
            if self._flushing is not None:
                await _settled(self._flushing)
            while self._rows:
                rows = [self._rows.popleft() for _ in range(min(FILE_ROWS, len(self._rows)))]
                try:
                    await self._spool_lane(self._spool.append, rows)
                except OSError as error:
                    self._said(f"the spool cannot be written: {error}")
                    self._lost += len(rows)
        if self._loading is not None:
            await _settled(self._loading)
        if not self._away:
            try:
                while self._spool.files:
                    count, rejected = await self._base_lane(self._carry, self._spool.files[0])
                    self._written += count - len(rejected)
            except (JournalError, OSError) as error:
                self._said(str(error))
        await self._base_lane(self._database.close)

    def _end_minute_now(self) -> None:
        try:
            for row in self._traffic(self._utc_ms() // MINUTE * MINUTE):
                self._add(row)
        except Exception:
            _log.failure("the traffic of a minute was not written down")

    def _said(self, what: str) -> None:
        if what != self._error:
            _log.error("journal: {what}", what=what)
        self._error = what


async def _settled(work: Deferred[Any]) -> None:
    """Wait until C{work} is done, whatever came of it."""
    over: Deferred[None] = Deferred()

    def tell(result: Any) -> Any:
        over.callback(None)
        return result

    _ = work.addBoth(tell)
    await over
