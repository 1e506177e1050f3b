"""A socket that datagrams are sent by, and what can go wrong with it."""

from __future__ import annotations

import errno
import socket
import struct
from typing import Final

from restreamer.tsio.interfaces import interface_address, interface_index, is_ipv6, is_multicast

#: Bytes the kernel is asked to keep of what is not on the wire yet.
SEND_BUFFER: Final = 1024 * 1024
#: The kernel has no room now, or nobody listened to an earlier datagram (receivers come and go): the datagram
#: is lost, and nothing else.
_LOST: Final = frozenset(
    {errno.EAGAIN, errno.EWOULDBLOCK, errno.ENOBUFS, errno.ENOMEM, errno.EINTR, errno.ECONNREFUSED}
)


class UdpSender:
    """Sends to one address.

    @ivar bytes: sent; @ivar datagrams: likewise. @ivar lost: datagrams the kernel had no room for, or
        that came when it had just heard that nobody listens.
    """

    def __init__(self, host: str, port: int, ttl: int, loop: bool, interface: str) -> None:
        """@param host: an address.
        @param ttl: hops a multicast datagram may go. @param loop: it is heard on this machine, too.
        @param interface: where multicast leaves: a name or an address; empty: as the routes say.
        @raise OSError: it cannot be.
        """
        six = is_ipv6(host)
        self.bytes = self.datagrams = self.lost = 0
        self._socket = sending = socket.socket(socket.AF_INET6 if six else socket.AF_INET, socket.SOCK_DGRAM)
        try:
            sending.setblocking(False)
            sending.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)
            if is_multicast(host) and six:
                sending.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS, ttl)
                sending.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_LOOP, loop)
                if interface:
                    number = struct.pack("@I", interface_index(interface))
                    sending.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_IF, number)
            elif is_multicast(host):
                sending.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, ttl)
                sending.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_LOOP, loop)
                if interface:
                    own = socket.inet_aton(interface_address(interface))
                    sending.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, own)
            elif interface:
                sending.bind((interface if six else interface_address(interface), 0))
            # Connected, so that the kernel tells when nobody listens: it is counted.
            sending.connect((host, port))
        except BaseException:
            sending.close()
            raise

    def send(self, datagram: bytes) -> None:
        """Send, or lose, one datagram.

        @raise OSError: it cannot be sent, and the next one hardly.
        """
        try:
            self._socket.send(datagram)
        except OSError as error:
            if error.errno not in _LOST:
                raise
            self.lost += 1
        else:
            self.datagrams += 1
            self.bytes += len(datagram)

    def close(self) -> None:
        """No more is sent."""
        self._socket.close()
