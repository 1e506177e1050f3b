"""The HLS routes of archives. They stand before those of live streams, and hand on what is not theirs.

Segments have one name, live and later; what the live window holds, or will hold, is its own to give. An
archive is asked for all else, and so a stream that is not fed at all can be played from it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from attrs import define, evolve, field

from restreamer.dvr.forms import MAX_PLAYLIST, ArchiveAsk, Container, asked_name, parse_archive_path, span_of
from restreamer.dvr.timeline import ArchiveHours
from restreamer.errors import Reason, Refused
from restreamer.hls.answers import NO_SEGMENT, PREFLIGHT, SEGMENT_HEADERS, WRONG_METHOD, cmaf_headers
from restreamer.hls.archive_files import ArchiveFiles
from restreamer.hls.archive_playlists import ArchivePlaylists
from restreamer.hls.archive_replies import ListReplies
from restreamer.hls.names import SegmentName, parse_segment_uri, segment_uri
from restreamer.hls.paths import HlsPath, parse_path
from restreamer.http1.play_request import play_request, shown_token
from restreamer.http1.reply import FullReply, HttpRequest, Reply, Route
from restreamer.live.cmaf import carried_track, init_of
from restreamer.live.cmaf_names import CmafName, parse_cmaf_name
from restreamer.live.window import LiveWindow
from restreamer.media.names import valid_stream_name
from restreamer.media.timebase import TICKS_PER_MS, TICKS_PER_SECOND
from restreamer.seams import Clock, Gate, OpenRequest
from restreamer.vod.seams import InThread, PackTs

#: A segment that began longer ago than this is not one that a stream which begins now will have, ticks.
_LONG_AGO = 600 * TICKS_PER_SECOND


@define(eq=False, kw_only=True)
class ArchiveHlsRoutes:
    """Answers about archives.

    @ivar files: segments; @ivar playlists: what lists them.
    @param live: the routes of live streams. @param window: the live window of a name, if it has one now.
    @param url_prefix: what stands before the segments of a stream. @param utc: UTC ticks now.
    """

    files: ArchiveFiles
    playlists: ArchivePlaylists
    _hours: ArchiveHours
    _gate: Gate
    _replies: ListReplies
    _live: Route
    _window: Callable[[str], LiveWindow | None]
    _url_prefix: Callable[[str], str]
    _utc: Callable[[], int]
    _takes: Callable[[str], bool] = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._takes = self._hours.archives.takes

    def route(self, request: HttpRequest) -> Reply | Awaitable[Reply] | None:
        """A L{Route}."""
        path = request.path
        mine: Awaitable[Reply] | None = None
        if path.endswith(".m3u8"):
            ask = self._ask(request)
            if ask is not None:
                mine = self._playlist(ask, request)
        elif path.endswith((".ts", ".m4s", ".mp4")):
            named = parse_path(path)
            if named is not None and valid_stream_name(named.name) and self._takes(named.name):
                mine = self._of_archive(request, named)
        if mine is None:
            return self._live(request)
        if request.method not in ("GET", "HEAD"):
            _close(mine)
            return PREFLIGHT if request.method == "OPTIONS" else WRONG_METHOD
        return mine

    async def span(self, named: HlsPath) -> tuple[int, int] | None:
        """UTC ticks (from, to) of a segment of an archive; None: the live window gives it, or it has none.

        @raise Refused: NOT_FOUND, NOT_READY.
        """
        name, file = named.name, named.file
        if not valid_stream_name(name) or not self._takes(name):
            return None
        window = self._window(name)
        if file.endswith(".ts"):
            asked = parse_segment_uri(file)
            if asked is None or (window is not None and _holds_ts(window, file)):
                return None
            return _span_of(asked)
        cmaf = parse_cmaf_name(file)
        if cmaf is None or cmaf.part is not None or cmaf.init:
            return None
        if window is not None and _holds_cmaf(window, cmaf):
            return None
        return await self.files.span(name, cmaf.number)

    def forget(self) -> None:
        """Give all memory back: the node is short of it."""
        self._hours.forget()
        self.files.forget()
        self.playlists.forget()
        self._replies.forget()

    def _ask(self, request: HttpRequest) -> ArchiveAsk | None:
        try:
            ask = parse_archive_path(request.path, request.query, self._utc() // TICKS_PER_SECOND)
        except Refused:
            if not self._takes(asked_name(request.path)):
                return None
            raise
        if ask is None or ask.container is not Container.HLS or not self._takes(ask.name):
            return None
        return ask

    async def _playlist(self, ask: ArchiveAsk, request: HttpRequest) -> Reply:
        span = span_of(ask, self._utc() // TICKS_PER_SECOND)
        wanted = play_request(ask.name, "hls", request, span=span)
        await self._gate.open(wanted)
        listing = await self.playlists.listing(ask, self._url_prefix(ask.name))
        return self._replies.reply(listing, request, shown_token(wanted))

    def _of_archive(self, request: HttpRequest, named: HlsPath) -> Awaitable[Reply] | None:
        """The answer about a segment; None when it is the live window's."""
        window = self._window(named.name)
        if named.file.endswith(".ts"):
            if window is not None and _holds_ts(window, named.file):
                return None
            asked = parse_segment_uri(named.file)
            span = _span_of(asked) if asked is not None else None
            wanted = play_request(named.name, "hls", request, part=True, span=span)
            return self._segment(request, wanted, named, None)
        name = parse_cmaf_name(named.file)
        if name is None or name.part is not None or (window is not None and _holds_cmaf(window, name)):
            return None
        return self._segment(request, play_request(named.name, "cmaf", request, part=True), named, name)

    async def _segment(
        self, request: HttpRequest, wanted: OpenRequest, named: HlsPath, cmaf: CmafName | None
    ) -> Reply:
        await self._gate.open(wanted)
        try:
            if cmaf is None:
                packaged = await self.files.ts(named.name, named.file, named.selection)
                return FullReply(
                    status=200, headers=SEGMENT_HEADERS, body=packaged.body, etag=f'"{packaged.tag}"'
                )
            headers = cmaf_headers(cmaf.track)
            if cmaf.init:
                init = await self.files.init(named.name, cmaf)
                return FullReply(status=200, headers=headers, body=init, etag=f'"{cmaf.init}"')
            packaged = await self.files.cmaf(
                named.name, cmaf.number, cmaf.track, lambda span: self._gate.open(evolve(wanted, span=span))
            )
            return FullReply(status=200, headers=headers, body=packaged.body, etag=f'"{packaged.tag}"')
        except Refused as refused:
            if refused.reason is not Reason.NOT_FOUND:
                raise
        return await self._not_archived(request, named, cmaf)

    async def _not_archived(self, request: HttpRequest, named: HlsPath, cmaf: CmafName | None) -> Reply:
        """What is not in the archive may be of a stream that is started on demand."""
        if self._window(named.name) is not None:
            return NO_SEGMENT
        if cmaf is None:
            asked = parse_segment_uri(named.file)
            if asked is None or asked.second < self._utc() - _LONG_AGO:
                return NO_SEGMENT
        elif not cmaf.init and await self._passed(named.name, cmaf.number):
            return NO_SEGMENT
        reply = self._live(request)
        if reply is None:
            return NO_SEGMENT
        return await reply if isinstance(reply, Awaitable) else reply

    async def _passed(self, name: str, number: int) -> bool:
        """Whether the archive has come past C{number}."""
        try:
            held = await self._hours.holdings(name)
            index = await self._hours.hour(name, held.hours[-1]) if held.hours else None
        except Refused:
            return False
        return bool(index) and number <= index.number_at(len(index) - 1) if index is not None else False


def _span_of(asked: SegmentName) -> tuple[int, int]:
    """UTC ticks (from, to) of a segment, as its name says them."""
    return asked.second, asked.second + asked.milliseconds * TICKS_PER_MS


def _holds_ts(window: LiveWindow, uri: str) -> bool:
    """Whether a segment is, or will be, in the window."""
    asked = parse_segment_uri(uri)
    if asked is None:
        return False
    last = window.last
    if last is not None and asked.second + TICKS_PER_SECOND > last.start + last.duration:
        return True
    return any(
        entry.start // TICKS_PER_SECOND * TICKS_PER_SECOND == asked.second
        and segment_uri(entry.start, entry.duration, entry.number) == uri
        for entry in window.retained
    )


def _holds_cmaf(window: LiveWindow, name: CmafName) -> bool:
    if not name.init:
        last = window.last_number
        return window.find(name.number) is not None or (last is not None and name.number > last)
    file = f"init-{name.init}.mp4"
    tracks = (carried_track(entry.segment.tracks, name.track) for entry in window.retained)
    return any(track is not None and init_of(track)[0] == file for track in tracks)


def _close(unused: Awaitable[Reply]) -> None:
    close = getattr(unused, "close", None)
    if close is not None:
        close()


def archive_hls_routes(
    hours: ArchiveHours,
    gate: Gate,
    pack_ts: PackTs,
    in_thread: InThread,
    clock: Clock,
    utc: Callable[[], int],
    *,
    live: Route,
    window: Callable[[str], LiveWindow | None],
    url_prefix: Callable[[str], str] = lambda name: "",
    crowded: Callable[[], bool] = lambda: False,
    longest: int = MAX_PLAYLIST,
) -> ArchiveHlsRoutes:
    """The routes of HLS with archives; their C{route} stands where that of live streams would.

    @param hours: of the node's archives, shared with DASH. @param gate: passed by every request.
    @param pack_ts: L{restreamer.mpegts.segment_muxer.mux_segment}. @param utc: UTC ticks now.
    @param live: L{restreamer.hls.routes.hls_routes}. @param window: the window of a stream that is here now.
    @param url_prefix: of a stream. @param crowded: whether memory is short.
    @param longest: seconds a playlist may reach.
    """
    return ArchiveHlsRoutes(
        files=ArchiveFiles(hours, pack_ts, in_thread, clock.seconds, crowded),
        playlists=ArchivePlaylists(hours, in_thread, utc, clock.seconds, longest),
        hours=hours,
        gate=gate,
        replies=ListReplies(clock),
        live=live,
        window=window,
        url_prefix=url_prefix,
        utc=utc,
    )
