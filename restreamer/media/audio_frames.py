"""From bytes of elementary audio streams to whole frames, with their places in time.

Frames need not end where the packets that bring them end. The time of a packet (of PES, ISO/IEC 13818-1
section 2.4.3.7) belongs to the first frame that begins in it, so a frame begun in the packet before has an
offset below 0.
"""

from __future__ import annotations

from typing import Final

from attrs import evolve
from typing_extensions import override

from restreamer.errors import MediaError
from restreamer.media.aac import ADTS_SIZE, SAMPLE_RATES, aac_track, adts_config
from restreamer.media.ac3 import HEADER_SIZE as AC3_HEADER
from restreamer.media.ac3 import SAMPLES as AC3_SAMPLES
from restreamer.media.ac3 import SyncFrame, ac3_track, parse_sync_frame
from restreamer.media.mp3 import HEADER_SIZE as MP3_HEADER
from restreamer.media.mp3 import mpeg_audio_track, parse_mpeg_audio_header
from restreamer.media.opus import RATE as OPUS_RATE
from restreamer.media.opus import dops_for_channels, opus_track, packet_duration
from restreamer.media.timebase import TICKS_PER_SECOND
from restreamer.media.track import Track

#: Bytes of an unfinished frame that are kept: more than the longest frame of any of these.
MAX_HELD: Final = 65_536

_AAC_SAMPLES: Final = 1024
_ADTS_WITH_CRC: Final = 9
_AC3_HEAD: Final = 16
#: Sync frames of one E-AC-3 access unit: six pieces of a few substreams.
_MAX_SYNC_FRAMES: Final = 32

#: A frame and its offset in ticks from the time of the packet it came with.
TimedFrame = tuple[bytes, int]
#: Bytes of a frame with its header, samples per channel, Hz.
Measure = tuple[int, int, int]


class Frames:
    """Finds frames by their headers.

    @ivar track: what the latest frame says the track is, None before the first.
    @ivar lost: bytes passed over in search of a frame.
    """

    _sync: bytes
    _shortest: int

    def __init__(self, track_id: int, language: str = "und") -> None:
        self._track_id = track_id
        self._language = language
        self._held = b""
        self._in_sync = False
        self.track: Track | None = None
        self.lost = 0

    def reset(self) -> None:
        """Bytes were lost: forget the beginning of an unfinished frame."""
        self._held = b""
        self._in_sync = False

    def frames(self, data: bytes) -> list[TimedFrame]:
        """The frames that C{data} completes, each with its offset in ticks from the time of C{data}."""
        begun = len(self._held)
        buffer = self._held + data
        found: list[tuple[bytes, int, int]] = []
        time = 0
        zero = -1
        at = 0
        end = len(buffer)
        while end - at >= self._shortest:
            try:
                measure = self._measure(buffer, at)
            except MediaError:
                at = self._seek(buffer, at)
                continue
            if zero < 0 and at >= begun:
                zero = time
            if measure is None or at + measure[0] > end:
                break
            size, samples, rate = measure
            if not self._in_sync and not self._follows(buffer, at + size):
                at = self._seek(buffer, at)
                continue
            self._in_sync = True
            try:
                found.append((self._take(buffer, at, size), time, rate))
            except MediaError:
                self.lost += size
            time += samples
            at += size
        if zero < 0:
            zero = time
        self._held = buffer[at:]
        if len(self._held) > MAX_HELD:
            self.lost += len(self._held)
            self.reset()
        return [(frame, (place - zero) * TICKS_PER_SECOND // rate) for frame, place, rate in found]

    def _seek(self, buffer: bytes, at: int) -> int:
        """Where the next frame may begin, after C{at}."""
        self._in_sync = False
        following = buffer.find(self._sync, at + 1)
        if following < 0:
            following = len(buffer)
        self.lost += following - at
        return following

    def _follows(self, buffer: bytes, at: int) -> bool:
        """Whether what lies at C{at} is a frame too, or cannot be told yet."""
        if len(buffer) - at < self._shortest:
            return True
        try:
            self._measure(buffer, at)
        except MediaError:
            return False
        return True

    def _measure(self, buffer: bytes, at: int) -> Measure | None:
        """Size and length of the frame at C{at}, where C{_shortest} bytes are at least; None: it needs more.

        @raise MediaError: there is no frame.
        """
        raise NotImplementedError

    def _take(self, buffer: bytes, at: int, size: int) -> bytes:
        """The frame in the form of L{restreamer.media.frame.Frame}, the track brought up to date by it.

        @raise MediaError: it cannot be used.
        """
        raise NotImplementedError

    def _told(self, track: Track) -> None:
        self.track = evolve(track, language=self._language)


class AdtsFrames(Frames):
    """Raw AAC frames from ADTS (ISO/IEC 14496-3 section 1.A.2)."""

    _sync = b"\xff"
    _shortest = ADTS_SIZE

    def __init__(self, track_id: int, language: str = "und") -> None:
        super().__init__(track_id, language)
        self._fixed = (-1, -1)
        self._element_size = 0

    @override
    def _measure(self, buffer: bytes, at: int) -> Measure | None:
        if buffer[at] != 0xFF or buffer[at + 1] & 0xF6 != 0xF0:
            raise MediaError("no ADTS syncword")
        index = buffer[at + 2] >> 2 & 15
        size = (buffer[at + 3] & 3) << 11 | buffer[at + 4] << 3 | buffer[at + 5] >> 5
        if index >= len(SAMPLE_RATES) or size <= ADTS_SIZE:
            raise MediaError(f"ADTS header with rate {index}, {size} bytes")
        return size, _AAC_SAMPLES * ((buffer[at + 6] & 3) + 1), SAMPLE_RATES[index]

    @override
    def _take(self, buffer: bytes, at: int, size: int) -> bytes:
        if buffer[at + 6] & 3:
            raise MediaError("several raw data blocks in one ADTS frame")
        begin = at + (ADTS_SIZE if buffer[at + 1] & 1 else _ADTS_WITH_CRC)
        raw = buffer[begin : at + size]
        if not raw:
            raise MediaError("ADTS frame without data")
        # Profile, rate and channels; and the element that tells of the channels when the header does not.
        fixed = (buffer[at + 2] & 0xFD, buffer[at + 3] & 0xC0)
        if fixed != self._fixed or self._element_size:
            config, element_size = adts_config(buffer[at : at + ADTS_SIZE], raw)
            if self.track is None or config != self.track.config:
                self._told(aac_track(self._track_id, config))
            self._fixed = fixed
            self._element_size = element_size
            raw = raw[element_size:]
        return raw


class MpegAudioFrames(Frames):
    """Frames of MPEG audio layer II and III."""

    _sync = b"\xff"
    _shortest = MP3_HEADER

    def __init__(self, track_id: int, language: str = "und") -> None:
        super().__init__(track_id, language)
        self._facts = (0, 0, 0)

    @override
    def _measure(self, buffer: bytes, at: int) -> Measure | None:
        header = parse_mpeg_audio_header(buffer[at : at + MP3_HEADER])
        if not header.size:
            raise MediaError("MPEG audio of free format")
        return header.size, header.samples, header.rate

    @override
    def _take(self, buffer: bytes, at: int, size: int) -> bytes:
        frame = buffer[at : at + size]
        header = parse_mpeg_audio_header(frame)
        facts = (header.layer, header.rate, header.channels)
        if facts != self._facts:
            self._told(mpeg_audio_track(self._track_id, frame))
            self._facts = facts
        return frame


class Ac3Frames(Frames):
    """Access units of AC-3 and E-AC-3.

    Where the data ends with what could be a whole access unit of E-AC-3, it is taken to be one when it has as
    many sync frames as the one before; else what follows decides.
    """

    _sync = b"\x0b"
    _shortest = AC3_HEADER

    def __init__(self, track_id: int, language: str = "und") -> None:
        super().__init__(track_id, language)
        self._facts: tuple[object, ...] = ()
        self._count = 0

    @override
    def _measure(self, buffer: bytes, at: int) -> Measure | None:
        first = parse_sync_frame(buffer[at : at + _AC3_HEAD])
        if not first.begins_unit:
            raise MediaError("no beginning of an E-AC-3 access unit")
        if not first.enhanced:
            return first.size, first.samples, first.rate
        size, samples = first.size, first.samples
        for count in range(1, _MAX_SYNC_FRAMES):
            left = len(buffer) - at - size
            if left < AC3_HEADER:
                whole = not left and samples >= AC3_SAMPLES and count >= self._count
                return (size, samples, first.rate) if whole else None
            head = parse_sync_frame(buffer[at + size : at + size + _AC3_HEAD])
            if head.begins_unit:
                if samples >= AC3_SAMPLES:
                    self._count = count
                    return size, samples, first.rate
                samples += head.samples
            size += head.size
        raise MediaError(f"E-AC-3 access unit of more than {_MAX_SYNC_FRAMES} sync frames")

    @override
    def _take(self, buffer: bytes, at: int, size: int) -> bytes:
        frame = buffer[at : at + size]
        head = parse_sync_frame(frame)
        facts = _facts(head)
        if head.enhanced and head.size < size:
            # One of the others may have changed: a dependent substream that came or went.
            facts = (*facts, *_facts(parse_sync_frame(frame[head.size :])))
        if facts != self._facts:
            self._told(ac3_track(self._track_id, frame))
            self._facts = facts
        return frame


def _facts(head: SyncFrame) -> tuple[object, ...]:
    return (
        head.enhanced,
        head.rate_code,
        head.bsid,
        head.acmod,
        head.lfe,
        head.stream_type,
        head.channel_map,
    )


class OpusFrames(Frames):
    """Opus packets from MPEG-TS, each behind a control header (ETSI TS 103 491 section 5.2).

    Samples that the header says to trim are left in: what is played first and last decides the player.
    """

    _sync = b"\x7f"
    _shortest = 3

    def __init__(self, track_id: int, language: str = "und", channels: int = 2) -> None:
        """@param channels: speakers, by the stream's descriptor."""
        super().__init__(track_id, language)
        self._dops = dops_for_channels(channels)

    @override
    def _measure(self, buffer: bytes, at: int) -> Measure | None:
        payload, size = self._header(buffer, at)
        if size < 0 or payload + 2 > len(buffer):
            return None
        samples = packet_duration(buffer[payload : payload + 2]) * OPUS_RATE // TICKS_PER_SECOND
        return payload - at + size, samples, OPUS_RATE

    def _header(self, buffer: bytes, at: int) -> tuple[int, int]:
        """Where the packet begins and its size, -1 when the control header is not all there."""
        if buffer[at] != 0x7F or buffer[at + 1] & 0xE0 != 0xE0:
            raise MediaError("no Opus control header")
        flags = buffer[at + 1]
        end = len(buffer)
        at += 2
        size = 0
        while at < end and buffer[at] == 0xFF:
            size += 255
            at += 1
            if size > MAX_HELD:
                raise MediaError("Opus packet too long")
        if at >= end:
            return at, -1
        size += buffer[at]
        at += 1 + 2 * (flags >> 4 & 1) + 2 * (flags >> 3 & 1)
        if flags >> 2 & 1:
            if at >= end:
                return at, -1
            at += 1 + buffer[at]
        if not size:
            raise MediaError("empty Opus packet")
        return at, size

    @override
    def _take(self, buffer: bytes, at: int, size: int) -> bytes:
        begin, length = self._header(buffer, at)
        if self.track is None:
            self._told(opus_track(self._track_id, self._dops))
        return buffer[begin : begin + length]
