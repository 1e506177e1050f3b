"""What the tests of the core share: a clock in two halves, streams with a tap that keeps everything."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence

from attrs import define, field
from typing_extensions import override

from restreamer.live.ingest import Ingest
from restreamer.live.ledger import Ledger
from restreamer.live.stream import Stream
from restreamer.live.tap import IdleTap
from restreamer.live.window import LiveWindow, WindowSegment
from restreamer.m4f.records import RunInfo
from restreamer.m4f.segment import SegmentBuilder
from restreamer.media.frame import Frame
from restreamer.media.timebase import TICKS_PER_SECOND
from restreamer.media.track import Tracks
from restreamer.testing.media import START, aac_track, h264_track, make_frames

SECOND = TICKS_PER_SECOND
D = 5 * SECOND
NODE = b"n" * 16
AV: Tracks = (h264_track(), aac_track())
AUDIO: Tracks = (aac_track(1),)


@define
class Now:
    """UTC ticks that the test moves."""

    ticks: int = START

    def __call__(self) -> int:
        return self.ticks


class RecordingTap(IdleTap):
    """Keeps what a stream tells; frames are those told, not those in the builder."""

    def __init__(self) -> None:
        self.events: list[str] = []
        self.frames: list[Frame] = []
        self.closed: list[WindowSegment] = []
        self.filled: list[WindowSegment] = []
        self.on_frames: Callable[[], None] = lambda: None

    @override
    def run_began(self, run: RunInfo) -> None:
        self.events.append(f"run {run.run_id}")

    @override
    def segment_opened(self, builder: SegmentBuilder) -> None:
        self.events.append(f"open {builder.opening.number}")

    @override
    def frames_added(self, builder: SegmentBuilder, frames: Sequence[Frame]) -> None:
        self.events.append(f"frames {len(frames)}")
        self.frames.extend(frames)
        self.on_frames()

    @override
    def segment_closed(self, entry: WindowSegment) -> None:
        self.events.append(f"close {entry.number}")
        self.closed.append(entry)

    @override
    def segment_filled(self, entry: WindowSegment) -> None:
        self.events.append(f"fill {entry.number}")
        self.filled.append(entry)

    @override
    def run_ended(self, run: RunInfo, reason: str) -> None:
        self.events.append(f"lost {run.run_id} {reason}")

    @override
    def stream_ended(self, reason: str) -> None:
        self.events.append(f"ended {reason}")


@define
class Origin:
    """One name that is published again and again, with everything that was ever closed.

    @ivar tap: of the stream of now. @ivar closed: of all streams so far.
    """

    segment_duration: int = D
    tracks: Tracks = AV
    segment_count: int = 4
    part_duration: int = 0
    now: Now = field(factory=Now)
    ledger: Ledger = field(factory=Ledger)
    stream: Stream = field(init=False)
    tap: RecordingTap = field(init=False)
    closed: list[WindowSegment] = field(factory=list)
    faults: list[str] = field(factory=list)
    runs: int = 0
    ends: list[str] = field(factory=list)

    def __attrs_post_init__(self) -> None:
        self.new_stream()

    def new_stream(self) -> None:
        """The stream expired, or the process began anew."""
        self.stream = Stream(
            "x",
            LiveWindow(self.segment_count),
            faulted=lambda what, error: self.faults.append(f"{what}: {error}"),
        )
        self.tap = RecordingTap()
        self.tap.closed = self.closed
        self.stream.attach(self.tap)

    def forget(self) -> None:
        """The process began anew and kept nothing."""
        self.ledger = Ledger()
        self.new_stream()

    def publish(self) -> Ingest:
        """A publisher comes."""
        self.runs += 1
        ingest = Ingest(
            stream=self.stream,
            run_id=self.runs,
            node_id=NODE,
            segment_duration=self.segment_duration,
            part_duration=self.part_duration,
            now=self.now,
            ledger=self.ledger,
            ended=self.ends.append,
        )
        ingest.configure(self.tracks)
        return ingest

    def play(self, ingest: Ingest, frames: Sequence[Frame], base: int | None = None) -> None:
        """Push frames one by one as their own time comes, UTC moving with them from where it is.

        @param base: the source time of now; by default that of the first frame.
        """
        if not frames:
            return
        begin = self.now.ticks - (frames[0].dts if base is None else base)
        for frame in frames:
            self.now.ticks = max(self.now.ticks, frame.dts + begin)
            ingest.push([frame])

    @property
    def numbers(self) -> list[int]:
        """Of every segment ever closed."""
        return [entry.number for entry in self.closed]


def av(seconds: float, gop: int = 50, start: int = 0, audio: bool = True) -> list[Frame]:
    """Frames of L{AV} from C{start} on, 25 pictures a second."""
    return make_frames(seconds, gop=gop, start=start, audio=audio, video_bitrate=20_000)


def still_true(origin: Origin) -> None:
    """What must hold for whatever was closed so far."""
    entries = origin.closed
    longest = origin.segment_duration + 2 * SECOND
    for before, after in itertools.pairwise(entries):
        assert after.number > before.number, (before.number, after.number)
    for entry in entries:
        segment = entry.segment
        assert 0 < segment.duration <= longest, segment.duration / SECOND
        assert round(segment.duration / SECOND) <= entry.target
        frames = segment.frames()
        video = {track.track_id for track in segment.tracks if track.kind == 1}
        first = frames[0]
        assert segment.start == first.dts
        assert segment.independent == (first.key and (not video or first.track_id in video))
        assert segment.number >= segment.start // origin.segment_duration
    last: dict[tuple[int, int], int] = {}
    for entry in entries:
        for frame in entry.segment.frames():
            key = (entry.run.run_id, frame.track_id)
            assert key not in last or frame.dts > last[key], "DTS must rise within a track of a run"
            last[key] = frame.dts
            assert frame.cts >= 0
