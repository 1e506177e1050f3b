"""RTP payloads into access units of H.264 (RFC 6184) and HEVC (RFC 7798), every packetization mode without
interleaving.

An access unit ends with the marked packet, or where the time changes. One that lacks a part is left out
whole: what a decoder makes of half a picture is worse than the picture before. Two fields of one
frame of H.264 are given as one, with the time of the first.
"""

from __future__ import annotations

from typing import Final

from typing_extensions import override

from restreamer.media.h264 import MAX_NALS, split_annexb
from restreamer.media.paired_units import PairedUnits
from restreamer.media.video_units import H264Units, HevcUnits, Unit

#: Bytes of one access unit: as much as an ingest takes of one frame.
MAX_UNIT: Final = 8 * 1024 * 1024

#: An access unit with its RTP time, and how much later it is than that, in units of the RTP clock.
TimedUnit = tuple[int, int, Unit]

_STAP_A: Final = 24
_FU_A: Final = 28
_HEVC_AP: Final = 48
_HEVC_FU: Final = 49
_HEVC_PACI: Final = 50


class _NalUnpacker:
    """What both formats have in common. @ivar dropped: access units left out."""

    #: Bytes before the first length in an aggregation.
    _aggregate_head: int

    def __init__(self, units: H264Units | HevcUnits) -> None:
        self._units = units
        self._fields: PairedUnits[int] = PairedUnits()
        self._nals: list[bytes] = []
        self._size = 0
        self._timestamp = 0
        self._fragment: bytearray | None = None
        self._damaged = False
        self.dropped = 0

    @property
    def track_known(self) -> bool:
        """Whether the track's configuration is known already."""
        return self._units.track is not None

    def packet(self, payload: bytes, marker: bool, timestamp: int, lost: bool) -> list[TimedUnit]:
        """Take one payload; the access units that are whole with it.

        @param lost: packets before this one are missing.
        """
        found: list[TimedUnit] = []
        if timestamp != self._timestamp:
            self._finish(found)
            self._timestamp = timestamp
        if lost and (self._nals or self._fragment is not None):
            self._damaged = True
            self._fragment = None
        if not payload or not self._payload(payload):
            self._damaged = True
            self._fragment = None
        if marker:
            self._finish(found)
        return found

    def _payload(self, payload: bytes) -> bool:
        """Take the NAL units of C{payload}; False: something of them is missing."""
        raise NotImplementedError

    def _whole(self, nal: bytes) -> bool:
        self._size += len(nal)
        if self._size > MAX_UNIT or len(self._nals) >= MAX_NALS:
            return False
        self._nals.append(nal)
        return True

    def _aggregated(self, payload: bytes) -> bool:
        at, end = self._aggregate_head, len(payload)
        while at + 2 <= end:
            size = payload[at] << 8 | payload[at + 1]
            at += 2
            if not size or at + size > end or not self._whole(payload[at : at + size]):
                return False
            at += size
        return at == end

    def _part(self, head: bytes, flags: int, body: bytes) -> bool:
        """A fragment. @param head: the NAL unit's own header. @param flags: S and E bits."""
        if flags & 0x80:
            if self._fragment is not None:
                return False
            self._fragment = bytearray(head)
        fragment = self._fragment
        if fragment is None or len(fragment) + len(body) > MAX_UNIT:
            return False
        fragment += body
        if flags & 0x40:
            self._fragment = None
            return self._whole(bytes(fragment))
        return True

    def _finish(self, found: list[TimedUnit]) -> None:
        nals, self._nals = self._nals, []
        damaged = self._damaged or self._fragment is not None
        self._fragment = None
        self._damaged = False
        self._size = 0
        if not nals and not damaged:
            return
        if damaged:
            self.dropped += 1
            found += [(timestamp, 0, unit) for timestamp, unit in self._fields.flush()]
            return
        unit = self._units.unit(nals)
        if unit is None:
            return
        if unit.field is None and not self._fields.holds:
            found.append((self._timestamp, 0, unit))
            return
        for timestamp, each in self._fields.take(self._timestamp, unit):
            found.append((timestamp, 0, each))


class H264Unpacker(_NalUnpacker):
    """Single NAL units, STAP-A, FU-A (RFC 6184 sections 5.6 to 5.8); start codes that do not belong are
    taken out.
    """

    _aggregate_head = 1

    def __init__(self, units: H264Units) -> None:
        """Give access units to C{units}."""
        super().__init__(units)

    @override
    def _payload(self, payload: bytes) -> bool:
        kind = payload[0] & 0x1F
        if kind == _FU_A:
            if len(payload) < 3:
                return False
            return self._part(bytes((payload[0] & 0xE0 | payload[1] & 0x1F,)), payload[1], payload[2:])
        if self._fragment is not None:
            return False
        if kind == _STAP_A:
            return len(payload) > 3 and self._aggregated(payload)
        if 1 <= kind < _STAP_A:
            return self._whole(payload)
        if not kind and payload.startswith((b"\x00\x00\x01", b"\x00\x00\x00\x01")):
            return all(self._whole(nal) for nal in split_annexb(payload))
        # Interleaved modes (STAP-B, MTAP, FU-B) have to be agreed on: whoever sends them did not ask.
        return False


class HevcUnpacker(_NalUnpacker):
    """Single NAL units, aggregation packets and fragments (RFC 7798 section 4.4), without DONL."""

    _aggregate_head = 2

    def __init__(self, units: HevcUnits) -> None:
        """Give access units to C{units}."""
        super().__init__(units)

    @override
    def _payload(self, payload: bytes) -> bool:
        if len(payload) < 3:
            return False
        kind = payload[0] >> 1 & 0x3F
        if kind == _HEVC_FU:
            if len(payload) < 4:
                return False
            head = bytes((payload[0] & 0x81 | (payload[2] & 0x3F) << 1, payload[1]))
            return self._part(head, payload[2], payload[3:])
        if self._fragment is not None:
            return False
        if kind == _HEVC_AP:
            return self._aggregated(payload)
        return kind < _HEVC_PACI and self._whole(payload)
