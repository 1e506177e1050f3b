"""What the answers about streams and about files have in common: names of playlists, heads, refusals."""

from __future__ import annotations

from typing import Final
from urllib.parse import quote

from restreamer.http1.reply import FullReply

#: File names of playlists of files: whether they are the media playlist of MPEG-TS, a master, that of CMAF,
#: or whichever suits.
PLAYLISTS: Final[dict[str, str]] = {
    "index.m3u8": "suitable",
    "playlist.m3u8": "suitable",
    "video.m3u8": "media",
    "mono.m3u8": "media",
    "master.m3u8": "master",
    "index.ts.m3u8": "ts",
    "index.fmp4.m3u8": "cmaf",
}
#: What L{PLAYLISTS} says.
KINDS: Final = frozenset(PLAYLISTS.values())

CORS: Final = b"Access-Control-Allow-Origin: *\r\nX-Content-Type-Options: nosniff\r\n"
EXPOSED: Final = b"Access-Control-Expose-Headers: Content-Length, Content-Range\r\n"
PLAYLIST_TYPE: Final = b"Content-Type: application/vnd.apple.mpegurl\r\n"
SEGMENT_HEADERS: Final = (
    b"Content-Type: video/mp2t\r\nCache-Control: public, max-age=86400, immutable\r\n" + CORS + EXPOSED
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


def cmaf_headers(track: str, cached: bytes = b"public, max-age=86400, immutable") -> bytes:
    """The head of a CMAF file of track C{v1}, C{a1}…; C{cached}: for how long it may be kept."""
    kind = b"video" if track.startswith("v") else b"audio"
    return b"Content-Type: %s/mp4\r\nCache-Control: %s\r\n%s%s" % (kind, cached, CORS, EXPOSED)


def with_token(playlist: bytes, token: str) -> bytes:
    """C{playlist} with the viewer's token on each of its URIs: players do not hand queries down."""
    query = b"?token=" + quote(token, safe="").encode("ascii")
    for ending in (b".ts", b".m3u8", b".m4s"):
        playlist = playlist.replace(ending + b"\n", ending + query + b"\n")
    for ending in (b".m3u8", b".m4s", b".mp4"):
        playlist = playlist.replace(ending + b'"', ending + query + b'"')
    return playlist
