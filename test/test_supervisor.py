"""What a service manager is told."""

from __future__ import annotations

import os
import socket
from pathlib import Path

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from typing_extensions import override

from restreamer.supervisor import Supervisor

ROOT = Path(__file__).resolve().parents[1]


class SupervisorTests(SynchronousTestCase):
    @override
    def setUp(self) -> None:
        self.clock = Clock()
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        self.addCleanup(self.socket.close)

    def told(self) -> list[bytes]:
        found = []
        while True:
            try:
                found.append(self.socket.recv(100))
            except BlockingIOError:
                return found

    def supervisor(self, address: str, **more: str) -> Supervisor:
        made = Supervisor(self.clock, {"NOTIFY_SOCKET": address, **more}, pid=77)
        self.addCleanup(made.stop)
        return made

    def test_path(self) -> None:
        path = os.path.abspath(self.mktemp())
        self.socket.bind(path)
        supervisor = self.supervisor(path, WATCHDOG_USEC="3000000", WATCHDOG_PID="77")
        self.assertEqual(self.told(), [])
        supervisor.start()
        self.assertEqual(self.told(), [b"READY=1"])
        self.clock.pump([0.5] * 6)
        self.assertEqual(self.told(), [b"WATCHDOG=1"] * 3)
        supervisor.stop()
        supervisor.stop()
        self.clock.advance(10)
        self.assertEqual((self.told(), self.clock.getDelayedCalls()), ([b"STOPPING=1"], []))

    def test_abstract(self) -> None:
        name = f"restreamer-test-{os.getpid()}"
        self.socket.bind("\0" + name)
        supervisor = self.supervisor("@" + name)
        supervisor.start()
        self.clock.advance(60)
        supervisor.stop()
        self.assertEqual(self.told(), [b"READY=1", b"STOPPING=1"])

    def test_not_for_us(self) -> None:
        path = os.path.abspath(self.mktemp())
        self.socket.bind(path)
        for more in (
            {"WATCHDOG_USEC": "1000000", "WATCHDOG_PID": "78"},
            {"WATCHDOG_USEC": "1_0"},
            {"WATCHDOG_USEC": "0"},
            {"WATCHDOG_USEC": "-5"},
            {"WATCHDOG_USEC": "9" * 40},
            {},
        ):
            supervisor = self.supervisor(path, **more)
            supervisor.start()
            self.assertEqual(self.clock.getDelayedCalls(), [], more)
            supervisor.stop()
        for address in ("", "vsock:2:1", "relative"):
            supervisor = self.supervisor(address, WATCHDOG_USEC="1000000")
            supervisor.start()
            self.assertEqual(self.clock.getDelayedCalls(), [], address)
            supervisor.stop()

    def test_nobody_listens(self) -> None:
        """The node goes on, and so do the signs."""
        path = os.path.abspath(self.mktemp())
        supervisor = self.supervisor(path, WATCHDOG_USEC="3000000")
        supervisor.start()
        self.clock.pump([1.0] * 3)
        self.socket.bind(path)
        self.clock.advance(1.0)
        self.assertEqual(self.told(), [b"WATCHDOG=1"])

    def test_unit(self) -> None:
        """The unit that is shipped asks for it."""
        unit = (ROOT / "conf" / "restreamer.service").read_text().splitlines()
        self.assertIn("Type=notify", unit)
        self.assertTrue(any(line.startswith("WatchdogSec=") for line in unit))
        self.assertIn("Restart=on-failure", unit)
