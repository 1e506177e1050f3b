"""What the front asks of a connection beyond a transport: its peer, its socket, the kernel's send queue."""

from __future__ import annotations

import fcntl
import socket
import struct
import termios


def peer_host(address: object) -> str:
    """The host of a peer address without port; IPv4 in IPv6 is shown as IPv4; C{"unix"} without one."""
    host = getattr(address, "host", None)
    if not host:
        return "unix"
    return str(host).removeprefix("::ffff:")


def plain_socket(transport: object) -> socket.socket | None:
    """The transport's own socket if bytes written to it are what the peer reads, else None.

    The handle of a TLS transport is its cipher's, and a transport in memory has none.
    """
    get_handle = getattr(transport, "getHandle", None)
    handle = get_handle() if get_handle is not None else None
    return handle if isinstance(handle, socket.socket) else None


def unacknowledged(transport: object) -> int | None:
    """Bytes in the kernel's send queue that the peer did not acknowledge; None when it cannot be known.

    For a TLS transport it is the queue of the connection below it.
    """
    handle = plain_socket(transport) or plain_socket(getattr(transport, "transport", None))
    if handle is None:
        return None
    try:
        answer = fcntl.ioctl(handle.fileno(), termios.TIOCOUTQ, b"\0" * 4)
    except (OSError, ValueError):
        return None
    return int(struct.unpack("i", answer)[0])
