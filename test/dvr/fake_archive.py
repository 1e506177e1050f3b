"""An archive in memory, of really muxed segments or of rows alone."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from attrs import define, evolve, field, frozen

from restreamer.dash.spans import spans as spans_of
from restreamer.dvr.heads import header_of
from restreamer.dvr.seams import Holdings, Span
from restreamer.errors import Reason, Refused
from restreamer.m4f.hour_index import ArchivedRun, HourBuilder, HourIndex, Row, TrackSpan, hour_of
from restreamer.m4f.hour_layout import DISCONTINUITY, INDEPENDENT, KEY
from restreamer.m4f.segment import Segment, SegmentBuilder, SegmentOpening
from restreamer.media.frame import Frame
from restreamer.media.timebase import TICKS_PER_SECOND
from restreamer.media.track import Tracks
from restreamer.testing.media import aac_track, audio_frames, h264_track, video_frames

RUN = ArchivedRun(1, 0, 0, b"n" * 16)
TRACKS: Tracks = (h264_track(1, 1_000_000), aac_track(2, 100_000))
D = 5 * TICKS_PER_SECOND


@define(eq=False, slots=False)
class FakeArchive:
    """An L{restreamer.dvr.seams.Archives}.

    @ivar asked: hours and segments that were asked for. @ivar refusal: what everything is refused with.
    @ivar damaged: numbers nobody can give. @ivar doubtful: hours of which not everybody has told.
    """

    name: str = "x"
    complete: bool = True
    refusal: Refused | None = None
    damaged: set[int] = field(factory=set)
    doubtful: set[int] = field(factory=set)
    asked: list[object] = field(factory=list)
    builders: dict[int, HourBuilder] = field(factory=dict)
    indexes: dict[int, HourIndex] = field(factory=dict)
    segments: dict[int, Segment] = field(factory=dict)

    def takes(self, name: str) -> bool:
        return name == self.name

    def add(self, row: Row, tracks: Tracks, spans: Sequence[TrackSpan]) -> None:
        hour = hour_of(row.start)
        self.builders.setdefault(hour, HourBuilder(hour)).add(row, tracks, RUN, spans)
        self.indexes.pop(hour, None)

    def keep(self, segment: Segment, breaks: bool | None = None, sequence: int | None = None) -> None:
        """Keep a segment, shown with this discontinuity."""
        self.segments[segment.number] = segment
        self.add(*described(segment, breaks, sequence))

    def _index(self, hour: int) -> HourIndex:
        if hour not in self.indexes:
            builder = self.builders.get(hour)
            self.indexes[hour] = builder.build() if builder is not None else HourIndex(hour)
        return self.indexes[hour]

    async def headers(self, name: str, rows: Sequence[Row]) -> list[bytes | None]:
        """See the seam."""
        self._check(name)
        held = [self.segments.get(row.number) for row in rows]
        return [
            header_of(each.encoded, row) if each is not None and row.number not in self.damaged else None
            for each, row in zip(held, rows, strict=True)
        ]

    def _check(self, name: str) -> None:
        if self.refusal is not None:
            raise self.refusal
        if name != self.name:
            raise Refused(Reason.NOT_FOUND, "nothing of this stream is recorded")

    async def holdings(self, name: str) -> Holdings:
        self._check(name)
        hours = tuple(sorted(hour for hour, builder in self.builders.items() if len(builder)))
        ends = [self._index(hour) for hour in hours[:1] + hours[-1:]]
        found = (Span(ends[0][0].start, ends[-1][len(ends[-1]) - 1].end),) if ends else ()
        return Holdings(hours=hours, spans=found, size=0, complete=self.complete)

    async def hour(self, name: str, hour: int) -> HourIndex:
        self._check(name)
        self.asked.append(hour)
        index = self._index(hour)
        return evolve(index, complete=False) if hour in self.doubtful else index

    async def segment(self, name: str, row: Row) -> Segment:
        self._check(name)
        self.asked.append(row.number)
        segment = self.segments.get(row.number)
        if segment is None or row.number in self.damaged:
            raise Refused(Reason.NOT_FOUND, "the segment is damaged")
        return segment

    async def find(self, name: str, hours: Sequence[int], number: int) -> Row | None:
        for hour in hours:
            row = (await self.hour(name, hour)).find(number)
            if row is not None:
                return row
        return None


def described(
    segment: Segment, breaks: bool | None = None, sequence: int | None = None
) -> tuple[Row, Tracks, list[TrackSpan]]:
    """The row of a segment, its tracks, and where they lie."""
    found = spans_of(segment)
    flags = (DISCONTINUITY if (segment.discontinuity if breaks is None else breaks) else 0) | (
        INDEPENDENT if segment.independent else 0
    )
    row = Row(
        segment.number,
        segment.start,
        segment.duration,
        flags,
        segment.discontinuity_sequence if sequence is None else sequence,
        segment.checksum,
        len(segment.encoded),
        segment.program_date_time() - segment.start,
        0,
        0,
        0,
    )
    return (
        row,
        segment.tracks,
        [
            TrackSpan(track_id, KEY, span.start - segment.start, span.duration, span.size)
            for track_id, span in found.items()
        ],
    )


def made(
    start: int,
    duration: int = D,
    tracks: Tracks = TRACKS,
    *,
    number: int | None = None,
    breaks: bool = False,
    sequence: int = 0,
) -> Segment:
    """A segment of real frames. @param duration: ticks."""
    seconds = duration / TICKS_PER_SECOND
    builder = SegmentBuilder(
        SegmentOpening(start // D if number is None else number, start, breaks, True, sequence, tracks)
    )
    frames: list[Frame] = []
    for track in tracks:
        if track.codec == "avc1":
            frames += video_frames(seconds, start=start, track_id=track.track_id, bitrate=100_000)
        else:
            frames += audio_frames(seconds, start=start, track_id=track.track_id, bitrate=32_000)
    builder.extend(sorted(frames, key=lambda frame: frame.dts))
    return builder.close(duration)


@frozen
class Made:
    """A segment of rows alone. @ivar sequence: discontinuities up to it, its own included."""

    number: int
    start: int
    duration: int
    breaks: bool
    sequence: int
    tracks: Tracks = TRACKS
    without: tuple[int, ...] = ()

    def row(self) -> tuple[Row, Tracks, list[TrackSpan]]:
        """What L{FakeArchive.add} takes."""
        flags = DISCONTINUITY * self.breaks | INDEPENDENT
        row = Row(
            self.number,
            self.start,
            self.duration,
            flags,
            self.sequence,
            self.number & 0xFFFF,
            500_000,
            3600,
            0,
            0,
            0,
        )
        spans = [
            TrackSpan(track.track_id, KEY, 3600 if index == 0 else 0, self.duration, 400_000)
            for index, track in enumerate(self.tracks)
            if track.track_id not in self.without
        ]
        return row, self.tracks, spans


def filled(segments: Iterable[Made], name: str = "x") -> FakeArchive:
    """An archive that lists C{segments}."""
    archive = FakeArchive(name)
    for each in segments:
        archive.add(*each.row())
    return archive
