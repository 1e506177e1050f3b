"""The DASH routes of archives: manifests. What they list is served for HLS, too."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final

from attrs import define

from restreamer.dash.archive_manifests import ArchiveManifests, Manifest
from restreamer.dash.routes import with_token
from restreamer.dvr.forms import MAX_PLAYLIST, ArchiveAsk, Container, asked_name, parse_archive_path, span_of
from restreamer.dvr.timeline import ArchiveHours
from restreamer.errors import Refused
from restreamer.http1.coding import takes_gzip
from restreamer.http1.play_request import play_request, shown_token
from restreamer.http1.reply import FullReply, HttpRequest, Reply
from restreamer.media.timebase import TICKS_PER_SECOND
from restreamer.seams import Clock, Gate
from restreamer.vod.seams import InThread

_CORS: Final = b"Access-Control-Allow-Origin: *\r\nX-Content-Type-Options: nosniff\r\n"
_TYPE: Final = b"Content-Type: application/dash+xml\r\n"
_GZIP: Final = b"Content-Encoding: gzip\r\n"
_VARY: Final = b"Vary: Accept-Encoding\r\n"
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


@define(eq=False, kw_only=True)
class ArchiveDashRoutes:
    """Answers C{/NAME/archive-FROM-DUR.mpd}, C{/NAME/rewind-SEC.mpd} and C{/NAME/index.mpd?utc=}.

    @ivar manifests: what is answered. @param utc: UTC ticks now. @param url_prefix: of a stream.
    """

    manifests: ArchiveManifests
    _takes: Callable[[str], bool]
    _gate: Gate
    _url_prefix: Callable[[str], str]
    _utc: Callable[[], int]

    def route(self, request: HttpRequest) -> Reply | Awaitable[Reply] | None:
        """A L{Route}; it stands before that of live manifests."""
        if not request.path.endswith(".mpd"):
            return None
        try:
            ask = parse_archive_path(request.path, request.query, self._utc() // TICKS_PER_SECOND)
        except Refused:
            if not self._takes(asked_name(request.path)):
                return None
            raise
        if ask is None or ask.container is not Container.DASH or not self._takes(ask.name):
            return None
        if request.method not in ("GET", "HEAD"):
            return _PREFLIGHT if request.method == "OPTIONS" else _WRONG_METHOD
        return self._manifest(ask, request)

    def forget(self) -> None:
        """Give all memory back: the node is short of it."""
        self.manifests.forget()

    async def _manifest(self, ask: ArchiveAsk, request: HttpRequest) -> Reply:
        span = span_of(ask, self._utc() // TICKS_PER_SECOND)
        wanted = play_request(ask.name, "dash", request, span=span)
        await self._gate.open(wanted)
        manifest = await self.manifests.manifest(ask, self._url_prefix(ask.name))
        token = shown_token(wanted)
        if token:
            body = with_token(manifest.body, token)
            headers = _headers(manifest, b"private, ")
            if takes_gzip(request):
                body, headers = await self.manifests.zipped(body), headers + _GZIP
            return FullReply(status=200, headers=headers, body=body)
        if takes_gzip(request):
            return FullReply(
                status=200,
                headers=_headers(manifest, b"") + _GZIP,
                body=manifest.zipped,
                etag=f'{manifest.etag[:-1]}-gz"',
            )
        return FullReply(status=200, headers=_headers(manifest, b""), body=manifest.body, etag=manifest.etag)


def _headers(manifest: Manifest, private: bytes) -> bytes:
    return b"%sCache-Control: %smax-age=%d\r\n%s%s" % (_TYPE, private, manifest.seconds, _CORS, _VARY)


def archive_dash_routes(
    hours: ArchiveHours,
    gate: Gate,
    in_thread: InThread,
    clock: Clock,
    utc: Callable[[], int],
    *,
    url_prefix: Callable[[str], str] = lambda name: "",
    longest: int = MAX_PLAYLIST,
) -> ArchiveDashRoutes:
    """The routes of DASH of archives; their C{route} stands before that of live manifests.

    Arguments as L{restreamer.hls.archive_routes.archive_hls_routes}.
    """
    return ArchiveDashRoutes(
        manifests=ArchiveManifests(hours, in_thread, utc, clock.seconds, longest),
        takes=hours.archives.takes,
        gate=gate,
        url_prefix=url_prefix,
        utc=utc,
    )
