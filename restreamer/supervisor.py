"""What a service manager is told, in the way of sd_notify(3): that the node is up, lives, ends.

The life signs come from the loop itself: a loop that hangs gives none, and systemd (C{WatchdogSec=}) ends
and restarts the process. Where no service manager asks for it, nothing is sent.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping

from restreamer.logs import Logger
from restreamer.seams import Clock, Timer

_log = Logger()

#: Life signs in the time after which the service manager gives up.
_SIGNS = 3


class Supervisor:
    """The service manager as the environment describes it.

    @param environment: C{NOTIFY_SOCKET}: where to send; C{WATCHDOG_USEC}: microseconds without a life sign
        after which the process is taken for dead; C{WATCHDOG_PID}: whose life signs they are.
    """

    def __init__(self, clock: Clock, environment: Mapping[str, str], pid: int | None = None) -> None:
        self._clock = clock
        self._timer: Timer | None = None
        self._socket: socket.socket | None = None
        self._failed = False
        where = environment.get("NOTIFY_SOCKET", "")
        # A leading @ stands for the zero byte of an abstract name; other forms are not for us.
        self._address = "\0" + where[1:] if where.startswith("@") else where
        if not where.startswith(("/", "@")):
            self._address = ""
        mine = environment.get("WATCHDOG_PID", "") in ("", str(os.getpid() if pid is None else pid))
        limit = environment.get("WATCHDOG_USEC", "")
        micro = int(limit) if mine and limit.isascii() and limit.isdigit() and len(limit) < 19 else 0
        self._every = micro / 1e6 / _SIGNS

    def start(self) -> None:
        """Say that the node is up, and from now on that it is alive."""
        if not self._address:
            return
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        self._tell(b"READY=1")
        if self._every > 0:
            self._timer = self._clock.callLater(self._every, self._sign)

    def hand_over(self, pid: int) -> None:
        """Say that process C{pid} is the service from now on; this one gives no life signs any more."""
        self._tell(b"MAINPID=%d" % pid)
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self._timer = None
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def stop(self) -> None:
        """Say that the node ends; no life signs any more."""
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self._timer = None
        if self._socket is not None:
            self._tell(b"STOPPING=1")
            self._socket.close()
            self._socket = None

    def _sign(self) -> None:
        self._timer = self._clock.callLater(self._every, self._sign)
        self._tell(b"WATCHDOG=1")

    def _tell(self, what: bytes) -> None:
        if self._socket is None:
            return
        try:
            self._socket.sendto(what, self._address)
        except OSError as error:
            if not self._failed:
                _log.warn("the service manager is not told {what}: {error}", what=what.decode(), error=error)
            self._failed = True
        else:
            self._failed = False
