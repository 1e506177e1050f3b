"""Listening sockets: all bound before anything starts, then adopted by the reactor."""

from __future__ import annotations

import errno
import socket
from typing import Any

from attrs import define
from twisted.internet.interfaces import IListeningPort, IReactorSocket
from twisted.internet.protocol import ServerFactory

from restreamer.errors import RestreamerError

BACKLOG = 4096


class ListenError(RestreamerError):
    """A port that cannot be listened on; the text names the listener, the port and what is wrong.

    @ivar in_use: somebody else listens there.
    """

    def __init__(self, text: str, in_use: bool = False) -> None:
        super().__init__(text)
        self.in_use = in_use


@define(eq=False)
class BoundSocket:
    """A bound, listening, non-blocking socket that nobody serves yet.

    @ivar kind: C{http}, C{https} or C{rtmp}; @ivar address, @ivar port: as configured.
    """

    kind: str
    address: str
    port: int
    socket: socket.socket
    served: IListeningPort | None = None

    def serve(self, reactor: IReactorSocket, factory: ServerFactory) -> None:
        """Let the reactor accept connections for C{factory}."""
        self.served = reactor.adoptStreamPort(self.socket.fileno(), self.socket.family, factory)
        self.socket.close()

    def close(self) -> Any:
        """Stop listening; gives a Deferred or None."""
        if self.served is None:
            self.socket.close()
            return None
        return self.served.stopListening()


def bind(kind: str, address: str, port: int) -> BoundSocket:
    """A listening socket on C{address} (empty: every IPv4 address; C{::}: every address) and C{port}.

    @raise ListenError: naming the listener, the port and what is wrong with it.
    """
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    made = socket.socket(family, socket.SOCK_STREAM)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, address != "::")
        made.bind((address or "0.0.0.0", port))
        made.listen(BACKLOG)
        made.setblocking(False)
    except OSError as error:
        made.close()
        shown = f"[{address}]" if ":" in address else address
        where = f"{shown}:{port}" if address else str(port)
        if error.errno == errno.EADDRINUSE:
            why = "the port is in use by another program"
        elif error.errno == errno.EACCES:
            why = "no permission (ports below 1024 need root or CAP_NET_BIND_SERVICE)"
        elif error.errno == errno.EADDRNOTAVAIL:
            why = "this machine has no such address"
        else:
            why = error.strerror or str(error)
        raise ListenError(
            f"{kind} {where}: cannot listen on port {port}: {why}", in_use=error.errno == errno.EADDRINUSE
        )
    return BoundSocket(kind, address, port, made)
