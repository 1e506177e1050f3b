"""The one program of our transport streams: what never changes, and the counters that do.

PIDs are fixed by the track's id, so that they stay when another track comes or goes: PMT 0x1000, video
0x100 + id, audio 0x200 + id. The PCR goes with the first video track, or with the first audio track when
there is no picture.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Final

from attrs import field, frozen

from restreamer.media.frame import Frame
from restreamer.media.timebase import MPEGTS_MASK, TICKS_PER_SECOND
from restreamer.media.track import Track, TrackKind, Tracks
from restreamer.mpegts.elementary import ElementaryForm, elementary_form
from restreamer.mpegts.packet import DISCONTINUITY, RANDOM_ACCESS, PacketWriter, adaptation_field
from restreamer.mpegts.pes import AUDIO_STREAM_ID, VIDEO_STREAM_ID, Unit
from restreamer.mpegts.psi import (
    PAT_PID,
    PMT_PID,
    PROGRAM_NUMBER,
    SDT_PID,
    ProgramStream,
    pat_section,
    pmt_body,
    pmt_section,
    pmt_version,
    sdt_section,
)

#: Ticks by which the PCR runs before the DTS of the frame it comes with. A track may lag behind the others by
#: as much and still find its DTS ahead of the clock.
PCR_LEAD: Final = TICKS_PER_SECOND // 2
#: Ticks that two PCR, or two PAT and PMT, may be apart (ISO/IEC 13818-1 section 2.7.2 for the PCR).
MAX_SPACING: Final = TICKS_PER_SECOND // 10
#: A hole in the frames longer than this is a break, not a pause to be filled with clock packets.
MAX_PAUSE: Final = 10 * TICKS_PER_SECOND

VIDEO_PID: Final = 0x100
AUDIO_PID: Final = 0x200
NO_PCR_PID: Final = 0x1FFF

#: Streams of one program: their map stays within one section.
MAX_STREAMS: Final = 32

PROVIDER: Final = "Restreamer"


@frozen(kw_only=True)
class Stream:
    """One elementary stream of the program.

    @ivar form: how its access units are written. @ivar pid, stream_id: where. @ivar video: it has pictures.
    @ivar clock: it carries the PCR.
    """

    form: ElementaryForm
    pid: int
    stream_id: int
    video: bool
    clock: bool


@frozen(kw_only=True)
class Program:
    """What the tables say, and the streams by track id. Tracks MPEG-TS cannot carry are left out."""

    streams: Mapping[int, Stream]
    pcr_pid: int
    number: int
    pmt_pid: int
    has_video: bool
    pat: bytes = field(repr=False)
    pmt_body: bytes = field(repr=False)
    sdt: bytes = field(repr=False)


@frozen(kw_only=True)
class ProgramLayout:
    """Where a program's parts go, when it is not as everywhere else.

    @ivar number: program_number. @ivar pmt_pid: of its map. @ivar provider: in the SDT.
    @ivar pids: (kind, place within the kind, from 1): PID of that track.
    @ivar clock_aside: the PCR comes in packets of its own, at times that the sender knows.
    """

    number: int = PROGRAM_NUMBER
    pmt_pid: int = PMT_PID
    provider: str = PROVIDER
    pids: tuple[tuple[TrackKind, int, int], ...] = ()
    clock_aside: bool = False

    def pid(self, track: Track, place: int) -> int:
        """The PID of C{track}, the C{place}th of its kind."""
        for kind, number, pid in self.pids:
            if kind is track.kind and number == place:
                return pid
        return (VIDEO_PID if track.kind is TrackKind.VIDEO else AUDIO_PID) + track.track_id


USUAL: Final = ProgramLayout()


@functools.lru_cache(maxsize=256)
def program_of(tracks: Tracks, title: str, layout: ProgramLayout = USUAL) -> Program:
    """The program of a track table.

    @param title: the service's name; without one no SDT is written.
    """
    carried: list[tuple[Track, ElementaryForm]] = []
    for track in tracks:
        form = elementary_form(track)
        if form is not None and len(carried) < MAX_STREAMS:
            carried.append((track, form))
    videos = [track for track, _ in carried if track.kind is TrackKind.VIDEO]
    clock = videos[0] if videos else carried[0][0] if carried else None
    streams: dict[int, Stream] = {}
    lines = []
    places = {TrackKind.VIDEO: 0, TrackKind.AUDIO: 0}
    for order, (track, form) in enumerate(carried):
        places[track.kind] += 1
        video = track.kind is TrackKind.VIDEO
        stream = Stream(
            form=form,
            pid=layout.pid(track, places[track.kind]),
            stream_id=form.stream_id
            or (VIDEO_STREAM_ID | order & 0xF if video else AUDIO_STREAM_ID | order & 0x1F),
            video=video,
            clock=track is clock and not layout.clock_aside,
        )
        streams[track.track_id] = stream
        lines.append(
            ProgramStream(
                stream_type=form.stream_type,
                pid=stream.pid,
                language=track.language,
                descriptors=form.descriptors,
            )
        )
    pcr_pid = streams[clock.track_id].pid if clock is not None else NO_PCR_PID
    return Program(
        streams=streams,
        pcr_pid=pcr_pid,
        has_video=bool(videos),
        number=layout.number,
        pmt_pid=layout.pmt_pid,
        pat=pat_section(layout.number, layout.pmt_pid),
        pmt_body=pmt_body(pcr_pid, lines),
        sdt=sdt_section(layout.provider, title, not videos, layout.number) if title else b"",
    )


class ProgramWriter:
    """Writes a program's packets; the counter of every PID begins at 0.

    @ivar broken: PIDs whose next packet tells of a discontinuity.
    """

    def __init__(self, program: Program) -> None:
        self.program = program
        self.pat = PacketWriter(PAT_PID)
        self.pmt = PacketWriter(program.pmt_pid)
        self.sdt = PacketWriter(SDT_PID)
        self.by_pid = {stream.pid: PacketWriter(stream.pid) for stream in program.streams.values()}
        self.broken: set[int] = set()
        self._pmt_section = pmt_section(program.pmt_body, pmt_version(program.pmt_body), program.number)
        self._pmt_version = pmt_version(program.pmt_body)

    def change(self, program: Program) -> None:
        """Go over to another program with the counters running on; its map gets another version."""
        if program.pmt_body != self.program.pmt_body:
            version = pmt_version(program.pmt_body)
            if version == self._pmt_version:
                version = version + 1 & 0x1F
            self._pmt_version = version
            self._pmt_section = pmt_section(program.pmt_body, version, program.number)
        self.program = program
        for stream in program.streams.values():
            if stream.pid not in self.by_pid:
                self.by_pid[stream.pid] = PacketWriter(stream.pid)

    def tables(self, service: bool) -> bytes:
        """PAT and PMT, with C{service} the SDT behind them if there is one."""
        tables = self.pat.section(self.program.pat) + self.pmt.section(self._pmt_section)
        return tables + self.sdt.section(self.program.sdt) if service and self.program.sdt else tables

    def clock_packet(self, time: int) -> bytes:
        """A packet that carries nothing but the PCR of C{time}; only for a program that has a stream."""
        flags = self._break(self.program.pcr_pid) if self.broken else 0
        field = adaptation_field(flags, time - PCR_LEAD & MPEGTS_MASK)
        return self.by_pid[self.program.pcr_pid].mark(field)

    def field_of(self, stream: Stream, frame: Frame) -> bytes:
        """The adaptation field for the first packet of C{frame}."""
        flags = self._break(stream.pid) if self.broken else 0
        if stream.clock:
            return adaptation_field(
                flags | RANDOM_ACCESS if frame.key else flags, frame.dts - PCR_LEAD & MPEGTS_MASK
            )
        return adaptation_field(flags | RANDOM_ACCESS if frame.key and stream.video else flags)

    def write(self, stream: Stream, frame: Frame, unit: Unit) -> bytes:
        """The packets of one access unit."""
        head, body, at = unit
        return self.by_pid[stream.pid].write(head, body, at, self.field_of(stream, frame))

    def lead_in(self, broken: bool) -> bytes:
        """Tables whose counters lead up to the next ones written, without counting them.

        @param broken: for somebody who comes from elsewhere in this stream: every packet says so, and each
            elementary stream gets a packet of its own with the counter that precedes its next one.
        """
        field = adaptation_field(DISCONTINUITY) if broken else b""
        parts = []
        for writer, section in (
            (self.pat, self.program.pat),
            (self.pmt, self._pmt_section),
            (self.sdt, self.program.sdt),
        ):
            if section:
                parts.append(writer.lead_in(section, field))
        if broken:
            for stream in self.program.streams.values():
                parts.append(self.by_pid[stream.pid].mark(field))
        return b"".join(parts)

    def _break(self, pid: int) -> int:
        """The discontinuity flag if the next packet of C{pid} has to carry it; it is then done."""
        if pid not in self.broken:
            return 0
        self.broken.discard(pid)
        return DISCONTINUITY
