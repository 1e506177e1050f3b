"""Archives for the players of endless feeds: C{rtmp://HOST/NAME?from=UNIX}, C{rtsp://HOST/NAME?from=UNIX&to=UNIX}.

L{PastPlaying} is a play point: a request whose query names a time gets the past of its stream, every other
one the stream itself. A viewer of the past has a muxer of its own, and is sent frames as they are to be
shown, L{AHEAD} seconds ahead at most. The clock of C{rtmp} begins at 0 and goes on over gaps; that of others
is UTC.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Final

from attrs import evolve
from typing_extensions import override

from restreamer.dvr.beginning import beginning
from restreamer.dvr.forms import ArchiveAsk, ask_from_query, span_of
from restreamer.dvr.playback import MAX_DAMAGED, Found, Playback, PlaybackCounters
from restreamer.dvr.timeline import ArchiveHours
from restreamer.errors import Reason, Refused
from restreamer.live.playout import MuxerFactory
from restreamer.m4f.segment import Segment
from restreamer.media.selection import TrackSelection
from restreamer.media.timebase import TICKS_PER_SECOND
from restreamer.media.track import Tracks
from restreamer.seams import (
    Clock,
    FeedMuxer,
    FeedViewer,
    Gate,
    OpenRequest,
    PastStream,
    Playable,
    PlayPoint,
    ViewerTransport,
)
from restreamer.vod.paced import PacedBody, Piece

#: Seconds of media a player is ahead of real time.
AHEAD: Final = 1.0
#: A message is never cut: what is said aside comes between two of them.
_WHOLE: Final = 1 << 30
#: No time is earlier, ticks.
_NEVER: Final = 1 << 62


class PastPlaying(PlayPoint):
    """A L{PlayPoint}: the past where the query asks for it, else what C{live} grants.

    @param muxers: makes the muxer of a container. @param utc: UTC ticks now.
    @param crowded: whether the node is too short of memory for another viewer.
    """

    def __init__(
        self,
        live: PlayPoint,
        hours: ArchiveHours,
        gate: Gate,
        muxers: Mapping[str, MuxerFactory],
        clock: Clock,
        utc: Callable[[], int],
        crowded: Callable[[], bool] = lambda: False,
        counters: PlaybackCounters | None = None,
    ) -> None:
        self._live = live
        self._hours = hours
        self._gate = gate
        self._muxers = muxers
        self._clock = clock
        self._utc = utc
        self._crowded = crowded
        self._counters = counters or PlaybackCounters()

    @override
    async def play(self, request: OpenRequest) -> Playable:
        """See L{PlayPoint.play}.

        @raise Refused: besides, BAD_NAME: the times cannot be meant; NOT_FOUND: nothing of them is recorded;
            NOT_READY: who may have it is away.
        """
        ask = ask_from_query(request.name, request.query, self._utc() // TICKS_PER_SECOND)
        if ask is None:
            return await self._live.play(request)
        if self._crowded():
            raise Refused(Reason.OVERLOADED, "this node is short of memory: try another one, or later")
        await self._gate.open(evolve(request, span=span_of(ask, self._utc() // TICKS_PER_SECOND)))
        if not self._hours.archives.takes(ask.name):
            raise Refused(Reason.NOT_FOUND, "nothing of this stream is recorded")
        begin = await self._walk(ask).begin()
        return PastPlayable(
            ask.name, begin.tracks, lambda: self._walk(ask), self._muxers, self._clock, self._utc
        )

    def _walk(self, ask: ArchiveAsk) -> Playback:
        return Playback.of(ask, self._hours, self._clock, self._utc, self._counters)


class PastPlayable(PastStream):
    """A range of an archive that somebody was granted to play.

    @param tracks: with which it begins. @param walk: begins a walk through it. @param utc: UTC ticks now.
    """

    def __init__(
        self,
        name: str,
        tracks: Tracks,
        walk: Callable[[], Playback],
        muxers: Mapping[str, MuxerFactory],
        clock: Clock,
        utc: Callable[[], int],
    ) -> None:
        self._utc = utc
        self._name = name
        self._tracks = tracks
        self._walk = walk
        self._muxers = muxers
        self._clock = clock

    @property
    @override
    def extent(self) -> tuple[int, int | None]:
        """See L{PastStream.extent}."""
        walk = self._walk()
        return walk.start, None if walk.endless else walk.end

    @override
    def at(self, start: int, end: int | None = None) -> Playable:
        """See L{PastStream.at}."""
        whole = self._walk()
        if not whole.start <= start < whole.end or start > self._utc():
            raise Refused(Reason.BAD_NAME, "nothing of this range begins there")

        def walk() -> Playback:
            part = self._walk()
            part.start = start
            part.end = part.end if end is None else min(part.end, end)
            return part

        return PastPlayable(self._name, self._tracks, walk, self._muxers, self._clock, self._utc)

    @override
    def tracks(self, container: str, selection: TrackSelection | None = None) -> Tracks:
        """See L{Playable.tracks}."""
        return self._chosen(self._muxer(container), container, selection)

    @override
    def join(
        self,
        container: str,
        transport: ViewerTransport,
        ended: Callable[[str], None],
        selection: TrackSelection | None = None,
    ) -> FeedViewer:
        """See L{Playable.join}; it begins where the range does."""
        muxer = self._muxer(container)
        self._chosen(muxer, container, selection)
        messages = PastMessages(self._walk(), muxer, selection, joined=container.startswith("rtmp"))
        viewer = PastFeedViewer(messages, self._clock, transport, ended, AHEAD)
        # The caller is told of an end after it has its viewer.
        viewer.start_soon()
        return viewer

    def _muxer(self, container: str) -> FeedMuxer:
        factory = self._muxers.get(container)
        if factory is None:
            raise Refused(Reason.UNSUPPORTED, f"streams are not served as {container} here")
        return factory(self._name)

    def _chosen(self, muxer: FeedMuxer, container: str, selection: TrackSelection | None) -> Tracks:
        wanted = self._tracks if selection is None else selection.of(self._tracks)
        if not wanted:
            raise Refused(Reason.NOT_FOUND, "the stream has none of the chosen tracks")
        carried = tuple(track for track in wanted if muxer.carries(track))
        if not carried:
            codecs = ", ".join(sorted({track.codec for track in wanted}))
            raise Refused(Reason.UNSUPPORTED, f"{container} can carry none of the tracks ({codecs})")
        return carried


class PastMessages:
    """A walk through an archive as the messages of a container: L{restreamer.vod.paced.Pieces}.

    @param joined: its clock begins at 0 and goes on over gaps.
    @ivar began, position: when the frame is shown that was given first, and last; UTC ticks.
    """

    def __init__(
        self, playback: Playback, muxer: FeedMuxer, selection: TrackSelection | None, joined: bool
    ) -> None:
        self.began: int | None = None
        self.position: int | None = None
        self._playback = playback
        self._muxer = muxer
        self._selection = selection
        self._joined = joined
        self._tracks: Tracks | None = None
        self._zero = 0
        self._shift = 0
        self._end = 0
        self._pieces: Iterator[Piece] = iter(())

    async def next(self) -> Piece | None:
        """See L{restreamer.vod.paced.Pieces.next}. What is damaged is left out."""
        damaged = 0
        while True:
            for piece in self._pieces:
                return piece
            found = await self._playback.next()
            if found is None:
                return None
            try:
                segment = await self._playback.segment(found)
            except Refused as refused:
                damaged += 1
                if refused.reason is not Reason.NOT_FOUND or damaged > MAX_DAMAGED:
                    raise
                continue
            self._pieces = self._muxed(found, segment)

    def _muxed(self, found: Found, segment: Segment) -> Iterator[Piece]:
        """The frames of a segment, one by one."""
        wanted = segment.tracks if self._selection is None else self._selection.of(segment.tracks)
        tracks = tuple(track for track in wanted if self._muxer.carries(track))
        numbers = {track.track_id for track in tracks}
        first = self._tracks is None
        begin, start = -_NEVER, self._playback.start
        if first and segment.start < start:
            begin = beginning(tracks, list(segment.rows()), segment.start, start)
        all_frames = [frame for frame in segment.frames() if frame.track_id in numbers]
        frames = [frame for frame in all_frames if frame.dts >= begin]
        if not frames:
            return
        if first:
            self._zero = (
                min(frame.dts for frame in frames) if self._joined or begin > segment.start else segment.start
            )
        elif found.breaks and self._joined:
            self._shift = self._end - segment.start
        if first or found.breaks or tracks != self._tracks:
            self._muxer.configure(tracks, self._zero, found.breaks)
            self._tracks = tracks
        shift = self._shift
        self._end = segment.end + shift
        lasts = found.row.duration / TICKS_PER_SECOND / len(all_frames)
        prefix = self._muxer.join_prefix() if first else b""
        for frame in frames:
            muxed = self._muxer.mux(evolve(frame, dts=frame.dts + shift) if shift else frame)
            if muxed:
                self.position = frame.pts
                self.began = frame.pts if self.began is None else self.began
                yield Piece(prefix + muxed, lasts)
                prefix = b""


class PastFeedViewer(PacedBody):
    """One player of the past: a L{restreamer.seams.PastViewer}."""

    slice = _WHOLE

    def __init__(
        self,
        messages: PastMessages,
        clock: Clock,
        transport: ViewerTransport,
        ended: Callable[[str], None],
        ahead: float,
    ) -> None:
        super().__init__(messages, clock, transport, ended, ahead)
        self._messages = messages

    @property
    def began(self) -> int | None:
        """See L{restreamer.seams.PastViewer}."""
        return self._messages.began

    @property
    def position(self) -> int | None:
        """See L{restreamer.seams.PastViewer}."""
        return self._messages.position

    def start_soon(self) -> None:
        """Begin in the next turn."""
        self._timer = self._clock.callLater(0.0, self.start)

    def write_aside(self, data: bytes) -> None:
        """See L{FeedViewer.write_aside}."""
        self._transport.write(data)
