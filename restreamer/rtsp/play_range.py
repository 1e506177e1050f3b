"""Which part of a stream a player asks for: the Range header (RFC 2326 sections 3.6, 3.7, 12.29)."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from fractions import Fraction
from typing import Final

from attrs import frozen

from restreamer.errors import RemoteProtocolError
from restreamer.media.timebase import TICKS_PER_SECOND, utc_datetime

_CLOCK: Final = r"([0-9]{8}T[0-9]{6})(\.[0-9]{1,9})?Z"
_NPT: Final = r"(?:([0-9]{1,9})|([0-9]{1,6}):([0-5]?[0-9]):([0-5]?[0-9]))(\.[0-9]{0,9})?"
_CLOCK_TIME: Final = re.compile(_CLOCK, re.ASCII)
_NPT_TIME: Final = re.compile(_NPT, re.ASCII)
_FORM: Final = re.compile(r"(npt|clock)\s*=\s*([^-;]*)-([^-;]*)(?:;.*)?", re.ASCII | re.IGNORECASE)
_WHERE: Final = "Range"


@frozen
class PlayRange:
    """A range. @ivar clock: its times are UTC, else from the beginning.

    @ivar start, end: ticks; None: not told.
    """

    clock: bool
    start: int | None
    end: int | None


def parse_range(text: str) -> PlayRange | None:
    """What a Range header asks for; None: there is none. C{npt=now-} has no beginning.

    @raise RemoteProtocolError: it is in other units, or cannot be read.
    """
    text = text.strip()
    if not text:
        return None
    match = _FORM.fullmatch(text)
    if match is None:
        raise RemoteProtocolError(_WHERE, "it is neither npt=FROM-TO nor clock=FROM-TO")
    clock = match[1].lower() == "clock"
    first, last = match[2].strip(), match[3].strip()
    if not clock and first.lower() == "now":
        return PlayRange(False, None, None)
    if clock and not first:
        raise RemoteProtocolError(_WHERE, "it has no beginning")
    read = _clock_time if clock else _npt_time
    start, end = read(first) if first else None, read(last) if last else None
    if start is not None and end is not None and end <= start:
        raise RemoteProtocolError(_WHERE, "it ends before it begins")
    return PlayRange(clock, start, end)


def clock_range(start: int, end: int | None) -> str:
    """The header's value for UTC ticks."""
    return f"clock={_clock_text(start)}-{_clock_text(end) if end is not None else ''}"


def npt_range(start: int, end: int | None) -> str:
    """The header's value for ticks from the beginning."""
    return f"npt={_npt_text(start)}-{_npt_text(end) if end is not None else ''}"


def _clock_time(text: str) -> int:
    match = _CLOCK_TIME.fullmatch(text)
    if match is None:
        raise RemoteProtocolError(_WHERE, "a time is YYYYMMDDThhmmss.fZ")
    try:
        moment = datetime.strptime(match[1], "%Y%m%dT%H%M%S").replace(tzinfo=UTC)
    except ValueError:
        raise RemoteProtocolError(_WHERE, "no such date") from None
    return int(moment.timestamp()) * TICKS_PER_SECOND + _fraction(match[2])


def _npt_time(text: str) -> int:
    match = _NPT_TIME.fullmatch(text)
    if match is None:
        raise RemoteProtocolError(_WHERE, "a time is seconds or hours:minutes:seconds")
    seconds, hours, minutes, rest, fraction = match.groups()
    whole = int(seconds) if seconds else 3600 * int(hours) + 60 * int(minutes) + int(rest)
    return whole * TICKS_PER_SECOND + _fraction(fraction)


def _fraction(text: str | None) -> int:
    return int(Fraction(f"0{text}0") * TICKS_PER_SECOND) if text else 0


def _clock_text(ticks: int) -> str:
    moment = utc_datetime(ticks)
    return f"{moment:%Y%m%dT%H%M%S}.{moment.microsecond // 1000:03d}Z"


def _npt_text(ticks: int) -> str:
    return f"{max(0, ticks) / TICKS_PER_SECOND:.3f}"
