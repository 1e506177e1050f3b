"""What If-None-Match, Range and If-Range make of a full answer (RFC 9110 sections 13 and 14; pure)."""

from __future__ import annotations

import enum
import re
from collections.abc import Mapping
from typing import Final

_RANGE: Final = re.compile(r"bytes[ \t]*=[ \t]*([0-9]*)-([0-9]*)[ \t]*", re.IGNORECASE)
#: Digits beyond this make a position that is past the end of anything.
_MAX_DIGITS: Final = 18
_HUGE: Final = 10**_MAX_DIGITS


class RangeOutcome(enum.Enum):
    """What to do with a Range field that names no usable part."""

    WHOLE = 200
    UNSATISFIABLE = 416


def none_match_hit(value: str, etag: str) -> bool:
    """Whether If-None-Match C{value} names C{etag}, by weak comparison (RFC 9110 section 13.1.2).

    A hit means: answer 304.
    """
    if value == etag or value == "*":
        return True
    wanted = etag.removeprefix("W/")
    return any(tag.strip(" \t").removeprefix("W/") == wanted for tag in value.split(","))


def single_range(value: str, size: int) -> tuple[int, int] | RangeOutcome:
    """The one byte range C{value} asks for, as C{(first, last)} inclusive (RFC 9110 section 14.1.2).

    Several ranges, another unit, a reversed or malformed range: L{RangeOutcome.WHOLE}, the field is ignored.
    A range that lies wholly past the end: L{RangeOutcome.UNSATISFIABLE}.
    """
    match = _RANGE.fullmatch(value)
    if match is None or not (match[1] or match[2]):
        return RangeOutcome.WHOLE
    if not match[1]:
        length = _position(match[2])
        if length == 0 or size == 0:
            return RangeOutcome.UNSATISFIABLE
        return max(0, size - length), size - 1
    first = _position(match[1])
    last = _position(match[2]) if match[2] else _HUGE
    if first > last and match[2]:
        return RangeOutcome.WHOLE
    if first >= size:
        return RangeOutcome.UNSATISFIABLE
    return first, min(last, size - 1)


def wanted_range(headers: Mapping[str, str], etag: str, size: int) -> tuple[int, int] | RangeOutcome:
    """Apply If-Range, then Range (RFC 9110 sections 13.1.5 and 14.2) of a GET for C{size} bytes.

    If-Range counts only when it is exactly the (strong) C{etag}; a date never matches.
    """
    value = headers.get("range")
    if value is None or headers.get("if-range", etag) != etag:
        return RangeOutcome.WHOLE
    return single_range(value, size)


def _position(digits: str) -> int:
    return int(digits) if len(digits) <= _MAX_DIGITS else _HUGE
