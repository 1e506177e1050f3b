"""Ports are had before anything starts, or the operator is told which one and why."""

from __future__ import annotations

import socket

from twisted.trial.unittest import SynchronousTestCase

from restreamer.listeners import ListenError, bind


class BindTests(SynchronousTestCase):
    def test_in_use(self) -> None:
        with socket.socket() as other:
            other.bind(("127.0.0.1", 0))
            other.listen()
            port = other.getsockname()[1]
            error = self.assertRaises(ListenError, bind, "rtmp", "127.0.0.1", port)
        self.assertEqual(
            str(error),
            f"rtmp 127.0.0.1:{port}: cannot listen on port {port}: the port is in use by another program",
        )

    def test_foreign_address(self) -> None:
        error = self.assertRaises(ListenError, bind, "http", "192.0.2.1", 8080)
        self.assertIn("this machine has no such address", str(error))

    def test_bound(self) -> None:
        """A bound socket accepts and does not block."""
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        bound = bind("http", "127.0.0.1", port)
        self.addCleanup(bound.close)
        self.assertFalse(bound.socket.getblocking())
        with socket.create_connection(("127.0.0.1", port), 2):
            pass
