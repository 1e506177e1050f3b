"""A strict MPEG-TS demultiplexer for tests: what breaks a rule of ISO/IEC 13818-1 raises L{TsError}.

It shares no code with the muxers it judges.
"""

from __future__ import annotations

from bisect import bisect_right
from typing import Final

from attrs import define, field, frozen

_SIZE: Final = 188
_MASK: Final = (1 << 33) - 1
_HALF: Final = 1 << 32
_PAT_PID: Final = 0
_SDT_PID: Final = 0x11
_NULL_PID: Final = 0x1FFF


class TsError(AssertionError):
    """The transport stream breaks a rule; the text begins with the packet's number."""


@frozen(kw_only=True)
class TsPes:
    """One PES packet.

    @ivar pts, dts: ticks, unwrapped to be near the first time seen; @ivar payload: what follows the header.
    @ivar key: its first packet has random_access_indicator; @ivar packets: packets it took.
    @ivar discontinuity: its first packet has discontinuity_indicator; @ivar at: number of its first packet.
    """

    pid: int
    pts: int
    dts: int
    payload: bytes = field(repr=False)
    key: bool
    packets: int
    discontinuity: bool
    at: int


@define(eq=False)
class _Unit:
    """A PES packet or section that is being collected."""

    data: bytearray
    key: bool
    discontinuity: bool
    at: int
    packets: int = 1


@define(eq=False)
class TsReader:
    """Reads whole packets, in as many calls of L{feed} as one likes, then L{finish}.

    @ivar max_pcr_spacing: ticks two PCR may be apart. @ivar pcr_lead_required: check that no PES packet's DTS
        is behind the last PCR.
    @ivar pes: what was read, in order of completion per PID. @ivar pcrs: (packet number, ticks) of each PCR.
    @ivar streams: stream_type by PID; @ivar versions: PMT versions seen in order, without repeats.
    @ivar tables: packet numbers where a PAT begins. @ivar payload_packets: packets with a payload by PID.
    @ivar service: (provider, name) of the SDT. @ivar marks: PIDs of discontinuity_indicator in order.
    """

    max_pcr_spacing: int = 9000
    pcr_lead_required: bool = True
    pes: list[TsPes] = field(factory=list)
    pcrs: list[tuple[int, int]] = field(factory=list)
    streams: dict[int, int] = field(factory=dict)
    versions: list[int] = field(factory=list)
    tables: list[int] = field(factory=list)
    payload_packets: dict[int, int] = field(factory=dict)
    service: tuple[str, str] = ("", "")
    marks: list[int] = field(factory=list)
    pmt_pid: int = -1
    pcr_pid: int = -1
    packets: int = 0
    _counters: dict[int, int] = field(factory=dict)
    _last: dict[int, bytes] = field(factory=dict)
    _repeated: set[int] = field(factory=set)
    _units: dict[int, _Unit] = field(factory=dict)
    _reference: int = -1
    _new_clock: bool = False

    def feed(self, data: bytes) -> TsReader:
        """Read packets; C{data} must be a whole number of them."""
        if len(data) % _SIZE:
            raise TsError(f"{len(data)} bytes are not whole packets")
        for at in range(0, len(data), _SIZE):
            self._packet(data[at : at + _SIZE])
            self.packets += 1
        return self

    def finish(self) -> TsReader:
        """The stream ended: what is collected is complete."""
        for pid in list(self._units):
            self._complete(pid)
        return self

    def of(self, pid: int) -> list[TsPes]:
        """The PES packets of one PID."""
        return [pes for pes in self.pes if pes.pid == pid]

    def _fail(self, what: str) -> TsError:
        return TsError(f"packet {self.packets}: {what}")

    def _packet(self, packet: bytes) -> None:
        if packet[0] != 0x47:
            raise self._fail(f"sync byte {packet[0]:#x}")
        if packet[1] & 0x80 or packet[3] & 0xC0:
            raise self._fail("error indicator or scrambling")
        pid = (packet[1] & 0x1F) << 8 | packet[2]
        if pid == _NULL_PID:
            return
        control = packet[3] >> 4 & 3
        if not control:
            raise self._fail("reserved adaptation field control")
        has_payload, at, flags = bool(control & 1), 4, 0
        pcr = -1
        if control & 2:
            size = packet[4]
            if (size > 182) if has_payload else (size != 183):
                raise self._fail(f"adaptation field of {size} bytes")
            flags = packet[5] if size else 0
            at = 5 + size
            pcr = self._adaptation(packet[6:at], flags)
        discontinuity = bool(flags & 0x80)
        if discontinuity:
            self.marks.append(pid)
            self._new_clock = self._new_clock or pid == self.pcr_pid
        if self._is_repeated(pid, packet, has_payload, discontinuity):
            return
        if pcr >= 0:
            self._clock(pid, pcr)
        if not has_payload:
            return
        self.payload_packets[pid] = self.payload_packets.get(pid, 0) + 1
        start = bool(packet[1] & 0x40)
        if pid in (_PAT_PID, _SDT_PID, self.pmt_pid):
            self._table_bytes(pid, packet[at:], start)
        elif pid in self.streams:
            self._stream_bytes(pid, packet[at:], start, flags)
        else:
            raise self._fail(f"PID {pid:#x} is in no map")

    def _adaptation(self, rest: bytes, flags: int) -> int:
        """The PCR in ticks, or -1; the rest of the field must be stuffing."""
        pcr = -1
        if flags & 0x0F or flags & 0x20:
            raise self._fail(f"adaptation flags {flags:#x}")
        if flags & 0x10:
            if len(rest) < 6:
                raise self._fail("adaptation field too short for its PCR")
            value = int.from_bytes(rest[:6], "big")
            if value >> 9 & 0x3F != 0x3F or value & 0x1FF >= 300:
                raise self._fail("PCR reserved bits or extension")
            pcr = value >> 15
            rest = rest[6:]
        if rest.strip(b"\xff"):
            raise self._fail("stuffing is not 0xFF")
        return pcr

    def _is_repeated(self, pid: int, packet: bytes, has_payload: bool, discontinuity: bool) -> bool:
        """Check the continuity counter (section 2.4.3.3); whether the packet is a legal duplicate."""
        counter = packet[3] & 0x0F
        before = self._counters.get(pid)
        self._counters[pid] = counter
        last = self._last.get(pid)
        if has_payload:
            self._last[pid] = packet
        if before is None or discontinuity:
            self._repeated.discard(pid)
            return False
        if not has_payload:
            if counter != before:
                raise self._fail(f"PID {pid:#x} counter {counter} without payload after {before}")
            return False
        if counter == before and packet == last and pid not in self._repeated:
            self._repeated.add(pid)
            return True
        if counter != (before + 1) & 15:
            raise self._fail(f"PID {pid:#x} counter {counter} after {before}")
        self._repeated.discard(pid)
        return False

    def _unwrapped(self, value: int) -> int:
        if self._reference < 0:
            self._reference = value
        return ((value - self._reference + _HALF) & _MASK) - _HALF + self._reference

    def _clock(self, pid: int, pcr: int) -> None:
        if pid != self.pcr_pid:
            raise self._fail(f"PCR on PID {pid:#x}, the map says {self.pcr_pid:#x}")
        time = self._unwrapped(pcr)
        if self.pcrs and not self._new_clock:
            step = time - self.pcrs[-1][1]
            if not 0 <= step <= self.max_pcr_spacing:
                raise self._fail(f"PCR {step} ticks after the one before")
        self._new_clock = False
        self.pcrs.append((self.packets, time))

    def _table_bytes(self, pid: int, payload: bytes, start: bool) -> None:
        unit = self._units.get(pid)
        if start:
            if payload[0]:
                raise self._fail("pointer field")
            if pid == _PAT_PID:
                self.tables.append(self.packets)
            unit = self._units[pid] = _Unit(bytearray(payload[1:]), False, False, self.packets)
        elif unit is None:
            raise self._fail(f"PID {pid:#x} begins amid a section")
        else:
            unit.data += payload
        size = 3 + ((unit.data[1] & 0x0F) << 8 | unit.data[2])
        if len(unit.data) < size:
            return
        section, rest = bytes(unit.data[:size]), unit.data[size:]
        del self._units[pid]
        if rest.strip(b"\xff"):
            raise self._fail("bytes behind the section are not 0xFF")
        if _crc(section):
            raise self._fail(f"CRC of the section on PID {pid:#x}")
        self._section(pid, section)

    def _section(self, pid: int, section: bytes) -> None:
        expected = {_PAT_PID: 0x00, _SDT_PID: 0x42}.get(pid, 0x02)
        if section[0] != expected or not section[5] & 1 or section[6] or section[7]:
            raise self._fail(f"section header {section[:8].hex()}")
        body = section[8:-4]
        if pid == _PAT_PID:
            self.pmt_pid = (body[2] & 0x1F) << 8 | body[3]
        elif pid == _SDT_PID:
            self._service(body)
        else:
            self._map(section[5] >> 1 & 0x1F, body)

    def _map(self, version: int, body: bytes) -> None:
        streams: dict[int, int] = {}
        at = 4 + ((body[2] & 0x0F) << 8 | body[3])
        while at < len(body):
            streams[(body[at + 1] & 0x1F) << 8 | body[at + 2]] = body[at]
            at += 5 + ((body[at + 3] & 0x0F) << 8 | body[at + 4])
        if at != len(body):
            raise self._fail("PMT descriptors pass its end")
        if self.versions and self.versions[-1] == version and streams != self.streams:
            raise self._fail("PMT changed without a new version")
        if not self.versions or self.versions[-1] != version:
            self.versions.append(version)
        self.pcr_pid = (body[0] & 0x1F) << 8 | body[1]
        self.streams = streams

    def _service(self, body: bytes) -> None:
        at = 3 + 5 + 3
        provider = body[at + 1 : at + 1 + body[at]]
        at += 1 + body[at]
        name = body[at + 1 : at + 1 + body[at]]
        self.service = (provider.lstrip(b"\x15").decode(), name.lstrip(b"\x15").decode())

    def _stream_bytes(self, pid: int, payload: bytes, start: bool, flags: int) -> None:
        if start:
            self._complete(pid)
            mark = bool(flags & 0x80)
            self._units[pid] = _Unit(bytearray(payload), bool(flags & 0x40), mark, self.packets)
            return
        unit = self._units.get(pid)
        if unit is None:
            raise self._fail(f"PID {pid:#x} begins amid a PES packet")
        unit.data += payload
        unit.packets += 1

    def _complete(self, pid: int) -> None:
        unit = self._units.pop(pid, None)
        if unit is None:
            return
        if pid not in self.streams:
            if pid in (_PAT_PID, _SDT_PID, self.pmt_pid):
                raise self._fail(f"section on PID {pid:#x} is cut off")
            return
        data = unit.data
        if data[:3] != b"\x00\x00\x01" or data[6] & 0xC0 != 0x80:
            raise self._fail(f"PES header {bytes(data[:9]).hex()}")
        length = data[4] << 8 | data[5]
        if length and length != len(data) - 6:
            raise self._fail(f"PES length {length} with {len(data) - 6} bytes")
        if not length and data[3] & 0xF0 != 0xE0:
            raise self._fail("PES length 0 outside video")
        which = data[7] >> 6
        if which not in (2, 3):
            raise self._fail("PES packet without PTS")
        pts = self._unwrapped(self._time(data[9:14], which))
        dts = self._unwrapped(self._time(data[14:19], 1)) if which == 3 else pts
        if dts > pts:
            raise self._fail(f"DTS {dts} after PTS {pts}")
        if self.pcr_lead_required:
            before = bisect_right(self.pcrs, unit.at, key=_packet_number)
            if not before or self.pcrs[before - 1][1] > dts:
                raise self._fail(f"PID {pid:#x}: DTS {dts} without a PCR or behind it")
        self.pes.append(
            TsPes(
                pid=pid,
                pts=pts,
                dts=dts,
                payload=bytes(data[9 + data[8] :]),
                key=unit.key,
                packets=unit.packets,
                discontinuity=unit.discontinuity,
                at=unit.at,
            )
        )

    def _time(self, data: bytearray, prefix: int) -> int:
        if data[0] >> 4 != prefix or not data[0] & data[2] & data[4] & 1:
            raise self._fail(f"PES time {data.hex()}")
        return (data[0] >> 1 & 7) << 30 | data[1] << 22 | data[2] >> 1 << 15 | data[3] << 7 | data[4] >> 1


def read_ts(data: bytes, *, max_pcr_spacing: int = 9000, pcr_lead_required: bool = True) -> TsReader:
    """Read a whole transport stream strictly.

    @raise TsError: for the first rule it breaks.
    """
    reader = TsReader(max_pcr_spacing=max_pcr_spacing, pcr_lead_required=pcr_lead_required)
    return reader.feed(data).finish()


def _packet_number(pcr: tuple[int, int]) -> int:
    return pcr[0]


def _crc(data: bytes) -> int:
    """CRC-32/MPEG-2, bit by bit."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte << 24
        for _ in range(8):
            crc = (crc << 1 ^ (0x04C11DB7 if crc & 0x80000000 else 0)) & 0xFFFFFFFF
    return crc
