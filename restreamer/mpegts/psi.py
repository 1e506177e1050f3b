"""Program tables: PAT and PMT (ISO/IEC 13818-1 section 2.4.4), SDT (ETSI EN 300 468 section 5.2.3)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from attrs import frozen

PAT_PID: Final = 0x0000
SDT_PID: Final = 0x0011
PMT_PID: Final = 0x1000
PROGRAM_NUMBER: Final = 1
TRANSPORT_STREAM_ID: Final = 1
#: original_network_id for private temporary use (ETSI TS 101 162).
ORIGINAL_NETWORK_ID: Final = 0xFF01

#: stream_type (table 2-34; AC-3 and E-AC-3 as ATSC A/52 annex A and HLS have them).
STREAM_MPEG1_VIDEO: Final = 0x01
STREAM_MPEG2_VIDEO: Final = 0x02
STREAM_MPEG1_AUDIO: Final = 0x03
STREAM_MPEG2_AUDIO: Final = 0x04
STREAM_PRIVATE: Final = 0x06
STREAM_AAC_ADTS: Final = 0x0F
STREAM_AAC_LATM: Final = 0x11
STREAM_H264: Final = 0x1B
STREAM_HEVC: Final = 0x24
STREAM_AC3: Final = 0x81
STREAM_EAC3: Final = 0x87

#: Bytes of a service or provider name that are written.
MAX_NAME: Final = 100

_REGISTRATION_DESCRIPTOR: Final = 0x05
_LANGUAGE_DESCRIPTOR: Final = 0x0A
_SERVICE_DESCRIPTOR: Final = 0x48
_DIGITAL_TELEVISION: Final = 0x01
_DIGITAL_RADIO: Final = 0x02
_RUNNING: Final = 4
_UTF8: Final = b"\x15"


def _crc_table() -> tuple[int, ...]:
    table = []
    for value in range(256):
        value <<= 24
        for _ in range(8):
            value = (value << 1 ^ (0x04C11DB7 if value & 0x80000000 else 0)) & 0xFFFFFFFF
        table.append(value)
    return tuple(table)


_CRC_TABLE: Final = _crc_table()


def crc32_mpeg(data: bytes) -> int:
    """CRC_32 of a section (Annex A): a section followed by its own CRC gives 0."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc = (crc << 8 & 0xFFFFFFFF) ^ _CRC_TABLE[crc >> 24 ^ byte]
    return crc


@frozen(kw_only=True)
class ProgramStream:
    """One line of the PMT.

    @ivar stream_type, pid: as written. @ivar language: ISO 639-2, C{"und"} writes no descriptor.
    @ivar descriptors: of the codec, before the language.
    """

    stream_type: int
    pid: int
    language: str = "und"
    descriptors: bytes = b""


def registration(identifier: bytes) -> bytes:
    """A registration_descriptor (section 2.6.8) of a 4-byte format identifier."""
    return bytes((_REGISTRATION_DESCRIPTOR, len(identifier))) + identifier


def _section(table_id: int, flags: int, extension: int, version: int, body: bytes) -> bytes:
    """A long section, number 0 of 0, current (section 2.4.4.11)."""
    size = 5 + len(body) + 4
    head = bytes((table_id,)) + (flags << 12 | size).to_bytes(2, "big") + extension.to_bytes(2, "big")
    section = head + bytes((0xC1 | version << 1, 0, 0)) + body
    return section + crc32_mpeg(section).to_bytes(4, "big")


def pat_section(number: int = PROGRAM_NUMBER, pmt_pid: int = PMT_PID) -> bytes:
    """The program association section: one program, its map on C{pmt_pid}."""
    body = number.to_bytes(2, "big") + (0xE000 | pmt_pid).to_bytes(2, "big")
    return _section(0x00, 0xB, TRANSPORT_STREAM_ID, 0, body)


def pmt_body(pcr_pid: int, streams: Sequence[ProgramStream]) -> bytes:
    """What a program map section says, without its frame."""
    parts = [(0xE000 | pcr_pid).to_bytes(2, "big"), b"\xf0\x00"]
    for stream in streams:
        info = stream.descriptors
        if stream.language != "und" and len(stream.language) == 3 and stream.language.isascii():
            info += bytes((_LANGUAGE_DESCRIPTOR, 4)) + stream.language.encode() + b"\x00"
        parts.append(bytes((stream.stream_type,)) + (0xE000 | stream.pid).to_bytes(2, "big"))
        parts.append((0xF000 | len(info)).to_bytes(2, "big") + info)
    return b"".join(parts)


def pmt_section(body: bytes, version: int, number: int = PROGRAM_NUMBER) -> bytes:
    """The program map section around a L{pmt_body}.

    @param version: 0..31; it changes when the body does.
    """
    return _section(0x02, 0xB, number, version, body)


def pmt_version(body: bytes) -> int:
    """A version number that depends on the body alone, so that every node writes the same."""
    return crc32_mpeg(body) & 0x1F


def sdt_section(provider: str, name: str, radio: bool = False, number: int = PROGRAM_NUMBER) -> bytes:
    """The service description section of the one program.

    @param radio: there is no picture.
    """
    names = b"".join(bytes((len(text),)) + text for text in (_dvb_text(provider), _dvb_text(name)))
    kind = _DIGITAL_RADIO if radio else _DIGITAL_TELEVISION
    descriptor = bytes((_SERVICE_DESCRIPTOR, 1 + len(names), kind)) + names
    service = number.to_bytes(2, "big") + b"\xfc" + (_RUNNING << 13 | len(descriptor)).to_bytes(2, "big")
    network = ORIGINAL_NETWORK_ID.to_bytes(2, "big") + b"\xff"
    return _section(0x42, 0xF, TRANSPORT_STREAM_ID, 0, network + service + descriptor)


def _dvb_text(text: str) -> bytes:
    """UTF-8 behind its selector (EN 300 468 Annex A.2), cut between characters, no control characters."""
    plain = "".join(character for character in text if character.isprintable())
    encoded = plain.encode("utf-8", "replace")[:MAX_NAME].decode("utf-8", "ignore").encode()
    return _UTF8 + encoded if encoded else b""
