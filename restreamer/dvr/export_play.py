"""C{GET /NAME/archive-FROM-DUR.mp4}: a range of an archive as a file, by ranges if wanted.

With C{?fragmented=true} it is fragmented MP4, which begins at once and has neither length nor ranges.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Final

from restreamer.dvr.export import Export, ExportBuilder, ExportPieces, carried
from restreamer.dvr.export_fragments import FragmentPieces
from restreamer.dvr.export_room import ROOM
from restreamer.dvr.export_shelf import ExportShelf
from restreamer.dvr.forms import ArchiveAsk, Container, Kind, asked_name, parse_archive_path, span_of
from restreamer.dvr.playback import Playback, PlaybackCounters
from restreamer.dvr.timeline import ArchiveHours
from restreamer.errors import Reason, Refused
from restreamer.http1.attended import attended
from restreamer.http1.conditional import RangeOutcome, none_match_hit, wanted_range
from restreamer.http1.play_request import play_request, query_value
from restreamer.http1.refusal import refusal_reply
from restreamer.http1.reply import EndlessBody, EndlessReply, FullReply, HttpRequest, Reply, Route
from restreamer.media.timebase import TICKS_PER_SECOND, utc_datetime
from restreamer.mpegts.http_play import NOT_ALLOWED
from restreamer.seams import Clock, Gate, OpenRequest, ViewerTransport
from restreamer.vod.paced import PacedBody, Pieces, begun
from restreamer.vod.seams import InThread

#: Exports that are sent or waited for at once: of this node, and of one address.
MAX_EXPORTS: Final = 50
MAX_OF_PEER: Final = 4
_UNSAFE: Final = re.compile(r"[^A-Za-z0-9._-]+")


def archive_mp4_route(
    hours: ArchiveHours,
    gate: Gate,
    in_thread: InThread,
    clock: Clock,
    utc: Callable[[], int],
    crowded: Callable[[], bool] = lambda: False,
    counters: PlaybackCounters | None = None,
    folder: str | None = None,
    room: int = ROOM,
) -> Route:
    """The route; it stands before that of HLS segments.

    @param utc: UTC ticks now. @param crowded: whether the node is too short of memory.
    @param folder: for temporary files; None: the system's. @param room: bytes of them at most.
    """
    counted = counters or PlaybackCounters()
    shelf = ExportShelf(clock, room)
    peers: Counter[str] = Counter()
    asking: Counter[str] = Counter()

    def route(request: HttpRequest) -> Reply | Awaitable[Reply] | None:
        if not request.path.endswith(".mp4"):
            return None
        try:
            ask = parse_archive_path(request.path, request.query, utc() // TICKS_PER_SECOND)
        except Refused as refused:
            return refusal_reply(refused) if hours.archives.takes(asked_name(request.path)) else None
        if ask is None or ask.container is not Container.MP4 or not hours.archives.takes(ask.name):
            return None
        if request.method not in ("GET", "HEAD"):
            return NOT_ALLOWED
        return answer(
            ask, request, play_request(ask.name, "mp4", request, span=span_of(ask, utc() // TICKS_PER_SECOND))
        )

    async def answer(ask: ArchiveAsk, request: HttpRequest, wanted: OpenRequest) -> Reply:
        peer = request.peer
        try:
            total = peers.total() + asking.total()
            if crowded() or total >= MAX_EXPORTS or peers[peer] + asking[peer] >= MAX_OF_PEER:
                raise Refused(Reason.OVERLOADED, "too many files are being sent: try again later")
            asking[peer] += 1
            try:
                await gate.open(wanted)
                if ask.kind is not Kind.FIXED or ask.duration is None:
                    raise Refused(Reason.BAD_NAME, "a file needs a beginning and a duration")
                if query_value(request.query, "fragmented") == "true":
                    return await fragmented(ask, request)
                return reply(ask, request, await find(ask, ask.duration))
            finally:
                _leave(asking, peer)
        except Refused as refused:
            return refusal_reply(refused)

    async def find(ask: ArchiveAsk, duration: int) -> Export:
        if (ask.start + duration) * TICKS_PER_SECOND > utc():
            raise Refused(Reason.BAD_NAME, "a file cannot be made of what is not over yet")

        async def build(wanted: Callable[[], bool]) -> Export:
            playback = Playback.of(ask, hours, clock, utc, counted)
            _ = await playback.begin()
            held = await hours.holdings(ask.name)
            covered = sum(
                max(0, min(span.end, playback.end) - max(span.start, playback.start)) for span in held.spans
            )
            builder = ExportBuilder(playback.start, ask.selection, covered, shelf.room.share(), folder)
            return await builder.build(playback, in_thread, wanted)

        return await shelf.find((ask.name, ask.start, duration, str(ask.selection or "")), build)

    async def fragmented(ask: ArchiveAsk, request: HttpRequest) -> Reply:
        playback = Playback.of(ask, hours, clock, utc, counted)
        chosen = (await playback.begin()).tracks
        if ask.selection is not None:
            chosen = ask.selection.of(chosen)
        if not any(map(carried, chosen)):
            raise Refused(Reason.UNSUPPORTED, "MP4 carries nothing of this")
        # All of it may be damaged.
        pieces = await begun(FragmentPieces(playback, in_thread, ask.selection))
        return EndlessReply(headers=_headers(ask), start=sender(request, lambda: pieces))

    def reply(ask: ArchiveAsk, request: HttpRequest, export: Export) -> Reply:
        etag = f'"{export.tag}"'
        headers = _headers(ask, etag)
        if none_match_hit(request.headers.get("if-none-match", ""), etag):
            return FullReply(status=304, headers=headers)
        chosen = wanted_range(request.headers, etag, export.size) if request.method == "GET" else None
        if chosen is RangeOutcome.UNSATISFIABLE:
            return FullReply(status=416, headers=headers + b"Content-Range: bytes */%d\r\n" % export.size)
        status, first, last = 200, 0, export.size - 1
        if isinstance(chosen, tuple):
            status, (first, last) = 206, chosen
            headers += b"Content-Range: bytes %d-%d/%d\r\n" % (first, last, export.size)
        headers += b"Content-Length: %d\r\n" % (last - first + 1)

        def pieces() -> Pieces:
            playback = Playback.of(ask, hours, clock, utc, counted)
            return ExportPieces(export, playback, in_thread, first, last)

        return EndlessReply(status=status, headers=headers, start=sender(request, pieces))

    def sender(request: HttpRequest, pieces: Callable[[], Pieces]) -> EndlessBody:
        peer = request.peer

        def begin(transport: ViewerTransport, ended: Callable[[str], None]) -> PacedBody:
            sending = PacedBody(pieces(), clock, transport, ended, math.inf)
            sending.start()
            return sending

        body = attended(request.account, begin)

        def start(transport: ViewerTransport, ended: Callable[[str], None]) -> Callable[[], None]:
            gone = False
            peers[peer] += 1

            def leave() -> None:
                nonlocal gone
                if not gone:
                    gone = True
                    _leave(peers, peer)

            def over(reason: str) -> None:
                leave()
                ended(reason)

            end = body(transport, over)

            def stop() -> None:
                end()
                leave()

            return stop

        return start

    return route


def _leave(counted: Counter[str], peer: str) -> None:
    counted[peer] -= 1
    if not counted[peer]:
        del counted[peer]


def _headers(ask: ArchiveAsk, etag: str = "") -> bytes:
    """@param etag: empty: of a body that has neither ranges nor a length."""
    moment = utc_datetime(ask.start * TICKS_PER_SECOND)
    name = _UNSAFE.sub("-", ask.name).strip("-.")[:100] or "archive"
    file = f"{name}-{moment:%Y%m%dT%H%M%SZ}-{ask.duration}.mp4"
    return (
        f"Content-Type: video/mp4\r\nAccept-Ranges: {'bytes' if etag else 'none'}\r\n"
        "Cache-Control: private, no-cache\r\n"
        "Access-Control-Allow-Origin: *\r\nX-Content-Type-Options: nosniff\r\n"
        f'Content-Disposition: attachment; filename="{file}"\r\n' + (f"ETag: {etag}\r\n" if etag else "")
    ).encode("ascii")
