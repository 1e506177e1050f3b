"""One trak of a file as a track and its samples in ticks (ISO/IEC 14496-12 sections 8.3 to 8.7).

Edit lists are taken as an offset: empty edits at the front delay a track, the first real edit's media time is
where it begins (section 8.6.6); later edits are not followed. Negative composition offsets (ctts version 1)
are moved into the DTS, so that PTS is never below DTS.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from operator import itemgetter

from attrs import evolve, frozen

from restreamer.errors import MediaError
from restreamer.media.h264 import relength
from restreamer.media.timebase import TICKS_PER_SECOND
from restreamer.media.track import Track
from restreamer.mp4.boxes import Box, ReadAt, children, fields
from restreamer.mp4.entry_track import track_of
from restreamer.mp4.fragments import TableBuilder
from restreamer.mp4.sample_entry import read_sample_entry
from restreamer.mp4.sample_table import SampleTable, read_sample_table

#: Longest file, in seconds.
MAX_SECONDS = 31 * 86_400
#: Most frames per second of one track, averaged over the file.
MAX_RATE = 1000
#: Runs of equally long samples that are looked at for the frame rate.
_MAX_RUNS = 10_000
#: Largest composition offset, in seconds.
MAX_COMPOSITION = 60

_WORD = struct.Struct(">I")
_TWO_WORDS = struct.Struct(">II")
_SCALE_AT = {0: 12, 1: 20}
_LANGUAGE_AT = {0: 20, 1: 32}
_LANGUAGE = struct.Struct(">H")
_EDIT_32 = struct.Struct(">Ii4x")
_EDIT_64 = struct.Struct(">Qq4x")

#: (dts, index of its track, composition offset, key, file offset, size), times in ticks.
Row = tuple[int, int, int, bool, int, int]


@frozen(kw_only=True)
class FileTrack:
    """One playable track.

    @ivar track: what it is. @ivar table: where its samples are, timed in C{timescale} per second.
    @ivar length_size: bytes of each NAL unit's length in the file, 0 for codecs without.
    @ivar start: tick of its first DTS.
    """

    track: Track
    table: SampleTable
    timescale: int
    length_size: int
    start: int

    @property
    def lasts(self) -> int:
        """Ticks from the first DTS to the end of the last sample, rounded up.

        A last sample that lasts no time by the table gets the average.
        """
        units = self.table.duration
        if not self.table.deltas[-1] and self.table.count > 1:
            units += units // (self.table.count - 1)
        return -(-units * TICKS_PER_SECOND // self.timescale)

    def rows(self, index: int, shift: int) -> Iterator[Row]:
        """The samples in ticks, DTS strictly rising, those of 0 bytes left out.

        @param index: given back in each row. @param shift: ticks added to every time.
        """
        scale = self.timescale
        below = self.table.lowest_offset
        start = self.start + shift
        last = start - 1
        for time, offset, key, at, size in self.table.samples():
            dts = start + time * TICKS_PER_SECOND // scale
            pts = start + (time + offset - below) * TICKS_PER_SECOND // scale
            if dts <= last:
                dts = last + 1
            last = dts
            if size:
                yield dts, index, max(0, pts - dts), key, at, size


def timescale_of(data: bytes, box: Box) -> tuple[int, int]:
    """(version, timescale) of an mvhd or mdhd box (sections 8.2.2, 8.4.2).

    @raise MediaError: the version is unknown or the timescale 0.
    """
    version = fields(data, box, _WORD)[0] >> 24
    if version not in _SCALE_AT:
        raise MediaError(f"box {box.kind!r} has version {version}")
    timescale = fields(data, box, _WORD, _SCALE_AT[version])[0]
    if not timescale:
        raise MediaError(f"box {box.kind!r} has timescale 0")
    return version, timescale


def _language(data: bytes, mdhd: Box, version: int) -> str:
    """The packed ISO 639-2/T code (section 8.4.2.3), C{und} for anything that is none."""
    packed = fields(data, mdhd, _LANGUAGE, _LANGUAGE_AT[version])[0]
    letters = "".join(chr(0x60 + (packed >> shift & 31)) for shift in (10, 5, 0))
    return letters if all("a" <= letter <= "z" for letter in letters) else "und"


def _edit_offset(data: bytes, trak: dict[bytes, Box], movie_scale: int, timescale: int) -> int:
    """Ticks by which the edit list moves the track.

    @raise MediaError: the list is cut off.
    """
    elst = children(data, trak[b"edts"]).get(b"elst") if b"edts" in trak else None
    if elst is None:
        return 0
    version_flags, count = fields(data, elst, _TWO_WORDS)
    entry = _EDIT_64 if version_flags >> 24 == 1 else _EDIT_32
    there = (elst.end - elst.start - 8) // entry.size
    if count > there:
        raise MediaError(f"elst says it has {count} edits, only {there} are there")
    offset = 0
    for index in range(count):
        lasts, media_time = entry.unpack_from(data, elst.start + 8 + index * entry.size)
        if media_time >= 0:
            offset -= int(media_time) * TICKS_PER_SECOND // timescale
            break
        offset += int(lasts) * TICKS_PER_SECOND // movie_scale
    return offset


def _check_table(table: SampleTable, timescale: int, size: int) -> None:
    """Check times and places.

    @raise MediaError: a track lasts no time or too long, has too many frames per second or composition
        offsets of minutes, or samples outside the file.
    """
    lasts = table.duration
    if lasts > MAX_SECONDS * timescale:
        raise MediaError(f"a track lasts {lasts // timescale} s, at most {MAX_SECONDS} are taken")
    if not lasts or lasts * MAX_RATE < table.count * timescale:
        raise MediaError(f"a track has {table.count} samples in {lasts / timescale:.3f} s")
    if max(table.highest_offset, -table.lowest_offset) > MAX_COMPOSITION * timescale:
        raise MediaError(f"a track has composition offsets over {MAX_COMPOSITION} s")
    table.check_places(size)


def _frame_rate(table: SampleTable, timescale: int) -> int:
    """Frames/s times 1000: of nearly all samples if they last equally long, else on average."""
    longest: dict[int, int] = {}
    for delta, count in zip(table.deltas[:_MAX_RUNS], table.delta_counts, strict=False):
        longest[delta] = longest.get(delta, 0) + count
    delta, count = max(longest.items(), key=itemgetter(1))
    if delta and count * 10 >= table.count * 9:
        return round(timescale * 1000 / delta)
    return round(table.count * timescale * 1000 / table.duration)


def _first_sample(read_at: ReadAt, table: SampleTable, length_size: int) -> bytes:
    """The first sync sample, NAL units behind 4-byte lengths."""
    for _, _, key, at, size in table.samples():
        if key and size:
            sample = read_at(at, size)
            return relength(sample, length_size) if length_size else sample
    raise MediaError("a track has no sync sample")


def _need(boxes: dict[bytes, Box], kind: bytes) -> Box:
    if kind not in boxes:
        raise MediaError(f"a track has no {kind.decode()} box")
    return boxes[kind]


def _track_id(data: bytes, tkhd: Box) -> int:
    """track_ID (section 8.3.2)."""
    version = fields(data, tkhd, _WORD)[0] >> 24
    return fields(data, tkhd, _WORD, _SCALE_AT[1 if version else 0])[0]


def begin_fragments(moov: bytes, box: Box, builders: Mapping[int, TableBuilder]) -> None:
    """Give the builder of a trak's fragments what moov itself tells of samples.

    @raise MediaError: the trak is broken.
    """
    trak = children(moov, box)
    builder = builders.get(_track_id(moov, _need(trak, b"tkhd")))
    minf = children(moov, _need(children(moov, _need(trak, b"mdia")), b"minf"))
    table = read_sample_table(moov, children(moov, _need(minf, b"stbl")))
    if builder is not None and table.count:
        builder.begin(table)


def read_trak(
    moov: bytes,
    box: Box,
    movie_scale: int,
    read_at: ReadAt,
    size: int,
    builders: Mapping[int, TableBuilder],
) -> FileTrack | str | None:
    """Read one trak box.

    @param movie_scale: timescale of mvhd. @param size: bytes of the file.
    @param builders: what movie fragments hold, by track_ID.
    @return: a playable track with id 1, the FourCC of one we do not carry, or None for one with no samples.
    @raise MediaError: it is broken.
    """
    trak = children(moov, box)
    mdia = children(moov, _need(trak, b"mdia"))
    mdhd = _need(mdia, b"mdhd")
    version, timescale = timescale_of(moov, mdhd)
    stbl = children(moov, _need(children(moov, _need(mdia, b"minf")), b"stbl"))
    fourcc, entry = read_sample_entry(moov, _need(stbl, b"stsd"))
    if entry is None:
        return fourcc.decode("ascii", "replace")
    table = read_sample_table(moov, stbl)
    begins = 0
    if builders:
        builder = builders.get(_track_id(moov, _need(trak, b"tkhd")))
        if builder is not None and builder.first is not None:
            table, begins = builder.table(), builder.first
    if not table.count:
        return None
    _check_table(table, timescale, size)
    start = _edit_offset(moov, trak, movie_scale, timescale)
    start += table.lowest_offset * TICKS_PER_SECOND // timescale
    if abs(start) > MAX_SECONDS * TICKS_PER_SECOND:
        raise MediaError(f"an edit list moves a track by {start // TICKS_PER_SECOND} s")
    start += begins * TICKS_PER_SECOND // timescale
    track = track_of(
        entry,
        lambda: _first_sample(read_at, table, entry.length_size),
        _frame_rate(table, timescale),
    )
    return FileTrack(
        track=evolve(track, language=_language(moov, mdhd, version)),
        table=table,
        timescale=timescale,
        length_size=entry.length_size,
        start=start,
    )
