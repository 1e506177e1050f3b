"""The one clock of the program: signed 64-bit ticks of 90 kHz since the Unix epoch, UTC.

Every DTS, PTS, start and duration above the wire codecs is in these ticks; nothing wraps. Wire
formats mask when they write (MPEG-TS to 33 bits, RTMP to 31 bits of milliseconds).
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

TICKS_PER_SECOND = 90_000
TICKS_PER_MS = 90
MPEGTS_MASK = (1 << 33) - 1
RTMP_MASK = (1 << 31) - 1

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def ticks_from_seconds(seconds: float) -> int:
    """Seconds (any origin) as whole ticks."""
    return round(seconds * TICKS_PER_SECOND)


def ticks_to_seconds(ticks: int) -> float:
    """Ticks as seconds."""
    return ticks / TICKS_PER_SECOND


def ticks_to_ms(ticks: int) -> int:
    """Ticks as whole milliseconds, rounded down (the same on every node)."""
    return ticks // TICKS_PER_MS


def utc_datetime(ticks: int) -> datetime:
    """The UTC moment of C{ticks}, to the microsecond, computed in integers."""
    return _EPOCH + timedelta(microseconds=ticks * 100 // 9)


def iso8601_ms(ticks: int) -> str:
    """C{2026-11-22T13:05:07.040Z}: the form of EXT-X-PROGRAM-DATE-TIME (RFC 8216 section 4.3.2.6)."""
    moment = utc_datetime(ticks)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{moment.microsecond // 1000:03d}Z"


def mpegts_time(ticks: int) -> int:
    """Ticks as the 33-bit PTS/DTS of ISO/IEC 13818-1 section 2.4.3.7."""
    return ticks & MPEGTS_MASK


def rtmp_time(dts: int, run_start: int) -> int:
    """Milliseconds of C{dts} since the run's start, in 31 bits: equal on every node."""
    return ((dts - run_start) // TICKS_PER_MS) & RTMP_MASK
