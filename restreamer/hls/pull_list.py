"""One playlist that is followed: reloaded in time, its segments fetched one after the other."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from typing import Final

from twisted.internet.interfaces import IDelayedCall, IReactorTime

from restreamer.errors import RemoteProtocolError
from restreamer.hls.pull_playlist import MAX_PLAYLIST, MediaPlaylist, Piece, PulledSegment, parse_playlist
from restreamer.hls.pull_reader import SegmentReader
from restreamer.http1.response import ResponseHead
from restreamer.http1.url import HttpUrl
from restreamer.media.frame import Frame
from restreamer.media.track import Tracks
from restreamer.sources.http_get import Connect, GetLimits, HttpGet

#: Bytes a segment, and an init section, may have.
MAX_SEGMENT: Final = 100 * 1024 * 1024
MAX_INIT: Final = 1024 * 1024
#: Target durations from the end of a live playlist at which it is begun, and segments at least. (RFC 8216
#: section 6.3.3 has three, which players need, who cannot wait for what is late.)
TARGETS_FROM_THE_END: Final = 2
SEGMENTS_FROM_THE_END: Final = 3
#: Segments of a live playlist that wait, and seconds between two loads of it at least.
MAX_WAITING: Final = 100
LEAST_PAUSE: Final = 0.5
#: Fetches that may fail in a row.
MAX_FAILURES: Final = 3
#: Seconds between two looks at whether there is room for another segment.
_LOOK: Final = 0.25
_PLAYLIST_LIMITS: Final = GetLimits(whole=10.0, size=MAX_PLAYLIST)
_RETRY: Final = 1.0

#: Told what came of a fetch: the bytes and where they came from, or None and why.
Fetched = Callable[[bytes | None, HttpUrl, str], None]


class Fetch:
    """One resource, fetched whole."""

    def __init__(
        self,
        url: HttpUrl,
        piece: Piece | None,
        limits: GetLimits,
        clock: IReactorTime,
        connect: Connect,
        user_agent: str,
        fetched: Fetched,
    ) -> None:
        self._url = url
        self._fetched = fetched
        self._parts: list[bytes] = []
        self._part = (piece.begin, piece.size) if piece is not None else (0, 0)
        self._whole = True
        self._get = HttpGet(url, self, clock, connect, limits, user_agent, self._part)

    def start(self) -> None:
        """Begin."""
        self._get.start()

    def stop(self) -> None:
        """End it; nothing is told."""
        self._get.stop()

    def answered(self, head: ResponseHead, url: HttpUrl) -> None:
        """The answer begins."""
        self._url = url
        self._whole = head.status == 200

    def data(self, data: bytes) -> float:
        """Bytes came."""
        self._parts.append(data)
        return 0.0

    def ended(self, reason: str) -> None:
        """All came, or not."""
        data = b"".join(self._parts)
        begin, size = self._part
        if size and self._whole:
            # The server knows no ranges.
            data = data[begin : begin + size]
        self._fetched(None if reason else data, self._url, reason)


class PulledList:
    """Follows one media playlist.

    @ivar target: its target duration, seconds. @ivar gaps: segments that were left out.
    """

    def __init__(
        self,
        url: HttpUrl,
        reader: SegmentReader,
        clock: IReactorTime,
        connect: Connect,
        user_agent: str,
        room: Callable[[float], bool],
        frames: Callable[[list[Frame], Tracks | None], None],
        ended: Callable[[str], None],
    ) -> None:
        """@param room: C{room(target)}: whether another segment is wanted now.
        @param frames: told of each segment's frames, with the tracks when they are new.
        @param ended: told once: empty, when all of a playlist that ends was read, else what went wrong.
        """
        self._url = url
        self._reader = reader
        self._clock = clock
        self._connect = connect
        self._user_agent = user_agent
        self._room = room
        self._frames = frames
        self._ended = ended
        self._base = url
        self._waiting: deque[PulledSegment] = deque()
        self._next: int | None = None
        self._init: tuple[Piece, bytes] | None = None
        self._tracks: Tracks = ()
        self._last = False
        self._over = False
        self._lists_failed = 0
        self._segments_failed = 0
        self._broken = False
        self._fetching: Fetch | None = None
        self._loading: Fetch | None = None
        self._reload: IDelayedCall | None = None
        self._look: IDelayedCall | None = None
        self.target = 10.0
        self.gaps = 0

    @property
    def counted(self) -> Mapping[str, int]:
        """What was lost and wrong so far, as the API calls it."""
        return {"errors_lost_segments": self.gaps, **self._reader.counted}

    def begin(self, playlist: MediaPlaylist | None = None, url: HttpUrl | None = None) -> None:
        """Begin, with the playlist if it is already there; C{url}: where it came from."""
        if playlist is None:
            self._load()
        else:
            self._base = url or self._url
            self._take(playlist)

    def stop(self) -> None:
        """End it; nothing is told after. Idempotent."""
        self._over = True
        for fetch in (self._fetching, self._loading):
            if fetch is not None:
                fetch.stop()
        self._fetching = self._loading = None
        for call in (self._reload, self._look):
            if call is not None:
                call.cancel()
        self._reload = self._look = None

    # The playlist.

    def _load(self) -> None:
        self._reload = None
        self._loading = self._fetch(self._url, None, _PLAYLIST_LIMITS, self._loaded)
        self._loading.start()

    def _loaded(self, data: bytes | None, url: HttpUrl, why: str) -> None:
        self._loading = None
        try:
            if data is None:
                raise RemoteProtocolError("playlist", why)
            playlist = parse_playlist(data)
            if not isinstance(playlist, MediaPlaylist):
                raise RemoteProtocolError("playlist", "a master playlist within another")
        except RemoteProtocolError as error:
            self._lists_failed += 1
            if self._lists_failed >= MAX_FAILURES or self._next is None:
                self._end(error.what)
            else:
                self._reload = self._clock.callLater(_RETRY, self._load)
            return
        self._lists_failed = 0
        self._base = url
        self._take(playlist)

    def _take(self, playlist: MediaPlaylist) -> None:
        """Take what is new of the playlist."""
        self.target = playlist.target
        segments = playlist.segments
        self._last = playlist.ended
        if segments and self._next is not None and segments[-1].number < self._next - 1:
            # It was begun anew, with lower numbers.
            self._next = None
            self._broken = True
        if self._next is None:
            fresh = segments if playlist.ended else _newest(playlist)
        else:
            fresh = tuple(segment for segment in segments if segment.number >= self._next)
            if fresh and fresh[0].number > self._next:
                self.gaps += fresh[0].number - self._next
                self._broken = True
        if fresh:
            self._next = fresh[-1].number + 1
            self._waiting.extend(fresh)
        if not self._last:
            self._drop_old()
            pause = playlist.target if fresh else playlist.target / 2
            self._reload = self._clock.callLater(max(LEAST_PAUSE, pause), self._load)
        self._go_on()

    def _drop_old(self) -> None:
        """Of a live playlist only the newest segments wait: one that grows faster than time would fill the
        memory, and who fell far behind goes on near the end.
        """
        while len(self._waiting) > MAX_WAITING:
            self._waiting.popleft()
            self.gaps += 1
            self._broken = True

    # Its segments.

    def _go_on(self) -> None:
        """Fetch the next segment, when there is one and room for it."""
        if self._over or self._fetching is not None or self._look is not None:
            return
        while self._waiting and self._waiting[0].gap:
            self._waiting.popleft()
            self.gaps += 1
            self._broken = True
        if not self._waiting:
            if self._last:
                self._end("")
        elif not self._room(self.target):
            self._look = self._clock.callLater(_LOOK, self._looked)
        else:
            self._fetch_segment(self._waiting.popleft())

    def _looked(self) -> None:
        self._look = None
        self._go_on()

    def _fetch_segment(self, segment: PulledSegment) -> None:
        init = segment.init
        if init is not None and (self._init is None or self._init[0] != init):

            def got_init(data: bytes | None, url: HttpUrl, why: str) -> None:
                if data is None:
                    self._fetching = None
                    self._failed(why)
                else:
                    self._init = (init, data)
                    self._fetch_body(segment, data)

            self._start(init, MAX_INIT, got_init)
        else:
            self._fetch_body(segment, self._init[1] if init is not None and self._init is not None else b"")

    def _fetch_body(self, segment: PulledSegment, init: bytes) -> None:
        def got(data: bytes | None, url: HttpUrl, why: str) -> None:
            self._fetching = None
            if data is None:
                self._failed(why)
            else:
                self._got_segment(segment, init, data)

        self._start(segment.piece, MAX_SEGMENT, got)

    def _got_segment(self, segment: PulledSegment, init: bytes, data: bytes) -> None:
        try:
            frames = self._reader.segment(init, data, segment.discontinuity or self._broken)
        except RemoteProtocolError as error:
            self._failed(error.what)
            return
        self._broken = False
        self._segments_failed = 0
        tracks = None
        if self._reader.tracks != self._tracks:
            tracks = self._tracks = self._reader.tracks
        if frames:
            self._frames(frames, tracks)
        self._go_on()

    def _failed(self, why: str) -> None:
        """A segment is left out."""
        self.gaps += 1
        self._broken = True
        self._segments_failed += 1
        if self._segments_failed >= MAX_FAILURES:
            self._end(f"segments cannot be had: {why}")
        else:
            self._go_on()

    def _start(self, piece: Piece, size: int, fetched: Fetched) -> None:
        try:
            url = self._base.join(piece.uri)
        except RemoteProtocolError as error:
            self._fetching = None
            self._failed(error.what)
            return
        limits = GetLimits(whole=max(10.0, 3 * self.target), size=size)
        self._fetching = self._fetch(url, piece, limits, fetched)
        self._fetching.start()

    def _fetch(self, url: HttpUrl, piece: Piece | None, limits: GetLimits, fetched: Fetched) -> Fetch:
        return Fetch(url, piece, limits, self._clock, self._connect, self._user_agent, fetched)

    def _end(self, reason: str) -> None:
        if not self._over:
            self.stop()
            self._ended(reason)


def _newest(playlist: MediaPlaylist) -> tuple[PulledSegment, ...]:
    """What is played of a live playlist that is just begun."""
    begin = len(playlist.segments)
    left = TARGETS_FROM_THE_END * playlist.target
    while begin and (left > 0 or len(playlist.segments) - begin < SEGMENTS_FROM_THE_END):
        begin -= 1
        left -= playlist.segments[begin].duration
    return playlist.segments[begin:]
