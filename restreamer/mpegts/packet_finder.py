"""Finding transport packets in a stream of bytes: their size, their place, and again after damage (pure).

Packets are 188 bytes; 204 with the parity of DVB behind them (ETSI EN 300 429), 192 with a clock before them.
"""

from __future__ import annotations

from typing import Final

from restreamer.errors import RemoteProtocolError
from restreamer.mpegts.packet import PACKET_SIZE, SYNC_BYTE

#: Distances from packet to packet, as they are looked for.
DISTANCES: Final = (PACKET_SIZE, 204, 192)
#: Packets in a row that must begin with a sync byte before they are believed.
_AGREEING: Final = 4
#: Bytes in which no packets were found: this is no transport stream.
MAX_WITHOUT: Final = 204 * 1000


class PacketFinder:
    """Gives whole packets.

    @ivar skipped: bytes passed over in search of packets. @ivar losses: how often they had to be found again.
    """

    def __init__(self) -> None:
        self._rest = b""
        self._beyond = 0
        self._distance = 0
        self._without = 0
        self.skipped = 0
        self.losses = 0

    def receive(self, data: bytes) -> tuple[bytes, list[int]]:
        """Take bytes of the stream.

        @return: some bytes, and the places in them where whole packets of 188 bytes begin.
        @raise RemoteProtocolError: no packets were found for too long.
        """
        if self._rest:
            data = self._rest + data
        size = len(data)
        places: list[int] = []
        at = self._beyond
        while at < size:
            distance = self._distance
            if not distance:
                at = self._find(data, at)
                distance = self._distance
                if not distance:
                    break
            last = size - PACKET_SIZE
            if at <= last and data[at : last + 1 : distance].count(SYNC_BYTE) == (last - at) // distance + 1:
                # All of them are where they should be: the ordinary case.
                places.extend(range(at, last + 1, distance))
                at = places[-1] + distance
            else:
                while at <= last and data[at] == SYNC_BYTE:
                    places.append(at)
                    at += distance
            if at > last:
                break
            self.losses += 1
            self._distance = 0
        # What stands between two packets may not have come yet.
        self._beyond = max(0, at - size)
        self._rest = data[at:]
        return data, places

    def _find(self, data: bytes, at: int) -> int:
        """Look for packets from C{at} on; the distance is set when they are found.

        @return: where the first one begins, or where to look on when there is more.
        """
        size = len(data)
        begin = at
        while True:
            at = data.find(SYNC_BYTE, at)
            if at < 0:
                at = size
                break
            undecided = False
            for distance in DISTANCES:
                end = at + distance * (_AGREEING - 1)
                if end >= size:
                    undecided = True
                elif all(data[place] == SYNC_BYTE for place in range(at + distance, end + 1, distance)):
                    self._note(at - begin)
                    self._distance = distance
                    self._without = 0
                    return at
            if undecided:
                break
            at += 1
        self._note(at - begin)
        if self._without > MAX_WITHOUT:
            raise RemoteProtocolError("MPEG-TS", f"no packets in {self._without} bytes")
        return at

    def _note(self, skipped: int) -> None:
        self.skipped += skipped
        self._without += skipped
