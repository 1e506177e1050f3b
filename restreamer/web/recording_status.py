"""C{/NAME/recording_status.json}: what can be played of the past of a stream, for players and portals."""

from __future__ import annotations

import json
import re
from collections.abc import Awaitable, Callable
from math import ceil, floor
from typing import Any, Final

from attrs import evolve

from restreamer.dvr.locks import Ranges
from restreamer.dvr.seams import Holdings
from restreamer.errors import Reason, Refused
from restreamer.http1.play_request import play_request, query_value
from restreamer.http1.reply import FullReply, HttpRequest, Reply, Route
from restreamer.media.names import valid_stream_name
from restreamer.media.timebase import TICKS_PER_SECOND
from restreamer.seams import Account, Gate

_PATH: Final = "/recording_status.json"
_SECONDS: Final = re.compile(r"[0-9]{1,11}")
#: What can be asked for.
_WORDS: Final = ("ranges", "locks")
_HEADERS: Final = (
    b"Content-Type: application/json; charset=utf-8\r\nCache-Control: no-store\r\n"
    b"Access-Control-Allow-Origin: *\r\n"
)
_WRONG_METHOD: Final = FullReply(
    status=405, headers=b"Allow: GET, HEAD\r\nContent-Type: text/plain\r\n", body=b"Method Not Allowed\n"
)


def recording_status_route(
    holdings: Callable[[str], Awaitable[Holdings]],
    locks: Callable[[str], Awaitable[Ranges]],
    takes: Callable[[str], bool],
    gate: Gate,
    utc: Callable[[], int],
) -> Route:
    """The route.

    @param holdings: what there is of a stream. @param locks: what is locked here. @param takes: whether a
        stream may have an archive. @param utc: UTC ticks now.
    """

    def route(request: HttpRequest) -> Reply | Awaitable[Reply] | None:
        if not request.path.endswith(_PATH):
            return None
        name = request.path[1 : -len(_PATH)]
        if not valid_stream_name(name) or not takes(name):
            return None
        if request.method not in ("GET", "HEAD"):
            return _WRONG_METHOD
        return answer(name, request)

    async def answer(name: str, request: HttpRequest) -> Reply:
        now = utc() // TICKS_PER_SECOND
        begin = _second(request.query, "from", 0, now)
        end = _second(request.query, "to", now + 1, now)
        if begin >= end:
            raise Refused(Reason.BAD_NAME, "from is before to")
        asked = _asked(request.query)
        # Who asks what there is does not watch yet.
        account = Account()
        await gate.open(evolve(play_request(name, "hls", request), account=account))
        allowed = None
        if account.viewing is not None:
            allowed = account.viewing.ranges
            account.viewing.give_back()
        held = await holdings(name)
        told: dict[str, Any] = {"stream": name}
        if "ranges" in asked:
            told["ranges"] = _ranges(
                [(s.start // TICKS_PER_SECOND, -(-s.end // TICKS_PER_SECOND)) for s in held.spans],
                begin,
                end,
                allowed,
            )
            told["complete"] = held.complete
        if "locks" in asked:
            told["locks"] = _ranges(
                [(start // 1000, -(-stop // 1000)) for start, stop in await locks(name)], begin, end, allowed
            )
        body = json.dumps([told], separators=(",", ":")).encode()
        return FullReply(status=200, headers=_HEADERS, body=body)

    return route


def _ranges(
    found: list[tuple[int, int]], begin: int, end: int, allowed: tuple[tuple[float, float], ...] | None
) -> list[dict[str, int]]:
    """What lies between C{begin} and C{end}, seconds, and may be played. @param allowed: None: all of it."""
    cut = [(max(first, begin), min(last, end)) for first, last in found]
    if allowed is not None:
        # Whole seconds, within: what is told of can be asked for.
        within = [(ceil(opened), floor(closed)) for opened, closed in sorted(allowed)]
        cut = [(max(first, opened), min(last, closed)) for first, last in cut for opened, closed in within]
    return [{"from": first, "duration": last - first} for first, last in cut if last > first]


def _second(query: str, key: str, default: int, now: int) -> int:
    text = query_value(query, key) if query else ""
    if not text:
        return default
    if text == "now":
        return now + 1
    if _SECONDS.fullmatch(text) is None:
        raise Refused(Reason.BAD_NAME, f"{key} is a UTC time in whole seconds, or now")
    return int(text)


def _asked(query: str) -> tuple[str, ...]:
    text = query_value(query, "request") if query else ""
    if not text:
        return _WORDS[:1]
    words = tuple(text.split(","))
    # Previews are asked for by players that would show them: there are none.
    known = tuple(word for word in words if word in _WORDS)
    if not known:
        raise Refused(Reason.BAD_NAME, "request is ranges, locks or ranges,locks")
    return known
