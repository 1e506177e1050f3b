"""Several datagrams to one address with one system call: the kernel cuts up what it is given.

UDP_SEGMENT (Linux 4.18, C{udp(7)}) takes datagrams of one length, of which the last may be shorter: just what
a picture becomes (RFC 6184 section 5.8, FU-A). Of four a third of the time is left, of sixteen a fifth
(bench/udp_out.py).
"""

from __future__ import annotations

import errno
import socket
import struct
from collections.abc import Sequence
from typing import Final

_SOL_UDP: Final = 17
_UDP_SEGMENT: Final = 103
_LENGTH: Final = struct.Struct("@H")
#: The most that one call takes (UDP_MAX_SEGMENTS of older kernels), and bytes of an IP packet, less headers.
MOST: Final = 64
MOST_BYTES: Final = 65_000
#: The kernel, the interface or the datagrams are not such that this is possible.
_NOT_HERE: Final = frozenset(
    {errno.EINVAL, errno.EIO, errno.EMSGSIZE, errno.ENOPROTOOPT, errno.EOPNOTSUPP, errno.ENOSYS}
)


class BurstSender:
    """Sends by one socket. @ivar failed: datagrams the system did not take."""

    __slots__ = ("_cuts", "_socket", "failed")

    def __init__(self, sending: socket.socket) -> None:
        self._socket = sending
        self._cuts = True
        self.failed = 0

    def send(self, datagrams: Sequence[bytes], address: tuple[str, int]) -> None:
        """Send all, in order; what the system does not take is counted, and as lost as on the way."""
        at, count = 0, len(datagrams)
        while at < count:
            end = run_of(datagrams, at) if self._cuts else at + 1
            if end - at > 1 and not self._send_in_one(datagrams[at:end], address):
                continue
            if end - at == 1:
                self._send_one(datagrams[at], address)
            at = end

    def _send_in_one(self, datagrams: Sequence[bytes], address: tuple[str, int]) -> bool:
        """False: it cannot be done here; nothing was sent."""
        size = _LENGTH.pack(len(datagrams[0]))
        try:
            self._socket.sendmsg(datagrams, [(_SOL_UDP, _UDP_SEGMENT, size)], 0, address)
        except OSError as error:
            if error.errno in _NOT_HERE:
                self._cuts = False
                return False
            self.failed += len(datagrams)
        return True

    def _send_one(self, datagram: bytes, address: tuple[str, int]) -> None:
        try:
            self._socket.sendto(datagram, address)
        except OSError:
            self.failed += 1


def run_of(datagrams: Sequence[bytes], at: int) -> int:
    """Where the run of datagrams ends that begins C{at} and can go as one."""
    size = len(datagrams[at])
    end, total, most = at + 1, size, min(len(datagrams), at + MOST)
    while end < most and 0 < len(datagrams[end]) <= size and total + len(datagrams[end]) <= MOST_BYTES:
        total += len(datagrams[end])
        end += 1
        if len(datagrams[end - 1]) < size:
            break
    return end
