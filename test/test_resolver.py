"""Names that do not resolve hold up nothing but themselves."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from twisted.internet.endpoints import HostnameEndpoint
from twisted.internet.error import DNSLookupError
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import Clock
from twisted.internet.testing import MemoryReactorClock, StringTransport
from twisted.trial.unittest import SynchronousTestCase
from typing_extensions import override

from restreamer.resolver import LIMIT, MAX_RUNNING, MAX_WAITING, ImpatientResolver


class _Reactor(Clock):
    """A clock whose calls from threads are made by L{come}."""

    def __init__(self) -> None:
        super().__init__()
        self.queued: list[tuple[Any, tuple[Any, ...]]] = []
        self.came = threading.Semaphore(0)

    def callFromThread(self, call: Any, *args: Any) -> None:  # noqa: N802
        self.queued.append((call, args))
        self.came.release()

    def come(self) -> None:
        """Wait for one call from a thread, and make it."""
        assert self.came.acquire(timeout=5)
        call, args = self.queued.pop(0)
        call(*args)


class _Receiver:
    def __init__(self) -> None:
        self.found: list[str] = []
        self.done = 0

    def resolutionBegan(self, resolution: object) -> None:  # noqa: N802
        pass

    def addressResolved(self, address: Any) -> None:  # noqa: N802
        self.found.append(f"{address.host} {address.port}")

    def resolutionComplete(self) -> None:  # noqa: N802
        self.done += 1


class ResolverTests(SynchronousTestCase):
    @override
    def setUp(self) -> None:
        self.reactor = _Reactor()
        self.hang = threading.Event()
        self.addCleanup(self.hang.set)
        self.broken = False
        self.asked: list[str] = []
        self.resolver = ImpatientResolver(self.reactor, self._getaddrinfo)

    def _getaddrinfo(self, host: str, port: int, family: int, kind: int) -> list[Any]:
        self.asked.append(host)
        if host == "hangs":
            self.hang.wait(10)
        if self.broken:
            raise OSError("no such host")
        return [
            (2, 1, 6, "", ("192.0.2.1", port)),
            (2, 1, 6, "", ("192.0.2.1", port)),
            (10, 1, 6, "", ("2001:db8::1", port, 0, 0)),
        ]

    def ask(self, host: str) -> _Receiver:
        """Ask for C{host}."""
        receiver = _Receiver()
        self.resolver.resolveHostName(receiver, host, 80)  # type: ignore[arg-type]
        return receiver

    def test_found(self) -> None:
        """Each address once, in order."""
        receiver = self.ask("a")
        self.reactor.come()
        self.assertEqual((receiver.found, receiver.done), (["192.0.2.1 80", "2001:db8::1 80"], 1))
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_unknown(self) -> None:
        """A name that does not exist has no address, unless it had one before."""
        self.broken = True
        receiver = self.ask("a")
        self.reactor.come()
        self.assertEqual((receiver.found, receiver.done), ([], 1))
        self.broken = False
        self.ask("a")
        self.reactor.come()
        self.broken = True
        receiver = self.ask("a")
        self.reactor.come()
        self.assertEqual((len(receiver.found), receiver.done), (2, 1))

    def test_no_answer(self) -> None:
        """A name server that does not answer: the limit ends it, once; the late answer is nobody's."""
        receiver = self.ask("hangs")
        self.reactor.advance(LIMIT)
        self.assertEqual((receiver.found, receiver.done), ([], 1))
        self.hang.set()
        self.reactor.come()
        self.assertEqual(receiver.done, 1)

    def test_few_at_once(self) -> None:
        """Few threads; who waits in vain is answered in time, too; too many are answered at once."""
        receivers = [self.ask("hangs") for _ in range(MAX_RUNNING + MAX_WAITING)]
        self.assertEqual(self.ask("hangs").done, 1)
        self.reactor.advance(LIMIT)
        self.assertEqual({receiver.done for receiver in receivers}, {1})
        self.hang.set()
        for _ in range(MAX_RUNNING):
            self.reactor.come()
        self.assertEqual(len(self.asked), MAX_RUNNING)
        receiver = self.ask("a")
        self.reactor.come()
        self.assertEqual(len(receiver.found), 2)

    def test_addresses_are_not_looked_up(self) -> None:
        """They are answered at once, also while every thread hangs."""
        for _ in range(MAX_RUNNING):
            self.ask("hangs")
        for address in ("192.0.2.7", "2001:db8::7"):
            receiver = self.ask(address)
            self.assertEqual((receiver.found, receiver.done), ([f"{address} 80"], 1))
        self.assertNotIn("192.0.2.7", self.asked)
        self.hang.set()
        for _ in range(MAX_RUNNING):
            self.reactor.come()


class _Network(MemoryReactorClock):
    """A reactor whose look-ups are answered by C{names}, at once; a name that is not there fails."""

    def __init__(self) -> None:
        super().__init__()
        self.names: dict[str, list[str]] = {}
        self.queued: list[Callable[[], None]] = []
        self.came = threading.Semaphore(0)
        self.installNameResolver(ImpatientResolver(self, self._getaddrinfo))

    def _getaddrinfo(self, host: str, port: int, family: int, kind: int) -> list[Any]:
        if host not in self.names:
            raise OSError("no such host")
        return [(2, 1, 6, "", (address, port)) for address in self.names[host]]

    def callFromThread(self, call: Any, *args: Any, **how: Any) -> None:  # noqa: N802
        self.queued.append(lambda: call(*args, **how))
        self.came.release()

    def come(self) -> None:
        """Wait for one call from a thread, and make it."""
        assert self.came.acquire(timeout=5)
        self.queued.pop(0)()

    def tried(self) -> list[str]:
        """Addresses that were tried so far."""
        return [str(attempt[0]) for attempt in self.tcpClients]


class NodeAddressTests(SynchronousTestCase):
    """How a link finds a node that has a name: F21 (a dead address first), M23 (a name server that fails)."""

    @override
    def setUp(self) -> None:
        self.reactor = _Network()
        self.endpoint = HostnameEndpoint(self.reactor, "node", 80, timeout=5)

    def connect(self) -> list[Any]:
        """Begin to connect; what came of it is put into the list."""
        got: list[Any] = []
        _ = self.endpoint.connect(Factory.forProtocol(Protocol)).addBoth(got.append)
        self.reactor.come()
        return got

    def test_a_dead_address_costs_less_than_a_second(self) -> None:
        """The first says nothing; the next is tried soon, and its connection is the one."""
        self.reactor.names["node"] = ["192.0.2.1", "192.0.2.2", "192.0.2.3"]
        got = self.connect()
        self.reactor.advance(0)
        self.assertEqual(self.reactor.tried(), ["192.0.2.1"])
        self.reactor.advance(0.5)
        self.assertEqual(self.reactor.tried(), ["192.0.2.1", "192.0.2.2"])
        factory = self.reactor.tcpClients[1][2]
        made = factory.buildProtocol(None)
        assert made is not None
        made.makeConnection(StringTransport())
        self.assertIsInstance(got[0], Protocol)

    def test_changes_are_followed(self) -> None:
        """Each attempt looks the name up; while the name server fails the last addresses are used."""
        for answer in (["192.0.2.1"], ["192.0.2.9"]):
            self.reactor.names["node"] = answer
            self.connect()
            self.reactor.advance(0)
        del self.reactor.names["node"]
        self.connect()
        self.reactor.advance(0)
        self.assertEqual(self.reactor.tried(), ["192.0.2.1", "192.0.2.9", "192.0.2.9"])

    def test_never_known(self) -> None:
        got = self.connect()
        self.assertIsInstance(got[0].value, DNSLookupError)
