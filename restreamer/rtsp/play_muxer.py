"""The live RTSP form of a stream: interleaved RTP that every player of it shares.

RTP time is UTC in the payload's clock, so that it is the same on every node and says so with every sender
report; sequence numbers are the feed's own. The source of a track depends on the stream's title and the
track alone. Track number n goes on channels 2n - 2 (RTP) and 2n - 1 (RTCP): which tracks a player sets up
changes nothing of that. UDP players get the same packets without their frames.

Where the tracks change in a way that a description cannot follow, every source says goodbye: players
describe the stream again.
"""

from __future__ import annotations

import struct
import zlib
from typing import Final

from attrs import define
from typing_extensions import override

from restreamer.errors import MediaError
from restreamer.media.frame import Frame
from restreamer.media.timebase import TICKS_PER_SECOND
from restreamer.media.track import H264, HEVC, Track, TrackKind, Tracks
from restreamer.rtp.formats import Packer, can_carry, format_of, packer_of
from restreamer.rtp.rtcp import goodbye, ntp_of_ticks, sender_report
from restreamer.rtsp.first_packets import FIRST_SEQUENCE
from restreamer.seams import FeedMuxer

#: Highest number of a track that has channels: 255 is the last channel.
MAX_TRACK: Final = 128
#: Ticks between two sender reports of a track.
REPORT_EVERY: Final = 5 * TICKS_PER_SECOND

_FRAMED: Final = struct.Struct(">cBHBBHII")
_DOLLAR: Final = b"$"
_VERSION: Final = 0x80
_MARKER: Final = 0x80
_CNAME: Final = b"restreamer"
#: Codecs that bring a new configuration in band: a receiver follows.
_IN_BAND: Final = frozenset({H264, HEVC, "av01", "vp09"})


def channel_of(track_id: int) -> int:
    """The channel of a track's RTP; its RTCP has the next one."""
    return 2 * (track_id - 1)


def framed(channel: int, packet: bytes) -> bytes:
    """A packet behind its interleaved frame's head (RFC 2326 section 10.12)."""
    return b"".join((_DOLLAR, bytes((channel,)), len(packet).to_bytes(2, "big"), packet))


@define(eq=False)
class _Sender:
    """One track on its way out."""

    track: Track
    packer: Packer
    payload_type: int
    ssrc: int
    channel: int
    marks: bool
    clock: int
    unit: int
    packets: int = 0
    octets: int = 0
    newest: int = 0
    reported: int = -REPORT_EVERY
    sent: bool = False

    def time(self, ticks: int) -> int:
        """The RTP time of UTC C{ticks}."""
        return ticks * self.clock // TICKS_PER_SECOND & 0xFFFFFFFF

    def report(self, ticks: int) -> bytes:
        """A framed sender report for the moment C{ticks}."""
        packet = sender_report(
            self.ssrc, ntp_of_ticks(ticks), self.time(ticks), self.packets, self.octets, _CNAME
        )
        return framed(self.channel + 1, packet)


def ssrc_of(title: str, track_id: int, epoch: int = 0) -> int:
    """The source of a track: the same on every node."""
    return zlib.crc32(f"{title}\n{track_id}\n{epoch}".encode("utf-8", "surrogatepass"))


class RtspFeedMuxer(FeedMuxer):
    """Frames to interleaved RTP (L{FeedMuxer})."""

    def __init__(self, title: str) -> None:
        """Mux the stream named C{title}."""
        self._title = title
        self._epoch = 0
        self._senders: dict[int, _Sender] = {}
        self._before = b""

    @override
    def carries(self, track: Track) -> bool:
        """Whether there is a payload format for C{track}."""
        return track.track_id <= MAX_TRACK and can_carry(track)

    @override
    def configure(self, tracks: Tracks, run_start: int, discontinuity: bool) -> None:
        """Use C{tracks}; players that were told of others get a goodbye before the next frame."""
        before = {number: sender.track for number, sender in self._senders.items()}
        after = {track.track_id: track for track in tracks}
        if before and not _follows(before, after):
            self._before += b"".join(
                framed(sender.channel + 1, goodbye(sender.ssrc, _CNAME)) for sender in self._senders.values()
            )
            self._senders = {}
            self._epoch += 1
        for index, track in enumerate(tracks):
            self._add(track, index)

    @override
    def farewell(self, tracks: Tracks) -> bytes | None:
        """A goodbye of every source where a description of what was sent is not true of C{tracks}."""
        before = {number: sender.track for number, sender in self._senders.items()}
        if not before or _follows(before, {track.track_id: track for track in tracks}):
            return None
        return b"".join(
            framed(sender.channel + 1, goodbye(sender.ssrc, _CNAME)) for sender in self._senders.values()
        )

    def _add(self, track: Track, index: int) -> None:
        packer = packer_of(track)
        held = self._senders.get(track.track_id)
        if held is not None:
            held.track, held.packer, held.clock = track, packer, packer.clock
            return
        self._senders[track.track_id] = _Sender(
            track=track,
            packer=packer,
            payload_type=format_of(track, index).payload_type,
            ssrc=ssrc_of(self._title, track.track_id, self._epoch),
            channel=channel_of(track.track_id),
            marks=track.kind is TrackKind.VIDEO or track.codec == "mp4a",
            clock=packer.clock,
            unit=getattr(packer, "bytes_per_unit", 0),
        )

    @override
    def mux(self, frame: Frame) -> bytes:
        """The packets of one frame, the last one marked; behind the reports that are due."""
        sender = self._senders.get(frame.track_id)
        if sender is None:
            return b""
        try:
            pieces = sender.packer.pieces(frame.data, frame.key)
        except MediaError:
            return b""
        parts: list[bytes | memoryview] = []
        if self._before:
            parts.append(self._before)
            self._before = b""
        dts = frame.dts
        if dts - sender.reported >= REPORT_EVERY or dts < sender.reported:
            for each in self._senders.values():
                each.reported = dts
                parts.append(each.report(dts))
        sender.newest = dts
        sender.sent = True
        timestamp = (dts + frame.cts) * sender.clock // TICKS_PER_SECOND
        channel, payload_type, ssrc = sender.channel, sender.payload_type, sender.ssrc
        unit = sender.unit
        sequence = sender.packets + FIRST_SEQUENCE
        last = len(pieces) - 1
        octets = 0
        pack = _FRAMED.pack
        for index, (head, body) in enumerate(pieces):
            size = len(head) + len(body)
            octets += size
            second = payload_type | _MARKER if index == last and sender.marks else payload_type
            parts.append(
                pack(
                    _DOLLAR,
                    channel,
                    12 + size,
                    _VERSION,
                    second,
                    sequence & 0xFFFF,
                    timestamp & 0xFFFFFFFF,
                    ssrc,
                )
                + head
            )
            parts.append(body)
            sequence += 1
            if unit:
                timestamp += len(body) // unit
        sender.packets += len(pieces)
        sender.octets += octets
        return b"".join(parts)

    @override
    def join_prefix(self) -> bytes:
        """A sender report of every track, all for one moment not after what comes next: a player can put its
        tracks together from the first packet on, and the packets counted so far give the next number.
        """
        moment = self._moment()
        if moment is None:
            return b""
        return b"".join(sender.report(moment) for sender in self._senders.values())

    @override
    def skip_prefix(self) -> bytes:
        """As L{join_prefix}; the sequence numbers tell what was skipped."""
        return self.join_prefix()

    def _moment(self) -> int | None:
        """The oldest of what the tracks were sent last; tracks that stand still do not count. None: nothing
        was sent, and the first frame will bring the reports.
        """
        newest = max((sender.newest for sender in self._senders.values()), default=0)
        return min(
            (s.newest for s in self._senders.values() if s.sent and newest - s.newest < TICKS_PER_SECOND),
            default=None,
        )


def _follows(before: dict[int, Track], after: dict[int, Track]) -> bool:
    """Whether a player that was told of the tracks before can go on with those after."""
    if before.keys() != after.keys():
        return False
    return all(
        track.codec == after[number].codec
        and (track.codec in _IN_BAND or track.config == after[number].config)
        and (track.sample_rate, track.channels) == (after[number].sample_rate, after[number].channels)
        for number, track in before.items()
    )
