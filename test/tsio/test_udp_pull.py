"""Pulls of transport streams in datagrams, over real sockets of this machine."""

from __future__ import annotations

import socket
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.trial.unittest import TestCase
from typing_extensions import override

from restreamer.mpegts.segment_muxer import mux_segment
from restreamer.sources.pull import PullTarget
from restreamer.testing.media import aac_track, h264_track, make_frames
from restreamer.tsio.udp_pull import TsUdpPull, without_rtp
from test.tsio.sinks import KeepingSink

FRAMES = make_frames(2.0)
STREAM = mux_segment((h264_track(), aac_track()), FRAMES)
DATAGRAMS = [STREAM[at : at + 1316] for at in range(0, len(STREAM), 1316)]


def free_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class UdpPulls(TestCase):
    timeout = 10

    @override
    def setUp(self) -> None:
        self.sink = KeepingSink()
        self.lost: list[str] = []
        self.sending = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.addCleanup(self.sending.close)

    def pull(self, host: str, port: int, interface: str = "") -> TsUdpPull:
        options = {"interface": interface} if interface else {}
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

    def test_rtp(self) -> None:
        body = DATAGRAMS[0]
        self.assertEqual(without_rtp(body), body)
        self.assertEqual(without_rtp(b"\x80\x21" + bytes(10) + body), body)
        self.assertEqual(
            without_rtp(b"\x92\xa1" + bytes(18) + b"\x00\x00\x00\x01" + bytes(4) + body)[-len(body) :], body
        )
        for short in (b"", b"\x80\x21", b"\xbf\x21" + bytes(10), b"\x90\x21" + b"\xff" * 20):
            without_rtp(short)
