"""Streams on their way to other nodes: each record is encoded once and written to every link.

A link that cannot keep up (its transport is paused) is set aside with its position and catches up from the
window when it drains, so that its memory is bounded by a segment; the other links notice nothing.

What a link is told: PullAccepted with the run, before anything of it and again whenever another run begins
or the run returns after its RunEnd; then closed segments, and the open one from frame 0.
"""

from __future__ import annotations

from collections.abc import Sequence

from attrs import define, field
from typing_extensions import override

from restreamer.cluster.seams import LinkWriter
from restreamer.errors import RemoteProtocolError
from restreamer.live.stream import Stream
from restreamer.live.tap import IdleTap
from restreamer.live.window import WindowSegment
from restreamer.m4f.live_form import part_record
from restreamer.m4f.records import (
    Frames,
    Pull,
    PullAccepted,
    RunEnd,
    RunInfo,
    SegmentClose,
    SegmentCopy,
    SegmentLacking,
    SegmentOpen,
    encode_record,
)
from restreamer.m4f.segment import Part, SegmentBuilder
from restreamer.media.frame import Frame

#: Segments a link may be owed at once, out of their turn.
MAX_OWED = 16


@define(eq=False)
class PulledLink:
    """One link that pulls the stream.

    @ivar link: the link. @ivar next_number: closed segments below it were sent or are held there.
    @ivar run_id: the run the link was told of last; None when it was told of its end, or of none.
    @ivar open_number: the segment whose opening was sent, or None. @ivar sent: frames of it sent;
    @ivar parts: ends of its parts sent.
    @ivar goes_on: the run it asked to go on with; None when it did not.
    @ivar live: it gets every record as it comes; otherwise it will catch up.
    @ivar owed: closed segments it asked for, or was sent damaged, and gets out of their turn.
    """

    link: LinkWriter
    next_number: int
    run_id: int | None = None
    open_number: int | None = None
    sent: int = 0
    parts: int = 0
    goes_on: int | None = None
    live: bool = False
    owed: list[int] = field(factory=list)


class Relay(IdleTap):
    """Follows one stream and feeds all links that pull it.

    @ivar stream: the stream. @ivar links: how many pull it now.
    @ivar over: the stream has ended, or dropped this relay after a fault.
    """

    def __init__(self, stream: Stream) -> None:
        self.stream = stream
        self.over = False
        self._pulled: dict[LinkWriter, PulledLink] = {}
        stream.attach(self, first=True)

    def __len__(self) -> int:
        return len(self._pulled)

    def add(self, link: LinkWriter, pull: Pull) -> None:
        """Answer C{pull}: the closed segments the asker lacks, the open one from frame 0, then live."""
        run = self.stream.run
        assert run is not None
        pulled = self._pulled[link] = PulledLink(link, 0)
        for held in (run, *[entry.run for entry in self.stream.window.everything]):
            if held.run_id == pull.run_id:
                # The asker goes on where it was, even if that run is over by now.
                run = held
                pulled.next_number = self._lacking_from(pull)
                pulled.goes_on = pull.run_id
                break
        self._announce(pulled, run)
        self._catch_up(pulled)

    def _lacking_from(self, pull: Pull) -> int:
        """The number from which the asker lacks segments.

        The position speaks of its run and of those before it, not of runs that came later.
        """
        lacking = pull.number
        for entry in reversed(self.stream.window.everything):
            if entry.run.run_id == pull.run_id:
                break
            lacking = min(lacking, entry.number)
        else:
            return pull.number
        return lacking

    def drop(self, link: LinkWriter) -> None:
        """The link pulls no more."""
        self._pulled.pop(link, None)

    def resumed(self, link: LinkWriter) -> None:
        """The link drained: let it catch up."""
        pulled = self._pulled.get(link)
        if pulled is None:
            return
        self._pay(pulled)
        if not pulled.live:
            self._catch_up(pulled)

    def send_again(self, link: LinkWriter, number: int) -> None:
        """The other end asks for a closed segment: it came damaged, or not at all.

        @raise RemoteProtocolError: it asks for too many at once.
        """
        pulled = self._pulled.get(link)
        if pulled is None or number in pulled.owed:
            return
        if len(pulled.owed) >= MAX_OWED:
            raise RemoteProtocolError("media link", f"more than {MAX_OWED} segments asked for at once")
        pulled.owed.append(number)
        self._pay(pulled)

    def close(self) -> None:
        """Follow the stream no more."""
        self.stream.detach(self)

    # The stream's events.

    @override
    def run_began(self, run: RunInfo) -> None:
        """Announce the run; an unclosed segment of the run before is void."""
        for pulled in list(self._pulled.values()):
            pulled.open_number = None
            if pulled.live and not pulled.link.paused:
                self._announce(pulled, run)
            else:
                pulled.live = False

    @override
    def segment_opened(self, builder: SegmentBuilder) -> None:
        """Pass the opening on."""
        run = self.stream.run
        if run is None:
            return
        number = builder.opening.number
        encoded = encode_record(SegmentOpen(run=run, opening=builder.opening))
        for pulled in list(self._pulled.values()):
            if not pulled.live:
                continue
            if pulled.run_id != run.run_id:
                self._catch_up(pulled)
            elif self._write(pulled, encoded):
                pulled.open_number = number
                pulled.sent = pulled.parts = 0

    @override
    def frames_added(self, builder: SegmentBuilder, frames: Sequence[Frame]) -> None:
        """Pass frames on, at once."""
        encoded = encode_record(Frames(frames=list(frames), start=builder.opening.start))
        number = builder.opening.number
        count = len(builder.frames)
        for pulled in list(self._pulled.values()):
            if pulled.live and pulled.open_number == number:
                if self._write(pulled, encoded):
                    pulled.sent = count
            elif not pulled.link.paused:
                # The input returned with the segment it was lost in: this link knows it as void.
                self._catch_up(pulled)

    @override
    def frames_repeated(self, builder: SegmentBuilder, frames: Sequence[Frame]) -> None:
        """Pass them on as well: they are of the segment."""
        self.frames_added(builder, frames)

    @override
    def part_closed(self, builder: SegmentBuilder) -> None:
        """Pass the end of the part on."""
        number = builder.opening.number
        count = len(builder.parts)
        encoded = encode_record(part_record(builder.parts[-1]))
        for pulled in list(self._pulled.values()):
            mine = pulled.live and pulled.open_number == number and pulled.parts == count - 1
            if mine and self._write(pulled, encoded):
                pulled.parts = count

    @override
    def segment_set_aside(self, entry: WindowSegment) -> None:
        """Pass the close on to those who have it open."""
        segment = entry.segment
        close = _close_of(entry)
        for pulled in list(self._pulled.values()):
            mine = pulled.open_number == segment.number and pulled.run_id == entry.run.run_id
            if pulled.live and mine:
                self._send_parts(pulled, segment.parts)
                if self._write(pulled, encode_record(close)):
                    pulled.open_number = None

    @override
    def segment_closed(self, entry: WindowSegment) -> None:
        """Pass the close on; a link that never saw the opening gets the whole segment."""
        segment = entry.segment
        encoded = encode_record(_close_of(entry))
        for pulled in list(self._pulled.values()):
            if not pulled.live:
                continue
            if pulled.open_number != segment.number:
                self._catch_up(pulled)
                continue
            if pulled.parts < len(segment.parts) and not pulled.link.paused:
                self._send_parts(pulled, segment.parts)
            if self._write(pulled, encoded):
                pulled.open_number = None
                pulled.next_number = segment.number + 1

    @override
    def segment_filled(self, entry: WindowSegment) -> None:
        """Pass the whole segment on, out of its turn."""
        for pulled in list(self._pulled.values()):
            if pulled.live or entry.number < pulled.next_number:
                if entry.number not in pulled.owed and len(pulled.owed) < MAX_OWED:
                    pulled.owed.append(entry.number)
                self._pay(pulled)

    @override
    def run_ended(self, run: RunInfo, reason: str) -> None:
        """The input was lost here."""
        encoded = encode_record(RunEnd(run_id=run.run_id, reason=reason))
        for pulled in list(self._pulled.values()):
            if pulled.live and self._write(pulled, encoded):
                pulled.open_number = pulled.run_id = None

    @override
    def stream_ended(self, reason: str) -> None:
        """The stream is gone: so are the pulls."""
        self.over = True
        links = list(self._pulled)
        self._pulled.clear()
        for link in links:
            link.close(reason)

    # Sending.

    def _write(self, pulled: PulledLink, encoded: bytes) -> bool:
        if pulled.link.paused:
            pulled.live = False
            return False
        pulled.link.send_encoded(encoded)
        return True

    def _pay(self, pulled: PulledLink) -> None:
        """Send what the link is owed, as long as it takes it."""
        link = pulled.link
        while pulled.owed and not link.paused:
            number = pulled.owed.pop(0)
            entry = self.stream.window.find(number)
            if entry is None:
                link.send(SegmentLacking(number))
                continue
            link.send(SegmentCopy(run=entry.run, encoded=entry.segment.encoded))
            if pulled.open_number == number:
                pulled.open_number = None
            if pulled.next_number == number:
                pulled.next_number = number + 1

    def _announce(self, pulled: PulledLink, run: RunInfo) -> None:
        """Tell of the run that follows."""
        stream = self.stream
        pulled.link.send(
            PullAccepted(
                name=stream.name, run=run, title=stream.title, segment_duration=stream.segment_duration
            )
        )
        pulled.run_id = run.run_id

    def _catch_up(self, pulled: PulledLink) -> None:
        """Send what the link lacks, from the window and the open segment; it is live after that."""
        link = pulled.link
        run = self.stream.run
        current = run.run_id if run is not None else None
        pulled.live = False
        aside = self.stream.window.aside
        begin = pulled.next_number
        first = self._first_of(current, begin) if pulled.goes_on == current else None
        for entry in self.stream.window.everything:
            segment = entry.segment
            is_open = pulled.open_number == segment.number and pulled.run_id == entry.run.run_id
            if not is_open and segment.number < (begin if entry in aside else pulled.next_number):
                continue
            if first is not None and segment.number >= first and entry.run.run_id != current:
                # It has what it asked to go on with from here, whatever took the numbers here.
                continue
            if link.paused:
                return
            # History of other runs passes under the run that was announced, if any was.
            if pulled.run_id is None or (pulled.run_id != entry.run.run_id and entry.run.run_id == current):
                self._announce(pulled, entry.run)
            if is_open:
                rest = segment.frames()[pulled.sent :]
                if rest:
                    link.send(Frames(frames=rest, start=segment.start))
                self._send_parts(pulled, segment.parts)
                link.send(_close_of(entry))
            else:
                link.send(SegmentCopy(run=entry.run, encoded=segment.encoded))
            if pulled.open_number is not None and pulled.open_number <= segment.number:
                pulled.open_number = None
            pulled.next_number = max(pulled.next_number, segment.number + 1)
        if link.paused:
            return
        if run is not None and self.stream.fed:
            self._send_open(pulled, run)
        elif pulled.run_id is not None:
            link.send(RunEnd(run_id=pulled.run_id, reason="the input was lost"))
            pulled.open_number = pulled.run_id = None
        pulled.live = True

    def _first_of(self, run_id: int | None, begin: int) -> int | None:
        """The number of the first segment of the run from C{begin} on."""
        numbers = [
            entry.number
            for entry in self.stream.window.everything
            if entry.run.run_id == run_id and entry.number >= begin
        ]
        if self.stream.open is not None:
            numbers.append(self.stream.open.opening.number)
        return min(numbers, default=None)

    def _send_open(self, pulled: PulledLink, run: RunInfo) -> None:
        """Send what the link lacks of the open segment."""
        if pulled.run_id != run.run_id:
            self._announce(pulled, run)
            pulled.open_number = None
        builder = self.stream.open
        if builder is None:
            return
        link = pulled.link
        if pulled.open_number != builder.opening.number:
            link.send(SegmentOpen(run=run, opening=builder.opening))
            pulled.open_number = builder.opening.number
            pulled.sent = pulled.parts = 0
        rest = builder.frames[pulled.sent :]
        if rest:
            link.send(Frames(frames=rest, start=builder.opening.start))
        pulled.sent = len(builder.frames)
        self._send_parts(pulled, builder.parts)

    def _send_parts(self, pulled: PulledLink, parts: Sequence[Part]) -> None:
        """Send the ends of parts that the link lacks; their frames were sent."""
        for part in parts[pulled.parts :]:
            pulled.link.send(part_record(part))
        pulled.parts = max(pulled.parts, len(parts))


def _close_of(entry: WindowSegment) -> SegmentClose:
    segment = entry.segment
    return SegmentClose(
        number=segment.number,
        duration=segment.duration,
        checksum=segment.checksum,
        continuation=entry.run.continuation,
    )


@define(eq=False)
class Relays:
    """The relays of this node, made at the first pull of a stream and dropped with the last."""

    _by_stream: dict[Stream, Relay] = field(factory=dict)

    def of(self, stream: Stream) -> Relay:
        """The relay of C{stream}."""
        relay = self._by_stream.get(stream)
        if relay is None or relay.over:
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
