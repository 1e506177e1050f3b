"""Temporal units of AV1 into RTP payloads (RTP Payload Format For AV1, version 1.0).

Every OBU goes without its size field behind a length of its own (W = 0), and continues in the next packet
where it does not fit.
"""

from __future__ import annotations

from typing import Final

from restreamer.errors import MediaError
from restreamer.media.av1 import (
    SEQUENCE_HEADER,
    TEMPORAL_DELIMITER,
    TILE_LIST,
    leb128,
    obu_type,
    sequence_header_of,
    split_obus,
    without_size,
)
from restreamer.media.track import Track
from restreamer.rtp.pack_nal import Piece
from restreamer.rtp.packet import MAX_PAYLOAD

_CONTINUES: Final = 0x80
_CONTINUED: Final = 0x40
_NEW_SEQUENCE: Final = 0x08
#: An element of fewer bytes is not begun at the end of a packet.
_LEAST: Final = 4


class Av1Packer:
    """Temporal units as payloads (section 4.4).

    @ivar clock: Hz of the RTP clock.
    """

    clock = 90_000

    def __init__(self, track: Track) -> None:
        """The sequence header of the configuration goes before keyframes that have none."""
        try:
            self._header = without_size(sequence_header_of(track.config))
        except MediaError:
            self._header = b""

    def pieces(self, data: bytes, key: bool) -> list[Piece]:
        """The payloads of one temporal unit.

        @raise MediaError: it cannot be taken apart.
        """
        found: list[Piece] = []
        packet = bytearray((_NEW_SEQUENCE if key else 0,))
        for obu in self._elements(data, key):
            at, size = 0, len(obu)
            while at < size:
                room = MAX_PAYLOAD - len(packet) - 2
                if room < min(_LEAST, size - at):
                    found.append((b"", bytes(packet)))
                    packet = bytearray((_CONTINUES if at else 0,))
                    continue
                part = obu[at : at + room]
                packet += leb128(len(part))
                packet += part
                at += len(part)
                if at < size:
                    packet[0] |= _CONTINUED
                    found.append((b"", bytes(packet)))
                    packet = bytearray((_CONTINUES,))
        if len(packet) > 1:
            found.append((b"", bytes(packet)))
        return found

    def _elements(self, data: bytes, key: bool) -> list[bytes]:
        """The OBUs without size fields; delimiters and tile lists are not sent (section 5)."""
        obus = split_obus(data)
        found = [without_size(obu) for obu in obus if obu_type(obu) not in (TEMPORAL_DELIMITER, TILE_LIST)]
        if key and self._header and not any(obu_type(obu) == SEQUENCE_HEADER for obu in obus):
            found.insert(0, self._header)
        return found
