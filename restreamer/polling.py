"""The reactor's turn, for many connections of which each has little to say.

Twisted's epoll reactor calls every ready descriptor inside a logging context of its own, and asks for as many
events as there are descriptors: a quarter of what answering a request for a playlist costs. This program's
log has no use for that context (its lines name their module). Everything else is Twisted's: what is not
simply "there is something to read" goes to the reactor's own method.
"""

from __future__ import annotations

import select
import sys
from collections.abc import Callable
from typing import Any, Final

from twisted.internet.epollreactor import EPollReactor
from twisted.python import log

#: Events taken at a time: timers do not wait for more.
MOST_EVENTS: Final = 512


def quicken(reactor: Any) -> bool:
    """Let C{reactor} poll by L{turn}; whether it is one that can. To be called before it runs."""
    if type(reactor) is not EPollReactor:
        return False
    reactor.doIteration = turn(reactor)  # type: ignore[method-assign]
    return True


def turn(reactor: Any) -> Callable[[float | None], None]:
    """What does one turn of C{reactor}: waits for events so many seconds at most, serves them."""
    poll = reactor._poller.poll
    selectables: dict[int, Any] = reactor._selectables
    readable = select.EPOLLIN

    def do_iteration(timeout: float | None) -> None:
        try:
            events = poll(-1 if timeout is None else timeout, MOST_EVENTS)
        except InterruptedError:
            return
        for descriptor, event in events:
            # One that was served before in this turn may have closed it.
            selectable = selectables.get(descriptor)
            if selectable is None:
                continue
            if event != readable:
                reactor._doReadOrWrite(selectable, descriptor, event)
                continue
            try:
                why = selectable.doRead()
            except BaseException:
                why = sys.exc_info()[1]
                log.err()
            if why:
                reactor._disconnectSelectable(selectable, why, True)

    return do_iteration
