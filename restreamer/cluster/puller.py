"""The pulling side of a media link: what the source sends feeds the local stream.

One puller feeds one stream over any number of links, one after the other. How what comes enters the running
timeline is decided when the source says which run it has (L{restreamer.cluster.entering}): the same run goes
on frame by frame, the same content of another ingest node is mapped, other content follows behind a break.

A closed segment that fails its checksum is asked for again on the same link, once; when it fails again the
link is given up.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from attrs import evolve

from restreamer.cluster.entering import Deciding, Resting
from restreamer.cluster.seams import LinkWriter
from restreamer.cluster.ways import Mapping, Passing, Sent, Way
from restreamer.errors import RemoteProtocolError
from restreamer.live.splice import Splice
from restreamer.live.stream import Stream, StreamWriter
from restreamer.live.turns import Turn, Turns
from restreamer.logs import Logger
from restreamer.m4f.layout import MAX_NUMBER
from restreamer.m4f.live_form import LiveFormCheck
from restreamer.m4f.records import (
    MAX_PATH,
    Frames,
    Goodbye,
    Heartbeat,
    PartClose,
    Ping,
    Pull,
    PullAccepted,
    PullRefused,
    Record,
    RunEnd,
    RunInfo,
    SegmentAsk,
    SegmentClose,
    SegmentCopy,
    SegmentLacking,
    SegmentOpen,
)
from restreamer.m4f.segment import Segment
from restreamer.media.frame import Frame
from restreamer.media.timebase import TICKS_PER_SECOND
from restreamer.media.track import Tracks

_log = Logger()

#: Segments that may be asked for again at once.
MAX_ASKED = 16


def _delivered() -> None:
    """Used when nobody wants to be told."""


def _lost(reason: str, link: bool) -> None:
    """Used when nobody wants to be told."""


class Puller:
    """A L{restreamer.cluster.seams.LinkHandler} that pulls one stream.

    @ivar remote_name: the stream's name at the source.
    @param stream: gives the local stream, made when needed.
    @ivar refused: told (code, text) when the source does not give the stream.
    @param delivered: told each time this puller has taken the stream's writer.
    @param lost: told (reason, link) when it cannot feed the stream (any more). C{link}: the link is down (it
        was lost, or closed because the pull was refused or a segment came damaged twice); otherwise the
        source lost its own input: when frames come again they feed the stream again if nobody else does.
    @param standby: keep the link and ask for nothing until L{activate}.
    @param held: gives the local stream if there is one, to ask for what it lacks; by default the one this
        puller fed before.
    @param turns: where what takes long waits for its turn; None: it is done at once.
    @ivar active: the stream is asked for. @ivar frames, @ivar bytes: written to the stream so far.
    @ivar fruitful: the link gave (or gives) the stream; the connector asks before it tries again.
    @ivar lag: ticks between now and the newest frame taken, as of that frame; None before the first.
    @ivar repairs: segments that came damaged and were asked for again.
    """

    def __init__(
        self,
        remote_name: str,
        stream: Callable[[], Stream],
        node_id: bytes,
        utc: Callable[[], int],
        refused: Callable[[int, str], None],
        *,
        delivered: Callable[[], None] = _delivered,
        lost: Callable[[str, bool], None] = _lost,
        standby: bool = False,
        held: Callable[[], Stream | None] | None = None,
        turns: Turns | None = None,
    ) -> None:
        self.remote_name = remote_name
        self.active = not standby
        self.lag: int | None = None
        self.fruitful = False
        self.frames = 0
        self.bytes = 0
        self.repairs = 0
        self._stream_of = stream
        self._node_id = node_id
        self._utc = utc
        self._refused = refused
        self._delivered = delivered
        self._lost = lost
        self._held = held
        self._turns = turns
        self._link: LinkWriter | None = None
        self._stream: Stream | None = None
        self._way: Way | None = None
        self._segment_duration = 0
        self._announced: int | None = None
        self._asked: dict[int, bool] = {}
        self._mapped: tuple[int, int, Splice, Tracks, int] | None = None
        self._input_ended = False
        self._told = False
        self._over = False
        self._check = LiveFormCheck()

    @property
    def linked(self) -> bool:
        """Whether a link is up."""
        return self._link is not None

    def activate(self) -> None:
        """Ask for the stream: now when a link is up, otherwise as soon as one is. Idempotent."""
        if not self.active and not self._over:
            self.active = True
            if self._link is not None:
                self._ask(self._link)

    def abandon(self, reason: str) -> None:
        """Close the link; another one may follow."""
        if self._link is not None:
            self._link.abort(reason)

    def stop(self, reason: str) -> None:
        """Feed the stream no more, whatever still comes. For good."""
        self._over = True
        self._lose(reason)

    # The link.

    def link_up(self, link: LinkWriter) -> None:
        """Ask for the stream, from where we stand; nothing when we stand by."""
        self._link = link
        self.fruitful = False
        self._announced = None
        self._told = False
        self._check = LiveFormCheck()
        if self._over:
            link.abort("not pulled any more")
        elif self.active:
            self._ask(link)

    def record(self, record: Record) -> None:
        """Take what the source sends."""
        if self._over:
            return
        self._check.take(record)
        if isinstance(record, (Frames, PartClose, SegmentClose)):
            if self._way is None:
                raise RemoteProtocolError("media link", "media before the pull was accepted")
            self._way.take(record)
        elif isinstance(record, SegmentOpen):
            self._opened(record)
        elif isinstance(record, SegmentCopy):
            self._copied(record)
        elif isinstance(record, PullAccepted):
            self._accepted(record)
        elif isinstance(record, RunEnd):
            self._run_ended(f"the source lost its input: {record.reason}")
        elif isinstance(record, PullRefused):
            self._refused(record.code, record.text)
            self._give_up(f"refused: {record.text}")
        elif isinstance(record, SegmentLacking):
            self._asked.pop(record.number, None)
        elif not isinstance(record, (Ping, Heartbeat, Goodbye)):
            raise RemoteProtocolError("media link", f"unexpected {type(record).__name__}")

    def resumed(self) -> None:
        """Nothing waits here."""

    def beat(self) -> None:
        """Say that we live."""
        if self._link is not None:
            if not self.active:
                self.fruitful = True
            self._link.send(Ping(sent_at=self._utc()))

    def link_down(self, reason: str) -> None:
        """The input is lost until the link returns."""
        self._link = None
        text = f"link to the source lost: {reason}"
        silent = self._told or (self._way is not None and self._way.displaced)
        self._lose(text)
        self._input_ended = False
        if self.active and not self._over and not silent:
            self._told = True
            self._lost(text, True)

    # What a way needs (L{restreamer.cluster.ways.Host}).

    def take_stream(self, stream: Stream, run: RunInfo) -> StreamWriter:
        """Begin C{run} on the stream, whoever fed it."""
        writer = stream.begin_run(self.ours(run), self._segment_duration, local=False)
        self.has_taken()
        return writer

    def has_taken(self) -> None:
        """This puller feeds the stream from here on."""
        self._input_ended = False
        self._delivered()

    def go(self, way: Way, sent: Sequence[Sent]) -> None:
        """Go on by C{way}."""
        if not isinstance(way, type(self._way)):
            _log.info("stream {name}: {way}", name=self.remote_name, way=type(way).__name__.lower())
        self._way = way
        for each in sent:
            if self._way is not None:
                self._way.take(each)

    def enter(self, run: RunInfo, sent: Sequence[Sent] = ()) -> None:
        """Find out how C{run} enters the stream."""
        if len(run.path) >= MAX_PATH:
            raise RemoteProtocolError("media link", f"the stream passed {len(run.path)} nodes already")
        if self._node_id in run.path:
            raise RemoteProtocolError("media link", "the stream passed this node before: a loop")
        stream = self._stream = self._stream_of()
        way = self._way
        if way is not None and way.stream is stream and way.writer is not None:
            if way.displaced or way.run.run_id == run.run_id:
                self.go(way, sent)
                return
            if isinstance(way, Passing) and not way.live:
                # Only history so far: the run that follows may hold what was shown, too.
                self.go(Deciding(self, stream, run, way.writer), sent)
            else:
                self.go(Passing(self, stream, run), sent)
            return
        kept: Sequence[Sent] = ()
        if way is not None and way.stream is stream:
            kept = way.kept()
            way.lose("another run follows")
        self.go(self._way_of(stream, run), [*kept, *sent])

    def took(self, frames: Sequence[Frame]) -> None:
        """Count frames that were written."""
        self.frames += len(frames)
        self.bytes += sum(len(frame.data) for frame in frames)
        self.lag = self._utc() - frames[-1].dts
        if self._stream is not None:
            self._stream.lag = self.lag

    def in_turn(self, work: Callable[[], None]) -> Turn | None:
        """Do C{work} when it is its turn; gives what calls it off, None when it was done at once."""
        if self._turns is None:
            work()
            return None
        return self._turns.ask(partial(self._do, work))

    def _do(self, work: Callable[[], None]) -> None:
        """Work that did not begin with a record: what it raises ends the link all the same."""
        try:
            work()
        except RemoteProtocolError as error:
            _log.warn("media link of {name} closed: {error}", name=self.remote_name, error=error)
            self._give_up(str(error))
        except Exception:
            _log.failure("media link of {name} closed by a fault of ours", name=self.remote_name)
            self._give_up("internal error")

    def now(self) -> int:
        """UTC, ticks."""
        return self._utc()

    def expected(self, stream: Stream) -> int:
        """Where C{stream} would be by now if its input had gone on: DTS in ticks."""
        return self._utc() - (stream.lag or 0)

    def damaged(self, number: int, shown: bool = True) -> None:
        """Ask for a segment again; a second time the link is given up."""
        link = self._link
        if number in self._asked or len(self._asked) >= MAX_ASKED:
            self._give_up(f"segment {number} came damaged again")
        elif link is not None:
            _log.warn("segment {number} of {name} came damaged", number=number, name=self.remote_name)
            self.repairs += 1
            self._asked[number] = shown
            link.send(SegmentAsk(number))

    def seen(self, number: int) -> bool:
        """Whether the closed segment was asked for because its live form, which was shown, was damaged."""
        return self._asked.get(number, False)

    def give_up(self, reason: str) -> None:
        """Close the link: another source is to feed the stream."""
        _log.warn("media link of {name} given up: {reason}", name=self.remote_name, reason=reason)
        self._give_up(reason)

    def ours(self, run: RunInfo) -> RunInfo:
        """The run with this node at the end of its path: how it is known from here on."""
        return evolve(run, path=(*run.path, self._node_id))

    # What the source sends.

    def _accepted(self, record: PullAccepted) -> None:
        if record.name != self.remote_name:
            raise RemoteProtocolError("media link", "the source answered with another stream's name")
        if not 0 < record.segment_duration <= 60 * TICKS_PER_SECOND:
            raise RemoteProtocolError("media link", "an impossible segment duration")
        self.fruitful = True
        self._segment_duration = record.segment_duration
        self._announced = record.run.run_id
        self.enter(record.run)
        stream = self._stream
        if stream is not None and record.title and not stream.title:
            stream.title = record.title

    def _opened(self, record: SegmentOpen) -> None:
        if record.run.run_id != self._announced:
            raise RemoteProtocolError("media link", "media before the pull was accepted, or of another run")
        way = self._way
        if way is not None and way.displaced and way.stream.backup:
            # What took the stream is only a backup: the way is found anew.
            self._way = way = None
        if way is None or way.run.run_id != record.run.run_id:
            self.enter(record.run, [record])
        else:
            way.run = record.run
            way.take(record)

    def _copied(self, record: SegmentCopy) -> None:
        if self._way is None:
            raise RemoteProtocolError("media link", "media before the pull was accepted")
        try:
            segment = Segment.parse(record.encoded)
        except RemoteProtocolError as error:
            _log.warn("a segment of {name} came damaged: {error}", name=self.remote_name, error=error)
            self.damaged(self._number_of(record.encoded), shown=False)
            return
        self._way.take((segment, record.run))
        self._asked.pop(segment.number, None)

    def _number_of(self, encoded: bytes) -> int:
        """What the number of a damaged segment most likely is.

        @raise RemoteProtocolError: when nothing can be made of it.
        """
        number = int.from_bytes(encoded[13:21], "big")
        if len(self._asked) == 1 and number not in self._asked:
            (number,) = self._asked
        if number > MAX_NUMBER:
            raise RemoteProtocolError("media link", "a damaged segment without a number")
        return number

    def _run_ended(self, reason: str) -> None:
        way = self._way
        if way is not None:
            way.settle()
        silent = self._way is not None and self._way.displaced
        self._lose(reason)
        self._input_ended = True
        if self.active and not silent:
            self._lost(reason, False)

    # Inside.

    def _ask(self, link: LinkWriter) -> None:
        """Send the pull: what is held here the source need not send."""
        held = self._held() if self._held is not None else self._stream
        pull = Pull(name=self.remote_name)
        if held is not None and not held.ended and held.run is not None:
            run_id = held.run.run_id
            last = held.window.last_number
            number, index = (last + 1 if last is not None else 0), 0
            newest = held.window.last
            aside = held.window.aside and held.window.aside[-1].run.run_id == run_id
            if held.open is None and newest is not None and not aside:
                run_id = newest.run.run_id
            if self._mapped is not None and self._mapped[1] == run_id:
                run_id, number = self._mapped[0], self._mapped[4]
            elif held.open is not None and held.open.opening.number <= number:
                # Its number may be taken in the window by a segment of the run before.
                number, index = held.open.opening.number, len(held.open.frames)
            pull = Pull(name=self.remote_name, run_id=run_id, number=number, frame_index=index)
        link.send(pull)
        again, self._asked = self._asked, {}
        for number, shown in again.items():
            if held is not None and held.window.find(number) is None:
                self._asked[number] = shown
                link.send(SegmentAsk(number))

    def _way_of(self, stream: Stream, run: RunInfo) -> Way:
        shown = stream.run
        if self._input_ended and stream.fed and not stream.backup:
            return Resting(self, stream, run)
        if shown is None or (stream.open is None and stream.window.last is None):
            return Passing(self, stream, run)
        if shown.run_id == run.run_id:
            return Passing(self, stream, run, at_once=not stream.fed)
        mapped = self._mapped
        if mapped is not None and mapped[:2] == (run.run_id, shown.run_id) and mapped[2].stream is stream:
            splice = Splice(stream, mapped[2].match, mapped[2].tracks, run.run_id)
            way = Mapping(self, stream, run, splice, mapped[3])
            way.number = mapped[4]
            return way
        return Deciding(self, stream, run)

    def _lose(self, reason: str) -> None:
        way, self._way = self._way, None
        if way is None:
            return
        if isinstance(way, Mapping) and way.stream.run is not None:
            self._mapped = (way.run.run_id, way.stream.run.run_id, way.splice, way.tracks, way.number)
        way.lose(reason)

    def _give_up(self, reason: str) -> None:
        """Close the link and say so."""
        link = self._link
        self._asked.clear()
        silent = self._told or (self._way is not None and self._way.displaced)
        self._told = True
        self._lose(reason)
        if link is not None:
            link.abort(reason)
        if self.active and not self._over and not silent:
            self._lost(reason, True)
