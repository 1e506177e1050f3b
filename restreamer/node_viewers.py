"""The viewers of a node and of the nodes behind it: one book of sessions, told upwards, limited together."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from typing_extensions import override

from restreamer.cluster.session_receipts import SessionReceipts
from restreamer.cluster.session_reports import SessionReports
from restreamer.m4f.records import SessionClaim
from restreamer.seams import Clock
from restreamer.sessions.claims import Claim, Claims
from restreamer.sessions.limits import Upstream
from restreamer.sessions.remote_sessions import RemoteSessions
from restreamer.sessions.table import SessionTable
from restreamer.viewer_facts import SessionFacts


class NodeViewers(Upstream):
    """All sessions this node knows of; a L{restreamer.cluster.session_reports.SessionBook}.

    @param reports: what the sources of this node are told by.
    @ivar table: its own sessions; set once it is made (which needs L{claims}).
    @ivar claims: sessions of other nodes, for the limits. @ivar remote: the same, for the API.
    """

    table: SessionTable

    def __init__(self, clock: Clock, node_id: str, reports: Callable[[], Sequence[SessionReports]]) -> None:
        self._reports = reports
        self.remote = RemoteSessions(clock, node_id)
        self.claims = Claims(clock, self.remote)
        self.remote.listen(self)

    def serve(self, table: SessionTable) -> None:
        """C{table} has the sessions of this node from now on."""
        self.table = table
        self.claims.own = table
        self.claims.upstream = self
        table.listen(self)

    # The book.

    def __iter__(self) -> Iterator[SessionFacts]:
        yield from self.table
        yield from self.remote

    def ids(self, cluster: bool) -> Sequence[str]:
        """Ids of all sessions of this node, or also of those behind it."""
        return (*self.table.ids(), *(self.remote.ids() if cluster else ()))

    def find(self, session_id: str) -> SessionFacts | None:
        """One of them; None: it is over."""
        return self.table.find(session_id) or self.remote.find(session_id)

    def end(self, session_id: str, why: str = "kicked") -> bool:
        """End one, wherever it is served; whether it is known."""
        return self.table.kick(session_id, why) or self.remote.end(session_id, why)

    def ask_again(self, session_id: str) -> None:
        """Ask the backend of one again."""
        if not self.table.reauth(session_id=session_id):
            self.remote.ask_one_again(session_id)

    def reauth(self, name: str) -> int:
        """Ask the backends of all sessions of a stream again; how many there are."""
        return self.table.reauth(name) + self.remote.ask_again(name)

    # What happens to sessions.

    def session_event(self, event: str, facts: SessionFacts) -> None:
        """A session of this node: sources hear of its begin and end at once, of the rest in turns."""
        if facts.closed_at is not None or not event.endswith("_updated"):
            self.remote_changed(facts)

    def remote_changed(self, facts: SessionFacts) -> None:
        """A session of a node behind this one."""
        for reports in self._reports():
            reports.changed(facts)

    # Limits.

    def receipts(self) -> SessionReceipts:
        """Hears of the viewers of one node behind this one."""
        return SessionReceipts(self.remote, self._claimed)

    async def _claimed(self, record: SessionClaim) -> bool:
        return await self.claims.decide(
            Claim(
                name=record.name,
                session_id=record.session_id,
                user_id=record.user_id,
                user_limit=record.user_limit,
                stream_limit=record.stream_limit,
                unique=record.unique,
            )
        )

    @override
    async def claim(
        self,
        name: str,
        user_id: str,
        session_id: str,
        unique: bool,
        max_sessions_user: int | None,
        max_sessions_stream: int | None,
    ) -> bool | None:
        """Ask the source that feeds C{name}; None: none does, or it does not say."""
        for reports in self._reports():
            answer: Any = reports.claim(
                name, session_id, user_id, max_sessions_user, max_sessions_stream, unique
            )
            if answer is not None:
                granted: bool | None = await answer
                return granted
        return None
