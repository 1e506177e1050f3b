"""The route by which other nodes come in: C{GET /m4f} with C{Upgrade: m4f} on the node's HTTP port.

An address that failed to prove the key too often is not shut out, for a node with the right key may be behind
it, too: its handshakes are made a few at a time, and one that fails learns so late. So guessing stays slow.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from attrs import define, field

from restreamer.addresses import is_loopback
from restreamer.cluster.link_protocol import PULLER_IDLE_SECONDS, LinkProtocol
from restreamer.cluster.seams import LinkHandler
from restreamer.cluster.traffic import LinkTraffic
from restreamer.failures import FailureWindow, SaidLately
from restreamer.http1.reply import FullReply, HttpRequest, Reply, Route, UpgradeReply
from restreamer.logs import Logger
from restreamer.m4f.link import Authorised, Link
from restreamer.m4f.upgrade import UPGRADE_PATH, UPGRADE_TOKEN, is_upgrade
from restreamer.seams import Clock

_log = Logger()

#: So many failed authorisations of one address within so many seconds, and it is slowed down.
MAX_FAILURES = 10
FAILURE_SECONDS = 60.0
#: Handshakes that an address which is slowed down may have at once; what is above is answered with 429.
MAX_SLOW = 4
#: Seconds after which it is told that it failed: less than its connector waits (5 s).
SLOW_SECONDS = 3.0
#: Why an address is refused is said again after so many seconds.
SAY_AGAIN_SECONDS = 60.0

_HEADERS = f"Connection: Upgrade\r\nUpgrade: {UPGRADE_TOKEN}\r\n".encode()
_PLAIN = b"Content-Type: text/plain; charset=utf-8\r\nCache-Control: no-store\r\n"
_TOO_MANY = "too many failed attempts from this address, most likely a wrong cluster_key"


@define(eq=False)
class Handshakes:
    """The handshakes under way and lately failed, by address."""

    _clock: Clock
    _failures: FailureWindow = field(factory=lambda: FailureWindow(MAX_FAILURES, FAILURE_SECONDS))
    _slow: dict[str, int] = field(factory=dict)
    _said: SaidLately = field(factory=lambda: SaidLately(SAY_AGAIN_SECONDS))

    def room(self, address: str) -> bool:
        """Whether C{address} may begin one; otherwise it has to come again later."""
        return self._slow.get(address, 0) < MAX_SLOW

    def begin(self, address: str) -> CountedHandshake:
        """A handshake of C{address} begins."""
        # This machine itself is not slowed down.
        slow = not is_loopback(address) and self._failures.blocked(address, self._clock.seconds())
        if slow:
            self._slow[address] = self._slow.get(address, 0) + 1
        return CountedHandshake(self, address, slow)

    def failed(self, address: str) -> None:
        """One of C{address} failed."""
        self._failures.failed(address, self._clock.seconds())

    def news(self, address: str, why: str) -> bool:
        """Whether something about C{address} was not said lately. Whoever tries things out on this machine
        sees every line.
        """
        return is_loopback(address) or self._said.news((address, why), self._clock.seconds())

    def over(self, address: str) -> None:
        """One of C{address} that was slow is over."""
        left = self._slow[address] - 1
        if left:
            self._slow[address] = left
        else:
            del self._slow[address]


@define(eq=False)
class CountedHandshake:
    """A L{restreamer.cluster.link_protocol.Handshake}."""

    _all: Handshakes
    _address: str
    _slow: bool
    _counted: bool = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._counted = self._slow

    def failed(self) -> float:
        """Count it."""
        self._all.failed(self._address)
        return SLOW_SECONDS if self._slow else 0.0

    def news(self, why: str) -> bool:
        """Said once a minute."""
        return self._all.news(self._address, why)

    def over(self) -> None:
        """Make room."""
        if self._counted:
            self._counted = False
            self._all.over(self._address)


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

    handshakes = Handshakes(clock)

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
        if not handshakes.room(peer):
            if handshakes.news(peer, _TOO_MANY):
                _log.warn("links from {peer} refused: {why}", peer=peer, why=_TOO_MANY)
            body = f"{_TOO_MANY.capitalize()}.\n".encode()
            return FullReply(status=429, headers=_PLAIN + b"Retry-After: 5\r\n", body=body)

        def protocol() -> LinkProtocol:
            link = Link("server", node_id, accepted, nonce())
            return LinkProtocol(
                link,
                handler,
                clock,
                PULLER_IDLE_SECONDS,
                peer,
                handshake=handshakes.begin(peer),
                traffic=traffic,
            )

        return UpgradeReply(headers=_HEADERS, protocol=protocol)

    return route
