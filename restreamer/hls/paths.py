"""What the path of an HLS request names: a stream, a choice of its tracks, a file."""

from __future__ import annotations

import enum
import re
from collections.abc import Mapping
from typing import Final

from attrs import frozen

from restreamer.hls.names import GAP_PATTERN, SEGMENT_PATTERN
from restreamer.live.cmaf_names import CMAF_PATTERN
from restreamer.media.selection import TrackSelection


class Kind(enum.Enum):
    """The kinds of playlists."""

    SUITABLE = "suitable"  # whichever the codecs ask for
    MASTER = "master"  # the same, always a master playlist
    TS = "ts"  # MPEG-TS: the media playlist, or a master where there is a choice of tracks
    TS_MEDIA = "ts-media"  # all tracks in one MPEG-TS
    CMAF = "cmaf"  # the master playlist of CMAF tracks
    CMAF_MEDIA = "cmaf-media"  # one CMAF track
    LOW_LATENCY = "ll"  # the master playlist of CMAF tracks with low latency
    LOW_LATENCY_MEDIA = "ll-media"  # one CMAF track with low latency


#: Playlists of a stream by file name.
STREAM_PLAYLISTS: Final[Mapping[str, Kind]] = {
    "index.m3u8": Kind.SUITABLE,
    "playlist.m3u8": Kind.SUITABLE,
    "master.m3u8": Kind.MASTER,
    "video.m3u8": Kind.TS_MEDIA,
    "mono.m3u8": Kind.TS_MEDIA,
    "index.ts.m3u8": Kind.TS,
    "index.fmp4.m3u8": Kind.CMAF,
    "index.ll.m3u8": Kind.LOW_LATENCY,
}
#: Playlists in a folder of chosen tracks.
TRACK_PLAYLISTS: Final[Mapping[str, Kind]] = {
    "mono.ts.m3u8": Kind.TS_MEDIA,
    "mono.fmp4.m3u8": Kind.CMAF_MEDIA,
    "mono.ll.m3u8": Kind.LOW_LATENCY_MEDIA,
}
_FOLDER: Final = r"(?:tracks-((?:[va][1-9][0-9]?){1,32})/)?"
_PLAYLIST: Final = re.compile(rf"/(.+?)/{_FOLDER}([^/]+\.m3u8)")
_TS: Final = re.compile(rf"/(.+?)/{_FOLDER}({SEGMENT_PATTERN}|{GAP_PATTERN})")
_CMAF: Final = re.compile(rf"/(.+?)/({CMAF_PATTERN})")


@frozen
class HlsPath:
    """What a path names.

    @ivar name: of the stream, not checked. @ivar file: relative to the stream, or to the folder of chosen
        tracks; of CMAF files always to the stream.
    @ivar selection: of that folder. @ivar kind: of a playlist; None: it is a segment.
    """

    name: str
    file: str
    selection: TrackSelection | None = None
    kind: Kind | None = None


def parse_path(path: str) -> HlsPath | None:
    """Read a path of a request; None when it names nothing of HLS."""
    if path.endswith(".m3u8"):
        match = _PLAYLIST.fullmatch(path)
        if match is None:
            return None
        name, folder, file = match.groups()
        kind = (STREAM_PLAYLISTS if folder is None else TRACK_PLAYLISTS).get(file)
        if kind is None:
            return None
    elif path.endswith(".ts"):
        match = _TS.fullmatch(path)
        if match is None:
            return None
        name, folder, file = match.groups()
        kind = None
    elif path.endswith((".m4s", ".mp4")):
        match = _CMAF.fullmatch(path)
        return HlsPath(match[1], match[2]) if match is not None else None
    else:
        return None
    return HlsPath(name, file, TrackSelection.parse(folder) if folder is not None else None, kind)
