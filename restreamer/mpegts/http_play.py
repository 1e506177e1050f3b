"""HTTP MPEG-TS: C{GET /NAME/mpegts} answers with the stream as one endless body."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final

from restreamer.errors import Refused
from restreamer.http1.attended import Sending, attended
from restreamer.http1.play_request import play_request, selection_of
from restreamer.http1.refusal import refusal_reply
from restreamer.http1.reply import EndlessReply, FullReply, HttpRequest, Reply, Route
from restreamer.media.names import check_stream_name
from restreamer.media.selection import TrackSelection
from restreamer.seams import OpenRequest, PlayPoint, ViewerTransport

SUFFIX: Final = "/mpegts"
CONTAINER: Final = "mpegts"

HEADERS: Final = (
    b"Content-Type: video/mp2t\r\n"
    b"Cache-Control: no-store\r\n"
    b"Access-Control-Allow-Origin: *\r\n"
    b"X-Content-Type-Options: nosniff\r\n"
)
_PLAIN: Final = b"Content-Type: text/plain; charset=utf-8\r\nCache-Control: no-store\r\n"
NOT_ALLOWED: Final = FullReply(
    status=405,
    headers=b"Allow: GET, HEAD\r\n" + _PLAIN,
    body=b"this address answers GET and HEAD\n",
)
#: Of a stream, which can be published to as well.
_STREAM_NOT_ALLOWED: Final = FullReply(
    status=405,
    headers=b"Allow: GET, HEAD, POST, PUT\r\n" + _PLAIN,
    body=b"this address answers GET and HEAD, and takes POST and PUT\n",
)


def mpegts_route(play_point: PlayPoint) -> Route:
    """The route of C{/NAME/mpegts}.

    @param play_point: grants viewers their stream; a refusal becomes its HTTP status.
    """

    def route(request: HttpRequest) -> Reply | Awaitable[Reply] | None:
        name = request.path[1 : -len(SUFFIX)]
        if not request.path.endswith(SUFFIX) or not name:
            return None
        if request.method not in ("GET", "HEAD"):
            return _STREAM_NOT_ALLOWED
        try:
            wanted = play_request(check_stream_name(name), "tshttp", request)
            selection = selection_of(request)
        except Refused as refused:
            return refusal_reply(refused)
        return _answer(play_point, wanted, request, selection)

    return route


async def _answer(
    play_point: PlayPoint, wanted: OpenRequest, request: HttpRequest, selection: TrackSelection | None
) -> Reply:
    try:
        playable = await play_point.play(wanted)
        playable.tracks(CONTAINER, selection)
    except Refused as refused:
        return refusal_reply(refused, request)

    def begin(transport: ViewerTransport, ended: Callable[[str], None]) -> Sending:
        return playable.join(CONTAINER, transport, ended, selection)

    return EndlessReply(headers=HEADERS, start=attended(request.account, begin))
