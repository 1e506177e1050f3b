"""Endless bodies that belong to a session: counted for it, and ended with it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from restreamer.errors import Refused
from restreamer.http1.reply import EndlessBody
from restreamer.seams import Account, ViewerTransport


class Sending(Protocol):
    """What sends an endless body."""

    @property
    def bytes_sent(self) -> int:
        """Bytes of the body so far."""
        ...

    def leave(self) -> None:
        """Send nothing more. Idempotent."""
        ...


#: Begins to send to a transport; calls back with a reason when there is no more. May raise L{Refused}.
Begin = Callable[[ViewerTransport, Callable[[str], None]], Sending]


def _nothing() -> None:
    """There is nothing to leave."""


def attended(account: Account | None, begin: Begin) -> EndlessBody:
    """The body that C{begin} sends, for the session that C{account} has when it begins.

    When the session may not go on nothing more is sent, and the connection closes.
    """

    def start(transport: ViewerTransport, ended: Callable[[str], None]) -> Callable[[], None]:
        body = _Attended(ended)
        try:
            body.sending = begin(transport, body.over)
        except Refused as refused:
            # What was there a moment ago is not any more.
            ended(refused.text)
            return _nothing
        viewing = account.viewing if account is not None else None
        if viewing is not None and not body.done:
            detach = viewing.attach(body.sent, body.kick)
            if body.done:
                detach()
            else:
                body.detach = detach
        return body.stop

    return start


class _Attended:
    """One body. @ivar done: it is over, in whatever way."""

    __slots__ = ("_ended", "detach", "done", "sending")

    def __init__(self, ended: Callable[[str], None]) -> None:
        self._ended = ended
        self.detach: Callable[[], None] = _nothing
        self.sending: Sending | None = None
        self.done = False

    def sent(self) -> int:
        """Bytes so far."""
        return self.sending.bytes_sent if self.sending is not None else 0

    def over(self, reason: str) -> None:
        """There is no more."""
        if not self.done:
            self.done = True
            self.detach()
            self._ended(reason)

    def kick(self, why: str) -> None:
        """The session may not go on."""
        if self.sending is not None and not self.done:
            self.sending.leave()
            self.over(why)

    def stop(self) -> None:
        """The client is gone."""
        self.done = True
        self.detach()
        if self.sending is not None:
            self.sending.leave()
