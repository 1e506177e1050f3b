"""The HLS routes: playlists, MPEG-TS segments and CMAF files of live streams.

For how long each may be kept by caches (RFC 9111):

  - a playlist C{max-age=1}: every player asks again after half a target duration at the earliest (RFC 8216
    section 6.3.4), so one second costs nobody a reload, and a cache in front turns a crowd into one request
    a second; with a token in its URIs it is one viewer's and C{private}. One that was waited for
    (C{_HLS_msn}) means those lines for long, and is kept for a target duration;
  - a segment C{max-age=86400, immutable}: its name means those bytes for ever;
  - a segment that is not there C{max-age=1}: the next reload may list it on this node too.
"""

from __future__ import annotations

import zlib
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, Protocol
from weakref import WeakKeyDictionary, ref

from attrs import define, evolve, field, frozen

from restreamer.errors import Refused
from restreamer.hls.answers import (
    CORS,
    NO_SEGMENT,
    PLAYLIST_TYPE,
    PREFLIGHT,
    SEGMENT_HEADERS,
    WRONG_METHOD,
    with_token,
)
from restreamer.hls.cmaf_routes import CmafRoutes
from restreamer.hls.live_playlists import LivePlaylists
from restreamer.hls.low_latency import Directives, awaited, has_come
from restreamer.hls.names import segment_uri
from restreamer.hls.paths import HlsPath, Kind, parse_path
from restreamer.hls.service import ReloadLimits, Reloads
from restreamer.http1.head import ready_answer, ready_head
from restreamer.http1.play_request import play_request, selection_of, shown, shown_token
from restreamer.http1.refusal import refusal_reply
from restreamer.http1.reply import ChunkedReply, FullReply, HeldReply, HttpRequest, Ready, Reply, Route
from restreamer.live.cmaf_names import named_tracks, parse_cmaf_name
from restreamer.live.stream import Stream
from restreamer.live.window import LiveWindow, WindowSegment
from restreamer.media.frame import Frame
from restreamer.media.names import check_stream_name
from restreamer.media.selection import TrackSelection
from restreamer.media.track import Tracks
from restreamer.seams import Clock, OpenRequest

_PLAYLIST_HEADERS: Final = PLAYLIST_TYPE + b"Cache-Control: max-age=1\r\n" + CORS
_PRIVATE_PLAYLIST_HEADERS: Final = PLAYLIST_TYPE + b"Cache-Control: private, max-age=1\r\n" + CORS
_LATE: Final = FullReply(
    status=503,
    headers=b"Content-Type: text/plain; charset=utf-8\r\nCache-Control: no-store\r\nRetry-After: 1\r\n"
    + CORS,
    body=b"What was asked for did not come in time\n",
)
#: Finished answers kept of one version of a window.
_MAX_REPLIES: Final = 64
#: Target durations a request waits at most (RFC 8216bis section 6.2.5.2).
_WAIT: Final = 3.0


class WatchPoint(Protocol):
    """Grants a viewer the closed segments of a stream."""

    def watch(self, request: OpenRequest) -> Awaitable[Stream]:
        """Pass the gate, find or start the stream, wait (bounded) until a segment is listed.

        @raise Refused: (from the awaitable) when it is not granted or not there in time.
        """
        ...


class PackTs(Protocol):
    """Makes the MPEG-TS bytes of one segment, from nothing but its arguments."""

    def __call__(
        self, tracks: Tracks, frames: Sequence[Frame], *, title: str = "", discontinuity: bool = False
    ) -> bytes:
        """Mux a segment."""
        ...


@define(eq=False)
class _Known:
    """What is kept of one version of a window.

    @ivar numbers: segment numbers by URI, unlisted ones included. @ivar replies: finished answers by body,
        for viewers without a token, and C{waited} for those of them that waited.
    @ivar lists: those as they are sent. @ivar segments: answers with segments as they are sent, by URI and
        tracks.
    """

    version: int
    numbers: dict[str, int]
    replies: dict[int, FullReply] = field(factory=dict, init=False)
    waited: dict[int, FullReply] = field(factory=dict, init=False)
    lists: dict[int, tuple[bytes, Ready]] = field(factory=dict, init=False)
    segments: dict[tuple[str, TrackSelection | None], Ready] = field(factory=dict, init=False)


@frozen
class _Segments:
    """A L{restreamer.http1.reply.Repeat}: segments of one stream in the same folder."""

    routes: HlsRoutes
    stream: ref[Stream]
    selection: TrackSelection | None
    folder: str

    def __call__(self, file: str) -> Ready | None:
        stream = self.stream()
        if stream is None:
            return None
        return self.routes.ready_segment(stream, self.folder + file, self.selection)


@define
class _Lists:
    """A L{restreamer.http1.reply.Repeat}: one playlist of a stream, kept as long as it is right."""

    routes: HlsRoutes
    stream: ref[Stream]
    kind: Kind
    file: str
    _window: ref[LiveWindow] | None = field(default=None, init=False, eq=False)
    _version: int = field(default=0, init=False, eq=False)
    _url_prefix: str = field(default="", init=False, eq=False)
    _ready: Ready | None = field(default=None, init=False, eq=False)

    def __call__(self, file: str) -> Ready | None:
        stream = self.stream()
        if stream is None or file != self.file:
            return None
        window = stream.window
        if (
            self._window is None
            or self._window() is not window
            or self._version != window.version
            or self._url_prefix != stream.url_prefix
            or stream.ended
            or stream.catching_up
        ):
            self._ready = self.routes.ready_list(stream, self.kind)
            self._window, self._version, self._url_prefix = ref(window), window.version, stream.url_prefix
        return self._ready


@define(eq=False)
class HlsRoutes:
    """Answers all of HLS of live streams."""

    _watch_point: WatchPoint
    _pack_ts: PackTs
    _reloads: Reloads
    _playlists: LivePlaylists = field(factory=LivePlaylists, init=False)
    _files: CmafRoutes = field(init=False)
    _known: WeakKeyDictionary[LiveWindow, _Known] = field(factory=WeakKeyDictionary, init=False)

    _held_key: tuple[object, ...] = field(default=(), init=False)
    _held: tuple[FullReply, Ready | None] = field(default=(_LATE, None), init=False)

    def __attrs_post_init__(self) -> None:
        self._files = CmafRoutes(self._playlists.cmaf, self._reloads)

    def route(self, request: HttpRequest) -> Reply | Awaitable[Reply] | None:
        """A L{Route}."""
        path = parse_path(request.path)
        if path is None:
            return None
        if request.method not in ("GET", "HEAD"):
            return PREFLIGHT if request.method == "OPTIONS" else WRONG_METHOD
        name = check_stream_name(path.name)
        if path.kind is not None:
            selection = path.selection or selection_of(request)
            directives = Directives.of(request.query) if request.query else Directives()
            wanted = play_request(name, "hls", request)
            if path.kind is Kind.LOW_LATENCY_MEDIA:
                return self._low_latency(wanted, selection, directives)
            return self._playlist(wanted, path, path.kind, selection)
        if path.file.endswith(".ts"):
            return self._ts(play_request(name, "hls", request, part=True), path)
        return self._cmaf(play_request(name, "cmaf", request, part=True), path.file)

    async def _cmaf(self, wanted: OpenRequest, file: str) -> Reply:
        stream = await self._watch_point.watch(wanted)
        reply = await self._files.answer(stream, file, wanted.peer)
        if isinstance(reply, FullReply | ChunkedReply) and reply.status == 200:
            until = _end_of(stream, file)
            if until is not None:
                shown(wanted, until)
        return reply

    async def _ts(self, wanted: OpenRequest, path: HlsPath) -> Reply:
        stream = await self._watch_point.watch(wanted)
        number = self._of(stream).numbers.get(path.file)
        entry = stream.window.find(number) if number is not None else None
        if entry is None:
            return NO_SEGMENT
        selection = path.selection
        body = (
            self._packaged(stream, entry) if selection is None else self._selected(stream, entry, selection)
        )
        if not body:
            return NO_SEGMENT
        if wanted.account is not None:
            folder = path.file[: path.file.rfind("/") + 1]
            wanted.account.repeat = _Segments(self, ref(stream), selection, folder)
        shown(wanted, entry.segment.end)
        return FullReply(status=200, headers=SEGMENT_HEADERS, body=body, etag=_etag(entry, selection))

    def ready_segment(self, stream: Stream, file: str, selection: TrackSelection | None) -> Ready | None:
        """A segment that is held, for who passed the gate."""
        if stream.ended or stream.catching_up:
            return None
        known = self._of(stream)
        number = known.numbers.get(file)
        entry = stream.window.find(number) if number is not None else None
        if entry is None:
            return None
        if selection is None:
            body = self._packaged(stream, entry)
        else:
            body = self._selected(stream, entry, selection)
        if not body:
            return None
        ready = known.segments.get((file, selection))
        if ready is None or ready.body is not body:
            if len(known.segments) >= _MAX_REPLIES:
                known.segments.clear()
            head = ready_head(SEGMENT_HEADERS, len(body), _etag(entry, selection))
            ready = known.segments[file, selection] = Ready(head, body, len(body), entry.segment.end)
        return ready

    def ready_list(self, stream: Stream, kind: Kind) -> Ready | None:
        """A playlist of all tracks, for who passed the gate and has no token."""
        if stream.ended or stream.catching_up or stream.window.last is None:
            return None
        try:
            body = self._playlists.body(stream, kind, None, False)
        except Refused:
            return None
        lists = self._of(stream).lists
        held = lists.get(id(body))
        if held is None or held[0] is not body:
            reply = self._reply(stream, body, "")
            if len(lists) >= _MAX_REPLIES:
                lists.clear()
            held = lists[id(body)] = (body, ready_answer(reply.headers, body, reply.etag))
        return held[1]

    async def _playlist(
        self, wanted: OpenRequest, path: HlsPath, kind: Kind, selection: TrackSelection | None
    ) -> Reply:
        stream = await self._watch_point.watch(wanted)
        body = self._playlists.body(stream, kind, selection, path.selection is not None)
        if selection is not None and not shown_token(wanted):
            return _playlist_reply(body)
        token = shown_token(wanted)
        if selection is None and not token and wanted.account is not None:
            wanted.account.repeat = _Lists(self, ref(stream), kind, path.file)
        return self._reply(stream, body, token)

    async def _low_latency(
        self, wanted: OpenRequest, selection: TrackSelection | None, directives: Directives
    ) -> Reply:
        stream = await self._watch_point.watch(wanted)
        name = str(selection)
        number = directives.number
        if number is not None:
            cmaf = self._playlists.cmaf.of(stream)
            target = self._playlists.part_target(stream, name)
            number, part = awaited(cmaf, name, number, directives.part, target)
            waited = number, part

            def come() -> bool:
                return has_come(cmaf, name, *waited)

            if not come():
                token = shown_token(wanted)

                def hold(answer: Callable[[FullReply, Ready | None], None]) -> Callable[[], None]:
                    return self._reloads.hold(
                        stream,
                        (name, *waited),
                        come,
                        _WAIT * stream.window.target_duration,
                        wanted.peer,
                        lambda: answer(*self._waited(stream, name, directives.skip, token, waited, come)),
                    )

                return HeldReply(hold=hold)
        body = self._playlists.low_latency(stream, name, directives.skip)
        return self._reply(stream, body, shown_token(wanted), stream.window.target_duration if number else 1)

    def _waited(
        self,
        stream: Stream,
        name: str,
        skip: bool,
        token: str,
        waited: tuple[int, int | None],
        come: Callable[[], bool],
    ) -> tuple[FullReply, Ready | None]:
        """The answer to who has waited; made once for all that are answered in one turn of the reactor.

        @param waited: for what. @param come: whether it was not in vain.
        """
        key = (self._reloads.turn, id(stream), name, skip, waited)
        if not token and self._held_key == key:
            return self._held
        if not come():
            return _LATE, None
        try:
            body = self._playlists.low_latency(stream, name, skip)
        except Refused as refused:
            return refusal_reply(refused, None), None
        reply = self._reply(stream, body, token, stream.window.target_duration)
        if token:
            return reply, None
        self._held_key = key
        self._held = reply, ready_answer(reply.headers, body, reply.etag)
        return self._held

    def _reply(self, stream: Stream, body: bytes, token: str, seconds: int = 1) -> FullReply:
        if token:
            return FullReply(status=200, headers=_PRIVATE_PLAYLIST_HEADERS, body=with_token(body, token))
        known = self._of(stream)
        replies = known.replies if seconds <= 1 else known.waited
        reply = replies.get(id(body))
        if reply is None or reply.body is not body:
            reply = _playlist_reply(body)
            if seconds > 1:
                headers = PLAYLIST_TYPE + b"Cache-Control: max-age=%d\r\n" % seconds + CORS
                reply = evolve(reply, headers=headers)
            if len(replies) >= _MAX_REPLIES:
                replies.clear()
            replies[id(body)] = reply
        return reply

    def _packaged(self, stream: Stream, entry: WindowSegment) -> bytes:
        return entry.packaged(
            "mpegts",
            lambda segment: self._pack_ts(
                segment.tracks,
                segment.frames(),
                title=stream.name,
                discontinuity=segment.discontinuity,
            ),
        )

    def _selected(self, stream: Stream, entry: WindowSegment, selection: TrackSelection) -> bytes:
        """The segment with chosen tracks; empty when it has none of them."""
        tracks = selection.of(entry.segment.tracks)
        if not tracks:
            return b""
        ids = {track.track_id for track in tracks}
        names = [name for name, track in named_tracks(entry.segment.tracks) if track.track_id in ids]
        return entry.packaged(
            f"mpegts-{''.join(names)}",
            lambda segment: self._pack_ts(
                tracks,
                [frame for frame in segment.frames() if frame.track_id in ids],
                title=stream.name,
                discontinuity=segment.discontinuity,
            ),
            chosen=len(names) > 1,
        )

    def _of(self, stream: Stream) -> _Known:
        window = stream.window
        known = self._known.get(window)
        if known is None or known.version != window.version:
            known = self._known[window] = _Known(
                window.version,
                {
                    segment_uri(entry.start, entry.duration, entry.number): entry.number
                    for entry in window.retained
                },
            )
        return known


def _etag(entry: WindowSegment, selection: TrackSelection | None) -> str:
    """The entity tag of a segment, or of some of its tracks."""
    chosen = "" if selection is None else f"-{selection}"
    return f'"{entry.number:x}-{entry.segment.checksum:08x}{chosen}"'


def _end_of(stream: Stream, file: str) -> int | None:
    """UTC ticks of the end of the segment that C{file} is, or is a part of; None: it is none."""
    name = parse_cmaf_name(file)
    if name is None or name.init:
        return None
    entry = stream.window.find(name.number)
    return entry.segment.end if entry is not None else stream.last_dts


def _playlist_reply(body: bytes) -> FullReply:
    etag = f'"{zlib.crc32(body):08x}-{len(body):x}"'
    return FullReply(status=200, headers=_PLAYLIST_HEADERS, body=body, etag=etag)


def hls_routes(
    watch_point: WatchPoint, pack_ts: PackTs, clock: Clock, limits: ReloadLimits | None = None
) -> Route:
    """The route of HLS.

    @param pack_ts: makes a segment's MPEG-TS bytes (L{restreamer.mpegts.segment_muxer.mux_segment}).
    @param clock: for requests that wait. @param limits: of those.
    """
    return HlsRoutes(watch_point, pack_ts, Reloads(clock, limits)).route
