"""Streams on their way to other nodes: each record is encoded once and written to every link.

A link that cannot keep up (its transport is paused) is set aside with its position and catches up from the
window when it drains, so that its memory is bounded by the window; the other links notice nothing.
"""

from __future__ import annotations

from collections.abc import Sequence

from attrs import define, field
from typing_extensions import override

from restreamer.cluster.seams import LinkWriter
from restreamer.live.stream import Stream
from restreamer.live.tap import IdleTap
from restreamer.live.window import WindowSegment
from restreamer.m4f.records import (
    Frames,
    Pull,
    PullAccepted,
    RunEnd,
    RunInfo,
    SegmentClose,
    SegmentCopy,
    SegmentOpen,
    encode_record,
)
from restreamer.m4f.segment import SegmentBuilder
from restreamer.media.frame import Frame


@define(eq=False)
class PulledLink:
    """One link that pulls the stream.

    @ivar link: the link. @ivar next_number: closed segments below it were sent or are held there.
    @ivar open_number: the segment whose opening was sent, or None. @ivar sent: frames of it sent.
    @ivar live: it gets every record as it comes; otherwise it will catch up.
    """

    link: LinkWriter
    next_number: int
    open_number: int | None = None
    sent: int = 0
    live: bool = False


class Relay(IdleTap):
    """Follows one stream and feeds all links that pull it.

    @ivar stream: the stream. @ivar links: how many pull it now.
    """

    def __init__(self, stream: Stream) -> None:
        self.stream = stream
        self._pulled: dict[LinkWriter, PulledLink] = {}
        stream.attach(self, first=True)

    def __len__(self) -> int:
        return len(self._pulled)

    def add(self, link: LinkWriter, pull: Pull) -> None:
        """Answer C{pull}: the closed segments the asker lacks, the open one from frame 0, then live."""
        stream = self.stream
        run = stream.run
        assert run is not None
        link.send(
            PullAccepted(
                name=stream.name,
                run=run,
                title=stream.title,
                segment_duration=stream.segment_duration,
            )
        )
        resumes = pull.run_id == run.run_id
        pulled = self._pulled[link] = PulledLink(link, pull.number if resumes else 0)
        self._catch_up(pulled)

    def drop(self, link: LinkWriter) -> None:
        """The link pulls no more."""
        self._pulled.pop(link, None)

    def resumed(self, link: LinkWriter) -> None:
        """The link drained: let it catch up."""
        pulled = self._pulled.get(link)
        if pulled is not None and not pulled.live:
            self._catch_up(pulled)

    def close(self) -> None:
        """Follow the stream no more."""
        self.stream.detach(self)

    # The stream's events.

    @override
    def run_began(self, run: RunInfo) -> None:
        """Openings carry the run; an unclosed segment of the run before is void."""
        for pulled in self._pulled.values():
            pulled.open_number = None

    @override
    def segment_opened(self, builder: SegmentBuilder) -> None:
        """Pass the opening on."""
        if self.stream.run is not None:
            number = builder.opening.number
            encoded = encode_record(SegmentOpen(run=self.stream.run, opening=builder.opening))
            for pulled in self._live(encoded):
                pulled.open_number = number
                pulled.sent = 0

    @override
    def frames_added(self, builder: SegmentBuilder, frames: Sequence[Frame]) -> None:
        """Pass frames on, at once."""
        encoded = encode_record(Frames(frames=list(frames), start=builder.opening.start))
        count = len(builder.frames)
        for pulled in list(self._pulled.values()):
            if pulled.live and pulled.open_number == builder.opening.number:
                if self._write(pulled, encoded):
                    pulled.sent = count
            elif not pulled.link.paused:
                # The input returned with the segment it was lost in: this link knows it as void.
                self._catch_up(pulled)

    @override
    def segment_closed(self, entry: WindowSegment) -> None:
        """Pass the close on; a link that never saw the opening gets the whole segment."""
        segment = entry.segment
        encoded = encode_record(
            SegmentClose(number=segment.number, duration=segment.duration, checksum=segment.checksum)
        )
        for pulled in list(self._pulled.values()):
            if pulled.live and pulled.open_number == segment.number:
                self._write(pulled, encoded)
                pulled.open_number = None
                pulled.next_number = segment.number + 1
            elif pulled.live:
                self._catch_up(pulled)

    @override
    def run_ended(self, run: RunInfo, reason: str) -> None:
        """The input was lost here."""
        for pulled in self._live(encode_record(RunEnd(run_id=run.run_id, reason=reason))):
            pulled.open_number = None

    @override
    def stream_ended(self, reason: str) -> None:
        """The stream is gone: so are the pulls."""
        for link in list(self._pulled):
            link.close(reason)
        self._pulled.clear()

    # Sending.

    def _live(self, encoded: bytes) -> list[PulledLink]:
        """Write to every live link; gives those that took it."""
        took = []
        for pulled in list(self._pulled.values()):
            if pulled.live and self._write(pulled, encoded):
                took.append(pulled)
        return took

    def _write(self, pulled: PulledLink, encoded: bytes) -> bool:
        if pulled.link.paused:
            pulled.live = False
            return False
        pulled.link.send_encoded(encoded)
        return True

    def _catch_up(self, pulled: PulledLink) -> None:
        """Send what the link lacks, from the window and the open segment; it is live after that."""
        link = pulled.link
        for entry in self.stream.window.retained:
            segment = entry.segment
            if segment.number < pulled.next_number:
                continue
            if link.paused:
                pulled.live = False
                return
            if pulled.open_number == segment.number:
                rest = segment.frames()[pulled.sent :]
                if rest:
                    link.send(Frames(frames=rest, start=segment.start))
                link.send(
                    SegmentClose(number=segment.number, duration=segment.duration, checksum=segment.checksum)
                )
            else:
                link.send(SegmentCopy(run=entry.run, encoded=segment.encoded))
            pulled.open_number = None
            pulled.next_number = segment.number + 1
        builder = self.stream.open
        run = self.stream.run
        if builder is not None and run is not None:
            if pulled.open_number != builder.opening.number:
                link.send(SegmentOpen(run=run, opening=builder.opening))
                pulled.open_number = builder.opening.number
                pulled.sent = 0
            rest = builder.frames[pulled.sent :]
            if rest:
                link.send(Frames(frames=rest, start=builder.opening.start))
            pulled.sent = len(builder.frames)
        pulled.live = True


@define(eq=False)
class Relays:
    """The relays of this node, made at the first pull of a stream and dropped with the last."""

    _by_stream: dict[Stream, Relay] = field(factory=dict)

    def of(self, stream: Stream) -> Relay:
        """The relay of C{stream}."""
        relay = self._by_stream.get(stream)
        if relay is None:
            relay = self._by_stream[stream] = Relay(stream)
        return relay

    def release(self, stream: Stream) -> None:
        """Drop the relay of C{stream} if no link pulls it."""
        relay = self._by_stream.get(stream)
        if relay is not None and not len(relay):
            relay.close()
            del self._by_stream[stream]

    def links(self, stream: Stream) -> int:
        """How many links pull C{stream}."""
        relay = self._by_stream.get(stream)
        return len(relay) if relay is not None else 0
