"""What the answers about streams and about files have in common: names of playlists, heads, refusals."""

from __future__ import annotations

from typing import Final
from urllib.parse import quote

from restreamer.http1.reply import FullReply

#: File names of playlists: whether they are the media playlist, the master, or whichever suits.
PLAYLISTS: Final[dict[str, str]] = {
    "index.m3u8": "suitable",
    "playlist.m3u8": "suitable",
    "video.m3u8": "media",
    "master.m3u8": "master",
}

CORS: Final = b"Access-Control-Allow-Origin: *\r\nX-Content-Type-Options: nosniff\r\n"
_EXPOSED: Final = b"Access-Control-Expose-Headers: Content-Length, Content-Range\r\n"
PLAYLIST_TYPE: Final = b"Content-Type: application/vnd.apple.mpegurl\r\n"
SEGMENT_HEADERS: Final = (
    b"Content-Type: video/mp2t\r\nCache-Control: public, max-age=86400, immutable\r\n" + CORS + _EXPOSED
)
PREFLIGHT: Final = FullReply(
    status=204,
    headers=b"Access-Control-Allow-Origin: *\r\n"
    b"Access-Control-Allow-Methods: GET, HEAD, OPTIONS\r\n"
    b"Access-Control-Allow-Headers: Range, If-None-Match, If-Range\r\n"
    b"Access-Control-Max-Age: 86400\r\n"
    b"Allow: GET, HEAD, OPTIONS\r\n",
)
WRONG_METHOD: Final = FullReply(
    status=405,
    headers=b"Content-Type: text/plain; charset=utf-8\r\nAllow: GET, HEAD, OPTIONS\r\n" + CORS,
    body=b"Method Not Allowed\n",
)
NO_SEGMENT: Final = FullReply(
    status=404,
    headers=b"Content-Type: text/plain; charset=utf-8\r\nCache-Control: max-age=1\r\n" + CORS,
    body=b"No such segment\n",
)


def with_token(playlist: bytes, token: str) -> bytes:
    """C{playlist} with the viewer's token on each of its URIs: players do not hand queries down."""
    query = b"?token=" + quote(token, safe="").encode("ascii") + b"\n"
    return playlist.replace(b".ts\n", b".ts" + query).replace(b".m3u8\n", b".m3u8" + query)
