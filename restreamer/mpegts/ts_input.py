"""A transport stream on its way into a stream of ours, whatever it comes by."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from restreamer.buckets import Pace
from restreamer.media.announce import NewTracks
from restreamer.media.frame import Frame
from restreamer.mpegts.demux import DemuxCounters, TsDemux
from restreamer.seams import FrameSink, tell_counts

#: What each read, and each frame, counts beside its bytes in the rate of a sender.
READ_BYTES: Final = 512
FRAME_BYTES: Final = 2048


def pass_on(outputs: Iterable[NewTracks | Frame], sink: FrameSink) -> float:
    """Give tables and frames to C{sink}, in their order, in as few calls as can be.

    @return: seconds for which the sender should not be read.
    """
    batch: list[Frame] = []
    wait = 0.0
    for output in outputs:
        if type(output) is Frame:
            batch.append(output)
            continue
        if batch:
            wait = sink.push(batch)
            batch = []
        assert isinstance(output, NewTracks)
        sink.configure(output.tracks)
    return sink.push(batch) if batch else wait


class TsInput:
    """Demuxes for one sink.

    @ivar bytes: taken so far. @ivar frames: tables and frames given on.
    @ivar ended: the sink was told of the end.
    """

    def __init__(self, sink: FrameSink, program: int = 0) -> None:
        """@param program: the number of the program to read; 0: the first that can be."""
        self._sink = sink
        self._demux = TsDemux(program)
        self._pace = Pace(FRAME_BYTES)
        self.bytes = self.frames = self._rushed = 0
        self.ended = False
        tell_counts(sink, self.counted)

    @property
    def counters(self) -> DemuxCounters:
        """What was wrong with the transport stream so far."""
        return self._demux.counters

    def counted(self) -> dict[str, int]:
        """What was wrong so far, as the API calls it."""
        return {**self._demux.counted().named(), "rushed_packets": self._rushed}

    def datagram(self, data: bytes, now: float) -> None:
        """Take bytes that nobody could leave unread: beyond the pace they are dropped.

        @raise RemoteProtocolError: they are no transport stream.
        """
        if self._pace.full(now):
            self._rushed += 1
        else:
            self.receive(data, now)

    def receive(self, data: bytes, now: float) -> float:
        """Take bytes.

        @param now: seconds.
        @return: seconds for which the sender should not be read.
        @raise RemoteProtocolError: they are no transport stream.
        """
        if self.ended:
            return 0.0
        self.bytes += len(data)
        outputs = self._demux.receive(data)
        self.frames += len(outputs)
        rushed = self._pace.take(len(data) + READ_BYTES, len(outputs), now)
        return max(rushed, pass_on(outputs, self._sink)) if outputs else rushed

    def end(self, reason: str, whole: bool = False) -> None:
        """No more comes. Idempotent.

        @param whole: it ended as it should: what is held is complete.
        """
        if self.ended:
            return
        self.ended = True
        try:
            if whole:
                pass_on(self._demux.flush(), self._sink)
        finally:
            self._sink.end(reason)
