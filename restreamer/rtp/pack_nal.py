"""NAL units into RTP payloads: H.264 (RFC 6184) and HEVC (RFC 7798), packetization mode 1.

A NAL unit goes alone where it fits, in fragmentation units where not; the parameter sets go before every
random access picture in one aggregation packet, so that a receiver may begin anywhere.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Final

from restreamer.errors import MediaError
from restreamer.media.h264 import parse_avcc
from restreamer.media.hevc import parse_hvcc
from restreamer.media.track import Track
from restreamer.rtp.packet import MAX_PAYLOAD

#: What goes into one packet behind its header: a few bytes of the payload format, then a part of the frame.
Piece = tuple[bytes, bytes | memoryview]

_LENGTH: Final = struct.Struct(">I").unpack_from
_STAP_A: Final = 24
_FU_A: Final = 28
_HEVC_AP: Final = 48
_HEVC_FU: Final = 49


class H264Packer:
    """Access units behind 4-byte lengths as payloads of RFC 6184.

    @ivar clock: Hz of the RTP clock.
    """

    clock = 90_000

    def __init__(self, track: Track) -> None:
        """@raise MediaError: the configuration cannot be read."""
        config = parse_avcc(track.config)
        sets = (*config.sps, *config.pps)
        highest = max(nal[0] & 0x60 for nal in sets)
        self._sets = _aggregated(bytes((highest | _STAP_A,)), sets)

    def pieces(self, data: bytes, key: bool) -> list[Piece]:
        """The payloads of one access unit, none of them empty."""
        found: list[Piece] = []
        if key:
            if self._sets is None:
                raise MediaError("parameter sets do not fit one packet")
            found.append((b"", self._sets))
        view = memoryview(data)
        at, end = 0, len(data)
        while at + 4 < end:
            size = _LENGTH(data, at)[0]
            at += 4
            stop = min(at + size, end)
            if size <= MAX_PAYLOAD:
                found.append((b"", view[at:stop]))
            else:
                header = data[at]
                _fragments(found, bytes((header & 0xE0 | _FU_A,)), header & 0x1F, view[at + 1 : stop])
            at = stop
        return found


class HevcPacker:
    """Access units behind 4-byte lengths as payloads of RFC 7798, without DONL.

    @ivar clock: Hz of the RTP clock.
    """

    clock = 90_000

    def __init__(self, track: Track) -> None:
        """@raise MediaError: the configuration cannot be read."""
        config = parse_hvcc(track.config)
        self._sets = _aggregated(bytes((_HEVC_AP << 1, 1)), (*config.vps, *config.sps, *config.pps))

    def pieces(self, data: bytes, key: bool) -> list[Piece]:
        """The payloads of one access unit, none of them empty."""
        found: list[Piece] = []
        if key:
            if self._sets is None:
                raise MediaError("parameter sets do not fit one packet")
            found.append((b"", self._sets))
        view = memoryview(data)
        at, end = 0, len(data)
        while at + 4 < end:
            size = _LENGTH(data, at)[0]
            at += 4
            stop = min(at + size, end)
            if size <= MAX_PAYLOAD or size < 3:
                found.append((b"", view[at:stop]))
            else:
                head = bytes((data[at] & 0x81 | _HEVC_FU << 1, data[at + 1]))
                _fragments(found, head, data[at] >> 1 & 0x3F, view[at + 2 : stop])
            at = stop
        return found


def _fragments(found: list[Piece], head: bytes, kind: int, body: memoryview) -> None:
    """Fragmentation units of one NAL unit (RFC 6184 section 5.8, RFC 7798 section 4.4.3)."""
    room = MAX_PAYLOAD - len(head) - 1
    end = len(body)
    at = 0
    flag = 0x80
    while end - at > room:
        found.append((head + bytes((flag | kind,)), body[at : at + room]))
        at += room
        flag = 0
    found.append((head + bytes((0x40 | kind,)), body[at:]))


def _aggregated(head: bytes, nals: Sequence[bytes]) -> bytes | None:
    """One aggregation packet (RFC 6184 section 5.7.1, RFC 7798 section 4.4.2); None: they do not fit it."""
    packet = head + b"".join(len(nal).to_bytes(2, "big") + nal for nal in nals)
    return packet if len(packet) <= MAX_PAYLOAD else None
