"""What stands behind C{push udp://…}, as values (pure)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from attrs import frozen

from restreamer.errors import Reason, Refused
from restreamer.media.selection import TrackSelection
from restreamer.media.track import TrackKind
from restreamer.mpegts.program import PROVIDER, ProgramLayout
from restreamer.mpegts.psi import PMT_PID

DEFAULT_TTL: Final = 4
_TRACK: Final = re.compile(r"([va])([0-9]{1,2})")
_KINDS: Final = {"v": TrackKind.VIDEO, "a": TrackKind.AUDIO}
_FIRST_PID: Final = 0x10
_LAST_PID: Final = 0x1FFE
#: Tracks of a kind that a base (C{v0}, C{a0}) numbers.
_BASED: Final = 16


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
        pmt_pid, pids = _pids(options.get("pids", ""))
        layout = ProgramLayout(
            number=int(options.get("pnr", "1")),
            pmt_pid=pmt_pid,
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


def _pids(text: str) -> tuple[int, tuple[tuple[TrackKind, int, int], ...]]:
    """C{pmt:100,v1:101,a0:200}: the PID of the map, and of tracks; C{a0} numbers all of a kind from there."""
    pmt_pid = PMT_PID
    exact: dict[tuple[TrackKind, int], int] = {}
    based: dict[tuple[TrackKind, int], int] = {}
    for pair in text.split(",") if text else ():
        word, _, number = pair.partition(":")
        pid = int(number, 16) if number.lower().startswith("0x") else int(number)
        if not _FIRST_PID <= pid <= _LAST_PID:
            raise ValueError(f"PID {pid} is not within {_FIRST_PID}..{_LAST_PID}")
        track = _TRACK.fullmatch(word)
        if word == "pmt":
            pmt_pid = pid
        elif track is None:
            raise ValueError(f"pids= knows pmt, v1, a1 and so on, not {word}")
        elif int(track[2]):
            exact[_KINDS[track[1]], int(track[2])] = pid
        else:
            kind = _KINDS[track[1]]
            based.update({(kind, place): pid + place for place in range(1, _BASED + 1)})
    chosen = based | exact
    taken = [pmt_pid, *exact.values()]
    if len(set(taken)) < len(taken):
        raise ValueError("pids= gives one PID twice")
    return pmt_pid, tuple((kind, place, pid) for (kind, place), pid in chosen.items())
