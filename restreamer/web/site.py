"""Pages and API on twisted.web: what the HTTP front hands over.

A handed-over connection serves one request and closes, so players' connections stay on the front. Nothing
here logs a query string or a referer, and no answer shows a traceback.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from io import BytesIO
from pathlib import Path
from typing import Final
from urllib.parse import unquote_to_bytes

from twisted.internet.interfaces import IReactorTime
from twisted.web import http
from twisted.web.resource import IResource, Resource
from twisted.web.server import Request, Site
from typing_extensions import override

from restreamer.http1.forwarded import TrustedProxies
from restreamer.http1.reply import HttpRequest
from restreamer.media.names import valid_stream_name
from restreamer.web.limits import AccessLog
from restreamer.web.v3.authority import Authority
from restreamer.web.v3.endpoint import MAX_BODY, Endpoint, Routes
from restreamer.web.v3.openapi import openapi_endpoint
from restreamer.web.v3.resource import ApiResource

#: Bytes a request body may have at all. The front checks first, and closer; this is for what it cannot know.
MAX_BODIES: Final = 4 * 1024 * 1024
#: Seconds without a byte from the client.
IDLE_TIMEOUT: Final = 30


_PAGES: Final = Path(__file__).with_name("pages")
_TYPES: Final = {
    ".html": b"text/html; charset=utf-8",
    ".js": b"text/javascript; charset=utf-8",
    ".css": b"text/css; charset=utf-8",
    ".txt": b"text/plain; charset=utf-8",
}
#: What the player loads, and under which terms.
_LIBRARIES: Final = (
    "hls.min.js",
    "hls.LICENSE.txt",
    "Apache-2.0.txt",
    "dash.mediaplayer.min.js",
    "dash.LICENSE.txt",
)
#: What the page of operators loads.
_ADMIN: Final = tuple(sorted(file.name for file in _PAGES.glob("admin*") if file.suffix in (".js", ".css")))
_POLICY: Final = (
    b"default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'%b; "
    b"media-src 'self' blob:%b; worker-src 'self' blob:; frame-src %b; base-uri 'none'; form-action 'none'; "
    b"frame-ancestors %b"
)
#: Where the player may fetch media beside the page's own host: a peer it is redirected to, or the host of an
#: C{url_prefix}. Neither list is known to the page, and peers of peers are known to nobody here.
_ANY_HOST: Final = b" http: https:"


class SiteRequest(Request):
    """A request that keeps its secrets out of logs and its body within bounds."""

    _body_size = 0

    @override
    def __repr__(self) -> str:
        return f"<{type(self).__name__} at 0x{id(self):x}>"

    @override
    def gotLength(self, length: int | None) -> None:
        """Keep the body, if it is to be kept at all, in memory: no temporary files."""
        self._body_size = length or 0
        self.content = BytesIO()

    @override
    def handleContentChunk(self, data: bytes) -> None:
        assert self.content is not None
        self._body_size = max(self._body_size, self.content.tell() + len(data))
        if self._body_size <= MAX_BODIES:
            self.content.write(data)

    @override
    def process(self) -> None:
        self.responseHeaders.removeHeader(b"Server")
        path = unquote_to_bytes(self.path)
        if self._body_size > MAX_BODIES:
            self._refuse(413, b"Content Too Large\n")
        elif b"\0" in path or b"\\" in path or not self.path.startswith(b"/"):
            self._refuse(400, b"Bad Request\n")
        else:
            super().process()

    def _refuse(self, status: int, body: bytes) -> None:
        self.setResponseCode(status)
        self.setHeader(b"Content-Type", b"text/plain; charset=utf-8")
        self.setHeader(b"Content-Length", b"%d" % len(body))
        self.write(body)
        self.finish()


class SiteChannel(http.HTTPChannel):
    """A channel for one request."""

    @override
    def checkPersistence(self, request: http.Request, version: bytes) -> bool:
        request.responseHeaders.setRawHeaders(b"Connection", [b"close"])
        return False


class FrontSite(Site):
    """The site behind the front; its channels are made by the front, it is never listened with.

    @ivar most_body: bytes of a body that may come with a request.
    """

    protocol = SiteChannel  # type: ignore[assignment]  # Twisted types it as its private proxy

    def __init__(
        self,
        root: IResource,
        clock: IReactorTime,
        access_log: AccessLog | None = None,
        most_body: Callable[[HttpRequest], int] = lambda request: MAX_BODY,
    ) -> None:
        super().__init__(
            root, SiteRequest, reactor=clock, timeout=IDLE_TIMEOUT, parsePOSTFormSubmission=False
        )
        self._access_log = access_log
        self.most_body = most_body

    @override
    def log(self, request: http.Request) -> None:
        if self._access_log is not None:
            path = request.path.decode("utf-8", "replace")
            method = request.method.decode("ascii", "replace")
            peer = getattr(request.getClientAddress(), "host", "") or "unix"
            self._access_log(peer, method, path, request.code, request.sentLength)


def _answer(request: Request, status: int, content_type: bytes, body: bytes) -> bytes:
    """Set what every answer has; gives what C{render} is to return."""
    request.setResponseCode(status)
    request.setHeader(b"Content-Type", content_type)
    request.setHeader(b"X-Content-Type-Options", b"nosniff")
    request.responseHeaders.removeHeader(b"Server")
    if request.method == b"HEAD":
        request.setHeader(b"Content-Length", b"%d" % len(body))
        return b""
    return body


class Leaf(Resource):
    """A resource without children that only answers GET and HEAD."""

    isLeaf = True

    def answer(self, request: Request) -> bytes:
        """Answer GET or HEAD."""
        raise NotImplementedError

    @override
    def render(self, request: Request) -> bytes:
        if request.method not in (b"GET", b"HEAD"):
            request.setHeader(b"Allow", b"GET, HEAD")
            return _answer(request, 405, b"text/plain; charset=utf-8", b"Method Not Allowed\n")
        return self.answer(request)


class NotFound(Leaf):
    """There is nothing here."""

    @override
    def answer(self, request: Request) -> bytes:
        request.setHeader(b"Cache-Control", b"no-store")
        return _answer(request, 404, b"text/plain; charset=utf-8", b"Not Found\n")


class Page(Leaf):
    """A file of the package, read once."""

    def __init__(self, name: str, player: bool = False, max_age: int = 0, frames: bool = False) -> None:
        """@param player: other sites may show it in a frame, and it plays media of other hosts.
        @param frames: it shows pages of this node in frames.
        """
        super().__init__()
        file = _PAGES / name
        self._body = file.read_bytes()
        self._type = _TYPES[file.suffix]
        self._etag = b'"%s"' % hashlib.sha256(self._body).hexdigest()[:32].encode()
        self._cache = b"public, max-age=%d" % max_age if max_age else b"no-cache"
        media = _ANY_HOST if player else b""
        self._policy = _POLICY % (
            media,
            media,
            b"'self'" if frames else b"'none'",
            b"*" if player else b"'none'",
        )

    @override
    def answer(self, request: Request) -> bytes:
        request.setHeader(b"Cache-Control", self._cache)
        request.setHeader(b"Content-Security-Policy", self._policy)
        request.setHeader(b"Referrer-Policy", b"no-referrer")
        if request.setETag(self._etag) is http.CACHED:
            return b""
        return _answer(request, 200, self._type, self._body)


class Root(Resource):
    """The whole site.

    C{/} the status page, C{/admin} that of operators, C{/NAME/embed.html} the player, C{/-/FILE} what they
    load (no stream's name begins with C{-}), C{/streamer/api/v3/…} the API, C{/monitoring/…} the probes.
    """

    def __init__(self, api: ApiResource) -> None:
        super().__init__()
        self._player = Page("embed.html", player=True)
        self._none = NotFound()
        self._status = Page("status.html")
        self._admin = Page("admin.html", frames=True)
        files = Resource()
        for name in ("status.js", "codecs.js", "players.js", "embed.js", "style.css", *_ADMIN):
            files.putChild(name.encode(), Page(name))
        for name in _LIBRARIES:
            files.putChild(name.encode(), Page(name, max_age=86400))
        self.putChild(b"-", _Folder(files))
        for word in (b"streamer", b"monitoring", b"metrics", b"flussonic"):
            self.putChild(word, api)

    @override
    def getChild(self, path: bytes, request: Request) -> IResource:
        parts = [path, *(request.postpath or [])]
        if parts == [b""]:
            return self._status
        if parts in ([b"admin"], [b"admin", b""]):
            request.postpath = []
            return self._admin
        # Stop the walk here: a stream's name may have several parts.
        request.postpath = []
        if parts[-1] == b"embed.html" and valid_stream_name(b"/".join(parts[:-1]).decode("latin-1")):
            return self._player
        return self._none


class _Folder(Resource):
    """Named children, and our own 404 for others."""

    def __init__(self, children: Resource) -> None:
        super().__init__()
        self.children = children.children

    @override
    def getChild(self, path: bytes, request: Request) -> IResource:
        return NotFound()

    @override
    def render(self, request: Request) -> bytes:
        return NotFound().render(request)


def make_site(
    endpoints: Sequence[Endpoint],
    authority: Authority,
    clock: IReactorTime,
    access_log: AccessLog | None = None,
    proxies: TrustedProxies | None = None,
) -> FrontSite:
    """The site of a node.

    @param endpoints: of the API. @param authority: says who may ask them.
    @param proxies: of whom it is believed for whom they ask.
    """
    document = openapi_endpoint(endpoints)
    api = ApiResource(Routes([*endpoints, document]), authority, proxies)
    return FrontSite(Root(api), clock, access_log, api.most_body)
