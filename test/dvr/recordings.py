"""Small segments to be recorded."""

from __future__ import annotations

from collections.abc import Iterable

from restreamer.dvr.recorded import Recorded
from restreamer.m4f.records import RunInfo
from test.dvr.memory_archive import FIRST, D, segment

RUN = RunInfo(7, FIRST * D, bytes(16), ())
#: Numbers of an hour.
HOUR = 1800
#: The hour that L{FIRST} begins.
FIRST_HOUR = FIRST // HOUR


def recorded(number: int, payload: bytes = b"\x21\x1a", run: RunInfo = RUN) -> Recorded:
    """Segment C{number} after L{FIRST}."""
    return Recorded(segment(FIRST + number, payload), run, False)


def several(numbers: Iterable[int], payload: bytes = b"\x21\x1a") -> list[Recorded]:
    """Some segments."""
    return [recorded(number, payload) for number in numbers]


def ticks(number: int) -> int:
    """Where segment C{number} after L{FIRST} starts."""
    return (FIRST + number) * D
