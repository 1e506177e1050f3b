"""A range of an archive as one MP4 file, moov first: its head in a temporary file, its frames where they are.

The head is built by one walk over the range, a segment in memory at a time; the file is then read by ranges.
"""

from __future__ import annotations

import os
import struct
import tempfile
import zlib
from bisect import bisect_right
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from typing import IO, Final

from attrs import define, field
from twisted.internet.defer import Deferred

from restreamer.dvr.beginning import beginning
from restreamer.dvr.export_room import RoomShare
from restreamer.dvr.playback import MAX_DAMAGED, Found, Playback
from restreamer.errors import MediaError, Reason, Refused
from restreamer.m4f.header import decode_header
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
#: Segments whose headers are read together, and how many such batches at once.
BATCH: Final = 32
AHEAD: Final = 4
#: Bytes of the tables of one file: a week or two.
MAX_TABLES: Final = 512 * 1024 * 1024
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
    _share: RoomShare

    def read_head(self, at: int, size: int) -> bytes:
        """Bytes of the head; blocks."""
        return os.pread(self._head.fileno(), min(size, self.head_size - at), at)

    def find(self, at: int) -> tuple[int, int, Row]:
        """The segment that holds byte C{at} of the frames: where it begins and ends, its row; blocks."""
        place = bisect_right(range(self.count), at, key=self._offset) - 1
        packed = os.pread(self._rows.fileno(), _ENTRY, place * _ENTRY)
        begin = _OFFSET.unpack_from(packed)[0]
        end = self._offset(place + 1) if place + 1 < self.count else self.size - self.head_size
        return begin, end, Row._make(ROW_STRUCT.unpack_from(packed, _OFFSET.size))

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
    """Builds an L{Export} of the headers of segments; all but L{build} runs in threads.

    @ivar covered: ticks of recording that the file is expected to hold. @ivar share: of the room for tables.
    @ivar folder: for temporary files, without names; None: the system's.
    """

    start: int
    selection: TrackSelection | None
    covered: int
    share: RoomShare
    folder: str | None = None
    _rows: IO[bytes] = field(init=False)
    _tables: ProgressiveTables = field(init=False)
    _crc: int = 0
    _count: int = 0
    _done: int = 0
    _damaged: int = 0
    _tracks: Tracks = ()
    _chosen: list[tuple[_Key, Track]] = field(factory=list)

    def __attrs_post_init__(self) -> None:
        self._rows = tempfile.TemporaryFile(dir=self.folder)  # noqa: SIM115 - the export closes it
        self._tables = ProgressiveTables(partial(_spool, self.folder), self.start // TICKS_PER_SECOND)

    async def build(self, playback: Playback, in_thread: InThread, wanted: Callable[[], bool]) -> Export:
        """Walk and write.

        @param wanted: whether anybody still waits for it.
        @raise Refused: as L{Playback}; UNSUPPORTED: MP4 carries nothing of it; OVERLOADED: nobody waits, or
            there is no room for its tables; BAD_NAME: they get too long.
        """
        reading: deque[tuple[list[Found], Deferred[Sequence[bytes | None]]]] = deque()
        try:
            more = True
            while more or reading:
                while more and len(reading) < AHEAD:
                    batch = await _batch(playback)
                    more = len(batch) == BATCH
                    if batch:
                        reading.append((batch, Deferred.fromCoroutine(playback.headers(batch))))
                if reading:
                    batch, headers = reading.popleft()
                    await self._take(playback, in_thread, batch, await headers)
                if not wanted():
                    raise Refused(Reason.OVERLOADED, "nobody waits for the file any more")
            export: Export = await in_thread(self._finish)
            self.share.grow(export.head_size + _ENTRY * export.count)
        except BaseException:
            self._rows.close()
            raise
        finally:
            self._tables.close()
            for _, waiting in reading:
                _ = waiting.addErrback(lambda _: None)
                waiting.cancel()
        return export

    async def _take(
        self,
        playback: Playback,
        in_thread: InThread,
        batch: Sequence[Found],
        headers: Sequence[bytes | None],
    ) -> None:
        """Add segments; those whose headers cannot be had by themselves are read whole."""
        taken: list[tuple[Found, bytes]] = []
        for found, header in zip(batch, headers, strict=True):
            if header is None:
                try:
                    header = (await playback.segment(found)).encoded
                except Refused as refused:
                    self._damaged += 1
                    if refused.reason is not Reason.NOT_FOUND or self._damaged > MAX_DAMAGED:
                        raise
                    continue
            self._damaged = 0
            taken.append((found, header))
        await in_thread(self._add, taken)
        self._done += sum(found.row.duration for found in batch)
        size = self._tables.table_size
        if max(size, size * self.covered // max(1, self._done)) > MAX_TABLES:
            raise Refused(Reason.BAD_NAME, "the tables of a file this long are too large: ask for parts")
        self.share.grow(2 * size + _ENTRY * self._count)

    def _add(self, taken: Sequence[tuple[Found, bytes]]) -> None:
        for found, encoded in taken:
            header = decode_header(encoded)
            if header.tracks != self._tracks:
                self._tracks, self._chosen = header.tracks, chosen_of(header.tracks, self.selection)
            begin = self.start
            if header.start < self.start:
                begin = beginning(header.tracks, list(header.rows()), header.start, self.start)
            start = header.start
            columns: dict[int, list[tuple[int, int, bool, int]]] = {
                track.track_id: [] for _, track in self._chosen
            }
            for track_id, flags, dts, cts, size in header.rows():
                if track_id in columns and start + dts >= begin:
                    columns[track_id].append((start + dts, cts, flags & 1 == 1, size))
            if not any(columns.values()):
                continue
            self._rows.write(_OFFSET.pack(self._tables.size) + ROW_STRUCT.pack(*found.row))
            self._crc = zlib.crc32(struct.pack(">QI", found.row.number, found.row.checksum), self._crc)
            self._count += 1
            samples = [(key, track, columns[track.track_id]) for key, track in self._chosen]
            self._tables.add(start, start + header.duration, samples)

    def _finish(self) -> Export:
        if not self._count:
            raise Refused(Reason.NOT_FOUND, "nothing of it can be read")
        head: IO[bytes] = tempfile.TemporaryFile(dir=self.folder)  # noqa: SIM115 - the export closes it
        try:
            size = self._tables.write_head(head)
        except MediaError as error:
            head.close()
            raise Refused(Reason.UNSUPPORTED, f"MP4 carries nothing of this: {error}") from error
        head.flush()
        self._rows.flush()
        total = size + self._tables.size
        tag = f"{self._crc:08x}-{self.start:x}-{total:x}-{self.selection or 'all'}"
        return Export(total, size, tag, self.start, self.selection, head, self._rows, self._count, self.share)


class ExportPieces:
    """Bytes C{first} to C{last} of an export: L{restreamer.vod.paced.Pieces}.

    The tables are sent already, or were before: frames that cannot be read any more are zeros.
    """

    def __init__(
        self, export: Export, playback: Playback, in_thread: InThread, first: int, last: int
    ) -> None:
        self._export = export
        self._playback = playback
        self._in_thread = in_thread
        self._at = first
        self._end = last + 1
        self._damaged = 0

    async def next(self) -> Piece | None:
        """See L{restreamer.vod.paced.Pieces.next}."""
        at, export = self._at, self._export
        if at >= self._end:
            return None
        if at < export.head_size:
            body = await self._in_thread(export.read_head, at, min(SLICE, self._end - at))
        else:
            inside = at - export.head_size
            begin, end, row = await self._in_thread(export.find, inside)
            try:
                segment = await self._playback.segment(Found(row, False, ()))
            except Refused as refused:
                self._damaged += 1
                if refused.reason is not Reason.NOT_FOUND or self._damaged > MAX_DAMAGED:
                    raise
                body = bytes(end - begin)
            else:
                self._damaged = 0
                body = await self._in_thread(_body_of, segment, export)
            body = body[inside - begin : self._end - export.head_size - begin]
            if not body:
                raise Refused(Reason.NOT_FOUND, "the archive is not what the file was made of")
        self._at += len(body)
        return Piece(body, 0.0)


def parts_of(segment: Segment, selection: TrackSelection | None, start: int) -> Sequence[Part]:
    """What a file has of a segment: by track its frames, from the last keyframe at or before C{start} on."""
    frames = segment.frames()
    begin = start
    if segment.start < start:
        begin = beginning(segment.tracks, list(segment.rows()), segment.start, start)
    return [
        (key, track, [each for each in frames if each.track_id == track.track_id and each.dts >= begin])
        for key, track in chosen_of(segment.tracks, selection)
    ]


def chosen_of(tracks: Tracks, selection: TrackSelection | None) -> list[tuple[_Key, Track]]:
    """The tracks of a segment that a file has."""
    places: dict[TrackKind, int] = {}
    found = []
    for track in tracks:
        place = places[track.kind] = places.get(track.kind, 0) + 1
        key = (track.kind, place)
        if (selection is None or key in selection.wanted) and carried(track):
            found.append((key, track))
    return found


def _spool(folder: str | None) -> IO[bytes]:
    return tempfile.SpooledTemporaryFile(max_size=SLICE, dir=folder)


async def _batch(playback: Playback) -> list[Found]:
    """The next segments; fewer than L{BATCH} at the end."""
    found: list[Found] = []
    while len(found) < BATCH and (each := await playback.next()) is not None:
        found.append(each)
    return found


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
