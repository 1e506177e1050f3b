"""The key of the cluster and the passwords of the API: neither opens what the other is for."""

from __future__ import annotations

from base64 import b64encode

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from twisted.internet.protocol import ClientCreator, Protocol, connectionDone
from twisted.python.failure import Failure
from typing_extensions import override

from restreamer.errors import RemoteProtocolError
from restreamer.m4f.handshake import derive_key
from restreamer.m4f.link import Authorised, Link
from restreamer.m4f.upgrade import UpgradeResponse, upgrade_request
from test.test_node import HOST, KEY, NodeCase, dial, reactor

VIEW = "look-at-the-things"
EDIT = "change-the-things"
API = "/streamer/api/v3"


class _Neighbour(Protocol):
    """A node that proves C{key}; C{over} fires with whether it is let in."""

    def __init__(self, key: str) -> None:
        self.over: Deferred[bool] = Deferred()
        self._head = UpgradeResponse()
        self._link = Link("client", b"c" * 16, [derive_key(key)], b"m" * 16)

    @override
    def connectionMade(self) -> None:
        self.transport.write(upgrade_request(HOST))  # type: ignore[union-attr]

    @override
    def dataReceived(self, data: bytes) -> None:
        if not self._head.done:
            self._head.receive(data)
            data = self._head.leftover
        try:
            events = self._link.receive(data) if self._head.done else []
        except RemoteProtocolError as error:
            assert "not authorised" in str(error), error
            return self._end(False)
        self.transport.write(self._link.data_to_send())  # type: ignore[union-attr]
        if any(isinstance(event, Authorised) for event in events):
            self._end(True)
        return None

    @override
    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if not self.over.called:
            self.over.errback(ConnectionDone())

    def _end(self, told: bool) -> None:
        if not self.over.called:
            self.over.callback(told)
        self.transport.loseConnection()  # type: ignore[union-attr]


class RolesTests(NodeCase):
    """One node that has all three secrets."""

    async def status(self, method: str, path: str, authorization: str) -> int:
        """What the API answers."""
        client = await dial(
            self.http,
            f"{method} {API}{path} HTTP/1.1\r\nHost: x\r\nAuthorization: {authorization}\r\n"
            "Connection: close\r\n\r\n".encode(),
        )
        await client.gone
        return int(client.received.split(b" ", 2)[1])

    async def linked(self, key: str) -> bool:
        """Whether a link is let in."""
        neighbour: _Neighbour = await ClientCreator(reactor, _Neighbour, key).connectTCP(HOST, self.http)
        return await neighbour.over

    async def test_none_opens_another(self) -> None:
        """Each secret opens its own door and no other (A08)."""
        self.node(f"cluster_key {KEY}; view_auth viewer {VIEW}; edit_auth admin {EDIT};")
        pages = (("GET", "/streams"), ("GET", "/sessions"), ("DELETE", "/sessions/none"))
        for user, secret, wanted in (
            ("viewer", VIEW, [200, 200, 403]),
            ("admin", EDIT, [200, 200, 404]),
            ("viewer", KEY, [401, 401, 401]),
            ("admin", KEY, [401, 401, 401]),
        ):
            given = "Basic " + b64encode(f"{user}:{secret}".encode()).decode()
            self.assertEqual([await self.status(*page, given) for page in pages], wanted, (user, secret))
        told = [await self.status(*page, f"Bearer {KEY}") for page in pages]
        self.assertEqual(told, [401, 401, 401])
        self.assertEqual([await self.linked(key) for key in (KEY, EDIT, VIEW)], [True, False, False])
