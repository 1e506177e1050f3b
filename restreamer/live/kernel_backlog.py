"""What the kernel may hold for a viewer that does not read, whatever its protocol."""

from __future__ import annotations

import socket

#: Bytes the kernel takes for a player beyond what is on its way to it. Without a bound it takes megabytes,
#: minutes of a small stream: memory nobody counts, and nobody sees that the player is late.
UNSENT_BYTES = 128 * 1024
#: Seconds a player may leave unread what was sent to it (a closed window) or unacknowledged.
STALL_SECONDS = 10.0


def bound_backlog(transport: object) -> None:
    """Set both bounds on the socket of C{transport}, if it has one."""
    get_handle = getattr(transport, "getHandle", None)
    handle = get_handle() if get_handle is not None else None
    if not isinstance(handle, socket.socket):
        return
    try:
        handle.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, UNSENT_BYTES)
        handle.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(STALL_SECONDS * 1000))
    except OSError:
        return  # not TCP, or closed by now
