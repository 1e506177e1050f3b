"""The DASH routes: manifests of live streams. What they list, CMAF files, is served for HLS, too.

C{/NAME/index.mpd} lists each segment (SegmentTimeline). C{/NAME/index.ll.mpd} says where the numbers lie in
time instead (ISO/IEC 23009-1 section 5.3.9.5.3), so that a segment can be asked for while it is made. Caches
may keep a manifest for a second; with a token in its URLs it is one viewer's, and C{private}.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Awaitable, Callable, Mapping
from typing import Final, Protocol
from urllib.parse import quote
from weakref import WeakKeyDictionary

from attrs import define, field

from restreamer.dash.mpd import LowLatency, Manifest, manifest
from restreamer.dash.periods import Held, Period, periods_of
from restreamer.dash.spans import Span, spans
from restreamer.errors import MediaError, Reason, Refused
from restreamer.http1.play_request import play_request, selection_of, shown_token
from restreamer.http1.reply import FullReply, HttpRequest, Reply, Route
from restreamer.live.choices import Choices
from restreamer.live.cmaf import init_of
from restreamer.live.cmaf_names import named_tracks, track_folder
from restreamer.live.stream import Stream
from restreamer.live.window import LiveWindow, WindowSegment
from restreamer.logs import Logger
from restreamer.media.codecs import cmaf_can_carry, codec_string, plain_names
from restreamer.media.names import check_stream_name
from restreamer.media.selection import TrackSelection
from restreamer.media.timebase import TICKS_PER_MS, iso8601_ms
from restreamer.media.track import Track
from restreamer.seams import OpenRequest

#: Manifests: whether they are for low latency.
MANIFESTS: Final[Mapping[str, bool]] = {"index.mpd": False, "index.ll.mpd": True}
#: Where the node tells its time; no stream's name begins with C{-}.
CLOCK_PATH: Final = "/-/time"

_CORS: Final = b"Access-Control-Allow-Origin: *\r\nX-Content-Type-Options: nosniff\r\n"
_TYPE: Final = b"Content-Type: application/dash+xml\r\n"
_HEADERS: Final = _TYPE + b"Cache-Control: max-age=1\r\n" + _CORS
_PRIVATE_HEADERS: Final = _TYPE + b"Cache-Control: private, max-age=1\r\n" + _CORS
_CLOCK_HEADERS: Final = b"Content-Type: text/plain; charset=utf-8\r\nCache-Control: no-store\r\n" + _CORS
_PREFLIGHT: Final = FullReply(
    status=204,
    headers=b"Access-Control-Allow-Origin: *\r\n"
    b"Access-Control-Allow-Methods: GET, HEAD, OPTIONS\r\n"
    b"Access-Control-Allow-Headers: Range, If-None-Match, If-Range\r\n"
    b"Access-Control-Max-Age: 86400\r\n"
    b"Allow: GET, HEAD, OPTIONS\r\n",
)
_WRONG_METHOD: Final = FullReply(
    status=405,
    headers=b"Content-Type: text/plain; charset=utf-8\r\nAllow: GET, HEAD, OPTIONS\r\n" + _CORS,
    body=b"Method Not Allowed\n",
)
#: Characters of a URL that stay as they are (RFC 3986 section 2.2, and the percent sign).
_URL: Final = ":/?#@!$&'()*+,;=%~"
#: Where the path of a URL prefix begins; only before it may brackets stand (RFC 3986 section 3.2.2).
_HOST: Final = re.compile("(?:[A-Za-z]+:)?//[^/]*")
_STRAY_PERCENT: Final = re.compile("%(?![0-9A-Fa-f]{2})")

_log = Logger()


class WatchPoint(Protocol):
    """Grants a viewer the closed segments of a stream."""

    def watch(self, request: OpenRequest) -> Awaitable[Stream]:
        """Pass the gate, find or start the stream, wait (bounded) until a segment is listed.

        @raise Refused: (from the awaitable) when it is not granted or not there in time.
        """
        ...


@define(eq=False)
class _Kept:
    """What is kept of one window.

    @ivar spans: of the segments listed last.
    @ivar replies: finished answers of C{version} by kind and choice, for viewers without a token.
    @ivar told: codecs that were said to be left out.
    """

    version: int = -1
    url_prefix: str = ""
    spans: WeakKeyDictionary[WindowSegment, Mapping[int, Span]] = field(factory=WeakKeyDictionary)
    replies: Choices[FullReply] = field(factory=Choices)
    told: set[str] = field(factory=set)


@define(eq=False)
class DashRoutes:
    """Answers C{/NAME/index.mpd}, C{/NAME/index.ll.mpd} and the clock.

    @param utc: UTC ticks now, for the clock alone: no manifest depends on it.
    """

    _watch_point: WatchPoint
    _utc: Callable[[], int]
    _kept: WeakKeyDictionary[LiveWindow, _Kept] = field(factory=WeakKeyDictionary, init=False)

    def route(self, request: HttpRequest) -> Reply | Awaitable[Reply] | None:
        """A L{Route}."""
        path = request.path
        if path == CLOCK_PATH:
            return self._clock(request)
        if not path.endswith(".mpd"):
            return None
        name, _, file = path[1:].rpartition("/")
        low_latency = MANIFESTS.get(file)
        if not name or low_latency is None:
            return None
        if request.method not in ("GET", "HEAD"):
            return _PREFLIGHT if request.method == "OPTIONS" else _WRONG_METHOD
        wanted = play_request(check_stream_name(name), "dash", request)
        return self._manifest(wanted, low_latency, selection_of(request))

    def _clock(self, request: HttpRequest) -> Reply:
        if request.method not in ("GET", "HEAD"):
            return _PREFLIGHT if request.method == "OPTIONS" else _WRONG_METHOD
        return FullReply(status=200, headers=_CLOCK_HEADERS, body=iso8601_ms(self._utc()).encode("ascii"))

    async def _manifest(
        self, wanted: OpenRequest, low_latency: bool, selection: TrackSelection | None
    ) -> Reply:
        stream = await self._watch_point.watch(wanted)
        kept = self._of(stream)
        if selection is not None:
            selection = _distinct(stream, selection)
        reply = kept.replies.get((low_latency, selection))
        if reply is None:
            body = self._body(stream, kept, low_latency, selection).encode("utf-8")
            etag = f'"{zlib.crc32(body):08x}-{len(body):x}"'
            reply = FullReply(status=200, headers=_HEADERS, body=body, etag=etag)
            kept.replies.keep((low_latency, selection), reply, selection is None)
        token = shown_token(wanted)
        if token:
            return FullReply(status=200, headers=_PRIVATE_HEADERS, body=with_token(reply.body, token))
        return reply

    def _of(self, stream: Stream) -> _Kept:
        window = stream.window
        kept = self._kept.get(window)
        if kept is None:
            kept = self._kept[window] = _Kept()
        if (kept.version, kept.url_prefix) != (window.version, stream.url_prefix):
            kept.version, kept.url_prefix = window.version, stream.url_prefix
            kept.replies.clear()
        return kept

    def _body(self, stream: Stream, kept: _Kept, low_latency: bool, selection: TrackSelection | None) -> str:
        window = stream.window
        newest = window.last
        if newest is None:
            raise Refused(Reason.NOT_READY, "the stream has no segment yet")
        periods = self._periods(stream, kept, selection)
        if not periods:
            tracks = newest.segment.tracks
            wanted = tracks if selection is None else selection.of(tracks)
            if tracks and not wanted:
                raise Refused(Reason.NOT_FOUND, "the stream has none of the chosen tracks")
            raise Refused(Reason.UNSUPPORTED, f"DASH can carry none of the tracks ({plain_names(wanted)})")
        first = min(span.start for span in periods[0].segments[0].spans.values())
        about = _about(stream, newest, newest.segment.end - first, low_latency)
        files = {
            (period.name, name): track_folder(name) + init_of(track)[0]
            for period in periods
            for name, track in period.tracks
        }
        return manifest(about, periods, files)

    def _periods(self, stream: Stream, kept: _Kept, selection: TrackSelection | None) -> tuple[Period, ...]:
        def listing(entry: WindowSegment) -> tuple[Held, Mapping[int, Span]]:
            found = kept.spans.get(entry)
            if found is None:
                found = kept.spans[entry] = spans(entry.segment)
            tracks = entry.segment.tracks
            chosen = tracks if selection is None else selection.of(tracks)
            held = []
            for name, track in named_tracks(tracks):
                if track not in chosen:
                    continue
                if not _carried(track):
                    self._leave_out(stream, kept, track)
                elif track.track_id in found:
                    held.append((name, track))
            return tuple(held), {track.track_id: found[track.track_id] for _, track in held}

        return periods_of(stream.window.entries, listing)

    def _leave_out(self, stream: Stream, kept: _Kept, track: Track) -> None:
        if track.codec not in kept.told:
            kept.told.add(track.codec)
            _log.warn(
                "{name}: track {track} ({codec}) is left out of DASH, which cannot carry it",
                name=stream.name,
                track=track.track_id,
                codec=track.codec,
            )


def _distinct(stream: Stream, selection: TrackSelection) -> TrackSelection | None:
    """The choice as far as it makes a difference: without tracks that no segment has; None: it leaves out
    nothing.
    """
    tables = [entry.segment.tracks for entry in stream.window.retained]
    choice = selection.within(tables)
    return choice if any(choice.of(tracks) != tracks for tracks in tables) else None


def _carried(track: Track) -> bool:
    if not cmaf_can_carry(track):
        return False
    try:
        codec_string(track)
    except MediaError:
        return False
    return True


def _about(stream: Stream, newest: WindowSegment, depth: int, low_latency: bool) -> Manifest:
    """How players are to keep pace with C{stream}.

    A segment is known when it is closed, up to a keyframe distance after its line, and a player looks every
    half segment; so it stays two and a half segments behind. In low latency it stays three parts behind, and
    a second for the way.
    """
    segment = stream.segment_duration
    length = segment // TICKS_PER_MS
    part = max((part.duration for part in newest.segment.parts), default=0) if low_latency else 0
    # A segment begins with the first keyframe behind its line, and is there when its first part is closed.
    late = max((each.start - each.number * segment for each in stream.window.retained), default=0)
    early = max(0, segment - part - max(0, late)) if part else 0
    delay = 3 * part // TICKS_PER_MS + 1000 if part else length * 5 // 2 + 500
    return Manifest(
        published=newest.segment.end,
        update=length if low_latency else length // 2,
        longest=stream.window.target_duration,
        depth=depth,
        delay=delay,
        buffer=min(delay // 2, length),
        clock=CLOCK_PATH,
        base=base_url(stream.url_prefix, stream.name),
        low_latency=LowLatency(segment=segment, part=part, early=early, target=delay)
        if low_latency
        else None,
    )


def base_url(url_prefix: str, name: str) -> str:
    """What stands before URLs of media that are elsewhere, an xs:anyURI; empty: they are relative.

    The prefix of an outer cache holds for many streams, so the name follows it.
    """
    if not url_prefix:
        return ""
    host = _HOST.match(url_prefix)
    path = host.end() if host is not None else 0
    rest = quote(_STRAY_PERCENT.sub("%25", url_prefix[path:].rstrip("/")), safe=_URL)
    return f"{url_prefix[:path]}{rest}/{quote(name)}/"


def with_token(body: bytes, token: str) -> bytes:
    """The manifest C{body} with the viewer's token on each URL of media: players do not hand queries down."""
    query = b"?token=" + quote(token, safe="").encode("ascii") + b'"'
    return body.replace(b'.m4s"', b".m4s" + query).replace(b'.mp4"', b".mp4" + query)


def dash_routes(watch_point: WatchPoint, utc: Callable[[], int]) -> Route:
    """The route of DASH. @param utc: UTC ticks now."""
    return DashRoutes(watch_point, utc).route
