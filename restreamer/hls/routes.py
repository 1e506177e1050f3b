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
from collections.abc import Awaitable, Sequence
from typing import Final, Protocol
from weakref import WeakKeyDictionary

from attrs import define, field

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
from restreamer.http1.play_request import play_request, selection_of, shown, shown_token
from restreamer.http1.reply import ChunkedReply, FullReply, HttpRequest, Reply, Route
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
        for viewers without a token.
    """

    version: int
    numbers: dict[str, int]
    replies: dict[int, FullReply] = field(factory=dict, init=False)


@define(eq=False)
class HlsRoutes:
    """Answers all of HLS of live streams."""

    _watch_point: WatchPoint
    _pack_ts: PackTs
    _reloads: Reloads
    _playlists: LivePlaylists = field(factory=LivePlaylists, init=False)
    _files: CmafRoutes = field(init=False)
    _known: WeakKeyDictionary[LiveWindow, _Known] = field(factory=WeakKeyDictionary, init=False)

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
        etag = f'"{entry.number:x}-{entry.segment.checksum:08x}"'
        if path.selection is None:
            body = self._packaged(stream, entry)
        else:
            body = self._selected(stream, entry, path.selection)
            etag = f'{etag[:-1]}-{path.selection}"'
        if not body:
            return NO_SEGMENT
        shown(wanted, entry.segment.end)
        return FullReply(status=200, headers=SEGMENT_HEADERS, body=body, etag=etag)

    async def _playlist(
        self, wanted: OpenRequest, path: HlsPath, kind: Kind, selection: TrackSelection | None
    ) -> Reply:
        stream = await self._watch_point.watch(wanted)
        body = self._playlists.body(stream, kind, selection, path.selection is not None)
        if selection is not None and not shown_token(wanted):
            return _playlist_reply(body)
        return self._reply(stream, body, shown_token(wanted))

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
            come = await self._reloads.until(
                stream,
                (name, number, part),
                lambda: has_come(cmaf, name, number, part),
                _WAIT * stream.window.target_duration,
                wanted.peer,
            )
            if not come:
                return _LATE
        body = self._playlists.low_latency(stream, name, directives.skip)
        return self._reply(stream, body, shown_token(wanted), stream.window.target_duration if number else 1)

    def _reply(self, stream: Stream, body: bytes, token: str, seconds: int = 1) -> FullReply:
        if token:
            return FullReply(status=200, headers=_PRIVATE_PLAYLIST_HEADERS, body=with_token(body, token))
        replies = self._of(stream).replies
        reply = replies.get(id(body))
        if reply is None or reply.body is not body:
            reply = _playlist_reply(body)
            if len(replies) >= _MAX_REPLIES:
                replies.clear()
            replies[id(body)] = reply
        if seconds > 1:
            headers = PLAYLIST_TYPE + b"Cache-Control: max-age=%d\r\n" % seconds + CORS
            return FullReply(status=200, headers=headers, body=body, etag=reply.etag)
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
