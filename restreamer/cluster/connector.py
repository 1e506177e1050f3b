"""Persistent links to a source: connect, authorise, and again when the link is lost.

Twisted's ClientService does the life cycle; a connection counts as made only when the link is authorised,
so a peer that accepts and closes is backed off from like one that is down; so is one that authorises and
then gives nothing (L{ClientHandler.fruitful}).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from attrs import define, evolve, field, frozen
from constantly import NamedConstant
from twisted.application.internet import ClientService
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import (
    IProtocol,
    IProtocolFactory,
    IReactorTime,
    IStreamClientEndpoint,
    ITransport,
)
from twisted.internet.protocol import Factory, Protocol
from twisted.logger import LogLevel
from typing_extensions import override
from zope.interface import implementer

from restreamer.cluster.link_protocol import (
    SOURCE_IDLE_SECONDS,
    LinkProtocol,
    UpgradingProtocol,
)
from restreamer.cluster.seams import ClientHandler
from restreamer.cluster.traffic import LinkTraffic
from restreamer.errors import RemoteProtocolError
from restreamer.failures import SaidLately
from restreamer.logs import Logger
from restreamer.m4f.link import Authorised, Link
from restreamer.m4f.upgrade import Moved, Place

_log = Logger()

#: First pause, growth and longest pause between two attempts, seconds.
FIRST_PAUSE = 0.2
GROWTH = 1.8
LONGEST_PAUSE = 5.0
#: Redirections that are followed in a row.
MAX_REDIRECTIONS = 3
#: Seconds after which the reason why there is no link is said again.
SAY_AGAIN_SECONDS = 60.0
#: What is said of a link that leads back to its own node.
ITSELF = "it leads to this node itself (or to one with a copy of its node.json): nothing comes over it"


def pause_before(
    attempt: int, uniform: Callable[[float, float], float], bound: float = LONGEST_PAUSE
) -> float:
    """Seconds to wait before attempt C{attempt} (0 is the first after a loss): full jitter.

    @param bound: the longest pause.
    """
    longest = min(bound, FIRST_PAUSE * GROWTH ** min(attempt, 20))
    return uniform(min(0.05, longest), longest)


@frozen(kw_only=True)
class Node:
    """This node, as its links present it.

    @ivar node_id: 16 bytes. @ivar nonce: 16 fresh random bytes per call.
    @ivar uniform: random.uniform, for jitter. @ivar clock: the reactor's time.
    @ivar utc: UTC ticks now.
    """

    node_id: bytes
    nonce: Callable[[], bytes]
    uniform: Callable[[float, float], float]
    clock: IReactorTime
    utc: Callable[[], int]


@frozen(kw_only=True)
class Remote:
    """A node to link to.

    @ivar address: C{host:port} for logs and the Host header. @ivar endpoint: how to connect.
    @ivar key: the derived cluster key. @ivar traffic: what all links to it carry.
    @ivar place: where it is, when it may redirect; @ivar elsewhere: how to connect where it redirects to.
    """

    address: str
    endpoint: IStreamClientEndpoint
    key: bytes = field(repr=False)
    place: Place | None = None
    elsewhere: Callable[[Place], IStreamClientEndpoint] | None = None
    traffic: LinkTraffic = field(factory=LinkTraffic, repr=False)

    def at_port(self, port: int) -> Remote:
        """The same node by another port; as it is when it is not known where it is."""
        if self.place is None or self.elsewhere is None or self.place.port == port:
            return self
        place = evolve(self.place, port=port)
        return evolve(self, address=place.authority, endpoint=self.elsewhere(place), place=place)


class Presence(Protocol):
    """Stands for an authorised link in the service that keeps it: learns only that the link is lost."""

    noisy = False


@define
class _Attempt:
    """One attempt to make a link. @ivar cancelled: it is not wanted any more."""

    cancelled: bool = False


@implementer(IStreamClientEndpoint)
class AuthorisingEndpoint:
    """Connects, asks for the upgrade and authorises; what it gives is a link that is up.

    So a failure at any of these steps is one failed attempt to whoever retries. (ClientService's own
    C{prepareConnection} cannot be used for that: it has no transition for a connection lost meanwhile.)
    """

    def __init__(self, node: Node, remote: Remote, purpose: str, handler: ClientHandler) -> None:
        self._node = node
        self._remote = remote
        self._purpose = purpose
        self._handler = handler
        self._said = SaidLately(SAY_AGAIN_SECONDS, 16)
        self._itself = False
        self._at = remote.place

    @override
    def __repr__(self) -> str:
        return f"<{self._what()}>"

    def connect(self, factory: IProtocolFactory) -> Deferred[Any]:
        """A L{Presence} made by C{factory}, once the link is authorised."""
        attempt = _Attempt()

        def cancel(_: object) -> None:
            attempt.cancelled = True
            connecting.cancel()

        connecting = Deferred.fromCoroutine(self._connect(factory, attempt))
        outcome: Deferred[Any] = Deferred(cancel)
        _ = connecting.chainDeferred(outcome)
        return outcome

    async def _connect(self, factory: IProtocolFactory, attempt: _Attempt) -> IProtocol:
        try:
            first = await self._authorised()
        except CancelledError:
            raise
        except Exception as error:
            if attempt.cancelled:
                # Whatever it says of itself (a look-up: that there is no such name), nothing went wrong.
                raise CancelledError from error
            self._explain(error)
            raise
        self._said.clear()
        assert first.transport is not None
        presence = factory.buildProtocol(first.transport.getPeer())
        assert presence is not None
        presence.makeConnection(cast(ITransport, first))  # of which only loseConnection is used
        first.when_lost(presence.connectionLost)
        return presence

    async def _authorised(self) -> UpgradingProtocol:
        """A connection whose link is up, at the node or where it redirects to."""
        remote = self._remote
        endpoint, host, place = remote.endpoint, remote.address, remote.place
        asked = [place]
        while True:
            try:
                protocol = await self._link_at(endpoint, host)
            except Moved as moved:
                if place is None or remote.elsewhere is None:
                    raise
                place = place.moved_to(moved.location)
                if place in asked:
                    raise RemoteProtocolError("upgrade", f"redirected in a circle, back to {place}") from None
                if len(asked) > MAX_REDIRECTIONS:
                    raise RemoteProtocolError(
                        "upgrade", f"redirected more than {MAX_REDIRECTIONS} times, at last to {place}"
                    ) from None
                asked.append(place)
                endpoint, host = remote.elsewhere(place), place.authority
            else:
                break
        if place != self._at:
            self._at = place
            _log.info("{what} is at {place}", what=self._what(), place=place)
        return protocol

    async def _link_at(self, endpoint: IStreamClientEndpoint, host: str) -> UpgradingProtocol:
        protocol = self._upgrading(host)
        factory = Factory.forProtocol(lambda: protocol)
        factory.noisy = False
        await endpoint.connect(factory)
        try:
            await protocol.up
        except BaseException:
            protocol.abort()
            raise
        return protocol

    def _explain(self, error: Exception) -> None:
        """Say why there is no link, once for each reason, and again after a while."""
        text = str(error) or type(error).__name__
        self._remote.traffic.trouble = text
        if self._said.news(text, self._node.clock.seconds()):
            _log.warn("no {what}: {why}", what=self._what(), why=text)

    def _what(self) -> str:
        return f"{self._purpose} link to {self._remote.address}"

    def _upgrading(self, host: str) -> UpgradingProtocol:
        node = self._node
        link = Link("client", node.node_id, [self._remote.key], node.nonce(), purpose=self._purpose)
        protocol = LinkProtocol(
            link,
            self._speaker,
            node.clock,
            SOURCE_IDLE_SECONDS,
            self._remote.address,
            watched=True,
            traffic=self._remote.traffic,
        )
        return UpgradingProtocol(protocol, host, node.clock)

    def _speaker(self, event: Authorised) -> ClientHandler:
        """Who speaks on the link; the one time that this can be known, say whether we linked to ourselves."""
        itself = event.peer_node_id == self._node.node_id
        if itself:
            self._remote.traffic.trouble = ITSELF
            if not self._itself:
                _log.warn("{what}: {why}", what=self._what(), why=ITSELF)
        self._itself = itself
        return self._handler


class _QuietLogger(Logger):
    """Says at C{debug} what Twisted says at C{info}: why and how often we try is told in our own words."""

    @override
    def emit(self, level: NamedConstant, format: str | None = None, **kwargs: Any) -> None:
        """Emit an event, of a lower level."""
        super().emit(LogLevel.debug if level is LogLevel.info else level, format, **kwargs)


class _LinkService(ClientService):
    """Twisted's, which logs each retry."""

    _log = _QuietLogger()


def link_service(
    node: Node,
    remote: Remote,
    purpose: str,
    handler: ClientHandler,
    longest: Callable[[], float] = lambda: LONGEST_PAUSE,
) -> ClientService:
    """A service that keeps a link to C{remote} for C{handler} while it runs.

    @param purpose: what the link is for (L{restreamer.m4f.handshake.PURPOSES}).
    @param longest: asked before each pause: how long it may be, seconds.
    """
    fruitless = 0

    def pause(attempt: int) -> float:
        nonlocal fruitless
        if handler.fruitful:
            handler.fruitful = False
            fruitless = 0
        else:
            fruitless += 1
        return pause_before(fruitless, node.uniform, longest())

    presences = Factory.forProtocol(Presence)
    presences.noisy = False
    return _LinkService(
        AuthorisingEndpoint(node, remote, purpose, handler),
        presences,
        retryPolicy=pause,
        clock=node.clock,
    )
