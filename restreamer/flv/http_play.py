"""HTTP-FLV: C{GET /NAME/live.flv} and C{GET /NAME.flv} answer with the stream as one endless body."""

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

CONTAINER: Final = "flv"
#: The container of who names several tracks of a kind: multitrack tags (Enhanced RTMP v2).
SEVERAL: Final = "flvtracks"
#: The protocol's word.
PROTO: Final = "flv"
#: How the addresses end, the longer one first.
SUFFIXES: Final = ("/live.flv", ".flv")

HEADERS: Final = (
    b"Content-Type: video/x-flv\r\n"
    b"Cache-Control: no-store\r\n"
    b"Access-Control-Allow-Origin: *\r\n"
    b"X-Content-Type-Options: nosniff\r\n"
)
NOT_ALLOWED: Final = FullReply(
    status=405,
    headers=b"Allow: GET, HEAD\r\nContent-Type: text/plain; charset=utf-8\r\nCache-Control: no-store\r\n",
    body=b"this address answers GET and HEAD\n",
)


def flv_route(play_point: PlayPoint) -> Route:
    """The route of C{/NAME/live.flv} and C{/NAME.flv}.

    @param play_point: grants viewers their stream; a refusal becomes its HTTP status.
    """

    def route(request: HttpRequest) -> Reply | Awaitable[Reply] | None:
        suffix = next((each for each in SUFFIXES if request.path.endswith(each)), None)
        if suffix is None or len(request.path) <= 1 + len(suffix):
            return None
        if request.method not in ("GET", "HEAD"):
            return NOT_ALLOWED
        try:
            wanted = play_request(check_stream_name(request.path[1 : -len(suffix)]), PROTO, request)
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
        container = SEVERAL if selection is not None and selection.several else CONTAINER
        playable.tracks(container, selection)
    except Refused as refused:
        return refusal_reply(refused, request)

    def begin(transport: ViewerTransport, ended: Callable[[str], None]) -> Sending:
        return playable.join(container, transport, ended, selection)

    return EndlessReply(headers=HEADERS, start=attended(request.account, begin))
