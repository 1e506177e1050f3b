"""The viewers of one stream that take endless bytes: its feeds, made when wanted.

There is one feed per container and choice of tracks, so viewers who chose alike share what is muxed.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from restreamer.errors import Reason, Refused
from restreamer.live.feed import Feed, FeedCounters, FeedLimits
from restreamer.live.history import history
from restreamer.live.stream import Stream
from restreamer.live.viewer import Viewer
from restreamer.logs import Logger
from restreamer.media.selection import TrackSelection
from restreamer.media.timebase import TICKS_PER_SECOND
from restreamer.media.track import Tracks
from restreamer.seams import Clock, FeedMuxer, ViewerTransport

#: Makes the muxer of a container for a stream of that title.
MuxerFactory = Callable[[str], FeedMuxer]

#: Viewers begin at most so far in the past, seconds.
MAX_PREPUSH = 60.0
#: Feeds of one stream and container that are there because of what viewers ask for: of chosen tracks, and of
#: what a player says that it reads (C{rtmp+hvc1}). Each costs as much as a feed of everything.
MAX_CHOICES = 32
#: Tracks left out that are remembered as told of.
_MAX_TOLD = 256
#: A server that a stream is pushed to numbers the message stream as it likes: that is not another container.
_MESSAGE_STREAM = re.compile(r"@\d+")

_log = Logger()


def feed_name(container: str, selection: TrackSelection | None) -> str:
    """What a feed is called: C{mpegts}, C{mpegts v1a2}."""
    return container if selection is None else f"{container} {selection}"


def _family(container: str) -> str:
    """C{rtmp} of C{rtmp+hvc1@3}."""
    return container.partition("+")[0].partition("@")[0]


class Playout:
    """Joins viewers to the feeds of a stream; a L{restreamer.seams.Playable}.

    @ivar stream: the stream. @ivar counters: per container, kept when a feed is gone.
    @ivar prepush: seconds in the past where viewers begin, as far as the window reaches, at most
        L{MAX_PREPUSH}; 0.0: at the newest keyframe. Holds for feeds opened from then on.
    """

    def __init__(
        self, stream: Stream, clock: Clock, muxers: Mapping[str, MuxerFactory], limits: FeedLimits
    ) -> None:
        self.stream = stream
        self.counters: dict[str, FeedCounters] = {}
        self.prepush = 0.0
        self._clock = clock
        self._muxers = muxers
        self._limits = limits
        self._feeds: dict[str, Feed] = {}
        self._choices: set[str] = set()
        self._told: set[tuple[str, int, str]] = set()

    def tracks(self, container: str, selection: TrackSelection | None = None) -> Tracks:
        """What a viewer that joins now would be sent; empty when the stream has no tracks yet.

        @raise Refused: UNSUPPORTED when no such container is served, or it can carry none of the tracks;
            NOT_FOUND when the stream has none of the chosen ones; OVERLOADED as L{join}.
        """
        there = self._there(selection)
        feed = self._feeds.get(feed_name(container, there))
        muxer = feed.muxer if feed is not None else self._muxer(container)
        tracks = self._chosen(container, muxer, selection)
        if feed is None:
            self._check_choice(container, muxer, there)
        return tracks

    def join(
        self,
        container: str,
        transport: ViewerTransport,
        ended: Callable[[str], None],
        selection: TrackSelection | None = None,
    ) -> Viewer:
        """Put a viewer on the feed of C{container} at the newest keyframe.

        When the stream has ended meanwhile, C{ended} is called at once.
        @param selection: the tracks the viewer wants; None: all that the container can carry.
        @raise Refused: as L{tracks}, and OVERLOADED beyond L{MAX_CHOICES}.
        """
        there = self._there(selection)
        name = feed_name(container, there)
        feed = self._feeds.get(name)
        if feed is None:
            muxer = self._muxer(container)
            self._chosen(container, muxer, selection)
            feed = self._open(name, container, muxer, there)
        try:
            return feed.join(transport, ended)
        finally:
            if not len(feed) and self._feeds.get(name) is feed:
                self._emptied(name)

    @property
    def viewers(self) -> int:
        """Viewers of all feeds now."""
        return sum(len(feed) for feed in self._feeds.values())

    @property
    def bytes_out(self) -> int:
        """Bytes sent to viewers of all feeds so far."""
        gone = sum(counters.bytes_out for counters in self.counters.values())
        return gone + sum(feed.bytes_here for feed in self._feeds.values())

    def feeds(self) -> Mapping[str, Feed]:
        """The feeds that have viewers now, by what L{feed_name} calls them."""
        return self._feeds

    def feeds_of(self, container: str) -> list[Feed]:
        """Those of one container, one for each choice of tracks that is watched."""
        counters = self.counters.get(_MESSAGE_STREAM.sub("", container))
        return [feed for feed in self._feeds.values() if feed.counters is counters]

    def _there(self, selection: TrackSelection | None) -> TrackSelection | None:
        """The choice without what the stream has not: those that come to the same share one feed."""
        tracks = self.stream.tracks
        return selection.within([tracks]) if selection is not None and tracks else selection

    def _is_choice(self, container: str, muxer: FeedMuxer, selection: TrackSelection | None) -> bool:
        """Whether a feed is there because of what a viewer asks for."""
        return muxer.by_viewers and (selection is not None or container not in set(self._muxers))

    def _check_choice(self, container: str, muxer: FeedMuxer, selection: TrackSelection | None) -> None:
        if not self._is_choice(container, muxer, selection):
            return
        family = _family(container)
        if sum(_family(name.partition(" ")[0]) == family for name in self._choices) >= MAX_CHOICES:
            raise Refused(Reason.OVERLOADED, "too many different choices of tracks and codecs are watched")

    def _muxer(self, container: str) -> FeedMuxer:
        factory = self._muxers.get(container)
        if factory is None:
            raise Refused(Reason.UNSUPPORTED, f"streams are not served as {container} here")
        return factory(self.stream.title or self.stream.name)

    def _chosen(self, container: str, muxer: FeedMuxer, selection: TrackSelection | None) -> Tracks:
        tracks = self.stream.tracks
        wanted = tracks if selection is None else selection.of(tracks)
        if tracks and not wanted:
            raise Refused(Reason.NOT_FOUND, "the stream has none of the chosen tracks")
        carried = tuple(track for track in wanted if muxer.carries(track))
        if wanted and not carried:
            codecs = ", ".join(sorted({track.codec for track in wanted}))
            raise Refused(Reason.UNSUPPORTED, f"{container} can carry none of the tracks ({codecs})")
        return carried

    def _open(self, name: str, container: str, muxer: FeedMuxer, selection: TrackSelection | None) -> Feed:
        stream = self.stream
        choice = self._is_choice(container, muxer, selection)
        self._check_choice(container, muxer, selection)

        def choose(tracks: Tracks) -> Tracks:
            wanted = tracks if selection is None else selection.of(tracks)
            carried = tuple(track for track in wanted if muxer.carries(track))
            if len(carried) < len(wanted):
                self._leave_out(container, wanted, carried)
            return carried

        counters = self.counters.setdefault(_MESSAGE_STREAM.sub("", container), FeedCounters())
        prepush = min(self.prepush, MAX_PREPUSH)
        feed = Feed(
            muxer,
            self._clock,
            self._limits.reaching_back(prepush),
            counters,
            lambda: self._emptied(name),
            stream.faulted,
            choose,
        )
        if stream.ended:
            feed.close()
            return feed
        if stream.run is not None:
            tracks, frames = history(stream, int(prepush * TICKS_PER_SECOND))
            feed.begin(stream.run, tracks, frames)
        self._feeds[name] = feed
        if choice:
            self._choices.add(name)
        stream.attach(feed)
        return feed

    def _emptied(self, name: str) -> None:
        feed = self._feeds.pop(name, None)
        if feed is not None:
            self._choices.discard(name)
            feed.close()
            self.stream.detach(feed)

    def _leave_out(self, container: str, wanted: Tracks, carried: Tracks) -> None:
        """Say once of each track that a container cannot carry it."""
        for track in wanted:
            fact = (container, track.track_id, track.codec)
            if track in carried or fact in self._told or len(self._told) >= _MAX_TOLD:
                continue
            self._told.add(fact)
            _log.warn(
                "{name}: track {track} ({codec}) is left out of {container}, which cannot carry it",
                name=self.stream.name,
                track=track.track_id,
                codec=track.codec,
                container=container,
            )
