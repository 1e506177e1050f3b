"""What the program tables of a transport stream say (ISO/IEC 13818-1 section 2.4.4; pure)."""

from __future__ import annotations

from typing import Final

from attrs import frozen

from restreamer.media.track import AAC, AC3, EAC3, H264, HEVC, MP3, MPEG2, OPUS
from restreamer.mpegts.psi import (
    STREAM_AAC_ADTS,
    STREAM_AAC_LATM,
    STREAM_AC3,
    STREAM_EAC3,
    STREAM_H264,
    STREAM_HEVC,
    STREAM_MPEG1_AUDIO,
    STREAM_MPEG1_VIDEO,
    STREAM_MPEG2_AUDIO,
    STREAM_MPEG2_VIDEO,
    STREAM_PRIVATE,
)

#: Programs of a PAT, and streams of a PMT, that are read.
MAX_PROGRAMS: Final = 64
MAX_STREAMS: Final = 32

_PAT_TABLE: Final = 0x00
_PMT_TABLE: Final = 0x02
_LONG_HEAD: Final = 8
_CRC: Final = 4

_REGISTRATION: Final = 0x05
_LANGUAGE: Final = 0x0A
_DVB_AC3: Final = 0x6A
_DVB_EAC3: Final = 0x7A
_DVB_EXTENSION: Final = 0x7F
#: descriptor_tag_extension that ETSI TS 103 491 section 5.1 uses for Opus.
_OPUS_EXTENSION: Final = 0x80

#: The codec of each stream_type; MPEG audio of layer II is told from its frames.
_CODECS: Final = {
    STREAM_MPEG1_VIDEO: MPEG2,
    STREAM_MPEG2_VIDEO: MPEG2,
    STREAM_MPEG1_AUDIO: MP3,
    STREAM_MPEG2_AUDIO: MP3,
    STREAM_AAC_ADTS: AAC,
    STREAM_AAC_LATM: AAC,
    STREAM_H264: H264,
    STREAM_HEVC: HEVC,
    STREAM_AC3: AC3,
    STREAM_EAC3: EAC3,
}
_REGISTERED: Final = {b"AC-3": AC3, b"EAC3": EAC3, b"Opus": OPUS, b"HEVC": HEVC}
_VIDEO: Final = frozenset({MPEG2, H264, HEVC})


@frozen
class StreamLine:
    """One elementary stream that can be read.

    @ivar codec: as in L{restreamer.media.track.Track}, where MP3 and AC-3 stand for their families.
    @ivar language: ISO 639-2, C{"und"} when it is not told. @ivar channels: of Opus, 0 otherwise.
    @ivar latm: AAC comes in LATM, not in ADTS.
    """

    pid: int
    codec: str
    language: str = "und"
    channels: int = 0
    latm: bool = False

    @property
    def video(self) -> bool:
        """Whether it has pictures."""
        return self.codec in _VIDEO


@frozen
class ProgramMap:
    """One program. @ivar number: program_number. @ivar pcr_pid: where its clock is; 0x1FFF for none."""

    number: int
    pcr_pid: int
    streams: tuple[StreamLine, ...]


def parse_pat(section: bytes) -> dict[int, int] | None:
    """The PMT PIDs by program number, in their order; None for anything but a PAT that holds now."""
    body = _body(section, _PAT_TABLE)
    if body is None:
        return None
    programs: dict[int, int] = {}
    for at in range(0, len(body) - 3, 4):
        number = int.from_bytes(body[at : at + 2], "big")
        pid = int.from_bytes(body[at + 2 : at + 4], "big") & 0x1FFF
        if number and 0x10 <= pid < 0x1FFF and len(programs) < MAX_PROGRAMS:
            programs[number] = pid
    return programs


def parse_pmt(section: bytes) -> ProgramMap | None:
    """The program of a PMT section; None for anything but one that holds now. What is cut off is left out."""
    body = _body(section, _PMT_TABLE)
    if body is None or len(body) < 4:
        return None
    number = int.from_bytes(section[3:5], "big")
    pcr_pid = int.from_bytes(body[:2], "big") & 0x1FFF
    at = 4 + (int.from_bytes(body[2:4], "big") & 0xFFF)
    streams: dict[int, StreamLine] = {}
    while at + 5 <= len(body) and len(streams) < MAX_STREAMS:
        pid = int.from_bytes(body[at + 1 : at + 3], "big") & 0x1FFF
        end = at + 5 + (int.from_bytes(body[at + 3 : at + 5], "big") & 0xFFF)
        if end > len(body):
            break
        line = _line(body[at], pid, body[at + 5 : end])
        if line is not None and 0x10 <= pid < 0x1FFF:
            streams.setdefault(pid, line)
        at = end
    return ProgramMap(number, pcr_pid, tuple(streams.values()))


def _body(section: bytes, table: int) -> bytes | None:
    """What stands between the long header and the CRC, if the table is C{table} and is current."""
    if len(section) < _LONG_HEAD + _CRC or section[0] != table or not section[1] & 0x80:
        return None
    return section[_LONG_HEAD:-_CRC] if section[5] & 1 else None


def _line(stream_type: int, pid: int, descriptors: bytes) -> StreamLine | None:
    codec = _CODECS.get(stream_type)
    language = "und"
    channels = 0
    private = stream_type == STREAM_PRIVATE
    at = 0
    while at + 2 <= len(descriptors):
        tag, end = descriptors[at], at + 2 + descriptors[at + 1]
        value = descriptors[at + 2 : end]
        if end > len(descriptors):
            break
        if tag == _LANGUAGE and len(value) >= 3:
            letters = value[:3].decode("latin-1").lower()
            if letters.isascii() and letters.isalpha():
                language = letters
        elif private and tag == _REGISTRATION:
            codec = _REGISTERED.get(value[:4], codec)
        elif private and tag == _DVB_AC3:
            codec = AC3
        elif private and tag == _DVB_EAC3:
            codec = EAC3
        elif private and tag == _DVB_EXTENSION and value[:1] == bytes((_OPUS_EXTENSION,)):
            channels = value[1] if len(value) > 1 else 0
        at = end
    latm = stream_type == STREAM_AAC_LATM
    return None if codec is None else StreamLine(pid, codec, language, channels, latm)
