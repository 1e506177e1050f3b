"""Walking boxes (ISO/IEC 14496-12 section 4.2), never trusting a size.

Every step moves at least one box header forward and stays inside what contains it, so no input makes the walk
run in circles; a caller that goes down passes its own depth.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator

from attrs import frozen

from restreamer.errors import MediaError

#: Reads C{size} bytes at C{offset} of a file; fewer bytes than asked means the file is shorter than that.
ReadAt = Callable[[int, int], bytes]

#: Bytes of moov we are ready to hold.
MAX_MOOV = 64 * 1024 * 1024
#: Boxes on one level of one container.
MAX_BOXES = 10_000

_SIZE_AND_KIND = struct.Struct(">I4s")
_LARGE_SIZE = struct.Struct(">Q")


@frozen
class Box:
    """Where a box's payload lies.

    @ivar kind: FourCC.
    @ivar start: offset of the payload, after the header, in whatever was walked; @ivar end: offset behind it.
    """

    kind: bytes
    start: int
    end: int


def _box_at(head: bytes, at: int, end: int, open_ended: bool) -> Box:
    """The box whose header C{head} (up to 16 bytes) lies at C{at}, inside something that ends at C{end}."""
    if len(head) < 8 or at + 8 > end:
        raise MediaError(f"box header at {at} is cut off")
    size, kind = _SIZE_AND_KIND.unpack_from(head)
    header = 8
    if size == 1:
        if len(head) < 16:
            raise MediaError(f"box {kind!r} at {at} is cut off in its 64-bit size")
        (size,) = _LARGE_SIZE.unpack_from(head, 8)
        header = 16
    elif size == 0 and open_ended:
        size = end - at
    if size < header:
        raise MediaError(f"box {kind!r} at {at} says it has {size} bytes, its header alone has {header}")
    if at + size > end:
        raise MediaError(f"box {kind!r} at {at} says it has {size} bytes, only {end - at} are there")
    return Box(kind, at + header, at + size)


def walk_boxes(data: bytes, start: int = 0, end: int | None = None) -> Iterator[Box]:
    """The boxes of C{data} between C{start} and C{end} (default: all of it), one level.

    Up to 7 bytes left over at the end are padding, as QuickTime writes them after a list of boxes.
    @raise MediaError: a box that is cut off, smaller than its header or larger than its container, or
        more than L{MAX_BOXES} boxes.
    """
    at = start
    stop = len(data) if end is None else end
    for _ in range(MAX_BOXES):
        if stop - at < 8:
            return
        box = _box_at(data[at : at + 16], at, stop, open_ended=False)
        yield box
        at = box.end
    raise MediaError(f"more than {MAX_BOXES} boxes in one container")


def walk_file(read_at: ReadAt, size: int, most: int = MAX_BOXES) -> Iterator[Box]:
    """The top-level boxes of a file of C{size} bytes, reading only their headers.

    @param most: boxes, at most.

    A last box whose size is 0 reaches to the end of the file (section 4.2.2).
    @raise MediaError: as L{walk_boxes}.
    """
    at = 0
    for _ in range(most):
        if size - at < 8:
            return
        box = _box_at(read_at(at, 16), at, size, open_ended=True)
        yield box
        at = box.end
    raise MediaError(f"more than {most} boxes on the top level")


def children(data: bytes, box: Box, skip: int = 0) -> dict[bytes, Box]:
    """The first box of each kind inside C{box}, after C{skip} bytes of its own fields.

    @raise MediaError: as L{walk_boxes}, or a box too short for C{skip}.
    """
    if box.start + skip > box.end:
        raise MediaError(f"box {box.kind!r} has {box.end - box.start} bytes, {skip} are needed")
    found: dict[bytes, Box] = {}
    for child in walk_boxes(data, box.start + skip, box.end):
        found.setdefault(child.kind, child)
    return found


def fields(data: bytes, box: Box, layout: struct.Struct, at: int = 0) -> tuple[int, ...]:
    """Unpack C{layout} at offset C{at} of the payload of C{box}.

    @raise MediaError: the box is shorter than that.
    """
    if box.start + at + layout.size > box.end:
        raise MediaError(f"box {box.kind!r} has {box.end - box.start} bytes, {at + layout.size} are needed")
    return layout.unpack_from(data, box.start + at)


def find_moov(read_at: ReadAt, size: int) -> bytes:
    """The payload of the file's moov box, wherever it stands.

    @raise MediaError: there is none, it is over L{MAX_MOOV}, it is cut off, or a box before it is broken.
    """
    kinds: list[bytes] = []
    for box in walk_file(read_at, size):
        if box.kind == b"moov":
            length = box.end - box.start
            if length > MAX_MOOV:
                raise MediaError(f"moov has {length} bytes, at most {MAX_MOOV} are taken")
            payload = read_at(box.start, length)
            if len(payload) != length:
                raise MediaError("moov is cut off")
            return payload
        if len(kinds) < 8:
            kinds.append(box.kind)
    if not kinds:
        raise MediaError("the file is empty or no MP4 file")
    raise MediaError(f"no moov box: not an MP4 file, or one that was never finished (boxes: {kinds!r})")
