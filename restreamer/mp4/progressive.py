"""The sample tables of a progressive MP4, moov first, built by segments (ISO/IEC 14496-12 section 8).

Tables grow in spools (temporary files when they are long), so memory does not grow with the file. In mdat the
frames of one track within one segment lie together: a chunk. All times are of 90 kHz. The last sample before
a gap lasts until the next one, of all tracks alike, so players stay in step; a gap longer than L{MAX_GAP} is
shortened to it.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Sequence
from itertools import accumulate, groupby, islice
from operator import sub
from typing import IO, Final

from attrs import define, field

from restreamer.errors import MediaError
from restreamer.media.timebase import TICKS_PER_SECOND
from restreamer.media.track import Track, TrackKind
from restreamer.mp4.codec_boxes import box, sample_entry
from restreamer.mp4.fragment import full_box

#: Ticks of a gap, at most: players read the 32 bits of a sample's duration with a sign.
MAX_GAP: Final = 3600 * TICKS_PER_SECOND
#: Sample descriptions of one track.
MAX_ENTRIES: Final = 200
#: Bytes of moov: boxes within it have 32 bits of size, and no player reads as much.
MAX_MOOV: Final = 1 << 30
_U32: Final = struct.Struct(">I")
_U64: Final = struct.Struct(">Q")
_PAIR: Final = struct.Struct(">II")
_TRIPLE: Final = struct.Struct(">III")
_MATRIX: Final = struct.pack(">9I", 0x10000, 0, 0, 0, 0x10000, 0, 0, 0, 0x40000000)
_COPY: Final = 256 * 1024
#: Seconds from 1904 to 1970.
_EPOCH: Final = 2_082_844_800

#: A sample: DTS (UTC ticks), composition offset, whether it is a sync sample, bytes.
Sample = tuple[int, int, bool, int]


@define(eq=False)
class _Runs:
    """Pairs (count, value) of equal values in a row."""

    out: IO[bytes]
    entries: int = 0
    _count: int = 0
    _value: int = 0

    def add(self, values: Iterable[int]) -> None:
        for value, group in groupby(values):
            count = len(list(group))
            if self._count and value == self._value:
                self._count += count
            else:
                self.flush()
                self._count, self._value = count, value

    def flush(self) -> None:
        if self._count:
            self.out.write(_PAIR.pack(self._count, self._value & 0xFFFFFFFF))
            self.entries += 1
            self._count = 0


@define(eq=False)
class _TrackTables:
    """One track of the file."""

    track: Track
    track_id: int
    sizes: IO[bytes]
    sync: IO[bytes]
    chunks: IO[bytes]
    offsets: IO[bytes]
    times: _Runs
    shifts: _Runs
    entries: list[bytes] = field(factory=list)
    samples: int = 0
    sync_count: int = 0
    chunk_count: int = 0
    chunk_rows: int = 0
    first_dts: int = 0
    last_dts: int = 0
    shown: int = 0
    length: int = 0
    negative: bool = False
    shifted: bool = False
    _row: tuple[int, int] = (0, 0)

    def add(self, entry: int, samples: Sequence[Sample], offset: int) -> None:
        """A chunk."""
        if not self.samples:
            self.first_dts = self.last_dts = samples[0][0]
            self.shown = min(dts + cts for dts, cts, _, _ in samples)
        self.chunk_count += 1
        self.offsets.write(_U64.pack(offset))
        if self._row != (len(samples), entry):
            self._row = (len(samples), entry)
            self.chunks.write(_TRIPLE.pack(self.chunk_count, len(samples), entry))
            self.chunk_rows += 1
        times, shifts, keys, sizes = zip(*samples, strict=True)
        self.sizes.write(struct.pack(f">{len(sizes)}I", *sizes))
        now = list(accumulate(times, max, initial=self.last_dts))
        self.last_dts = now[-1]
        self.times.add(islice(map(sub, now[1:], now), 0 if self.samples else 1, None))
        shown = [dts + cts - at for dts, cts, at in zip(times, shifts, now[1:], strict=True)]
        self.shifts.add(shown)
        self.negative = self.negative or min(shown) < 0
        self.shifted = self.shifted or any(shown)
        synced = [number for number, key in enumerate(keys, self.samples + 1) if key]
        self.sync.write(struct.pack(f">{len(synced)}I", *synced))
        self.sync_count += len(synced)
        self.samples += len(sizes)

    def finish(self, end: int) -> None:
        """@param end: where the last sample ends, UTC ticks."""
        self.length = min(max(end - self.last_dts, 1), MAX_GAP)
        self.times.add([self.length])
        self.times.flush()
        self.shifts.flush()

    @property
    def duration(self) -> int:
        return self.last_dts + self.length - self.first_dts


class ProgressiveTables:
    """The tables of a file that is being put together.

    @param spool: makes an empty file to write to and read from. @param created: Unix seconds, for mvhd.
    @ivar size: bytes of frames so far.
    """

    def __init__(self, spool: Callable[[], IO[bytes]], created: int = 0) -> None:
        self.size = 0
        self._spool = spool
        self._created = created
        self._tracks: dict[tuple[TrackKind, int], _TrackTables] = {}
        self._end = 0
        self._cut = 0

    def add(
        self, start: int, end: int, parts: Sequence[tuple[tuple[TrackKind, int], Track, Sequence[Sample]]]
    ) -> None:
        """The next segment, with samples in decoding order; its frames lie in mdat in the order of C{parts}.

        @param parts: of each track: (kind, place within the kind), what it is now, its samples.
        @raise MediaError: a codec MP4 does not carry, or too many configurations.
        """
        if self._end and start - self._end > MAX_GAP:
            self._cut += start - self._end - MAX_GAP
        self._end = max(self._end, end)
        cut = self._cut
        for key, track, samples in parts:
            if not samples:
                continue
            tables = self._tracks.get(key)
            if tables is None:
                spool = self._spool
                tables = self._tracks[key] = _TrackTables(
                    track,
                    len(self._tracks) + 1,
                    spool(),
                    spool(),
                    spool(),
                    spool(),
                    _Runs(spool()),
                    _Runs(spool()),
                )
            entry = sample_entry(track)
            if entry not in tables.entries:
                if len(tables.entries) >= MAX_ENTRIES:
                    raise MediaError(f"more than {MAX_ENTRIES} configurations of one track")
                tables.entries.append(entry)
            if cut:
                samples = [(dts - cut, cts, sync, size) for dts, cts, sync, size in samples]
            tables.add(tables.entries.index(entry) + 1, samples, self.size)
            self.size += sum(size for _, _, _, size in samples)

    @property
    def table_size(self) -> int:
        """Bytes of tables so far, at least."""
        return sum(
            4 * (each.samples + each.sync_count)
            + 8 * (each.chunk_count + each.times.entries + each.shifts.entries)
            + 12 * each.chunk_rows
            for each in self._tracks.values()
        )

    def close(self) -> None:
        """Delete the spools."""
        for each in self._tracks.values():
            for spool in (each.sizes, each.sync, each.chunks, each.offsets, each.times.out, each.shifts.out):
                spool.close()

    def write_head(self, out: IO[bytes]) -> int:
        """Write ftyp, moov and the header of mdat; frames follow. @return: bytes written.

        @raise MediaError: there is no sample.
        """
        tracks = list(self._tracks.values())
        if not tracks:
            raise MediaError("no frame that MP4 carries")
        for each in tracks:
            each.finish(self._end - self._cut)
        video = [each for each in tracks if each.track.kind is TrackKind.VIDEO]
        zero = min(each.shown for each in video or tracks)
        file_type = box(b"ftyp", b"isom", _U32.pack(0x200), b"isomiso4mp41")
        rough = sum(each.chunk_count for each in tracks) * 8 + sum(each.samples for each in tracks) * 20
        large = self.size + rough + 1_000_000 > 0xFFFFFFFF
        if self.table_size > MAX_MOOV:
            raise MediaError(f"tables of {self.table_size} bytes, at most {MAX_MOOV}")
        size = len(file_type) + 16 + self._moov(zero, large, 0, None)
        out.write(file_type)
        self._moov(zero, large, size, out)
        out.write(struct.pack(">I4sQ", 1, b"mdat", 16 + self.size))
        return size

    def _moov(self, zero: int, large: bool, base: int, out: IO[bytes] | None) -> int:
        """Write moov, or only say how long it is."""
        tracks = list(self._tracks.values())
        edits = {each.track_id: _edit(each, zero) for each in tracks}
        longest = max(length for _, length in edits.values())
        created = self._created + _EPOCH
        head = full_box(
            b"mvhd",
            1,
            0,
            struct.pack(">QQIQIH10x", created, created, TICKS_PER_SECOND, longest, 0x10000, 0x0100),
            _MATRIX,
            bytes(24),
            _U32.pack(len(tracks) + 1),
        )
        body = [_Box(head)]
        body += [_trak(each, *edits[each.track_id], created, large, base) for each in tracks]
        return _write(_nest(b"moov", body), out)


@define(eq=False)
class _Box:
    """Bytes, then what a spool holds, each piece of it through C{change}, then boxes."""

    head: bytes
    spool: IO[bytes] | None = None
    size: int = 0
    change: Callable[[bytes], bytes] | None = None
    inner: list[_Box] = field(factory=list)

    @property
    def length(self) -> int:
        return len(self.head) + self.size + sum(each.length for each in self.inner)


def _nest(kind: bytes, inner: list[_Box]) -> _Box:
    length = 8 + sum(each.length for each in inner)
    return _Box(_U32.pack(length) + kind, inner=inner)


def _table(kind: bytes, version: int, fields: bytes, spool: IO[bytes], size: int) -> _Box:
    head = _U32.pack(12 + len(fields) + size) + kind + _U32.pack(version << 24) + fields
    return _Box(head, spool, size)


def _write(each: _Box, out: IO[bytes] | None) -> int:
    if out is not None:
        out.write(each.head)
        if each.spool is not None:
            each.spool.seek(0)
            while piece := each.spool.read(_COPY):
                out.write(each.change(piece) if each.change else piece)
        for inner in each.inner:
            _write(inner, out)
    return each.length


def _edit(tables: _TrackTables, zero: int) -> tuple[bytes, int]:
    """The edit list of a track, and its length in the movie (section 8.6.6)."""
    rows = []
    begin = tables.shown
    end = tables.last_dts + tables.length + (tables.shown - tables.first_dts)
    if begin > zero:
        rows.append((begin - zero, -1))
    media = max(begin, zero) - tables.first_dts
    lasts = max(end - max(begin, zero), 1)
    rows.append((lasts, media))
    packed = b"".join(struct.pack(">QqI", length, time, 0x10000) for length, time in rows)
    return box(b"edts", full_box(b"elst", 1, 0, _U32.pack(len(rows)), packed)), max(0, begin - zero) + lasts


def _trak(tables: _TrackTables, edit: bytes, length: int, created: int, large: bool, base: int) -> _Box:
    track = tables.track
    video = track.kind is TrackKind.VIDEO
    head = full_box(
        b"tkhd",
        1,
        3,
        struct.pack(
            ">QQIIQ8xHHHH",
            created,
            created,
            tables.track_id,
            0,
            length,
            0,
            0 if video else 1,
            0 if video else 0x0100,
            0,
        ),
        _MATRIX,
        struct.pack(">II", (track.width & 0xFFFF) << 16, (track.height & 0xFFFF) << 16),
    )
    code = track.language if len(track.language) == 3 and track.language.isalpha() else "und"
    language = 0
    for letter in code.lower():
        language = language << 5 | (ord(letter) - 0x60) & 0x1F
    media_head = full_box(
        b"mdhd",
        1,
        0,
        struct.pack(">QQIQHH", created, created, TICKS_PER_SECOND, tables.duration, language, 0),
    )
    handler = full_box(
        b"hdlr", 0, 0, bytes(4), b"vide" if video else b"soun", bytes(12), b"video\0" if video else b"audio\0"
    )
    kind = full_box(b"vmhd", 0, 1, bytes(8)) if video else full_box(b"smhd", 0, 0, bytes(4))
    here = box(b"dinf", full_box(b"dref", 0, 0, _U32.pack(1), full_box(b"url ", 0, 1)))
    stbl = [
        _Box(full_box(b"stsd", 0, 0, _U32.pack(len(tables.entries)), *tables.entries)),
        _table(b"stts", 0, _U32.pack(tables.times.entries), tables.times.out, 8 * tables.times.entries),
    ]
    if tables.shifted:
        shifts = tables.shifts
        version = 1 if tables.negative else 0
        stbl.append(_table(b"ctts", version, _U32.pack(shifts.entries), shifts.out, 8 * shifts.entries))
    if tables.sync_count < tables.samples:
        count = tables.sync_count
        stbl.append(_table(b"stss", 0, _U32.pack(count), tables.sync, 4 * count))
    rows = tables.chunk_rows
    stbl.append(_table(b"stsc", 0, _U32.pack(rows), tables.chunks, 12 * rows))
    stbl.append(_table(b"stsz", 0, _PAIR.pack(0, tables.samples), tables.sizes, 4 * tables.samples))
    wide = 8 if large else 4
    count = tables.chunk_count
    offsets = _table(b"co64" if large else b"stco", 0, _U32.pack(count), tables.offsets, wide * count)
    form = "Q" if large else "I"

    def moved(piece: bytes) -> bytes:
        values = [value + base for (value,) in _U64.iter_unpack(piece)]
        return struct.pack(f">{len(values)}{form}", *values)

    offsets.change = moved
    stbl.append(offsets)
    minf = _nest(b"minf", [_Box(kind + here), _nest(b"stbl", stbl)])
    media = _nest(b"mdia", [_Box(media_head + handler), minf])
    return _nest(b"trak", [_Box(head + edit), media])
