"""Threads for files, apart from everything else that blocks.

A disk or a network share that does not answer then holds up requests for files and nothing else: the threads
are few, of their own, and do not keep the process from ending.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

#: Calls that run at once; the others wait in a line, bounded by whoever asks.
MAX_RUNNING = 4


class DiskThreads:
    """Runs what blocks, a few at once.

    @param reactor: for coming back from a thread.
    """

    def __init__(self, reactor: Any, max_running: int = MAX_RUNNING) -> None:
        self._reactor = reactor
        self._max_running = max_running
        self._running = 0
        self._line: deque[tuple[Deferred[Any], Callable[..., Any], tuple[Any, ...]]] = deque()

    def call(self, call: Callable[..., Any], *args: Any) -> Deferred[Any]:
        """The result of C{call(*args)}; a call that nobody waits for any more is not begun."""
        result: Deferred[Any] = Deferred()
        self._line.append((result, call, args))
        self._next()
        return result

    def _next(self) -> None:
        while self._line and self._running < self._max_running:
            result, call, args = self._line.popleft()
            if not result.called:
                self._running += 1
                threading.Thread(
                    target=self._run, args=(result, call, args), name="files", daemon=True
                ).start()

    def _run(self, result: Deferred[Any], call: Callable[..., Any], args: tuple[Any, ...]) -> None:
        """In a thread."""
        try:
            outcome = call(*args)
        except BaseException:
            outcome = Failure()
        self._reactor.callFromThread(self._done, result, outcome)

    def _done(self, result: Deferred[Any], outcome: Any) -> None:
        self._running -= 1
        self._next()
        if result.called:
            return
        if isinstance(outcome, Failure):
            result.errback(outcome)
        else:
            result.callback(outcome)
