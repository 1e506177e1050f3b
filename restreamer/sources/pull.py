"""What pulls a stream from a server of another protocol: the seam between their clients and the policy."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from attrs import frozen

from restreamer.live.network_target import NetworkTarget
from restreamer.seams import FrameSink


@frozen(kw_only=True)
class PullTarget(NetworkTarget):
    """Where a stream is pulled from."""


class Pulling(Protocol):
    """A pull that was begun."""

    def stop(self) -> Any:
        """End it; gives None or a Deferred that fires when it is closed. Nothing is reported after it."""
        ...


#: C{pull(target, sink, lost)} begins at once. Frames go to the sink, on the server's own clock.
#: C{lost(reason)} is called at most once, when it fails or ends: then it is over (who called it begins
#: another one, later). L{FrameSink.end} is called by the pull before C{lost} and in C{stop}.
Pull = Callable[[PullTarget, FrameSink, Callable[[str], None]], Pulling]
