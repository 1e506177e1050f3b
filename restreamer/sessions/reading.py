"""From an answer over HTTP to an L{Answer}: everything in it is checked, and what is wrong is a failure."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import urlsplit

from attrs import evolve

from restreamer.sessions.answers import Answer, Verdict

#: Bytes of an answer's body.
MAX_BODY: Final = 64 << 10
MIN_DURATION, MAX_DURATION = 1, 7 * 86400
MAX_USER_ID: Final = 256
MAX_SESSIONS: Final = 1_000_000
MAX_RANGES: Final = 1000
MAX_LOCATION: Final = 2048
#: The last moment a range may name: the year 9999, in UTC seconds.
_MAX_SECONDS: Final = 253_402_300_799
_SCHEMES: Final = frozenset({"http", "https", "rtmp", "rtmps", "rtsp", "rtsps"})
_DIGITS = re.compile(r"[0-9]{1,10}")


class UnreadableError(Exception):
    """An answer that is none; its text holds nothing the backend sent."""


def read_answer(status: int, headers: Mapping[str, str], body: bytes, *, publish: bool = False) -> Answer:
    """What an HTTP answer means.

    @param headers: lower-case names to values. @param publish: only 200 allows.
    """
    if 500 <= status < 600:
        return Answer(verdict=Verdict.UNDECIDED, why=f"the backend answered {status}")
    try:
        facts = _facts(headers, body)
        if status == 200:
            return evolve(facts, verdict=Verdict.ALLOW, why="the backend allowed it")
        if status == 302 and not publish:
            return _redirect(facts, headers.get("location", ""))
        if 400 <= status < 500 or publish:
            return evolve(facts, verdict=Verdict.DENY, why=f"the backend answered {status}")
    except UnreadableError as wrong:
        if 400 <= status < 500:
            return Answer(verdict=Verdict.DENY, why=f"the backend answered {status}")
        return Answer(verdict=Verdict.FAILED, why=str(wrong))
    return Answer(verdict=Verdict.FAILED, why=f"the backend answered {status}, which says nothing")


def _redirect(facts: Answer, location: str) -> Answer:
    if (
        not location.isascii()
        or not location.isprintable()
        or " " in location
        or len(location) > MAX_LOCATION
    ):
        raise UnreadableError("the backend's Location is no URL")
    try:
        parts = urlsplit(location)
        host = parts.hostname
    except ValueError:
        raise UnreadableError("the backend's Location is no URL") from None
    if parts.scheme in _SCHEMES and host:
        return evolve(facts, verdict=Verdict.REDIRECT, location=location, why="the backend sent it elsewhere")
    return evolve(facts, verdict=Verdict.ALLOW, why="the backend answered 302 without an absolute Location")


def _facts(headers: Mapping[str, str], body: bytes) -> Answer:
    found: dict[str, Any] = _of_body(headers, body)
    if (text := headers.get("x-authduration")) is not None:
        found["duration"] = _duration(_number(text.strip(), "X-AuthDuration"))
    if (text := headers.get("x-userid")) is not None:
        found["user_id"] = _user_id(text.strip())
    if (text := headers.get("x-max-sessions")) is not None:
        found["max_sessions"] = min(_number(text.strip(), "X-Max-Sessions"), MAX_SESSIONS) or None
    if (text := headers.get("x-unique")) is not None:
        word = text.strip().lower()
        if word not in ("true", "false", "1", "0"):
            raise UnreadableError("the backend's X-Unique is neither true nor false")
        found["unique"] = word in ("true", "1")
    return Answer(verdict=Verdict.DENY, **found)


def _number(text: str, what: str) -> int:
    if not _DIGITS.fullmatch(text):
        raise UnreadableError(f"the backend's {what} is no whole number")
    return int(text)


def _duration(seconds: int) -> float:
    return float(min(max(seconds, MIN_DURATION), MAX_DURATION))


def _user_id(text: str) -> str:
    if len(text) > MAX_USER_ID or not text.isprintable():
        raise UnreadableError("the backend's user id is too long or not printable")
    return text


def _of_body(headers: Mapping[str, str], body: bytes) -> dict[str, Any]:
    """The fields of a JSON body; a body of another type is not looked at."""
    kind = headers.get("content-type", "").partition(";")[0].strip().lower()
    if not body or kind != "application/json":
        return {}
    try:
        given = json.loads(body, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        raise UnreadableError("the backend's JSON cannot be read") from None
    if not isinstance(given, dict):
        raise UnreadableError("the backend's JSON is no object")
    found: dict[str, Any] = {}
    if (user := given.get("user_id")) is not None:
        if isinstance(user, bool) or not isinstance(user, str | int):
            raise UnreadableError("the backend's user_id is neither text nor a number")
        found["user_id"] = _user_id(str(user) if isinstance(user, str) or abs(user) < 1 << 64 else "\0")
    if (most := given.get("max_sessions")) is not None:
        found["max_sessions"] = min(_whole(most, "max_sessions"), MAX_SESSIONS) or None
    if (duration := given.get("auth_duration")) is not None:
        found["duration"] = _duration(_whole(duration, "auth_duration"))
    if (unique := given.get("unique")) is not None:
        if not isinstance(unique, bool):
            raise UnreadableError("the backend's unique is neither true nor false")
        found["unique"] = unique
    if (ranges := given.get("allowed_dvr_ranges")) is not None:
        found["ranges"] = _ranges(ranges)
    return found


def _no_constant(text: str) -> float:
    raise ValueError(text)


def _whole(value: object, what: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 10**10:
        raise UnreadableError(f"the backend's {what} is no whole number")
    return value


def _ranges(given: object) -> tuple[tuple[float, float], ...]:
    if not isinstance(given, list) or len(given) > MAX_RANGES:
        raise UnreadableError("the backend's allowed_dvr_ranges is no list, or too long")
    found: list[tuple[float, float]] = []
    for each in given:
        if not isinstance(each, dict):
            raise UnreadableError("one of the backend's allowed_dvr_ranges is no object")
        ends = each.get("opened_at"), each.get("closed_at")
        for end in ends:
            if isinstance(end, bool) or not isinstance(end, int | float) or not 0 <= end <= _MAX_SECONDS:
                raise UnreadableError("one of the backend's allowed_dvr_ranges has no opened_at or closed_at")
        if ends[0] >= ends[1]:  # type: ignore[operator]
            raise UnreadableError("one of the backend's allowed_dvr_ranges ends before it begins")
        found.append((float(ends[0]), float(ends[1])))  # type: ignore[arg-type]
    return tuple(found)
