"""What a player has set up, from its first SETUP to TEARDOWN."""

from __future__ import annotations

from collections.abc import Sequence

from attrs import define, field

from restreamer.errors import Reason, Refused
from restreamer.media.selection import TrackSelection
from restreamer.media.track import TrackKind, Tracks
from restreamer.rtsp.description import control_of
from restreamer.rtsp.first_packets import first_packets
from restreamer.rtsp.play_muxer import channel_of
from restreamer.rtsp.player_port import DatagramPort
from restreamer.rtsp.udp_ports import UdpPair
from restreamer.seams import Account, FeedViewer, OpenRequest, PastStream, PastViewer, Playable
from restreamer.viewers.attendance import Attendance

CONTAINER = "rtsp"
_MAX_PLACE = 32


@define(eq=False)
class Granted:
    """A stream that this connection may play.

    @ivar selection: as its URL chose; None: all tracks. @ivar request: by which it was granted.
    """

    name: str
    playable: Playable
    selection: TrackSelection | None
    request: OpenRequest | None = field(default=None, repr=False)

    @property
    def account(self) -> Account | None:
        """Where the gate left the session."""
        return self.request.account if self.request is not None else None

    @property
    def tracks(self) -> Tracks:
        """What is sent now.

        @raise Refused: the stream has nothing (any more) that can be sent.
        """
        return self.playable.tracks(CONTAINER, self.selection)


@define(eq=False)
class PlaySession:
    """A session that plays.

    @ivar number: its identifier; @ivar base: URL of the stream with a C{/} at its end.
    @ivar tcp: interleaved. @ivar tracks: ids of the tracks that are set up; over UDP each has its ports.
    @ivar past: the range of the past that is played; None: it is live.
    @ivar paused: where the past was paused, and where it ends; UTC ticks.
    @ivar attendance: its part in the session of the viewer.
    @ivar viewer, @ivar port: while it plays. @ivar heard: when the player was last heard of, seconds.
    """

    number: str
    granted: Granted
    base: str
    tcp: bool
    heard: float
    attendance: Attendance
    tracks: dict[int, UdpPair | None] = field(factory=dict)
    viewer: FeedViewer | None = None
    port: DatagramPort | None = None
    past: PastStream | None = None
    paused: tuple[int, int | None] | None = None

    def choice(self) -> TrackSelection | None:
        """The tracks to be sent: those set up. All of them are the feed that most players share."""
        granted = self.granted
        if self.tracks.keys() == {track.track_id for track in granted.tracks}:
            return granted.selection
        wanted = [
            (kind, place)
            for kind in TrackKind
            for place, number in _places(granted.playable, kind)
            if number in self.tracks
        ]
        return TrackSelection(tuple(wanted))

    def rtp_info(self, first: bytes) -> str:
        """Where each track begins in C{first}, the bytes that are sent first."""
        channels = {channel_of(number): number for number in self.tracks}
        begin = first_packets(first, channels)
        told = []
        for channel, number in channels.items():
            url = f"url={self.base}{control_of(number)}"
            if channel in begin:
                sequence, rtptime = begin[channel]
                url += f";seq={sequence};rtptime={rtptime}"
            told.append(url)
        return ",".join(told)

    def send(self, packets: Sequence[tuple[int, bytes]]) -> None:
        """Send datagrams: channels of the feed, and what goes over them."""
        at, count = 0, len(packets)
        while at < count:
            channel = packets[at][0]
            end = at + 1
            while end < count and packets[end][0] == channel:
                end += 1
            pair = self.tracks.get(channel // 2 + 1)
            if pair is not None:
                datagrams = [packet for _, packet in packets[at:end]]
                if channel & 1:
                    for report in datagrams:
                        pair.send_rtcp(report)
                else:
                    pair.send_all_rtp(datagrams)
            at = end

    def pause(self) -> None:
        """Send nothing more; what is set up stays."""
        viewer, self.viewer = self.viewer, None
        if isinstance(viewer, PastViewer) and self.past is not None and viewer.position is not None:
            self.paused = viewer.position, self.past.extent[1]
        port, self.port = self.port, None
        if viewer is not None:
            self.attendance.pause()
            viewer.leave()
        if port is not None:
            port.close()

    def close(self) -> None:
        """Give everything back."""
        self.pause()
        self.attendance.end()
        for pair in self.tracks.values():
            if pair is not None:
                pair.close()
        self.tracks.clear()


def _places(playable: Playable, kind: TrackKind) -> list[tuple[int, int]]:
    """Places within a kind and the numbers of the tracks there, of those that can be sent."""
    found = []
    for place in range(1, _MAX_PLACE + 1):
        try:
            tracks = playable.tracks(CONTAINER, TrackSelection(((kind, place),)))
        except Refused as error:
            if error.reason is Reason.NOT_FOUND:
                break
            continue
        found += [(place, track.track_id) for track in tracks]
    return found
