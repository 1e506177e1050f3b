"""The reactor's turn, for many connections of which each has little to say.

Twisted's epoll reactor calls every ready descriptor inside a logging context of its own, and asks for as many
events as there are descriptors: a quarter of what answering a request for a playlist costs. This program's
log has no use for that context (its lines name their module). And it serves all that is ready before any
timer: when thousands of viewers can be written to again at once, that is a quarter of a second. Here a turn
ends after L{TURN_SECONDS}; what was ready then is served in the next one, before anything else.

A thread that computes (the journal writes down those who left) gets L{SWITCH_SECONDS} at a time. Python's own
5 ms are what the reactor would wait after each system call of its own, as it lets the others in for that.

The rest is Twisted's: what is not simply "there is something to read" goes to the reactor's own method.
"""

from __future__ import annotations

import select
import sys
from collections.abc import Callable
from typing import Any, Final

from twisted.internet.epollreactor import EPollReactor
from twisted.python import log

#: Events taken at a time.
MOST_EVENTS: Final = 256
#: Seconds of a turn, and after how many events the clock is looked at.
TURN_SECONDS: Final = 0.0015
_LOOK: Final = 8
#: Seconds that a thread goes on while others wait for the interpreter.
SWITCH_SECONDS: Final = 0.0005


def quicken(reactor: Any) -> bool:
    """Let C{reactor} poll by L{turn}; whether it is one that can. To be called before it runs."""
    if type(reactor) is not EPollReactor:
        return False
    sys.setswitchinterval(SWITCH_SECONDS)
    reactor.doIteration = turn(reactor)  # type: ignore[method-assign]
    return True


def turn(reactor: Any) -> Callable[[float | None], None]:
    """What does one turn of C{reactor}: waits for events so many seconds at most, serves them.

    The time is that of C{reactor.seconds} as it is now.
    """
    poll = reactor._poller.poll
    find: Callable[[int], Any] = reactor._selectables.get
    seconds: Callable[[], float] = reactor.seconds
    readable = select.EPOLLIN
    left: list[tuple[Any, int, int]] = []

    def do_iteration(timeout: float | None) -> None:
        nonlocal left
        if left:
            ready, left = left, []
        else:
            try:
                events = poll(-1 if timeout is None else timeout, MOST_EVENTS)
            except InterruptedError:
                return
            ready = [(find(descriptor), descriptor, event) for descriptor, event in events]
        until = seconds() + TURN_SECONDS
        for number, (selectable, descriptor, event) in enumerate(ready, 1):
            # One that was served before may have closed it, and its number may be another's by now.
            if selectable is not None and find(descriptor) is selectable:
                if event != readable:
                    reactor._doReadOrWrite(selectable, descriptor, event)
                else:
                    try:
                        why = selectable.doRead()
                    except BaseException:
                        why = sys.exc_info()[1]
                        log.err()
                    if why:
                        reactor._disconnectSelectable(selectable, why, True)
            if not number % _LOOK and seconds() >= until:
                left = ready[number:]
                return

    return do_iteration
