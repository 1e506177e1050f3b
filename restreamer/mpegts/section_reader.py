"""Collecting PSI sections from the payloads of one PID (ISO/IEC 13818-1 section 2.4.4; pure)."""

from __future__ import annotations

from typing import Final

from restreamer.mpegts.psi import crc32_mpeg

#: Bytes a section may have behind its length field (section 2.4.4.5).
MAX_LENGTH: Final = 1021
_HEAD: Final = 3
_STUFFING: Final = 0xFF


class SectionReader:
    """Gives the sections of one PID that are whole and whose checksum is right.

    @ivar bad: sections that were not. A section that was seen last time is not checked again.
    """

    __slots__ = ("_buffer", "_last", "bad")

    def __init__(self) -> None:
        self._buffer: bytearray | None = None
        self._last = b""
        self.bad = 0

    def reset(self) -> None:
        """Packets were lost: what is collected is not whole."""
        self._buffer = None

    def receive(self, payload: bytes, begins: bool) -> list[bytes]:
        """Take a packet's payload.

        @param begins: payload_unit_start_indicator: a pointer field stands first.
        @return: sections that became whole.
        """
        found: list[bytes] = []
        if begins:
            pointer = payload[0] + 1 if payload else 1
            if pointer > len(payload):
                self._buffer = None
                self.bad += 1
                return found
            if self._buffer is not None and pointer > 1:
                self._buffer += payload[1:pointer]
                self._take(found)
            self._buffer = bytearray(payload[pointer:])
        elif self._buffer is None:
            return found
        else:
            self._buffer += payload
        self._take(found)
        return found

    def _take(self, found: list[bytes]) -> None:
        buffer = self._buffer
        while buffer is not None and len(buffer) >= _HEAD:
            if buffer[0] == _STUFFING:
                self._buffer = None
                return
            length = (buffer[1] & 0x0F) << 8 | buffer[2]
            if length > MAX_LENGTH:
                self._buffer = None
                self.bad += 1
                return
            end = _HEAD + length
            if len(buffer) < end:
                return
            section = bytes(buffer[:end])
            del buffer[:end]
            if section == self._last or not crc32_mpeg(section):
                self._last = section
                found.append(section)
            else:
                self.bad += 1
