"""A range of an archive as one MP4 file, moov first: its head in a temporary file, its frames where they are.

The head is built by one walk over the range, a segment in memory at a time; the file is then read by ranges.
"""

from __future__ import annotations

import os
import struct
import tempfile
import zlib
from bisect import bisect_right
from collections.abc import Callable, Sequence
from typing import IO, Final

from attrs import define, field

from restreamer.dvr.playback import MAX_DAMAGED, Found, Playback
from restreamer.errors import MediaError, Reason, Refused
from restreamer.m4f.hour_index import Row
from restreamer.m4f.hour_layout import ROW_STRUCT
from restreamer.m4f.segment import Segment
from restreamer.media.frame import Frame
from restreamer.media.selection import TrackSelection
from restreamer.media.timebase import TICKS_PER_SECOND
from restreamer.media.track import Track, TrackKind, Tracks
from restreamer.mp4.codec_boxes import sample_entry
from restreamer.mp4.progressive import ProgressiveTables
from restreamer.vod.paced import Piece
from restreamer.vod.seams import InThread

#: Bytes of the head given at once, and of a spool that stay in memory.
SLICE: Final = 256 * 1024
_OFFSET: Final = struct.Struct(">Q")
_ENTRY: Final = _OFFSET.size + ROW_STRUCT.size
#: Kind of a track and its place among those of the kind.
_Key = tuple[TrackKind, int]
Part = tuple[_Key, Track, list[Frame]]


@define(eq=False)
class Export:
    """A file to read. @ivar size: of all; @ivar head_size: before the frames; @ivar tag: of its bytes."""

    size: int
    head_size: int
    tag: str
    start: int
    selection: TrackSelection | None
    _head: IO[bytes]
    _rows: IO[bytes]
    count: int

    def read_head(self, at: int, size: int) -> bytes:
        """Bytes of the head; blocks."""
        return os.pread(self._head.fileno(), min(size, self.head_size - at), at)

    def find(self, at: int) -> tuple[int, Row]:
        """The segment that holds byte C{at} of the frames: where it begins, its row; blocks."""
        place = bisect_right(range(self.count), at, key=self._offset) - 1
        packed = os.pread(self._rows.fileno(), _ENTRY, place * _ENTRY)
        return _OFFSET.unpack_from(packed)[0], Row._make(ROW_STRUCT.unpack_from(packed, _OFFSET.size))

    def close(self) -> None:
        """Delete the temporary files."""
        self._head.close()
        self._rows.close()

    def _offset(self, place: int) -> int:
        packed = os.pread(self._rows.fileno(), _OFFSET.size, place * _ENTRY)
        offset: int = _OFFSET.unpack(packed)[0]
        return offset


@define(eq=False)
class ExportBuilder:
    """Builds an L{Export}; all but L{build} runs in threads."""

    start: int
    selection: TrackSelection | None
    _rows: IO[bytes] = field(factory=tempfile.TemporaryFile, init=False)
    _tables: ProgressiveTables = field(init=False)
    _crc: int = 0
    _count: int = 0

    def __attrs_post_init__(self) -> None:
        self._tables = ProgressiveTables(_spool, self.start // TICKS_PER_SECOND)

    async def build(self, playback: Playback, in_thread: InThread, wanted: Callable[[], bool]) -> Export:
        """Walk and write.

        @param wanted: whether anybody still waits for it.
        @raise Refused: as L{Playback}; UNSUPPORTED: MP4 carries nothing of it; OVERLOADED: nobody waits.
        """
        damaged = 0
        while (found := await playback.next()) is not None:
            if not wanted():
                raise Refused(Reason.OVERLOADED, "nobody waits for the file any more")
            try:
                segment = await playback.segment(found)
            except Refused as refused:
                damaged += 1
                if refused.reason is not Reason.NOT_FOUND or damaged > MAX_DAMAGED:
                    raise
                continue
            damaged = 0
            await in_thread(self._add, found, segment)
        export: Export = await in_thread(self._finish)
        return export

    def _add(self, found: Found, segment: Segment) -> None:
        parts = parts_of(segment, self.selection, self.start)
        if not any(frames for _, _, frames in parts):
            return
        self._rows.write(_OFFSET.pack(self._tables.size) + ROW_STRUCT.pack(*found.row))
        self._crc = zlib.crc32(struct.pack(">QI", found.row.number, found.row.checksum), self._crc)
        self._count += 1
        samples = [
            (key, track, [(each.dts, each.cts, each.key, len(each.data)) for each in frames])
            for key, track, frames in parts
        ]
        self._tables.add(segment.start, segment.end, samples)

    def _finish(self) -> Export:
        head: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - the export closes it
        try:
            size = self._tables.write_head(head)
        except MediaError as error:
            head.close()
            raise Refused(Reason.UNSUPPORTED, f"MP4 carries nothing of this: {error}") from error
        head.flush()
        self._rows.flush()
        total = size + self._tables.size
        tag = f"{self._crc:08x}-{self.start:x}-{total:x}-{self.selection or 'all'}"
        return Export(total, size, tag, self.start, self.selection, head, self._rows, self._count)


class ExportPieces:
    """Bytes C{first} to C{last} of an export: L{restreamer.vod.paced.Pieces}."""

    def __init__(
        self, export: Export, playback: Playback, in_thread: InThread, first: int, last: int
    ) -> None:
        self._export = export
        self._playback = playback
        self._in_thread = in_thread
        self._at = first
        self._end = last + 1

    async def next(self) -> Piece | None:
        """See L{restreamer.vod.paced.Pieces.next}."""
        at, export = self._at, self._export
        if at >= self._end:
            return None
        if at < export.head_size:
            body = await self._in_thread(export.read_head, at, min(SLICE, self._end - at))
        else:
            inside = at - export.head_size
            begin, row = await self._in_thread(export.find, inside)
            segment = await self._playback.segment(Found(row, False, ()))
            body = await self._in_thread(_body_of, segment, export)
            body = body[inside - begin : self._end - export.head_size - begin]
            if not body:
                raise Refused(Reason.NOT_FOUND, "the archive is not what the file was made of")
        self._at += len(body)
        return Piece(body, 0.0)


def parts_of(segment: Segment, selection: TrackSelection | None, start: int) -> Sequence[Part]:
    """What a file has of a segment: by track its frames, from the last keyframe at or before C{start} on."""
    places: dict[TrackKind, int] = {}
    frames = segment.frames()
    begin = _begin(segment.tracks, frames, start) if segment.start < start else segment.start
    found = []
    for track in segment.tracks:
        place = places[track.kind] = places.get(track.kind, 0) + 1
        key = (track.kind, place)
        if (selection is not None and key not in selection.wanted) or not carried(track):
            continue
        mine = [each for each in frames if each.track_id == track.track_id and each.dts >= begin]
        found.append((key, track, mine))
    return found


def _begin(tracks: Tracks, frames: Sequence[Frame], start: int) -> int:
    """DTS of the last keyframe of the first video track at or before C{start}; without video: C{start}."""
    video = next((track.track_id for track in tracks if track.kind is TrackKind.VIDEO), None)
    if video is None:
        return start
    keys = [each.dts for each in frames if each.track_id == video and each.key and each.pts <= start]
    return keys[-1] if keys else frames[0].dts if frames else start


def _body_of(segment: Segment, export: Export) -> bytes:
    parts = parts_of(segment, export.selection, export.start)
    return b"".join([each.data for _, _, frames in parts for each in frames])


def carried(track: Track) -> bool:
    """Whether MP4 carries it."""
    try:
        sample_entry(track)
    except MediaError:
        return False
    return True


def _spool() -> IO[bytes]:
    return tempfile.SpooledTemporaryFile(max_size=SLICE)
