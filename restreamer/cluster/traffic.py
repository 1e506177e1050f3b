"""What the links with another node carry, and how far away it is."""

from __future__ import annotations

import socket
import struct

from attrs import define

#: Where the smoothed round-trip time stands in Linux's C{struct tcp_info}: microseconds, after 8 single bytes
#: and 15 words (tcp(7)).
_ROUND_TRIP_AT = 8 + 15 * 4
_MICROSECONDS = 1_000_000


@define(eq=False)
class LinkTraffic:
    """Bytes of all links that share it, protocol included, those of TLS not.

    @ivar bytes_in, @ivar bytes_out: so far. @ivar trouble: why a link was lost or could not be made, lately.
    """

    bytes_in: int = 0
    bytes_out: int = 0
    trouble: str = ""


def round_trip(transport: object) -> float | None:
    """The round-trip time of a connection in seconds, as the kernel has measured it.

    None without a TCP socket below, before the first measurement, and on systems that do not tell.
    """
    for candidate in (transport, getattr(transport, "transport", None)):
        get_handle = getattr(candidate, "getHandle", None)
        handle = get_handle() if get_handle is not None else None
        if isinstance(handle, socket.socket):
            return _measured(handle)
    return None


def _measured(handle: socket.socket) -> float | None:
    option = getattr(socket, "TCP_INFO", None)
    if option is None:
        return None
    try:
        facts = handle.getsockopt(socket.IPPROTO_TCP, option, _ROUND_TRIP_AT + 4)
    except OSError:
        return None
    if len(facts) < _ROUND_TRIP_AT + 4:
        return None
    microseconds = int(struct.unpack_from("=I", facts, _ROUND_TRIP_AT)[0])
    return microseconds / _MICROSECONDS if microseconds else None
