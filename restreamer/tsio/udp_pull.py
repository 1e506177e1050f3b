"""C{input udp://[INTERFACE@]ADDRESS:PORT}: a transport stream in datagrams, unicast or multicast.

It may come behind RTP headers: then it is put in order, and what comes twice is left out.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Any, Final

from attrs import define, field
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall
from twisted.internet.protocol import DatagramProtocol
from typing_extensions import override

from restreamer.errors import RemoteProtocolError
from restreamer.logs import Logger
from restreamer.mpegts.ts_input import TsInput
from restreamer.quiet_port import adopt
from restreamer.rtp.packet import parse_rtp
from restreamer.rtp.reorder import ReorderBuffer
from restreamer.seams import FrameSink, tell_counts
from restreamer.sources.pull import PullTarget
from restreamer.tsio.interfaces import is_ipv6, is_multicast, join

_log = Logger()

#: Seconds without a datagram before the pull is lost.
SILENCE: Final = 10.0
#: Bytes of datagrams the kernel is asked to keep.
RECEIVE_BUFFER: Final = 2 * 1024 * 1024
MAX_DATAGRAM: Final = 65_536
#: RTP packets that may wait for one before them (RTP_DEPTH * 7 packets of the stream in most).
RTP_DEPTH: Final = 32
_RTP_HEAD: Final = 12


def rtp_of(datagram: bytes) -> bool:
    """Whether C{datagram} is RTP with a transport stream (RFC 2250, payload type 33)."""
    return len(datagram) > _RTP_HEAD and datagram[0] >> 6 == 2 and datagram[1] & 0x7F == 33


@define(eq=False)
class _RtpOrder:
    """Takes datagrams out of RTP, in their order. @ivar bad: packets that are none."""

    order: ReorderBuffer = field(factory=lambda: ReorderBuffer(RTP_DEPTH))
    ssrc: int | None = None
    bad: int = 0

    def take(self, datagram: bytes, now: float) -> bytes:
        """What of the transport stream is next now."""
        try:
            packet = parse_rtp(datagram)
        except RemoteProtocolError:
            self.bad += 1
            return b""
        if packet.ssrc != self.ssrc:
            self.ssrc = packet.ssrc
            self.order.reset()
        return b"".join(each.payload for each, _ in self.order.take(packet, now))

    def counted(self) -> dict[str, int]:
        """As the API calls it."""
        return {
            "errors_lost_packets": self.order.lost,
            "errors_bad_packets": self.bad,
            "late_packets": self.order.late,
            "sequence_restarts": self.order.restarts,
        }


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
        self._rtp: _RtpOrder | None = None
        self._foreign = 0
        tell_counts(sink, self._counted)
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
                self._foreign += 1
                return
            self._sender = addr
        self._heard = now
        try:
            if rtp_of(datagram):
                rtp = self._rtp
                if rtp is None:
                    rtp = self._rtp = _RtpOrder()
                datagram = rtp.take(datagram, now)
            self._input.datagram(datagram, now)
        except RemoteProtocolError as error:
            self._end(str(error))
        except Exception:
            _log.failure("{url}: a datagram could not be taken", url=self._target.shown)
            self._end("internal error")

    def _listen(self) -> None:
        target = self._target
        host, interface = target.host, target.options.get("interface", "")
        sources = target.options.get("sources", "")
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
            if group:
                join(receiving, host, interface, [each for each in sources.split(",") if each])
            self._port = adopt(self._reactor, receiving, self, MAX_DATAGRAM)
        finally:
            receiving.close()

    def _counted(self) -> dict[str, int]:
        rtp = self._rtp.counted() if self._rtp is not None else {}
        return {**self._input.counted(), **rtp, "foreign_datagrams": self._foreign}

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
