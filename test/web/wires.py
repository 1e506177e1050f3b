"""A plain connection for tests: a real non-blocking socket, and a reactor's part of it done by hand."""

from __future__ import annotations

import socket
from typing import Any

from twisted.internet.address import IPv4Address
from twisted.internet.error import ConnectionAborted, ConnectionDone
from twisted.internet.interfaces import ISystemHandle, ITransport
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from zope.interface import implementer

from restreamer.http1.reply import Route
from restreamer.web.front import FrontProtocol
from restreamer.web.limits import FrontLimits
from restreamer.web.service import FrontFactory


@implementer(ITransport, ISystemHandle)
class Wire:
    """The server's side of a connection."""

    def __init__(self) -> None:
        self.socket, self.client = socket.socketpair()
        for end in (self.socket, self.client):
            end.setblocking(False)
        self.buffer = b""
        self.producer: Any = None
        self.reading = True
        self.half_closed = self.closing = self.aborted = self.lost = False
        self.largest = 0
        self.writes = 0
        self.waits = False

    # What a protocol calls.

    def getHandle(self) -> socket.socket:  # noqa: N802
        return self.socket

    def getPeer(self) -> IPv4Address:  # noqa: N802
        return IPv4Address("TCP", "192.0.2.1", 12345)

    def getHost(self) -> IPv4Address:  # noqa: N802
        return IPv4Address("TCP", "192.0.2.2", 80)

    def write(self, data: bytes) -> None:
        assert type(data) is bytes
        self.writes += 1
        if not self.half_closed:
            self.buffer += data
            self.largest = max(self.largest, len(self.buffer))

    def writeSequence(self, pieces: Any) -> None:  # noqa: N802
        self.write(b"".join(pieces))

    def registerProducer(self, producer: object, streaming: bool) -> None:  # noqa: N802
        assert self.producer is None
        self.producer = producer
        self.streaming = streaming
        if not streaming:
            self.producer.resumeProducing()

    def startWriting(self) -> None:  # noqa: N802
        self.waits = True

    def unregisterProducer(self) -> None:  # noqa: N802
        self.producer = None

    def pauseProducing(self) -> None:
        self.reading = False

    def resumeProducing(self) -> None:
        self.reading = True

    def loseConnection(self) -> None:  # noqa: N802
        self.closing = True

    def loseWriteConnection(self) -> None:  # noqa: N802
        self.half_closed = True

    def abortConnection(self) -> None:  # noqa: N802
        self.aborted = True

    # What the reactor does.

    def flush(self) -> None:
        """Send what the socket takes; ask a pull producer for more when all is sent."""
        while True:
            if self.buffer:
                try:
                    sent = self.socket.send(self.buffer)
                except BlockingIOError:
                    return
                self.buffer = self.buffer[sent:]
                if self.buffer:
                    return
            if self.producer is None or self.streaming:
                return
            self.producer.resumeProducing()
            if self.waits:
                # The producer writes to the socket itself, which takes no more now.
                self.waits = False
                return


class Visit:
    """A client of a front with C{routes}.

    @ivar got: everything received.
    """

    def __init__(
        self,
        *routes: Route,
        limits: FrontLimits | None = None,
        factory: FrontFactory | None = None,
        clock: Clock | None = None,
        **more: Any,
    ) -> None:
        self.clock = clock or Clock()
        self.factory = factory or FrontFactory(self.clock, routes, limits=limits, **more)
        self.wire = Wire()
        protocol = self.factory.buildProtocol(self.wire.getPeer())
        assert isinstance(protocol, FrontProtocol)
        self.protocol = protocol
        self.got = b""
        protocol.makeConnection(self.wire)

    def send(self, data: bytes) -> None:
        """Deliver C{data} at once."""
        self.protocol.dataReceived(data)
        self.settle()

    def settle(self, read: bool = True) -> None:
        """Let everything that can happen now happen."""
        for _ in range(10_000):
            before = (len(self.got), self.wire.buffer, self.wire.writes)
            self.wire.flush()
            self.clock.advance(0)
            if read:
                self.read()
            if before == (len(self.got), self.wire.buffer, self.wire.writes):
                break
        if self.wire.aborted:
            self.lose(Failure(ConnectionAborted()))
        elif self.wire.closing and not self.wire.buffer and self.wire.producer is None:
            self.lose()

    def read(self, most: int = 1 << 20) -> None:
        """The client reads up to C{most} bytes."""
        try:
            self.got += self.wire.client.recv(most)
        except BlockingIOError:
            pass

    def lose(self, reason: Failure | None = None) -> None:
        """The connection is gone."""
        if not self.wire.lost:
            self.wire.lost = True
            if self.wire.producer is not None:
                self.wire.producer.stopProducing()
                self.wire.producer = None
            self.protocol.connectionLost(reason or Failure(ConnectionDone()))

    def pass_time(self, seconds: float, step: float = 1.0) -> None:
        """Let C{seconds} pass while the client reads nothing."""
        while seconds > 0:
            self.clock.advance(min(step, seconds))
            seconds -= step
            self.settle(read=False)

    def statuses(self) -> list[int]:
        """The status of each answer received."""
        return [int(part[:3]) for part in self.got.split(b"HTTP/1.1 ")[1:]]

    def close(self) -> None:
        """Forget the sockets."""
        self.lose()
        self.wire.socket.close()
        self.wire.client.close()
