"""One segment as MPEG-TS: a pure function of its tracks and frames.

Any run of segments is one continuous transport stream, with no state carried from one to the next: in every
segment each counter begins at 0, and each PID ends on a multiple of 16 packets with a payload. The access
unit that comes last in a PID is spread over as many more packets as that takes, and the tables come as often
as it takes, evenly.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from itertools import pairwise
from typing import Final

from attrs import define

from restreamer.errors import MediaError
from restreamer.media.frame import Frame
from restreamer.media.track import Tracks
from restreamer.mpegts.packet import PACKET_SIZE, PacketWriter
from restreamer.mpegts.pes import PTS_DTS_HEADER, PTS_HEADER
from restreamer.mpegts.program import MAX_PAUSE, MAX_SPACING, Program, ProgramWriter, Stream, program_of

_CYCLE: Final = 16
#: Rounds of 16 more tables that are tried to bring them within L{MAX_SPACING} of each other.
_MORE_TABLES: Final = 4
#: Table sets in one segment, whatever its times say.
_MAX_TABLES: Final = 4096
#: Time given to a track's only frame.
_LONE_FRAME: Final = 3600


@define(eq=False)
class _Slot:
    """A place in the segment: an access unit, or a clock packet where C{stream} is None.

    @ivar time: ticks. @ivar packets: what is written there. @ivar field: adaptation field of the first.
    @ivar counter: continuity counter of the first packet. @ivar size: bytes of the PES packet.
    """

    time: int
    packets: bytes
    stream: Stream | None = None
    frame: Frame | None = None
    field: bytes = b""
    counter: int = 0
    size: int = 0

    @property
    def count(self) -> int:
        """Packets written."""
        return len(self.packets) // PACKET_SIZE


def mux_segment(
    tracks: Tracks, frames: Sequence[Frame], *, title: str = "", discontinuity: bool = False
) -> bytes:
    """The transport stream of one segment.

    The first frame stays first (it is the keyframe the segment was cut at), the others are interleaved by
    DTS. Frames of tracks that MPEG-TS cannot carry, and frames that are no valid access unit, are left out.

    @param frames: of absolute UTC times; they are written modulo 2**33.
    @param title: the service's name in an SDT; none is written when empty.
    @param discontinuity: the first packet of every elementary stream says that the time base is new.
    """
    program = program_of(tracks, title)
    writer = ProgramWriter(program)
    if discontinuity:
        writer.broken.update(writer.by_pid)
    slots, end = _slots(program, writer, frames)
    _round_up(slots, writer)
    places = _table_places([slot.time for slot in slots], end) if slots else [0] * _CYCLE
    service_every = len(places) // _CYCLE
    parts: list[bytes] = []
    done = 0
    for number, place in enumerate(places):
        parts += [slot.packets for slot in slots[done:place]]
        parts.append(writer.tables(number % service_every == 0))
        done = place
    parts += [slot.packets for slot in slots[done:]]
    return b"".join(parts)


def _slots(program: Program, writer: ProgramWriter, frames: Sequence[Frame]) -> tuple[list[_Slot], int]:
    """Access units in the order they are written, and clock packets where the PCR would be too far apart.

    @return: the slots, and the time at which the next segment will begin if the frames go on as they did.
    """
    slots: list[_Slot] = []
    now = clock = 0
    frame_time = _LONE_FRAME
    for frame in (*frames[:1], *sorted(frames[1:], key=_dts)):
        stream = program.streams.get(frame.track_id)
        if stream is None:
            continue
        try:
            head, body, at = stream.form.unit(frame, stream.stream_id)
        except MediaError:
            continue
        if not slots:
            now = clock = frame.dts
            if not stream.clock:
                slots.append(_Slot(now, writer.clock_packet(now)))
        now = max(now, frame.dts)
        filled = _fill(slots, writer, clock, now)
        field = writer.field_of(stream, frame)
        packets = writer.by_pid[stream.pid]
        counter = packets.counter
        written = packets.write(head, body, at, field)
        slots.append(_Slot(now, written, stream, frame, field, counter, len(head) + len(body) - at))
        if stream.clock:
            frame_time = now - clock or frame_time
            clock = now
        else:
            clock = filled
    end = max(now, clock + min(frame_time, MAX_PAUSE))
    _fill(slots, writer, clock, end)
    return slots, end


def _dts(frame: Frame) -> int:
    return frame.dts


def _fill(slots: list[_Slot], writer: ProgramWriter, clock: int, now: int) -> int:
    """Add clock packets, from the last PCR at C{clock} on, until C{now} is near enough; return the last."""
    if now - clock > MAX_PAUSE:
        return now
    while now - clock > MAX_SPACING:
        clock += MAX_SPACING
        slots.append(_Slot(clock, writer.clock_packet(clock)))
    return clock


def _round_up(slots: list[_Slot], writer: ProgramWriter) -> None:
    """Spread each PID's last access units over the packets that are missing to a multiple of 16."""
    for pid, packets in writer.by_pid.items():
        units = [slot for slot in slots if slot.stream is not None and slot.stream.pid == pid]
        missing = -sum(slot.count for slot in units) % _CYCLE
        counts: list[int] = []
        for slot in reversed(units):
            if not missing:
                break
            more = max(0, min(missing, 1 + slot.size - _header_size(slot) - slot.count))
            counts.append(slot.count + more)
            missing -= more
        if not counts:
            continue
        counts[0] += missing
        first = units[-len(counts)]
        packets.counter = first.counter
        for slot in slots[slots.index(first) :]:
            if slot.stream is None and pid == writer.program.pcr_pid:
                slot.packets = packets.mark_again(slot.packets)
            elif slot.stream is not None and slot.stream.pid == pid:
                _spread(slot, counts.pop(), packets)


def _header_size(slot: _Slot) -> int:
    return PTS_DTS_HEADER if slot.frame is not None and slot.frame.cts else PTS_HEADER


def _spread(slot: _Slot, count: int, packets: PacketWriter) -> None:
    """Write the access unit of C{slot} again, over C{count} packets."""
    assert slot.stream is not None and slot.frame is not None
    head, body, at = slot.stream.form.unit(slot.frame, slot.stream.stream_id)
    slot.packets = packets.write_spread(head + body[at:], _header_size(slot), count, slot.field)


def _table_places(times: Sequence[int], end: int) -> list[int]:
    """Slots before which PAT and PMT go: a multiple of 16, evenly, near enough to each other if possible."""
    clocks = []
    now = times[0]
    for time in times:
        now = max(now, time)
        clocks.append(now)
    begin = clocks[0]
    length = max(end - begin, 1)
    rounds = min(-(-length // (_CYCLE * MAX_SPACING)), _MAX_TABLES // _CYCLE)
    places: list[int] = []
    for more in range(_MORE_TABLES):
        count = _CYCLE * (rounds + more)
        places = [0]
        places += [bisect_right(clocks, begin + k * length // count) - 1 for k in range(1, count)]
        marks = [clocks[place] for place in places]
        marks.append(end)
        if all(late - early <= MAX_SPACING for early, late in pairwise(marks)):
            break
    return places
