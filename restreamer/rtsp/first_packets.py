"""Where each track of a player begins: read from the very bytes it is sent first (pure).

So that what PLAY is answered with (RTP-Info, RFC 2326 section 12.33) is true, whichever entry of the shared
feed a player begins with.
"""

from __future__ import annotations

import struct
from collections.abc import Collection

from restreamer.rtp.rtcp import SENDER_REPORT

#: Number of the first packet a sender sends. Not 0: ffmpeg takes that for none, and loses the next one.
FIRST_SEQUENCE = 1

_HEAD = struct.Struct(">cBH")
_RTP = struct.Struct(">HI")
_REPORT = struct.Struct(">II")


def first_packets(data: bytes, channels: Collection[int]) -> dict[int, tuple[int, int]]:
    """Sequence number and RTP time with which each of C{channels} (of RTP) begins.

    A sender report before the first packet tells both: the packets sent so far give the next number, and its
    moment is the same for all tracks. Channels that C{data} says nothing of are left out.
    """
    found: dict[int, tuple[int, int]] = {}
    at, end = 0, len(data)
    while at + 4 <= end and len(found) < len(channels):
        _, channel, size = _HEAD.unpack_from(data, at)
        begin = at + 4
        at = begin + size
        if at > end:
            break
        own = channel & ~1
        if own in found or own not in channels:
            continue
        if not channel & 1 and size >= 12:
            found[own] = _RTP.unpack_from(data, begin + 2)
        elif channel & 1 and size >= 28 and data[begin + 1] == SENDER_REPORT:
            timestamp, packets = _REPORT.unpack_from(data, begin + 16)
            found[own] = packets + FIRST_SEQUENCE & 0xFFFF, timestamp
    return found


def split_frames(data: bytes) -> list[tuple[int, bytes]]:
    """The interleaved frames of an entry: channel and packet."""
    found = []
    at, end = 0, len(data)
    while at + 4 <= end:
        size = data[at + 2] << 8 | data[at + 3]
        found.append((data[at + 1], data[at + 4 : at + 4 + size]))
        at += 4 + size
    return found
