"""What a publisher has announced and set up, and the frames that come of it."""

from __future__ import annotations

from collections.abc import Iterable

from attrs import define, field

from restreamer.buckets import Pace
from restreamer.errors import MediaError
from restreamer.media.announce import NewTracks
from restreamer.media.frame import Frame
from restreamer.rtp.incoming import MediaSection, is_video, unpacker_of
from restreamer.rtp.receiver import Event, RtpReceiver
from restreamer.rtsp.sdp import Description, Media
from restreamer.rtsp.udp_ports import UdpPair
from restreamer.seams import FrameSink, tell_counts


@define(eq=False)
class Section:
    """A media section of the description.

    @ivar known: what is needed to receive it; None: there is no reader for it. @ivar track_id: its number.
    @ivar channels: of interleaved RTP and RTCP, @ivar pair: ports, once it is set up.
    @ivar index: in the receiver, while recording.
    """

    control: str
    known: MediaSection | None
    track_id: int = 0
    channels: tuple[int, int] | None = None
    pair: UdpPair | None = None
    index: int | None = None

    @property
    def set_up(self) -> bool:
        """Whether it has a transport."""
        return self.channels is not None or self.pair is not None


def sections_of(description: Description) -> list[Section]:
    """The sections of C{description}: video tracks are numbered first, then audio."""
    found = [Section(media.control, known_section(media)) for media in description.media]
    usable = [each for each in found if each.known is not None]
    usable.sort(key=lambda each: not _shows(each))
    for number, each in enumerate(usable, 1):
        each.track_id = number
    return found


def _shows(section: Section) -> bool:
    known = section.known
    return known is not None and (is_video(known) or known.encoding in ("av1", "vp9"))


def known_section(media: Media) -> MediaSection | None:
    """What is needed to receive C{media}; None when it cannot be."""
    told = media.format
    if told is None:
        return None
    section = MediaSection(
        encoding=told.encoding,
        clock=told.clock,
        payload_type=told.payload_type,
        channels=told.channels,
        language=media.language,
        parameters=told.parameters,
    )
    try:
        unpacker_of(1, section)
    except MediaError:
        return None
    return section


@define(eq=False)
class FrameSource:
    """Hands what a receiver finds to a sink.

    @ivar pace: what its sender may send. @ivar wait: seconds for which nothing more is wanted.
    """

    receiver: RtpReceiver
    sink: FrameSink
    pace: Pace
    wait: float = 0.0
    _utc: int | None = None
    _rushed: int = 0

    def __attrs_post_init__(self) -> None:
        tell_counts(self.sink, self._counted)

    def _counted(self) -> dict[str, int]:
        return {**self.receiver.counted(), "rushed_packets": self._rushed}

    def take(self, events: Iterable[Event]) -> None:
        """Hand on C{events}, frames in as few calls as can be, and before them when they were made."""
        utc = self.receiver.utc
        if utc != self._utc:
            self._utc = utc
            self.sink.dated(utc)
        frames: list[Frame] = []
        for event in events:
            if type(event) is NewTracks:
                self._push(frames)
                frames = []
                self.sink.configure(event.tracks)
            else:
                frames.append(event)  # type: ignore[arg-type]
        self._push(frames)

    def packet(self, index: int, control: bool, data: bytes, now: float) -> None:
        """Take a packet of RTP, or of RTCP, of track C{index}."""
        receiver = self.receiver
        events = receiver.rtcp(index, data, now) if control else receiver.rtp(index, data, now)
        rushed = self.pace.take(len(data), 1 + len(events), now)
        if rushed > self.wait:
            self.wait = rushed
        if events:
            self.take(events)

    def datagram(self, index: int, control: bool, data: bytes, now: float) -> None:
        """The same of one that nobody could leave unread: beyond the pace it is dropped."""
        if self.pace.full(now):
            self._rushed += 1
        else:
            self.packet(index, control, data, now)

    def _push(self, frames: list[Frame]) -> None:
        if frames:
            self.wait = max(self.wait, self.sink.push(frames))


@define(eq=False)
class RecordSession:
    """A session that records.

    @ivar number: its identifier. @ivar name: of the stream. @ivar path: of the announced URL.
    @ivar tcp: None before the first SETUP. @ivar source: while it records.
    @ivar heard: when media came last, seconds.
    """

    number: str
    name: str
    path: str
    sections: list[Section]
    sink: FrameSink
    heard: float
    tcp: bool | None = None
    source: FrameSource | None = None
    channels: dict[int, Section] = field(factory=dict)

    def section(self, path: str, url: str) -> Section | None:
        """The section that a SETUP of C{url} is about."""
        rest = path.removeprefix(self.path).strip("/")
        if not rest and len(self.sections) == 1:
            return self.sections[0]
        for section in self.sections:
            control = section.control
            if control and (control in (url, rest) or url.endswith("/" + control)):
                return section
        return None

    def begin(self, depth: int, pace: Pace) -> bool:
        """Begin to receive what is set up; False: nothing of it can be.

        @param depth: packets that may wait for those before them. @param pace: what may be sent.
        """
        usable = [each for each in self.sections if each.set_up and each.known is not None]
        if not usable:
            return False
        for index, section in enumerate(usable):
            section.index = index
        known = [(each.track_id, each.known) for each in usable if each.known is not None]
        self.source = FrameSource(RtpReceiver(known, depth), self.sink, pace)
        return True

    def interleaved(self, channel: int, data: bytes, now: float) -> None:
        """A frame of the connection; those of channels nobody set up are passed over."""
        section = self.channels.get(channel)
        if section is not None and section.channels is not None:
            self.packet(section, channel == section.channels[1], data, now)
        elif self.source is not None:
            self.source.wait = max(self.source.wait, self.source.pace.take(len(data), 1, now))

    def packet(self, section: Section, control: bool, data: bytes, now: float) -> None:
        """A packet of RTP, or of RTCP."""
        source, index = self.source, section.index
        self.heard = now
        if source is None or index is None:
            return
        source.packet(index, control, data, now)

    def datagram(self, section: Section, control: bool, data: bytes, now: float) -> None:
        """The same over UDP."""
        self.heard = now
        if self.source is not None and section.index is not None:
            self.source.datagram(section.index, control, data, now)

    def close(self, reason: str) -> None:
        """The publisher is gone: what is held goes out, then the sink ends."""
        source, self.source = self.source, None
        for section in self.sections:
            if section.pair is not None:
                section.pair.close()
                section.pair = None
        try:
            if source is not None:
                source.take(source.receiver.flush())
        finally:
            self.sink.end(reason)
