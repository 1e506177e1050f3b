"""Pairs of UDP ports: an even one for RTP, the next one for RTCP (RFC 3550 section 11).

A pair speaks with one address only: what others send is counted and thrown away, and nothing is ever sent to
an address that has not asked for it over its own connection.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Sequence
from typing import Any, Final

from twisted.internet.error import CannotListenError, MessageLengthError
from twisted.internet.interfaces import IReactorFDSet, IReactorUDP
from twisted.internet.protocol import DatagramProtocol
from typing_extensions import override

from restreamer.quiet_port import QuietPort
from restreamer.rtsp.datagram_burst import BurstSender

#: Pairs that are tried before there is none.
TRIES: Final = 16
#: Bytes the kernel keeps for us while we do something else: a keyframe of a fast stream.
RECEIVE_BUFFER: Final = 2 * 1024 * 1024
_MAX_DATAGRAM: Final = 65_536


class UdpPort(DatagramProtocol):
    """One port."""

    noisy = False

    def __init__(self, peer: str, received: Callable[[bytes], None], foreign: Callable[[], None]) -> None:
        """@param peer: the only address that is listened to. @param foreign: told of others."""
        self._peer = peer
        self._received = received
        self._foreign = foreign
        self._burst: BurstSender | None = None
        self._failed = 0

    @property
    def failed(self) -> int:
        """Datagrams the system did not take."""
        return self._failed + (self._burst.failed if self._burst is not None else 0)

    @override
    def datagramReceived(self, datagram: bytes, addr: Any) -> None:
        """Take a datagram of the peer."""
        if addr[0] != self._peer:
            self._foreign()
        else:
            self._received(datagram)

    def send(self, datagram: bytes, address: tuple[str, int]) -> None:
        """Send; what the system does not take is counted: it is as lost as on the way."""
        transport = self.transport
        if transport is None:
            return
        try:
            transport.write(datagram, address)
        except (OSError, MessageLengthError):
            self._failed += 1

    def send_all(self, datagrams: Sequence[bytes], address: tuple[str, int]) -> None:
        """Send several, in order, with as few system calls as it takes."""
        burst = self._burst
        if burst is None:
            get_handle = getattr(self.transport, "getHandle", None)
            handle = get_handle() if get_handle is not None else None
            if not isinstance(handle, socket.socket):
                # In memory, or closed.
                for datagram in datagrams:
                    self.send(datagram, address)
                return
            burst = self._burst = BurstSender(handle)
        burst.send(datagrams, address)

    @override
    def stopProtocol(self) -> None:
        """The port is closed."""
        if self._burst is not None:
            self._failed += self._burst.failed
            self._burst = None


class UdpPair:
    """Two ports that are open.

    @ivar ports: their numbers, RTP and RTCP. @ivar remote: those of the peer; 0: not known.
    @ivar released: called once, when they are closed.
    """

    def __init__(self, rtp: UdpPort, rtcp: UdpPort, listening: tuple[Any, Any], peer: str) -> None:
        self._rtp = rtp
        self._rtcp = rtcp
        self._listening: tuple[Any, ...] = listening
        self._peer = peer
        self.ports: tuple[int, int] = (listening[0].getHost().port, listening[1].getHost().port)
        self.remote: tuple[int, int] = (0, 0)
        self.released: Callable[[], None] | None = None

    def send_rtp(self, packet: bytes) -> None:
        """To the peer's port of RTP."""
        if self.remote[0]:
            self._rtp.send(packet, (self._peer, self.remote[0]))

    def send_all_rtp(self, packets: Sequence[bytes]) -> None:
        """Several, to the peer's port of RTP."""
        if self.remote[0]:
            self._rtp.send_all(packets, (self._peer, self.remote[0]))

    def send_rtcp(self, packet: bytes) -> None:
        """To the peer's port of RTCP."""
        if self.remote[1]:
            self._rtcp.send(packet, (self._peer, self.remote[1]))

    def close(self) -> None:
        """Close both. Idempotent."""
        listening, self._listening = self._listening, ()
        for each in listening:
            each.stopListening()
        released, self.released = self.released, None
        if released is not None:
            released()


def open_pair(
    reactor: IReactorUDP,
    interface: str,
    peer: str,
    rtp: Callable[[bytes], None],
    rtcp: Callable[[bytes], None],
    foreign: Callable[[], None],
) -> UdpPair | None:
    """Open a pair of ports on C{interface} for C{peer}; None: there is none to be had.

    @param rtp, rtcp: told what comes.
    """
    for _ in range(TRIES):
        first = UdpPort(peer, rtp, foreign)
        second = UdpPort(peer, rtcp, foreign)
        try:
            lower = _listen(reactor, 0, first, interface)
        except CannotListenError:
            return None
        number: int = getattr(lower.getHost(), "port", 0)
        if number % 2:
            lower.stopListening()
            continue
        try:
            upper = _listen(reactor, number + 1, second, interface)
        except CannotListenError:
            lower.stopListening()
            continue
        _widen(lower)
        return UdpPair(first, second, (lower, upper), peer)
    return None


def _listen(reactor: IReactorUDP, number: int, protocol: UdpPort, interface: str) -> Any:
    """Open a port. @param number: 0: any. @raise CannotListenError: it cannot be had."""
    if not IReactorFDSet.providedBy(reactor):
        return reactor.listenUDP(number, protocol, interface, _MAX_DATAGRAM)
    port = QuietPort(number, protocol, interface, _MAX_DATAGRAM, reactor)
    port.startListening()
    return port


def _widen(port: Any) -> None:
    """Let the kernel keep more of what comes; it gives what it may."""
    get_handle = getattr(port, "getHandle", None)
    handle = get_handle() if get_handle is not None else None
    if isinstance(handle, socket.socket):
        try:
            handle.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
        except OSError:
            return
