"""RTP payloads into temporal units of AV1 (RTP Payload Format For AV1, version 1.0, section 4)."""

from __future__ import annotations

from typing import Final

from restreamer.errors import MediaError
from restreamer.media.av1 import MAX_OBUS, read_leb128
from restreamer.media.video_units import Av1Units
from restreamer.rtp.unpack_nal import MAX_UNIT, TimedUnit

_CONTINUES: Final = 0x80
_CONTINUED: Final = 0x40


class Av1Unpacker:
    """Puts OBUs together; a temporal unit that lacks a part is left out. @ivar dropped: those."""

    def __init__(self, units: Av1Units) -> None:
        """Give temporal units to C{units}."""
        self._units = units
        self._obus: list[bytes] = []
        self._part: bytearray | None = None
        self._size = 0
        self._timestamp = 0
        self._damaged = False
        self.dropped = 0

    @property
    def track_known(self) -> bool:
        """Whether the track's configuration is known already."""
        return self._units.track is not None

    def packet(self, payload: bytes, marker: bool, timestamp: int, lost: bool) -> list[TimedUnit]:
        """Take one payload; the temporal units that are whole with it."""
        found: list[TimedUnit] = []
        if timestamp != self._timestamp:
            self._finish(found)
            self._timestamp = timestamp
        if lost and (self._obus or self._part is not None):
            self._damaged = True
            self._part = None
        if not self._payload(payload):
            self._damaged = True
            self._part = None
        if marker:
            self._finish(found)
        return found

    def _payload(self, payload: bytes) -> bool:
        """Take the elements of C{payload}; False: something is missing, or it breaks the format."""
        if len(payload) < 2:
            return False
        flags = payload[0]
        told = flags >> 4 & 3
        elements: list[bytes] = []
        at, end = 1, len(payload)
        while at < end:
            if told and len(elements) == told - 1:
                elements.append(payload[at:])
                break
            try:
                size, at = read_leb128(payload, at)
            except MediaError:
                return False
            if at + size > end or len(elements) > MAX_OBUS:
                return False
            elements.append(payload[at : at + size])
            at += size
        if told and len(elements) != told:
            return False
        if bool(flags & _CONTINUES) != (self._part is not None):
            return False
        last = len(elements) - 1
        for index, element in enumerate(elements):
            part = self._part if self._part is not None else bytearray()
            part += element
            self._size += len(element)
            if self._size > MAX_UNIT:
                return False
            self._part = part
            if index < last or not flags & _CONTINUED:
                self._part = None
                if len(self._obus) >= MAX_OBUS:
                    return False
                if part:
                    self._obus.append(bytes(part))
        return True

    def _finish(self, found: list[TimedUnit]) -> None:
        obus, self._obus = self._obus, []
        damaged = self._damaged or self._part is not None
        self._part = None
        self._damaged = False
        self._size = 0
        if not obus and not damaged:
            return
        if not damaged:
            try:
                unit = self._units.unit(obus)
            except MediaError:
                damaged = True
            else:
                if unit is not None:
                    found.append((self._timestamp, 0, unit))
        self.dropped += damaged
