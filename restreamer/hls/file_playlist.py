"""The media playlist of a file (RFC 8216 section 4.3.3), a pure function of its index."""

from __future__ import annotations

import re
from typing import Final

from restreamer.hls.master import master_playlist
from restreamer.m4f.file_index import FileIndex
from restreamer.media.timebase import TICKS_PER_SECOND

_NAME: Final = re.compile(r"(0|[1-9][0-9]{0,5})-([0-9a-f]{16})\.ts")
#: What L{file_segment_uri} can give, without anchors: for route tables.
FILE_SEGMENT_PATTERN: Final = r"[0-9]{1,6}-[0-9a-f]{16}\.ts"


def file_segment_uri(version: int, number: int) -> str:
    """The URI of a segment, relative to its playlist: it means these bytes for ever."""
    return f"{number}-{version:016x}.ts"


def parse_file_segment_uri(uri: str) -> tuple[int, int] | None:
    """(version, number) of what L{file_segment_uri} wrote; None for anything else."""
    match = _NAME.fullmatch(uri)
    return (int(match[2], 16), int(match[1])) if match is not None else None


def file_list_head(index: FileIndex, version: int) -> tuple[str, list[int]]:
    """What a playlist of the whole file begins with, and how long each segment is, milliseconds."""
    durations = [(ticks * 1000 + TICKS_PER_SECOND // 2) // TICKS_PER_SECOND for ticks in index.durations]
    longest = max(1, *((ms + 500) // 1000 for ms in durations))
    head = (
        f"#EXTM3U\n#EXT-X-VERSION:{version}\n#EXT-X-PLAYLIST-TYPE:VOD\n"
        f"#EXT-X-TARGETDURATION:{longest}\n#EXT-X-MEDIA-SEQUENCE:0\n"
    )
    return head, durations


def file_playlist(index: FileIndex) -> str:
    """The playlist that lists the whole file and ends."""
    head, durations = file_list_head(index, 3)
    lines = [head]
    ending = f"-{index.version:016x}.ts\n"
    lines.extend(
        f"#EXTINF:{ms // 1000}.{ms % 1000:03d},\n{number}{ending}" for number, ms in enumerate(durations)
    )
    lines.append("#EXT-X-ENDLIST\n")
    return "".join(lines)


def packaged_size(size: int) -> int:
    """About how many bytes of MPEG-TS frames of C{size} bytes take, rather too many."""
    return size * 9 // 8 + 32 * 188


def file_master_playlist(uri: str, index: FileIndex) -> str:
    """The master playlist of a file; its peak is that of the heaviest segment.

    @param uri: of the media playlist, relative.
    """
    weights = [
        (packaged_size(size) / ticks, size, ticks)
        for size, ticks in zip(index.sizes, index.durations, strict=True)
    ]
    _, size, ticks = max(weights)
    return master_playlist(uri, index.tracks, packaged_size(size), ticks)
