"""What is said of links that cannot be made, and what is not."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, cast

from twisted.internet.defer import CancelledError, Deferred, fail
from twisted.internet.error import ConnectingCancelledError, ConnectionRefusedError, DNSLookupError
from twisted.internet.interfaces import IProtocolFactory, IStreamClientEndpoint
from twisted.internet.task import Clock
from twisted.logger import ILogObserver, LogEvent, formatEvent, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase
from typing_extensions import override
from zope.interface import implementer

from restreamer.cluster.connector import SAY_AGAIN_SECONDS, Node, Remote, link_service
from restreamer.m4f.records import Record


class Quiet:
    """A handler."""

    fruitful = False

    def link_up(self, link: Any) -> None:
        pass

    def record(self, record: Record) -> None:
        pass

    def resumed(self) -> None:
        pass

    def beat(self) -> None:
        pass

    def link_down(self, reason: str) -> None:
        pass


@implementer(IStreamClientEndpoint)
class Made:
    """An endpoint that connects as it is told."""

    def __init__(self, connecting: Callable[[], Deferred[Any]]) -> None:
        self._connecting = connecting

    def connect(self, factory: IProtocolFactory) -> Deferred[Any]:
        return self._connecting()


class ConnectorTests(SynchronousTestCase):
    @override
    def setUp(self) -> None:
        self.clock = Clock()
        self.said: list[str] = []
        observer = cast(ILogObserver, self.hear)
        globalLogPublisher.addObserver(observer)
        self.addCleanup(globalLogPublisher.removeObserver, observer)

    def hear(self, event: LogEvent) -> None:
        self.said.append(formatEvent(event))

    def service(self, connecting: Callable[[], Deferred[Any]]) -> tuple[Remote, Any]:
        node = Node(
            node_id=b"c" * 16,
            nonce=lambda: b"m" * 16,
            uniform=lambda a, b: b,
            clock=self.clock,
            utc=lambda: 0,
        )
        remote = Remote(address="there:80", endpoint=Made(connecting), key=b"k" * 32)
        service = link_service(node, remote, "media", Quiet())
        service.startService()
        return remote, service

    def test_cancelled(self) -> None:
        """An attempt that is not wanted any more is no error, whatever its endpoint calls it."""
        for error in (
            ConnectingCancelledError(cast(Any, "there:80")),
            DNSLookupError("Couldn't find the hostname 'there'."),
            CancelledError(),
            None,
        ):

            def cancel(connecting: Deferred[Any], error: Exception | None = error) -> None:
                if error is not None:
                    connecting.errback(error)

            remote, service = self.service(partial(Deferred, cancel))
            self.successResultOf(service.stopService())
            self.assertEqual((remote.traffic.trouble, self.said), ("", []))

    def test_why_is_said_once_a_minute(self) -> None:
        """And nothing of each retry."""
        remote, service = self.service(lambda: fail(ConnectionRefusedError()))
        for _ in range(round(SAY_AGAIN_SECONDS) * 5 // 2 * 10):
            self.clock.advance(0.1)
        self.successResultOf(service.stopService())
        line = "no media link to there:80: Connection was refused by other side."
        self.assertEqual(self.said, [line] * 3)
        self.assertEqual(remote.traffic.trouble, "Connection was refused by other side.")
