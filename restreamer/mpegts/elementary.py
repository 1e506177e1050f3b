"""How each codec's access units stand in MPEG-TS: one class per codec, chosen by table."""

from __future__ import annotations

from typing import Final, Protocol

from restreamer.errors import MediaError
from restreamer.media import hevc
from restreamer.media.codecs import mpegts_can_carry
from restreamer.media.frame import Frame
from restreamer.media.h264 import NAL_PPS, NAL_SPS, START_CODE, annexb, parse_avcc
from restreamer.media.mpeg2 import parse_sequence
from restreamer.media.track import AAC, AC3, EAC3, H264, HEVC, MP2, MP3, MPEG2, OPUS, Track
from restreamer.mpegts.elementary_audio import AacForm, Ac3Form, MpegAudioForm, OpusForm
from restreamer.mpegts.pes import Unit, pes_header
from restreamer.mpegts.psi import (
    STREAM_H264,
    STREAM_HEVC,
    STREAM_MPEG1_VIDEO,
    STREAM_MPEG2_VIDEO,
    registration,
)

#: An access unit delimiter that allows any slice type (ISO/IEC 14496-10 section 7.3.2.4).
ACCESS_UNIT_DELIMITER: Final = START_CODE + b"\x09\xf0"
#: The same of HEVC (ISO/IEC 23008-2 section 7.3.2.5).
HEVC_DELIMITER: Final = START_CODE + b"\x46\x01\x50"

_PARAMETER_SETS: Final = 1 << NAL_SPS | 1 << NAL_PPS
_SEQUENCE_HEADER: Final = b"\x00\x00\x01\xb3"
_SEQUENCE_WITHIN: Final = 64


class ElementaryForm(Protocol):
    """A codec's form in MPEG-TS. It keeps no state between frames.

    @ivar stream_type: of the PMT. @ivar stream_id: of PES when the codec has one of its own, else 0.
    @ivar descriptors: that name the codec in the PMT.
    """

    stream_type: int
    stream_id: int
    descriptors: bytes

    def unit(self, frame: Frame, stream_id: int) -> Unit:
        """One access unit as a PES packet.

        @raise MediaError: for a frame that this form cannot hold; leave it out.
        """
        ...


class H264Form:
    """Annex B, each access unit behind a delimiter, keyframes behind their parameter sets."""

    stream_type = STREAM_H264
    stream_id = 0
    descriptors = b""

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


class HevcForm:
    """As L{H264Form}, with the parameter sets of HEVC (ISO/IEC 13818-1 section 2.17)."""

    stream_type = STREAM_HEVC
    stream_id = 0
    descriptors = registration(b"HEVC")

    def __init__(self, track: Track) -> None:
        try:
            config = hevc.parse_hvcc(track.config)
        except MediaError:
            self._before_key = HEVC_DELIMITER
        else:
            sets = b"".join(START_CODE + nal for nal in (*config.vps, *config.sps, *config.pps))
            self._before_key = HEVC_DELIMITER + sets

    def unit(self, frame: Frame, stream_id: int) -> Unit:
        """See L{ElementaryForm.unit}. Sets that the access unit brings itself are left to do their work."""
        body, at, types = hevc.annexb(frame.data)
        if not types:
            raise MediaError("empty access unit")
        before = HEVC_DELIMITER
        if frame.key and types & hevc.PARAMETER_SETS != hevc.PARAMETER_SETS:
            before = self._before_key
        return pes_header(stream_id, frame.dts, frame.cts, len(before) + len(body) - at) + before, body, at


class Mpeg2Form:
    """Pictures as they are; a keyframe without its sequence header gets the track's."""

    stream_id = 0
    descriptors = b""

    def __init__(self, track: Track) -> None:
        self._header = track.config
        try:
            mpeg1 = not parse_sequence(track.config).profile
        except MediaError:
            mpeg1 = False
        self.stream_type = STREAM_MPEG1_VIDEO if mpeg1 else STREAM_MPEG2_VIDEO

    def unit(self, frame: Frame, stream_id: int) -> Unit:
        """See L{ElementaryForm.unit}."""
        if not frame.data:
            raise MediaError("empty picture")
        before = b""
        if frame.key and frame.data.find(_SEQUENCE_HEADER, 0, _SEQUENCE_WITHIN) < 0:
            before = self._header
        size = len(before) + len(frame.data)
        return pes_header(stream_id, frame.dts, frame.cts, size) + before, frame.data, 0


_Form = (
    type[H264Form]
    | type[HevcForm]
    | type[Mpeg2Form]
    | type[AacForm]
    | type[MpegAudioForm]
    | type[Ac3Form]
    | type[OpusForm]
)
_FORMS: Final[dict[str, _Form]] = {
    H264: H264Form,
    HEVC: HevcForm,
    MPEG2: Mpeg2Form,
    AAC: AacForm,
    MP3: MpegAudioForm,
    MP2: MpegAudioForm,
    AC3: Ac3Form,
    EAC3: Ac3Form,
    OPUS: OpusForm,
}


def elementary_form(track: Track) -> ElementaryForm | None:
    """The form of C{track} in MPEG-TS, or None when MPEG-TS cannot carry it."""
    form = _FORMS.get(track.codec)
    if form is None or not mpegts_can_carry(track):
        return None
    try:
        return form(track)
    except MediaError:
        return None
