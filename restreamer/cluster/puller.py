"""The pulling side of a media link: what the source sends becomes a run of the local stream, unchanged.

One puller feeds one stream over any number of links, one after the other. When a link returns and the run
is still the same, frames that came before are recognised by their index and not repeated: nothing is lost
and nothing doubled.
"""

from __future__ import annotations

from collections.abc import Callable

from attrs import evolve

from restreamer.cluster.seams import LinkWriter
from restreamer.errors import RemoteProtocolError
from restreamer.live.stream import Stream, StreamWriter
from restreamer.logs import Logger
from restreamer.m4f.live_form import LiveFormCheck, part_of
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
    SegmentClose,
    SegmentCopy,
    SegmentOpen,
)
from restreamer.m4f.segment import Segment
from restreamer.media.timebase import TICKS_PER_SECOND

_log = Logger()


class Puller:
    """A L{restreamer.cluster.seams.LinkHandler} that pulls one stream.

    @ivar remote_name: the stream's name at the source.
    @param stream: gives the local stream, made when needed.
    @ivar refused: told (code, text) when the source does not give the stream.
    @ivar fruitful: the link gave (or gives) the stream; the connector asks before it tries again.
    @ivar lag: ticks between now and the newest frame taken, as of that frame; None before the first.
    """

    def __init__(
        self,
        remote_name: str,
        stream: Callable[[], Stream],
        node_id: bytes,
        utc: Callable[[], int],
        refused: Callable[[int, str], None],
    ) -> None:
        self.remote_name = remote_name
        self.lag: int | None = None
        self.fruitful = False
        self.frames = 0
        self.bytes = 0
        self._stream_of = stream
        self._node_id = node_id
        self._utc = utc
        self._refused = refused
        self._link: LinkWriter | None = None
        self._stream: Stream | None = None
        self._writer: StreamWriter | None = None
        self._run_id: int | None = None
        self._skip = 0
        self._passed_over = False
        self._over = False
        self._check = LiveFormCheck()

    @property
    def linked(self) -> bool:
        """Whether a link is up."""
        return self._link is not None

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
        """Ask for the stream, from where we stand."""
        self._link = link
        self.fruitful = False
        if self._over:
            link.abort("not pulled any more")
            return
        self._check = LiveFormCheck()
        self._passed_over = False
        held = self._stream
        if held is None or held.ended or held.run is None or held.run.run_id != self._run_id:
            link.send(Pull(name=self.remote_name))
            return
        if held.open is not None:
            number, index = held.open.opening.number, len(held.open.frames)
        else:
            last = held.window.last_number
            number, index = (last + 1 if last is not None else 0), 0
        link.send(Pull(name=self.remote_name, run_id=held.run.run_id, number=number, frame_index=index))

    def record(self, record: Record) -> None:
        """Take what the source sends."""
        if self._over:
            return
        self._check.take(record)
        if isinstance(record, Frames):
            self._frames(record)
        elif isinstance(record, SegmentOpen):
            self._open(record)
        elif isinstance(record, SegmentClose):
            self._close(record)
        elif isinstance(record, SegmentCopy):
            self._copy(record)
        elif isinstance(record, PullAccepted):
            self._accepted(record)
        elif isinstance(record, RunEnd):
            self._lose(f"the source lost its input: {record.reason}")
        elif isinstance(record, PullRefused):
            self._refused(record.code, record.text)
        elif isinstance(record, PartClose):
            self._part(record)
        elif not isinstance(record, (Ping, Heartbeat, Goodbye)):
            raise RemoteProtocolError("media link", f"unexpected {type(record).__name__}")

    def resumed(self) -> None:
        """Nothing waits here."""

    def beat(self) -> None:
        """Say that we live."""
        if self._link is not None:
            self._link.send(Ping(sent_at=self._utc()))

    def link_down(self, reason: str) -> None:
        """The input is lost until the link returns."""
        self._link = None
        self._lose(f"link to the source lost: {reason}")

    def _lose(self, reason: str) -> None:
        if self._writer is not None:
            self._writer.lose(reason)
            self._writer = None

    # What the source sends.

    def _accepted(self, record: PullAccepted) -> None:
        if record.name != self.remote_name:
            raise RemoteProtocolError("media link", "the source answered with another stream's name")
        if not 0 < record.segment_duration <= 60 * TICKS_PER_SECOND:
            raise RemoteProtocolError("media link", "an impossible segment duration")
        self.fruitful = True
        self._begin(record.run, record.segment_duration, record.title)

    def _begin(self, run: RunInfo, segment_duration: int, title: str) -> None:
        if len(run.path) >= MAX_PATH:
            raise RemoteProtocolError("media link", f"the stream passed {len(run.path)} nodes already")
        if self._node_id in run.path:
            raise RemoteProtocolError("media link", "the stream passed this node before: a loop")
        self._stream = stream = self._stream_of()
        if title and not stream.title:
            stream.title = title
        self._run_id = run.run_id
        self._writer = stream.begin_run(self._ours(run), segment_duration, local=False)
        self._skip = 0

    def _ours(self, run: RunInfo) -> RunInfo:
        """The run with this node at the end of its path: how it is known from here on."""
        return evolve(run, path=(*run.path, self._node_id))

    def _writing(self) -> StreamWriter:
        if self._writer is None:
            raise RemoteProtocolError("media link", "media before the pull was accepted")
        if not self._writer.in_power:
            raise RemoteProtocolError("media link", "another input feeds the stream now")
        return self._writer

    def _open(self, record: SegmentOpen) -> None:
        if self._writer is None and self._stream is None:
            self._writing()
        stream = self._stream
        assert stream is not None
        if self._writer is None or record.run.run_id != self._run_id:
            self._begin(record.run, stream.segment_duration, "")
        writer = self._writing()
        held = stream.open
        if held is not None and held.opening == record.opening:
            self._skip = len(held.frames)
            return
        self._skip = 0
        stream.begin_anew_below(record.opening.number)
        last = stream.window.last_number
        # Closed here before (another source was ahead, or the source began anew): the first one stays.
        self._passed_over = last is not None and record.opening.number <= last
        if not self._passed_over:
            writer.open(record.opening)

    def _frames(self, record: Frames) -> None:
        writer = self._writing()
        if self._passed_over:
            return
        frames = record.frames
        if self._skip:
            known = min(self._skip, len(frames))
            self._skip -= known
            frames = frames[known:]
            if not frames:
                return
        if writer.stream.open is None:
            raise RemoteProtocolError("media link", "frames outside a segment")
        writer.frames(frames)
        self.frames += len(frames)
        self.bytes += sum(len(frame.data) for frame in frames)
        self.lag = self._utc() - frames[-1].dts

    def _part(self, record: PartClose) -> None:
        held = self._writing().stream.open
        part = part_of(record)
        if self._passed_over:
            return
        # A part that ends within the frames held from an earlier link was closed then.
        if held is not None and not (held.parts and held.parts[-1].first_frame >= part.first_frame):
            held.close_part(part)

    def _close(self, record: SegmentClose) -> None:
        writer = self._writing()
        if self._passed_over:
            self._passed_over = False
            return
        held = writer.stream.open
        if held is None or held.opening.number != record.number:
            raise RemoteProtocolError("media link", "the close of a segment that is not open")
        if writer.close(record.duration, record.checksum) is None:
            # The next link gets the whole segment again, from the source's window.
            raise RemoteProtocolError("media link", f"segment {record.number} fails its checksum")

    def _copy(self, record: SegmentCopy) -> None:
        writer = self._writing()
        writer.copy(Segment.parse(record.encoded), self._ours(record.run))
