"""What listeners of every protocol do with their connections."""

from __future__ import annotations

from attrs import define
from twisted.internet.address import IPv4Address
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from typing_extensions import override

from restreamer.connections import ConnectionFactory


@define(eq=False)
class Wire:
    """A connection. @ivar said: why it was to stop."""

    said: str = ""

    def stop(self, reason: str) -> None:
        self.said = reason


@define
class Counts:
    """What happened."""

    accepted: int = 0
    turned_away: int = 0


@define
class Limits:
    """Of connections."""

    connections: int = 4
    per_address: int = 2


class Factory(ConnectionFactory[Wire]):
    """Of plain connections."""

    @override
    def _made(self) -> Wire:
        return Wire()

    def came(self, host: str) -> Wire | None:
        """Somebody connects."""
        return self.buildProtocol(IPv4Address("TCP", host, 1))

    def gone(self, wire: Wire | None) -> None:
        """A connection is lost."""
        assert wire is not None
        self._lost(wire)


class ConnectionTests(SynchronousTestCase):
    """L{ConnectionFactory}."""

    @override
    def setUp(self) -> None:
        self.counts = Counts()
        self.factory = Factory("TEST", Limits(), self.counts, Clock())

    def test_limits(self) -> None:
        """Of one address, this machine's own left out, and of all; who left leaves room."""
        came = self.factory.came
        first = came("192.0.2.1")
        self.assertIsNotNone(came("192.0.2.1"))
        self.assertIsNone(came("192.0.2.1"))
        self.factory.gone(first)
        self.factory.gone(first)
        self.assertIsNotNone(came("192.0.2.1"))
        local = [came("127.0.0.1") for _ in range(3)]
        self.assertEqual([wire is None for wire in local], [False, False, True])
        self.assertIsNone(came("192.0.2.2"))
        self.assertEqual((self.counts.accepted, self.counts.turned_away), (5, 3))
        self.assertEqual(self.factory.connections, 4)
        self.assertEqual(sorted(self.factory._per_address), ["127.0.0.1", "192.0.2.1"])

    def test_closing(self) -> None:
        """All are told; it is done when they are gone, and at once where nobody is."""
        self.successResultOf(self.factory.close_all("nobody"))
        first, second = self.factory.came("192.0.2.1"), self.factory.came("192.0.2.2")
        done, again = self.factory.close_all("reload"), self.factory.close_all("stop")
        assert first is not None and second is not None
        self.assertEqual((first.said, second.said), ("stop", "stop"))
        self.factory.gone(first)
        self.assertNoResult(done)
        self.factory.gone(second)
        self.successResultOf(done)
        self.successResultOf(again)
        self.assertEqual(self.factory._per_address, {})
