"""Reading CMAF segments one by one: an init segment, then movie fragments (ISO/IEC 14496-12 section 8.8).

For streams that are fetched piece by piece; what can be read from a whole file is read there
(L{restreamer.mp4.reader}).
"""

from __future__ import annotations

import struct
from typing import Final

from attrs import define, evolve

from restreamer.errors import MediaError
from restreamer.media.frame import Frame
from restreamer.media.h264 import relength
from restreamer.media.timebase import TICKS_PER_SECOND
from restreamer.media.track import Track, Tracks
from restreamer.mp4.boxes import Box, children, fields, walk_boxes
from restreamer.mp4.entry_track import track_of
from restreamer.mp4.file_track import timescale_of
from restreamer.mp4.sample_entry import read_sample_entry

#: Tracks of an init segment, and samples of a fragment, that are read.
MAX_TRACKS: Final = 16
MAX_SAMPLES: Final = 20_000

_WORD: Final = struct.Struct(">I")
_LONG: Final = struct.Struct(">Q")
_WORDS: Final = struct.Struct(">II")
_TREX: Final = struct.Struct(">IIIII")
_NON_SYNC: Final = 0x00010000
_TRACK_ID_AT: Final = {0: 12, 1: 20}
_LANGUAGE_AT: Final = {0: 20, 1: 32}


@define(eq=False)
class _Lane:
    """A track of the init segment, and what its fragments take when they do not say."""

    number: int
    timescale: int
    length_size: int
    duration: int = 0
    size: int = 0
    flags: int = 0
    next_time: int = 0


class FragmentReader:
    """Reads segments of one init segment.

    @ivar tracks: their ids are those of the init segment.
    """

    def __init__(self, init: bytes) -> None:
        """@raise MediaError: it is broken, or holds no track that can be carried."""
        self._lanes: dict[int, _Lane] = {}
        moov = next((box for box in walk_boxes(init) if box.kind == b"moov"), None)
        if moov is None:
            raise MediaError("an init segment without moov")
        tracks: list[Track] = []
        for box in walk_boxes(init, moov.start, moov.end):
            if box.kind == b"trak" and len(tracks) < MAX_TRACKS:
                track = self._trak(init, box)
                if track is not None:
                    tracks.append(track)
        for box in walk_boxes(init, moov.start, moov.end):
            if box.kind == b"mvex":
                self._defaults(init, box)
        if not tracks:
            raise MediaError("an init segment with no track that can be carried")
        self.tracks: Tracks = tuple(tracks)

    def frames(self, segment: bytes) -> list[Frame]:
        """The frames of a segment of one or more fragments, in the order of their DTS.

        @raise MediaError: it is broken.
        """
        found: list[Frame] = []
        for box in walk_boxes(segment):
            if box.kind == b"moof":
                # Offsets count from where the box begins: a header of 8 bytes is before its payload.
                self._moof(segment, box, found)
        found.sort(key=lambda frame: frame.dts)
        return found

    def _trak(self, data: bytes, box: Box) -> Track | None:
        trak = children(data, box)
        mdia = children(data, _need(trak, b"mdia"))
        mdhd = _need(mdia, b"mdhd")
        version, timescale = timescale_of(data, mdhd)
        stbl = children(data, _need(children(data, _need(mdia, b"minf")), b"stbl"))
        _, entry = read_sample_entry(data, _need(stbl, b"stsd"))
        tkhd = _need(trak, b"tkhd")
        number = fields(data, tkhd, _WORD, _TRACK_ID_AT[min(1, fields(data, tkhd, _WORD)[0] >> 24)])[0]
        if entry is None or not 1 <= number <= 0xFFFF or number in self._lanes:
            return None
        track = track_of(entry, _nothing)
        self._lanes[number] = _Lane(number, timescale, entry.length_size)
        return evolve(track, track_id=number, language=_language(data, mdhd, version))

    def _defaults(self, data: bytes, mvex: Box) -> None:
        for box in walk_boxes(data, mvex.start, mvex.end):
            if box.kind == b"trex":
                number, _, duration, size, flags = fields(data, box, _TREX, 4)
                lane = self._lanes.get(number)
                if lane is not None:
                    lane.duration, lane.size, lane.flags = duration, size, flags

    def _moof(self, data: bytes, moof: Box, found: list[Frame]) -> None:
        begin = moof.start - 8
        for box in walk_boxes(data, moof.start, moof.end):
            if box.kind == b"traf":
                self._traf(data, box, begin, found)

    def _traf(self, data: bytes, traf: Box, moof: int, found: list[Frame]) -> None:
        boxes = list(walk_boxes(data, traf.start, traf.end))
        tfhd = next((box for box in boxes if box.kind == b"tfhd"), None)
        if tfhd is None:
            raise MediaError("a track fragment without tfhd")
        flags, number = fields(data, tfhd, _WORDS)
        lane = self._lanes.get(number)
        if lane is None:
            return
        at = 8
        base = moof
        if flags & 0x000001:
            base = fields(data, tfhd, _LONG, at)[0]
            at += 8
        at += 4 if flags & 0x000002 else 0
        defaults = [lane.duration, lane.size, lane.flags]
        for index, flag in enumerate((0x000008, 0x000010, 0x000020)):
            if flags & flag:
                defaults[index] = fields(data, tfhd, _WORD, at)[0]
                at += 4
        time = lane.next_time
        for box in boxes:
            if box.kind == b"tfdt":
                version = fields(data, box, _WORD)[0] >> 24
                time = fields(data, box, _LONG if version else _WORD, 4)[0]
        offset = base
        for box in boxes:
            if box.kind == b"trun":
                time, offset = self._trun(data, box, lane, (base, offset, time), defaults, found)
        lane.next_time = time

    def _trun(
        self,
        data: bytes,
        trun: Box,
        lane: _Lane,
        place: tuple[int, int, int],
        defaults: list[int],
        found: list[Frame],
    ) -> tuple[int, int]:
        """One run of samples; gives the time and the offset behind it."""
        base, offset, time = place
        head, count = fields(data, trun, _WORDS)
        if count > MAX_SAMPLES:
            raise MediaError(f"a run of {count} samples, at most {MAX_SAMPLES} are read")
        at = 8
        if head & 0x000001:
            offset = base + struct.unpack(">i", data[trun.start + at : trun.start + at + 4])[0]
            at += 4
        first_flags = None
        if head & 0x000004:
            first_flags = fields(data, trun, _WORD, at)[0]
            at += 4
        shown = [flag for flag in (0x000100, 0x000200, 0x000400, 0x000800) if head & flag]
        row = struct.Struct(">" + "".join("i" if flag == 0x000800 else "I" for flag in shown))
        if trun.start + at + count * row.size > trun.end:
            raise MediaError(f"a run says it has {count} samples, fewer are there")
        scale = lane.timescale
        for index in range(count):
            values = dict(zip(shown, row.unpack_from(data, trun.start + at + index * row.size), strict=True))
            duration = values.get(0x000100, defaults[0])
            size = values.get(0x000200, defaults[1])
            flags = values.get(0x000400, defaults[2])
            if not index and first_flags is not None:
                flags = first_flags
            if not 0 <= offset <= offset + size <= len(data):
                raise MediaError("a sample lies outside its segment")
            dts = time * TICKS_PER_SECOND // scale
            cts = (time + values.get(0x000800, 0)) * TICKS_PER_SECOND // scale - dts
            body = data[offset : offset + size]
            if lane.length_size and size:
                body = relength(body, lane.length_size)
            if size:
                found.append(Frame(lane.number, dts, max(0, cts), not flags & _NON_SYNC, body))
            offset += size
            time += duration
        return time, offset


def _need(boxes: dict[bytes, Box], kind: bytes) -> Box:
    found = boxes.get(kind)
    if found is None:
        raise MediaError(f"an init segment without {kind.decode('latin-1')}")
    return found


def _language(data: bytes, mdhd: Box, version: int) -> str:
    packed = fields(data, mdhd, struct.Struct(">H"), _LANGUAGE_AT[version])[0]
    letters = "".join(chr(0x60 + (packed >> shift & 31)) for shift in (10, 5, 0))
    return letters if all("a" <= letter <= "z" for letter in letters) else "und"


def _nothing() -> bytes:
    """An init segment has no samples."""
    return b""
