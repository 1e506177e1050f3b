"""CMAF playlists of a file (RFC 8216 section 4.3.3), pure functions of its index."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from restreamer.errors import Reason, Refused
from restreamer.hls.file_playlist import file_list_head, packaged_size
from restreamer.hls.variants import Offer, chosen_tracks, offering_master
from restreamer.live.cmaf import carried_track, init_of
from restreamer.live.cmaf_names import TRACK_PATTERN, track_folder
from restreamer.m4f.file_index import FileIndex
from restreamer.media.codecs import cmaf_can_carry, plain_names
from restreamer.media.track import TrackKind

#: The media playlist in a track's folder.
FILE_TRACK_PLAYLIST: Final = "mono.fmp4.m3u8"
_VERSION: Final = 6
_PATH: Final = re.compile(
    rf"/(.+?)/tracks-({TRACK_PATTERN})/"
    r"(mono\.fmp4\.m3u8|init-[0-9a-f]{8}\.mp4|[0-9]{1,6}-[0-9a-f]{16}\.m4s)"
)
_SEGMENT: Final = re.compile(r"(0|[1-9][0-9]{0,5})-([0-9a-f]{16})\.m4s")


def parse_file_cmaf_path(path: str) -> tuple[str, str, str] | None:
    """(name of the file, track, what of it is asked for); None when C{path} names nothing of this form."""
    match = _PATH.fullmatch(path)
    return (match[1], match[2], match[3]) if match is not None else None


def parse_file_cmaf_segment(file: str) -> tuple[int, int] | None:
    """(version, number) of a segment in a track's folder; None for anything else."""
    match = _SEGMENT.fullmatch(file)
    return (int(match[2], 16), int(match[1])) if match is not None else None


def file_cmaf_playlist(index: FileIndex, name: str) -> str:
    """The playlist of track C{name} of the whole file.

    @raise Refused: NOT_FOUND when the file has no such track that CMAF can carry.
    """
    track = carried_track(index.tracks, name)
    if track is None:
        raise Refused(Reason.NOT_FOUND, f"there is no track {name} that CMAF can carry")
    head, durations = file_list_head(index, _VERSION)
    lines = [head]
    if track.kind is TrackKind.AUDIO:
        lines.append("#EXT-X-INDEPENDENT-SEGMENTS\n")
    lines.append(f'#EXT-X-MAP:URI="{init_of(track)[0]}"\n')
    ending = f"-{index.version:016x}.m4s\n"
    lines.extend(
        f"#EXTINF:{ms // 1000}.{ms % 1000:03d},\n{number}{ending}" for number, ms in enumerate(durations)
    )
    lines.append("#EXT-X-ENDLIST\n")
    return "".join(lines)


def file_cmaf_master(index: FileIndex) -> str:
    """The master playlist of a file; its peak is that of the heaviest segment.

    @raise Refused: UNSUPPORTED when CMAF carries none of its tracks.
    """
    named = chosen_tracks(index.tracks, lambda track: True, cmaf_can_carry)
    if not named:
        raise Refused(Reason.UNSUPPORTED, f"CMAF carries none of the tracks: {plain_names(index.tracks)}")
    _, size, ticks = max(
        (packaged_size(size) / ticks, size, ticks)
        for size, ticks in zip(index.sizes, index.durations, strict=True)
    )

    def uri(names: Sequence[str]) -> str:
        return f"{track_folder(''.join(names))}{FILE_TRACK_PLAYLIST}"

    first = named[0][1].track_id
    offer = Offer(
        tracks=named,
        sizes={first: packaged_size(size)},
        duration=ticks,
        uri=uri,
        muxed=False,
        version=_VERSION,
    )
    return offering_master(offer)
