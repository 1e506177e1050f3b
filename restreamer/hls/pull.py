"""C{input hls://HOST/PATH.m3u8}: a stream pulled from playlists, of MPEG-TS or CMAF segments.

The best variant is pulled, with its audio renditions where they have playlists of their own. Segments come a
few seconds at once; their frames are given on as they would have come live.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from twisted.internet.interfaces import IDelayedCall, IReactorTime

from restreamer.errors import RemoteProtocolError
from restreamer.hls.pull_list import Fetch, PulledList
from restreamer.hls.pull_pace import LaneTracks, Pace
from restreamer.hls.pull_playlist import MAX_PLAYLIST, MasterPlaylist, MediaPlaylist, parse_playlist
from restreamer.hls.pull_reader import IDS, SegmentReader
from restreamer.http1.url import HttpUrl
from restreamer.live.input_counts import added
from restreamer.logs import Logger
from restreamer.media.frame import Frame
from restreamer.media.track import Tracks
from restreamer.seams import FrameSink, tell_counts
from restreamer.sources.http_get import Connect, GetLimits
from restreamer.sources.pull import PullTarget

_log = Logger()

#: Audio renditions that are pulled beside the pictures.
MAX_RENDITIONS: Final = 8
#: Bytes of frames that wait, of each playlist, before another segment is fetched.
MAX_WAITING: Final = 32 * 1024 * 1024
#: Seconds between two turns of giving frames on.
TURN: Final = 0.02
#: Without a frame for so many seconds, or so many target durations if that is longer, it is lost.
SILENCE: Final = 10.0
_TARGETS: Final = 3
#: Target durations after which it begins with what there is.
BEGIN_WITHIN: Final = 2


class HlsPull:
    """Pulls one stream (a L{restreamer.sources.pull.Pulling}); begins at once."""

    def __init__(
        self,
        target: PullTarget,
        sink: FrameSink,
        lost: Callable[[str], None],
        clock: IReactorTime,
        connect: Connect,
    ) -> None:
        self._shown = target.shown
        self._sink = sink
        self._lost = lost
        self._clock = clock
        self._connect = connect
        self._user_agent = target.options.get("user_agent", "")
        self._lists: list[PulledList] = []
        self._pace = Pace(1)
        self._tables: list[Tracks | None] = []
        self._announced: Tracks = ()
        self._left = 0
        self._over = False
        self._turn: IDelayedCall | None = None
        self._heard = self._began = clock.seconds()
        self._hold_until = 0.0
        tell_counts(sink, lambda: added(*(each.counted for each in self._lists)))
        login = f"{target.user}:{target.password}" if target.user else ""
        path = f"{target.path or '/'}{'?' if target.query else ''}{target.query}"
        url = HttpUrl(host=target.host, port=target.port, tls=target.tls, target=path, login=login)
        limits = GetLimits(whole=10.0, size=MAX_PLAYLIST)
        self._first: Fetch | None = Fetch(
            url, None, limits, clock, connect, self._user_agent, self._got_first
        )
        self._first.start()

    def stop(self) -> None:
        """End it; nothing is reported after."""
        if not self._over:
            self._close("stopped")

    # Beginning.

    def _got_first(self, data: bytes | None, url: HttpUrl, why: str) -> None:
        self._first = None
        try:
            if data is None:
                raise RemoteProtocolError("playlist", why)
            playlist = parse_playlist(data)
            if isinstance(playlist, MediaPlaylist):
                self._begin([(url, "")], playlist)
            else:
                self._begin(_chosen(playlist, url), None)
        except RemoteProtocolError as error:
            self._end(error.what)
        except Exception:
            _log.failure("{url}: a playlist could not be taken", url=self._shown)
            self._end("internal error")

    def _begin(self, places: list[tuple[HttpUrl, str]], first: MediaPlaylist | None) -> None:
        self._left = len(places)
        self._pace = Pace(len(places))
        self._tables = [None] * len(places)
        for lane, (url, language) in enumerate(places):
            self._lists.append(self._list(lane, url, language))
        self._heard = self._began = self._clock.seconds()
        self._turn = self._clock.callLater(TURN, self._give)
        for each in tuple(self._lists):
            each.begin(first, places[0][0] if first is not None else None)

    def _list(self, lane: int, url: HttpUrl, language: str) -> PulledList:
        def room(target: float) -> bool:
            return self._pace.buffered(lane) < max(2.0, 2 * target) and self._pace.size(lane) < MAX_WAITING

        def frames(frames: list[Frame], tracks: Tracks | None) -> None:
            if self._tables[lane] is None and tracks is not None:
                self._tables[lane] = tracks
            self._pace.add(lane, frames, tracks)

        def ended(reason: str) -> None:
            if reason:
                self._end(reason)
            else:
                self._pace.end(lane)
                self._left -= 1

        reader = SegmentReader(1 + lane * IDS, language)
        return PulledList(url, reader, self._clock, self._connect, self._user_agent, room, frames, ended)

    # Giving on.

    def _give(self) -> None:
        self._turn = None
        now = self._clock.seconds()
        try:
            if now >= self._hold_until:
                self._hold_until = now + self._pass_on(now)
        except Exception:
            _log.failure("{url}: frames could not be given on", url=self._shown)
            self._end("internal error")
            return
        if not self._left and self._pace.empty:
            self._end("the playlist ended")
            return
        patience = max(SILENCE, _TARGETS * max((each.target for each in self._lists), default=0.0))
        if now - self._heard > patience:
            self._end(f"nothing new for {patience:g} s")
            return
        if not self._over:
            self._turn = self._clock.callLater(TURN, self._give)

    def _pass_on(self, now: float) -> float:
        """Give on what is due; gives the seconds to wait."""
        batch: list[Frame] = []
        wait = 0.0
        target = max(each.target for each in self._lists)
        if not self._pace.may_begin(target):
            if now - self._began < BEGIN_WITHIN * target or self._pace.empty:
                return 0.0
            self._pace.begin()
        due = self._pace.due(now)
        if due:
            self._heard = now
        for each in due:
            if isinstance(each, LaneTracks):
                self._tables[each.lane] = each.tracks
                if batch:
                    wait = max(wait, self._sink.push(batch))
                    batch = []
                self._announce()
            else:
                batch.append(each)
        if batch:
            wait = max(wait, self._sink.push(batch))
        return wait

    def _announce(self) -> None:
        tracks = sorted(
            (track for table in self._tables if table is not None for track in table),
            key=lambda track: (track.kind, track.track_id),
        )
        if tuple(tracks) != self._announced:
            self._announced = tuple(tracks)
            self._sink.configure(self._announced)

    # Ending.

    def _end(self, reason: str) -> None:
        if not self._over:
            self._close(reason)
            self._lost(reason)

    def _close(self, reason: str) -> None:
        self._over = True
        if self._first is not None:
            self._first.stop()
            self._first = None
        for each in self._lists:
            each.stop()
        gaps = sum(each.gaps for each in self._lists)
        if gaps:
            _log.info("{url}: {gaps} segments were left out", url=self._shown, gaps=gaps)
        if self._turn is not None:
            self._turn.cancel()
            self._turn = None
        self._sink.end(reason)


def _chosen(playlist: MasterPlaylist, url: HttpUrl) -> list[tuple[HttpUrl, str]]:
    """The playlists to pull, with their languages: the best variant, then its audio renditions.

    @raise RemoteProtocolError: a URI cannot be followed.
    """
    best = playlist.variants[0]
    places = [(url.join(best.uri), "")]
    # The same pictures may be offered with several groups, one for each audio codec.
    groups = {each.audio for each in playlist.variants if each.uri == best.uri and each.audio}
    renditions = [each for each in playlist.renditions if each.group in groups]
    for each in renditions[:MAX_RENDITIONS]:
        place = url.join(each.uri)
        if all(place != other for other, _ in places):
            places.append((place, each.language))
    return places
