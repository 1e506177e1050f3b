"""The HLS routes: playlists and MPEG-TS segments of live streams.

For how long each may be kept by caches (RFC 9111):

  - a playlist C{max-age=1}: every player asks again after half a target duration at the earliest (RFC 8216
    section 6.3.4), so one second costs nobody a reload, and a cache in front turns a crowd into one request
    a second; with a token in its URIs it is one viewer's and C{private};
  - a segment C{max-age=86400, immutable}: its name means those bytes for ever;
  - a segment that is not there C{max-age=1}: the next reload may list it on this node too.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Awaitable, Sequence
from typing import Final, Protocol
from weakref import WeakKeyDictionary

from attrs import define, field

from restreamer.errors import Reason, Refused
from restreamer.hls.answers import (
    CORS,
    NO_SEGMENT,
    PLAYLIST_TYPE,
    PLAYLISTS,
    PREFLIGHT,
    SEGMENT_HEADERS,
    WRONG_METHOD,
    with_token,
)
from restreamer.hls.master import master_playlist, needs_master
from restreamer.hls.names import GAP_PATTERN, SEGMENT_PATTERN, segment_uri
from restreamer.hls.playlist import Listed, ListedGap, ListedSegment, media_playlist, segment_base
from restreamer.http1.play_request import play_request
from restreamer.http1.reply import FullReply, HttpRequest, Reply, Route
from restreamer.live.stream import Stream
from restreamer.live.window import LiveWindow, WindowEntry, WindowGap, WindowSegment
from restreamer.media.frame import Frame
from restreamer.media.names import check_stream_name
from restreamer.media.track import Tracks
from restreamer.seams import OpenRequest

_SEGMENT_PATH: Final = re.compile(f"/(.+)/({SEGMENT_PATTERN}|{GAP_PATTERN})")

_PLAYLIST_HEADERS: Final = PLAYLIST_TYPE + b"Cache-Control: max-age=1\r\n" + CORS
_PRIVATE_PLAYLIST_HEADERS: Final = PLAYLIST_TYPE + b"Cache-Control: private, max-age=1\r\n" + CORS


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
class _Rendering:
    """What was rendered of one version of a window.

    @ivar url_prefix: the stream's; @ivar media: the media playlist.
    @ivar numbers: segment numbers by URI, unlisted ones included.
    @ivar replies: finished answers by kind of playlist, for viewers without a token.
    """

    version: int
    url_prefix: str
    media: bytes
    numbers: dict[str, int]
    replies: dict[str, FullReply] = field(factory=dict, init=False)


@define(eq=False)
class HlsRoutes:
    """Answers C{/NAME/index.m3u8}, C{playlist.m3u8}, C{video.m3u8}, C{master.m3u8} and segments."""

    _watch_point: WatchPoint
    _pack_ts: PackTs
    _renderings: WeakKeyDictionary[LiveWindow, _Rendering] = field(factory=WeakKeyDictionary, init=False)

    def route(self, request: HttpRequest) -> Reply | Awaitable[Reply] | None:
        """A L{Route}."""
        path = request.path
        if path.endswith(".m3u8"):
            name, _, file = path[1:].rpartition("/")
            if not name or file not in PLAYLISTS:
                return None
        elif path.endswith(".ts"):
            match = _SEGMENT_PATH.fullmatch(path)
            if match is None:
                return None
            name, file = match.groups()
        else:
            return None
        if request.method not in ("GET", "HEAD"):
            return PREFLIGHT if request.method == "OPTIONS" else WRONG_METHOD
        wanted = play_request(check_stream_name(name), "hls", request, part=path.endswith(".ts"))
        kind = PLAYLISTS.get(file)
        return self._segment(wanted, file) if kind is None else self._playlist(wanted, kind)

    async def _segment(self, wanted: OpenRequest, uri: str) -> Reply:
        stream = await self._watch_point.watch(wanted)
        number = self._rendering(stream).numbers.get(uri)
        entry = stream.window.find(number) if number is not None else None
        if entry is None:
            return NO_SEGMENT
        return FullReply(
            status=200,
            headers=SEGMENT_HEADERS,
            body=self._packaged(stream, entry),
            etag=f'"{entry.number:x}-{entry.segment.checksum:08x}"',
        )

    async def _playlist(self, wanted: OpenRequest, kind: str) -> Reply:
        stream = await self._watch_point.watch(wanted)
        rendering = self._rendering(stream)
        reply = rendering.replies.get(kind)
        if reply is None:
            body = self._playlist_body(stream, rendering, kind)
            etag = f'"{zlib.crc32(body):08x}-{len(body):x}"'
            reply = FullReply(status=200, headers=_PLAYLIST_HEADERS, body=body, etag=etag)
            rendering.replies[kind] = reply
        if wanted.token:
            return FullReply(
                status=200,
                headers=_PRIVATE_PLAYLIST_HEADERS,
                body=with_token(reply.body, wanted.token),
            )
        return reply

    def _playlist_body(self, stream: Stream, rendering: _Rendering, kind: str) -> bytes:
        newest = stream.window.last
        if newest is None:
            raise Refused(Reason.NOT_READY, "the stream has no segment yet")
        tracks = newest.segment.tracks
        if kind == "media" or (kind == "suitable" and not needs_master(tracks)):
            return rendering.media
        size = len(self._packaged(stream, newest))
        return master_playlist("video.m3u8", tracks, size, newest.duration).encode("ascii")

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

    def _rendering(self, stream: Stream) -> _Rendering:
        window = stream.window
        rendering = self._renderings.get(window)
        if (
            rendering is None
            or rendering.version != window.version
            or rendering.url_prefix != stream.url_prefix
        ):
            base = segment_base(stream.url_prefix, stream.name)
            listed = [_listed(entry) for entry in window.entries]
            rendering = self._renderings[window] = _Rendering(
                window.version,
                stream.url_prefix,
                media_playlist(window.target_duration, listed, base).encode("ascii"),
                {
                    segment_uri(entry.start, entry.duration, entry.number): entry.number
                    for entry in window.retained
                },
            )
        return rendering


def _listed(entry: WindowEntry) -> Listed:
    if isinstance(entry, WindowGap):
        return ListedGap(entry.number, entry.start, entry.duration, entry.discontinuity_sequence)
    segment = entry.segment
    return ListedSegment(
        segment.number,
        segment.start,
        segment.duration,
        segment.program_date_time(),
        entry.discontinuity,
        entry.discontinuity_sequence,
    )


def hls_routes(watch_point: WatchPoint, pack_ts: PackTs) -> Route:
    """The route of HLS.

    @param pack_ts: makes a segment's MPEG-TS bytes (L{restreamer.mpegts.segment_muxer.mux_segment}).
    """
    return HlsRoutes(watch_point, pack_ts).route
