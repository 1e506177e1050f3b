"""The relative URI of a media segment: its UTC start and its length, so a name means one segment everywhere.

C{2026/11/22/13/05/07-05000.ts} starts in that second and lasts 5,000 ms. Two segments shorter than one
second can start in the same second and be equally long, so those also carry their number:
C{2026/11/22/13/05/07-00480-1234567.ts}.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Final

from attrs import frozen

from restreamer.media.timebase import TICKS_PER_MS, TICKS_PER_SECOND, utc_datetime

#: What C{segment_uri} can give, without anchors: for route tables.
SEGMENT_PATTERN: Final = (
    r"[0-9]{4}/[0-9]{2}/[0-9]{2}/[0-9]{2}/[0-9]{2}/[0-9]{2}-[0-9]{5,9}(?:-[0-9]{1,20})?\.ts"
)
#: What C{gap_uri} can give, without anchors.
GAP_PATTERN: Final = r"gap-[0-9]{1,20}\.ts"

_NAME: Final = re.compile(
    r"([0-9]{4})/([0-9]{2})/([0-9]{2})/([0-9]{2})/([0-9]{2})/([0-9]{2})-([0-9]{5,9})(?:-([0-9]{1,20}))?\.ts"
)


@frozen
class SegmentName:
    """What a segment URI says.

    @ivar second: start, cut to the whole second, in UTC ticks. @ivar milliseconds: duration, rounded.
    @ivar number: the segment's number, when the URI carries it.
    """

    second: int
    milliseconds: int
    number: int | None


def segment_uri(start: int, duration: int, number: int) -> str:
    """The URI of a segment, relative to its playlist.

    @param start: UTC ticks; @param duration: ticks; @param number: its number.
    """
    milliseconds = (duration + TICKS_PER_MS // 2) // TICKS_PER_MS
    suffix = f"-{number}" if duration < TICKS_PER_SECOND else ""
    return f"{utc_datetime(start):%Y/%m/%d/%H/%M/%S}-{milliseconds:05d}{suffix}.ts"


def gap_uri(number: int) -> str:
    """The URI that stands for a segment nobody has; it is never there (RFC 8216bis section 4.4.4.7)."""
    return f"gap-{number}.ts"


def parse_segment_uri(uri: str) -> SegmentName | None:
    """Read back what L{segment_uri} wrote; None for anything else, also for a date that does not exist."""
    match = _NAME.fullmatch(uri)
    if match is None:
        return None
    year, month, day, hour, minute, second, milliseconds = (int(text) for text in match.groups()[:7])
    try:
        moment = datetime(year, month, day, hour, minute, second, tzinfo=UTC)
    except ValueError:
        return None
    number = int(match[8]) if match[8] is not None else None
    return SegmentName(int(moment.timestamp()) * TICKS_PER_SECOND, milliseconds, number)
