"""The node that a worker is: its listeners."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import Any

from twisted.internet import reactor as global_reactor
from twisted.trial.unittest import TestCase
from typing_extensions import override

from restreamer.config.load import load
from restreamer.workers.messages import Configure, Message
from restreamer.workers.node import WorkerNode

reactor: Any = global_reactor


class Listeners(TestCase):
    """What it does with the sockets that it is given."""

    @override
    def setUp(self) -> None:
        self.said: list[Message] = []
        self.ups = 0

    def configure(self, text: str, sockets: tuple[tuple[str, str, int], ...] = ()) -> Configure:
        """What the main process says."""
        folder = Path(self.mktemp())
        folder.mkdir()
        (folder / "a.conf").write_text(text)
        return Configure(
            configuration=load(str(folder / "a.conf")).configuration,
            place=1,
            workers=1,
            node_id=b"w" * 16,
            socket=str(folder / "main"),
            key=b"k" * 32,
            secret=b"s" * 32,
            sockets=sockets,
        )

    def listening(self) -> socket.socket:
        """A socket that is listened on."""
        made = socket.create_server(("127.0.0.1", 0))
        made.setblocking(False)
        self.addCleanup(made.close)
        return made

    def came_up(self) -> None:
        self.ups += 1

    def test_removed_before_it_was_up(self) -> None:
        """A reload that removes a port while the worker begins: nobody listens there then."""
        kept, removed = self.listening(), self.listening()
        ports = [each.getsockname()[1] for each in (kept, removed)]
        keys = [("http", "127.0.0.1", port) for port in ports]
        text = "".join(f"http 127.0.0.1:{port};\n" for port in ports)
        begin = self.configure(text, tuple(keys))
        given = {
            key: socket.socket(fileno=os.dup(each.fileno()))
            for key, each in zip(keys, (kept, removed), strict=True)
        }
        node = WorkerNode(
            reactor, begin, given, lambda message, fds=(): self.said.append(message), self.came_up
        )
        node.startService()
        self.addCleanup(node.stopService)
        node.reconfigure(self.configure(f"http 127.0.0.1:{ports[0]};"), {})
        for each in (kept, removed):
            each.close()
        node._listed("main", True, "")
        self.assertEqual(self.ups, 1)
        socket.create_connection(("127.0.0.1", ports[0]), 5.0).close()
        self.assertRaises(ConnectionRefusedError, socket.create_connection, ("127.0.0.1", ports[1]), 5.0)
