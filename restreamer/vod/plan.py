"""A file cut into segments (pure): where each begins, and which samples of the file it holds.

File time is cut into pieces of the segment duration. A segment ends at the first keyframe at or after the end
of the piece in which it begins, so the cuts depend on the file alone, and whoever asks for segment 17 first
gets the bytes that everybody gets. A file without keyframes where they are needed is cut by force.
"""

from __future__ import annotations

import hashlib
import struct
import zlib
from array import array

from attrs import evolve, field, frozen

from restreamer.errors import LocalProtocolError, MediaError
from restreamer.m4f.file_index import FileIndex
from restreamer.m4f.record_layout import MAX_FILE_SEGMENTS
from restreamer.m4f.segment import Segment, SegmentBuilder, SegmentOpening
from restreamer.media.timebase import TICKS_PER_SECOND
from restreamer.media.track import TrackKind
from restreamer.mp4.boxes import ReadAt
from restreamer.mp4.file_track import Row
from restreamer.mp4.reader import Mp4Reader, read_frames

#: Ticks of a file's first DTS: off 0, so that a clock a little before it is no negative number.
FILE_BASE = 10 * TICKS_PER_SECOND
#: Where a segment is cut by force: ticks, bytes of frames, frames.
FORCED_TICKS = 60 * TICKS_PER_SECOND
FORCED_BYTES = 24 * 1024 * 1024
FORCED_FRAMES = 50_000
#: Ticks of the longest hole in a file.
MAX_SEGMENT_TICKS = 3600 * TICKS_PER_SECOND
#: Samples of a file, over all tracks.
MAX_ROWS = 10_000_000

#: DTS since the segment's start, composition offset, twice the track's index and 1 for a key, offset, size.
_ROW = struct.Struct(">IIBQI")
#: Goes into a file's version: raised when the same file is cut in another way.
_FORM = 2


@frozen
class FilePlan:
    """How a file is cut. All of it depends on the file alone.

    @ivar index: what the other nodes and the playlists need.
    @ivar forms: as L{read_frames} takes them. @ivar independent: whether each segment begins with a keyframe.
    @ivar rows: the samples of each segment, packed.
    """

    index: FileIndex
    forms: tuple[tuple[int, int], ...]
    independent: bytes = field(repr=False)
    rows: tuple[bytes, ...] = field(repr=False)

    @property
    def cost(self) -> int:
        """About how many bytes of memory it takes."""
        return self.index.cost + sum(map(len, self.rows)) + 60 * len(self.rows)


def _independent(batch: list[Row], video: bool) -> bool:
    """Whether the first picture (of audio alone: the first frame) is a keyframe."""
    for row in batch:
        if row[1] == 0:
            return row[3]
    return not video


def plan_file(reader: Mp4Reader, size: int, segment_ticks: int) -> FilePlan:
    """Cut a file.

    @param size: of the file, bytes. @param segment_ticks: how long a segment should be.
    @raise MediaError: it has too many samples or segments, or a hole of an hour.
    """
    video = reader.tracks[0].kind is TrackKind.VIDEO
    durations, sizes = array("I"), array("I")
    independent = bytearray()
    packed: list[bytes] = []
    weights = [0] * len(reader.tracks)
    batch: list[Row] = []
    start = line = weight = total = 0
    # Not always 0: an empty sample at the beginning is left out.
    first: int | None = None

    def close(end: int) -> None:
        nonlocal total
        total += len(batch)
        if end - start > MAX_SEGMENT_TICKS:
            raise MediaError(f"nothing is to be played from {start // TICKS_PER_SECOND} s on for an hour")
        if len(durations) >= MAX_FILE_SEGMENTS or total > MAX_ROWS:
            raise MediaError(f"the file has over {MAX_FILE_SEGMENTS} segments or {MAX_ROWS} frames")
        rows = [_ROW.pack(dts - start, cts, index << 1 | key, at, n) for dts, index, cts, key, at, n in batch]
        packed.append(zlib.compress(b"".join(rows), 1))
        independent.append(_independent(batch, video))
        durations.append(max(1, end - start))
        sizes.append(weight)

    for row in reader.rows():
        dts, index, _, key, _, length = row
        if batch and (
            (key and index == 0 and dts >= line)
            or dts - start >= FORCED_TICKS
            or weight + length > FORCED_BYTES
            or len(batch) >= FORCED_FRAMES
        ):
            close(dts)
            batch = []
        if not batch:
            start = dts
            first = dts if first is None else first
            line = (dts // segment_ticks + 1) * segment_ticks
            weight = 0
        batch.append(row)
        weight += length
        weights[index] += length
    if first is None:
        raise MediaError("all samples of the file are empty")
    close(max(reader.end, batch[-1][0] + 1))
    tracks = tuple(
        evolve(track, bandwidth=min(weight * 8 * TICKS_PER_SECOND // max(1, reader.end), (1 << 32) - 1))
        for track, weight in zip(reader.tracks, weights, strict=True)
    )
    seed = struct.pack(">BQQ", _FORM, size, segment_ticks) + reader.digest
    version = int.from_bytes(hashlib.sha256(seed).digest()[:8], "big")
    whole = FileIndex(version, FILE_BASE + first, tracks, durations, sizes)
    return FilePlan(whole, reader.forms, bytes(independent), tuple(packed))


def build_segment(plan: FilePlan, number: int, read_at: ReadAt) -> Segment:
    """Make segment C{number} of a planned file, reading its samples and no others.

    @raise MediaError: the file ends early, or a sample does not hold together.
    """
    index = plan.index
    start = index.start + sum(index.durations[:number])
    batch: list[Row] = [
        (start + dts, form >> 1, cts, form & 1 == 1, at, size)
        for dts, cts, form, at, size in _ROW.iter_unpack(zlib.decompress(plan.rows[number]))
    ]
    independent = bool(plan.independent[number])
    builder = SegmentBuilder(SegmentOpening(number, start, False, independent, 0, index.tracks))
    builder.extend(read_frames(read_at, plan.forms, batch))
    try:
        return builder.close(index.durations[number])
    except LocalProtocolError as error:
        raise MediaError(f"segment {number} of the file cannot be made: {error}") from error
