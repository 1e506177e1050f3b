"""Ports are had before anything starts, or the operator is told which one and why."""

from __future__ import annotations

import socket
from unittest import SkipTest

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

    def test_ipv6(self) -> None:
        """C{::} takes both families, another IPv6 address its own alone."""
        if not socket.has_ipv6:
            raise SkipTest("no IPv6 here")
        for address, also_ipv4 in (("::", True), ("::1", False)):
            with socket.socket() as probe:
                probe.bind(("127.0.0.1", 0))
                port = probe.getsockname()[1]
            bound = bind("https", address, port)
            self.addCleanup(bound.close)
            with socket.create_connection(("::1", port), 2):
                pass
            if also_ipv4:
                with socket.create_connection(("127.0.0.1", port), 2):
                    pass
            else:
                self.assertRaises(OSError, socket.create_connection, ("127.0.0.1", port), 2)
            error = self.assertRaises(ListenError, bind, "https", "::1", port)
            self.assertIn(f"https [::1]:{port}: cannot listen", str(error))
