"""A closed segment and how it comes to be: opened, filled with frames, closed into its canonical bytes.

The canonical bytes are decided once, at ingest, and are the same in memory, on a link and on disk. A node
that receives the live form (opening, frames, close) fills the same L{SegmentBuilder} and ends with the
same bytes; the checksum proves it.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator

import google_crc32c
from attrs import define, field, frozen

from restreamer.errors import LocalProtocolError, RemoteProtocolError
from restreamer.m4f import layout
from restreamer.m4f.header import (
    Part,
    Row,
    SegmentHeader,
    body_checksum,
    decode_header,
    encode_header,
)
from restreamer.m4f.layout import FRAME_SIZE, FRAME_STRUCT, HEAD_SIZE, MAX_FRAMES, MAX_SEGMENT
from restreamer.m4f.tracks import encode_tracks
from restreamer.media.frame import Frame
from restreamer.media.track import TrackKind, Tracks

__all__ = ["MAX_FRAMES", "MAX_SEGMENT", "Part", "Segment", "SegmentBuilder", "SegmentOpening"]


@frozen
class SegmentOpening:
    """What is known of a segment when its first frame comes.

    @ivar number: its number for ever; @ivar start: DTS of its first frame, UTC ticks.
    @ivar discontinuity: timestamps or tracks break here. @ivar independent: it begins with a keyframe.
    @ivar discontinuity_sequence: discontinuities of the stream up to here, this one included.
    """

    number: int
    start: int
    discontinuity: bool
    independent: bool
    discontinuity_sequence: int
    tracks: Tracks


@define
class Segment:
    """A closed segment; treat as immutable. Two are equal when their canonical bytes are.

    @ivar number, discontinuity, independent, discontinuity_sequence, tracks: as in L{SegmentOpening}.
    @ivar start: UTC ticks; @ivar duration: ticks.
    @ivar encoded: the canonical bytes; @ivar checksum: CRC32C of their header, which covers the bodies.
    @ivar frame_count: frames in the table; @ivar parts: L{Part} values, empty without low latency.
    """

    number: int = field(eq=False)
    start: int = field(eq=False)
    duration: int = field(eq=False)
    discontinuity: bool = field(eq=False)
    independent: bool = field(eq=False)
    discontinuity_sequence: int = field(eq=False)
    tracks: Tracks = field(eq=False, repr=False)
    encoded: bytes = field(repr=False)
    checksum: int = field(eq=False)
    frame_count: int = field(eq=False)
    parts: tuple[Part, ...] = field(eq=False, repr=False)
    _table_offset: int = field(eq=False, repr=False)
    _header_size: int = field(eq=False, repr=False)
    _hidden: frozenset[int] = field(eq=False, repr=False, default=frozenset())
    _program_date_time: int | None = field(eq=False, repr=False, init=False, default=None)

    @property
    def end(self) -> int:
        """Where the next segment starts when nothing is missing, UTC ticks."""
        return self.start + self.duration

    def rows(self) -> Iterator[Row]:
        """The frame table: (track id, flags, dts from C{start}, composition offset, size) of each frame."""
        at = self._table_offset
        table = self.encoded[at : at + self.frame_count * FRAME_SIZE]
        return FRAME_STRUCT.iter_unpack(table)

    def frames(self) -> list[Frame]:
        """Every frame in ingest order with absolute DTS; made anew at each call, nothing is kept."""
        encoded = self.encoded
        start = self.start
        at = self._header_size
        hidden = self._hidden
        frames = []
        for track_id, flags, dts, cts, size in self.rows():
            end = at + size
            if not hidden or track_id not in hidden:
                frames.append(Frame(track_id, start + dts, cts, flags & 1 == 1, encoded[at:end]))
            at = end
        return frames

    def program_date_time(self) -> int:
        """UTC ticks of EXT-X-PROGRAM-DATE-TIME: the lowest PTS of the first video track.

        Of all tracks when there is no video frame; C{start} when there is no frame at all.
        """
        if self._program_date_time is None:
            self._program_date_time = self._lowest_pts()
        return self._program_date_time

    def _lowest_pts(self) -> int:
        video = next((track.track_id for track in self.tracks if track.kind is TrackKind.VIDEO), 0)
        offsets = [dts + cts for track_id, _, dts, cts, _ in self.rows() if track_id == video]
        if not offsets:
            hidden = self._hidden
            offsets = [dts + cts for track_id, _, dts, cts, _ in self.rows() if track_id not in hidden]
        return self.start + min(offsets, default=0)

    @classmethod
    def parse(cls, encoded: bytes) -> Segment:
        """Read a whole segment and verify all of it, both checksums included.

        @param encoded: exactly one segment; kept as it is.
        @raise RemoteProtocolError: for anything else.
        """
        encoded = bytes(encoded)
        header = decode_header(encoded)
        if header.size != len(encoded):
            raise RemoteProtocolError("M4F segment", f"{len(encoded)} bytes, its header says {header.size}")
        if body_checksum(encoded, header.header_size) != header.body_checksum:
            raise RemoteProtocolError("M4F segment", "body checksum does not match")
        return cls(
            header.number,
            header.start,
            header.duration,
            header.discontinuity,
            header.independent,
            header.discontinuity_sequence,
            header.tracks,
            encoded,
            header.checksum,
            header.frame_count,
            header.parts,
            header.table_offset,
            header.header_size,
            header.hidden,
        )

    @classmethod
    def parse_header(cls, buffer: bytes) -> SegmentHeader:
        """Open a segment by its header alone; C{buffer} may hold more, the bodies are not looked at.

        L{restreamer.m4f.header.segment_sizes} tells from the first L{HEAD_SIZE} bytes how many it takes.
        @raise RemoteProtocolError: when the header is cut short, damaged or contradicts itself.
        """
        return decode_header(bytes(buffer))


class SegmentBuilder:
    """An open segment: takes frames as they come and encodes once, at the close.

    @ivar opening: what it was opened with; @ivar frames: its frames in ingest order.
    @ivar size: length of their bodies so far, bytes; @ivar parts: the parts closed so far.
    """

    __slots__ = ("frames", "opening", "parts", "size")

    def __init__(self, opening: SegmentOpening) -> None:
        self.opening = opening
        self.frames: list[Frame] = []
        self.parts: list[Part] = []
        self.size = 0

    def add(self, frame: Frame) -> None:
        """Take the next frame."""
        self.frames.append(frame)
        self.size += len(frame.data)

    def extend(self, frames: Iterable[Frame]) -> None:
        """Take the next frames."""
        for frame in frames:
            self.frames.append(frame)
            self.size += len(frame.data)

    def close_part(self, part: Part) -> None:
        """End a low-latency part; the last one is closed before the segment is."""
        self.parts.append(part)

    def finish_parts(self, duration: int) -> None:
        """End the last part where the frames end, if there are parts and they do not reach so far.

        @param duration: ticks of the segment.
        """
        parts = self.parts
        if not parts:
            return
        first = parts[-1].first_frame + parts[-1].frame_count
        frames = self.frames
        if first < len(frames):
            left = duration - sum(part.duration for part in parts)
            opens = frames[first]
            tracks = self.opening.tracks
            video = [track.track_id for track in tracks if track.kind is TrackKind.VIDEO]
            independent = opens.key and (not video or opens.track_id in video)
            parts.append(Part(first, len(frames) - first, max(1, left), independent))

    def close(self, duration: int) -> Segment:
        """Encode the segment.

        @param duration: ticks.
        @raise LocalProtocolError: when the segment passes a limit, a frame is of no track of the table or
            its DTS is out of reach (2^31 ticks from the start), or the parts do not cover the frames.
        """
        opening = self.opening
        frames = self.frames
        start = opening.start
        pack = FRAME_STRUCT.pack
        strangers = {frame.track_id for frame in frames} - {track.track_id for track in opening.tracks}
        if strangers:
            raise LocalProtocolError(f"frames of track {min(strangers)}, which the segment does not have")
        track_table = encode_tracks(opening.tracks)
        checksum = 0
        extend = google_crc32c.extend
        for frame in frames:
            checksum = extend(checksum, frame.data)
        flags = (layout.DISCONTINUITY if opening.discontinuity else 0) | (
            layout.INDEPENDENT if opening.independent else 0
        )
        parts = tuple(self.parts)
        try:
            header, checksum = encode_header(
                opening.number,
                start,
                duration,
                flags,
                opening.discontinuity_sequence,
                len(opening.tracks),
                track_table,
                [pack(f.track_id, f.key, f.dts - start, f.cts, len(f.data)) for f in frames],
                parts,
                self.size,
                checksum,
            )
        except struct.error as error:
            raise LocalProtocolError(f"segment {opening.number} does not fit M4F: {error}") from error
        return Segment(
            opening.number,
            start,
            duration,
            opening.discontinuity,
            opening.independent,
            opening.discontinuity_sequence,
            opening.tracks,
            b"".join([header, *[frame.data for frame in frames]]),
            checksum,
            len(frames),
            parts,
            HEAD_SIZE + len(track_table),
            len(header),
        )
