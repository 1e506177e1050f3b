"""How another run enters the running timeline of a stream: the ways it goes until it feeds it, or does not.

- L{Deciding}: not known yet which run it is: what comes is kept until it can be told.
- L{Awaiting}: other content while another input still feeds the stream: kept until a keyframe comes that is
  later than what was shown.
- L{Resting}: another input feeds the stream now, and this one is not to take it back by itself.
"""

from __future__ import annotations

from collections.abc import Sequence

from typing_extensions import override

from restreamer.cluster.ways import Host, Mapping, Passing, Sent, Way
from restreamer.live.fingerprint import match_content, match_tracks
from restreamer.live.splice import Splice, running_frames
from restreamer.live.stream import Stream, StreamWriter
from restreamer.m4f.records import Frames, PartClose, RunInfo, SegmentClose, SegmentOpen
from restreamer.m4f.segment import Segment
from restreamer.media.frame import Frame
from restreamer.media.timebase import TICKS_PER_SECOND
from restreamer.media.track import TrackKind, Tracks, same_tracks

#: Most bytes of segments kept while it is not known how they enter: a source's window.
MAX_UNDECIDED = 96 * 1024 * 1024
#: Other content whose clock is behind what is shown is awaited so long, ticks.
AWAIT = 2 * TICKS_PER_SECOND
#: A source whose time is so far below what was shown is not waited for.
FAR_BELOW = 30 * TICKS_PER_SECOND
#: How far the same content may be behind where the stream would be by now, ticks: beyond, it is a repetition.
REPLAYED = 3 * TICKS_PER_SECOND
#: A source that has just got the run may send it in a burst: it is looked at for so long, and each time it
#: has grown by so much. Ticks.
BURST = TICKS_PER_SECOND
GROWN = TICKS_PER_SECOND // 2
#: Pieces shorter than this prove little: more is awaited before they are taken for other content, ticks.
YOUNG = 2 * TICKS_PER_SECOND


class Deciding(Way):
    """Keeps what comes until the content can be compared: up to the first frames of the open segment.

    @param before: the writer of this puller's way until now, if it has one.
    """

    def __init__(self, host: Host, stream: Stream, run: RunInfo, before: StreamWriter | None = None) -> None:
        super().__init__(host, stream, run)
        self._sent: list[Sent] = []
        self._size = 0
        self._before = before
        self._since: int | None = None
        self._compared = 0

    @override
    def open(self, record: SegmentOpen) -> None:
        """Keep it."""
        self._sent.append(record)

    @override
    def part(self, record: PartClose) -> None:
        """Keep it."""
        self._sent.append(record)

    @override
    def frames(self, record: Frames) -> None:
        """These are the newest: decide, unless more is about to come that may tell."""
        self._sent.append(record)
        newest = record.frames[-1].dts
        now = self.host.now()
        if self._since is None:
            self._since = now
        if self._fed_by_another() or now - self._since >= BURST:
            self.settle()
        elif newest - self._compared >= GROWN:
            self._compared = newest
            way, late = compared(self.host, self.stream, self.run, self._sent)
            if not self._may_tell(way, late, newest):
                self._go(None if late else way)

    @override
    def close(self, record: SegmentClose) -> None:
        """One without a frame ends it, too."""
        self._sent.append(record)
        if self._since is None:
            self.settle()

    @override
    def copy(self, segment: Segment, run: RunInfo) -> None:
        """Keep it, within the bound."""
        self._sent.append((segment, run))
        self._size += len(segment.encoded)
        if self._size > MAX_UNDECIDED:
            self.settle()

    @override
    def kept(self) -> Sequence[Sent]:
        """The history."""
        return [each for each in self._sent if isinstance(each, tuple)]

    @override
    def lose(self, reason: str) -> None:
        """The input is gone, that of the way before included."""
        if self._before is not None:
            self._before.lose(reason)

    @override
    def settle(self) -> None:
        """Decide with what has come."""
        way, late = compared(self.host, self.stream, self.run, self._sent)
        self._go(None if late else way)

    def _go(self, way: Way | None) -> None:
        sent, self._sent = self._sent, []
        if way is None and self._fed_by_another():
            way = Awaiting(self.host, self.stream, self.run)
        elif way is None:
            sent = self._finish_shown(sent)
            way = Passing(self.host, self.stream, self.run)
        self.host.go(way, sent)

    def _fed_by_another(self) -> bool:
        by_us = self._before is not None and self._before.in_power
        return self.stream.fed and not by_us

    def _may_tell(self, way: Mapping | None, late: bool, newest: int) -> bool:
        """Whether more may tell: of a run of another ingest node that is too short to tell by, or late.

        What one ingest node dates later is not late but again.
        """
        shown = self.stream.run
        run = self.run
        if shown is None:
            return False
        elsewhere = (shown.ingest_node, shown.path[0]) != (run.ingest_node, run.path[0])
        if way is not None:
            return late and (elsewhere or way.splice.match.offset > -REPLAYED)
        return elsewhere and lasts(run, self._sent, newest) < YOUNG

    def _finish_shown(self, sent: Sequence[Sent]) -> list[Sent]:
        """What the source still has of the run that was shown ends it here, too, before another one begins.

        @return: the rest of C{sent}.
        """
        stream = self.stream
        shown = stream.run
        last = stream.window.last_number
        writer: StreamWriter | None = None
        rest: list[Sent] = []
        for each in sent:
            if isinstance(each, tuple) and shown is not None and each[1].run_id == shown.run_id:
                if last is None or each[0].number > last:
                    writer = writer or stream.begin_run(shown, stream.segment_duration, local=False)
                    writer.copy(each[0], self.host.ours(each[1]))
            else:
                rest.append(each)
        return rest


class Awaiting(Way):
    """Other content, while another input feeds the stream."""

    def __init__(self, host: Host, stream: Stream, run: RunInfo) -> None:
        super().__init__(host, stream, run)
        self._sent: list[Sent] = []
        self._all: list[Sent] = []
        self._size = 0
        self._video: frozenset[int] = frozenset()
        self._since: int | None = None
        self._begun = 0
        self._compared = 0
        self._ready = False
        self._young = False

    @override
    def open(self, record: SegmentOpen) -> None:
        """Keep it from here."""
        self._keep(record)
        self._sent = [record]
        tracks = record.opening.tracks
        self._video = frozenset([track.track_id for track in tracks if track.kind is TrackKind.VIDEO])

    @override
    def part(self, record: PartClose) -> None:
        """Keep it."""
        self._sent.append(record)

    @override
    def copy(self, segment: Segment, run: RunInfo) -> None:
        """Keep it to compare with."""
        self._size += len(segment.encoded)
        self._keep((segment, run))

    @override
    def frames(self, record: Frames) -> None:
        """Begin when there is a keyframe later than what was shown, or nobody feeds the stream any more.

        A source whose clock is behind may never get there: then the first keyframe after L{AWAIT} will do.
        """
        self._sent.append(record)
        self._size += sum(len(frame.data) for frame in record.frames)
        self._keep(record)
        shown = self.stream.last_dts
        video = self._video
        if self._since is None:
            self._since = record.frames[-1].dts
            self._begun = self.host.now()
            self._young = self._is_young(self._since)
        waited = self.host.now() - self._begun > AWAIT
        if waited:
            shown = None
        for frame in record.frames:
            access = frame.key and (not video or frame.track_id in video)
            if access and (shown is None or frame.dts > shown or frame.dts < shown - FAR_BELOW):
                self._ready = True
                break
        young = self._young and record.frames[-1].dts - self._since < YOUNG
        if (self._ready and not young) or not self.stream.fed:
            self._begin(record.frames[-1].dts, waited)

    @override
    def close(self, record: SegmentClose) -> None:
        """It was not wanted."""
        self._keep(record)
        self._sent = []

    def _keep(self, sent: Sent) -> None:
        if self._size > MAX_UNDECIDED:
            self._all.clear()
            self._size = 0
        self._all.append(sent)

    def _is_young(self, newest: int) -> bool:
        """Whether what is shown, or what the source has of its run, is too short to tell by.

        @param newest: DTS of its newest frame.
        """
        ours = running_frames(self.stream)
        short = not ours or ours[-1].dts - ours[0].dts < YOUNG
        return short or lasts(self.run, self._all, newest) < YOUNG

    def _begin(self, newest: int, waited: bool) -> None:
        """Look once more whether it is other content: at first there may have been too little to tell by."""
        if newest - self._compared < GROWN and not waited and self.stream.fed:
            return
        self._compared = newest
        way, late = compared(self.host, self.stream, self.run, self._all)
        if late and not waited and self.stream.fed:
            return
        sent, self._sent = self._sent, []
        everything, self._all = self._all, []
        if late and not waited:
            self.host.go(Deciding(self.host, self.stream, self.run), everything)
        elif way is not None and not late:
            self.host.go(way, everything)
        else:
            self.host.go(Passing(self.host, self.stream, self.run), sent)


class Resting(Way):
    """Waits until nobody feeds the stream."""

    @override
    def open(self, record: SegmentOpen) -> None:
        """Try again when nobody does, or only a backup."""
        if not self.stream.fed or self.stream.backup:
            self.host.enter(record.run, [record])


def lasts(run: RunInfo, sent: Sequence[Sent], newest: int) -> int:
    """How many ticks of the run the source sent.

    @param newest: DTS of the newest frame.
    """
    for each in sent:
        if isinstance(each, tuple) and each[1].run_id == run.run_id:
            return newest - each[0].start
        if isinstance(each, SegmentOpen):
            return newest - each.opening.start
    return 0


def compared(host: Host, stream: Stream, run: RunInfo, sent: Sequence[Sent]) -> tuple[Mapping | None, bool]:
    """The way of a run that has the content the stream shows.

    @param sent: what the source sent so far.
    @return: None when it is not proved to be the same; and whether it is the same, but so far behind what is
        shown that it is not the same now: a film that was begun anew, or more is about to come.
    """
    tracks: Tracks = ()
    frames: list[Frame] = []
    newest = 0
    number: int | None = None
    for each in sent:
        if isinstance(each, tuple):
            segment, of = each
            if of.run_id != run.run_id:
                continue
            broken = segment.discontinuity or number not in (None, segment.number - 1)
            if broken or not same_tracks(segment.tracks, tracks):
                frames.clear()
            tracks = segment.tracks
            frames += segment.frames()
            number = newest = segment.number
        elif isinstance(each, SegmentOpen):
            opening = each.opening
            broken = opening.discontinuity or number not in (None, opening.number - 1)
            if broken or not same_tracks(opening.tracks, tracks):
                frames.clear()
            tracks = opening.tracks
            number = newest = opening.number
        elif isinstance(each, Frames):
            frames += each.frames
    ours = running_frames(stream)
    ids = match_tracks(tracks, stream.tracks)
    if ids is None or not ours or not frames:
        return None, False
    match = match_content(ours, frames, ids, stream.tracks)
    if match is None:
        return None, False
    late = max(frame.dts for frame in frames) + match.offset < host.expected(stream) - REPLAYED
    way = Mapping(host, stream, run, Splice(stream, match, ids), tracks)
    way.begun(newest)
    return way, late
