"""The media playlist of a live stream (RFC 8216 section 4.3.3), a pure function of the listed segments.

All lines of a segment stand with it and depend on it alone, so two nodes whose windows differ still agree
line by line about every segment both list; therefore each has its own EXT-X-PROGRAM-DATE-TIME.
EXT-X-INDEPENDENT-SEGMENTS speaks of the whole list: it would appear and vanish as a segment that had to be
cut without a keyframe passes through the window, which RFC 8216 section 6.2.1 does not allow, so it is
never given. There is no EXT-X-ENDLIST: a stream that is over has no playlist.
"""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import quote

from attrs import frozen

from restreamer.hls.names import gap_uri, segment_uri
from restreamer.media.timebase import TICKS_PER_SECOND, iso8601_ms

#: Fractions in EXTINF need 3 (RFC 8216 section 7); EXT-X-GAP came with 8.
_VERSION = 3
_VERSION_WITH_GAPS = 8
#: Characters of a URL that stay as they are (RFC 3986 section 2.2, and the percent sign).
_URL = ":/?#[]@!$&'()*+,;=%~"


@frozen
class ListedSegment:
    """A closed segment as a playlist shows it; times in ticks.

    @ivar program_date_time: UTC of its first shown picture.
    @ivar discontinuity: it does not continue the one before.
    @ivar discontinuity_sequence: discontinuities of the stream up to it, its own included.
    """

    number: int
    start: int
    duration: int
    program_date_time: int
    discontinuity: bool
    discontinuity_sequence: int


@frozen
class ListedGap:
    """A number nobody has a segment for; times in ticks.

    @ivar discontinuity_sequence: that of the segment before.
    """

    number: int
    start: int
    duration: int
    discontinuity_sequence: int


Listed = ListedSegment | ListedGap


def segment_lines(entry: Listed, base: str = "") -> str:
    """The lines of one entry; C{base} stands before its URI."""
    if isinstance(entry, ListedGap):
        return (
            f"#EXT-X-PROGRAM-DATE-TIME:{iso8601_ms(entry.start)}\n"
            "#EXT-X-GAP\n"
            f"#EXTINF:{_seconds(entry.duration)},\n"
            f"{base}{gap_uri(entry.number)}\n"
        )
    return (
        f"{'#EXT-X-DISCONTINUITY' + chr(10) if entry.discontinuity else ''}"
        f"#EXT-X-PROGRAM-DATE-TIME:{iso8601_ms(entry.program_date_time)}\n"
        f"#EXTINF:{_seconds(entry.duration)},\n"
        f"{base}{segment_uri(entry.start, entry.duration, entry.number)}\n"
    )


def media_playlist(target_duration: int, entries: Sequence[Listed], base: str = "") -> str:
    """The playlist of C{entries}, oldest first, with consecutive numbers.

    @param target_duration: seconds, at least each rounded duration (RFC 8216 section 4.3.3.1).
    @param base: stands before every segment's URI; empty: they are relative to the playlist.
    """
    first = entries[0] if entries else None
    gaps = any(isinstance(entry, ListedGap) for entry in entries)
    lines = [
        "#EXTM3U\n",
        f"#EXT-X-VERSION:{_VERSION_WITH_GAPS if gaps else _VERSION}\n",
        f"#EXT-X-TARGETDURATION:{target_duration}\n",
        f"#EXT-X-MEDIA-SEQUENCE:{first.number if first is not None else 0}\n",
    ]
    if first is not None:
        before = first.discontinuity_sequence
        if isinstance(first, ListedSegment) and first.discontinuity:
            before -= 1  # its own tag, which is printed, counts it
        if before > 0:
            lines.append(f"#EXT-X-DISCONTINUITY-SEQUENCE:{before}\n")
    lines.extend(segment_lines(entry, base) for entry in entries)
    return "".join(lines)


def segment_base(url_prefix: str, name: str) -> str:
    """What stands before segment URIs of stream C{name} when they are fetched from C{url_prefix}.

    The prefix of an outer cache holds for many streams, so the name follows it. Empty without a prefix.
    """
    if not url_prefix:
        return ""
    return f"{quote(url_prefix.rstrip('/'), safe=_URL)}/{quote(name)}/"


def _seconds(ticks: int) -> str:
    """Ticks as seconds with 3 decimals, rounded half up in integers: the same on every machine."""
    milliseconds = (ticks * 1000 + TICKS_PER_SECOND // 2) // TICKS_PER_SECOND
    return f"{milliseconds // 1000}.{milliseconds % 1000:03d}"
