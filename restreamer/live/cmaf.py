"""CMAF of a live stream: what of a segment, or of a part of it, belongs to one track, and its bytes.

Everything is computed from the frames and the part table of the segment, which are the same on every node. A
part that holds nothing of a track is no part of that track; the others are counted from 0. The bytes of its
parts, put in a row, are the segment; a segment without parts is made like one part.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Final
from weakref import WeakKeyDictionary

from attrs import define, field, frozen

from restreamer.live.cmaf_names import find_track, init_file
from restreamer.live.stream import Stream
from restreamer.live.window import WindowSegment
from restreamer.m4f.segment import Part, Segment, SegmentBuilder
from restreamer.media.codecs import cmaf_can_carry
from restreamer.media.frame import Frame
from restreamer.media.timebase import TICKS_PER_SECOND
from restreamer.media.track import AAC, AC3, EAC3, MP3, Track, TrackKind, Tracks
from restreamer.mp4.fragment import fragment, init_segment, split_fragments

#: Fragments of one segment that have sequence numbers of their own.
_SEQUENCE_STEP: Final = 1024
#: Samples in a frame, for the last frame of a part that holds only one.
_FRAME_SAMPLES: Final = {AAC: 1024, MP3: 1152, AC3: 1536, EAC3: 1536}

#: (track id, DTS in UTC ticks, composition offset, random access point) of each frame of a segment.
_Row = tuple[int, int, int, bool]


@frozen
class TrackPart:
    """What a part holds of one track; times are UTC ticks.

    @ivar start: DTS of its first frame; @ivar end: where its last frame ends.
    @ivar duration: ticks the part of all tracks lasts. Sound has no whole number of frames in it, but over a
        segment the durations of its parts are right, and each is as long as parts are to be.
    @ivar shown: its lowest PTS. @ivar independent: decoding can begin within it.
    @ivar frames: places of its frames in the segment.
    """

    start: int
    end: int
    duration: int
    shown: int
    independent: bool
    frames: tuple[int, ...] = field(repr=False)


@lru_cache(maxsize=4096)
def init_of(track: Track) -> tuple[str, bytes]:
    """The init segment of C{track}: its file name and its bytes.

    @raise MediaError: CMAF cannot carry the track.
    """
    init = init_segment(track)
    return init_file(init), init


def cut_part(track: Track, rows: Sequence[_Row], first: int, end: int, duration: int) -> TrackPart | None:
    """What a part holds of C{track}.

    @param rows: the part's frames of all tracks. @param first: place of the first of them in the segment.
    @param end: where the part ends, UTC ticks: there a picture ends; sound lasts as long as its frames do.
    @param duration: ticks the part lasts.
    @return: None when it holds nothing of it.
    """
    track_id = track.track_id
    mine = [index for index, row in enumerate(rows) if row[0] == track_id]
    if not mine:
        return None
    start = rows[mine[0]][1]
    last = rows[mine[-1]][1]
    if track.kind is TrackKind.AUDIO:
        step = last - rows[mine[-2]][1] if len(mine) > 1 else _frame_ticks(track)
        if step > 0:
            end = last + step
    return TrackPart(
        start,
        max(end, last + 1),
        duration,
        min(rows[index][1] + rows[index][2] for index in mine),
        track.kind is TrackKind.AUDIO or any(rows[index][3] for index in mine),
        tuple([first + index for index in mine]),
    )


def cut_segment(segment: Segment, track: Track) -> tuple[TrackPart, ...]:
    """The parts of C{track} in a closed segment, those that hold something of it."""
    start = segment.start
    rows = [(track_id, start + dts, cts, flags & 1 == 1) for track_id, flags, dts, cts, _ in segment.rows()]
    return _cut(track, rows, segment.parts, start, segment.duration)


def _cut(
    track: Track, rows: Sequence[_Row], parts: Sequence[Part], start: int, duration: int
) -> tuple[TrackPart, ...]:
    if not parts:
        whole = cut_part(track, rows, 0, start + duration, duration)
        return (whole,) if whole is not None else ()
    found = []
    end = start
    for part in parts:
        first = part.first_frame
        end += part.duration
        cut = cut_part(track, rows[first : first + part.frame_count], first, end, part.duration)
        if cut is not None:
            found.append(cut)
    return tuple(found)


def _frame_ticks(track: Track) -> int:
    samples = _FRAME_SAMPLES.get(track.codec, 0)
    return samples * TICKS_PER_SECOND // track.sample_rate if track.sample_rate else 0


def _fragment(track: Track, number: int, place: int, part: TrackPart, frames: Sequence[Frame]) -> bytes:
    """The bytes of part C{place} of a track in segment C{number}."""
    mine = [frames[index] for index in part.frames]
    return fragment(track, mine, number * _SEQUENCE_STEP + place, part.end)


def mux_segment(segment: Segment, track: Track, parts: Iterable[TrackPart] | None = None) -> bytes:
    """The CMAF segment of C{track}; empty when the segment holds nothing of it.

    @param parts: those of L{cut_segment}, if they are known.
    """
    frames = segment.frames()
    known = cut_segment(segment, track) if parts is None else parts
    return b"".join(
        [_fragment(track, segment.number, place, part, frames) for place, part in enumerate(known)]
    )


@define(eq=False)
class _OpenTrack:
    """A track of the open segment: its parts so far, and the bytes that were asked for."""

    builder: SegmentBuilder
    track: Track
    parts: list[TrackPart] = field(factory=list)
    bodies: dict[int, bytes] = field(factory=dict)
    seen: int = 0
    end: int = 0

    def catch_up(self) -> None:
        """Cut the parts that were closed meanwhile."""
        builder = self.builder
        for part in builder.parts[self.seen :]:
            self.end += part.duration
            first = part.first_frame
            frames = builder.frames[first : first + part.frame_count]
            rows = [(frame.track_id, frame.dts, frame.cts, frame.key) for frame in frames]
            cut = cut_part(self.track, rows, first, builder.opening.start + self.end, part.duration)
            if cut is not None:
                self.parts.append(cut)
        self.seen = len(builder.parts)

    def body(self, place: int) -> bytes:
        """The bytes of a part."""
        body = self.bodies.get(place)
        if body is None:
            builder = self.builder
            part = self.parts[place]
            body = _fragment(self.track, builder.opening.number, place, part, builder.frames)
            self.bodies[place] = body
        return body


@define(eq=False)
class _Made:
    """What was made of one stream so far: parts of closed segments by track, tracks of the open one."""

    closed: WeakKeyDictionary[WindowSegment, dict[str, tuple[TrackPart, ...]]] = field(
        factory=WeakKeyDictionary
    )
    open: dict[str, _OpenTrack] = field(factory=dict)


@define(eq=False)
class CmafStream:
    """The CMAF tracks of one stream, made when asked for and shared by all who ask. Tracks go by their names
    (C{v1}, C{a2}).

    @ivar stream: the stream.
    """

    stream: Stream
    _made: _Made = field(factory=_Made)

    def closed_parts(self, entry: WindowSegment, name: str) -> tuple[TrackPart, ...]:
        """The parts of a track in a closed segment; empty when it holds nothing of the track."""
        known = self._made.closed.setdefault(entry, {})
        parts = known.get(name)
        if parts is None:
            track = carried_track(entry.segment.tracks, name)
            parts = known[name] = cut_segment(entry.segment, track) if track is not None else ()
        return parts

    def open_parts(self, name: str) -> Sequence[TrackPart]:
        """The parts of a track in the open segment that are closed by now."""
        held = self._open_track(name)
        return held.parts if held is not None else ()

    def segment(self, entry: WindowSegment, name: str) -> bytes:
        """The bytes of a track in a closed segment; empty when it holds nothing of the track."""
        parts = self.closed_parts(entry, name)
        track = carried_track(entry.segment.tracks, name)
        if track is None or not parts:
            return b""
        return entry.packaged(f"cmaf-{name}", lambda segment: mux_segment(segment, track, parts))

    def part(self, number: int, place: int, name: str) -> bytes | None:
        """The bytes of part C{place} of a track in segment C{number}; None when it is not there (yet)."""
        builder = self.stream.open
        entry = self.stream.window.find(number)
        if entry is None and builder is not None and builder.opening.number == number:
            held = self._open_track(name)
            return held.body(place) if held is not None and place < len(held.parts) else None
        if entry is None or place >= len(self.closed_parts(entry, name)):
            return None
        body = self.segment(entry, name)
        begin, end = split_fragments(body)[place]
        return body[begin:end]

    def init(self, name: str, file: str) -> bytes | None:
        """The init segment of a track that goes by the name C{file}; None when no segment here needs it."""
        builder = self.stream.open
        tables = [builder.opening.tracks] if builder is not None else []
        tables += [entry.segment.tracks for entry in reversed(self.stream.window.retained)]
        for tracks in tables:
            track = carried_track(tracks, name)
            if track is not None:
                known, init = init_of(track)
                if known == file:
                    return init
        return None

    def _open_track(self, name: str) -> _OpenTrack | None:
        builder = self.stream.open
        if builder is None:
            self._made.open.clear()
            return None
        held = self._made.open.get(name)
        if held is None or held.builder is not builder:
            track = carried_track(builder.opening.tracks, name)
            if track is None:
                return None
            held = self._made.open[name] = _OpenTrack(builder, track)
        held.catch_up()
        return held


def carried_track(tracks: Tracks, name: str) -> Track | None:
    """The track called C{name}, if there is one and CMAF can carry it."""
    track = find_track(tracks, name)
    return track if track is not None and cmaf_can_carry(track) else None


class CmafStreams:
    """The L{CmafStream} of each stream, as long as there is the stream."""

    def __init__(self) -> None:
        self._made: WeakKeyDictionary[Stream, _Made] = WeakKeyDictionary()

    def of(self, stream: Stream) -> CmafStream:
        """That of C{stream}."""
        made = self._made.get(stream)
        if made is None:
            made = self._made[stream] = _Made()
        return CmafStream(stream, made)
