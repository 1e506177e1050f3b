"""A stream sent in datagrams: over a real socket, and over one that fails (row S23)."""

from __future__ import annotations

import errno
import socket
from itertools import pairwise
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.error import DNSLookupError
from twisted.internet.task import Clock, deferLater
from twisted.trial.unittest import SynchronousTestCase, TestCase
from typing_extensions import override

from restreamer.live.push_target import PushTarget
from restreamer.live.stream import Stream
from restreamer.live.window import LiveWindow
from restreamer.m4f.records import RunInfo
from restreamer.m4f.segment import SegmentOpening
from restreamer.media.frame import Frame
from restreamer.media.timebase import TICKS_PER_SECOND
from restreamer.media.track import Tracks
from restreamer.testing.media import START, aac_track, h264_track, make_frames
from restreamer.tsio.udp_push import UdpPush
from restreamer.tsio.udp_sender import UdpSender
from test.mpegts.test_demux import facts, read
from test.tsio.test_pacer import clocks
from test.tsio.test_udp_pull import free_port

BOTH: Tracks = (h264_track(), aac_track())


class Source:
    """A stream that frames are given to by hand."""

    def __init__(self) -> None:
        self.stream = Stream("cam", LiveWindow(10))
        self.number = 0

    def begin(self, tracks: Tracks = BOTH, start: int = START, discontinuity: bool = False) -> None:
        self.number += 1
        run = RunInfo(run_id=self.number, run_start=start, ingest_node=b"n" * 16, path=(b"n" * 16,))
        self.writer = self.stream.begin_run(run, 5 * TICKS_PER_SECOND, local=True)
        self.writer.open(
            SegmentOpening(
                number=self.number,
                start=start,
                tracks=tracks,
                discontinuity=discontinuity,
                independent=True,
                discontinuity_sequence=0,
            )
        )

    def give(self, frame: Frame) -> None:
        self.writer.frames([frame])


def target(host: str, port: int, **options: str) -> PushTarget:
    return PushTarget(shown=f"udp://{host}", scheme="udp", host=host, port=port, options=options)


class Real(TestCase):
    timeout = 20

    def receive(self, host: str, **options: str) -> Deferred[None]:
        async def run() -> None:
            receiving = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            self.addCleanup(receiving.close)
            receiving.setblocking(False)
            receiving.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
            receiving.bind((host, 0))
            port = receiving.getsockname()[1]
            if host != "127.0.0.1":
                membership = socket.inet_aton(host) + socket.inet_aton("127.0.0.1")
                receiving.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, membership)
            source = Source()
            push = UdpPush(target(host, port, **options), "cam", lambda name: None, reactor, key=1)
            self.addCleanup(push.stop)
            frames = make_frames(1.6, gop=25)
            source.begin()
            source.stream.watch_running(push.follow)
            seconds: Any = reactor.seconds
            begin = seconds()
            got: list[tuple[float, bytes]] = []
            waiting = list(frames)
            while seconds() < begin + 2.2:
                while waiting and (waiting[0].dts - START) / TICKS_PER_SECOND <= seconds() - begin:
                    source.give(waiting.pop(0))
                await deferLater(reactor, 0.001, lambda: None)
                while True:
                    try:
                        got.append((seconds(), receiving.recv(2000)))
                    except BlockingIOError:
                        break
            data = b"".join(datagram for _, datagram in got)
            self.assertEqual(facts(read(data)[1]), facts(frames))
            found = clocks(got)
            gaps = sorted(b[0] - a[0] for a, b in pairwise(found))
            self.assertLess(gaps[len(gaps) * 9 // 10], 0.04)
            facts_now = push.facts()
            self.assertEqual((facts_now.state, facts_now.last_error), ("pushing", ""))
            self.assertEqual(facts_now.bytes, len(data))

        return Deferred.fromCoroutine(run())

    def test_unicast(self) -> Deferred[None]:
        return self.receive("127.0.0.1")

    def test_multicast_constant_rate(self) -> Deferred[None]:
        return self.receive("239.255.77.78", interface="lo", bitrate="2000", ttl="1")


class FailingSender:
    """A socket that fails when it is told to."""

    def __init__(self) -> None:
        self.bytes = self.datagrams = self.lost = 0
        self.sent: list[bytes] = []
        self.error: int = 0
        self.closed = 0

    def send(self, datagram: bytes) -> None:
        if self.error:
            raise OSError(self.error, "no")
        self.sent.append(datagram)
        self.bytes += len(datagram)

    def close(self) -> None:
        self.closed += 1


class Net(Clock):
    """Time and names."""

    answer: Any = None

    def resolve(self, host: str) -> Deferred[str]:
        return succeed("192.0.2.1") if self.answer is None else fail(self.answer)


class Failing(SynchronousTestCase):
    @override
    def setUp(self) -> None:
        self.net = Net()
        self.source = Source()
        self.sender = FailingSender()
        self.made: list[tuple[Any, ...]] = []
        self.refuses = 0

    def make(self, *place: Any) -> Any:
        self.made.append(place)
        if self.refuses:
            raise OSError(self.refuses, "no such interface")
        return self.sender

    def push(self, **options: str) -> UdpPush:
        push = UdpPush(
            target("cam.example", 5000, **options), "cam", lambda name: None, self.net, make_sender=self.make
        )
        self.addCleanup(push.stop)
        self.source.begin()
        self.source.stream.watch_running(push.follow)
        self.source.give(make_frames(0.04)[0])
        return push

    def play(self, seconds: float, start: int = START) -> None:
        for frame in make_frames(seconds, start=start, gop=25):
            wait = (frame.dts - start) / TICKS_PER_SECOND - (self.net.seconds() - self.base)
            if wait > 0:
                self.net.pump([0.01] * round(wait / 0.01))
            self.source.give(frame)
        self.net.pump([0.01] * 100)

    @property
    def base(self) -> float:
        return 0.0

    def test_an_error_backs_off_and_the_stream_goes_on(self) -> None:
        for number in (errno.EPERM, errno.ENETUNREACH):
            self.setUp()
            push = self.push()
            self.sender.error = number
            self.play(1.0)
            facts_now = push.facts()
            self.assertIn(facts_now.state, ("waiting", "connecting"))
            self.assertEqual(facts_now.bytes, 0)
            self.assertIn("cannot send", facts_now.last_error)
            self.assertLessEqual(facts_now.retries, 3)
            self.assertEqual(self.source.stream.taps, 1)
            self.sender.error = 0
            self.net.pump([0.1] * 60)
            for frame in make_frames(1.0, start=START + 8 * TICKS_PER_SECOND):
                self.source.give(frame)
            self.net.pump([0.01] * 100)
            self.assertEqual(push.facts().state, "pushing")
            self.assertGreater(push.facts().bytes, 10_000)
            push.stop()

    def test_a_full_kernel_loses_datagrams_only(self) -> None:
        sending = UdpSender("127.0.0.1", free_port(), 4, True, "")
        self.addCleanup(sending.close)
        real = sending._socket

        class Full:
            def send(self, data: bytes) -> int:
                raise OSError(errno.ENOBUFS, "full")

            def close(self) -> None:
                real.close()

        sending._socket = Full()  # type: ignore[assignment]
        sending.send(b"x")
        self.assertEqual((sending.lost, sending.bytes), (1, 0))

    def test_nobody_listens(self) -> None:
        """The kernel hands the ICMP answer to the next datagram: it is lost. A receiver may come any time."""
        port = free_port()
        sending = UdpSender("127.0.0.1", port, 4, True, "")
        self.addCleanup(sending.close)
        for _ in range(5):
            sending.send(b"x")
        self.assertGreaterEqual(sending.lost, 1)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver:
            receiver.bind(("127.0.0.1", port))
            receiver.settimeout(5)
            for _ in range(2):
                sending.send(b"here")
            self.assertEqual(receiver.recv(10), b"here")

    def test_a_receiver_that_comes_later(self) -> None:
        """Row S23: while nobody listens the push goes on and counts; who comes gets what is sent then."""
        port = free_port()
        push = UdpPush(
            PushTarget(shown="udp://x", scheme="udp", host="x", port=port),
            "cam",
            lambda name: None,
            self.net,
            make_sender=lambda host, port, *more: UdpSender("127.0.0.1", port, *more),
        )
        self.addCleanup(push.stop)
        self.source.begin()
        self.source.stream.watch_running(push.follow)
        self.play(1.0)
        facts = push.facts()
        self.assertEqual((facts.state, facts.retries, facts.last_error), ("pushing", 0, ""))
        self.assertGreater(facts.lost or 0, 10)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver:
            receiver.bind(("127.0.0.1", port))
            receiver.settimeout(5)
            lost = push.facts().lost or 0
            for frame in make_frames(1.0, start=START + TICKS_PER_SECOND, gop=25):
                self.source.give(frame)
            self.net.pump([0.01] * 100)
            self.assertGreater(len(receiver.recv(2000)), 187)
            self.assertLessEqual((push.facts().lost or 0) - lost, 1)
        push.stop()
        self.assertGreater(push.facts().lost or 0, 10, "what was lost is not forgotten")

    def test_the_name_is_gone(self) -> None:
        self.net.answer = DNSLookupError("no such host")
        push = self.push()
        self.assertEqual((push.facts().state, self.made), ("waiting", []))
        self.net.pump([1.0] * 3)
        self.net.answer = None
        self.net.pump([1.0] * 5)
        self.assertEqual(self.made, [("192.0.2.1", 5000, 4, True, "")])
        self.assertGreaterEqual(push.facts().retries, 2)

    def test_no_such_interface(self) -> None:
        self.refuses = errno.ENODEV
        push = self.push(interface="eth9")
        self.assertIn("no such interface", push.facts().last_error)
        self.net.pump([1.0] * 60)
        self.assertLess(len(self.made), 20)
        push.stop()
        push.stop()
        self.assertEqual(self.net.getDelayedCalls(), [])

    def test_the_stream_stops_and_begins(self) -> None:
        push = self.push()
        self.play(1.0)
        self.assertEqual(push.facts().state, "pushing")
        sent = push.facts().bytes
        self.source.writer.lose("gone")
        self.assertEqual((push.facts().state, push.facts().bytes), ("idle", sent))
        self.assertEqual((self.source.stream.taps, self.net.getDelayedCalls()), (0, []))
        self.source.begin(start=START + 10 * TICKS_PER_SECOND)
        self.source.give(make_frames(0.04, start=START + 10 * TICKS_PER_SECOND)[0])
        push.follow(self.source.stream)
        self.assertEqual(self.source.stream.taps, 1)
        push.stop()
        self.assertEqual((self.source.stream.taps, self.net.getDelayedCalls()), (0, []))

    def test_chosen_tracks(self) -> None:
        push = UdpPush(
            PushTarget(shown="udp://x", scheme="udp", host="x", port=1, query="tracks=a1"),
            "cam",
            lambda name: None,
            self.net,
            make_sender=self.make,
        )
        self.addCleanup(push.stop)
        self.source.begin()
        self.source.stream.watch_running(push.follow)
        self.play(1.0)
        tables, frames = read(b"".join(self.sender.sent))
        self.assertEqual([[t.codec for t in table] for table in tables], [["mp4a"]])
        self.assertGreater(len(frames), 40)

    def test_options_that_are_wrong(self) -> None:
        push = self.push(pids="pmt:1")
        self.assertIn("0x10 to 0x1ffe", push.facts().last_error)
        self.assertEqual((push.facts().state, self.source.stream.taps), ("idle", 0))
