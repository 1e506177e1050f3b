"""What pulls a stream from a server of another protocol: the seam between their clients and the policy."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

from attrs import field, frozen

from restreamer.seams import FrameSink


@frozen(kw_only=True)
class PullTarget:
    """Where a stream is pulled from. What may hold secrets is not in the repr.

    @ivar shown: the URL without secrets, for logs. @ivar scheme: in lower case.
    @ivar host: lower case, IPv6 without brackets; @ivar port: of TCP or UDP; @ivar tls: over TLS.
    @ivar path: with its leading C{/}, as written; @ivar query: without C{?}.
    @ivar user, password: of the URL, percent-decoded. @ivar options: C{key=value} behind the URL.
    """

    shown: str
    scheme: str
    host: str
    port: int
    path: str = field(default="", repr=False)
    query: str = field(default="", repr=False)
    user: str = field(default="", repr=False)
    password: str = field(default="", repr=False)
    tls: bool = False
    options: Mapping[str, str] = field(factory=dict, repr=False)


class Pulling(Protocol):
    """A pull that was begun."""

    def stop(self) -> Any:
        """End it; gives None or a Deferred that fires when it is closed. Nothing is reported after it."""
        ...


#: C{pull(target, sink, lost)} begins at once. Frames go to the sink, on the server's own clock.
#: C{lost(reason)} is called at most once, when it fails or ends: then it is over (who called it begins
#: another one, later). L{FrameSink.end} is called by the pull before C{lost} and in C{stop}.
Pull = Callable[[PullTarget, FrameSink, Callable[[str], None]], Pulling]
