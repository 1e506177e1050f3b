"""The live form of MPEG-TS: frame by frame, with counters that run on, the same bytes for every viewer."""

from __future__ import annotations

from typing import Final

from typing_extensions import override

from restreamer.errors import MediaError
from restreamer.media.codecs import mpegts_can_carry
from restreamer.media.frame import Frame
from restreamer.media.timebase import TICKS_PER_SECOND
from restreamer.media.track import Track, Tracks
from restreamer.mpegts.program import MAX_PAUSE, MAX_SPACING, ProgramWriter, program_of
from restreamer.seams import FeedMuxer

#: Ticks after which the next frame gets PAT and PMT before it. With frames of at most 100 ms they are then
#: never more than 100 ms apart.
_TABLES_AFTER: Final = TICKS_PER_SECOND // 20
#: Ticks after which they bring the SDT too.
_SERVICE_AFTER: Final = TICKS_PER_SECOND


class MpegTsFeedMuxer(FeedMuxer):
    """Muxes a stream's live frames for every MPEG-TS viewer at once.

    Every keyframe's bytes begin with PAT and PMT. Timestamps are UTC modulo 2**33, as in segments.
    """

    by_viewers = True

    def __init__(self, title: str = "") -> None:
        """@param title: the service's name in the SDT; without one there is no SDT."""
        self._title = title
        self._writer = ProgramWriter(program_of((), title))
        self._started = False
        self._tables_at = 0
        self._service_at = 0
        self._clock = 0

    @override
    def carries(self, track: Track) -> bool:
        """Whether MPEG-TS can carry C{track}."""
        return mpegts_can_carry(track)

    @override
    def configure(self, tracks: Tracks, run_start: int, discontinuity: bool) -> None:
        """Set the tracks. Counters run on; with C{discontinuity} the next packet of every PID tells of it.

        @param run_start: not used: MPEG-TS carries UTC.
        """
        self._writer.change(program_of(tracks, self._title))
        if discontinuity:
            self._writer.broken.update(stream.pid for stream in self._writer.program.streams.values())
        self._started = False

    @override
    def mux(self, frame: Frame) -> bytes:
        """The packets of C{frame}, with tables and clock packets before it where they are due.

        @return: nothing for a track MPEG-TS cannot carry, or a frame that is no valid access unit.
        """
        writer = self._writer
        stream = writer.program.streams.get(frame.track_id)
        if stream is None:
            return b""
        try:
            unit = stream.form.unit(frame, stream.stream_id)
        except MediaError:
            return b""
        dts = frame.dts
        if not self._started:
            self._start(dts, stream.clock)
        due = dts - self._tables_at >= _TABLES_AFTER or (frame.key and stream.video)
        late = dts - self._clock > MAX_SPACING
        if due or late:
            packets = self._before(dts, due) + writer.write(stream, frame, unit)
        else:
            packets = writer.write(stream, frame, unit)
        if stream.clock:
            self._clock = dts
        return packets

    @override
    def join_prefix(self) -> bytes:
        """Tables for a viewer whose first entry is muxed next; a video keyframe brings its own."""
        return b"" if self._writer.program.has_video else self._writer.lead_in(broken=False)

    @override
    def skip_prefix(self) -> bytes:
        """Tables and a marked packet per PID that lead a viewer from anywhere to the entry muxed next."""
        return self._writer.lead_in(broken=True)

    def _start(self, dts: int, clock: bool) -> None:
        """The first frame after C{configure}: tables are due, and the clock unless the frame brings it."""
        self._started = True
        self._tables_at = dts - _TABLES_AFTER
        self._service_at = dts - _SERVICE_AFTER
        self._clock = dts if clock else dts - MAX_SPACING - 1

    def _before(self, dts: int, due: bool) -> bytes:
        """What is due before a frame of C{dts}: tables first, then the clock up to it."""
        parts = []
        if due:
            parts.append(self._tables(dts))
        if dts - self._clock > MAX_PAUSE:
            self._clock = dts
        while dts - self._clock > MAX_SPACING:
            self._clock += MAX_SPACING
            parts.append(self._writer.clock_packet(self._clock))
        return b"".join(parts)

    def _tables(self, dts: int) -> bytes:
        service = dts - self._service_at >= _SERVICE_AFTER
        self._tables_at = dts
        if service:
            self._service_at = dts
        return self._writer.tables(service)
