"""Packet ids as a configuration writes them: C{pmt:100,v1:101,a0:200} (pure)."""

from __future__ import annotations

import re
from typing import Final

from restreamer.media.track import TrackKind

_TRACK: Final = re.compile(r"([va])([0-9]{1,2})")
_KINDS: Final = {"v": TrackKind.VIDEO, "a": TrackKind.AUDIO}
#: PIDs that are free for programs (ISO/IEC 13818-1 table 2-3).
_FIRST_PID: Final = 0x10
_LAST_PID: Final = 0x1FFE
#: Tracks of a kind that a base (C{v0}, C{a0}) numbers.
_BASED: Final = 16


def read_pids(text: str) -> tuple[int | None, tuple[tuple[TrackKind, int, int], ...]]:
    """The PID of the map, None where none is given, and those of tracks: kind, place, PID.

    C{a0} numbers all of a kind, the first one from the PID behind it on.
    @raise ValueError: what is expected instead.
    """
    pmt_pid: int | None = None
    exact: dict[tuple[TrackKind, int], int] = {}
    based: dict[tuple[TrackKind, int], int] = {}
    words = set()
    for pair in text.split(",") if text else ():
        word, _, number = pair.partition(":")
        pid = int(number, 16) if number.lower().startswith("0x") else int(number)
        track = _TRACK.fullmatch(word)
        if word in words:
            raise ValueError(f"no one word twice ({word})")
        words.add(word)
        if word == "pmt":
            pmt_pid = pid
        elif track is None:
            raise ValueError(f"pmt, v1, a1 and so on, not {word}")
        elif int(track[2]):
            exact[_KINDS[track[1]], int(track[2])] = pid
        else:
            kind = _KINDS[track[1]]
            based.update({(kind, place): pid + place for place in range(1, _BASED + 1)})
    chosen = based | exact
    taken = [*chosen.values(), *(() if pmt_pid is None else (pmt_pid,))]
    if any(not _FIRST_PID <= pid <= _LAST_PID for pid in taken):
        raise ValueError(
            f"each PID from {_FIRST_PID:#x} to {_LAST_PID:#x} (v0 and a0 number {_BASED} tracks)"
        )
    if len(set(taken)) < len(taken):
        raise ValueError(f"no one PID twice (v0 and a0 number {_BASED} tracks)")
    return pmt_pid, tuple((kind, place, pid) for (kind, place), pid in chosen.items())
