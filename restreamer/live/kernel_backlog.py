"""What the kernel may hold for a viewer that does not read, whatever its protocol."""

from __future__ import annotations

import socket

#: Bytes the kernel takes for a player beyond what is on its way to it. Without a bound it takes megabytes,
#: minutes of a small stream: memory nobody counts, and nobody sees that the player is late.
UNSENT_BYTES = 128 * 1024


def bound_backlog(transport: object) -> None:
    """Set the bound on the socket of C{transport}, or on the one below its TLS, if it has one.

    There is no TCP_USER_TIMEOUT on purpose: the kernel counts it from the first closed window and does not
    always begin anew when the player reads on, so it cuts off players that are slow but well. The feed
    sees who takes nothing.
    """
    handle = _socket_of(transport) or _socket_of(getattr(transport, "transport", None))
    if handle is None:
        return
    try:
        handle.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, UNSENT_BYTES)
    except OSError:
        return  # not TCP, or closed by now


def _socket_of(transport: object) -> socket.socket | None:
    get_handle = getattr(transport, "getHandle", None)
    handle = get_handle() if get_handle is not None else None
    return handle if isinstance(handle, socket.socket) else None
