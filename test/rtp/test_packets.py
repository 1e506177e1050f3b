"""RTP and RTCP packets: tables of RFC 3550, and whatever else the wire brings."""

from __future__ import annotations

import struct

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from restreamer.errors import RemoteProtocolError
from restreamer.rtp.packet import RtpPacket, parse_rtp
from restreamer.rtp.rtcp import (
    MAX_PACKETS,
    Goodbye,
    ReceiverReport,
    ReceptionBlock,
    SenderReport,
    goodbye,
    ntp_of_ticks,
    parse_rtcp,
    receiver_report,
    sender_report,
    ticks_of_ntp,
)

QUICK = settings(deadline=None, max_examples=200, derandomize=True)


class RtpTests(SynchronousTestCase):
    """Section 5.1."""

    def test_plain(self) -> None:
        packet = parse_rtp(bytes.fromhex("80e01234 00000064 deadbeef") + b"body")
        self.assertEqual(packet, RtpPacket(96, True, 0x1234, 100, 0xDEADBEEF, b"body"))

    def test_sources_extension_and_padding(self) -> None:
        head = struct.pack(">BBHII", 0xB2, 0x60, 7, 9, 1)
        data = head + b"csr1csr2" + struct.pack(">HH", 0xBEDE, 1) + b"exts" + b"body" + b"\x00\x00\x03"
        self.assertEqual(parse_rtp(data).payload, b"body")

    def test_refused(self) -> None:
        plain = bytes.fromhex("80600001 00000000 00000001")
        for data in (
            b"",
            plain[:11],
            b"\x40" + plain[1:] + b"x",
            b"\x8f" + plain[1:] + b"x" * 59,
            b"\x90" + plain[1:] + b"\xbe\xde\xff\xff",
            b"\x90" + plain[1:] + b"\xbe",
            b"\xa0" + plain[1:] + b"x\x09",
            b"\xa0" + plain[1:] + b"x\x00",
        ):
            with self.subTest(data=data):
                self.assertRaises(RemoteProtocolError, parse_rtp, data)

    @QUICK
    @given(st.binary(max_size=64))
    def test_anything(self, data: bytes) -> None:
        try:
            packet = parse_rtp(data)
        except RemoteProtocolError:
            return
        self.assertLessEqual(len(packet.payload), len(data) - 12)


class RtcpTests(SynchronousTestCase):
    """Section 6."""

    def test_sender_report(self) -> None:
        data = sender_report(5, 0x0123456789ABCDEF, 77, 3, 4000, b"name")
        self.assertEqual(parse_rtcp(data), [SenderReport(5, 0x0123456789ABCDEF, 77, 3, 4000)])
        self.assertEqual(len(data) % 4, 0)
        self.assertEqual(data[:4], b"\x80\xc8\x00\x06")

    def test_receiver_report(self) -> None:
        block = ReceptionBlock(
            ssrc=9, lost_share=3, lost=-1, highest=70_000, jitter=4, last_report=5, delay=65536
        )
        data = receiver_report(1, (block,), b"name")
        self.assertEqual(parse_rtcp(data), [ReceiverReport(1)])
        self.assertEqual(data[8:32].hex(), "0000000903ffffff0001117000000004000000050001" + "0000")

    def test_goodbye(self) -> None:
        self.assertEqual(parse_rtcp(goodbye(6, b"n"))[-1], Goodbye((6,)))

    def test_ntp(self) -> None:
        ticks = 1_700_000_000 * 90_000 + 12_345
        self.assertEqual(ntp_of_ticks(ticks) >> 32, 1_700_000_000 + 2_208_988_800)
        self.assertEqual(ticks_of_ntp(ntp_of_ticks(ticks)), ticks)

    @QUICK
    @given(st.integers(0, 1 << 48))
    def test_ntp_keeps_every_tick_of_an_era(self, ticks: int) -> None:
        ticks %= (2**32 - 2_208_988_800) * 90_000
        self.assertEqual(ticks_of_ntp(ntp_of_ticks(ticks)), ticks)

    def test_refused(self) -> None:
        report = sender_report(5, 1, 2, 3, 4, b"n")
        for data in (
            b"",
            b"\x80\xc8",
            report[:-1],
            b"\x40" + report[1:],
            b"\x9f\xcb\x00\x01\x00\x00\x00\x01",
        ):
            with self.subTest(data=data):
                self.assertRaises(RemoteProtocolError, parse_rtcp, data)
        self.assertRaises(RemoteProtocolError, parse_rtcp, b"\x80\xcc\x00\x00" * (MAX_PACKETS + 1))

    @QUICK
    @given(st.binary(max_size=80))
    def test_anything(self, data: bytes) -> None:
        try:
            parse_rtcp(data)
        except RemoteProtocolError:
            pass
