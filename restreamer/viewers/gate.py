"""The gate: who may play and publish. One asynchronous question for every protocol.

Today it grants every play and checks the publish password; sessions and authorisation backends answer the
same question later, at the same place.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable

from restreamer.errors import Reason, Refused
from restreamer.seams import Grant, OpenRequest

#: The protocol word of other nodes: whoever speaks it has proved the cluster key.
NODE_PROTO = "m4f"


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
