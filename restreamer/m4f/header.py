"""The header of a canonical segment: enough to know everything but the frames' bodies."""

from __future__ import annotations

from collections.abc import Iterator

import google_crc32c
from attrs import field, frozen

from restreamer.errors import LocalProtocolError, RemoteProtocolError
from restreamer.m4f import layout
from restreamer.m4f.layout import (
    CHECKSUM_SIZE,
    CHECKSUM_STRUCT,
    FRAME_SIZE,
    FRAME_SIZES,
    FRAME_STRUCT,
    HEAD_SIZE,
    HEAD_STRUCT,
    PART_SIZE,
    PART_STRUCT,
)
from restreamer.m4f.tracks import TrackTable, decode_tracks, tracks_end
from restreamer.media.track import Tracks

_WHERE = "M4F segment"
_CHUNK = 128 * 1024

#: (track id, flags, dts from the segment's start, composition offset, size)
Row = tuple[int, int, int, int, int]


@frozen
class Part:
    """A low-latency part: a run of frames of one segment (RFC 8216bis section 4.4.4.9).

    @ivar first_frame: index of its first frame in the segment; @ivar frame_count: how many.
    @ivar duration: ticks. @ivar independent: it begins with a random access point.
    """

    first_frame: int
    frame_count: int
    duration: int
    independent: bool


@frozen
class SegmentHeader:
    """What the header of a segment says; sizes and offsets in bytes, times in ticks.

    @ivar header_size: where the bodies begin; @ivar body_size: length of all bodies.
    @ivar table_offset: where the frame table begins.
    @ivar table: the packed frame table. @ivar hidden: ids of tracks of a kind this version does not know.
    @ivar body_checksum: CRC32C of the bodies; @ivar checksum: CRC32C of the header: the segment's checksum.
    """

    number: int
    start: int
    duration: int
    discontinuity: bool
    independent: bool
    discontinuity_sequence: int
    tracks: Tracks
    frame_count: int
    parts: tuple[Part, ...]
    header_size: int
    body_size: int
    body_checksum: int
    checksum: int
    table_offset: int
    table: bytes = field(repr=False)
    hidden: frozenset[int] = frozenset()

    @property
    def size(self) -> int:
        """Length of the whole segment."""
        return self.header_size + self.body_size

    def rows(self) -> Iterator[Row]:
        """The frame table, unpacked row by row."""
        return FRAME_STRUCT.iter_unpack(self.table)

    def frame_span(self, index: int) -> tuple[int, int]:
        """Offset in the segment and size of one frame's body, so that it can be read alone.

        @raise IndexError: when there is no such frame.
        """
        if not 0 <= index < self.frame_count:
            raise IndexError(index)
        sizes = [size for (size,) in FRAME_SIZES.iter_unpack(self.table[: (index + 1) * FRAME_SIZE])]
        return self.header_size + sum(sizes[:-1]), sizes[-1]


def segment_sizes(head: bytes) -> tuple[int, int]:
    """Header size and body size, from the first L{HEAD_SIZE} bytes of a segment.

    @raise RemoteProtocolError: when they are not those of a segment this version can read.
    """
    if len(head) < HEAD_SIZE:
        raise RemoteProtocolError(_WHERE, f"{len(head)} bytes, its head alone has {HEAD_SIZE}")
    magic, version, _, track_count, part_count, header_size, _, _, _, _, frame_count, body_size = (
        HEAD_STRUCT.unpack_from(head)
    )
    if magic != layout.MAGIC:
        raise RemoteProtocolError(_WHERE, f"magic {magic!r}")
    if version != layout.VERSION:
        raise RemoteProtocolError(_WHERE, f"version {version}, this node reads {layout.VERSION}")
    if track_count > layout.MAX_TRACKS:
        raise RemoteProtocolError(_WHERE, f"{track_count} tracks, at most {layout.MAX_TRACKS}")
    if frame_count > layout.MAX_FRAMES:
        raise RemoteProtocolError(_WHERE, f"{frame_count} frames, at most {layout.MAX_FRAMES}")
    if header_size + body_size > layout.MAX_SEGMENT:
        raise RemoteProtocolError(_WHERE, f"{header_size + body_size} bytes, at most {layout.MAX_SEGMENT}")
    least = HEAD_SIZE + 4 * track_count + FRAME_SIZE * frame_count + PART_SIZE * part_count + CHECKSUM_SIZE
    if header_size < least:
        raise RemoteProtocolError(_WHERE, f"header of {header_size} bytes, its tables need {least}")
    return header_size, body_size


def decode_header(data: bytes) -> SegmentHeader:
    """Read and verify a header; what follows it in C{data} is not looked at.

    @raise RemoteProtocolError: when it is cut short, damaged or contradicts itself.
    """
    header_size, body_size = segment_sizes(data)
    if len(data) < header_size:
        raise RemoteProtocolError(_WHERE, f"header of {header_size} bytes cut at {len(data)}")
    _, _, flags, track_count, part_count, _, number, start, duration, sequence, frame_count, _ = (
        HEAD_STRUCT.unpack_from(data)
    )
    tables_end = header_size - CHECKSUM_SIZE
    body_checksum, checksum = CHECKSUM_STRUCT.unpack_from(data, tables_end)
    if google_crc32c.value(data[: header_size - 4]) != checksum:
        raise RemoteProtocolError(_WHERE, "header checksum does not match")
    if number > layout.MAX_NUMBER:
        raise RemoteProtocolError(_WHERE, f"number {number}, at most {layout.MAX_NUMBER}")
    if abs(start) > layout.MAX_TIME:
        raise RemoteProtocolError(_WHERE, f"start {start} is out of any calendar")
    table_offset = tracks_end(data, HEAD_SIZE, track_count, tables_end)
    parts_offset = table_offset + frame_count * FRAME_SIZE
    if parts_offset + part_count * PART_SIZE > tables_end:
        raise RemoteProtocolError(_WHERE, "the tables are longer than the header")
    table_of_tracks = decode_tracks(data[HEAD_SIZE:table_offset])
    table = data[table_offset:parts_offset]
    _check_frames(table, table_of_tracks, body_size)
    parts = tuple(
        Part(first, count, ticks, bool(part_flags & layout.KEY))
        for first, count, ticks, part_flags in PART_STRUCT.iter_unpack(
            data[parts_offset : parts_offset + part_count * PART_SIZE]
        )
    )
    wrong = parts_problem(parts, frame_count)
    if wrong:
        raise RemoteProtocolError(_WHERE, wrong)
    return SegmentHeader(
        number,
        start,
        duration,
        bool(flags & layout.DISCONTINUITY),
        bool(flags & layout.INDEPENDENT),
        sequence,
        table_of_tracks.tracks,
        frame_count,
        parts,
        header_size,
        body_size,
        body_checksum,
        checksum,
        table_offset,
        table,
        table_of_tracks.hidden,
    )


def _check_frames(table: bytes, tracks: TrackTable, body_size: int) -> None:
    unknown = set(table[::FRAME_SIZE]) - tracks.ids
    if unknown:
        raise RemoteProtocolError(_WHERE, f"frames of track {min(unknown)}, which is not in the track table")
    total = sum([size for (size,) in FRAME_SIZES.iter_unpack(table)])
    if total != body_size:
        raise RemoteProtocolError(_WHERE, f"frames of {total} bytes in a body of {body_size}")


def parts_problem(parts: tuple[Part, ...], frame_count: int) -> str:
    """What is wrong with a part table, or empty: parts follow each other and cover every frame once."""
    if not parts:
        return ""
    expected = 0
    for part in parts:
        if part.first_frame != expected:
            return f"a part begins at frame {part.first_frame}, expected {expected}"
        expected += part.frame_count
    if expected != frame_count:
        return f"the parts cover {expected} of {frame_count} frames"
    return ""


def body_checksum(data: bytes, offset: int) -> int:
    """CRC32C of C{data} from C{offset} on, with no copy of the whole."""
    checksum = 0
    extend = google_crc32c.extend
    for at in range(offset, len(data), _CHUNK):
        checksum = extend(checksum, data[at : at + _CHUNK])
    return checksum


def encode_header(
    number: int,
    start: int,
    duration: int,
    flags: int,
    discontinuity_sequence: int,
    track_count: int,
    track_table: bytes,
    rows: list[bytes],
    parts: tuple[Part, ...],
    body_size: int,
    body_checksum: int,
) -> tuple[bytes, int]:
    """The bytes of a header and the checksum it ends with.

    @param flags: segment flags of L{restreamer.m4f.layout}; @param rows: packed rows of the frame table.
    @raise LocalProtocolError: when the segment passes a limit.
    @raise struct.error: when a field does not fit its width.
    """
    header_size = (
        HEAD_SIZE + len(track_table) + len(rows) * FRAME_SIZE + len(parts) * PART_SIZE + CHECKSUM_SIZE
    )
    if len(rows) > layout.MAX_FRAMES:
        raise LocalProtocolError(f"{len(rows)} frames in a segment, at most {layout.MAX_FRAMES}")
    if header_size + body_size > layout.MAX_SEGMENT:
        raise LocalProtocolError(
            f"a segment of {header_size + body_size} bytes, at most {layout.MAX_SEGMENT}"
        )
    if not 0 <= number <= layout.MAX_NUMBER or abs(start) > layout.MAX_TIME:
        raise LocalProtocolError(f"segment {number} at {start} is out of range")
    wrong = parts_problem(parts, len(rows))
    if wrong:
        raise LocalProtocolError(wrong)
    head = HEAD_STRUCT.pack(
        layout.MAGIC,
        layout.VERSION,
        flags,
        track_count,
        len(parts),
        header_size,
        number,
        start,
        duration,
        discontinuity_sequence,
        len(rows),
        body_size,
    )
    pack = PART_STRUCT.pack
    header = b"".join(
        [
            head,
            track_table,
            *rows,
            *[pack(part.first_frame, part.frame_count, part.duration, part.independent) for part in parts],
            body_checksum.to_bytes(4, "big"),
        ]
    )
    checksum: int = google_crc32c.value(header)
    return header + checksum.to_bytes(4, "big"), checksum
