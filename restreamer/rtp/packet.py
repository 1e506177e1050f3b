"""The RTP packet (RFC 3550 section 5.1)."""

from __future__ import annotations

import struct
from typing import Final

from attrs import define

from restreamer.errors import RemoteProtocolError

#: Bytes of a header without contributing sources and extension.
HEADER_SIZE: Final = 12
#: Bytes of payload in a packet we send: with its headers it fits an Ethernet frame, tunnels included.
MAX_PAYLOAD: Final = 1388

HEADER: Final = struct.Struct(">BBHII")


@define
class RtpPacket:
    """One packet.

    @ivar payload_type: 0..127; @ivar marker: M bit. @ivar sequence: 16 bits; @ivar timestamp: 32 bits, in
        units of the payload's clock. @ivar ssrc: 32 bits. @ivar payload: without padding; may be empty.
    """

    payload_type: int
    marker: bool
    sequence: int
    timestamp: int
    ssrc: int
    payload: bytes


def parse_rtp(data: bytes) -> RtpPacket:
    """Read a packet; contributing sources and the extension are passed over.

    @raise RemoteProtocolError: another version, or something that is longer than the packet.
    """
    size = len(data)
    if size < HEADER_SIZE:
        raise RemoteProtocolError("RTP", f"packet of {size} bytes")
    first, second, sequence, timestamp, ssrc = HEADER.unpack_from(data)
    if first >> 6 != 2:
        raise RemoteProtocolError("RTP", f"version {first >> 6}")
    at = HEADER_SIZE + 4 * (first & 0x0F)
    if first & 0x10:
        if at + 4 > size:
            raise RemoteProtocolError("RTP", "extension header behind the end of the packet")
        at += 4 + 4 * int.from_bytes(data[at + 2 : at + 4], "big")
    end = size
    if first & 0x20:
        padding = data[-1]
        if not padding:
            raise RemoteProtocolError("RTP", "padding of 0 bytes")
        end -= padding
    if at > end:
        raise RemoteProtocolError("RTP", f"header and padding are longer than the packet of {size} bytes")
    return RtpPacket(second & 0x7F, second >= 0x80, sequence, timestamp, ssrc, data[at:end])
