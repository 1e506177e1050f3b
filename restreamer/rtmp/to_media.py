"""A publisher's audio, video and metadata messages to track tables and frames (pure).

When the tracks are announced. An encoder sends its sequence headers and first frames in any order, and every
change of the track table later is a discontinuity, so the first table waits for the second kind of track:
  - both kinds known: at once, with the next frame;
  - onMetaData named its codecs (C{videocodecid}, C{audiocodecid}): when all it named are known;
  - without such a hint: with the first video keyframe whose configuration is known;
  - in any case once L{ANNOUNCE_MS} of media have passed since the first message, or too much is held.
Frames that can be understood are held until then and given out behind the table, in order. Frames of a
track without configuration are dropped. A sequence header that differs from the one in use makes a new table,
given out before the next frame.

Times. The 32-bit millisecond timestamps are unwrapped (by 2**32, and by 2**31 for encoders that count in 31
bits) and multiplied by 90. They are the publisher's own clock: jumps are passed on for the core to judge.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from attrs import frozen

from restreamer.errors import MediaError, RemoteProtocolError
from restreamer.media.aac import aac_track
from restreamer.media.frame import Frame
from restreamer.media.h264 import h264_track, relength
from restreamer.media.mp3 import mp3_track
from restreamer.media.timebase import TICKS_PER_MS
from restreamer.media.track import AAC, H264, MP3, Track, TrackKind, Tracks
from restreamer.rtmp.flv_tag import Packet, TagPart, parse_audio, parse_video
from restreamer.rtmp.message import Audio, Data, Video

VIDEO_TRACK = 1
AUDIO_TRACK = 2

#: Longest wait for the second kind of track, in milliseconds of media.
ANNOUNCE_MS = 1000
#: Most that is held while waiting.
_HELD_FRAMES = 500
_HELD_BYTES = 4 * 1024 * 1024
#: A step back by 2**31 ms give or take this is a wrap of a 31-bit counter.
_WRAP_SLACK = 600_000
#: Largest believable data rate in kbit/s.
_MAX_RATE = 1_000_000.0


@frozen
class NewTracks:
    """The track table that holds for the frames after it."""

    tracks: Tracks


@frozen
class UnsupportedCodec:
    """The publisher's default track of C{kind} has a codec this program does not carry (said once each)."""

    kind: TrackKind
    codec: str


Output = Frame | NewTracks | UnsupportedCodec


class MillisecondClock:
    """Unwraps RTMP timestamps."""

    __slots__ = ("_last",)

    def __init__(self) -> None:
        self._last: int | None = None

    def unwrap(self, timestamp: int) -> int:
        """C{timestamp} (modulo 2**32) as a number without wraps, near the one before it."""
        last = self._last
        if last is None:
            last = timestamp
        step = ((timestamp - last + 0x80000000) & 0xFFFFFFFF) - 0x80000000
        if step < _WRAP_SLACK - 0x80000000:
            step += 0x80000000
        self._last = last = last + step
        return last


def _data_rate(metadata: Mapping[str, Any], name: str) -> int:
    """A kbit/s entry of onMetaData in bits/s, 0 when it is missing or absurd."""
    value = metadata.get(name)
    if not isinstance(value, int | float) or not math.isfinite(value) or not 0 < value <= _MAX_RATE:
        return 0
    return int(value * 1000)


def find_metadata(message: Data) -> Mapping[str, Any] | None:
    """The members of onMetaData, bare or behind @setDataFrame, or None for any other data message."""
    values = message.values
    if values and values[0] == "@setDataFrame":
        values = values[1:]
    if len(values) >= 2 and values[0] == "onMetaData" and isinstance(values[1], Mapping):
        return values[1]
    return None


class FlvToMedia:
    """Messages of one publish in, L{Output}s out.

    @ivar dropped: frames that were not passed on: no configuration, empty, or broken.
    @ivar bad_configs: sequence headers that could not be read (the one in use stays).
    @ivar other_tracks: parts of multitrack messages beyond the default track.
    """

    def __init__(self) -> None:
        self.dropped = 0
        self.bad_configs = 0
        self.other_tracks = 0
        self._clock = MillisecondClock()
        self._tracks: dict[int, Track] = {}
        self._raw_configs: dict[int, bytes] = {}
        self._length_size = 4
        self._rates = {VIDEO_TRACK: 0, AUDIO_TRACK: 0}
        self._expected: frozenset[int] = frozenset()
        self._first_ms: int | None = None
        self._announced = False
        self._changed = False
        self._held: list[Frame] = []
        self._held_bytes = 0
        self._refused: set[str] = set()

    @property
    def tracks(self) -> Tracks:
        """The tracks known so far, video first."""
        return tuple(self._tracks[key] for key in sorted(self._tracks))

    @property
    def announced(self) -> bool:
        """Whether a track table was given out."""
        return self._announced

    def take(self, message: Audio | Video | Data) -> list[Output]:
        """What C{message} brings; often one frame. Never raises: broken tags are counted and dropped."""
        out: list[Output] = []
        if type(message) is Data:
            self._metadata(message)
            return out
        if type(message) is Video:
            parse, use = parse_video, self._video
        else:
            parse, use = parse_audio, self._audio
        try:
            parts = parse(message.payload)  # type: ignore[union-attr]
        except RemoteProtocolError:
            self.dropped += 1
            return out
        milliseconds = self._clock.unwrap(message.timestamp)
        if self._first_ms is None:
            self._first_ms = milliseconds
        for part in parts:
            if part.track:
                self.other_tracks += 1
            else:
                use(part, milliseconds, out)
        return out

    def _metadata(self, message: Data) -> None:
        metadata = find_metadata(message)
        if metadata is None:
            return
        self._expected = frozenset(
            track
            for track, name in ((VIDEO_TRACK, "videocodecid"), (AUDIO_TRACK, "audiocodecid"))
            if isinstance(metadata.get(name), int | float | str)
        )
        self._rates = {
            VIDEO_TRACK: _data_rate(metadata, "videodatarate"),
            AUDIO_TRACK: _data_rate(metadata, "audiodatarate"),
        }

    def _video(self, part: TagPart, milliseconds: int, out: list[Output]) -> None:
        if part.codec != H264:
            self._refuse(TrackKind.VIDEO, part, out)
        elif part.packet is Packet.FRAME:
            if VIDEO_TRACK not in self._tracks or not part.data:
                self.dropped += 1
                return
            try:
                data = relength(part.data, self._length_size)
            except MediaError:
                self.dropped += 1
                return
            frame = Frame(VIDEO_TRACK, milliseconds * TICKS_PER_MS, part.cts * TICKS_PER_MS, part.key, data)
            self._forward(frame, milliseconds, out)
        elif part.packet is Packet.CONFIG and self._configure(VIDEO_TRACK, part.data, h264_track):
            self._length_size = (part.data[4] & 3) + 1

    def _audio(self, part: TagPart, milliseconds: int, out: list[Output]) -> None:
        if part.codec not in (AAC, MP3):
            self._refuse(TrackKind.AUDIO, part, out)
        elif part.packet is Packet.FRAME:
            track = self._tracks.get(AUDIO_TRACK)
            if part.codec == MP3 and (track is None or track.codec != MP3):
                self._configure(AUDIO_TRACK, part.data, mp3_track)
                track = self._tracks.get(AUDIO_TRACK)
            if track is None or track.codec != part.codec or not part.data:
                self.dropped += 1
                return
            self._forward(
                Frame(AUDIO_TRACK, milliseconds * TICKS_PER_MS, 0, True, part.data), milliseconds, out
            )
        elif part.packet is Packet.CONFIG and part.codec == AAC:
            self._configure(AUDIO_TRACK, part.data, aac_track)

    def _refuse(self, kind: TrackKind, part: TagPart, out: list[Output]) -> None:
        if part.packet in (Packet.END, Packet.METADATA):
            return
        self.dropped += 1
        if part.codec not in self._refused and len(self._refused) < 16:
            self._refused.add(part.codec)
            out.append(UnsupportedCodec(kind, part.codec))

    def _configure(self, track_id: int, raw: bytes, make: Callable[[int, bytes, int], Track]) -> bool:
        """Use a sequence header (or first MP3 frame); False when it is the one in use or unreadable."""
        if self._raw_configs.get(track_id) == raw:
            return False
        try:
            track = make(track_id, raw, self._rates[track_id])
        except MediaError:
            self.bad_configs += 1
            return False
        self._raw_configs[track_id] = raw
        before = self._tracks.get(track_id)
        self._tracks[track_id] = track
        if before is None or not before.same_media(track):
            self._changed = True
        return True

    def _forward(self, frame: Frame, milliseconds: int, out: list[Output]) -> None:
        if self._announced:
            if self._changed:
                self._changed = False
                out.append(NewTracks(self.tracks))
            out.append(frame)
            return
        self._held.append(frame)
        self._held_bytes += len(frame.data)
        if self._may_announce(frame, milliseconds):
            self._announced = True
            self._changed = False
            out.append(NewTracks(self.tracks))
            out.extend(self._held)
            self._held = []
            self._held_bytes = 0

    def _may_announce(self, frame: Frame, milliseconds: int) -> bool:
        known = self._tracks.keys()
        if len(known) == 2:
            return True
        if self._expected:
            if known >= self._expected:
                return True
        elif frame.track_id == VIDEO_TRACK and frame.key:
            return True
        waited = milliseconds - self._first_ms if self._first_ms is not None else 0
        return (
            abs(waited) >= ANNOUNCE_MS or len(self._held) >= _HELD_FRAMES or self._held_bytes >= _HELD_BYTES
        )
