"""What the listener of the HTTP front gives each of its connections: limits, counters, routes."""

from __future__ import annotations

import enum
from collections.abc import Callable
from typing import Any, Protocol

from attrs import define, frozen

from restreamer.buckets import AddressLines
from restreamer.http1.forwarded import TrustedProxies
from restreamer.http1.reply import Route
from restreamer.web.shared_files import SharedFiles

#: Told (peer, method, path, status, body bytes) for each answer of the front; never a query.
AccessLog = Callable[[str, str, str, int, int], None]


@frozen(kw_only=True)
class FrontLimits:
    """What one listener lets its clients take; times in seconds.

    @ivar connections: open connections at once; @ivar per_address: of one address (0 = no limit).
    @ivar head_timeout: from the first byte of a head to its last, absolute.
    @ivar idle_timeout: between requests; @ivar handshake_timeout: for the TLS handshake.
    @ivar wait_timeout: for a route to decide (a route has its own, shorter, bounded waits).
    @ivar stall_timeout: without a byte of the answer leaving for the client.
    @ivar body_timeout: for an answer that is written piece by piece, as a whole.
    @ivar upload_timeout: without a byte of a body that is being taken.
    @ivar close_timeout: for a closing connection to be really closed.
    @ivar site_timeout: for a connection handed over to the site, as a whole.
    @ivar requests: answers per connection; @ivar requests_per_turn: pipelined requests in one turn.
    @ivar buffered: bytes of later requests read while one is in work.
    @ivar body: bytes of a request body that may go to the site; a longer one only if the site says so.
    @ivar link_timeout: for the request, where there is room for links of other nodes only.
    @ivar reserve: file descriptors of the process kept from viewers, for publishers, links and files; half
        of it is room for links of nodes that come here, also above C{connections}.
    """

    connections: int = 20_000
    per_address: int = 200
    head_timeout: float = 10.0
    idle_timeout: float = 30.0
    handshake_timeout: float = 5.0
    wait_timeout: float = 30.0
    stall_timeout: float = 10.0
    body_timeout: float = 60.0
    upload_timeout: float = 20.0
    close_timeout: float = 5.0
    site_timeout: float = 300.0
    requests: int = 1_000_000
    requests_per_turn: int = 16
    buffered: int = 32 * 1024
    body: int = 64 * 1024
    link_timeout: float = 2.0
    reserve: int = 64


class Room(enum.Enum):
    """Whether there is room for a new connection: for any, for the link of another node, for none."""

    YES = enum.auto()
    FOR_LINKS = enum.auto()
    NONE = enum.auto()


@define(eq=False)
class FrontCounters:
    """What one front did since it started.

    @ivar accepted, refused: connections; @ivar evicted: idle ones closed to make room for new ones.
    @ivar requests: heads answered by the front's own routes.
    @ivar bytes_sent: head and body bytes of full answers; @ivar errors: answers of status 500 and more.
    @ivar bad_heads: connections closed for a bad head; @ivar head_timeouts: for a slow one.
    @ivar wait_timeouts: requests no route decided in time; @ivar stalled: readers that were aborted.
    @ivar handed_over: connections given to the site; @ivar upgraded: given to another protocol.
    @ivar endless: endless answers begun; @ivar cut_bodies: answers whose writer did not finish them.
    @ivar uploads: bodies begun to be taken; @ivar upload_timeouts: of which no more came.
    @ivar failures: exceptions of routes (each one a bug).
    """

    accepted: int = 0
    refused: int = 0
    evicted: int = 0
    requests: int = 0
    bytes_sent: int = 0
    errors: int = 0
    bad_heads: int = 0
    head_timeouts: int = 0
    wait_timeouts: int = 0
    stalled: int = 0
    handed_over: int = 0
    upgraded: int = 0
    endless: int = 0
    cut_bodies: int = 0
    uploads: int = 0
    upload_timeouts: int = 0
    failures: int = 0


class Front(Protocol):
    """The factory as its connections see it (L{restreamer.web.service.FrontFactory}).

    @ivar clock: the reactor's time. @ivar site: takes connections whose request no route wants; None: 404.
    @ivar lines: what of an address the log is told. @ivar files: of bodies that many ask for.
    @ivar proxies: of whom C{X-Forwarded-For} is believed.
    @ivar draining: no more requests are taken. @ivar busy_answer: what is said when there is no room.
    """

    clock: Any
    routes: tuple[Route, ...]
    site: Any
    limits: FrontLimits
    proxies: TrustedProxies
    access_log: AccessLog | None
    counters: FrontCounters
    lines: AddressLines
    files: SharedFiles
    draining: bool
    busy_answer: bytes

    def has_room(self, descriptor: int) -> Room:
        """Whether a new connection with that file descriptor may stay."""
        ...

    def forget(self, protocol: Any) -> None:
        """Called by a connection when it is lost."""
        ...
