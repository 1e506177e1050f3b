"""Transport packets: cutting PES packets and sections into 188 bytes (ISO/IEC 13818-1 section 2.4.3).

The packets of one PID carry a 4-bit counter that rises with every packet that has a payload. A
L{PacketWriter} keeps that counter; everything else here is a pure function. What is hot is done by
tables: the 16 possible plain headers of a PID are made once, a body is cut by one precompiled
C{struct}, headers and cuts are interleaved by slice assignment and joined once.
"""

from __future__ import annotations

import functools
from struct import Struct
from typing import Final

PACKET_SIZE: Final = 188
PAYLOAD_SIZE: Final = 184
SYNC_BYTE: Final = 0x47

#: Flags of the adaptation field (section 2.4.3.4).
DISCONTINUITY: Final = 0x80
RANDOM_ACCESS: Final = 0x40
PCR_FLAG: Final = 0x10

_UNIT_START: Final = 0x40
_PAYLOAD: Final = 0x10
_ADAPTATION: Final = 0x20

#: Adaptation fields of exactly n bytes that hold nothing, for n = 0 .. 184.
STUFFING: Final = (b"", b"\x00", *(bytes((n - 1, 0)) + b"\xff" * (n - 2) for n in range(2, PAYLOAD_SIZE + 1)))

#: Packets cut by one struct; longer bodies take several (each cached struct holds a code per packet).
_BLOCK: Final = 256


@functools.lru_cache(maxsize=_BLOCK)
def _cutter(count: int) -> Struct:
    """Cuts C{count} payloads of 184 bytes; kept for every count up to L{_BLOCK}."""
    return Struct(f"{PAYLOAD_SIZE}s" * count)


@functools.lru_cache(maxsize=64)
def _headers(pid: int) -> tuple[list[bytes], list[bytes], list[bytes], list[bytes]]:
    """The 4-byte headers of a PID by counter (section 2.4.3.2), repeated for a whole block from any counter.

    @return: of packets that begin a unit and those that do not, each without and with adaptation field.
    """
    begin, plain = _UNIT_START | pid >> 8, pid >> 8
    rows = [
        [bytes((SYNC_BYTE, second, pid & 0xFF, control | counter)) for counter in range(16)]
        for second in (begin, plain)
        for control in (_PAYLOAD, _PAYLOAD | _ADAPTATION)
    ]
    return rows[0], rows[1], rows[2] * (_BLOCK // 16 + 1), rows[3]


def adaptation_field(flags: int, pcr: int = -1) -> bytes:
    """An adaptation field without stuffing.

    @param flags: L{DISCONTINUITY}, L{RANDOM_ACCESS} or both.
    @param pcr: program clock reference in ticks of 90 kHz, 33 bits (the 27 MHz extension is 0); -1 for none.
    @return: the field with its length byte; empty when there is nothing to say.
    """
    if pcr >= 0:
        return bytes((7, flags | PCR_FLAG)) + (pcr << 15 | 0x7E00).to_bytes(6, "big")
    return bytes((1, flags)) if flags else b""


def stuffed(field: bytes, size: int) -> bytes:
    """C{field} made exactly C{size} bytes long (at least its own length)."""
    extra = size - len(field)
    if not extra:
        return field
    if not field:
        return STUFFING[size]
    return bytes((field[0] + extra,)) + field[1:] + b"\xff" * extra


def packet_count(size: int, field_size: int) -> int:
    """Packets that C{size} bytes take when the first one has an adaptation field of C{field_size}."""
    rest = size - (PAYLOAD_SIZE - field_size)
    return 1 if rest <= 0 else 1 + -(-rest // PAYLOAD_SIZE)


class PacketWriter:
    """Writes the packets of one PID.

    @ivar pid: the packet identifier; @ivar counter: continuity counter of its next packet with a payload.
    """

    __slots__ = ("_begin", "_begin_field", "_plain", "_plain_field", "counter", "pid")

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.counter = 0
        self._begin, self._begin_field, self._plain, self._plain_field = _headers(pid)

    def write(self, head: bytes, body: bytes | bytearray, at: int = 0, field: bytes = b"") -> bytes:
        """Packets of C{head + body[at:]} as one unit, in as few packets as it takes.

        @param head: the beginning of the unit: a PES header and what is put before the access unit.
        @param field: adaptation field of the first packet.
        """
        room = PAYLOAD_SIZE - len(field) - len(head)
        if room < 0:
            body = head + body[at:]
            head = b""
            at = 0
            room = PAYLOAD_SIZE - len(field)
        counter = self.counter
        left = len(body) - at - room
        if left <= 0:
            self.counter = counter + 1 & 15
            if not left and not field:
                return b"".join((self._begin[counter], head, body[at:]))
            size = len(field) - left
            return b"".join((self._begin_field[counter], stuffed(field, size), head, body[at:]))
        parts = [
            self._begin_field[counter] if field else self._begin[counter],
            field,
            head,
            body[at : at + room],
        ]
        at += room
        counter = counter + 1 & 15
        count, tail = divmod(left, PAYLOAD_SIZE)
        while count:
            block = count if count < _BLOCK else _BLOCK
            cut: list[bytes] = [b""] * (2 * block)
            cut[::2] = self._plain[counter : counter + block]
            cut[1::2] = _cutter(block).unpack_from(body, at)
            parts += cut
            at += block * PAYLOAD_SIZE
            counter = counter + block & 15
            count -= block
        if tail:
            parts += (self._plain_field[counter], STUFFING[PAYLOAD_SIZE - tail], body[at:])
            counter = counter + 1 & 15
        self.counter = counter
        return b"".join(parts)

    def write_spread(self, unit: bytes, whole: int, count: int, field: bytes = b"") -> bytes:
        """Packets of C{unit}, spread by stuffing over exactly C{count} packets, each with some of it.

        @param whole: bytes at the beginning that stay together in the first packet if the others still
            get a byte each (the PES header).
        """
        counter = self.counter
        first = max(-(-len(unit) // count), whole)
        first = min(first, PAYLOAD_SIZE - len(field), len(unit) - (count - 1))
        gap = PAYLOAD_SIZE - first
        headers = self._begin_field if gap else self._begin
        parts = [headers[counter], stuffed(field, gap), unit[:first]]
        at = first
        for others in range(count - 1, 0, -1):
            counter = counter + 1 & 15
            size = -(-(len(unit) - at) // others)
            headers = self._plain_field if size < PAYLOAD_SIZE else self._plain
            parts += (headers[counter], STUFFING[PAYLOAD_SIZE - size], unit[at : at + size])
            at += size
        self.counter = counter + 1 & 15
        return b"".join(parts)

    def section(self, section: bytes, field: bytes = b"") -> bytes:
        """Packets of one PSI section: a pointer field, the section, then bytes of 0xFF (section 2.4.4)."""
        size = len(section) + 1
        count = packet_count(size, len(field))
        padding = count * PAYLOAD_SIZE - len(field) - size
        return self.write(b"\x00" + section, b"\xff" * padding, 0, field)

    def mark(self, field: bytes) -> bytes:
        """One packet of C{field} alone: it repeats the counter of the packet before (section 2.4.3.3)."""
        before = self.counter + 15 & 15
        head = bytes((SYNC_BYTE, self.pid >> 8, self.pid & 0xFF, _ADAPTATION | before))
        return head + stuffed(field, PAYLOAD_SIZE)

    def mark_again(self, packet: bytes) -> bytes:
        """A packet of L{mark} as it stands at the present counter."""
        return packet[:3] + bytes((_ADAPTATION | self.counter + 15 & 15,)) + packet[4:]

    def lead_in(self, section: bytes, field: bytes = b"") -> bytes:
        """Packets of C{section} whose counters end right before the next one; nothing is counted."""
        before = PacketWriter(self.pid)
        before.counter = self.counter - packet_count(len(section) + 1, len(field)) & 15
        return before.section(section, field)
