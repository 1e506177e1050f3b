"""An HTTP server of memory for what gets from one: connections that the test answers by hand."""

from __future__ import annotations

from typing import Any

from attrs import define, field
from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.interfaces import IProtocolFactory, IStreamClientEndpoint
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from typing_extensions import override
from zope.interface import implementer


class Side(StringTransport):
    """A connection's transport."""

    aborted = False

    @override
    def abortConnection(self) -> None:
        self.aborted = True


@define(eq=False)
class Connection:
    """One connection as the server has it.

    @ivar place: host, port, TLS. @ivar request: the head that came.
    """

    place: tuple[str, int, bool]
    protocol: Any
    side: Side
    answered: bool = False

    @property
    def request(self) -> str:
        return str(self.side.value().decode())

    @property
    def target(self) -> str:
        return self.request.split(" ")[1]

    def send(self, data: bytes) -> None:
        if not self.side.aborted:
            self.protocol.dataReceived(data)

    def close(self, clean: bool = True) -> None:
        self.protocol.connectionLost(Failure(ConnectionDone() if clean else ConnectionLost()))

    def answer(self, body: bytes, *fields: str, status: str = "200 OK", kind: str = "video/mp2t") -> None:
        """A whole answer with its length."""
        head = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", f"Content-Type: {kind}", *fields]
        self.send("\r\n".join([*head, "", ""]).encode() + body)


@define(eq=False)
class Servers:
    """All of the net. C{dead} hosts refuse, C{hung} never answer."""

    clock: Clock = field(factory=Clock)
    connections: list[Connection] = field(factory=list)
    dead: set[str] = field(factory=set)
    hung: set[str] = field(factory=set)
    cancelled: int = 0

    def connect(self, host: str, port: int, tls: bool) -> IStreamClientEndpoint:
        return _Endpoint(self, (host, port, tls))

    @property
    def last(self) -> Connection:
        return self.connections[-1]


@implementer(IStreamClientEndpoint)
class _Endpoint:
    def __init__(self, servers: Servers, place: tuple[str, int, bool]) -> None:
        self._servers = servers
        self._place = place

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[Any]:  # noqa: N803
        servers = self._servers
        host = self._place[0]

        def cancelled(_: object) -> None:
            servers.cancelled += 1

        done: Deferred[Any] = Deferred(cancelled)
        if host in servers.dead:
            done.errback(OSError("refused"))
        elif host not in servers.hung:
            address = IPv4Address("TCP", "192.0.2.7", self._place[1])
            protocol: Any = protocolFactory.buildProtocol(address)
            side = Side(peerAddress=address)
            servers.connections.append(Connection(self._place, protocol, side))
            protocol.makeConnection(side)
            done.callback(protocol)
        return done
