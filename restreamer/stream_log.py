"""Says in the log what happens to streams: one line when one begins, loses its input, comes back or ends."""

from __future__ import annotations

from collections.abc import Callable

from restreamer.live.stream import Stream
from restreamer.logs import Logger
from restreamer.media.codecs import shown_codec
from restreamer.seams import Clock, Timer

_log = Logger()

#: Segments without a keyframe are told of at most once in so many seconds of a run.
FORCED_EVERY = 60.0


class StreamLog:
    """A L{restreamer.live.registry.RegistryListener} that writes to the log.

    @param source_of: address of the source that feeds a stream, or None for one of this node's own.
    @param clock: a beginning is told a turn later: an input takes a stream before it says that it did.
    """

    def __init__(self, source_of: Callable[[str], str | None], clock: Clock) -> None:
        self._source_of = source_of
        self._clock = clock
        self._begun: dict[str, Timer] = {}

    def stream_changed(self, stream: Stream) -> None:
        """An input began or was lost."""
        self._forget(stream.name)
        if stream.running:
            self._begun[stream.name] = self._clock.callLater(0, self._tell, stream)
        elif not stream.ended and stream.traffic.bytes_in:
            _log.info("stream {name} has lost its input and waits for it", name=stream.name)

    def _forget(self, name: str) -> None:
        timer = self._begun.pop(name, None)
        if timer is not None and timer.active():
            timer.cancel()

    def _tell(self, stream: Stream) -> None:
        """Who feeds the stream now."""
        self._begun.pop(stream.name, None)
        if stream.running:
            source = self._source_of(stream.name)
            tracks = ", ".join(shown_codec(track) for track in stream.tracks)
            here = source is None or stream.local
            _log.info(
                "stream {name} runs, {origin}: {tracks}",
                name=stream.name,
                origin="from an input of this node" if here else f"from source {source}",
                tracks=tracks,
            )

    def stream_removed(self, stream: Stream) -> None:
        """The stream is gone for good; of one that never took anything nothing is said."""
        self._forget(stream.name)
        if not stream.traffic.bytes_in:
            return
        _log.info(
            "stream {name} has ended: {segments} segments, {bytes} bytes taken",
            name=stream.name,
            segments=stream.traffic.segments,
            bytes=stream.traffic.bytes_in,
        )

    def claim_changed(self, name: str, claimed: bool) -> None:
        """Said by whoever takes the name."""

    def supply_changed(self, name: str) -> None:
        """Said when the stream begins."""


class ForcedLog:
    """Warns of segments that had to end without a keyframe: at the first of a run, then once a minute."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    def of_run(self, name: str) -> Callable[[int], None]:
        """Who is told how many segments of a run of stream C{name} were ended by force so far."""
        said_at: float | None = None

        def told(count: int) -> None:
            nonlocal said_at
            now = self._clock.seconds()
            if said_at is not None and now < said_at + FORCED_EVERY:
                return
            said_at = now
            _log.warn(
                "stream {name}: a segment ended without a keyframe, {count} so far: players that begin with "
                "the next one have no picture at first; let the encoder send a keyframe every 2 s",
                name=name,
                count=count,
            )

        return told
