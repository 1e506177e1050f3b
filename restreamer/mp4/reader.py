"""An MP4 file as tracks and frames (pure over a read-at callable)."""

from __future__ import annotations

import hashlib
import heapq
import struct
from collections.abc import Iterator, Sequence
from itertools import islice

from attrs import evolve

from restreamer.errors import MediaError
from restreamer.media.frame import Frame
from restreamer.media.h264 import relength
from restreamer.media.timebase import TICKS_PER_SECOND
from restreamer.media.track import Tracks
from restreamer.mp4.boxes import Box, ReadAt, find_moov, walk_boxes
from restreamer.mp4.file_track import (
    MAX_SECONDS,
    FileTrack,
    Row,
    begin_fragments,
    read_trak,
    timescale_of,
)
from restreamer.mp4.fragments import FragmentedFile, TableBuilder

#: Tracks of a file, supported or not.
MAX_TRACKS = 32
#: Bytes that may be read for nothing to join two reads into one, and bytes of a joined read.
MAX_GAP = 64 * 1024
MAX_BLOCK = 8 * 1024 * 1024
#: Tracks may begin this far apart (encoder delay) and the file still loops by its longest track, in ticks.
MAX_STAGGER = TICKS_PER_SECOND // 2


def read_frames(read_at: ReadAt, forms: Sequence[tuple[int, int]], batch: Sequence[Row]) -> list[Frame]:
    """Read the samples of C{batch}, joining neighbours in the file into one read.

    @param forms: of each track that a row may name: its id, and the bytes of each NAL unit's length in the
        file, 0 for codecs without (L{Mp4Reader.forms}).
    @return: the frames, in the order of C{batch}.
    @raise MediaError: the file ends early or a video sample does not hold together.
    """
    places = sorted((row[4], row[5], index) for index, row in enumerate(batch))
    bodies: list[bytes] = [b""] * len(batch)
    first = 0
    while first < len(places):
        begin, size, _ = places[first]
        end = begin + size
        after = first + 1
        while after < len(places) and places[after][0] <= end + MAX_GAP:
            new_end = max(end, places[after][0] + places[after][1])
            if new_end - begin > MAX_BLOCK:
                break
            end = new_end
            after += 1
        block = _read(read_at, begin, end - begin)
        for at, size, index in islice(places, first, after):
            bodies[index] = block[at - begin : at - begin + size]
        first = after
    frames: list[Frame] = []
    for (dts, index, cts, key, _, _), body in zip(batch, bodies, strict=True):
        track_id, length_size = forms[index]
        if length_size:
            body = relength(body, length_size)
        frames.append(Frame(track_id, dts, cts, key, body))
    return frames


def _read(read_at: ReadAt, at: int, size: int) -> bytes:
    data = read_at(at, size)
    if len(data) != size:
        raise MediaError(f"the file ends before {at + size}")
    return data


class Mp4Reader:
    """A file opened for reading; times are ticks of 90 kHz, the earliest DTS of the file being 0.

    @ivar tracks: what it holds, video first; ids from 1.
    @ivar duration: ticks after which it may be played again: the longest track's, rounded up.
    @ivar end: tick at which the last track ends.
    @ivar skipped: FourCC of tracks left out because we do not carry their codec.
    @ivar forms: what L{read_frames} must know of each track. @ivar digest: SHA-256 of what tells
        of samples.
    """

    tracks: Tracks
    duration: int
    end: int
    skipped: tuple[str, ...]
    forms: tuple[tuple[int, int], ...]
    digest: bytes

    def __init__(self, read_at: ReadAt, size: int) -> None:
        """Read the file's tables.

        @param size: bytes of the file.
        @raise MediaError: it is no MP4 file, is broken, or has nothing to play. Whatever C{read_at} raises
            goes through.
        """
        self._read_at = read_at
        moov = find_moov(read_at, size)
        self.digest = hashlib.sha256(moov).digest()
        try:
            found = self._read_moov(moov, size)
        except (struct.error, IndexError, OverflowError) as error:
            raise MediaError(f"moov cannot be read: {error}") from error
        found.sort(key=lambda each: each.track.kind)
        first = min(each.start for each in found)
        self._tracks = [
            evolve(each, start=each.start - first, track=evolve(each.track, track_id=number))
            for number, each in enumerate(found, 1)
        ]
        self.tracks = tuple(each.track for each in self._tracks)
        self.forms = tuple((each.track.track_id, each.length_size) for each in self._tracks)
        self.end = max(each.start + each.lasts for each in self._tracks)
        if max(each.start for each in self._tracks) > MAX_STAGGER:
            self.duration = self.end
        else:
            self.duration = max(each.lasts for each in self._tracks)
        if self.duration > MAX_SECONDS * TICKS_PER_SECOND:
            seconds = self.duration // TICKS_PER_SECOND
            raise MediaError(f"the file lasts {seconds} s, at most {MAX_SECONDS} are taken")

    def _read_moov(self, moov: bytes, size: int) -> list[FileTrack]:
        boxes = list(walk_boxes(moov))
        mvhd = next((box for box in boxes if box.kind == b"mvhd"), None)
        if mvhd is None:
            raise MediaError("moov has no mvhd box")
        _, movie_scale = timescale_of(moov, mvhd)
        traks = [box for box in boxes if box.kind == b"trak"]
        if len(traks) > MAX_TRACKS:
            raise MediaError(f"the file has {len(traks)} tracks, at most {MAX_TRACKS} are taken")
        builders = self._read_fragments(moov, boxes, traks, size)
        read = [read_trak(moov, trak, movie_scale, self._read, size, builders) for trak in traks]
        found = [each for each in read if isinstance(each, FileTrack)]
        self.skipped = tuple(each for each in read if isinstance(each, str))
        if not found:
            has = ", ".join(self.skipped) or "none with samples"
            raise MediaError(f"the file has no track of a codec that is carried (its tracks: {has})")
        return found

    def _read_fragments(
        self, moov: bytes, boxes: Sequence[Box], traks: Sequence[Box], size: int
    ) -> dict[int, TableBuilder]:
        """What movie fragments tell of samples, by track_ID; nothing for a file without."""
        mvex = next((box for box in boxes if box.kind == b"mvex"), None)
        if mvex is None:
            return {}
        fragmented = FragmentedFile(moov, mvex, size)
        for trak in traks:
            begin_fragments(moov, trak, fragmented.builders)
        fragmented.read(self._read)
        self.digest = hashlib.sha256(self.digest + fragmented.digest).digest()
        return fragmented.builders

    def _read(self, at: int, size: int) -> bytes:
        return _read(self._read_at, at, size)

    def rows(self, shift: int = 0) -> Iterator[Row]:
        """Every sample of all tracks once, in order of DTS, as L{Row}.

        @param shift: ticks added to every time.
        """
        return heapq.merge(*(each.rows(index, shift) for index, each in enumerate(self._tracks)))

    def batches(
        self,
        shift: int = 0,
        span: int = TICKS_PER_SECOND // 2,
        max_bytes: int = 4 * 1024 * 1024,
        max_frames: int = 1000,
    ) -> Iterator[list[Frame]]:
        """The frames of the file once, in order of DTS, in slices taken from the file with few reads.

        @param shift: ticks added to every time. @param span: ticks of media in one slice at most.
        @param max_bytes: bound of one slice, but a single larger frame is a slice of its own.
        @param max_frames: bound of one slice.
        @raise MediaError: the file ends early or a video sample does not hold together.
        """
        batch: list[Row] = []
        weight = 0
        for row in self.rows(shift):
            full = weight + row[5] > max_bytes or len(batch) >= max_frames
            if batch and (full or row[0] - batch[0][0] >= span):
                yield self._frames_of(batch)
                batch = []
                weight = 0
            batch.append(row)
            weight += row[5]
        if batch:
            yield self._frames_of(batch)

    def frames(self) -> Iterator[Frame]:
        """Every frame of the file once, in order of DTS.

        @raise MediaError: as L{batches}.
        """
        for batch in self.batches():
            yield from batch

    def _frames_of(self, batch: list[Row]) -> list[Frame]:
        return read_frames(self._read_at, self.forms, batch)
