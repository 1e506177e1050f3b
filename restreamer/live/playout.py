"""The viewers of one stream that take endless bytes: its feeds, one per container, made when wanted."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from restreamer.errors import Reason, Refused
from restreamer.live.feed import Feed, FeedCounters, FeedLimits
from restreamer.live.history import history
from restreamer.live.stream import Stream
from restreamer.live.viewer import Viewer
from restreamer.media.timebase import TICKS_PER_SECOND
from restreamer.seams import Clock, FeedMuxer, ViewerTransport

#: Makes the muxer of a container for a stream of that title.
MuxerFactory = Callable[[str], FeedMuxer]

#: Viewers begin at most so far in the past, seconds.
MAX_PREPUSH = 60.0


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

    def join(self, container: str, transport: ViewerTransport, ended: Callable[[str], None]) -> Viewer:
        """Put a viewer on the feed of C{container} at the newest keyframe.

        When the stream has ended meanwhile, C{ended} is called at once.
        @raise Refused: when no such container is served.
        """
        feed = self._feeds.get(container)
        if feed is None:
            feed = self._open(container)
        try:
            return feed.join(transport, ended)
        finally:
            if not len(feed) and self._feeds.get(container) is feed:
                self._emptied(container)

    @property
    def viewers(self) -> int:
        """Viewers of all feeds now."""
        return sum(len(feed) for feed in self._feeds.values())

    @property
    def bytes_out(self) -> int:
        """Bytes sent to viewers of all feeds so far."""
        gone = sum(c.bytes_out for name, c in self.counters.items() if name not in self._feeds)
        return gone + sum(feed.bytes_out for feed in self._feeds.values())

    def feeds(self) -> Mapping[str, Feed]:
        """The feeds that have viewers now, by container."""
        return self._feeds

    def _open(self, container: str) -> Feed:
        factory = self._muxers.get(container)
        if factory is None:
            raise Refused(Reason.UNSUPPORTED, f"streams are not served as {container} here")
        stream = self.stream
        counters = self.counters.setdefault(container, FeedCounters())
        prepush = min(self.prepush, MAX_PREPUSH)
        feed = Feed(
            factory(stream.title or stream.name),
            self._clock,
            self._limits.reaching_back(prepush),
            counters,
            lambda: self._emptied(container),
            stream.faulted,
        )
        if stream.ended:
            feed.close()
            return feed
        if stream.run is not None:
            tracks, frames = history(stream, int(prepush * TICKS_PER_SECOND))
            feed.begin(stream.run, tracks, frames)
        self._feeds[container] = feed
        stream.attach(feed)
        return feed

    def _emptied(self, container: str) -> None:
        feed = self._feeds.pop(container, None)
        if feed is not None:
            feed.close()
            self.stream.detach(feed)
