"""Archives as MPEG-TS over HTTP.

C{/NAME/archive-FROM-DUR.ts} is a download: as fast as it is taken. C{/NAME/archive/FROM/DUR/mpegts},
C{timeshift_abs-FROM.ts}, C{timeshift_rel-SEC.ts}, their older forms and C{mpegts?utc=} play in real time.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable

from restreamer.dvr.forms import ArchiveAsk, Container, Kind, asked_name, parse_archive_path
from restreamer.dvr.playback import Playback, PlaybackCounters
from restreamer.dvr.timeline import ArchiveHours
from restreamer.errors import Reason, Refused
from restreamer.http1.play_request import play_request
from restreamer.http1.refusal import refusal_reply
from restreamer.http1.reply import EndlessReply, HttpRequest, Reply, Route
from restreamer.mpegts.http_play import HEADERS, NOT_ALLOWED
from restreamer.seams import Clock, Gate, OpenRequest, ViewerTransport
from restreamer.tsio.archive_pieces import TsPacker, TsPieces, check_carried
from restreamer.vod.paced import AHEAD_SECONDS, PacedBody
from restreamer.vod.seams import InThread, PackTs


def archive_ts_route(
    hours: ArchiveHours,
    gate: Gate,
    pack_ts: PackTs,
    in_thread: InThread,
    clock: Clock,
    utc: Callable[[], int],
    crowded: Callable[[], bool] = lambda: False,
    counters: PlaybackCounters | None = None,
) -> Route:
    """The route; it stands before that of live streams and of HLS segments.

    @param pack_ts: L{restreamer.mpegts.segment_muxer.mux_segment}. @param utc: UTC ticks now.
    @param crowded: whether the node is too short of memory for another viewer.
    """
    packer = TsPacker(pack_ts, in_thread, crowded)
    counted = counters or PlaybackCounters()

    def route(request: HttpRequest) -> Reply | Awaitable[Reply] | None:
        path = request.path
        if not (path.endswith((".ts", "/mpegts")) or "/timeshift_" in path):
            return None
        try:
            ask = parse_archive_path(path, request.query, utc() // 90_000)
        except Refused as refused:
            return refusal_reply(refused) if hours.archives.takes(asked_name(path)) else None
        if ask is None or ask.container is not Container.TS or not hours.archives.takes(ask.name):
            return None
        if request.method not in ("GET", "HEAD"):
            return NOT_ALLOWED
        return answer(ask, play_request(ask.name, "tshttp", request))

    async def answer(ask: ArchiveAsk, wanted: OpenRequest) -> Reply:
        try:
            if crowded():
                raise Refused(Reason.OVERLOADED, "this node is short of memory: try another one, or later")
            await gate.open(wanted)
            playback = Playback.of(ask, hours, clock, utc, counted)
            check_carried((await playback.begin()).tracks, ask.selection)
        except Refused as refused:
            return refusal_reply(refused)
        ahead = math.inf if ask.kind is Kind.FIXED and not ask.paced else AHEAD_SECONDS

        def start(transport: ViewerTransport, ended: Callable[[str], None]) -> Callable[[], None]:
            pieces = TsPieces(packer, playback, ask.selection)
            playing = PacedBody(pieces, clock, transport, ended, ahead)
            playing.start()
            return playing.leave

        return EndlessReply(headers=HEADERS, start=start)

    return route
