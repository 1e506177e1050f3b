"""What stands behind C{push udp://…}, as values (pure)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from attrs import frozen

from restreamer.errors import Reason, Refused
from restreamer.media.pids import read_pids
from restreamer.media.selection import TrackSelection
from restreamer.mpegts.program import PROVIDER, ProgramLayout
from restreamer.mpegts.psi import PMT_PID

DEFAULT_TTL: Final = 4


@frozen(kw_only=True)
class PushOptions:
    """@ivar bitrate: bits/s, 0 for as much as there is. @ivar service: its name; empty: the stream's.
    @ivar loop: programs on this machine hear it, too. @ivar selection: tracks to send; None: all.
    @ivar interface: name or address, empty: as the routes say.
    """

    layout: ProgramLayout
    bitrate: int = 0
    service: str = ""
    ttl: int = DEFAULT_TTL
    loop: bool = True
    selection: TrackSelection | None = None
    interface: str = ""


def push_options(options: Mapping[str, str], query: str = "") -> PushOptions:
    """Read the options of a push.

    @param query: of the URL: C{tracks=v1a2}.
    @raise Refused: one of them is not right.
    """
    try:
        pmt_pid, pids = read_pids(options.get("pids", ""))
        layout = ProgramLayout(
            number=int(options.get("pnr", "1")),
            pmt_pid=PMT_PID if pmt_pid is None else pmt_pid,
            provider=options.get("provider", PROVIDER),
            pids=pids,
            clock_aside=True,
        )
        return PushOptions(
            layout=layout,
            bitrate=int(options.get("bitrate", "0")) * 1000,
            service=options.get("service", ""),
            ttl=int(options.get("ttl", DEFAULT_TTL)),
            loop=options.get("multicast_loop", options.get("loop", "true")) != "false",
            selection=_selection(query),
            interface=options.get("interface", ""),
        )
    except ValueError as error:
        raise Refused(Reason.BAD_NAME, f"an option of the push is not right: {error}") from None


def _selection(query: str) -> TrackSelection | None:
    for part in query.split("&"):
        key, _, value = part.partition("=")
        if key == "tracks":
            selection = TrackSelection.parse(value)
            if selection is None:
                raise ValueError("tracks= is v or a with a number, once or more: v1a2")
            return selection
    return None
