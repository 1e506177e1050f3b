"""Collecting the PES packets of one PID (ISO/IEC 13818-1 section 2.4.3.6; pure)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

#: A PES packet longer than this is dropped.
MAX_PES: Final = 8 * 1024 * 1024
_HEAD: Final = 9
_PREFIX: Final = b"\x00\x00\x01"
#: stream_ids whose packets have no such header (table 2-21).
_PLAIN: Final = frozenset({0xBC, 0xBE, 0xBF, 0xF0, 0xF1, 0xF2, 0xF8, 0xFF})

#: Called with PTS and DTS (33 bits; -1 when there is none) and the payload of a whole packet.
TakePes = Callable[[int, int, bytes], None]


class PesReader:
    """Gives the PES packets of one PID as they become whole: by their length, or by the next one's beginning.

    @ivar bad: packets dropped: cut off, too long, without a header.
    """

    __slots__ = ("_length", "_parts", "_size", "_take", "bad")

    def __init__(self, take: TakePes) -> None:
        self._take = take
        self._parts: list[bytes] = []
        self._size = 0
        self._length = -1
        self.bad = 0

    def receive(self, payload: bytes, begins: bool) -> None:
        """Take a transport packet's payload; C{begins}: payload_unit_start_indicator."""
        if begins:
            if self._parts:
                self._finish(whole=self._length == 0)
            if len(payload) < 6 or not payload.startswith(_PREFIX) or payload[3] in _PLAIN:
                self.bad += 1
                return
            length = payload[4] << 8 | payload[5]
            self._length = length and length + 6
        elif not self._parts:
            return
        self._parts.append(payload)
        self._size += len(payload)
        if self._length and self._size >= self._length:
            self._finish(whole=True)
        elif self._size > MAX_PES:
            self._finish(whole=False)

    def broken(self) -> None:
        """Packets were lost: what is collected is not whole."""
        if self._parts:
            self._finish(whole=False)

    def flush(self) -> None:
        """No more comes: a packet that tells no length is taken to be whole."""
        if self._parts:
            self._finish(whole=self._length == 0)

    def _finish(self, whole: bool) -> None:
        data = b"".join(self._parts)
        if self._length > 0:
            data = data[: self._length]
        self._parts = []
        self._size = 0
        if not whole or len(data) < _HEAD or data[6] & 0xC0 != 0x80 or data[6] & 0x30:
            self.bad += 1
            return
        flags, begin = data[7], _HEAD + data[8]
        if begin > len(data) or (flags & 0x80 and begin < 14) or (flags & 0xC0 == 0xC0 and begin < 19):
            self.bad += 1
            return
        pts = dts = -1
        if flags & 0x80:
            pts = dts = _time(data, 9)
            if flags & 0x40:
                dts = _time(data, 14)
        self._take(pts, dts, data[begin:])


def _time(data: bytes, at: int) -> int:
    """A 33-bit time; its marker bits are not looked at."""
    return (
        (data[at] & 0x0E) << 29
        | data[at + 1] << 22
        | (data[at + 2] & 0xFE) << 14
        | data[at + 3] << 7
        | data[at + 4] >> 1
    )
