"""The listening side of the HTTP front: the factory of its connections."""

from __future__ import annotations

import resource
from collections.abc import Sequence
from itertools import islice
from typing import Final

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IAddress, IDelayedCall, IReactorTime
from twisted.internet.protocol import Protocol, ServerFactory
from twisted.python.failure import Failure
from twisted.web.server import Site
from typing_extensions import override

from restreamer.addresses import is_loopback
from restreamer.buckets import AddressLines
from restreamer.http1.forwarded import TrustedProxies
from restreamer.http1.head import CLOSE, render_full
from restreamer.http1.reply import FullReply, HttpRequest, Route
from restreamer.web.connection import FrontConnection
from restreamer.web.front import FrontProtocol
from restreamer.web.limits import AccessLog, FrontCounters, FrontLimits, Room
from restreamer.web.shared_files import SharedFiles
from restreamer.web.wire import peer_host

#: Seconds a connection that was refused at accept may take to fetch its answer.
REFUSAL_TIMEOUT: Final = 5.0
#: Oldest connections that are looked at for an idle one when descriptors run out.
_EVICTION_SEARCH: Final = 2000
_EVICTIONS: Final = 2


_BUSY: Final = FullReply(
    status=503,
    headers=b"Content-Type: text/plain; charset=utf-8\r\nCache-Control: no-store\r\nRetry-After: 5\r\n",
    body=b"Too many connections\n",
)
BUSY_ANSWER: Final = b"".join(render_full(HttpRequest(method="GET", path="/"), _BUSY, CLOSE))


class RefusingProtocol(Protocol):
    """Says 503 to a connection over the limit, and closes it."""

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._timer: IDelayedCall | None = None

    @override
    def connectionMade(self) -> None:
        transport = self.transport
        assert transport is not None
        self._timer = self._clock.callLater(REFUSAL_TIMEOUT, self._abort)
        transport.write(BUSY_ANSWER)
        transport.loseConnection()

    @override
    def dataReceived(self, data: bytes) -> None:
        pass

    @override
    def connectionLost(self, reason: Failure | None = None) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _abort(self) -> None:
        self._timer = None
        abort = getattr(self.transport, "abortConnection", None)
        if abort is not None:
            abort()


class FrontFactory(ServerFactory):
    """Makes the front's connections and keeps count of them.

    @ivar routes: asked in order; the first that does not give None answers.
    @ivar site: takes the connections whose request no route wants; None means 404.
    @ivar counters: what happened so far.
    """

    noisy = False
    busy_answer = BUSY_ANSWER

    def __init__(
        self,
        clock: IReactorTime,
        routes: Sequence[Route],
        site: Site | None = None,
        limits: FrontLimits | None = None,
        access_log: AccessLog | None = None,
        proxies: TrustedProxies | None = None,
    ) -> None:
        self.clock = clock
        self.proxies = proxies if proxies is not None else TrustedProxies()
        self.routes = tuple(routes)
        self.site = site
        self.limits = limits if limits is not None else FrontLimits()
        self.access_log = access_log
        self.counters = FrontCounters()
        self.lines = AddressLines()
        self.files = SharedFiles(clock)
        self.draining = False
        most = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        self._descriptors = most - self.limits.reserve if most != resource.RLIM_INFINITY else None
        self._open: dict[FrontConnection, str] = {}
        self._per_address: dict[str, int] = {}
        self._drained: Deferred[None] | None = None
        self._drain_timer: IDelayedCall | None = None

    @override
    def stopFactory(self) -> None:
        self.files.close()

    @property
    def _for_links(self) -> int:
        """Half of what is kept from viewers is for nodes that come here."""
        return self.limits.reserve // 2

    @property
    def connections(self) -> int:
        """Connections open now, those handed over included."""
        return len(self._open)

    @override
    def buildProtocol(self, addr: IAddress | None) -> Protocol | None:
        if self.draining:
            return None
        host = peer_host(addr)
        limits = self.limits
        mine = self._per_address.get(host, 0)
        crowded = limits.per_address and mine >= limits.per_address and not self._speaks_for_many(host)
        over = len(self._open) - limits.connections
        if over >= self._for_links or crowded:
            self.counters.refused += 1
            return RefusingProtocol(self.clock)
        self.counters.accepted += 1
        self._per_address[host] = mine + 1
        protocol = FrontProtocol(self, host)
        protocol.for_link = over >= 0
        self._open[protocol] = host
        return protocol

    def _speaks_for_many(self, host: str) -> bool:
        return is_loopback(host) or self.proxies.trusts(host)

    def has_room(self, descriptor: int) -> Room:
        """Whether a new connection with that file descriptor may stay.

        It is the lowest free number, so it tells of everything that is open; but behind a bunch that came and
        went low numbers are free while high ones are taken, so connections are counted too. When the process
        has few left, the oldest idle connections make room: two for one, because connections come in bunches
        and are closed only after the bunch. Without an idle one there is some room for links of other nodes.
        """
        most = self._descriptors
        if most is None or (descriptor < most and len(self._open) <= most):
            return Room.YES
        oldest = islice(self._open, _EVICTION_SEARCH)
        idle = list(islice((protocol for protocol in oldest if protocol.idle), _EVICTIONS))
        for protocol in idle:
            protocol.drain()
        self.counters.evicted += len(idle)
        if idle:
            return Room.YES
        most += self._for_links
        if descriptor < most and len(self._open) <= most:
            return Room.FOR_LINKS
        self.counters.refused += 1
        return Room.NONE

    def forget(self, protocol: FrontConnection) -> None:
        """Called by a connection when it is lost."""
        host = self._open.pop(protocol, None)
        if host is None:
            return
        left = self._per_address[host] - 1
        if left:
            self._per_address[host] = left
        else:
            del self._per_address[host]
        if self._drained is not None and not self._open:
            self._finish_draining()

    def retire(self) -> None:
        """Another process takes requests from now on: connections close when they are idle, those of other
        nodes at once; what is being sent goes on.
        """
        self.draining = True
        for protocol in tuple(self._open):
            protocol.retire()

    def drain(self, grace: float) -> Deferred[None]:
        """Take no more requests; fires when every connection is closed.

        Idle connections close now, answers in work are finished, endless ones are cut after C{grace} seconds.
        """
        if self._drained is not None:
            raise RuntimeError("already draining")
        self.draining = True
        done = self._drained = Deferred[None]()
        for protocol in tuple(self._open):
            protocol.drain()
        if not self._open:
            self._finish_draining()
        else:
            self._drain_timer = self.clock.callLater(grace, self._cut)
        return done

    def _cut(self) -> None:
        self._drain_timer = None
        for protocol in tuple(self._open):
            protocol.abort()

    def _finish_draining(self) -> None:
        if self._drain_timer is not None:
            self._drain_timer.cancel()
            self._drain_timer = None
        done, self._drained = self._drained, None
        if done is not None:
            done.callback(None)
