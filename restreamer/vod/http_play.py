"""HTTP MPEG-TS of files: C{GET /LOCATION/PATH/mpegts} answers with the file, once, in real time."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final
from urllib.parse import unquote_plus

from restreamer.errors import Reason, Refused
from restreamer.http1.refusal import refusal_reply
from restreamer.http1.reply import EndlessReply, FullReply, HttpRequest, Reply, Route
from restreamer.m4f.file_index import FileIndex
from restreamer.seams import Clock, Gate, OpenRequest, ViewerTransport
from restreamer.vod.paced import PacedFile
from restreamer.vod.packaged import PackagedFiles

SUFFIX: Final = "/mpegts"
_HEADERS: Final = (
    b"Content-Type: video/mp2t\r\n"
    b"Cache-Control: no-store\r\n"
    b"Access-Control-Allow-Origin: *\r\n"
    b"X-Content-Type-Options: nosniff\r\n"
)
_NOT_ALLOWED: Final = FullReply(
    status=405,
    headers=b"Allow: GET, HEAD\r\nContent-Type: text/plain; charset=utf-8\r\nCache-Control: no-store\r\n",
    body=b"this address answers GET and HEAD\n",
)
_MAX_FIELD: Final = 256
_MAX_TOKEN: Final = 1024


def query_token(query: str) -> str:
    """The value of the first C{token} in a raw query string, or nothing."""
    for part in query.split("&"):
        key, _, value = part.partition("=")
        if key == "token":
            return unquote_plus(value[: 3 * _MAX_TOKEN])[:_MAX_TOKEN]
    return ""


def open_request(name: str, proto: str, request: HttpRequest, part: bool = False) -> OpenRequest:
    """What the gate is asked about a file.

    @param name: of the file, as it stands in the URL: no stream name, it may hold spaces and more.
    @param part: it is about a segment.
    """
    return OpenRequest(
        name=name,
        action="play",
        proto=proto,
        peer=request.peer,
        token=query_token(request.query),
        query=request.query,
        user_agent=request.headers.get("user-agent", "")[:_MAX_FIELD],
        referer=request.headers.get("referer", "")[:_MAX_FIELD],
        part=part,
    )


def file_mpegts_route(
    files: PackagedFiles,
    gate: Gate,
    clock: Clock,
    is_stream: Callable[[str], bool],
    crowded: Callable[[], bool] = lambda: False,
) -> Route:
    """The route; it stands before that of live streams.

    @param is_stream: whether a name is a stream's now: a stream goes before a file.
    @param crowded: whether the node is too short of memory for another viewer.
    """

    def route(request: HttpRequest) -> Reply | Awaitable[Reply] | None:
        name = request.path[1 : -len(SUFFIX)]
        if not request.path.endswith(SUFFIX) or not files.takes(name) or is_stream(name):
            return None
        if request.method not in ("GET", "HEAD"):
            return _NOT_ALLOWED
        return answer(open_request(name, "tshttp", request))

    async def answer(wanted: OpenRequest) -> Reply:
        try:
            if crowded():
                raise Refused(Reason.OVERLOADED, "this node is short of memory: try another one, or later")
            await gate.open(wanted)
            index = await files.index(wanted.name)
        except Refused as refused:
            return refusal_reply(refused)
        return EndlessReply(headers=_HEADERS, start=_Body(files, wanted.name, index, clock))

    return route


class _Body:
    """Begins to play a file when the head is written."""

    def __init__(self, files: PackagedFiles, name: str, index: FileIndex, clock: Clock) -> None:
        self._files = files
        self._name = name
        self._index = index
        self._clock = clock

    def __call__(self, transport: ViewerTransport, ended: Callable[[str], None]) -> Callable[[], None]:
        playing = PacedFile(self._files, self._name, self._index, self._clock, transport, ended)
        playing.start()
        return playing.leave
