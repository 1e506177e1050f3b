"""The gate: who may play and publish. One asynchronous question for every protocol.

Today it grants every play and checks the publish password; sessions and authorisation backends answer the
same question later, at the same place.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable

from restreamer.errors import Reason, Refused
from restreamer.live.protocols import allowed
from restreamer.seams import Gate, Grant, OpenRequest

#: The protocol word of other nodes: whoever speaks it has proved the cluster key.
NODE_PROTO = "m4f"


class ProtocolGate:
    """A L{restreamer.seams.Gate} before another one, which refuses protocols that a stream is not played by.

    Live streams are looked at where they are waited for; this is for what needs no stream that runs.

    @param protocols_of: words of the protocols a name is played by; None: all.
    """

    def __init__(self, gate: Gate, protocols_of: Callable[[str], frozenset[str] | None]) -> None:
        self._gate = gate
        self._protocols_of = protocols_of

    async def open(self, request: OpenRequest) -> Grant:
        """Grant C{request}, or refuse it.

        @raise Refused: DENIED; as the other gate.
        """
        # A file of MP4 is given, like the segments it is made of, where HLS or DASH is.
        proto = "cmaf" if request.proto == "mp4" else request.proto
        if not allowed(self._protocols_of(request.name), proto):
            raise Refused(Reason.DENIED, "this stream is not played by this protocol here")
        return await self._gate.open(request)


class PasswordGate:
    """A L{restreamer.seams.Gate} that checks publish passwords.

    @param password_of: the publish password of a stream name; empty when none is set.
    """

    def __init__(self, password_of: Callable[[str], str]) -> None:
        self._password_of = password_of

    async def open(self, request: OpenRequest) -> Grant:
        """Grant C{request}, or refuse a publish with a wrong password. A node that pushes needs none.

        @raise Refused: DENIED.
        """
        if request.action == "publish" and request.proto != NODE_PROTO:
            wanted = self._password_of(request.name)
            given = request.password.encode("utf-8", "surrogatepass")
            if wanted and not hmac.compare_digest(wanted.encode(), given):
                raise Refused(Reason.DENIED, "wrong or missing publish password")
        return Grant(request=request)
