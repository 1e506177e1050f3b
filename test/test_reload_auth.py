"""A node whose words about viewers change: who is not concerned is not touched, who is is asked about."""

from __future__ import annotations

from typing import Any

from twisted.internet.protocol import Factory, Protocol
from typing_extensions import override

from restreamer.config.load import parse
from restreamer.config.model import Configuration
from restreamer.errors import Refused
from restreamer.node import Node
from restreamer.seams import Account, OpenRequest
from restreamer.sessions.session import Session
from test.test_node import HOST, NodeCase, free_port, reactor, until


class _Backend(Protocol):
    """Allows all but the token C{bad}; its factory keeps the first line of each question."""

    @override
    def dataReceived(self, data: bytes) -> None:
        factory: Any = self.factory
        factory.asked.append(data.split(b"\r\n", 1)[0])
        code = b"403" if b"token=bad&" in data else b"200"
        self.transport.write(b"HTTP/1.1 %s X\r\nContent-Length: 0\r\n\r\n" % code)  # type: ignore[union-attr]


class AuthReloadTests(NodeCase):
    def backend(self) -> tuple[str, Any]:
        factory: Any = Factory.forProtocol(_Backend)
        factory.asked = []
        port = reactor.listenTCP(0, factory, interface=HOST)
        self.addCleanup(port.stopListening)
        return f"http://{HOST}:{port.getHost().port}/may", factory

    def started(self, configuration: Configuration) -> Node:
        node = Node(reactor, configuration)
        node.startService()
        self.addCleanup(self.stopped, node)
        return node

    async def play(self, node: Node, name: str, token: str) -> Session:
        account = Account()
        request = OpenRequest(
            name=name, action="play", proto="hls", peer="192.0.2.1", token=token, account=account
        )
        await node.core.gate.open(request)
        assert isinstance(account.viewing, Session)
        return account.viewing

    async def test_reload(self) -> None:
        first, one = self.backend()
        second, two = self.backend()
        text = (
            f"http {HOST}:{free_port()}; auth_backend m {{ allow ip 192.0.2/24; }}"
            f"stream a {{ input publish://; on_play {first}; }}"
            f"stream b {{ input publish://; on_play {first}; }}"
            "stream c { input publish://; on_play auth://m; }"
        )
        node = self.started(parse(text).configuration)
        sessions = {name: await self.play(node, name, "good") for name in "abc"}
        self.assertEqual((len(one.asked), len(two.asked)), (2, 0))
        with self.assertRaises(Refused):
            await self.play(node, "a", "bad")
        asked = len(one.asked)
        # Nothing changes: nobody is asked, everybody is the same.
        node.apply(parse(text).configuration)
        self.assertEqual((len(one.asked), len(two.asked)), (asked, 0))
        # One stream asks another backend: its viewer is asked about there, and stays.
        text = text.replace(
            f"stream b {{ input publish://; on_play {first}",
            f"stream b {{ input publish://; on_play {second}",
        )
        node.apply(parse(text).configuration)
        await until(lambda: len(two.asked) == 1)
        self.assertIn(b"request_type=update_session", two.asked[0])
        # The block behind an auth:// changes: whom it does not allow any more is cut.
        node.apply(parse(text.replace("allow ip", "deny ip")).configuration)
        await until(lambda: not sessions["c"].live)
        self.assertEqual([sessions[name].live for name in "abc"], [True, True, False])
        self.assertEqual((len(one.asked), len(two.asked)), (asked, 1))
        self.assertIs(await self.play(node, "a", "good"), sessions["a"])
