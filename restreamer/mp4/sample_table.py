"""The sample table of one track (ISO/IEC 14496-12 section 8.6 and 8.7), kept packed.

Run-length tables stay run-length; only sizes take a number per sample. Walking them is a chain of
C-level iterators, so ten million samples need no object each.
"""

from __future__ import annotations

import struct
import sys
from array import array
from collections.abc import Iterator
from itertools import accumulate, chain, islice, repeat
from operator import mul

from attrs import frozen

from restreamer.errors import MediaError
from restreamer.mp4.boxes import Box, fields

#: Samples of one track we are ready to hold.
MAX_SAMPLES = 10_000_000
#: Bytes of one sample.
MAX_SAMPLE_SIZE = 16 * 1024 * 1024

_VERSION_COUNT = struct.Struct(">II")
_STSZ = struct.Struct(">III")

#: (dts, composition offset, key, file offset, size) with times in the track's own timescale.
Sample = tuple[int, int, bool, int, int]


def _numbers(code: str, data: bytes, start: int, count: int) -> array[int]:
    """C{count} big-endian numbers of array type C{code} at C{start}; the caller has checked the length."""
    numbers = array(code)
    numbers.frombytes(memoryview(data)[start : start + count * numbers.itemsize])
    if sys.byteorder == "little":
        numbers.byteswap()
    return numbers


def _column(data: bytes, box: Box, code: str, per_row: int) -> array[int]:
    """All numbers of a table box: version and flags, row count, rows of C{per_row} numbers."""
    _, count = fields(data, box, _VERSION_COUNT)
    there = (box.end - box.start - 8) // (array(code).itemsize * per_row)
    if count > there:
        raise MediaError(f"box {box.kind!r} says it has {count} rows, only {there} are there")
    return _numbers(code, data, box.start + 8, count * per_row)


@frozen
class SampleTable:
    """Where and when the samples of one track are.

    @ivar count: number of samples.
    @ivar delta_counts, deltas: stts, run-length; covers exactly C{count} samples.
    @ivar offset_counts, offsets: ctts, run-length; may cover fewer samples, the rest have 0.
    @ivar keys: sample numbers from 1 of sync samples, rising; None when every sample is one.
    @ivar chunk_offsets: file offset of each chunk.
    @ivar chunk_first, chunk_samples: stsc: from this chunk on (counted from 0), so many samples in each.
    @ivar sizes: size of each sample, or C{None} when all have C{size}.
    """

    count: int
    delta_counts: array[int]
    deltas: array[int]
    offset_counts: array[int]
    offsets: array[int]
    keys: array[int] | None
    chunk_offsets: array[int]
    chunk_first: array[int]
    chunk_samples: array[int]
    sizes: array[int] | None
    size: int

    def _sizes(self) -> Iterator[int]:
        return repeat(self.size, self.count) if self.sizes is None else iter(self.sizes)

    def _composition(self) -> Iterator[int]:
        return chain(chain.from_iterable(map(repeat, self.offsets, self.offset_counts)), repeat(0))

    def _times(self) -> Iterator[int]:
        return accumulate(chain.from_iterable(map(repeat, self.deltas, self.delta_counts)), initial=0)

    def _keys(self) -> Iterator[bool]:
        if self.keys is None:
            yield from repeat(True)
        last = 0
        for number in self.keys or ():
            yield from repeat(False, number - last - 1)
            yield True
            last = number
        yield from repeat(False)

    def chunk_sizes(self) -> Iterator[int]:
        """How many samples stsc gives each chunk in turn, for every chunk there is."""
        ends = chain(self.chunk_first[1:], (len(self.chunk_offsets),))
        for first, samples, end in zip(self.chunk_first, self.chunk_samples, ends, strict=False):
            yield from repeat(samples, max(0, min(end, len(self.chunk_offsets)) - first))

    def _places(self) -> Iterator[tuple[int, int]]:
        """(offset, size) of every sample."""
        sizes = self._sizes()
        for at, samples in zip(self.chunk_offsets, self.chunk_sizes(), strict=False):
            for size in islice(sizes, samples):
                yield at, size
                at += size

    def samples(self) -> Iterator[Sample]:
        """Every sample in decoding order."""
        rows = zip(self._places(), self._times(), self._composition(), self._keys(), strict=False)
        for (at, size), dts, composition, key in rows:
            yield dts, composition, key, at, size

    @property
    def duration(self) -> int:
        """Sum of all deltas, in the track's timescale."""
        return sum(map(mul, self.deltas, self.delta_counts))

    @property
    def lowest_offset(self) -> int:
        """The lowest composition offset, or 0 when none is below 0."""
        return min(0, min(self.offsets, default=0))

    @property
    def highest_offset(self) -> int:
        """The highest composition offset, or 0 when none is above 0."""
        return max(0, max(self.offsets, default=0))

    def check_places(self, file_size: int) -> None:
        """Check that every sample lies inside a file of C{file_size} bytes.

        @raise MediaError: a chunk goes past the end, or stsc and stco do not hold all samples.
        """
        left = self.count
        at = 0
        for chunk, samples in zip(self.chunk_offsets, self.chunk_sizes(), strict=False):
            here = min(samples, left)
            length = here * self.size if self.sizes is None else sum(self.sizes[at : at + here])
            if chunk + length > file_size:
                raise MediaError(f"samples at {chunk} need {length} bytes, the file ends at {file_size}")
            left -= here
            at += here
            if not left:
                return
        if left:
            raise MediaError(f"{left} of {self.count} samples are in no chunk")


def _sizes_of(data: bytes, boxes: dict[bytes, Box]) -> tuple[int, array[int] | None, int]:
    """(count, sizes or None, constant size) from stsz or stz2 (section 8.7.3)."""
    if b"stsz" in boxes:
        box = boxes[b"stsz"]
        _, constant, count = fields(data, box, _STSZ)
        width = 32
    elif b"stz2" in boxes:
        box = boxes[b"stz2"]
        _, width, count = fields(data, box, _STSZ)
        width &= 0xFF
        constant = 0
        if width not in (4, 8, 16):
            raise MediaError(f"stz2 has fields of {width} bits, 4, 8 or 16 are possible")
    else:
        raise MediaError("the track has no stsz or stz2 box")
    if count > MAX_SAMPLES:
        raise MediaError(f"the track has {count} samples, at most {MAX_SAMPLES} are taken")
    if constant:
        if constant > MAX_SAMPLE_SIZE:
            raise MediaError(f"samples have {constant} bytes, at most {MAX_SAMPLE_SIZE} are taken")
        return count, None, constant
    there = (box.end - box.start - 12) * 8 // width
    if count > there:
        raise MediaError(f"box {box.kind!r} says it has {count} samples, only {there} are there")
    if width == 4:
        packed = memoryview(data)[box.start + 12 : box.start + 12 + (count + 1) // 2]
        sizes = array("B", chain.from_iterable((pair >> 4, pair & 15) for pair in packed))[:count]
    else:
        sizes = _numbers({8: "B", 16: "H", 32: "I"}[width], data, box.start + 12, count)
    biggest = max(sizes, default=0)
    if biggest > MAX_SAMPLE_SIZE:
        raise MediaError(f"a sample has {biggest} bytes, at most {MAX_SAMPLE_SIZE} are taken")
    return count, sizes, 0


def _fit(counts: array[int], values: array[int], count: int) -> None:
    """Cut a run-length table to C{count} samples.

    @raise MediaError: it covers fewer.
    """
    covered = sum(counts)
    if covered < count:
        raise MediaError(f"stts has times for {covered} of {count} samples")
    while covered > count:
        over = min(covered - count, counts[-1])
        covered -= over
        counts[-1] -= over
        if not counts[-1]:
            counts.pop()
            values.pop()


def read_sample_table(data: bytes, boxes: dict[bytes, Box]) -> SampleTable:
    """Read the boxes of an stbl, checking them against each other.

    @param boxes: the boxes inside stbl by kind.
    @raise MediaError: a table is missing, cut off, over its limit, or disagrees with another.
    """
    count, sizes, size = _sizes_of(data, boxes)
    for kind in (b"stts", b"stsc"):
        if kind not in boxes:
            raise MediaError(f"the track has no {kind.decode()} box")
    times = _column(data, boxes[b"stts"], "I", 2)
    delta_counts, deltas = times[0::2], times[1::2]
    _fit(delta_counts, deltas, count)
    offset_counts, offsets = array("I"), array("i")
    if b"ctts" in boxes:
        # Version 0 is unsigned (8.6.1.3); writers that put negative numbers there anyway are read as meant.
        shifts = _column(data, boxes[b"ctts"], "i", 2)
        offsets = shifts[1::2]
        offset_counts = _column(data, boxes[b"ctts"], "I", 2)[0::2]
    keys = _column(data, boxes[b"stss"], "I", 1) if b"stss" in boxes else None
    if keys is not None and any(b <= a for a, b in zip(chain((0,), keys), keys, strict=False)):
        raise MediaError("stss is not rising")
    if b"stco" in boxes:
        chunk_offsets = _column(data, boxes[b"stco"], "I", 1)
    elif b"co64" in boxes:
        chunk_offsets = _column(data, boxes[b"co64"], "Q", 1)
    else:
        raise MediaError("the track has no stco or co64 box")
    runs = _column(data, boxes[b"stsc"], "I", 3)
    firsts = runs[0::3]
    if any(b <= a for a, b in zip(chain((0,), firsts), firsts, strict=False)) or (firsts and firsts[0] != 1):
        raise MediaError("stsc does not begin at chunk 1 or is not rising")
    chunk_first = array("I", (number - 1 for number in firsts))
    return SampleTable(
        count=count,
        delta_counts=delta_counts,
        deltas=deltas,
        offset_counts=offset_counts,
        offsets=offsets,
        keys=keys,
        chunk_offsets=chunk_offsets,
        chunk_first=chunk_first,
        chunk_samples=runs[1::3],
        sizes=sizes,
        size=size,
    )
