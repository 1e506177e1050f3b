"""How the access units of the audio codecs stand in MPEG-TS: one class per codec."""

from __future__ import annotations

from typing import Final

from restreamer.errors import MediaError
from restreamer.media.aac import ADTS_SIZE, MAX_ADTS_FRAME, adts_prefix, parse_asc
from restreamer.media.frame import Frame
from restreamer.media.mp3 import HEADER_SIZE
from restreamer.media.opus import parse_dops
from restreamer.media.track import EAC3, Track
from restreamer.mpegts.pes import PRIVATE_STREAM_ID, Unit, pes_header
from restreamer.mpegts.psi import (
    STREAM_AAC_ADTS,
    STREAM_AC3,
    STREAM_EAC3,
    STREAM_MPEG1_AUDIO,
    STREAM_MPEG2_AUDIO,
    STREAM_PRIVATE,
    registration,
)

#: An audio PES packet must tell its length in 16 bits.
MAX_AUDIO_UNIT: Final = 65_000

_MPEG1_LOWEST_RATE: Final = 32_000
#: Bytes of the shortest AC-3 sync frame.
_SHORTEST_AC3: Final = 7
#: extension_descriptor with the tag of Opus (ETSI TS 103 491 section 5.1), before its channel_config_code.
_OPUS_DESCRIPTOR: Final = b"\x7f\x02\x80"
#: control_header_prefix with no trimming and no extension (section 5.2).
_OPUS_CONTROL: Final = b"\x7f\xe0"


class AacForm:
    """ADTS, one frame in a PES packet."""

    stream_type = STREAM_AAC_ADTS
    stream_id = 0
    descriptors = b""

    def __init__(self, track: Track) -> None:
        config = parse_asc(track.config)
        self._adts = adts_prefix(config)
        self._element = config.pce

    def unit(self, frame: Frame, stream_id: int) -> Unit:
        """See L{restreamer.mpegts.elementary.ElementaryForm.unit}."""
        size = ADTS_SIZE + len(self._element) + len(frame.data)
        if size > MAX_ADTS_FRAME or not frame.data:
            raise MediaError(f"AAC frame of {len(frame.data)} bytes")
        adts = (self._adts | size << 13).to_bytes(ADTS_SIZE, "big")
        return pes_header(stream_id, frame.dts, frame.cts, size) + adts + self._element, frame.data, 0


class MpegAudioForm:
    """Frames of layer II and III as they are; the stream type tells MPEG-1 from the lower rates of MPEG-2."""

    stream_id = 0
    descriptors = b""

    def __init__(self, track: Track) -> None:
        self.stream_type = (
            STREAM_MPEG1_AUDIO if track.sample_rate >= _MPEG1_LOWEST_RATE else STREAM_MPEG2_AUDIO
        )

    def unit(self, frame: Frame, stream_id: int) -> Unit:
        """See L{restreamer.mpegts.elementary.ElementaryForm.unit}."""
        size = len(frame.data)
        if not HEADER_SIZE <= size <= MAX_AUDIO_UNIT:
            raise MediaError(f"MPEG audio frame of {size} bytes")
        return pes_header(stream_id, frame.dts, frame.cts, size), frame.data, 0


class Ac3Form:
    """AC-3 and E-AC-3 access units as they are, named as ATSC and HLS name them."""

    stream_id = PRIVATE_STREAM_ID

    def __init__(self, track: Track) -> None:
        enhanced = track.codec == EAC3
        self.stream_type = STREAM_EAC3 if enhanced else STREAM_AC3
        self.descriptors = registration(b"EAC3" if enhanced else b"AC-3")

    def unit(self, frame: Frame, stream_id: int) -> Unit:
        """See L{restreamer.mpegts.elementary.ElementaryForm.unit}."""
        size = len(frame.data)
        if not _SHORTEST_AC3 <= size <= MAX_AUDIO_UNIT:
            raise MediaError(f"AC-3 frame of {size} bytes")
        return pes_header(stream_id, frame.dts, frame.cts, size), frame.data, 0


class OpusForm:
    """Opus packets, each behind a control header."""

    stream_type = STREAM_PRIVATE
    stream_id = PRIVATE_STREAM_ID

    def __init__(self, track: Track) -> None:
        channels = parse_dops(track.config).channels
        self.descriptors = registration(b"Opus") + _OPUS_DESCRIPTOR + bytes((channels,))

    def unit(self, frame: Frame, stream_id: int) -> Unit:
        """See L{restreamer.mpegts.elementary.ElementaryForm.unit}."""
        size = len(frame.data)
        if not 1 <= size <= MAX_AUDIO_UNIT:
            raise MediaError(f"Opus packet of {size} bytes")
        control = _OPUS_CONTROL + b"\xff" * (size // 255) + bytes((size % 255,))
        head = pes_header(stream_id, frame.dts, frame.cts, len(control) + size)
        return head + control, frame.data, 0
