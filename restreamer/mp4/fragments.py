"""Files whose samples are told by movie fragments (ISO/IEC 14496-12 section 8.8), read as sample tables.

Every track run becomes a chunk; times come from tfdt where there is one, so that holes stay holes. A file
that was cut off (a recording that crashed) is read up to the last fragment that is all there.
"""

from __future__ import annotations

import hashlib
import struct
from array import array
from collections.abc import Iterator
from itertools import chain, repeat

from attrs import frozen

from restreamer.errors import MediaError
from restreamer.mp4.boxes import Box, ReadAt, children, fields, walk_boxes, walk_file
from restreamer.mp4.sample_table import MAX_SAMPLE_SIZE, MAX_SAMPLES, SampleTable

#: Bytes of one moof box.
MAX_MOOF = 4 * 1024 * 1024
#: Samples of one run.
MAX_RUN = 200_000
#: Boxes on the top level of a fragmented file.
MAX_TOP_BOXES = 1_000_000

_WORD = struct.Struct(">I")
_TWO_WORDS = struct.Struct(">II")
_LARGE = struct.Struct(">Q")
_SIGNED = struct.Struct(">i")
_TREX = struct.Struct(">4xIIIII")

#: Flags of tfhd (section 8.8.7.1).
_BASE_OFFSET, _DESCRIPTION, _DURATION, _SIZE, _FLAGS, _BASE_IS_MOOF = 1, 2, 8, 0x10, 0x20, 0x20000
#: Flags of trun (section 8.8.8.1).
_DATA_OFFSET, _FIRST_FLAGS = 1, 4
_RUN_DURATION, _RUN_SIZE, _RUN_FLAGS, _RUN_COMPOSITION = 0x100, 0x200, 0x400, 0x800
#: sample_is_non_sync_sample (section 8.8.3.1).
_NOT_SYNC = 0x10000


@frozen(kw_only=True)
class Defaults:
    """What a sample has when its run does not say: duration, size and flags."""

    duration: int
    size: int
    flags: int


class TableBuilder:
    """Collects the samples of one track, in order.

    @ivar first: time of the first sample, in the track's timescale; None before one.
    """

    def __init__(self) -> None:
        self.first: int | None = None
        self._end = 0
        self._count = 0
        self._delta_counts, self._deltas = array("I"), array("I")
        self._offset_counts, self._offsets = array("I"), array("i")
        self._keys = array("I")
        self._chunk_offsets = array("Q")
        self._chunk_first, self._chunk_samples = array("I"), array("I")
        self._sizes = array("I")

    def begin(self, table: SampleTable) -> None:
        """The samples that moov tells of itself, before the fragments."""
        self.first = 0
        durations = chain.from_iterable(map(repeat, table.deltas, table.delta_counts))
        for (_, offset, key, at, size), duration in zip(table.samples(), durations, strict=False):
            self._add(duration, offset, key, size)
            self._chunk(at, 1)

    def at(self, time: int) -> None:
        """What follows begins at C{time}: the sample before lasts so much longer or shorter."""
        if self.first is None:
            self.first = time
        late = time - self.first - self._end
        if not late or not self._deltas:
            return
        before = self._deltas[-1]
        delta = min(max(before + late, 0), 0xFFFF_FFFF)
        self._end += delta - before
        if self._delta_counts[-1] > 1:
            self._delta_counts[-1] -= 1
            self._deltas.append(delta)
            self._delta_counts.append(1)
        else:
            self._deltas[-1] = delta

    def run(self, at: int, samples: list[tuple[int, int, bool, int]]) -> None:
        """A run of samples (duration, composition offset, key, size) that lie one behind the other at C{at}.

        @raise MediaError: the track has more than L{MAX_SAMPLES}.
        """
        if self.first is None:
            self.first = 0
        if self._count + len(samples) > MAX_SAMPLES:
            raise MediaError(f"a track has over {MAX_SAMPLES} samples")
        for duration, offset, key, size in samples:
            self._add(duration, offset, key, size)
        self._chunk(at, len(samples))

    def _add(self, duration: int, offset: int, key: bool, size: int) -> None:
        self._count += 1
        self._end += duration
        if self._deltas and self._deltas[-1] == duration:
            self._delta_counts[-1] += 1
        else:
            self._deltas.append(duration)
            self._delta_counts.append(1)
        if self._offsets and self._offsets[-1] == offset:
            self._offset_counts[-1] += 1
        else:
            self._offsets.append(offset)
            self._offset_counts.append(1)
        if key:
            self._keys.append(self._count)
        self._sizes.append(size)

    def _chunk(self, at: int, samples: int) -> None:
        if not self._chunk_samples or self._chunk_samples[-1] != samples:
            self._chunk_first.append(len(self._chunk_offsets))
            self._chunk_samples.append(samples)
        self._chunk_offsets.append(at)

    def table(self) -> SampleTable:
        """All samples as a table."""
        return SampleTable(
            count=self._count,
            delta_counts=self._delta_counts,
            deltas=self._deltas,
            offset_counts=self._offset_counts,
            offsets=self._offsets,
            keys=None if len(self._keys) == self._count else self._keys,
            chunk_offsets=self._chunk_offsets,
            chunk_first=self._chunk_first,
            chunk_samples=self._chunk_samples,
            sizes=self._sizes,
            size=0,
        )


class FragmentedFile:
    """The fragments of a file.

    @ivar builders: what was found, by track_ID.
    """

    def __init__(self, moov: bytes, mvex: Box, size: int) -> None:
        """@param size: bytes of the file. @raise MediaError: mvex is broken."""
        self._size = size
        self._hash = hashlib.sha256()
        self._defaults: dict[int, Defaults] = {}
        for box in walk_boxes(moov, mvex.start, mvex.end):
            if box.kind == b"trex":
                track_id, _, duration, length, flags = fields(moov, box, _TREX)
                self._defaults[track_id] = Defaults(duration=duration, size=length, flags=flags)
        self.builders = {track_id: TableBuilder() for track_id in self._defaults}

    @property
    def digest(self) -> bytes:
        """SHA-256 of the moof boxes read."""
        return self._hash.digest()

    def read(self, read_at: ReadAt) -> None:
        """Read every moof box.

        @raise MediaError: one is broken. (A file that ends early is read as far as it goes.)
        """
        for box in self._top_level(read_at):
            if box.kind != b"moof":
                continue
            length = box.end - box.start
            if length > MAX_MOOF:
                raise MediaError(f"moof has {length} bytes, at most {MAX_MOOF} are taken")
            moof = read_at(box.start, length)
            self._hash.update(moof)
            try:
                whole = self._fragment(moof, box.start - 8)
            except struct.error as error:
                raise MediaError(f"moof at {box.start} cannot be read: {error}") from error
            if not whole:
                return

    def _top_level(self, read_at: ReadAt) -> Iterator[Box]:
        boxes = walk_file(read_at, self._size, MAX_TOP_BOXES)
        while True:
            try:
                box = next(boxes, None)
            except MediaError:
                return
            if box is None:
                return
            yield box

    def _fragment(self, data: bytes, start: int) -> bool:
        """One moof whose box begins at C{start} of the file; False when its samples are not all there."""
        base = start
        for box in walk_boxes(data):
            if box.kind == b"traf":
                following = self._track_fragment(data, box, start, base)
                if following < 0:
                    return False
                base = following
        return True

    def _track_fragment(self, data: bytes, traf: Box, moof: int, base: int) -> int:
        """One traf; gives where its data ends, -1 when that is behind the end of the file."""
        boxes = children(data, traf)
        if b"tfhd" not in boxes:
            raise MediaError("traf has no tfhd box")
        flags, track_id = fields(data, boxes[b"tfhd"], _TWO_WORDS)
        builder, defaults = self.builders.get(track_id), self._defaults.get(track_id)
        if builder is None or defaults is None:
            raise MediaError(f"a fragment of track {track_id}, which moov does not have")
        at = 8
        if flags & _BASE_OFFSET:
            (base,) = fields(data, boxes[b"tfhd"], _LARGE, at)
            at += 8
        elif flags & _BASE_IS_MOOF:
            base = moof
        at += 4 if flags & _DESCRIPTION else 0
        told = {}
        for bit in (_DURATION, _SIZE, _FLAGS):
            if flags & bit:
                (told[bit],) = fields(data, boxes[b"tfhd"], _WORD, at)
                at += 4
        here = Defaults(
            duration=told.get(_DURATION, defaults.duration),
            size=told.get(_SIZE, defaults.size),
            flags=told.get(_FLAGS, defaults.flags),
        )
        time = self._decode_time(data, boxes)
        if time is not None:
            builder.at(time)
        place = base
        for box in walk_boxes(data, traf.start, traf.end):
            if box.kind == b"trun":
                begin, samples = _run(data, box, here, base, place)
                place = begin + sum(sample[3] for sample in samples)
                if place > self._size:
                    return -1
                if samples:
                    builder.run(begin, samples)
        return place

    @staticmethod
    def _decode_time(data: bytes, boxes: dict[bytes, Box]) -> int | None:
        """baseMediaDecodeTime (section 8.8.12), or None."""
        if b"tfdt" not in boxes:
            return None
        version = fields(data, boxes[b"tfdt"], _WORD)[0] >> 24
        return fields(data, boxes[b"tfdt"], _LARGE if version == 1 else _WORD, 4)[0]


def _run(
    data: bytes, trun: Box, defaults: Defaults, base: int, place: int
) -> tuple[int, list[tuple[int, int, bool, int]]]:
    """Where a run's data begins, and its samples: duration, composition offset, key, size."""
    flags, count = fields(data, trun, _TWO_WORDS)
    version, flags = flags >> 24, flags & 0xFFFFFF
    at = 8
    if flags & _DATA_OFFSET:
        place = base + fields(data, trun, _SIGNED, at)[0]
        at += 4
    first_flags = defaults.flags
    if flags & _FIRST_FLAGS:
        (first_flags,) = fields(data, trun, _WORD, at)
        at += 4
    if place < 0:
        raise MediaError("a run begins before the file")
    told = [bit for bit in (_RUN_DURATION, _RUN_SIZE, _RUN_FLAGS, _RUN_COMPOSITION) if flags & bit]
    row = struct.Struct(">" + "".join("i" if bit == _RUN_COMPOSITION and version else "I" for bit in told))
    there = (trun.end - trun.start - at) // row.size if told else MAX_RUN
    if count > min(there, MAX_RUN):
        raise MediaError(f"trun says it has {count} samples, only {min(there, MAX_RUN)} are taken")
    samples = []
    for index in range(count):
        values = dict(zip(told, row.unpack_from(data, trun.start + at + index * row.size), strict=True))
        sample_flags = values.get(_RUN_FLAGS, first_flags if not index else defaults.flags)
        size = values.get(_RUN_SIZE, defaults.size)
        offset = values.get(_RUN_COMPOSITION, 0)
        if size > MAX_SAMPLE_SIZE:
            raise MediaError(f"a sample has {size} bytes, at most {MAX_SAMPLE_SIZE} are taken")
        if not -(1 << 31) <= offset < 1 << 31:
            # Version 0 is unsigned; writers that put negative numbers there anyway are read as meant.
            offset -= 1 << 32
        samples.append(
            (values.get(_RUN_DURATION, defaults.duration), offset, not sample_flags & _NOT_SYNC, size)
        )
    return place, samples
