"""The journal of a node as it is configured: which database, which folder, which threads."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

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
            spool = Spool(self._folder / "journal-spool")
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
