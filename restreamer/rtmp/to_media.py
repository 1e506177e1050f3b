"""A publisher's audio, video and metadata messages to track tables and frames (pure).

When the tracks are announced. An encoder sends its sequence headers and first frames in any order, and every
change of the track table later is a discontinuity, so the first table waits for the second kind of track:
  - onMetaData named more tracks of a kind (C{videoTrackIdInfoMap}, C{audioTrackIdInfoMap}): not before they
    are known;
  - a track beyond the default ones is there and onMetaData named none: not before L{MULTITRACK_MS}, because
    some codecs show up with their first frame;
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

from collections.abc import Mapping
from typing import Any, Final

from attrs import frozen

from restreamer.errors import MediaError, RemoteProtocolError
from restreamer.flv.incoming import READERS, Incoming
from restreamer.flv.metadata import Promise, TrackKey, promised
from restreamer.flv.tag import Packet, TagPart, parse_audio, parse_video
from restreamer.media.announce import NewTracks
from restreamer.media.frame import Frame
from restreamer.media.timebase import TICKS_PER_MS
from restreamer.media.track import TrackKind, Tracks
from restreamer.rtmp.message import Audio, Data, Video

__all__ = ["FlvToMedia", "MillisecondClock", "NewTracks", "Output", "UnsupportedCodec", "find_metadata"]

VIDEO_TRACK: Final = 1
AUDIO_TRACK: Final = 2
#: Ids of further tracks of a kind: this and their number. The same publisher gets the same ids everywhere.
_MORE: Final = {TrackKind.VIDEO: 16, TrackKind.AUDIO: 64}
_DEFAULT: Final = {TrackKind.VIDEO: VIDEO_TRACK, TrackKind.AUDIO: AUDIO_TRACK}
#: Numbers of further tracks that are taken: below this.
_MAX_NUMBER: Final = 32

#: Longest wait for the tracks that are to come, in milliseconds of media.
ANNOUNCE_MS: Final = 1000
#: Who sends several tracks of a kind without naming them gets as long for them all to show up.
MULTITRACK_MS: Final = 300
#: Most that is held while waiting.
_HELD_FRAMES: Final = 500
_HELD_BYTES: Final = 4 * 1024 * 1024
#: A step back by 2**31 ms give or take this is a wrap of a 31-bit counter.
_WRAP_SLACK: Final = 600_000


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
    @ivar other_tracks: parts of tracks beyond the default ones that are not carried: their codec is unknown,
        or their number too high.
    """

    def __init__(self) -> None:
        self.dropped = 0
        self.bad_configs = 0
        self.other_tracks = 0
        self._clock = MillisecondClock()
        self._tracks: dict[TrackKey, Incoming] = {}
        self._promise = Promise()
        self._first_ms: int | None = None
        self._announced = False
        self._changed = False
        self._held: list[Frame] = []
        self._held_bytes = 0
        self._refused: set[str] = set()

    @property
    def counted(self) -> dict[str, int]:
        """What went wrong so far, as the API calls it."""
        return {"errors_broken_payload": self.dropped, "errors_bad_configs": self.bad_configs}

    @property
    def tracks(self) -> Tracks:
        """The tracks known so far, video first, each kind by its number."""
        known = [self._tracks[key].track for key in sorted(self._tracks)]
        return tuple(track for track in known if track is not None)

    @property
    def announced(self) -> bool:
        """Whether a track table was given out."""
        return self._announced

    def take(self, message: Audio | Video | Data) -> list[Output]:
        """What C{message} brings; often one frame. Never raises: broken tags are counted and dropped."""
        out: list[Output] = []
        if type(message) is Data:
            members = find_metadata(message)
            if members is not None:
                self._promise = promised(members)
            return out
        if type(message) is Video:
            parse, kind = parse_video, TrackKind.VIDEO
        else:
            parse, kind = parse_audio, TrackKind.AUDIO
        try:
            parts = parse(message.payload)  # type: ignore[union-attr]
        except RemoteProtocolError:
            self.dropped += 1
            return out
        milliseconds = self._clock.unwrap(message.timestamp)
        if self._first_ms is None:
            self._first_ms = milliseconds
        for part in parts:
            self._part(kind, part, milliseconds, out)
        return out

    def _part(self, kind: TrackKind, part: TagPart, milliseconds: int, out: list[Output]) -> None:
        reader = READERS.get(part.codec)
        if reader is None or reader.kind is not kind or part.track >= _MAX_NUMBER:
            if part.track:
                self.other_tracks += 1
            else:
                self._refuse(kind, part, out)
            return
        packet = part.packet
        if packet is Packet.FRAME:
            incoming = self._incoming(kind, part.track)
            try:
                data, changed = incoming.frame(part)
            except MediaError:
                self.dropped += 1
                return
            self._changed = self._changed or changed
            dts = milliseconds * TICKS_PER_MS
            if part.nano:
                dts += (part.nano * TICKS_PER_MS + 500_000) // 1_000_000
            frame = Frame(incoming.track_id, dts, part.cts * TICKS_PER_MS, part.key, data)
            self._forward(frame, kind, milliseconds, out)
        elif packet is Packet.CONFIG:
            try:
                self._changed = self._incoming(kind, part.track).configure(part) or self._changed
            except MediaError:
                self.bad_configs += 1

    def _incoming(self, kind: TrackKind, number: int) -> Incoming:
        key = kind, number
        incoming = self._tracks.get(key)
        if incoming is None:
            track_id = _MORE[kind] + number if number else _DEFAULT[kind]
            incoming = self._tracks[key] = Incoming(
                track_id,
                kind,
                number,
                self._promise.rates.get(key, 0),
                self._promise.languages.get(key, ""),
                self._promise.sizes.get(key, (0, 0)),
            )
        return incoming

    def _refuse(self, kind: TrackKind, part: TagPart, out: list[Output]) -> None:
        if part.packet in (Packet.END, Packet.METADATA):
            return
        self.dropped += 1
        if part.codec not in self._refused and len(self._refused) < 16:
            self._refused.add(part.codec)
            out.append(UnsupportedCodec(kind, part.codec))

    def _forward(self, frame: Frame, kind: TrackKind, milliseconds: int, out: list[Output]) -> None:
        if self._announced:
            if self._changed:
                self._changed = False
                out.append(NewTracks(self.tracks))
            out.append(frame)
            return
        self._held.append(frame)
        self._held_bytes += len(frame.data)
        if self._may_announce(frame, kind, milliseconds):
            self._announced = True
            self._changed = False
            out.append(NewTracks(self.tracks))
            out.extend(self._held)
            self._held = []
            self._held_bytes = 0

    def _may_announce(self, frame: Frame, kind: TrackKind, milliseconds: int) -> bool:
        known = {key for key, incoming in self._tracks.items() if incoming.track is not None}
        missing = self._promise.tracks - known
        waited = abs(milliseconds - self._first_ms) if self._first_ms is not None else 0
        several = any(number for _, number in known) and not any(number for _, number in self._promise.tracks)
        if not any(number for _, number in missing) and not (several and waited < MULTITRACK_MS):
            if len({each for each, _ in known}) == 2:
                return True
            if self._promise.tracks:
                if not missing:
                    return True
            elif kind is TrackKind.VIDEO and frame.key:
                return True
        return waited >= ANNOUNCE_MS or len(self._held) >= _HELD_FRAMES or self._held_bytes >= _HELD_BYTES
