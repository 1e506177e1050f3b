"""One end of the socket pair between the main process and a worker, as Twisted sees it."""

from __future__ import annotations

import os
import socket
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from twisted.internet.interfaces import IFileDescriptorReceiver
from twisted.internet.protocol import Factory, connectionDone
from twisted.internet.protocol import Protocol as TwistedProtocol
from twisted.python.failure import Failure
from typing_extensions import override
from zope.interface import implementer

from restreamer.errors import RemoteProtocolError
from restreamer.logs import Logger
from restreamer.workers.messages import Message, MessageReader, descriptors, encode

_log = Logger()


class Send(Protocol):
    """Sends a message."""

    def __call__(self, message: Message, fds: Sequence[int] = ()) -> None:
        """@param fds: descriptors that go along; they stay the caller's, and open until the other end has
        said that it has them.
        """
        ...


@implementer(IFileDescriptorReceiver)
class Channel(TwistedProtocol):
    """See the module.

    @param heard: C{heard(message, descriptors)}; the descriptors are the callee's.
    @param lost: the other end is gone.
    """

    def __init__(
        self, heard: Callable[[Message, Sequence[int]], None], lost: Callable[[], None] = lambda: None
    ) -> None:
        self._heard = heard
        self._lost = lost
        self._reader = MessageReader()
        self._fds: deque[int] = deque()
        self._gone = False

    def send(self, message: Message, fds: Sequence[int] = ()) -> None:
        """Send C{message}; nothing happens when the other end is gone."""
        wire: Any = self.transport
        if wire is None or self._gone:
            return
        for fd in fds:
            wire.sendFileDescriptor(fd)
        wire.write(encode(message))

    def close(self) -> None:
        """Say no more."""
        if self.transport is not None and not self._gone:
            self.transport.loseConnection()

    def fileDescriptorReceived(self, descriptor: int) -> None:
        """IFileDescriptorReceiver: it belongs to the next message that has one."""
        self._fds.append(descriptor)

    @override
    def dataReceived(self, data: bytes) -> None:
        try:
            for message in self._reader.receive(data):
                count = descriptors(message)
                if count > len(self._fds):
                    raise RemoteProtocolError("worker channel", "a descriptor did not come")
                fds = [self._fds.popleft() for _ in range(count)]
                try:
                    self._heard(message, fds)
                except Exception:
                    _log.failure("a message of the other process was not carried out")
        except RemoteProtocolError as error:
            _log.error("the channel between processes broke: {error}", error=error)
            wire: Any = self.transport
            wire.abortConnection()

    @override
    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._gone = True
        while self._fds:
            os.close(self._fds.popleft())
        self._lost()


def adopt(reactor: Any, channel: TwistedProtocol, fd: int, family: int = socket.AF_UNIX) -> None:
    """Let C{channel} speak over the connected socket C{fd}, which is the caller's to close then."""
    factory = Factory.forProtocol(lambda: channel)
    factory.noisy = False
    reactor.adoptStreamConnection(fd, family, factory)
