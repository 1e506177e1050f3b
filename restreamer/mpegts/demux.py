"""MPEG-TS in: bytes of a transport stream to track tables and frames (ISO/IEC 13818-1 section 2.4; pure).

One program is read: the first whose map names a stream that can be. A new map keeps the streams that are
still in it, with their tracks. Damaged packets are left out, and with them the PES packet they belong to;
nothing that comes makes it stop, but bytes that are no transport stream at all.

Times come out on the sender's clock, in ticks without wraps.
"""

from __future__ import annotations

from typing import Final

from attrs import define, evolve, field

from restreamer.media.announce import NewTracks, TrackAnnouncer
from restreamer.media.frame import Frame
from restreamer.media.timebase import TICKS_PER_SECOND
from restreamer.media.track import Track
from restreamer.mpegts.packet import PACKET_SIZE
from restreamer.mpegts.packet_finder import PacketFinder
from restreamer.mpegts.pes_reader import PesReader
from restreamer.mpegts.program_map import ProgramMap, StreamLine, parse_pat, parse_pmt
from restreamer.mpegts.psi import PAT_PID
from restreamer.mpegts.section_reader import SectionReader
from restreamer.mpegts.stream_reader import AudioReader, TsClock, VideoReader, stream_reader

#: Ticks of sound that are waited through for the first picture's parameter sets.
VIDEO_WAIT: Final = 10 * TICKS_PER_SECOND
#: Largest id of a track.
_MAX_ID: Final = 255

Output = NewTracks | Frame


@define(eq=False)
class DemuxCounters:
    """What was wrong with a transport stream.

    @ivar continuity: gaps in the counters of its PIDs. @ivar damaged: packets that say they are.
    @ivar scrambled: packets that cannot be read. @ivar desync: how often packets had to be found again.
    @ivar bad_sections, @ivar bad_packets: sections, and PES packets, that were not whole or wrong.
    @ivar dropped: PES packets no frame could be made of.
    @ivar pat_changes, @ivar pmt_changes: other tables than before, the first ones left out.
    """

    continuity: int = 0
    damaged: int = 0
    scrambled: int = 0
    desync: int = 0
    bad_sections: int = 0
    bad_packets: int = 0
    dropped: int = 0
    pat_changes: int = 0
    pmt_changes: int = 0

    def named(self) -> dict[str, int]:
        """The counters as the API calls them."""
        return {
            "errors_ts_cc": self.continuity,
            "errors_ts_tei": self.damaged,
            "errors_ts_scrambled": self.scrambled,
            "errors_ts_psi": self.bad_sections,
            "errors_desync": self.desync,
            "errors_broken_payload": self.bad_packets + self.dropped,
            "ts_pat_changes": self.pat_changes,
            "ts_pmt_changes": self.pmt_changes,
        }


@define(eq=False)
class _Lane:
    """One PID that is read. @ivar counter: of its last packet, -1 before the first."""

    sections: SectionReader | None = None
    pes: PesReader | None = None
    reader: VideoReader | AudioReader | None = None
    line: StreamLine | None = None
    track_id: int = 0
    counter: int = -1
    last: bytes = b""

    def flush(self) -> None:
        """Nothing more comes of it for now: give what is whole."""
        if self.pes is not None:
            self.pes.flush()
        if self.reader is not None:
            self.reader.flush()

    def count_into(self, counters: DemuxCounters) -> None:
        """Add what was wrong with it."""
        counters.bad_sections += self.sections.bad if self.sections is not None else 0
        counters.bad_packets += self.pes.bad if self.pes is not None else 0
        counters.dropped += self.reader.dropped if self.reader is not None else 0


@define(eq=False)
class TsDemux:
    """Reads one transport stream.

    @ivar wanted: the number of the program to read; 0: the first that can be.
    @ivar counters: what was wrong with it. @ivar program: what is read now.
    """

    wanted: int = 0
    counters: DemuxCounters = field(factory=DemuxCounters)
    program: ProgramMap | None = field(default=None, init=False)
    _finder: PacketFinder = field(factory=PacketFinder, init=False)
    _lanes: dict[int, _Lane] = field(init=False)
    _maps: dict[int, int] = field(factory=dict, init=False)
    _clock: TsClock = field(factory=TsClock, init=False)
    _announcer: TrackAnnouncer = field(factory=lambda: TrackAnnouncer(()), init=False)
    _pictures: set[int] = field(factory=set, init=False)
    _sounds: dict[int, Track] = field(factory=dict, init=False)
    _since: int | None = field(default=None, init=False)
    _out: list[Output] = field(factory=list, init=False)

    def __attrs_post_init__(self) -> None:
        self._lanes = {PAT_PID: _Lane(sections=SectionReader())}

    @property
    def losses(self) -> int:
        """How often packets had to be found again among other bytes."""
        return self._finder.losses

    @property
    def bad_units(self) -> int:
        """PES packets and sections that were not whole, of the streams read now."""
        bad = 0
        for lane in self._lanes.values():
            bad += lane.pes.bad if lane.pes is not None else 0
            bad += lane.sections.bad if lane.sections is not None else 0
        return bad

    def counted(self) -> DemuxCounters:
        """What was wrong with it so far, all together."""
        found = evolve(self.counters)
        for lane in self._lanes.values():
            lane.count_into(found)
        found.desync += self._finder.losses
        return found

    def receive(self, data: bytes) -> list[Output]:
        """Take bytes of the stream; give what they complete.

        @raise RemoteProtocolError: there are no packets in them.
        """
        data, places = self._finder.receive(data)
        lanes = self._lanes
        for at in places:
            lane = lanes.get((data[at + 1] & 0x1F) << 8 | data[at + 2])
            if lane is not None:
                self._packet(lane, data, at)
        return self._given()

    def boundary(self) -> list[Output]:
        """A segment ended, and another one begins: packets are whole, counters begin anew."""
        for lane in list(self._lanes.values()):
            lane.flush()
            lane.counter = -1
        self.counters.desync += self._finder.losses
        self._finder = PacketFinder()
        return self._given()

    def flush(self) -> list[Output]:
        """No more comes: give what is held."""
        for lane in list(self._lanes.values()):
            lane.flush()
        self._pictures.clear()
        self._tell_sounds()
        return [*self._given(), *self._announcer.flush()]

    def _given(self) -> list[Output]:
        out = self._out
        if out:
            self._out = []
        return out

    def _packet(self, lane: _Lane, data: bytes, at: int) -> None:
        flags, control = data[at + 1], data[at + 3]
        if flags & 0x80:
            self.counters.damaged += 1
            return
        begin = at + 4
        announced = False
        if control & 0x20:
            length = data[begin]
            if length > 183:
                self.counters.damaged += 1
                return
            announced = length > 0 and data[begin + 1] & 0x80 != 0
            begin += 1 + length
        end = at + PACKET_SIZE
        if not control & 0x10 or begin >= end:
            if announced:
                lane.counter = -1
            return
        if control & 0xC0:
            self.counters.scrambled += 1
            return
        counter = control & 0x0F
        payload = data[begin:end]
        before = lane.counter
        if counter != before + 1 & 0x0F and before >= 0 and not announced:
            if counter == before and payload == lane.last:
                return
            self.counters.continuity += 1
            self._broken(lane)
        lane.counter = counter
        lane.last = payload
        if lane.pes is not None:
            lane.pes.receive(payload, flags & 0x40 != 0)
        elif lane.sections is not None:
            for section in lane.sections.receive(payload, flags & 0x40 != 0):
                self._section(lane, section)

    @staticmethod
    def _broken(lane: _Lane) -> None:
        if lane.pes is not None:
            lane.pes.broken()
        if lane.reader is not None:
            lane.reader.broken()
        if lane.sections is not None:
            lane.sections.reset()

    # Tables.

    def _section(self, lane: _Lane, section: bytes) -> None:
        if lane is self._lanes.get(PAT_PID):
            programs = parse_pat(section)
            if programs is not None and programs != self._maps:
                self._programs(programs)
            return
        program = parse_pmt(section)
        if program is None or program == self.program or self._maps.get(program.number) is None:
            return
        chosen = self.program
        if self._lanes.get(self._maps[program.number]) is not lane or not program.streams:
            return
        if self.wanted and program.number != self.wanted:
            return
        if chosen is None or chosen.number == program.number:
            self._read(program)

    def _programs(self, programs: dict[int, int]) -> None:
        """The PAT says something new."""
        lanes = self._lanes
        for pid in set(self._maps.values()) - set(programs.values()):
            lane = lanes.get(pid)
            if lane is not None and lane.sections is not None:
                lane.count_into(self.counters)
                del lanes[pid]
        self.counters.pat_changes += bool(self._maps)
        self._maps = programs
        for pid in programs.values():
            lane = lanes.get(pid)
            if lane is None or lane.sections is None:
                lanes[pid] = _Lane(sections=SectionReader())
        if self.program is not None and self.program.number not in programs:
            self.program = None

    def _read(self, program: ProgramMap) -> None:
        """Read the streams of C{program} from here on."""
        self.counters.pmt_changes += bool(self.program)
        self.program = program
        lanes = self._lanes
        before = {lane.line: pid for pid, lane in lanes.items() if lane.line is not None}
        wanted = {line: line.pid for line in program.streams}
        for line, pid in before.items():
            if line not in wanted:
                lane = lanes.pop(pid)
                lane.flush()
                lane.count_into(self.counters)
                self._pictures.discard(lane.track_id)
                self._sounds.pop(lane.track_id, None)
        for line in sorted(program.streams, key=lambda line: not line.video):
            if line in before or (line.pid in lanes and lanes[line.pid].sections is not None):
                continue
            track_id = self._id_of(line)
            reader = stream_reader(track_id, line, self._clock, self._frame)
            if line.video:
                self._pictures.add(track_id)
            lanes[line.pid] = _Lane(pes=PesReader(reader.pes), reader=reader, line=line, track_id=track_id)
        self._announcer.expect([lane.track_id for lane in lanes.values() if lane.line is not None])

    def _id_of(self, line: StreamLine) -> int:
        """The id of a stream's track: the lowest that no stream of this program has."""
        taken = {lane.track_id for lane in self._lanes.values() if lane.line is not None}
        return next(number for number in range(1, _MAX_ID + 1) if number not in taken)

    # Frames.

    def _frame(self, track: Track | None, frame: Frame) -> None:
        """A stream gave a frame; C{track} is new."""
        if track is not None:
            if frame.track_id in self._pictures:
                self._pictures.discard(frame.track_id)
                self._announcer.track(track)
                if not self._pictures:
                    self._tell_sounds()
            elif self._pictures and not self._announcer.tracks and track.sample_rate:
                # Without the pictures the table would soon be followed by another one.
                self._sounds[track.track_id] = track
            else:
                self._announcer.track(track)
        if self._sounds:
            self._since = frame.dts if self._since is None else self._since
            if abs(frame.dts - self._since) > VIDEO_WAIT:
                self._pictures.clear()
                self._tell_sounds()
        self._out += self._announcer.frames(frame)

    def _tell_sounds(self) -> None:
        for track in self._sounds.values():
            self._announcer.track(track)
        self._sounds.clear()
        self._since = None
