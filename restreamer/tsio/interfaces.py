"""Network interfaces by name or address, for multicast."""

from __future__ import annotations

import fcntl
import socket
import struct
from ipaddress import ip_address
from typing import Final

_SIOCGIFADDR: Final = 0x8915


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
