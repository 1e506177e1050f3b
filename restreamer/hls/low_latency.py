"""What a player asks of a low-latency playlist, and whether the stream has come so far (RFC 8216bis section
6.2.5); pure but for looking at the stream.
"""

from __future__ import annotations

import re
from typing import Final

from attrs import frozen

from restreamer.errors import Reason, Refused
from restreamer.http1.play_request import query_value
from restreamer.live.cmaf import CmafStream
from restreamer.media.timebase import TICKS_PER_SECOND

_NUMBER: Final = re.compile(r"[0-9]{1,19}")
#: Segments that may be asked for ahead of the newest one (section 6.2.5.2).
_AHEAD: Final = 2
#: Parts that may be asked for ahead of the newest one, in ticks, and as a count where parts are longer.
_PARTS_AHEAD_TICKS: Final = 3 * TICKS_PER_SECOND
_PARTS_AHEAD: Final = 3


@frozen
class Directives:
    """The delivery directives of a request (section 6.2.5).

    @ivar number: C{_HLS_msn}; None: answer with what there is. @ivar part: C{_HLS_part}; None: the whole
        segment. @ivar skip: C{_HLS_skip} is given.
    """

    number: int | None = None
    part: int | None = None
    skip: bool = False

    @classmethod
    def of(cls, query: str) -> Directives:
        """Read a raw query.

        @raise Refused: BAD_NAME for values that are no numbers, and for a part without a segment.
        """
        if "_HLS_" not in query:
            return _NONE
        number, part = _number(query, "_HLS_msn"), _number(query, "_HLS_part")
        if part is not None and number is None:
            raise Refused(Reason.BAD_NAME, "_HLS_part without _HLS_msn")
        return cls(number, part, query_value(query, "_HLS_skip") in ("YES", "v2"))


_NONE: Final = Directives()


def _number(query: str, name: str) -> int | None:
    text = query_value(query, name)
    if not text:
        return None
    if not _NUMBER.fullmatch(text):
        raise Refused(Reason.BAD_NAME, f"{name} is a number")
    return int(text)


def has_come(cmaf: CmafStream, name: str, number: int, part: int | None) -> bool:
    """Whether segment C{number} of track C{name}, or part C{part} of it, is there; or what comes later is.

    A part behind the last one of a closed segment is the first of the next one.
    """
    stream = cmaf.stream
    last = stream.window.last_number
    if last is not None and last >= number:
        entry = stream.window.find(number)
        if last > number or part is None or entry is None or part < len(cmaf.closed_parts(entry, name)):
            return True
        number, part = number + 1, 0
    builder = stream.open
    if part is None or builder is None or builder.opening.number < number:
        return False
    parts = len(cmaf.open_parts(name))
    return parts > (part if builder.opening.number == number else 0)


def awaited(
    cmaf: CmafStream, name: str, number: int, part: int | None, part_target: int
) -> tuple[int, int | None]:
    """What a request for segment C{number} of track C{name}, or for part C{part} of it, really waits for:
    a part behind the last one of a closed segment is the first one of the next (section 6.2.5.2). So there
    are few different things to wait for, whatever is asked.

    @param part_target: PART-TARGET, ticks.
    @return: number and part.
    @raise Refused: BAD_NAME for what is too far ahead: more than two segments, or more parts behind the
        newest one than the Advance Part Limit: three, or those of three seconds where they are shorter.
    """
    stream = cmaf.stream
    newest = stream.window.last_number or 0
    if number > newest + _AHEAD:
        raise Refused(Reason.BAD_NAME, "that segment is too far ahead")
    if part is None or number < newest:
        return number, None
    builder = stream.open
    if number == newest:
        entry = stream.window.find(number)
        there = len(cmaf.closed_parts(entry, name)) if entry is not None else 0
    elif builder is not None and builder.opening.number == number:
        there = len(cmaf.open_parts(name))
    else:
        there = 0
    ahead = max(_PARTS_AHEAD, -(-_PARTS_AHEAD_TICKS // max(part_target, 1)))
    if part >= there + ahead:
        raise Refused(Reason.BAD_NAME, "that part is too far ahead")
    return (number + 1, 0) if number == newest and part >= there else (number, part)
