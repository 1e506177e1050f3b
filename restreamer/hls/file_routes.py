"""HLS of media files: playlists that end, and segments whose names mean the same bytes for ever."""

from __future__ import annotations

import re
import zlib
from collections.abc import Awaitable, Callable
from typing import Final

from attrs import define, field

from restreamer.hls.answers import (
    CORS,
    KINDS,
    NO_SEGMENT,
    PLAYLIST_TYPE,
    PLAYLISTS,
    PREFLIGHT,
    SEGMENT_HEADERS,
    WRONG_METHOD,
    cmaf_headers,
    with_token,
)
from restreamer.hls.file_cmaf import (
    FILE_TRACK_PLAYLIST,
    file_cmaf_master,
    file_cmaf_playlist,
    parse_file_cmaf_path,
    parse_file_cmaf_segment,
)
from restreamer.hls.file_playlist import (
    FILE_SEGMENT_PATTERN,
    file_master_playlist,
    file_playlist,
    parse_file_segment_uri,
)
from restreamer.hls.master import needs_master, suits_cmaf
from restreamer.http1.play_request import play_request, shown_token
from restreamer.http1.reply import FullReply, HttpRequest, Reply, Route
from restreamer.live.cmaf import carried_track, init_of
from restreamer.m4f.file_index import FileIndex
from restreamer.seams import Gate, OpenRequest
from restreamer.vod.keep import Kept, SingleFlight
from restreamer.vod.packaged import PackagedFiles
from restreamer.vod.seams import InThread

#: The path of a segment of MPEG-TS: name of the file, file.
SEGMENT_PATH: Final = re.compile(f"/(.+)/({FILE_SEGMENT_PATTERN})")
#: A file may be replaced, and then has other segments.
_PLAYLIST_HEADERS: Final = PLAYLIST_TYPE + b"Cache-Control: max-age=5\r\n" + CORS
_PRIVATE_HEADERS: Final = PLAYLIST_TYPE + b"Cache-Control: private, max-age=5\r\n" + CORS
#: Bytes of rendered playlists kept, and how many.
_KEPT_BYTES: Final = 16 * 1024 * 1024
_KEPT_LISTS: Final = 1000
#: Segments above which a playlist is written in a thread.
_LONG: Final = 1000


@define(eq=False)
class FileRoutes:
    """Answers C{/LOCATION/PATH/index.m3u8} and the like, and segments.

    @param is_stream: whether a name is a stream's now: a stream goes before a file.
    """

    _files: PackagedFiles
    _gate: Gate
    _in_thread: InThread
    _is_stream: Callable[[str], bool]
    _kept: Kept[tuple[str, int, str], FullReply] = field(
        factory=lambda: Kept(_KEPT_BYTES, _KEPT_LISTS, lambda reply: len(reply.body)), init=False
    )
    _writing: SingleFlight[tuple[str, int, str], FullReply] = field(factory=SingleFlight, init=False)

    def route(self, request: HttpRequest) -> Reply | Awaitable[Reply] | None:
        """A L{Route}."""
        path = request.path
        track = ""
        of_track = parse_file_cmaf_path(path) if "/tracks-" in path else None
        if of_track is not None:
            name, track, file = of_track
        elif path.endswith(".m3u8"):
            name, _, file = path[1:].rpartition("/")
            if file not in PLAYLISTS:
                return None
        elif path.endswith(".ts"):
            match = SEGMENT_PATH.fullmatch(path)
            if match is None:
                return None
            name, file = match.groups()
        else:
            return None
        if not self._files.takes(name) or self._is_stream(name):
            return None
        if request.method not in ("GET", "HEAD"):
            return PREFLIGHT if request.method == "OPTIONS" else WRONG_METHOD
        if file == FILE_TRACK_PLAYLIST:
            return self._playlist(play_request(name, "hls", request), track)
        kind = PLAYLISTS.get(file)
        wanted = play_request(name, "hls", request, part=kind is None)
        if track:
            return self._cmaf(wanted, track, file)
        return self._segment(wanted, file) if kind is None else self._playlist(wanted, kind)

    async def _cmaf(self, wanted: OpenRequest, track: str, file: str) -> Reply:
        """The init segment of a track, or a segment of it."""
        await self._gate.open(wanted)
        headers = cmaf_headers(track)
        asked = parse_file_cmaf_segment(file)
        if asked is None:
            index = await self._files.index(wanted.name)
            carried = carried_track(index.tracks, track)
            if carried is None or init_of(carried)[0] != file:
                return NO_SEGMENT
            return FullReply(status=200, headers=headers, body=init_of(carried)[1], etag=f'"{file}"')
        version, number = asked
        packaged = await self._files.cmaf(wanted.name, version, number, track)
        if not packaged.body:
            return NO_SEGMENT
        etag = f'"{number:x}-{packaged.checksum:08x}-{track}"'
        return FullReply(status=200, headers=headers, body=packaged.body, etag=etag)

    async def _segment(self, wanted: OpenRequest, uri: str) -> Reply:
        await self._gate.open(wanted)
        asked = parse_file_segment_uri(uri)
        if asked is None:
            return NO_SEGMENT
        version, number = asked
        packaged = await self._files.ts(wanted.name, version, number)
        etag = f'"{number:x}-{packaged.checksum:08x}"'
        return FullReply(status=200, headers=SEGMENT_HEADERS, body=packaged.body, etag=etag)

    async def _playlist(self, wanted: OpenRequest, kind: str) -> Reply:
        await self._gate.open(wanted)
        index = await self._files.index(wanted.name)
        if not (kind == "cmaf" or kind not in KINDS or (kind == "suitable" and suits_cmaf(index.tracks))):
            index = await self._files.ts_index(wanted.name)
        key = (wanted.name, index.version, kind)
        reply = self._kept.get(key)
        if reply is None:
            if len(index) > _LONG:
                reply = await self._writing.run(key, lambda: self._written(key, index))
            else:
                reply = self._keep(key, _body(index, kind))
        token = shown_token(wanted)
        if token:
            body = with_token(reply.body, token)
            return FullReply(status=200, headers=_PRIVATE_HEADERS, body=body)
        return reply

    async def _written(self, key: tuple[str, int, str], index: FileIndex) -> FullReply:
        """A long playlist: once, however many ask for it meanwhile."""
        body: bytes = await self._in_thread(_body, index, key[2])
        return self._keep(key, body)

    def _keep(self, key: tuple[str, int, str], body: bytes) -> FullReply:
        etag = f'"{zlib.crc32(body):08x}-{len(body):x}"'
        reply = FullReply(status=200, headers=_PLAYLIST_HEADERS, body=body, etag=etag)
        self._kept.put(key, reply)
        return reply


def _body(index: FileIndex, kind: str) -> bytes:
    """@param kind: one of L{KINDS}, or a track of CMAF."""
    if kind not in KINDS:
        return file_cmaf_playlist(index, kind).encode("ascii")
    if kind == "cmaf" or (kind == "suitable" and suits_cmaf(index.tracks)):
        return file_cmaf_master(index).encode("ascii")
    if kind == "media" or (kind != "master" and not needs_master(index.tracks)):
        return file_playlist(index).encode("ascii")
    return file_master_playlist("video.m3u8", index).encode("ascii")


def file_hls_routes(
    files: PackagedFiles, gate: Gate, in_thread: InThread, is_stream: Callable[[str], bool]
) -> Route:
    """The route of HLS of files; it stands before that of live streams."""
    return FileRoutes(files, gate, in_thread, is_stream).route
