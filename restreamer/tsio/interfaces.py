"""Network interfaces by name or address, for multicast."""

from __future__ import annotations

import fcntl
import socket
import struct
from collections.abc import Sequence
from ipaddress import ip_address
from typing import Final

_SIOCGIFADDR: Final = 0x8915


#: Linux (in.h): struct ip_mreq_source behind it; Python 3.11 does not name them.
_ADD_SOURCE_MEMBERSHIP: Final = 39
_JOIN_SOURCE_GROUP: Final = 46
_STORAGE: Final = 128


def join(receiving: socket.socket, group: str, interface: str, sources: Sequence[str] = ()) -> None:
    """Let C{receiving} be a member of C{group} (RFC 1112, RFC 3493; with C{sources}, RFC 3678).

    @param interface: a name or an address; empty: as the routes say.
    @param sources: addresses of those that are listened to; empty: anybody.
    @raise OSError: it cannot be.
    """
    if is_ipv6(group):
        number = interface_index(interface)
        for source in sources:
            # struct group_source_req: the interface, then both addresses where pointers are aligned.
            request = struct.pack("@I4x", number) + _storage(group) + _storage(source)
            receiving.setsockopt(socket.IPPROTO_IPV6, _JOIN_SOURCE_GROUP, request)
        if not sources:
            request = socket.inet_pton(socket.AF_INET6, group) + struct.pack("@I", number)
            receiving.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP, request)
        return
    own = socket.inet_aton(interface_address(interface) if interface else "0.0.0.0")
    for source in sources:
        request = socket.inet_aton(group) + own + socket.inet_aton(source)
        receiving.setsockopt(socket.IPPROTO_IP, _ADD_SOURCE_MEMBERSHIP, request)
    if not sources:
        receiving.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, socket.inet_aton(group) + own)


def _storage(address: str) -> bytes:
    """A struct sockaddr_storage of an IPv6 address."""
    head = struct.pack("@HHI", socket.AF_INET6, 0, 0)
    return (head + socket.inet_pton(socket.AF_INET6, address)).ljust(_STORAGE, b"\x00")


def is_multicast(host: str) -> bool:
    """Whether C{host} is the address of a group."""
    try:
        return ip_address(host).is_multicast
    except ValueError:
        return False


def is_ipv6(host: str) -> bool:
    """Whether C{host} is an IPv6 address."""
    try:
        return ip_address(host).version == 6
    except ValueError:
        return False


def interface_address(interface: str) -> str:
    """The IPv4 address of C{interface}, which is a name or already an address.

    @raise OSError: there is no such interface, or it has none.
    """
    try:
        return str(ip_address(interface))
    except ValueError:
        pass
    name = interface.encode()[:15]
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        answer = fcntl.ioctl(asking.fileno(), _SIOCGIFADDR, struct.pack("256s", name))
    return socket.inet_ntoa(answer[20:24])


def interface_index(interface: str) -> int:
    """The number of C{interface}, a name, for IPv6; 0 (any) for an address or none.

    @raise OSError: there is no such interface.
    """
    if not interface or is_ipv6(interface):
        return 0
    return socket.if_nametoindex(interface)
