"""Names of other nodes looked up apart from everything else.

Twisted asks the system in the reactor's pool of threads, where files are read, too: a name server that does
not answer would hold up inputs, reloads and the end of the process. Here a look-up has a daemon thread of its
own, few run at once, each has a limit; a name that cannot be looked up now keeps the addresses it had last.
"""

from __future__ import annotations

import socket
import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from attrs import define, field
from twisted.internet.abstract import isIPAddress, isIPv6Address
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.interfaces import IAddress, IHostnameResolver, IHostResolution, IResolutionReceiver
from zope.interface import implementer

from restreamer.seams import Timer

#: Look-ups that run at once; others wait in a line of at most L{MAX_WAITING}.
MAX_RUNNING = 4
MAX_WAITING = 256
#: Seconds a look-up may take, waiting included.
LIMIT = 3.0
#: Names whose last addresses are kept.
MAX_KEPT = 1000

_FAMILIES = {IPv4Address: socket.AF_INET, IPv6Address: socket.AF_INET6}


@implementer(IHostResolution)
@define(eq=False)
class _Lookup:
    name: str
    port: int
    family: int
    receiver: Any = field(repr=False)
    timer: Timer | None = None
    over: bool = False

    def cancel(self) -> None:
        """IHostResolution: the answer is not wanted any more."""
        self.over = True
        if self.timer is not None and self.timer.active():
            self.timer.cancel()


@implementer(IHostnameResolver)
class ImpatientResolver:
    """See the module.

    @param reactor: for time, and for coming back from a thread.
    @param getaddrinfo: C{socket.getaddrinfo}; blocks.
    """

    def __init__(self, reactor: Any, getaddrinfo: Callable[..., Any] = socket.getaddrinfo) -> None:
        self._reactor = reactor
        self._getaddrinfo = getaddrinfo
        self._running = 0
        self._waiting: deque[_Lookup] = deque()
        self._kept: dict[tuple[str, int], list[str]] = {}

    def resolveHostName(  # noqa: N802 - IHostnameResolver
        self,
        resolutionReceiver: IResolutionReceiver,  # noqa: N803
        hostName: str,  # noqa: N803
        portNumber: int = 0,  # noqa: N803
        addressTypes: Sequence[type[IAddress]] | None = None,  # noqa: N803
        transportSemantics: str = "TCP",  # noqa: N803
    ) -> IHostResolution:
        """IHostnameResolver: tell the receiver the addresses, none of them when there are none in time."""
        families = {_FAMILIES[kind] for kind in addressTypes or () if kind in _FAMILIES}
        family = families.pop() if len(families) == 1 else socket.AF_UNSPEC
        lookup = _Lookup(hostName, portNumber, family, resolutionReceiver)
        resolutionReceiver.resolutionBegan(lookup)
        if isIPAddress(hostName) or isIPv6Address(hostName):
            # Needs no looking up, and does not wait behind names that hang.
            self._answer(lookup, [hostName])
        elif len(self._waiting) >= MAX_WAITING:
            self._answer(lookup, None)
        else:
            lookup.timer = self._reactor.callLater(LIMIT, self._answer, lookup, None)
            self._waiting.append(lookup)
            self._next()
        return lookup

    def _next(self) -> None:
        while self._waiting and self._running < MAX_RUNNING:
            lookup = self._waiting.popleft()
            if not lookup.over:
                self._running += 1
                threading.Thread(target=self._ask, args=(lookup,), name="dns", daemon=True).start()

    def _ask(self, lookup: _Lookup) -> None:
        """In a thread."""
        try:
            rows = self._getaddrinfo(lookup.name, lookup.port, lookup.family, socket.SOCK_STREAM)
            found = list(dict.fromkeys(str(row[4][0]) for row in rows)) or None
        except (OSError, UnicodeError):
            found = None
        self._reactor.callFromThread(self._asked, lookup, found)

    def _asked(self, lookup: _Lookup, found: list[str] | None) -> None:
        self._running -= 1
        if found is not None:
            key = (lookup.name, lookup.family)
            self._kept.pop(key, None)
            self._kept[key] = found
            if len(self._kept) > MAX_KEPT:
                del self._kept[next(iter(self._kept))]
        self._answer(lookup, found)
        self._next()

    def _answer(self, lookup: _Lookup, found: list[str] | None) -> None:
        if lookup.over:
            return
        lookup.cancel()
        for address in found or self._kept.get((lookup.name, lookup.family), []):
            kind = IPv6Address if ":" in address else IPv4Address
            lookup.receiver.addressResolved(kind("TCP", address, lookup.port))
        lookup.receiver.resolutionComplete()
