"""PES packet headers (ISO/IEC 13818-1 section 2.4.3.6)."""

from __future__ import annotations

from typing import Final

from restreamer.media.timebase import MPEGTS_MASK

VIDEO_STREAM_ID: Final = 0xE0
AUDIO_STREAM_ID: Final = 0xC0
#: What has no numbers of its own (table 2-22): AC-3, E-AC-3, Opus.
PRIVATE_STREAM_ID: Final = 0xBD

#: Bytes of the header with PTS alone, and with PTS and DTS.
PTS_HEADER: Final = 14
PTS_DTS_HEADER: Final = 19

#: The head of a PES packet (its header and what is put before the access unit), the access unit, and where in
#: it to begin.
Unit = tuple[bytes, "bytes | bytearray", int]

_MAX_LENGTH: Final = 0xFFFF
_START: Final = b"\x00\x00\x01"
#: '10', not scrambled, data_alignment_indicator: every packet begins with an access unit.
_FLAGS: Final = 0x84


def time_field(prefix: int, time: int) -> int:
    """A 33-bit time with its 4-bit prefix and marker bits, as a 40-bit number."""
    return (
        prefix << 36
        | (time & 0x1C0000000) << 3
        | (time & 0x3FFF8000) << 2
        | (time & 0x7FFF) << 1
        | 0x100010001
    )


def pes_header(stream_id: int, dts: int, cts: int, size: int) -> bytes:
    """The header of a PES packet that carries one access unit.

    @param dts: ticks of any size, written modulo 2**33; @param cts: PTS - DTS: 0 leaves the DTS out.
    @param size: bytes of the access unit as it follows. The packet's length is written when 16 bits hold it,
        so that a demuxer need not wait for the next packet; else 0, which only video may.
    """
    length = size + (13 if cts else 8)
    if length > _MAX_LENGTH:
        length = 0
    if cts:
        head = (stream_id << 40 | length << 24 | _FLAGS << 16 | 0xC00A) << 80
        times = time_field(3, dts + cts & MPEGTS_MASK) << 40 | time_field(1, dts & MPEGTS_MASK)
        return _START + (head | times).to_bytes(16, "big")
    head = (stream_id << 40 | length << 24 | _FLAGS << 16 | 0x8005) << 40
    return _START + (head | time_field(2, dts & MPEGTS_MASK)).to_bytes(11, "big")
