"""The receiving end of several RTP tracks: packets in, a track table and frames out (pure).

Serves publishers that record and servers that are played from. What cannot be used is counted and left out;
nothing that comes by the wire ends a reception.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

from attrs import define

from restreamer.errors import RemoteProtocolError
from restreamer.media.announce import NewTracks, TrackAnnouncer
from restreamer.media.frame import Frame
from restreamer.media.video_units import Unit
from restreamer.rtp.decode_times import DecodeTimes
from restreamer.rtp.incoming import MediaSection, Unpacker, is_video, unpacker_of, with_language
from restreamer.rtp.media_clock import Synchroniser, TrackClock
from restreamer.rtp.packet import RtpPacket, parse_rtp
from restreamer.rtp.reorder import ReorderBuffer
from restreamer.rtp.reorder_depth import reorder_depth
from restreamer.rtp.rtcp import Goodbye, ReceptionBlock, SenderReport, parse_rtcp, receiver_report

#: Frames and bytes held while the tracks are put together.
MAX_HELD: Final = 2000
MAX_HELD_BYTES: Final = 16 * 1024 * 1024
#: Reports read per second and track; more are ignored.
MAX_REPORTS: Final = 20

Event = NewTracks | Frame


@define(eq=False)
class ReceiverCounters:
    """What went wrong. @ivar bad: packets that are none; @ivar foreign: of another source or payload type;
    @ivar bad_reports: RTCP that was ignored.
    """

    bad: int = 0
    foreign: int = 0
    bad_reports: int = 0


@define(eq=False)
class _Track:
    """One track on its way in."""

    track_id: int
    section: MediaSection
    unpacker: Unpacker
    clock: TrackClock
    order: ReorderBuffer
    times: DecodeTimes[Unit] | None
    ssrc: int | None = None
    other: int | None = None
    other_row: int = 0
    report: tuple[int, float] = (0, 0.0)
    said: SenderReport | None = None
    other_said: SenderReport | None = None
    reports: tuple[int, int] = (0, 0)
    jitter: float = 0.0
    transit: float | None = None
    told: tuple[int, int] = (0, 0)
    gone: bool = False


class RtpReceiver:
    """Receives the tracks of one session.

    @ivar counters: what was left out.
    """

    def __init__(self, sections: Sequence[tuple[int, MediaSection]], depth: int = 0) -> None:
        """Receive C{sections}, each with its track's number.

        @param depth: packets that may wait for those before them (UDP).
        @raise restreamer.errors.MediaError: one of them cannot be received.
        """
        self.counters = ReceiverCounters()
        self._tracks = [
            _Track(
                track_id=track_id,
                section=section,
                unpacker=unpacker_of(track_id, section),
                clock=TrackClock(section.clock),
                order=ReorderBuffer(depth),
                times=DecodeTimes() if is_video(section) else None,
            )
            for track_id, section in sections
        ]
        self._sync = Synchroniser(len(self._tracks))
        self._announcer = TrackAnnouncer([track_id for track_id, _ in sections])
        self._held: list[tuple[_Track, int, Unit]] = []
        self._held_bytes = 0

    @property
    def lost(self) -> int:
        """Packets that never came, of all tracks."""
        return sum(track.order.lost for track in self._tracks)

    def counted(self) -> dict[str, int]:
        """What went wrong so far, of all tracks, as the API calls it."""
        tracks = self._tracks
        return {
            "errors_lost_packets": self.lost,
            "errors_broken_payload": sum(track.unpacker.dropped for track in tracks),
            "errors_bad_packets": self.counters.bad,
            "errors_foreign_packets": self.counters.foreign,
            "late_packets": sum(track.order.late for track in tracks),
            "sequence_restarts": sum(track.order.restarts for track in tracks),
            "bad_reports": self.counters.bad_reports,
        }

    @property
    def utc(self) -> int | None:
        """Ticks from the times of the frames to UTC, by the sender's reports; None: not known."""
        return self._sync.utc

    @property
    def ended(self) -> bool:
        """Every source said goodbye."""
        return all(track.gone for track in self._tracks)

    def begins(self, index: int, sequence: int | None, rtptime: int | None) -> None:
        """RTP-Info of a track, before its first packet."""
        if rtptime is not None:
            track = self._tracks[index]
            self._sync.begins(index, track.clock.ticks(rtptime))

    def rtp(self, index: int, data: bytes, now: float) -> list[Event]:
        """A packet of track C{index}, in the order of the sections; C{now} in seconds."""
        track = self._tracks[index]
        try:
            packet = parse_rtp(data)
        except RemoteProtocolError:
            self.counters.bad += 1
            return []
        if packet.payload_type != track.section.payload_type or not self._belongs(track, packet):
            self.counters.foreign += 1
            return []
        self._note_jitter(track, packet, now)
        found: list[Event] = []
        for each, lost in track.order.take(packet, now):
            self._packet(track, index, each, lost, now, found)
        return found

    def overdue(self, now: float) -> list[Event]:
        """What has waited long enough for missing packets or reports: to be asked a few times a second."""
        found: list[Event] = []
        for index, track in enumerate(self._tracks):
            for each, lost in track.order.overdue(now):
                self._packet(track, index, each, lost, now, found)
        if self._held and self._sync.overdue(now):
            self._release(now, found)
        return found

    def flush(self) -> list[Event]:
        """Nothing more comes: what is held goes out as far as it can."""
        found: list[Event] = []
        if self._held:
            self._release(math.inf, found)
        for track in self._tracks:
            if track.times is not None:
                for dts, cts, unit in track.times.flush():
                    self._frame(track, dts, cts, unit, found)
        found += self._announcer.flush()
        return found

    def rtcp(self, index: int, data: bytes, now: float) -> list[Event]:
        """A compound packet of track C{index}."""
        track = self._tracks[index]
        second, count = track.reports
        if int(now) != second:
            count = 0
        track.reports = int(now), count + 1
        if count >= MAX_REPORTS:
            self.counters.bad_reports += 1
            return []
        try:
            packets = parse_rtcp(data)
        except RemoteProtocolError:
            self.counters.bad_reports += 1
            return []
        for packet in packets:
            if type(packet) is SenderReport:
                self._report(track, index, packet, now)
            elif type(packet) is Goodbye and track.ssrc in packet.ssrcs:
                track.gone = True
        found: list[Event] = []
        if self._held and self._sync.locked:
            self._release(now, found)
        return found

    def receiver_reports(self, ssrc: int, now: float) -> list[tuple[int, bytes]]:
        """A receiver report for each track that sends (RFC 3550 section 6.4.2), with the track's index.

        @param ssrc: of ourselves.
        """
        found = []
        for index, track in enumerate(self._tracks):
            if track.ssrc is None or track.gone:
                continue
            order = track.order
            expected, received = order.expected - track.told[0], order.received - track.told[1]
            track.told = order.expected, order.received
            share = (expected - received) * 256 // expected if expected > received else 0
            middle, at = track.report
            block = ReceptionBlock(
                ssrc=track.ssrc,
                lost_share=min(255, share),
                lost=order.lost,
                highest=max(0, order.highest),
                jitter=int(track.jitter),
                last_report=middle,
                delay=int((now - at) * 65536) if middle else 0,
            )
            found.append((index, receiver_report(ssrc, (block,), b"restreamer")))
        return found

    def _belongs(self, track: _Track, packet: RtpPacket) -> bool:
        """Whether the packet is of the track's source; another one takes over when it sends two in a row."""
        ssrc = packet.ssrc
        if ssrc == track.ssrc:
            track.other = None
            return True
        if track.ssrc is None:
            track.ssrc = ssrc
            return True
        if ssrc != track.other:
            track.other = ssrc
            return False
        track.ssrc, track.other = ssrc, None
        track.gone = False
        track.transit = None
        track.order.reset()
        track.clock.reset()
        self._held.clear()
        self._held_bytes = 0
        self._sync.reset()
        # Its report comes before its first packet, as a rule; those of the other tracks hold as before.
        before, track.other_said = track.other_said, None
        track.said = before if before is not None and before.ssrc == ssrc else None
        track.report = (0, 0.0)
        for index, each in enumerate(self._tracks):
            if each.said is not None:
                self._sync.reported(index, each.said.ntp, each.clock.peek(each.said.timestamp))
        return True

    def _report(self, track: _Track, index: int, report: SenderReport, now: float) -> None:
        if track.ssrc is None:
            # Reports may come before the first packet.
            track.ssrc = report.ssrc
        elif report.ssrc != track.ssrc:
            self.counters.bad_reports += 1
            track.other_said = report
            return
        track.said = report
        track.report = report.ntp >> 16 & 0xFFFFFFFF, now
        self._sync.reported(index, report.ntp, track.clock.peek(report.timestamp))

    def _note_jitter(self, track: _Track, packet: RtpPacket, now: float) -> None:
        """RFC 3550 appendix A.8."""
        transit = now * track.clock.rate - packet.timestamp
        if track.transit is not None:
            step = abs(transit - track.transit)
            if step < track.clock.rate * 10:
                track.jitter += (step - track.jitter) / 16
        track.transit = transit

    def _packet(
        self, track: _Track, index: int, packet: RtpPacket, lost: bool, now: float, found: list[Event]
    ) -> None:
        units = track.unpacker.packet(packet.payload, packet.marker, packet.timestamp, lost)
        for timestamp, later, unit in units:
            ticks = track.clock.ticks(timestamp, later)
            if unit.track is not None:
                unit.track = with_language(unit.track, track.section)
            offset = self._sync.offset(index, ticks, now)
            if offset is not None and not self._held:
                self._timed(track, ticks + offset, unit, found)
                continue
            self._held.append((track, ticks, unit))
            self._held_bytes += len(unit.data)
            if offset is not None or len(self._held) > MAX_HELD or self._held_bytes > MAX_HELD_BYTES:
                self._release(now if offset is not None else math.inf, found)

    def _release(self, now: float, found: list[Event]) -> None:
        """The tracks are put together, or have to be."""
        held, self._held = self._held, []
        self._held_bytes = 0
        for track, ticks, unit in held:
            offset = self._sync.offset(self._tracks.index(track), ticks, now)
            if offset is not None:
                self._timed(track, ticks + offset, unit, found)

    def _timed(self, track: _Track, pts: int, unit: Unit, found: list[Event]) -> None:
        times = track.times
        if times is None:
            self._frame(track, pts, 0, unit, found)
            return
        if unit.track is not None:
            times.use(reorder_depth(unit.track), unit.track.frame_rate)
        for dts, cts, each in times.take(pts, unit.key, unit):
            self._frame(track, dts, cts, each, found)

    def _frame(self, track: _Track, dts: int, cts: int, unit: Unit, found: list[Event]) -> None:
        if unit.track is not None:
            self._announcer.track(unit.track)
        found += self._announcer.frames(Frame(track.track_id, dts, cts, unit.key, unit.data))
