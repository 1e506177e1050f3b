"""Threads for files, apart from everything else that blocks.

A disk or a network share that does not answer then holds up requests for files and nothing else: the threads
are few, of their own, and do not keep the process from ending.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

#: Calls that run at once; the others wait in a line, bounded by whoever asks.
MAX_RUNNING = 4

_Work = tuple[Callable[..., Any], tuple[Any, ...]]


class DiskThreads:
    """Runs what blocks, a few at once.

    @param reactor: for time and for coming back from a thread.
    """

    def __init__(self, reactor: Any, max_running: int = MAX_RUNNING) -> None:
        self._reactor = reactor
        self._max_running = max_running
        #: When each began that runs, the latest last; cancelled ones too, as long as their threads live.
        self._running: dict[Deferred[Any], float] = {}
        self._line: OrderedDict[Deferred[Any], _Work] = OrderedDict()

    @property
    def waiting(self) -> int:
        """Calls that wait for a thread."""
        return len(self._line)

    def hung_for(self) -> float:
        """Seconds for which all threads have been held up by the calls they run; 0: one is free."""
        if len(self._running) < self._max_running:
            return 0.0
        began: float = self._running[next(reversed(self._running))]
        return float(self._reactor.seconds()) - began

    def call(self, call: Callable[..., Any], *args: Any) -> Deferred[Any]:
        """The result of C{call(*args)}; a call that is cancelled while it waits leaves the line, unmade."""
        result: Deferred[Any] = Deferred(self._leave)
        self._line[result] = (call, args)
        self._next()
        return result

    def _leave(self, result: Deferred[Any]) -> None:
        self._line.pop(result, None)

    def _next(self) -> None:
        while self._line and len(self._running) < self._max_running:
            result, (call, args) = self._line.popitem(last=False)
            self._running[result] = self._reactor.seconds()
            threading.Thread(target=self._run, args=(result, call, args), name="files", daemon=True).start()

    def _run(self, result: Deferred[Any], call: Callable[..., Any], args: tuple[Any, ...]) -> None:
        """In a thread."""
        try:
            outcome = call(*args)
        except BaseException:
            outcome = Failure()
        self._reactor.callFromThread(self._done, result, outcome)

    def _done(self, result: Deferred[Any], outcome: Any) -> None:
        del self._running[result]
        self._next()
        if result.called:
            return
        if isinstance(outcome, Failure):
            result.errback(outcome)
        else:
            result.callback(outcome)
