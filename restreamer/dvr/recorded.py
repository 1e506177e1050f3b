"""A closed segment on its way to the disk, and the row of an index that tells of it (pure)."""

from __future__ import annotations

from attrs import evolve, frozen

from restreamer.live.track_spans import track_spans
from restreamer.live.window import WindowSegment
from restreamer.m4f import hour_layout as layout
from restreamer.m4f.hour_index import ArchivedRun, Row, TrackSpan
from restreamer.m4f.records import RunInfo
from restreamer.m4f.segment import Segment

#: What a row can say of times; no stream that can be played comes near.
_FAR = 1 << 31


@frozen(eq=False)
class Recorded:
    """A segment to be kept, with what was shown of it.

    @ivar run: its run; C{discontinuities} is what was shown minus what the segment says.
    @ivar discontinuity: whether it was shown as one.
    """

    segment: Segment
    run: RunInfo
    discontinuity: bool

    @classmethod
    def of_window(cls, entry: WindowSegment) -> Recorded:
        """A segment as a live window shows it."""
        more = entry.discontinuity_sequence - entry.segment.discontinuity_sequence
        run = entry.run if entry.run.discontinuities == more else evolve(entry.run, discontinuities=more)
        return cls(entry.segment, run, entry.discontinuity)

    @classmethod
    def of_row(cls, segment: Segment, row: Row, run: ArchivedRun) -> Recorded:
        """A segment that another archive has."""
        more = row.discontinuity_sequence - segment.discontinuity_sequence
        envelope = RunInfo(run.run_id, run.run_start, run.ingest_node, (), more, run.continuation)
        return cls(segment, envelope, row.discontinuity)

    @property
    def discontinuity_sequence(self) -> int:
        """As it was shown."""
        return max(0, self.segment.discontinuity_sequence + self.run.discontinuities)

    def row(self) -> tuple[Row, tuple[TrackSpan, ...]]:
        """What an index says of it."""
        return make_row(self.segment, self.discontinuity, self.discontinuity_sequence)


def make_row(
    segment: Segment, shown_discontinuity: bool, shown_sequence: int
) -> tuple[Row, tuple[TrackSpan, ...]]:
    """What an index says of a segment.

    @param shown_discontinuity, shown_sequence: as viewers saw it.
    @return: the row; C{table}, C{run}, C{first_span}, C{file} and C{offset} are set by whoever keeps it.
    """
    flags = (layout.DISCONTINUITY if shown_discontinuity else 0) | (
        layout.INDEPENDENT if segment.independent else 0
    )
    row = Row(
        segment.number,
        segment.start,
        segment.duration,
        flags,
        max(0, min(shown_sequence, (1 << 32) - 1)),
        segment.checksum,
        len(segment.encoded),
        max(-_FAR, min(segment.program_date_time() - segment.start, _FAR - 1)),
        0,
        0,
        0,
    )
    return row, track_spans(segment)


def archived_run(run: RunInfo) -> ArchivedRun:
    """What an index says of a run."""
    return ArchivedRun(run.run_id, run.run_start, run.continuation, run.ingest_node)


def describe(entry: WindowSegment) -> tuple[Row, ArchivedRun, tuple[TrackSpan, ...]]:
    """What an index says of a segment of a live window."""
    recorded = Recorded.of_window(entry)
    row, spans = recorded.row()
    return row, archived_run(recorded.run), spans
