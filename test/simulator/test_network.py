"""What the network of the simulation can do to connections."""

from __future__ import annotations

from typing import Any

from twisted.internet.error import ConnectionDone, ConnectionLost, NoRouteError, TimeoutError
from twisted.internet.protocol import Factory, Protocol
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from typing_extensions import override

from restreamer.testing.memory_network import CONNECT_TIMEOUT, MemoryNetwork
from restreamer.testing.sim_clock import SimTime


class Recorder(Protocol):
    """Keeps what it is told, and when."""

    def __init__(self, time: SimTime) -> None:
        self.time = time
        self.told: list[tuple[float, object]] = []

    @property
    def wire(self) -> Any:
        return self.transport

    @override
    def connectionMade(self) -> None:
        self.told.append((round(self.time.now, 6), "made"))

    @override
    def dataReceived(self, data: bytes) -> None:
        self.told.append((round(self.time.now, 6), data))

    @override
    def connectionLost(self, reason: Failure = Failure(ConnectionDone())) -> None:  # noqa: B008
        self.told.append((round(self.time.now, 6), reason.type))


class NetworkTests(SynchronousTestCase):
    """Two hosts, one connection."""

    @override
    def setUp(self) -> None:
        self.time = SimTime()
        self.network = MemoryNetwork(self.time, delay=0.01)
        self.servers: list[Recorder] = []
        self.network.listen("b", self._accept)
        self.client, self.server = self._connect()

    def _accept(self) -> Recorder:
        self.servers.append(Recorder(self.time))
        return self.servers[-1]

    def _connect(self) -> tuple[Recorder, Recorder]:
        client = Recorder(self.time)
        _ = self.network.endpoint("a", "b").connect(Factory.forProtocol(lambda: client))
        self.time.advance(0.02)
        return client, self.servers[-1]

    def test_written_together_arrives_together(self) -> None:
        for data in (b"1", b"2", b"3"):
            self.client.wire.write(data)
        self.time.advance(1)
        self.assertEqual(self.server.told[1:], [(0.03, b"123")])

    def test_stalled(self) -> None:
        """What is sent meanwhile comes late, an end too; the other way goes on."""
        self.network.stall("a", "b")
        self.client.wire.write(b"1")
        self.server.wire.write(b"2")
        self.time.advance(3)
        self.assertEqual((self.server.told[1:], self.client.told[1:]), ([], [(0.03, b"2")]))
        self.client.wire.write(b"3")
        self.client.wire.abortConnection()
        self.time.advance(1)
        self.assertEqual(self.client.told[-1][1].__name__, "ConnectionAborted")  # type: ignore[attr-defined]
        self.network.flow("a", "b")
        self.time.advance(1)
        self.assertEqual(self.server.told[1:], [(4.02, b"13"), (4.02, ConnectionLost)])
        self.assertEqual(self.network.connections, [])

    def test_no_answer_while_stalled(self) -> None:
        for way in (("a", "b"), ("b", "a")):
            self.network.stall(*way)
            made = self.network.connect("a", "b", Factory.forProtocol(Protocol))
            self.time.advance(CONNECT_TIMEOUT)
            self.failureResultOf(made, TimeoutError)
            self.network.flow(*way)

    def test_severed(self) -> None:
        self.network.sever("a", "b")
        self.assertEqual([each.told[-1][1] for each in (self.client, self.server)], [ConnectionLost] * 2)
        made = self.network.connect("a", "b", Factory.forProtocol(Protocol))
        self.time.advance(1)
        self.failureResultOf(made, NoRouteError)
        self.network.mend("a", "b")
        self.assertEqual(self._connect()[1].told[0][1], "made")

    def test_frozen(self) -> None:
        """A frozen host's kernel takes connections and bytes; its process learns of them later, in order."""
        self.network.freeze("b")
        self.client.wire.write(b"1")
        self.time.advance(1)
        second = Recorder(self.time)
        _ = self.network.endpoint("a", "b").connect(Factory.forProtocol(lambda: second))
        self.time.advance(1)
        self.assertEqual(second.told[0][1], "made")
        second.wire.write(b"2")
        self.client.wire.loseConnection()
        self.time.advance(1)
        self.assertEqual((len(self.servers), self.server.told[1:]), (1, []))
        self.network.thaw("b")
        self.time.advance(1)
        self.assertEqual([what for _, what in self.server.told[1:]], [b"1", ConnectionDone])
        self.assertEqual([what for _, what in self.servers[1].told], ["made", b"2"])

    def test_killed(self) -> None:
        self.server.wire.write(b"last words")
        self.network.kill("b")
        self.time.advance(1)
        self.assertEqual([what for _, what in self.client.told[1:]], [b"last words", ConnectionLost])
        self.assertEqual((len(self.server.told), self.network.connections), (1, []))

    def test_power_lost(self) -> None:
        """Nobody hears of it until the machine is back."""
        self.network.kill("b", power=True)
        self.client.wire.write(b"1")
        made = self.network.connect("a", "b", Factory.forProtocol(Protocol))
        self.time.advance(CONNECT_TIMEOUT)
        self.failureResultOf(made, TimeoutError)
        self.assertEqual(len(self.client.told), 1)
        self.network.listen("b", self._accept)
        self.time.advance(1)
        self.assertEqual(self.client.told[1:], [(CONNECT_TIMEOUT + 0.03, ConnectionLost)])

    def test_a_way_that_becomes_shorter_keeps_the_order(self) -> None:
        self.network.delays["a", "b"] = 1.0
        self.client.wire.write(b"1")
        self.network.delays.clear()
        self.client.wire.write(b"2")
        self.time.advance(2)
        self.assertEqual(b"".join(data for _, data in self.server.told[1:]), b"12")  # type: ignore[misc]
