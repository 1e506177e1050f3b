"""RTP payloads into frames of VP9, MPEG audio, Opus and G.711.

VP9: RFC 9628 section 4.2; MPEG audio: RFC 2250 section 3.5; Opus: RFC 7587; G.711: RFC 3551.
"""

from __future__ import annotations

from typing import Final

from restreamer.errors import MediaError
from restreamer.media.mp3 import mpeg_audio_track, parse_mpeg_audio_header
from restreamer.media.opus import dops_for_channels, opus_track
from restreamer.media.track import Track
from restreamer.media.video_units import Unit, Vp9Units
from restreamer.rtp.unpack_nal import MAX_UNIT, TimedUnit

_MAX_AUDIO: Final = 16_384


class Vp9Unpacker:
    """Puts frames together. @ivar dropped: frames left out because a part is missing."""

    def __init__(self, units: Vp9Units) -> None:
        """Give frames to C{units}."""
        self._units = units
        self._frame = bytearray()
        self._begun = False
        self._damaged = False
        self._timestamp = 0
        self.dropped = 0

    @property
    def track_known(self) -> bool:
        """Whether the track's configuration is known already."""
        return self._units.track is not None

    def packet(self, payload: bytes, marker: bool, timestamp: int, lost: bool) -> list[TimedUnit]:
        """Take one payload; the frames that are whole with it."""
        found: list[TimedUnit] = []
        if timestamp != self._timestamp:
            self._finish(found)
            self._timestamp = timestamp
        at = _vp9_descriptor(payload)
        if (lost and self._frame) or at is None or len(self._frame) + len(payload) > MAX_UNIT:
            self._damaged = True
        else:
            self._begun = self._begun or bool(payload[0] & 0x08)
            self._frame += payload[at:]
        if marker:
            self._finish(found)
        return found

    def _finish(self, found: list[TimedUnit]) -> None:
        frame, self._frame = self._frame, bytearray()
        damaged = self._damaged or (frame and not self._begun)
        self._damaged = self._begun = False
        if damaged:
            self.dropped += 1
        elif frame:
            unit = self._units.unit(bytes(frame))
            if unit is not None:
                found.append((self._timestamp, 0, unit))


def _vp9_descriptor(payload: bytes) -> int | None:
    """Where the frame's bytes begin behind the descriptor; None: it is longer than the payload."""
    size = len(payload)
    if not size:
        return None
    flags = payload[0]
    at = 1
    if flags & 0x80:
        if at >= size:
            return None
        at += 2 if payload[at] & 0x80 else 1
    if flags & 0x20:
        at += 1 if flags & 0x10 else 2
    if flags & 0x50 == 0x50:
        for _ in range(3):
            if at >= size:
                return None
            at += 1
            if not payload[at - 1] & 1:
                break
    if flags & 0x02:
        if at >= size:
            return None
        structure = payload[at]
        at += 1
        if structure & 0x10:
            at += 4 * ((structure >> 5) + 1)
        if structure & 0x08:
            if at >= size:
                return None
            groups = payload[at]
            at += 1
            for _ in range(groups):
                if at >= size:
                    return None
                at += 1 + (payload[at] >> 2 & 3)
    return at if at < size else None


class _AudioUnpacker:
    """What the audio formats share. @ivar dropped: frames left out."""

    def __init__(self, track: Track | None) -> None:
        self.track = track
        self._told = False
        self.dropped = 0

    @property
    def track_known(self) -> bool:
        """Whether the track's configuration is known already."""
        return self.track is not None

    def _unit(self, data: bytes) -> Unit:
        told, self._told = self._told, True
        return Unit(data, True, None if told else self.track)


class MpegAudioUnpacker(_AudioUnpacker):
    """Whole frames and fragments of one (RFC 2250 section 3.5)."""

    def __init__(self, track_id: int) -> None:
        """The track is known with the first frame."""
        super().__init__(None)
        self._track_id = track_id
        self._part = bytearray()
        self._timestamp = 0

    def packet(self, payload: bytes, marker: bool, timestamp: int, lost: bool) -> list[TimedUnit]:
        """Take one payload; the frames that are whole with it."""
        offset = int.from_bytes(payload[2:4], "big")
        if len(payload) <= 4 or (offset and (lost or offset != len(self._part))) or offset > _MAX_AUDIO:
            self.dropped += 1
            self._part.clear()
            return []
        if not offset:
            self._part.clear()
            self._timestamp = timestamp
        data = bytes(self._part) + payload[4:]
        found: list[TimedUnit] = []
        at = later = 0
        while at < len(data):
            try:
                header = parse_mpeg_audio_header(data[at : at + 4])
            except MediaError:
                self.dropped += 1
                break
            if not header.size or at + header.size > len(data):
                if not at and header.size:
                    self._part[:] = data
                    return []
                self.dropped += 1
                break
            frame = data[at : at + header.size]
            if self.track is None:
                self.track = mpeg_audio_track(self._track_id, frame)
            found.append((self._timestamp, later, self._unit(frame)))
            later += header.samples * 90_000 // header.rate
            at += header.size
        self._part.clear()
        return found


class OpusUnpacker(_AudioUnpacker):
    """A packet in each payload."""

    def __init__(self, track_id: int, stereo: bool | None) -> None:
        """@param stereo: as the description tells; None: the first packet does."""
        super().__init__(opus_track(track_id, dops_for_channels(1 + stereo)) if stereo is not None else None)
        self._track_id = track_id

    def packet(self, payload: bytes, marker: bool, timestamp: int, lost: bool) -> list[TimedUnit]:
        """Take one payload."""
        if not payload:
            return []
        if self.track is None:
            # The s bit of the TOC byte (RFC 6716 section 3.1).
            self.track = opus_track(self._track_id, dops_for_channels(1 + (payload[0] >> 2 & 1)))
        return [(timestamp, 0, self._unit(payload))]


class SamplesUnpacker(_AudioUnpacker):
    """Samples as they are (G.711)."""

    def packet(self, payload: bytes, marker: bool, timestamp: int, lost: bool) -> list[TimedUnit]:
        """Take one payload."""
        return [(timestamp, 0, self._unit(payload))] if payload else []
