"""A UDP port of which Twisted's log hears nothing."""

from __future__ import annotations

import socket
from typing import Any, Final

from twisted.internet import udp
from twisted.internet.interfaces import IReactorFDSet
from twisted.internet.protocol import DatagramProtocol
from twisted.python import log
from twisted.python.failure import Failure
from typing_extensions import override

#: What Twisted's old log is told about in this context has no text, and so is not written.
_SILENT: Final = {"log_format": ""}


class QuietPort(udp.Port):
    """A port of which Twisted says nothing: a line for each one that opens or closes helps nobody."""

    @override
    def startListening(self) -> None:
        """Open it."""
        log.callWithContext(_SILENT, super().startListening)

    @override
    def connectionLost(self, reason: Failure | None = None) -> None:
        """It is closed."""
        log.callWithContext(_SILENT, super().connectionLost, reason)


def adopt(reactor: Any, receiving: socket.socket, protocol: DatagramProtocol, size: int) -> Any:
    """Give C{protocol} what comes to a socket that is bound; gives the port.

    @param receiving: it may be closed afterwards. @param size: bytes of the longest datagram.
    """
    descriptor, family = receiving.fileno(), receiving.family
    if not IReactorFDSet.providedBy(reactor):
        return reactor.adoptDatagramPort(descriptor, family, protocol, maxPacketSize=size)
    port = QuietPort._fromListeningDescriptor(reactor, descriptor, family, protocol, size)
    port.startListening()
    return port
