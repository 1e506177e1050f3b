"""The route by which other nodes come in: C{GET /m4f} with C{Upgrade: m4f} on the node's HTTP port."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from restreamer.addresses import is_loopback
from restreamer.cluster.link_protocol import PULLER_IDLE_SECONDS, LinkProtocol
from restreamer.cluster.seams import LinkHandler
from restreamer.cluster.traffic import LinkTraffic
from restreamer.failures import FailureWindow
from restreamer.http1.reply import FullReply, HttpRequest, Reply, Route, UpgradeReply
from restreamer.logs import Logger
from restreamer.m4f.link import Authorised, Link
from restreamer.m4f.upgrade import UPGRADE_PATH, UPGRADE_TOKEN, is_upgrade
from restreamer.seams import Clock

_log = Logger()

#: So many failed authorisations of one address within so many seconds, and it has to wait.
MAX_FAILURES = 10
FAILURE_SECONDS = 60.0

_HEADERS = f"Connection: Upgrade\r\nUpgrade: {UPGRADE_TOKEN}\r\n".encode()
_PLAIN = b"Content-Type: text/plain; charset=utf-8\r\nCache-Control: no-store\r\n"


def link_route(
    node_id: bytes,
    keys: Callable[[], Sequence[bytes]],
    nonce: Callable[[], bytes],
    handler: Callable[[Authorised], LinkHandler],
    clock: Clock,
    traffic: LinkTraffic | None = None,
) -> Route:
    """The route.

    @param keys: the derived cluster keys that are accepted now; none: no node is let in.
    @param nonce: 16 fresh random bytes per call. @param handler: who speaks with an authorised node.
    @param traffic: counts what all links of this route carry.
    """

    failures = FailureWindow(MAX_FAILURES, FAILURE_SECONDS)

    def route(request: HttpRequest) -> Reply | None:
        if request.path != UPGRADE_PATH:
            return None
        if request.method != "GET" or not is_upgrade(request.headers):
            return FullReply(status=426, headers=_PLAIN + _HEADERS, body=b"This path is for other nodes.\n")
        accepted = tuple(keys())
        if not accepted:
            _log.warn("link from {peer} refused: no cluster_key is configured here", peer=request.peer)
            return FullReply(status=403, headers=_PLAIN, body=b"This node takes no links.\n")

        peer = request.peer
        if not is_loopback(peer) and failures.blocked(peer, clock.seconds()):
            return FullReply(
                status=429, headers=_PLAIN + b"Retry-After: 60\r\n", body=b"Too many failures.\n"
            )

        def protocol() -> LinkProtocol:
            link = Link("server", node_id, accepted, nonce())
            return LinkProtocol(
                link,
                handler,
                clock,
                PULLER_IDLE_SECONDS,
                peer,
                refused=lambda: failures.failed(peer, clock.seconds()),
                traffic=traffic,
            )

        return UpgradeReply(headers=_HEADERS, protocol=protocol)

    return route
