"""An archive in memory: small real segments on a grid of two seconds, with whatever holes a test wants."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from attrs import define, field

from restreamer.dvr.heads import header_of
from restreamer.dvr.seams import Holdings, Span
from restreamer.dvr.spans import join_spans
from restreamer.errors import Reason, Refused
from restreamer.m4f.hour_index import ArchivedRun, HourBuilder, HourIndex, Row, TrackSpan, hour_of
from restreamer.m4f.segment import Segment, SegmentBuilder, SegmentOpening
from restreamer.media.frame import Frame
from restreamer.media.timebase import TICKS_PER_SECOND
from restreamer.media.track import Track, TrackKind

#: 2023-11-14T22:00:00Z in grid numbers of two seconds.
FIRST = 1_699_999_200 // 2
D = 2 * TICKS_PER_SECOND
AUDIO = Track(
    track_id=1, kind=TrackKind.AUDIO, codec="mp4a", config=b"\x11\x90", sample_rate=48_000, channels=2
)
RUN = ArchivedRun(7, FIRST * D, 0, bytes(16))


def segment(number: int, payload: bytes = b"\x21\x1a") -> Segment:
    """The segment of that number, with two audio frames."""
    start = number * D
    builder = SegmentBuilder(SegmentOpening(number, start, False, True, 0, (AUDIO,)))
    builder.extend([Frame(1, start, 0, True, payload), Frame(1, start + D // 2, 0, True, payload * 2)])
    return builder.close(D)


def row(of: Segment) -> Row:
    """What an archive says of it."""
    return Row(of.number, of.start, of.duration, 2, 0, of.checksum, len(of.encoded), 0, 0, 0, 0)


@define(eq=False, slots=False)
class MemoryArchive:
    """A L{restreamer.dvr.archive.LocalArchive}.

    @ivar segments: by number; @ivar reads: numbers of those that were read, in turn. @ivar damaged: numbers
        that cannot be read. @ivar always: also with nothing in it.
    """

    name: str = "cam"
    segments: dict[int, Segment] = field(factory=dict)
    reads: list[int] = field(factory=list)
    damaged: set[int] = field(factory=set)
    always: bool = False
    before_read: Callable[[], None] = lambda: None

    def keep(self, numbers: Iterable[int], payload: bytes = b"\x21\x1a") -> None:
        """Record them."""
        for number in numbers:
            self.segments.setdefault(number, segment(number, payload))

    def records(self, name: str) -> bool:
        """See the seam."""
        return name == self.name and (self.always or bool(self.segments))

    async def holdings(self, name: str) -> Holdings:
        """See the seam."""
        self._check(name)
        held = sorted(self.segments.values(), key=lambda each: each.number)
        return Holdings(
            hours=tuple(sorted({hour_of(each.start) for each in held})),
            spans=join_spans([Span(each.start, each.end) for each in held]),
            size=sum(len(each.encoded) for each in held),
        )

    async def hour(self, name: str, hour: int) -> HourIndex:
        """See the seam."""
        self._check(name)
        builder = HourBuilder(hour)
        for each in self.segments.values():
            if hour_of(each.start) == hour:
                builder.add(row(each), each.tracks, RUN, [TrackSpan(1, 1, 0, D, 6)])
        return builder.build()

    async def segment(self, name: str, of: Row) -> Segment:
        """See the seam."""
        self._check(name)
        self.before_read()
        found = self.segments.get(of.number)
        if found is None or found.checksum != of.checksum or of.number in self.damaged:
            raise Refused(Reason.NOT_FOUND, "no such segment")
        self.reads.append(of.number)
        return found

    async def headers(self, name: str, rows: Sequence[Row]) -> list[bytes | None]:
        """See the seam."""
        self._check(name)
        held = [self.segments.get(row.number) for row in rows]
        return [
            header_of(each.encoded, row) if each is not None and row.number not in self.damaged else None
            for each, row in zip(held, rows, strict=True)
        ]

    def _check(self, name: str) -> None:
        if not self.records(name):
            raise Refused(Reason.NOT_FOUND, "nothing of this stream is recorded")
