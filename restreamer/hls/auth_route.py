"""C{/-/auth}: whether a viewer may have a segment, for a cache in front that has the segment already.

The cache asks it before each answer (C{auth_request} of nginx); the sessions that playlists began are looked
at, nobody else is asked, and no media is read.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final

from attrs import evolve

from restreamer.errors import Redirected, Refused, RemoteProtocolError
from restreamer.hls.file_cmaf import parse_file_cmaf_path
from restreamer.hls.file_routes import SEGMENT_PATH
from restreamer.hls.paths import HlsPath, parse_path
from restreamer.http1.parse import decode_path
from restreamer.http1.play_request import play_request
from restreamer.http1.reply import FullReply, HttpRequest, Reply, Route
from restreamer.seams import Gate

#: Where it is asked; and the field that says what was asked for, path and query, as it was received.
AUTH_PATH: Final = "/-/auth"
ORIGINAL: Final = "x-original-uri"
_MAX_URI: Final = 8 * 1024
_HEADERS: Final = b"Content-Type: text/plain; charset=utf-8\r\nCache-Control: no-store\r\n"
_YES: Final = FullReply(status=200, headers=_HEADERS)
_NO: Final = FullReply(status=403, headers=_HEADERS, body=b"Forbidden\n")
_WRONG_METHOD: Final = FullReply(status=405, headers=_HEADERS + b"Allow: GET, HEAD\r\n")

#: UTC ticks (from, to) of a segment that is of an archive alone; None of one that is live.
SpanOf = Callable[[HlsPath], Awaitable[tuple[int, int] | None]]


def auth_route(gate: Gate, span_of: SpanOf, known: Callable[[str], bool]) -> Route:
    """The route. It answers 200 or 403, about segments alone: a playlist is never to be cached for others.

    @param gate: the one that segments pass. @param known: whether somebody has a name. Who may is said by its
        rules; one that is gone has none, and a cache still has its segments.
    """

    async def decide(request: HttpRequest) -> Reply:
        original = request.headers.get(ORIGINAL, "")
        path, _, query = original.partition("?")
        # A cache takes many slashes for one and knows no fragment: it would have the segment of another name.
        if not path.startswith("/") or len(original) > _MAX_URI or "//" in path or "#" in original:
            return _NO
        try:
            path = decode_path(path)
        except RemoteProtocolError:
            return _NO
        asked = evolve(request, path=path, query=query)
        span = None
        of_file = parse_file_cmaf_path(path)
        match = SEGMENT_PATH.fullmatch(path) if of_file is None else None
        named = parse_path(path)
        if path.endswith(".m3u8"):
            return _NO
        if of_file is not None:
            name, proto = of_file[0], "hls"
        elif match is not None:
            name, proto = match[1], "hls"
        elif named is not None and named.kind is None:
            name, proto = named.name, "hls" if named.file.endswith(".ts") else "cmaf"
        else:
            return _NO
        if not known(name):
            return _NO
        wanted = play_request(name, proto, asked, part=True)
        try:
            await gate.open(wanted)
            if of_file is None and match is None and named is not None:
                span = await span_of(named)
            if span is not None:
                await gate.open(evolve(wanted, span=span))
        except (Redirected, Refused):
            return _NO
        return _YES

    def route(request: HttpRequest) -> Reply | Awaitable[Reply] | None:
        if request.path != AUTH_PATH:
            return None
        return decide(request) if request.method in ("GET", "HEAD") else _WRONG_METHOD

    return route
