"""How each codec's access units stand in MPEG-TS: one class per codec, chosen by table."""

from __future__ import annotations

from typing import Final, Protocol

from restreamer.errors import MediaError
from restreamer.media.aac import ADTS_SIZE, MAX_ADTS_FRAME, adts_prefix, parse_asc
from restreamer.media.frame import Frame
from restreamer.media.h264 import NAL_PPS, NAL_SPS, START_CODE, annexb, parse_avcc
from restreamer.media.mp3 import HEADER_SIZE
from restreamer.media.track import AAC, H264, MP3, Track
from restreamer.mpegts.pes import pes_header
from restreamer.mpegts.psi import STREAM_AAC_ADTS, STREAM_H264, STREAM_MPEG1_AUDIO, STREAM_MPEG2_AUDIO

#: An access unit delimiter that allows any slice type (ISO/IEC 14496-10 section 7.3.2.4).
ACCESS_UNIT_DELIMITER: Final = START_CODE + b"\x09\xf0"

_PARAMETER_SETS: Final = 1 << NAL_SPS | 1 << NAL_PPS
#: An audio PES packet must tell its length in 16 bits.
_MAX_AUDIO_UNIT: Final = 65_000
_MPEG1_LOWEST_RATE: Final = 32_000

#: The head of a PES packet (its header and what is put before the access unit), the access unit, and where in
#: it to begin.
Unit = tuple[bytes, "bytes | bytearray", int]


class ElementaryForm(Protocol):
    """A codec's form in MPEG-TS. It keeps no state between frames."""

    stream_type: int

    def unit(self, frame: Frame, stream_id: int) -> Unit:
        """One access unit as a PES packet.

        @raise MediaError: for a frame that this form cannot hold; leave it out.
        """
        ...


class H264Form:
    """Annex B, each access unit behind a delimiter, keyframes behind their parameter sets."""

    stream_type = STREAM_H264

    def __init__(self, track: Track) -> None:
        try:
            config = parse_avcc(track.config)
        except MediaError:
            self._before_key = ACCESS_UNIT_DELIMITER
        else:
            sets = b"".join(START_CODE + nal for nal in (*config.sps, *config.pps))
            self._before_key = ACCESS_UNIT_DELIMITER + sets

    def unit(self, frame: Frame, stream_id: int) -> Unit:
        """See L{ElementaryForm.unit}. Sets that the access unit brings itself are left to do their work."""
        body, at, types = annexb(frame.data)
        if not types:
            raise MediaError("empty access unit")
        before = ACCESS_UNIT_DELIMITER
        if frame.key and types & _PARAMETER_SETS != _PARAMETER_SETS:
            before = self._before_key
        return pes_header(stream_id, frame.dts, frame.cts, len(before) + len(body) - at) + before, body, at


class AacForm:
    """ADTS, one frame in a PES packet."""

    stream_type = STREAM_AAC_ADTS

    def __init__(self, track: Track) -> None:
        config = parse_asc(track.config)
        self._adts = adts_prefix(config)
        self._element = config.pce

    def unit(self, frame: Frame, stream_id: int) -> Unit:
        """See L{ElementaryForm.unit}."""
        size = ADTS_SIZE + len(self._element) + len(frame.data)
        if size > MAX_ADTS_FRAME or not frame.data:
            raise MediaError(f"AAC frame of {len(frame.data)} bytes")
        adts = (self._adts | size << 13).to_bytes(ADTS_SIZE, "big")
        return pes_header(stream_id, frame.dts, frame.cts, size) + adts + self._element, frame.data, 0


class Mp3Form:
    """Frames as they are; the stream type tells MPEG-1 from the lower rates of MPEG-2."""

    def __init__(self, track: Track) -> None:
        self.stream_type = (
            STREAM_MPEG1_AUDIO if track.sample_rate >= _MPEG1_LOWEST_RATE else STREAM_MPEG2_AUDIO
        )

    def unit(self, frame: Frame, stream_id: int) -> Unit:
        """See L{ElementaryForm.unit}."""
        size = len(frame.data)
        if not HEADER_SIZE <= size <= _MAX_AUDIO_UNIT:
            raise MediaError(f"MP3 frame of {size} bytes")
        return pes_header(stream_id, frame.dts, frame.cts, size), frame.data, 0


_FORMS: Final[dict[str, type[H264Form] | type[AacForm] | type[Mp3Form]]] = {
    H264: H264Form,
    AAC: AacForm,
    MP3: Mp3Form,
}


def elementary_form(track: Track) -> ElementaryForm | None:
    """The form of C{track} in MPEG-TS, or None when MPEG-TS cannot carry it."""
    form = _FORMS.get(track.codec)
    if form is None:
        return None
    try:
        return form(track)
    except MediaError:
        return None
