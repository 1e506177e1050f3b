"""The state file of a running node: written in a thread while it runs, and once more when it ends."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred, succeed

from restreamer.logs import Logger
from restreamer.seams import Clock, Timer
from restreamer.state_file import StateFile

_log = Logger()

#: How often the state file is written when something changed, seconds.
SAVE_EVERY = 1.0


class KeptState:
    """See the module. @param in_thread: runs something that blocks in a thread."""

    def __init__(self, clock: Clock, state: StateFile, in_thread: Callable[..., Deferred[Any]]) -> None:
        self._clock = clock
        self._state = state
        self._in_thread = in_thread
        self._timer: Timer | None = None
        self._writing = False
        self._ended: Deferred[None] | None = None

    def start(self) -> None:
        """Write now and then."""
        self._timer = self._clock.callLater(SAVE_EVERY, self._save)

    def finish(self) -> Deferred[None]:
        """Write for the last time; fires when that is done."""
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self._timer = None
        if self._writing:
            self._ended = Deferred()
            return self._ended
        self._state.save()
        return succeed(None)

    def _save(self) -> None:
        try:
            text = self._state.changes()
        except Exception:
            _log.failure("the state was not kept")
            text = None
        if text is None:
            self.start()
            return
        self._writing = True
        writing = self._in_thread(self._state.write, text)
        _ = writing.addErrback(lambda failure: _log.failure("the state was not kept", failure))
        _ = writing.addBoth(self._written)

    def _written(self, _: object) -> None:
        self._writing = False
        if self._ended is None:
            self.start()
        else:
            # What changed meanwhile comes last, never under what was written before.
            self._state.save()
            self._ended.callback(None)
