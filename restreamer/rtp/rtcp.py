"""RTCP: sender and receiver reports, goodbyes (RFC 3550 section 6)."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Final

from attrs import frozen

from restreamer.errors import RemoteProtocolError
from restreamer.media.timebase import TICKS_PER_SECOND

SENDER_REPORT: Final = 200
RECEIVER_REPORT: Final = 201
DESCRIPTION: Final = 202
BYE: Final = 203

#: Seconds from the NTP epoch (1900) to the Unix epoch (section 4).
NTP_OFFSET: Final = 2_208_988_800
#: Packets of one compound packet that are read; honest ones have two or three.
MAX_PACKETS: Final = 16

_HEAD: Final = struct.Struct(">BBH")
_SENDER: Final = struct.Struct(">BBHIIIIII")
_RECEIVER: Final = struct.Struct(">BBHI")
_BLOCK: Final = struct.Struct(">IB3sIIII")
_CNAME: Final = 1


@frozen
class SenderReport:
    """What a sender says of its stream (section 6.4.1).

    @ivar ssrc: of the stream. @ivar ntp: 64-bit NTP time; 0: it has no clock. @ivar timestamp: RTP time of
        that moment. @ivar packets, octets: sent so far, 32 bits.
    """

    ssrc: int
    ntp: int
    timestamp: int
    packets: int = 0
    octets: int = 0


@frozen
class ReceiverReport:
    """Somebody received (section 6.4.2); @ivar ssrc: who."""

    ssrc: int


@frozen
class Goodbye:
    """Sources that have ended (section 6.6); @ivar ssrcs: which."""

    ssrcs: tuple[int, ...]


@frozen(kw_only=True)
class ReceptionBlock:
    """What a receiver tells about one source (section 6.4.1).

    @ivar lost_share: share lost since the last report, of 256; @ivar lost: in all, may be negative.
    @ivar highest: extended sequence number; @ivar jitter: in timestamp units.
    @ivar last_report: middle 32 bits of the NTP time of the newest sender report; @ivar delay: since it came,
        in units of 1/65536 s.
    """

    ssrc: int
    lost_share: int
    lost: int
    highest: int
    jitter: int
    last_report: int
    delay: int


RtcpPacket = SenderReport | ReceiverReport | Goodbye


def ntp_of_ticks(ticks: int) -> int:
    """The 64-bit NTP time of UTC C{ticks}."""
    seconds, rest = divmod(ticks, TICKS_PER_SECOND)
    return (seconds + NTP_OFFSET & 0xFFFFFFFF) << 32 | (rest << 32) // TICKS_PER_SECOND


def ticks_of_ntp(ntp: int) -> int:
    """UTC ticks of a 64-bit NTP time, to the nearest."""
    whole = (ntp >> 32) - NTP_OFFSET
    return whole * TICKS_PER_SECOND + ((ntp & 0xFFFFFFFF) * TICKS_PER_SECOND + (1 << 31) >> 32)


def parse_rtcp(data: bytes) -> list[RtcpPacket]:
    """Read a compound packet; kinds that mean nothing to us are passed over.

    @raise RemoteProtocolError: another version, a length that does not fit, more than L{MAX_PACKETS}.
    """
    found: list[RtcpPacket] = []
    at, size, count = 0, len(data), 0
    if size < 4:
        raise RemoteProtocolError("RTCP", f"packet of {size} bytes")
    while at < size:
        count += 1
        if size - at < 4 or count > MAX_PACKETS:
            raise RemoteProtocolError("RTCP", f"{size - at} bytes behind packet {count - 1}")
        first, kind, words = _HEAD.unpack_from(data, at)
        end = at + 4 + 4 * words
        if first >> 6 != 2 or end > size:
            raise RemoteProtocolError("RTCP", f"version {first >> 6}, {end - at} bytes with {size - at} left")
        if kind == SENDER_REPORT and words >= 6:
            _, _, _, ssrc, high, low, timestamp, packets, octets = _SENDER.unpack_from(data, at)
            found.append(SenderReport(ssrc, high << 32 | low, timestamp, packets, octets))
        elif kind == RECEIVER_REPORT and words >= 1:
            found.append(ReceiverReport(int.from_bytes(data[at + 4 : at + 8], "big")))
        elif kind == BYE:
            sources = first & 0x1F
            if sources > words:
                raise RemoteProtocolError("RTCP", f"goodbye of {sources} sources in {words} words")
            found.append(Goodbye(struct.unpack_from(f">{sources}I", data, at + 4)))
        at = end
    return found


def sender_report(ssrc: int, ntp: int, timestamp: int, packets: int, octets: int, cname: bytes) -> bytes:
    """A compound packet of a sender report and the source's name."""
    report = _SENDER.pack(
        0x80,
        SENDER_REPORT,
        6,
        ssrc,
        ntp >> 32,
        ntp & 0xFFFFFFFF,
        timestamp & 0xFFFFFFFF,
        packets & 0xFFFFFFFF,
        octets & 0xFFFFFFFF,
    )
    return report + _named(ssrc, cname)


def receiver_report(ssrc: int, blocks: Sequence[ReceptionBlock], cname: bytes) -> bytes:
    """A compound packet of a receiver report and the receiver's name."""
    body = b"".join(
        _BLOCK.pack(
            block.ssrc,
            block.lost_share,
            (max(-0x800000, min(0x7FFFFF, block.lost)) & 0xFFFFFF).to_bytes(3, "big"),
            block.highest & 0xFFFFFFFF,
            block.jitter & 0xFFFFFFFF,
            block.last_report,
            block.delay & 0xFFFFFFFF,
        )
        for block in blocks[:31]
    )
    head = _RECEIVER.pack(0x80 | min(31, len(blocks)), RECEIVER_REPORT, 1 + len(body) // 4, ssrc)
    return head + body + _named(ssrc, cname)


def goodbye(ssrc: int, cname: bytes) -> bytes:
    """A compound packet that ends one source."""
    return receiver_report(ssrc, (), cname) + _RECEIVER.pack(0x81, BYE, 1, ssrc)


def _named(ssrc: int, cname: bytes) -> bytes:
    """A source description that holds only the canonical name (section 6.5.1)."""
    item = ssrc.to_bytes(4, "big") + bytes((_CNAME, len(cname))) + cname
    item += bytes(4 - len(item) % 4)
    return _HEAD.pack(0x81, DESCRIPTION, len(item) // 4) + item
