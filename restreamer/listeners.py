"""Listening sockets: all bound before anything starts, then adopted by the reactor."""

from __future__ import annotations

import errno
import socket
from collections.abc import Sequence
from typing import Any

from attrs import define, field
from twisted.internet.interfaces import IListeningPort, IReactorSocket
from twisted.internet.protocol import ServerFactory

from restreamer.errors import RestreamerError

BACKLOG = 4096

_Socket = socket.socket


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
    @ivar others: sockets of the same port: each is for a process of its own, and the kernel spreads
        connections over all. None of them is ever closed while the port is listened on, so no connection is
        lost with its process.
    """

    kind: str
    address: str
    port: int
    socket: socket.socket
    served: IListeningPort | None = None
    others: list[_Socket] = field(factory=list)

    def serve(self, reactor: IReactorSocket, factory: ServerFactory) -> None:
        """Let the reactor accept connections for C{factory}."""
        self.served = reactor.adoptStreamPort(self.socket.fileno(), self.socket.family, factory)

    @property
    def sockets(self) -> list[_Socket]:
        """All of them."""
        return [self.socket, *self.others]

    def close(self) -> Any:
        """Stop listening; gives a Deferred or None."""
        for each in self.sockets:
            each.close()
        if self.served is None:
            return None
        return self.served.stopListening()


def bind(kind: str, address: str, port: int, processes: int = 1) -> BoundSocket:
    """A listening socket on C{address} (empty: every IPv4 address; C{::}: every address) and C{port}.

    @param processes: one socket for each of so many (SO_REUSEPORT): L{BoundSocket.socket} is the first.
    @raise ListenError: naming the listener, the port and what is wrong with it.
    """
    try:
        if processes == 1:
            return BoundSocket(kind, address, port, _listening(address, port))
        # Shared sockets say nothing of another program that shares, too: one that does not would.
        _listening(address, port).close()
        made: list[socket.socket] = []
        try:
            for _ in range(processes):
                made.append(_listening(address, port, shared=True))
        except BaseException:
            for each in made:
                each.close()
            raise
        return BoundSocket(kind, address, port, made[0], others=made[1:])
    except OSError as error:
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


def inherited(kind: str, address: str, port: int, sockets: Sequence[_Socket], processes: int) -> BoundSocket:
    """A listener of sockets that another process listened with before.

    @param processes: as L{bind}: what is too many is closed; where there are too few some share one.
    """
    made = list(sockets[:processes])
    for each in sockets[processes:]:
        each.close()
    for at in range(processes - len(made)):
        made.append(made[at % len(sockets)].dup())
    for each in made:
        each.setblocking(False)
    return BoundSocket(kind, address, port, made[0], others=made[1:])


def _listening(address: str, port: int, shared: bool = False) -> socket.socket:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    made = socket.socket(family, socket.SOCK_STREAM)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if shared:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if family == socket.AF_INET6:
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, address != "::")
        made.bind((address or "0.0.0.0", port))
        made.listen(BACKLOG)
        made.setblocking(False)
    except BaseException:
        made.close()
        raise
    return made
