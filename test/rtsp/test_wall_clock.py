"""What senders' reports say of UTC decides where runs begin, on every node alike (rows S19, C09)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from attrs import define, field
from twisted.internet.defer import succeed
from twisted.trial.unittest import SynchronousTestCase
from typing_extensions import override

from restreamer.media.frame import Frame
from restreamer.rtp.rtcp import NTP_OFFSET
from restreamer.rtsp.first_packets import split_frames
from restreamer.rtsp.play_muxer import RtspFeedMuxer, framed
from restreamer.rtsp.pull import RtspPull
from restreamer.seams import OpenRequest
from restreamer.testing.media import START, make_frames
from test.live.rig import SECOND, Origin
from test.rtsp.case import ANNOUNCED
from test.rtsp.fakes import TRACKS, FakeCore, Rig
from test.rtsp.test_pull import TARGET, Ends

_TEN_YEARS = 10 * 365 * 86_400


@define(eq=False)
class Ingesting(FakeCore):
    """Publishers get a real ingest."""

    origin: Origin = field(factory=Origin)

    @override
    def publish(self, request: OpenRequest, kick: Callable[[str], None]) -> Awaitable[Any]:
        return succeed(self.origin.publish())


def sent(frames: list[Frame], seconds: Callable[[int], int]) -> list[tuple[Frame, list[tuple[int, bytes]]]]:
    """Each frame with its packets; sender reports tell the NTP seconds that C{seconds} makes of theirs."""
    muxer = RtspFeedMuxer("t")
    muxer.configure(TRACKS, START, False)
    found = []
    for frame in frames:
        packets = []
        for channel, packet in split_frames(muxer.mux(frame)):
            if channel & 1:
                told = seconds(int.from_bytes(packet[8:12], "big"))
                packet = (
                    packet[:8] + told.to_bytes(4, "big") + (packet[12:] if told else bytes(4) + packet[16:])
                )
            packets.append((channel, packet))
        found.append((frame, packets))
    return found


class PublishedTests(SynchronousTestCase):
    """A publisher that sends the same to two nodes; nothing here is real time."""

    def recorded(
        self, late: int, seconds: Callable[[int], int] = lambda told: told, length: float = 12.0
    ) -> Origin:
        """What a node makes of it that gets each packet C{late} ticks after its frame was made."""
        core = Ingesting()
        rig, origin = Rig(core=core), core.origin
        origin.now.ticks = START + late
        peer = rig.peer()
        peer.ask("ANNOUNCE", "/pub", ANNOUNCED, Content_Type="application/sdp")
        for index in (0, 1):
            transport = f"RTP/AVP/TCP;unicast;interleaved={2 * index}-{2 * index + 1};mode=record"
            peer.ask("SETUP", f"/pub/streamid={index}", Transport=transport)
        self.assertEqual(peer.ask("RECORD", "/pub").status, 200)
        for frame, packets in sent(make_frames(length), seconds):
            step = frame.dts + late - origin.now.ticks
            if step > 0:
                rig.clock.advance(step / SECOND)
                origin.now.ticks += step
            for channel, packet in packets:
                peer.send(framed(channel, packet))
        peer.ask("TEARDOWN", "/pub")
        self.assertEqual(origin.faults, [])
        return origin

    def test_two_nodes_make_the_same_segments(self) -> None:
        """C09: the ways to them differ by 300 ms, and both date every frame as its source does."""
        near, far = self.recorded(SECOND // 50), self.recorded(SECOND * 32 // 100)
        source = make_frames(12.0)
        self.assertEqual(near.tap.frames, far.tap.frames)
        self.assertEqual(
            sorted((frame.track_id, frame.pts) for frame in near.tap.frames),
            sorted((frame.track_id, frame.pts) for frame in source),
        )
        self.assertEqual(
            [(entry.number, entry.segment.encoded) for entry in near.closed],
            [(entry.number, entry.segment.encoded) for entry in far.closed],
        )

    def test_without_a_clock(self) -> None:
        """Reports with NTP 0 date nothing: the arrival counts."""
        first = self.recorded(SECOND // 2, lambda told: 0, 3.0).tap.frames[0]
        self.assertGreaterEqual(first.dts, START + SECOND // 2)
        self.assertLess(first.dts, START + 2 * SECOND)

    def test_a_clock_that_is_far_from_ours(self) -> None:
        """S19: ten years ahead, ten behind, five seconds behind, two ahead: the arrival counts."""
        for wrong in (_TEN_YEARS, -_TEN_YEARS, -5, 2, -NTP_OFFSET):

            def moved(told: int, by: int = wrong) -> int:
                return told + by & 0xFFFFFFFF

            origin = self.recorded(SECOND // 2, moved, 3.0)
            [first, *_] = origin.tap.frames
            self.assertGreaterEqual(first.dts, START + SECOND // 2, wrong)
            self.assertLess(first.dts, START + 2 * SECOND, wrong)

    def test_a_clock_a_second_behind(self) -> None:
        """C09: one that is a second wrong is kept."""
        origin = self.recorded(SECOND // 5, lambda told: told - 1, 3.0)
        self.assertEqual(origin.tap.frames[0].pts, make_frames(1.0)[0].pts - SECOND)


class PulledTests(SynchronousTestCase):
    """A server that is played from begins with a keyframe of the past."""

    def test_the_servers_date(self) -> None:
        rig = Rig(udp=False)
        ends, origin = Ends(rig), Origin()
        lost: list[str] = []
        origin.now.ticks = START + SECOND * 13 // 10
        RtspPull(TARGET, origin.publish(), lost.append, rig.clock, lambda host, port, tls: ends)  # type: ignore[arg-type,return-value]
        ends.turn()
        for frame in make_frames(2.0):
            origin.now.ticks = max(origin.now.ticks, frame.dts)
            rig.core.streams["cam"].send(frame)
            ends.turn(1)
        self.assertEqual(lost, [])
        self.assertEqual(origin.tap.frames[0].pts, make_frames(2.0)[0].pts)
