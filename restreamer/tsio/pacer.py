"""When which packets of a transport stream are sent (pure: the caller brings the time).

Frames wait until their turn, then their packets go out spread over a little while. With a rate, every packet
has its place in time: where there is none to send, a null packet stands. The PCR comes in packets of its own,
at the head of a datagram, and is written last of all, so that it is true when the datagram leaves.
"""

from __future__ import annotations

from collections import deque
from typing import Final

from restreamer.errors import MediaError
from restreamer.media.frame import Frame
from restreamer.media.timebase import MPEGTS_MASK
from restreamer.media.track import Tracks
from restreamer.mpegts.packet import DISCONTINUITY, PACKET_SIZE, PacketWriter, adaptation_field
from restreamer.mpegts.program import ProgramLayout, ProgramWriter, program_of
from restreamer.tsio.sending_clock import SEND_AHEAD, SendingClock

#: Packets in a datagram: what fits an Ethernet frame.
PER_DATAGRAM: Final = 7
#: Seconds from PCR to PCR at least, a little less than two turns, so that it never waits for a third; the
#: tables come as often, in seconds, and the name of the service.
PCR_EVERY: Final = 0.018
TABLES_EVERY: Final = 0.1
SERVICE_EVERY: Final = 1.0
#: Without a rate: seconds over which packets that became due are spread.
SPREAD: Final = 0.1
#: Frames, and bytes of them, that wait at most.
MAX_WAITING: Final = 4096
MAX_BYTES: Final = 16 * 1024 * 1024
#: With a rate: seconds of it that are caught up with when a turn was late.
_CATCH_UP: Final = 0.05
_NULL: Final = b"\x47\x1f\xff\x10" + b"\xff" * 184
_NONE: Final = -1.0
#: Where the PCR is in a packet that has one.
_PCR_PLACE: Final = 6


class Pacer:
    """Muxes one stream for one receiver.

    @ivar overflows: how often everything that waited was thrown away, because the rate is too low or the
        frames came much too early. @ivar clock: what the PCR shows.
    """

    def __init__(self, layout: ProgramLayout, title: str, bitrate: int = 0) -> None:
        """@param layout: with the clock aside. @param bitrate: bits/s of all; 0: as much as there is."""
        self._layout = layout
        self._title = title
        self._rate = bitrate / 8 / PACKET_SIZE
        self.clock = SendingClock()
        self._writer = ProgramWriter(program_of((), title, layout))
        self._waiting: deque[Frame] = deque()
        self._waiting_bytes = 0
        self._packets: deque[bytes] = deque()
        self._counters: dict[int, int] = {}
        self._broken = self._clock_ahead = False
        self._need_key = True
        self._begun = _NONE
        self._sent = self._table_packets = 0
        self._pcr_at = self._tables_at = self._service_at = self._turn_at = _NONE
        self.overflows = 0

    @property
    def running(self) -> bool:
        """Whether anything has been sent or waits."""
        return self._begun != _NONE

    def configure(self, tracks: Tracks, discontinuity: bool = False) -> None:
        """The tracks from the next frame on."""
        while self._waiting:
            self._mux(self._take())
        self._writer.change(program_of(tracks, self._title, self._layout))
        if discontinuity:
            self._writer.broken.update(stream.pid for stream in self._writer.program.streams.values())
            self.clock.forget()
            self._need_key = True
        self._tables_at = _NONE

    def add(self, frame: Frame, now: float) -> None:
        """A frame came at C{now} seconds."""
        stream = self._writer.program.streams.get(frame.track_id)
        if stream is None:
            return
        if self._need_key:
            if not frame.key or stream.video != self._writer.program.has_video:
                return
            self._need_key = False
        if self.clock.arrived(frame.dts, now):
            # What still waits was of the clock before.
            while self._waiting:
                self._mux(self._take())
            self._broken = self.running
        self._waiting.append(frame)
        self._waiting_bytes += len(frame.data)
        if len(self._waiting) > MAX_WAITING or self._waiting_bytes > MAX_BYTES:
            self._overflow()
        if not self.running:
            self._begun = self._turn_at = now
            self._sent = 0

    def due(self, now: float) -> int:
        """How many packets may leave at C{now}, the last turn considered; the PCR's are among them."""
        if not self.running:
            return 0
        ticks = self.clock.ticks(now)
        waiting = self._waiting
        while waiting and waiting[0].dts - ticks <= SEND_AHEAD:
            self._mux(self._take())
        if now - self._tables_at >= TABLES_EVERY or self._tables_at == _NONE:
            self._add_tables(now)
        late, self._turn_at = now - self._turn_at, now
        if self._rate:
            room = (now - self._begun) * self._rate - self._sent
            if room > _CATCH_UP * self._rate + PER_DATAGRAM:
                # A turn came much too late: that time is gone.
                self._begun += (room - _CATCH_UP * self._rate) / self._rate
                room = _CATCH_UP * self._rate
            if len(self._packets) > self._rate:
                self._overflow()
            return int(room)
        queued = len(self._packets)
        return min(queued, int(queued * min(1.0, late / SPREAD)) + PER_DATAGRAM)

    def datagram(self, now: float, room: int) -> bytes:
        """The next datagram.

        @param now: the moment, in seconds. @param room: packets that may still leave in this turn.
        @return: nothing when the turn is over; else what L{stamped} is to be called with.
        """
        self._clock_ahead = False
        if not self.running or (self._rate and room < PER_DATAGRAM):
            return b""
        if self._pcr_at == _NONE:
            # Receivers know nothing before the tables, then the clock.
            self._pcr_at = now - 2 * PCR_EVERY
            return self._fill([], self._table_packets)
        parts: list[bytes] = []
        clock_due = now - self._pcr_at >= PCR_EVERY
        if clock_due:
            self._pcr_at = now
            self._clock_ahead = True
            parts.append(self._clock_packet())
        most = PER_DATAGRAM if self._rate else min(PER_DATAGRAM, room + len(parts))
        if not clock_due and not self._rate and most < PER_DATAGRAM:
            return b""
        return self._fill(parts, most)

    def stamped(self, datagram: bytes, now: float) -> bytes:
        """What L{datagram} just gave, its PCR as of C{now} (section 2.4.3.5).

        @param now: the moment it leaves, in seconds: to be read when all else is done.
        """
        if not self._clock_ahead:
            return datagram
        self._clock_ahead = False
        ticks = self.clock.ticks(now)
        whole = int(ticks)
        pcr = (whole & MPEGTS_MASK) << 15 | 0x7E00 | int((ticks - whole) * 300)
        return datagram[:_PCR_PLACE] + pcr.to_bytes(6, "big") + datagram[_PCR_PLACE + 6 :]

    # Inside.

    def _fill(self, parts: list[bytes], most: int = PER_DATAGRAM) -> bytes:
        """A datagram of C{parts} and what waits."""
        packets = self._packets
        while len(parts) < most and packets:
            packet = packets.popleft()
            self._counters[(packet[1] & 0x1F) << 8 | packet[2]] = packet[3] & 0x0F
            parts.append(packet)
        if self._rate:
            parts += [_NULL] * (PER_DATAGRAM - len(parts))
        self._sent += len(parts)
        return b"".join(parts)

    def _take(self) -> Frame:
        frame = self._waiting.popleft()
        self._waiting_bytes -= len(frame.data)
        return frame

    def _mux(self, frame: Frame) -> None:
        writer = self._writer
        stream = writer.program.streams.get(frame.track_id)
        if stream is None:
            return
        try:
            unit = stream.form.unit(frame, stream.stream_id)
        except MediaError:
            return
        self._queue(writer.write(stream, frame, unit))

    def _queue(self, data: bytes) -> None:
        self._packets.extend(data[at : at + PACKET_SIZE] for at in range(0, len(data), PACKET_SIZE))

    def _add_tables(self, now: float) -> None:
        service = now - self._service_at >= SERVICE_EVERY or self._service_at == _NONE
        if service:
            self._service_at = now
        self._tables_at = now
        data = self._writer.tables(service)
        tables = [data[at : at + PACKET_SIZE] for at in range(0, len(data), PACKET_SIZE)]
        self._packets.extendleft(reversed(tables))
        self._table_packets = len(tables)

    def _clock_packet(self) -> bytes:
        """A packet of the PCR alone, with the counter of the last one sent of its PID (section 2.4.3.3)."""
        pid = self._writer.program.pcr_pid
        flags = DISCONTINUITY if self._broken else 0
        self._broken = False
        writer = PacketWriter(pid)
        writer.counter = self._counters.get(pid, 15) + 1 & 15
        return writer.mark(adaptation_field(flags, 0))

    def _overflow(self) -> None:
        """Begin anew at the next keyframe."""
        self.overflows += 1
        self._waiting.clear()
        self._waiting_bytes = 0
        self._packets.clear()
        self._need_key = True
        self.clock.forget()
        self._writer.broken.update(stream.pid for stream in self._writer.program.streams.values())
