"""C{input udp://[INTERFACE@]ADDRESS:PORT}: a transport stream in datagrams, unicast or multicast."""

from __future__ import annotations

import socket
import struct
from collections.abc import Callable
from typing import Any, Final

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall
from twisted.internet.protocol import DatagramProtocol
from typing_extensions import override

from restreamer.errors import RemoteProtocolError
from restreamer.logs import Logger
from restreamer.mpegts.ts_input import TsInput
from restreamer.seams import FrameSink
from restreamer.sources.pull import PullTarget
from restreamer.tsio.interfaces import interface_address, interface_index, is_ipv6, is_multicast

_log = Logger()

#: Seconds without a datagram before the pull is lost.
SILENCE: Final = 10.0
#: Bytes of datagrams the kernel is asked to keep.
RECEIVE_BUFFER: Final = 2 * 1024 * 1024
MAX_DATAGRAM: Final = 65_536
_RTP_HEAD: Final = 12


def without_rtp(datagram: bytes) -> bytes:
    """The transport stream in C{datagram}, maybe behind an RTP header (RFC 2250, payload type 33)."""
    if len(datagram) <= _RTP_HEAD or datagram[0] == 0x47 or datagram[0] >> 6 != 2 or datagram[1] & 0x7F != 33:
        return datagram
    at = _RTP_HEAD + 4 * (datagram[0] & 0x0F)
    if datagram[0] & 0x10 and len(datagram) >= at + 4:
        at += 4 + 4 * int.from_bytes(datagram[at + 2 : at + 4], "big")
    return datagram[at:]


class TsUdpPull(DatagramProtocol):
    """Receives one stream (a L{restreamer.sources.pull.Pulling}); begins at once.

    The first sender that is heard is the only one that is listened to, until it has been silent for a second.
    """

    noisy = False

    def __init__(
        self, target: PullTarget, sink: FrameSink, lost: Callable[[str], None], reactor: Any
    ) -> None:
        """@param reactor: its time and its UDP ports."""
        self._target = target
        self._lost = lost
        self._reactor = reactor
        self._input = TsInput(sink, int(target.options.get("program", "0")))
        self._port: Any = None
        self._watch: IDelayedCall | None = None
        self._begin_call: IDelayedCall | None = None
        self._heard = reactor.seconds()
        self._sender: object = None
        self._over = False
        try:
            self._listen()
        except OSError as error:
            # Whoever begins it has its handle first.
            why = f"cannot listen ({error.strerror or error})"
            self._begin_call = reactor.callLater(0, self._end, why)
        else:
            self._watch = reactor.callLater(SILENCE, self._check)

    def stop(self) -> Any:
        """End it; fires when the port is closed."""
        if self._over:
            return None
        self._over = True
        closing = self._close()
        self._input.end("stopped")
        return closing

    @override
    def datagramReceived(self, datagram: bytes, addr: object) -> None:
        if self._over:
            return
        now = self._reactor.seconds()
        if addr != self._sender:
            if self._sender is not None and now - self._heard < 1.0:
                return
            self._sender = addr
        self._heard = now
        try:
            _ = self._input.receive(without_rtp(datagram))
        except RemoteProtocolError as error:
            self._end(str(error))
        except Exception:
            _log.failure("{url}: a datagram could not be taken", url=self._target.shown)
            self._end("internal error")

    def _listen(self) -> None:
        target = self._target
        host, interface = target.host, target.options.get("interface", "")
        group = is_multicast(host)
        six = is_ipv6(host)
        receiving = socket.socket(socket.AF_INET6 if six else socket.AF_INET, socket.SOCK_DGRAM)
        try:
            receiving.setblocking(False)
            receiving.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
            if group:
                # Several streams of one node may come by the same port of several groups.
                receiving.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            receiving.bind((host or "0.0.0.0", target.port))
            if group and six:
                number = interface_index(interface)
                request = socket.inet_pton(socket.AF_INET6, host) + struct.pack("@I", number)
                receiving.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP, request)
            elif group:
                own = interface_address(interface) if interface else "0.0.0.0"
                request = socket.inet_aton(host) + socket.inet_aton(own)
                receiving.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, request)
            family = socket.AF_INET6 if six else socket.AF_INET
            self._port = self._reactor.adoptDatagramPort(
                receiving.fileno(), family, self, maxPacketSize=MAX_DATAGRAM
            )
        finally:
            receiving.close()

    def _check(self) -> None:
        left = self._heard + SILENCE - self._reactor.seconds()
        if left > 0:
            self._watch = self._reactor.callLater(left, self._check)
        else:
            self._watch = None
            self._end(f"no datagram for {SILENCE:g} s")

    def _end(self, reason: str) -> None:
        if self._over:
            return
        self._over = True
        _ = self._close()
        counters = self._input.counters
        if counters.continuity:
            _log.info("{url}: {count} continuity errors", url=self._target.shown, count=counters.continuity)
        self._input.end(reason, whole=True)
        self._lost(reason)

    def _close(self) -> Deferred[Any] | None:
        for call in (self._watch, self._begin_call):
            if call is not None and call.active():
                call.cancel()
        self._watch = self._begin_call = None
        port, self._port = self._port, None
        closing: Deferred[Any] | None = port.stopListening() if port is not None else None
        return closing
