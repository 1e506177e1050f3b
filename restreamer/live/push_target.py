"""What pushes a stream to a server of another protocol: values and a seam between it and the policy."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any, Protocol

from attrs import frozen

from restreamer.live.network_target import NetworkTarget
from restreamer.live.stream import Stream


@frozen(kw_only=True)
class PushTarget(NetworkTarget):
    """Where a stream is pushed to."""


@frozen(kw_only=True)
class PushFacts:
    """What a push tells of itself when it is asked.

    @ivar url: where to, without secrets. @ivar state: C{idle} (the stream does not run), C{connecting},
        C{pushing} or C{waiting} (for the next attempt).
    @ivar since: monotonic seconds of the last change of C{state}; @ivar bytes: sent so far, all attempts.
    @ivar last_error: why the newest attempt failed or ended, or empty; @ivar retries: attempts after it.
    @ivar lost: datagrams that were not sent, or that nobody took; None: it sends none.
    """

    url: str
    state: str = "idle"
    since: float = 0.0
    bytes: int = 0
    last_error: str = ""
    retries: int = 0
    lost: int | None = None


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
