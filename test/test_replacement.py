"""A node that is being replaced by another process: what becomes of it when that one fails."""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
from typing import Any

from twisted.internet import reactor as global_reactor
from typing_extensions import override

from restreamer import tap
from restreamer.node import Node
from restreamer.succession import has_ended
from restreamer.workers import crew
from test.test_node import NodeCase, until

reactor: Any = global_reactor

#: What the new process says; then it waits to be ended.
SILENT = ""
TAKES = "wire.sendall(b'{\"take\": true}\\n')\n"
SERVES = TAKES + (
    "wire.recv(65536)\n"
    'wire.sendall(b\'{"up": true, "link": "/nowhere", "key": "00", "id": "\' + b"0" * 32 + b\'"}\\n\')\n'
)


class Replacement(NodeCase):
    """See the module."""

    @override
    def setUp(self) -> None:
        super().setUp()
        self.ends: list[int] = []
        self.patch(gc, "freeze", lambda: None)
        for number in (signal.SIGHUP, signal.SIGUSR2):
            self.addCleanup(signal.signal, number, signal.getsignal(number))

    def replaced(self, says: str) -> tuple[tap.RunningNode, subprocess.Popen[bytes]]:
        """A node for which another process was started that C{says} something."""
        loaded = self.config("")
        path = os.path.join(self.folder, f"{self.written}.conf")
        node = tap.RunningNode(reactor, path, loaded, Node(reactor, loaded.configuration))
        self.patch(node, "_fail", lambda: self.ends.append(1))
        node.startService()
        self.addCleanup(node.stopService)
        program = (
            "import os, socket, time\n"
            "wire = socket.socket(fileno=int(os.environ['RESTREAMER_PREDECESSOR']))\n"
            f"wire.recv(65536)\n{says}time.sleep(60)"
        )
        self.patch(sys, "orig_argv", ["python", "-c", program])
        os.kill(os.getpid(), signal.SIGUSR2)
        node._replace()
        process = node._successor
        assert process is not None
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        return node, process

    def add(self, node: tap.RunningNode) -> None:
        """Add a stream to the file."""
        with open(node.path, "a") as file:
            file.write("stream a { input publish://; }\n")

    async def test_hangs_before(self) -> None:
        """It never takes over: it is killed, and this one goes on, reloads, and can be replaced again."""
        self.patch(tap, "TAKE_SECONDS", 0.5)
        node, process = self.replaced(SILENT)
        self.add(node)
        self.assertFalse(await node.reload())
        await until(lambda: process.returncode is not None)
        self.assertEqual(self.ends, [])
        self.assertTrue(node.node.listening())
        await until(lambda: "a" in node.node.core.configuration.streams)
        node._replace()
        again = node._successor
        assert again is not None
        await until(lambda: again.returncode is not None)

    async def test_hangs_then(self) -> None:
        """It takes over and never serves: it is killed, and this one ends, to be started anew."""
        self.patch(tap, "SERVE_SECONDS", 0.5)
        _, process = self.replaced(TAKES)
        await until(lambda: self.ends)
        self.assertEqual(process.wait(), -signal.SIGKILL)

    async def test_dies_later(self) -> None:
        """It hears of reloads that come here; it dies while this one is still there: this one ends, too, and
        leaves it to somebody else to hear how it ended.
        """
        node, process = self.replaced(SERVES)
        await until(lambda: node._behind)
        self.add(node)
        self.assertFalse(has_ended(process.pid))
        self.assertFalse(await node.reload())
        self.assertNotIn("a", node.node.core.configuration.streams)
        await until(lambda: self.ends)
        self.assertTrue(has_ended(process.pid))
        self.assertEqual(process.wait(), -signal.SIGHUP)
        self.assertTrue(has_ended(process.pid))


class Workers(NodeCase):
    """The program of a worker is tried before the other process lets go."""

    def test_tried(self) -> None:
        """It starts; one that is not there does not."""
        crew.try_worker()
        self.patch(crew, "_PROGRAM", "restreamer.workers.nothing")
        error = self.assertRaises(crew.WorkerError, crew.try_worker)
        self.assertIn("No module named", str(error))
        self.patch(crew, "TRY_SECONDS", 0.0)
        self.assertRaises(crew.WorkerError, crew.try_worker)
