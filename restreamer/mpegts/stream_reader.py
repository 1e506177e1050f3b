"""From the PES packets of one elementary stream to its frames (pure)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from restreamer.errors import MediaError
from restreamer.media.assemble import (
    Ac3Frames,
    AdtsFrames,
    H264Units,
    HevcUnits,
    LatmFrames,
    Mpeg2Units,
    MpegAudioFrames,
    OpusFrames,
    Unit,
)
from restreamer.media.audio_frames import Frames
from restreamer.media.frame import Frame
from restreamer.media.h264 import NAL_AUD, split_annexb
from restreamer.media.hevc import NAL_AUD as HEVC_AUD
from restreamer.media.hevc import nal_type
from restreamer.media.paired_units import PairedUnits
from restreamer.media.timebase import TICKS_PER_SECOND
from restreamer.media.track import AAC, AC3, EAC3, H264, HEVC, MPEG2, OPUS, Track
from restreamer.mpegts.program_map import StreamLine

#: A composition offset beyond this is not believed.
_MAX_CTS: Final = 10 * TICKS_PER_SECOND
#: Ticks between two pictures before any two were seen.
_STEP: Final = 3600
_CENTRE: Final = 1 << 32
_WRAP: Final = (1 << 33) - 1


class TsClock:
    """Unwraps the 33-bit times of one program.

    Each time comes out near the one before, whatever its stream; so a jump stays a jump for whoever judges.
    """

    __slots__ = ("_last",)

    def __init__(self) -> None:
        self._last: int | None = None

    def unwrap(self, time: int) -> int:
        """C{time} as a number without wraps."""
        last = self._last
        if last is not None:
            time = last + ((time - last + _CENTRE) & _WRAP) - _CENTRE
        self._last = time
        return time


#: Told of each frame, behind the track where that is new.
TakeFrame = Callable[["Track | None", Frame], None]


class VideoReader:
    """Access units of one video stream.

    A PES packet that holds several access units gives them one after the other, and one without a time
    follows the last, each a picture's length apart. Two fields of a frame are one unit, with the time of the
    first, however they came.

    @ivar dropped: packets no access unit could be made of.
    """

    def __init__(self, track_id: int, line: StreamLine, clock: TsClock, take: TakeFrame) -> None:
        self._id = track_id
        self._codec = line.codec
        self._clock = clock
        self._take = take
        self._nals: H264Units | HevcUnits | None = None
        self._pictures: Mpeg2Units | None = None
        if line.codec == H264:
            self._nals = H264Units(track_id, language=line.language)
        elif line.codec == HEVC:
            self._nals = HevcUnits(track_id, language=line.language)
        else:
            self._pictures = Mpeg2Units(track_id, line.language)
        self._fields: PairedUnits[tuple[int, int]] = PairedUnits()
        self._dts: int | None = None
        self._step = _STEP
        self.dropped = 0

    def pes(self, pts: int, dts: int, payload: bytes) -> None:
        """Take a PES packet."""
        offset = 0
        last = self._dts
        if pts >= 0:
            at = self._clock.unwrap(dts)
            offset = (pts - dts) & _WRAP
            if offset > _MAX_CTS:
                offset = 0
        elif last is None:
            self.dropped += 1
            return
        else:
            at = last + self._step
        try:
            self._units(at, offset, payload, pts >= 0)
        except MediaError:
            self.dropped += 1

    def broken(self) -> None:
        """Packets of the stream were lost: a second field may be, too."""
        self._give(self._fields.flush())

    def flush(self) -> None:
        """No more comes, or something else: give what is held."""
        self._give(self._fields.flush())

    def _give(self, units: list[tuple[tuple[int, int], Unit]]) -> None:
        for (time, offset), unit in units:
            self._take(unit.track, Frame(self._id, time, offset, unit.key, unit.data))

    def _begins(self, time: int, told: bool) -> None:
        """A picture begins at C{time}; C{told}: the stream says so."""
        last = self._dts
        if told and last is not None and 0 < time - last <= TICKS_PER_SECOND:
            self._step = time - last
        self._dts = time

    def _units(self, at: int, offset: int, payload: bytes, told: bool) -> None:
        nals = self._nals
        if nals is None:
            assert self._pictures is not None
            unit = self._pictures.unit(payload)
            if unit is not None:
                self._begins(at, told)
                self._take(unit.track, Frame(self._id, at, offset, unit.key, unit.data))
            return
        fields = self._fields
        following = at
        for group in self._groups(split_annexb(payload)):
            unit = nals.unit(group)
            if unit is None:
                continue
            time = following
            if not fields.completes(unit):
                self._begins(time, told)
                told = False
                following += self._step
            if unit.field is None and not fields.holds:
                self._take(unit.track, Frame(self._id, time, offset, unit.key, unit.data))
            else:
                self._give(fields.take((time, offset), unit))

    def _groups(self, nals: list[bytes]) -> list[list[bytes]]:
        """NAL units by access unit: each delimiter begins one (ISO/IEC 14496-10 section 7.4.1.2.3)."""
        if self._codec == H264:
            marks = [at for at, nal in enumerate(nals) if nal[0] & 0x1F == NAL_AUD]
        else:
            marks = [at for at, nal in enumerate(nals) if nal_type(nal) == HEVC_AUD]
        if len(marks) < 2:
            return [nals]
        marks[0] = 0
        return [nals[begin:end] for begin, end in zip(marks, [*marks[1:], len(nals)], strict=True)]


class AudioReader:
    """Frames of one audio stream, which need not end where PES packets do.

    @ivar dropped: packets without a time before the first with one, and those in which something is no frame.
    """

    def __init__(self, track_id: int, line: StreamLine, clock: TsClock, take: TakeFrame) -> None:
        self._id = track_id
        self._clock = clock
        self._take = take
        self._frames = _audio_frames(track_id, line)
        self._told: Track | None = None
        self._next: int | None = None
        self._step = 0
        self.dropped = 0

    def pes(self, pts: int, dts: int, payload: bytes) -> None:
        """Take a PES packet."""
        if pts >= 0:
            at = self._clock.unwrap(pts)
        elif self._next is not None:
            at = self._next
        else:
            self.dropped += 1
            return
        last = None
        lost = self._frames.lost
        for data, offset in self._frames.frames(payload):
            time = at + offset
            track = self._frames.track
            self._take(track if track is not self._told else None, Frame(self._id, time, 0, True, data))
            self._told = track
            if last is not None:
                self._step = time - last
            last = time
        if last is not None:
            self._next = last + self._step
        self.dropped += self._frames.lost > lost

    def flush(self) -> None:
        """Nothing is held that is whole."""

    def broken(self) -> None:
        """Packets of the stream were lost: the frame that was begun is."""
        self._frames.reset()


def _audio_frames(track_id: int, line: StreamLine) -> Frames:
    if line.codec == AAC and line.latm:
        return LatmFrames(track_id, line.language)
    if line.codec == AAC:
        return AdtsFrames(track_id, line.language)
    if line.codec in (AC3, EAC3):
        return Ac3Frames(track_id, line.language)
    if line.codec == OPUS:
        return OpusFrames(track_id, line.language, line.channels or 2)
    return MpegAudioFrames(track_id, line.language)


def stream_reader(
    track_id: int, line: StreamLine, clock: TsClock, take: TakeFrame
) -> VideoReader | AudioReader:
    """Who reads the stream C{line}."""
    if line.codec in (H264, HEVC, MPEG2):
        return VideoReader(track_id, line, clock, take)
    return AudioReader(track_id, line, clock, take)
