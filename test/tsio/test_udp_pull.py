"""Pulls of transport streams in datagrams, over real sockets of this machine."""

from __future__ import annotations

import socket
import struct
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock, deferLater
from twisted.logger import capturedLogs, formatEvent
from twisted.trial.unittest import SkipTest, TestCase
from typing_extensions import override

from restreamer.mpegts.packet import PacketWriter
from restreamer.mpegts.psi import ProgramStream, crc32_mpeg, pat_section, pmt_body, pmt_section
from restreamer.mpegts.segment_muxer import mux_segment
from restreamer.sources.pull import PullTarget
from restreamer.testing.media import aac_track, h264_track, make_frames
from restreamer.tsio.udp_pull import TsUdpPull, rtp_of
from test.tsio.sinks import KeepingSink

FRAMES = make_frames(2.0)
STREAM = mux_segment((h264_track(), aac_track()), FRAMES)
DATAGRAMS = [STREAM[at : at + 1316] for at in range(0, len(STREAM), 1316)]


def free_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Closing:
    """A port that only closes."""

    def stopListening(self) -> None:  # noqa: N802
        """Nothing was open."""


class UdpPulls(TestCase):
    timeout = 10

    @override
    def setUp(self) -> None:
        self.sink = KeepingSink()
        self.lost: list[str] = []
        self.sending = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.addCleanup(self.sending.close)

    def pull(self, host: str, port: int, interface: str = "", **more: str) -> TsUdpPull:
        options = {"interface": interface, **more} if interface else more
        target = PullTarget(shown="udp://", scheme="udp", host=host, port=port, options=options)
        pulling = TsUdpPull(target, self.sink, self.lost.append, reactor)
        self.addCleanup(pulling.stop)
        return pulling

    async def until(self, done: Any) -> None:
        while not done():
            await deferLater(reactor, 0.005, lambda: None)

    async def send(self, to: tuple[str, int], datagrams: list[bytes]) -> None:
        for number, datagram in enumerate(datagrams):
            self.sending.sendto(datagram, to)
            if number % 16 == 15:
                await deferLater(reactor, 0.001, lambda: None)

    def test_unicast(self) -> Deferred[None]:
        async def run() -> None:
            port = free_port()
            pulling = self.pull("127.0.0.1", port)
            await self.send(("127.0.0.1", port), DATAGRAMS)
            await self.until(lambda: len(self.sink.frames) >= len(FRAMES) - 1)
            await pulling.stop()
            self.assertEqual((self.lost, self.sink.ends), ([], ["stopped"]))

        return Deferred.fromCoroutine(run())

    def test_faster_than_any_stream(self) -> None:
        """Datagrams cannot be left unread: those beyond the rate are dropped, and counted."""
        clock = Clock()
        clock.adoptDatagramPort = lambda *args, **more: Closing()  # type: ignore[attr-defined]
        target = PullTarget(shown="udp://", scheme="udp", host="127.0.0.1", port=free_port())
        pulling = TsUdpPull(target, self.sink, self.lost.append, clock)
        self.addCleanup(pulling.stop)
        null = (b"\x47\x1f\xff\x10" + b"\xff" * 184) * 7
        for _ in range(30_000):
            pulling.datagramReceived(null, ("192.0.2.9", 5000))
        rushed = self.sink.counts()["rushed_packets"]
        self.assertTrue(10_000 < rushed < 20_000, rushed)
        clock.advance(1)
        pulling.datagramReceived(null, ("192.0.2.9", 5000))
        self.assertEqual(self.sink.counts()["rushed_packets"], rushed)

    def test_nothing_is_said_of_ports(self) -> Deferred[None]:
        """An input that is tried for ever writes no line for each try."""

        async def run() -> None:
            with capturedLogs() as logs:
                await self.pull("127.0.0.1", free_port()).stop()
            self.assertEqual([text for text in map(formatEvent, logs) if text], [])

        return Deferred.fromCoroutine(run())

    def test_multicast_by_interface(self) -> Deferred[None]:
        async def run() -> None:
            port = free_port()
            self.sending.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton("127.0.0.1"))
            for interface in ("127.0.0.1", "lo"):
                self.sink = KeepingSink()
                pulling = self.pull("239.255.77.77", port, interface)
                await self.send(("239.255.77.77", port), DATAGRAMS)
                await self.until(lambda: len(self.sink.frames) >= len(FRAMES) - 1)
                await pulling.stop()

        return Deferred.fromCoroutine(run())

    def test_one_sender_at_a_time(self) -> Deferred[None]:
        async def run() -> None:
            port = free_port()
            self.pull("127.0.0.1", port)
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
                for number, datagram in enumerate(DATAGRAMS):
                    self.sending.sendto(datagram, ("127.0.0.1", port))
                    other.sendto(b"\x00" * 1316, ("127.0.0.1", port))
                    if number % 8 == 7:
                        await deferLater(reactor, 0.001, lambda: None)
                await self.until(lambda: len(self.sink.frames) >= len(FRAMES) - 1)

        return Deferred.fromCoroutine(run())

    def test_what_cannot_be(self) -> Deferred[None]:
        async def run() -> None:
            port = free_port()
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
                taken.bind(("127.0.0.1", port))
                self.pull("127.0.0.1", port)
                await self.until(lambda: self.lost)
            self.pull("239.255.77.77", port, "nosuchif0")
            await self.until(lambda: len(self.lost) == 2)
            self.assertTrue(all("cannot listen" in reason for reason in self.lost))

        return Deferred.fromCoroutine(run())

    def test_a_group_from_one_sender(self) -> Deferred[None]:
        """Source-specific: who is not named is not heard; the same by IPv6, where the machine has it."""

        async def run() -> None:
            port = free_port()
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
                for sending, own in ((self.sending, "127.0.0.1"), (other, "127.0.0.2")):
                    sending.bind((own, 0))
                    sending.setsockopt(
                        socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton("127.0.0.1")
                    )
                group = "232.7.7.7"
                pulling = self.pull(group, port, "lo", sources="127.0.0.9,127.0.0.1")
                for number, datagram in enumerate(DATAGRAMS):
                    other.sendto(b"\x00" * 1316, (group, port))
                    self.sending.sendto(datagram, (group, port))
                    if number % 8 == 7:
                        await deferLater(reactor, 0.001, lambda: None)
                await self.until(lambda: len(self.sink.frames) >= len(FRAMES) - 1)
                counted = self.sink.counts()
                self.assertEqual((counted["foreign_datagrams"], counted["errors_desync"]), (0, 0))
                await pulling.stop()

        return Deferred.fromCoroutine(run())

    def test_a_group_of_ipv6_from_one_sender(self) -> Deferred[None]:
        async def run() -> None:
            port = free_port()
            try:
                sending = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
                self.addCleanup(sending.close)
                sending.bind(("::1", 0))
                index = socket.if_nametoindex("lo")
                sending.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_IF, index)
                sending.sendto(b"", ("ff31::7777", port))
            except OSError as error:
                raise SkipTest(f"no multicast by IPv6 here: {error}")
            for sources, heard in (("::1", True), ("fe80::9", False)):
                self.sink = KeepingSink()
                pulling = self.pull("ff31::7777", port, "lo", sources=sources)
                self.assertEqual(self.lost, [])
                for datagram in DATAGRAMS[:60]:
                    sending.sendto(datagram, ("ff31::7777", port))
                if heard:
                    await self.until(lambda: self.sink.frames)
                else:
                    await deferLater(reactor, 0.05, lambda: None)
                    self.assertEqual(self.sink.tables, [])
                await pulling.stop()

        return Deferred.fromCoroutine(run())

    def test_two_programs_of_one_group(self) -> Deferred[None]:
        """Two inputs take one program each of the same datagrams."""

        async def run() -> None:
            port = free_port()
            self.sending.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton("127.0.0.1"))
            first = self.sink
            one = self.pull("239.255.77.78", port, "lo", program="1")
            self.sink = KeepingSink()
            two = self.pull("239.255.77.78", port, "lo", program="2")
            await self.send(("239.255.77.78", port), two_programs())
            await self.until(lambda: len(first.frames) > 20 and len(self.sink.frames) > 20)
            tables = [[track.codec for track in sink.tables[0]] for sink in (first, self.sink)]
            self.assertEqual(tables, [["avc1"], ["mp4a"]])
            await one.stop()
            await two.stop()

        return Deferred.fromCoroutine(run())

    def test_rtp(self) -> Deferred[None]:
        """Packets change places, come twice and are lost; each is told."""

        async def run() -> None:
            port = free_port()
            pulling = self.pull("127.0.0.1", port)
            packets = [
                struct.pack(">BBHII", 0x80, 33, (65_500 + number) & 0xFFFF, number, 7) + datagram
                for number, datagram in enumerate(DATAGRAMS)
            ]
            packets[10], packets[11] = packets[11], packets[10]
            packets[20:20] = [packets[20], packets[20]]
            packets.insert(30, b"\xbf\xa1" + bytes(20))
            await self.send(("127.0.0.1", port), packets)
            await self.until(lambda: len(self.sink.frames) >= len(FRAMES) - 1)
            counted = self.sink.counts()
            self.assertEqual(
                [counted[f"{each}_packets"] for each in ("errors_lost", "late", "errors_bad")], [0, 2, 1]
            )
            self.assertEqual(counted["errors_ts_cc"], 0)
            self.sink = KeepingSink()
            await pulling.stop()
            pulling = self.pull("127.0.0.1", port)
            lost = packets[:50] + packets[53:]
            await self.send(("127.0.0.1", port), lost)
            await self.until(lambda: self.sink.counts()["errors_lost_packets"])
            self.assertEqual(self.sink.counts()["errors_lost_packets"], 3)
            await pulling.stop()

        return Deferred.fromCoroutine(run())

    def test_what_is_rtp(self) -> None:
        self.assertFalse(rtp_of(DATAGRAMS[0]))
        self.assertTrue(rtp_of(b"\x80\xa1" + bytes(10) + DATAGRAMS[0]))
        for short in (b"", b"\x80\x21", b"\x80\x60" + bytes(20)):
            self.assertFalse(rtp_of(short))


def two_programs() -> list[bytes]:
    """Pictures as program 1 and sound as program 2, in datagrams."""
    programs = b"".join(number.to_bytes(2, "big") + (0xF000 | number).to_bytes(2, "big") for number in (1, 2))
    pat = bytearray(pat_section())
    pat[8:] = programs
    pat[2] = len(pat) - 3 + 4
    data = PacketWriter(0).section(bytes(pat) + crc32_mpeg(bytes(pat)).to_bytes(4, "big"))
    for number, kind, pid in ((1, 0x1B, 0x101), (2, 0x0F, 0x202)):
        body = pmt_body(pid, [ProgramStream(stream_type=kind, pid=pid)])
        data += PacketWriter(0x1000 + number).section(pmt_section(body, 0, number))
    rows = [STREAM[at : at + 188] for at in range(0, len(STREAM), 188)]
    data += b"".join(row for row in rows if (row[1] & 0x1F) << 8 | row[2] in (0x101, 0x202))
    return [data[at : at + 1316] for at in range(0, len(data), 1316)]
