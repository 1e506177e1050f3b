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
from restreamer.live.turns import Turn
from restreamer.m4f.records import Frames, PartClose, RunInfo, SegmentClose, SegmentOpen
from restreamer.m4f.segment import Segment, SegmentOpening
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
#: The newest of either side that is compared first; everything only when that is not the same. Ticks.
ENOUGH = 6 * TICKS_PER_SECOND
#: Numbers that are not closed here are taken from the source up to so many, the open one included.
MOST_LACKING = 3


class _Undecided(Way):
    """A way that keeps what comes for another one."""

    def __init__(self, host: Host, stream: Stream, run: RunInfo) -> None:
        super().__init__(host, stream, run)
        self._turn: Turn | None = None
        self._waits = False

    def _soon(self) -> None:
        """Look at what came when it is our turn: many streams may have to at once."""
        if not self._waits:
            self._waits = True
            turn = self.host.in_turn(self._looks)
            if self._waits:
                self._turn = turn

    def _looks(self) -> None:
        self._turn = None
        self._waits = False
        if self._same_run():
            self._pass_on([])
        else:
            self._look()

    def _look(self) -> None:
        """Compare, if there is reason to."""

    def _call_off(self) -> None:
        if self._turn is not None:
            self._turn.cancel()
            self._turn = None

    def _same_run(self) -> bool:
        run = self.stream.run
        return run is not None and run.run_id == self.run.run_id

    def _pass_on(self, sent: Sequence[Sent]) -> None:
        self._call_off()
        passing = Passing(self.host, self.stream, self.run, at_once=not self.stream.fed)
        self.host.go(passing, [*self.came(), *sent])

    @override
    def take(self, sent: Sent) -> None:
        """Take it; when the stream has come to this very run meanwhile, by another input, go on with it."""
        if self._same_run():
            self._pass_on([sent])
        else:
            super().take(sent)

    @override
    def lose(self, reason: str) -> None:
        """The input is gone."""
        self._call_off()
        super().lose(reason)

    def came(self) -> Sequence[Sent]:
        """Everything that came so far."""
        return ()


class Deciding(_Undecided):
    """Keeps what comes until the content can be compared: up to the first frames of the open segment.

    @param before: the writer of this puller's way until now, if it has one.
    """

    def __init__(self, host: Host, stream: Stream, run: RunInfo, before: StreamWriter | None = None) -> None:
        super().__init__(host, stream, run)
        self._sent: list[Sent] = []
        self._size = 0
        self._before = before
        self._since: int | None = None
        self._newest = 0
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
        self._newest = record.frames[-1].dts
        now = self.host.now()
        if self._since is None:
            self._since = now
        if self._ends(now) or self._newest - self._compared >= GROWN:
            self._soon()

    def _ends(self, now: int) -> bool:
        """Whether nothing more is waited for."""
        return self._fed_by_another() or (self._since is not None and now - self._since >= BURST)

    @override
    def _look(self) -> None:
        if self._ends(self.host.now()):
            self.settle()
            return
        newest = self._compared = self._newest
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
    def came(self) -> Sequence[Sent]:
        """What was kept."""
        return self._sent

    @override
    def kept(self) -> Sequence[Sent]:
        """The history."""
        return [each for each in self._sent if isinstance(each, tuple)]

    @override
    def lose(self, reason: str) -> None:
        """The input is gone, that of the way before included."""
        self._call_off()
        if self._before is not None:
            self._before.lose(reason)

    @override
    def settle(self) -> None:
        """Decide with what has come."""
        way, late = compared(self.host, self.stream, self.run, self._sent)
        self._go(None if late else way)

    def _go(self, way: Way | None) -> None:
        self._call_off()
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


class Awaiting(_Undecided):
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
        self._newest = 0
        self._waited = False

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
        self._keep(record)

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
        self._newest = record.frames[-1].dts
        self._waited = self.host.now() - self._begun > AWAIT
        if self._waited:
            shown = None
        for frame in record.frames:
            access = frame.key and (not video or frame.track_id in video)
            if access and (shown is None or frame.dts > shown or frame.dts < shown - FAR_BELOW):
                self._ready = True
                break
        young = self._young and record.frames[-1].dts - self._since < YOUNG
        if ((self._ready and not young) or not self.stream.fed) and self._may_begin():
            self._soon()

    @override
    def came(self) -> Sequence[Sent]:
        """What was kept: all of it, or of the open segment."""
        return self._all or self._sent

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

    def _may_begin(self) -> bool:
        return self._newest - self._compared >= GROWN or self._waited or not self.stream.fed

    @override
    def _look(self) -> None:
        """Look once more whether it is other content: at first there may have been too little to tell by."""
        waited = self._waited
        self._compared = self._newest
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
            self.host.go(Passing(self.host, self.stream, self.run), self._lacking(everything) or sent)

    def _lacking(self, everything: Sequence[Sent]) -> Sequence[Sent]:
        """What came from the first segment on whose number is not closed here.

        The segment that is open here is void when another run begins; where the source's clock is ahead of
        ours it has closed that number already, and nobody else will close it here.
        """
        last = self.stream.window.last_number
        newest = max((_number_of(each) or 0 for each in everything), default=0)
        if last is None or newest - last > MOST_LACKING:
            return []
        for place, each in enumerate(everything):
            number = _number_of(each)
            of_run = not isinstance(each, tuple) or each[1].run_id == self.run.run_id
            if number is not None and number > last and of_run:
                return everything[place:]
        return []


class Resting(Way):
    """Waits until nobody feeds the stream."""

    @override
    def open(self, record: SegmentOpen) -> None:
        """Try again when nobody does, or only a backup."""
        if not self.stream.fed or self.stream.backup:
            self.host.enter(record.run, [record])


def _number_of(sent: Sent) -> int | None:
    """The number of the segment that begins with C{sent}."""
    if isinstance(sent, tuple):
        return sent[0].number
    return sent.opening.number if isinstance(sent, SegmentOpen) else None


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
    tracks, newest, pieces = _unbroken(run, sent)
    ids = match_tracks(tracks, stream.tracks)
    if ids is None:
        return None, False
    match = None
    looked = 0
    for least in (ENOUGH, None):
        ours = running_frames(stream, least)
        frames = _newest_of(pieces, least)
        if not ours or not frames or len(ours) + len(frames) == looked:
            return None, False
        looked = len(ours) + len(frames)
        match = match_content(ours, frames, ids, stream.tracks)
        if match is not None:
            break
    if match is None:
        return None, False
    late = max(frame.dts for frame in frames) + match.offset < host.expected(stream) - REPLAYED
    way = Mapping(host, stream, run, Splice(stream, match, ids, run.run_id), tracks)
    way.begun(newest)
    return way, late


def _unbroken(run: RunInfo, sent: Sequence[Sent]) -> tuple[Tracks, int, list[Segment | Frames]]:
    """What the source sent of the run up to now without a hole or a break: its tracks, the newest segment's
    number, and the pieces.
    """
    tracks: Tracks = ()
    pieces: list[Segment | Frames] = []
    number: int | None = None
    for each in sent:
        if isinstance(each, Frames):
            pieces.append(each)
            continue
        begun: Segment | SegmentOpening
        if isinstance(each, SegmentOpen):
            begun = each.opening
        elif isinstance(each, tuple) and each[1].run_id == run.run_id:
            begun = each[0]
        else:
            continue
        broken = begun.discontinuity or number not in (None, begun.number - 1)
        if broken or not same_tracks(begun.tracks, tracks):
            pieces.clear()
        tracks = begun.tracks
        number = begun.number
        if isinstance(begun, Segment):
            pieces.append(begun)
    return tracks, number or 0, pieces


def _newest_of(pieces: Sequence[Segment | Frames], least: int | None) -> list[Frame]:
    """The frames of the newest pieces, of C{least} ticks or a little more; None: all."""
    found: list[Sequence[Frame]] = []
    end: int | None = None
    for piece in reversed(pieces):
        frames = piece.frames() if isinstance(piece, Segment) else piece.frames
        if not frames:
            continue
        found.append(frames)
        end = frames[-1].dts if end is None else end
        if least is not None and end - frames[0].dts >= least:
            break
    return [frame for frames in reversed(found) for frame in frames]
