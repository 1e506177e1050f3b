"""The rules of the live form: what a peer may send between a segment's opening and its close.

A receiver asks L{LiveFormCheck} about each media record before it acts on it; what passes can always be
encoded, so that a hostile or broken peer costs at most one segment's memory and its own link.
"""

from __future__ import annotations

from restreamer.errors import RemoteProtocolError
from restreamer.m4f.header import Part
from restreamer.m4f.layout import (
    CHECKSUM_SIZE,
    FRAME_SIZE,
    HEAD_SIZE,
    MAX_FRAMES,
    MAX_SEGMENT,
    PART_SIZE,
)
from restreamer.m4f.record_values import Frames, PartClose, Record, RunEnd, SegmentClose, SegmentOpen
from restreamer.m4f.segment import SegmentOpening
from restreamer.m4f.tracks import encode_tracks

_WHERE = "M4F live form"
_MAX_PARTS = (1 << 16) - 1


class LiveFormCheck:
    """Follows the records of one media link in the order they came.

    @ivar opening: of the open segment, or None; @ivar frame_count: its frames so far.
    @ivar size: length its canonical bytes would have now.
    """

    __slots__ = ("_ids", "_in_parts", "_parts", "frame_count", "opening", "size")

    def __init__(self) -> None:
        self.opening: SegmentOpening | None = None
        self.frame_count = 0
        self.size = 0
        self._ids: frozenset[int] = frozenset()
        self._parts = 0
        self._in_parts = 0

    def take(self, record: Record) -> None:
        """Follow one record; those that are not of the live form change nothing.

        An opening while a segment is open voids the open one; so does the end of the run.
        @raise RemoteProtocolError: when the record may not stand here or the segment passes a limit.
        """
        if isinstance(record, Frames):
            self._frames(record)
        elif isinstance(record, SegmentOpen):
            self._open(record.opening)
        elif isinstance(record, SegmentClose):
            self._close(record)
        elif isinstance(record, PartClose):
            self._part(record)
        elif isinstance(record, RunEnd):
            self.opening = None

    def _open(self, opening: SegmentOpening) -> None:
        self.opening = opening
        self.frame_count = self._parts = self._in_parts = 0
        self.size = HEAD_SIZE + len(encode_tracks(opening.tracks)) + CHECKSUM_SIZE
        self._ids = frozenset([track.track_id for track in opening.tracks])

    def _frames(self, record: Frames) -> None:
        opening = self.opening
        if opening is None:
            raise RemoteProtocolError(_WHERE, "frames of no open segment")
        if record.start != opening.start:
            raise RemoteProtocolError(_WHERE, f"frames of a segment at {record.start}, not {opening.start}")
        ids = self._ids
        size = self.size
        for frame in record.frames:
            if frame.track_id not in ids:
                raise RemoteProtocolError(_WHERE, f"a frame of track {frame.track_id}, not announced")
            size += FRAME_SIZE + len(frame.data)
        self.size = size
        self.frame_count += len(record.frames)
        if size > MAX_SEGMENT or self.frame_count > MAX_FRAMES:
            raise RemoteProtocolError(
                _WHERE, f"an open segment of {size} bytes and {self.frame_count} frames is too large"
            )

    def _part(self, record: PartClose) -> None:
        if self.opening is None:
            raise RemoteProtocolError(_WHERE, "a part of no open segment")
        end = record.first_frame + record.frame_count
        if record.first_frame != self._in_parts or end > self.frame_count:
            raise RemoteProtocolError(
                _WHERE,
                f"a part of frames {record.first_frame} to {end}, "
                f"open are {self._in_parts} to {self.frame_count}",
            )
        self._in_parts = end
        self._parts += 1
        self.size += PART_SIZE
        if self._parts > _MAX_PARTS or self.size > MAX_SEGMENT:
            raise RemoteProtocolError(_WHERE, f"{self._parts} parts in a segment of {self.size} bytes")

    def _close(self, record: SegmentClose) -> None:
        opening, self.opening = self.opening, None
        if opening is None or opening.number != record.number:
            raise RemoteProtocolError(_WHERE, f"the close of segment {record.number}, which is not open")
        if self._parts and self._in_parts != self.frame_count:
            raise RemoteProtocolError(_WHERE, "the last part is not closed")


def part_record(part: Part) -> PartClose:
    """What announces the end of C{part}."""
    return PartClose(part.first_frame, part.frame_count, part.duration, part.independent)


def part_of(record: PartClose) -> Part:
    """The row of the part table that C{record} announces."""
    return Part(record.first_frame, record.frame_count, record.duration, record.independent)
