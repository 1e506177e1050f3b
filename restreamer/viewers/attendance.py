"""A connection that plays, as its session sees it."""

from __future__ import annotations

from collections.abc import Callable

from restreamer.seams import Account, FeedViewer


class Attendance:
    """Attaches a connection to its session when media begins, over pauses, until it ends.

    @param kick: called with a reason when the session may not go on, possibly before L{begin} returns.
    """

    __slots__ = ("_account", "_before", "_detach", "_kick", "_over", "_viewer")

    def __init__(self, account: Account | None, kick: Callable[[str], None]) -> None:
        self._account = account
        self._kick = kick
        self._viewer: FeedViewer | None = None
        self._before = 0
        self._detach: Callable[[], None] | None = None
        self._over = False

    @property
    def bytes_sent(self) -> int:
        """Media bytes so far."""
        viewer = self._viewer
        return self._before + (viewer.bytes_sent if viewer is not None else 0)

    def _sent(self) -> int:
        return self.bytes_sent

    def begin(self, viewer: FeedViewer) -> None:
        """C{viewer} sends from now on."""
        self._viewer = viewer
        viewing = self._account.viewing if self._account is not None else None
        if viewing is not None and self._detach is None and not self._over:
            detach = viewing.attach(self._sent, self._kick)
            if self._over:
                detach()
            else:
                self._detach = detach

    def pause(self) -> None:
        """Nothing is sent for now."""
        self._before = self.bytes_sent
        self._viewer = None

    def end(self) -> None:
        """It plays no more. Idempotent."""
        self._over = True
        detach, self._detach = self._detach, None
        if detach is not None:
            detach()
