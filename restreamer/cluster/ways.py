"""The ways in which what a source sends enters the running timeline of a stream.

 - L{Passing}: the source's run is (or becomes) the stream's run: everything is taken as it is, segments are
   never cut again. Frames that are here already are recognised by segment and frame index.
 - L{Mapping}: another run of the same content: its frames are mapped onto the running one.

How a run comes to one of them is in L{restreamer.cluster.entering}.

A way that finds another input feeding takes the stream's writer when it has caught up with it, so that the
switch makes no pause, and writes what is not there yet. One whose writer was taken by another input is
silent.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from attrs import evolve
from typing_extensions import override

from restreamer.errors import LocalProtocolError
from restreamer.live.continuation import continuation_of
from restreamer.live.splice import Splice, shown_until
from restreamer.live.stream import Stream, StreamWriter
from restreamer.live.turns import Turn
from restreamer.m4f.live_form import part_of
from restreamer.m4f.records import Frames, PartClose, RunInfo, SegmentClose, SegmentOpen
from restreamer.m4f.segment import Segment, SegmentBuilder, SegmentOpening
from restreamer.media.frame import Frame
from restreamer.media.timebase import TICKS_PER_SECOND
from restreamer.media.track import Tracks, same_tracks

#: A source that is no more behind than this has caught up with whoever feeds the stream.
CAUGHT_UP = 1 * TICKS_PER_SECOND
#: What comes while a damaged segment of a mapped run is put right waits so long, ticks.
LONGEST_REPAIR = 1 * TICKS_PER_SECOND

#: What the source sent, in order: a closed segment with the run it came under, or a record of the live form.
Sent = tuple[Segment, RunInfo] | SegmentOpen | Frames | PartClose | SegmentClose


class Host(Protocol):
    """What a way needs of the puller."""

    def take_stream(self, stream: Stream, run: RunInfo) -> StreamWriter:
        """Begin C{run} on the stream, whoever fed it."""
        ...

    def has_taken(self) -> None:
        """A way took the stream's writer by itself."""
        ...

    def go(self, way: Way, sent: Sequence[Sent]) -> None:
        """Go on by another way, which takes what came so far."""
        ...

    def enter(self, run: RunInfo, sent: Sequence[Sent] = ()) -> None:
        """Find the way of C{run}, which takes what came so far."""
        ...

    def took(self, frames: Sequence[Frame]) -> None:
        """Frames were written."""
        ...

    def now(self) -> int:
        """UTC, ticks."""
        ...

    def in_turn(self, work: Callable[[], None]) -> Turn | None:
        """Do C{work} when it is its turn; gives what calls it off, None when it was done at once."""
        ...

    def expected(self, stream: Stream) -> int:
        """Where C{stream} would be by now if its input had gone on: DTS in ticks."""
        ...

    def damaged(self, number: int) -> None:
        """A closed segment failed its checksum, or was lost."""
        ...

    def give_up(self, reason: str) -> None:
        """Close the link: another source is to feed the stream."""
        ...

    def ours(self, run: RunInfo) -> RunInfo:
        """The run as it is known from this node on."""
        ...

    def seen(self, number: int) -> bool:
        """Whether the closed segment was asked for because its live form, which was shown, was damaged."""
        ...


class Way:
    """The base: passes everything over.

    @ivar stream: the stream. @ivar run: the source's run, as the source knows it.
    """

    def __init__(self, host: Host, stream: Stream, run: RunInfo) -> None:
        self.host = host
        self.stream = stream
        self.run = run
        self.writer: StreamWriter | None = None

    @property
    def displaced(self) -> bool:
        """Whether it fed the stream and another input does now."""
        return self.writer is not None and not self.writer.in_power

    def take(self, sent: Sent) -> None:
        """Take one thing the source sent."""
        if self.displaced:
            return
        if isinstance(sent, Frames):
            self.frames(sent)
        elif isinstance(sent, SegmentOpen):
            self.open(sent)
        elif isinstance(sent, SegmentClose):
            self.close(sent)
        elif isinstance(sent, PartClose):
            self.part(sent)
        else:
            self.copy(*sent)

    def frames(self, record: Frames) -> None:
        """Frames of the open segment."""

    def open(self, record: SegmentOpen) -> None:
        """A segment began."""

    def part(self, record: PartClose) -> None:
        """A part of it ended."""

    def close(self, record: SegmentClose) -> None:
        """It ended."""

    def copy(self, segment: Segment, run: RunInfo) -> None:
        """A whole closed segment."""

    def settle(self) -> None:
        """The source lost its input: decide with what there is."""

    def kept(self) -> Sequence[Sent]:
        """What came and has not entered the stream yet."""
        return ()

    def caught_up(self, dts: int) -> bool:
        """Whether a frame at C{dts} on our timeline is near enough to the newest one to go on from."""
        newest = self.stream.last_dts
        return not self.stream.fed or newest is None or dts >= newest - CAUGHT_UP

    def lose(self, reason: str) -> None:
        """The input is gone."""
        if self.writer is not None:
            self.writer.lose(reason)


class Passing(Way):
    """The source's segments as they are.

    @param at_once: take the writer now; otherwise when the source has caught up with what is here.
    """

    def __init__(self, host: Host, stream: Stream, run: RunInfo, at_once: bool = True) -> None:
        super().__init__(host, stream, run)
        self._number = 0
        self._index = 0
        self._behind = True
        self._aside: SegmentOpening | None = None
        self._longer: SegmentOpening | None = None
        self._added = False
        self.live = False
        if at_once:
            self._power()

    def _power(self) -> StreamWriter:
        writer = self.writer
        if writer is None:
            writer = self.writer = self.host.take_stream(self.stream, self.run)
        return writer

    @override
    def open(self, record: SegmentOpen) -> None:
        """Continue the segment that is open here, or open the next one."""
        opening = record.opening
        stream = self.stream
        number = self._number = opening.number
        self._index = 0
        held = stream.open
        self._behind = False
        self._aside = self._longer = None
        if held is not None and held.opening == opening:
            return
        if held is not None and self._cut_otherwise(opening, held):
            self._aside = opening
            self._added = False
            return
        closed = [entry.number for entry in stream.window.of_run(self.run.run_id)]
        if number in closed:
            self._behind = True
            if held is None and number == closed[0]:
                self._longer = opening
        elif self.writer is None and held is not None and number == held.opening.number:
            # The other input opened it otherwise: it is not ours to go on with. The next one is.
            self._behind = True
        else:
            lost = held.opening.number if held is not None and self.writer is not None else number
            last = stream.window.last_number
            self._power().open(opening, record.run.continuation)
            if lost < number and (last is None or lost > last):
                # The source did not close it here: either it lacks it, too, or the close was lost. (Below the
                # window's newest there is no place for it, nor at the source: a clock was set back.)
                self.host.damaged(lost)

    def _cut_otherwise(self, opening: SegmentOpening, held: SegmentBuilder) -> bool:
        """Whether the open segment begins within the one the source opens of the same run, or behind it.

        Either the source is behind, or the run was mapped here and there and cut at different places: until
        the source's segment ends, what is later than what was shown goes to the segment that is open.
        (An opening that came damaged may have a number that is too high; that alone says nothing.)
        """
        run = self.stream.run
        same = run is not None and run.run_id == self.run.run_id
        return (
            same
            and bool(held.frames)
            and opening.number <= held.opening.number
            and (opening.start < held.opening.start)
        )

    @override
    def frames(self, record: Frames) -> None:
        """Write those that are not here yet."""
        frames = record.frames
        begin = self._index
        self._index += len(frames)
        if self.writer is None and self.caught_up(frames[-1].dts):
            self._power()
        self.live = True
        if self._behind:
            if self._longer is not None and self.writer is not None:
                self._go_beyond(self._longer, frames)
            return
        held = self.stream.open
        if self._aside is not None:
            shown = shown_until(self.stream)
            frames = [frame for frame in frames if frame.dts > shown.get(frame.track_id, frame.dts - 1)]
            if frames and held is not None:
                self._added = True
                self._power().frames(frames)
                self.host.took(frames)
            return
        if held is None or held.opening.number != self._number:
            return
        known = len(held.frames) - begin
        if known > 0:
            frames = frames[known:]
            if not frames:
                return
        self._power().frames(frames)
        self.host.took(frames)

    def _go_beyond(self, longer: SegmentOpening, frames: Sequence[Frame]) -> None:
        """Show what the source has in a segment that ended here before: its ingest closed it short.

        It goes to a segment that is open here until the source's next one begins, and then void.
        """
        shown = shown_until(self.stream)
        fresh = [frame for frame in frames if frame.dts > shown.get(frame.track_id, frame.dts - 1)]
        if not fresh:
            return
        if self.stream.open is None:
            self._power().open(
                evolve(
                    longer,
                    number=longer.number + 1,
                    start=fresh[0].dts,
                    discontinuity=False,
                    independent=False,
                )
            )
        self._power().frames(fresh)
        self.host.took(fresh)

    @override
    def part(self, record: PartClose) -> None:
        """End a part; one that ends within frames held from an earlier link was ended then."""
        held = self.stream.open
        if self._behind or self._aside is not None or self.writer is None:
            return
        if held is None or held.opening.number != self._number:
            return
        part = part_of(record)
        if part.first_frame == sum(known.frame_count for known in held.parts):
            self.writer.close_part(part)

    @override
    def close(self, record: SegmentClose) -> None:
        """Close it and prove it."""
        stream = self.stream
        number = record.number
        held = stream.open
        if self._aside is not None and held is not None:
            end = self._aside.start + record.duration
            self._aside = None
            self._behind = True
            if self._added and end > held.opening.start:
                # Put together here: no other node has it so.
                node_id = self.host.ours(self.run).path[-1]
                cut = continuation_of(
                    node_id, self.run.run_id, record.continuation, number, held.opening.start
                )
                self._power().close(end - held.opening.start, continuation=cut)
            return
        if self._behind or held is None or held.opening.number != number:
            self._behind = True
            self._longer = None
            last = stream.window.last_number
            if (
                self.writer is not None
                and last is not None
                and number < last
                and not stream.window.find(number)
            ):
                self.host.damaged(number)
            return
        self._behind = True
        self._longer = None
        if self._power().close(record.duration, record.checksum, record.continuation) is None:
            self.host.damaged(number)

    @override
    def copy(self, segment: Segment, run: RunInfo) -> None:
        """Take history, what an interrupted link missed, and what was asked for."""
        if self.writer is None:
            last = self.stream.window.last_number
            held = self.stream.open
            newest = held.opening.number if held is not None else (last + 1 if last is not None else 0)
            if segment.number < newest:
                return
        writer = self._power()
        if self.host.seen(segment.number):
            writer.repair(segment, self.host.ours(run))
        else:
            writer.copy(segment, self.host.ours(run))


class Mapping(Way):
    """Another run of the same content.

    Its segments are none of ours, but they prove what came: one that fails its checksum is asked for again,
    and what follows waits until its frames are put right.
    """

    def __init__(self, host: Host, stream: Stream, run: RunInfo, splice: Splice, tracks: Tracks) -> None:
        super().__init__(host, stream, run)
        self.splice = splice
        self._onto = stream.run.run_id if stream.run is not None else None
        self.number = 0
        self.tracks = tracks
        self._newest: int | None = None
        self._open: SegmentBuilder | None = None
        self._damaged: int | None = None
        self._waiting: list[Sent] = []

    def begun(self, newest: int) -> None:
        """What comes from segment C{newest} on was not looked at when the content was matched."""
        self._newest = newest

    @override
    def take(self, sent: Sent) -> None:
        """Take it, unless another run began here meanwhile: the distance is that to the one before."""
        run = self.stream.run
        if self.writer is None and (run is None or run.run_id != self._onto):
            self.host.enter(self.run, [*self._waiting, sent])
        elif self._damaged is None or (isinstance(sent, tuple) and sent[0].number == self._damaged):
            super().take(sent)
        else:
            self._wait(sent)

    @override
    def open(self, record: SegmentOpen) -> None:
        """A break of the source's timeline or other tracks: its run is passed on as it is from here."""
        if not self._goes_on(record.opening.number, record.opening.discontinuity, record.opening.tracks):
            self._break_off(record)
            return
        self.number = record.opening.number
        self._open = SegmentBuilder(record.opening)

    @override
    def frames(self, record: Frames) -> None:
        """Map them."""
        if self._open is not None:
            self._open.extend(record.frames)
        self._push(record.frames)

    @override
    def part(self, record: PartClose) -> None:
        """It belongs to what the checksum covers."""
        if self._open is not None:
            self._open.close_part(part_of(record))

    @override
    def close(self, record: SegmentClose) -> None:
        """Prove what came; wait for a copy when it is not that."""
        builder, self._open = self._open, None
        if builder is not None and builder.opening.number == record.number and not _proved(builder, record):
            self._damaged = record.number
            self.host.damaged(record.number)

    def _wait(self, sent: Sent) -> None:
        self._waiting.append(sent)
        came = [each.frames[-1].dts for each in self._waiting if isinstance(each, Frames)]
        if came and came[-1] - came[0] > LONGEST_REPAIR:
            self.host.give_up(f"segment {self._damaged} came damaged, and no copy of it")

    def _mend(self, segment: Segment) -> None:
        """Put the frames of the open segment right, and go on."""
        self._damaged = None
        waiting, self._waiting = self._waiting, []
        if self.writer is not None and not self.splice.mend(segment.frames()):
            self.host.give_up(f"what segment {segment.number} held cannot be put right")
            return
        self._push(segment.frames())
        for each in waiting:
            self.take(each)

    @override
    def copy(self, segment: Segment, run: RunInfo) -> None:
        """Map its frames."""
        if run.run_id != self.run.run_id:
            return
        if segment.number == self._damaged:
            self._mend(segment)
            return
        if not self._goes_on(segment.number, segment.discontinuity, segment.tracks):
            self._break_off((segment, run))
            return
        self.number = segment.number + 1
        self._push(segment.frames())

    def _goes_on(self, number: int, discontinuity: bool, tracks: Tracks) -> bool:
        if self._newest is not None and number <= self._newest:
            return True
        return not discontinuity and same_tracks(tracks, self.tracks)

    def _break_off(self, sent: Sent) -> None:
        way = Passing(self.host, self.stream, self.run)
        self.host.go(way, [sent])

    def _push(self, frames: Sequence[Frame]) -> None:
        splice = self.splice
        fresh = splice.mapped(frames)
        if self.writer is None and (fresh or self.caught_up(frames[-1].dts + splice.match.offset)):
            self.writer = splice.begin(self.host.ours(self.run).path)
            self.host.has_taken()
        if fresh:
            splice.push(fresh)
            self.host.took(fresh)


def _proved(builder: SegmentBuilder, record: SegmentClose) -> bool:
    """Whether what came is the segment that the source closes."""
    try:
        return builder.close(record.duration).checksum == record.checksum
    except LocalProtocolError:
        return False
