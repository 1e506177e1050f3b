"""HTTP MPEG-TS of files: C{GET /LOCATION/PATH/mpegts} answers with the file, once, in real time."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from restreamer.errors import Reason, Refused
from restreamer.http1.attended import attended
from restreamer.http1.play_request import play_request
from restreamer.http1.refusal import refusal_reply
from restreamer.http1.reply import EndlessReply, HttpRequest, Reply, Route
from restreamer.mpegts.http_play import HEADERS, NOT_ALLOWED, SUFFIX
from restreamer.seams import Clock, Gate, OpenRequest, ViewerTransport
from restreamer.vod.paced import PacedFile
from restreamer.vod.packaged import PackagedFiles


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
            return NOT_ALLOWED
        return answer(play_request(name, "tshttp", request))

    async def answer(wanted: OpenRequest) -> Reply:
        try:
            if crowded():
                raise Refused(Reason.OVERLOADED, "this node is short of memory: try another one, or later")
            await gate.open(wanted)
            index = await files.ts_index(wanted.name)
        except Refused as refused:
            return refusal_reply(refused)

        def begin(transport: ViewerTransport, ended: Callable[[str], None]) -> PacedFile:
            playing = PacedFile(files, wanted.name, index, clock, transport, ended)
            playing.start()
            return playing

        return EndlessReply(headers=HEADERS, start=attended(wanted.account, begin))

    return route
