"""The names of CMAF files, the same for HLS and DASH: one track in a file, relative to C{/NAME/}.

 - C{tracks-v1/init-0a1b2c3d.mp4}: what stands before every segment of the track. The name holds the CRC-32 of
   its bytes, so a name means one init segment for ever.
 - C{tracks-v1/1234567.m4s}: the track in segment 1234567.
 - C{tracks-v1/1234567.3.m4s}: part 3 of it, counted from 0 among the parts that hold something of the track.

C{v1}, C{a2}: the place of a track within its kind, as in L{restreamer.media.selection}.
"""

from __future__ import annotations

import re
import zlib
from typing import Final

from attrs import frozen

from restreamer.media.track import Track, TrackKind, Tracks

_LETTERS: Final = {TrackKind.VIDEO: "v", TrackKind.AUDIO: "a"}
#: A track's name, without anchors.
TRACK_PATTERN: Final = r"[va][1-9][0-9]?"
#: What this module names, relative to a stream, without anchors: for route tables.
CMAF_PATTERN: Final = (
    rf"tracks-{TRACK_PATTERN}/(?:init-[0-9a-f]{{8}}\.mp4|[0-9]{{1,20}}(?:\.[0-9]{{1,5}})?\.m4s)"
)
_NAME: Final = re.compile(
    rf"tracks-({TRACK_PATTERN})/"
    r"(?:init-([0-9a-f]{8})\.mp4|(0|[1-9][0-9]{0,19})(?:\.(0|[1-9][0-9]{0,4}))?\.m4s)"
)


@frozen
class CmafName:
    """What the name of a CMAF file says.

    @ivar track: C{v1}, C{a2}…; @ivar init: CRC-32 of the init segment as 8 hexadecimal digits, or empty.
    @ivar number: of the segment, when it is no init segment; @ivar part: of the part, when it is one.
    """

    track: str
    init: str = ""
    number: int = 0
    part: int | None = None


def named_tracks(tracks: Tracks) -> tuple[tuple[str, Track], ...]:
    """Each track with its name (C{v1}, C{a1}, C{a2}), in the order of the table."""
    places: dict[TrackKind, int] = {}
    named = []
    for track in tracks:
        place = places[track.kind] = places.get(track.kind, 0) + 1
        named.append((f"{_LETTERS[track.kind]}{place}", track))
    return tuple(named)


def find_track(tracks: Tracks, name: str) -> Track | None:
    """The track called C{name}; None when the table has none."""
    return next((track for known, track in named_tracks(tracks) if known == name), None)


def init_file(init: bytes) -> str:
    """The file of an init segment, in its track's folder."""
    return f"init-{zlib.crc32(init):08x}.mp4"


def segment_file(number: int) -> str:
    """The file of a segment, in its track's folder."""
    return f"{number}.m4s"


def part_file(number: int, part: int) -> str:
    """The file of part C{part} of segment C{number}, in its track's folder."""
    return f"{number}.{part}.m4s"


def track_folder(name: str) -> str:
    """The folder of a track's files, relative to the stream, with its C{/}."""
    return f"tracks-{name}/"


def parse_cmaf_name(path: str) -> CmafName | None:
    """Read a path relative to C{/NAME/}; None for anything this module does not write."""
    match = _NAME.fullmatch(path)
    if match is None:
        return None
    track, init, number, part = match.groups()
    if init is not None:
        return CmafName(track, init=init)
    return CmafName(track, number=int(number), part=int(part) if part is not None else None)
