"""L{restreamer.live.kernel_backlog}."""

from __future__ import annotations

import socket

from twisted.internet.testing import StringTransport
from twisted.trial.unittest import SynchronousTestCase

from restreamer.live.kernel_backlog import UNSENT_BYTES, bound_backlog


class Handled(StringTransport):
    """A transport with a socket."""

    def __init__(self, handle: socket.socket) -> None:
        super().__init__()
        self.handle = handle

    def getHandle(self) -> socket.socket:  # noqa: N802
        return self.handle


class TlsLike:
    """A TLS transport: its handle is the cipher's."""

    transport: object

    def getHandle(self) -> object:  # noqa: N802
        return object()


class BoundBacklogTests(SynchronousTestCase):
    """R27: a player that stops reading."""

    def test_tcp(self) -> None:
        """The kernel takes the bound and not more for a player that does not read, and decides nothing."""
        with socket.create_server(("127.0.0.1", 0)) as listener, socket.socket() as client:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            client.connect(listener.getsockname())
            with listener.accept()[0] as made:
                made.setblocking(False)
                bound_backlog(Handled(made))
                taken = 0
                try:
                    while taken < 64 * UNSENT_BYTES:
                        taken += made.send(bytes(65_536))
                except BlockingIOError:
                    pass
                self.assertLess(taken, 2 * UNSENT_BYTES)
                self.assertEqual(made.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT), 0)

    def test_others(self) -> None:
        """Transports without a socket, or with one that is not TCP or is closed, are left alone."""
        bound_backlog(StringTransport())
        one, other = socket.socketpair()
        with one, other:
            bound_backlog(Handled(one))
        bound_backlog(Handled(one))

    def test_below_tls(self) -> None:
        """A TLS transport has no socket of its own: the one below is bounded."""
        with socket.create_server(("127.0.0.1", 0)) as listener, socket.socket() as client:
            client.connect(listener.getsockname())
            with listener.accept()[0] as made:
                secure = TlsLike()
                secure.transport = Handled(made)
                bound_backlog(secure)
                self.assertEqual(made.getsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT), UNSENT_BYTES)
