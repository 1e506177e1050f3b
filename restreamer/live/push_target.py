"""What pushes a stream to a server of another protocol: values and a seam between it and the policy."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any, Protocol

from attrs import field, frozen

from restreamer.live.stream import Stream


@frozen(kw_only=True)
class PushTarget:
    """Where a stream is pushed to. What may hold secrets is not in the repr.

    @ivar shown: the URL without secrets, for logs and the API. @ivar scheme: in lower case.
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


@frozen(kw_only=True)
class PushFacts:
    """What a push tells of itself when it is asked.

    @ivar url: where to, without secrets. @ivar state: C{idle} (the stream does not run), C{connecting},
        C{pushing} or C{waiting} (for the next attempt).
    @ivar since: monotonic seconds of the last change of C{state}; @ivar bytes: sent so far, all attempts.
    @ivar last_error: why the newest attempt failed or ended, or empty; @ivar retries: attempts after it.
    """

    url: str
    state: str = "idle"
    since: float = 0.0
    bytes: int = 0
    last_error: str = ""
    retries: int = 0


class Pushing(Protocol):
    """One stream pushed to one place, whatever the protocol.

    @ivar key: what its maker knows it by: equal keys mean the same push.
    """

    key: Hashable

    def follow(self, stream: Stream) -> None:
        """The stream began or ceased to run, or comes another way now."""
        ...

    def stop(self) -> Any:
        """End it; gives None or a Deferred that fires when it is closed. Idempotent."""
        ...

    def facts(self) -> PushFacts:
        """How it is doing."""
        ...
