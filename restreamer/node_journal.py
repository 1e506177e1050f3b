"""The journal of a node as it is configured: which database, which folder, which threads."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Final

from twisted.internet.defer import Deferred, succeed

from restreamer.config.model import JournalConfig
from restreamer.journal.database import Database, checked_url
from restreamer.journal.rows import TrafficRow
from restreamer.journal.service import Journal
from restreamer.journal.spool import Spool
from restreamer.logs import Logger
from restreamer.sessions.table import SessionTable
from restreamer.viewer_facts import SessionFacts
from restreamer.vod.disk import DiskThreads

_log = Logger()

#: Where rows wait for the database.
_SPOOL: Final = "journal-spool"


class NodeJournal:
    """A L{restreamer.sessions.table.SessionListener}, and what a minute of traffic is made of.

    @ivar journal: the one in force; None: nothing is written.
    """

    def __init__(
        self,
        reactor: Any,
        table: SessionTable,
        node_id: str,
        utc_ms: Callable[[], int],
        state_dir: str,
    ) -> None:
        self.journal: Journal | None = None
        self._reactor = reactor
        self._table = table
        self._node_id = node_id
        self._utc_ms = utc_ms
        self._folder = Path(state_dir) if state_dir else None
        self._epoch = utc_ms()
        self._config: JournalConfig | None = None
        self._opened: dict[tuple[str, str], int] = {}
        self._ending: Deferred[Any] = succeed(None)
        self._spool = _SPOOL
        table.listen(self)

    def configure(self, config: JournalConfig) -> None:
        """Write where C{config} says from now on."""
        if config == self._config:
            return
        self._config = config
        _ = self.close()
        url = config.url
        if config.off or self._folder is None:
            return
        if not url:
            url = f"sqlite:///{self._folder / 'journal.db'}"
        try:
            spool = Spool(self._folder / self._spool)
            if self._spool == _SPOOL:
                _adopt_spools(self._folder, spool)
            database = Database(checked_url(url))
        except (OSError, ValueError) as error:
            _log.error("the journal cannot be kept: {error}", error=error)
            return
        self.journal = Journal(
            self._reactor,
            self._utc_ms,
            database,
            spool,
            DiskThreads(self._reactor, 1).call,
            DiskThreads(self._reactor, 1).call,
            self._minute,
            config.depth,
        )
        # Two journals never load one spool at a time.
        journal = self.journal
        _ = self._ending.addBoth(lambda _: journal.startService() if journal is self.journal else None)

    def retire(self) -> Deferred[Any]:
        """Another process keeps the journal from now on; what is left to tell here is told beside it.

        @return: fires when what is on disk may be taken over.
        """
        config, self._config = self._config, None
        self._spool = f"{_SPOOL}-{os.getpid()}"
        closed = self.close()
        if config is not None:
            self.configure(config)
        return closed

    def close(self) -> Deferred[Any]:
        """Write down what there is; fires when it is on disk."""
        journal, self.journal = self.journal, None
        if journal is not None:
            ending = journal.stopService() if journal.running else succeed(None)
            self._ending = ending.addErrback(
                lambda failure: _log.failure("the journal did not end in order", failure)
            )
        over: Deferred[Any] = Deferred()
        _ = self._ending.addBoth(over.callback)
        return over

    def session_event(self, event: str, facts: SessionFacts) -> None:
        """Count a session that begins, write down one that is over."""
        if event == "play_opened":
            where = (facts.name, facts.proto)
            self._opened[where] = self._opened.get(where, 0) + 1
        never_was = facts.closed_why == "denied" and facts.started_at is None
        if self.journal is not None and not never_was:
            self.journal.session_event(event, facts)

    def _minute(self, minute: int) -> Iterable[TrafficRow]:
        sent, viewers = self._table.take_traffic(), self._table.counts()
        opened, self._opened = self._opened, {}
        for where in sorted(sent.keys() | viewers.keys() | opened.keys()):
            name, proto = where
            yield TrafficRow(
                minute=minute,
                node_id=self._node_id,
                epoch=self._epoch,
                name=name,
                proto=proto,
                bytes=sent.get(where, 0),
                opened=opened.get(where, 0),
                viewers=viewers.get(where, 0),
            )


def _adopt_spools(folder: Path, spool: Spool) -> None:
    """Take what processes that are gone left to be told."""
    for left in sorted(folder.glob(f"{_SPOOL}-*")):
        pid = left.name.rpartition("-")[2]
        if not pid.isdigit() or os.path.exists(f"/proc/{pid}"):
            continue
        try:
            old = Spool(left)
            for number in old.files:
                spool.append(old.load(number))
                old.drop(number)
            left.rmdir()
        except OSError as error:
            _log.error("rows of {folder} are not told: {error}", folder=left, error=error)
