"""Frames sent by the live form and received again, over wires of any kind (rows S16, S19, S20)."""

from __future__ import annotations

import random
import struct

from twisted.trial.unittest import SynchronousTestCase
from typing_extensions import override

from restreamer.media.announce import NewTracks
from restreamer.media.frame import Frame
from restreamer.rtp.formats import format_of
from restreamer.rtp.incoming import MediaSection
from restreamer.rtp.receiver import MAX_REPORTS, RtpReceiver
from restreamer.rtp.rtcp import ReceiverReport, goodbye, parse_rtcp, sender_report
from restreamer.rtsp.first_packets import split_frames
from restreamer.rtsp.play_muxer import RtspFeedMuxer
from restreamer.testing.media import START, aac_track, h264_track, make_frames, video_frames

TRACKS = (h264_track(), aac_track())


def section(index: int) -> MediaSection:
    form = format_of(TRACKS[index], index)
    name, clock = form.encoding.split("/")[:2]
    parameters = dict(word.split("=", 1) for word in form.parameters.split(";"))
    return MediaSection(
        encoding=name.lower(), clock=int(clock), payload_type=form.payload_type, parameters=parameters
    )


def receiver(*indexes: int, depth: int = 0) -> RtpReceiver:
    return RtpReceiver([(index + 1, section(index)) for index in indexes or (0, 1)], depth)


def sent(frames: list[Frame]) -> list[tuple[int, bytes]]:
    """The packets of C{frames}: channel and packet."""
    muxer = RtspFeedMuxer("t")
    muxer.configure(TRACKS, START, False)
    return [each for frame in frames for each in split_frames(muxer.mux(frame))]


def _number(packet: bytes) -> int:
    return int.from_bytes(packet[2:4], "big")


class Receiving:
    """Keeps what a receiver finds."""

    def __init__(self, receiver: RtpReceiver) -> None:
        self.receiver = receiver
        self.tables: list[NewTracks] = []
        self.frames: list[Frame] = []
        self.now = 0.0

    def packets(self, packets: list[tuple[int, bytes]], step: float = 0.001) -> None:
        for channel, packet in packets:
            take = self.receiver.rtcp if channel & 1 else self.receiver.rtp
            self.note(take(channel // 2, packet, self.now))
            self.now += step

    def note(self, events: list[NewTracks | Frame]) -> None:
        for event in events:
            if isinstance(event, NewTracks):
                self.tables.append(event)
            else:
                self.frames.append(event)

    def of(self, track_id: int) -> list[Frame]:
        return [frame for frame in self.frames if frame.track_id == track_id]


class ReceiverTests(SynchronousTestCase):
    """L{RtpReceiver}."""

    @override
    def setUp(self) -> None:
        self.source = make_frames(3)
        self.packets = sent(self.source)

    def assert_same(self, got: Receiving, track_id: int, source: list[Frame]) -> None:
        frames = got.of(track_id)
        wanted = [frame for frame in source if frame.track_id == track_id]
        self.assertEqual([frame.data for frame in frames], [frame.data for frame in wanted])
        self.assertEqual([frame.key for frame in frames], [frame.key for frame in wanted])
        self.assertEqual([frame.pts for frame in frames], [frame.pts for frame in wanted])
        decoding = [frame.dts for frame in frames]
        self.assertEqual(decoding, sorted(set(decoding)))

    def test_everything_comes_out_again_with_its_wall_clock(self) -> None:
        got = Receiving(receiver())
        got.packets(self.packets)
        got.note(got.receiver.flush())
        self.assertEqual(len(got.tables), 1)
        self.assertEqual([track.codec for track in got.tables[0].tracks], ["avc1", "mp4a"])
        self.assertEqual(got.tables[0].tracks[1].config, TRACKS[1].config)
        for track_id in (1, 2):
            self.assert_same(got, track_id, self.source)
        self.assertEqual(got.receiver.utc, 0)

    def test_reordered_and_doubled_over_udp(self) -> None:
        chance = random.Random(1)
        packets = list(self.packets)
        for at in range(0, len(packets) - 4, 4):
            part = packets[at : at + 4]
            chance.shuffle(part)
            packets[at : at + 4] = part
        packets = [each for packet in packets for each in (packet, packet)[: chance.choice((1, 2))]]
        first = next(each for each in self.packets if not each[0])
        got = Receiving(receiver(depth=64))
        # Whatever comes before the packet that came first is late, on any network.
        got.packets([first, *packets])
        got.now += 1
        got.note(got.receiver.overdue(got.now))
        got.note(got.receiver.flush())
        self.assert_same(got, 1, self.source)
        self.assertEqual(got.receiver.lost, 0)

    def test_lost_packets_cost_their_frames_only(self) -> None:
        chance = random.Random(2)
        kept = [packet for packet in self.packets if packet[0] & 1 or chance.random() > 0.02]
        got = Receiving(receiver(depth=16))
        got.packets(kept)
        got.now += 1
        got.note(got.receiver.overdue(got.now))
        wanted = {frame.data for frame in self.source}
        self.assertTrue(all(frame.data in wanted for frame in got.frames))
        self.assertGreater(len(got.of(1)), 40)
        self.assertEqual(got.receiver.lost, len(self.packets) - len(kept))

    def test_times_wrap(self) -> None:
        """S19: 13.3 hours of 90 kHz."""
        start = (1 << 32) * 400_000 - 90_000
        source = video_frames(3, start=start)
        got = Receiving(receiver(0))
        got.packets([packet for packet in sent(source) if not packet[0]])
        got.note(got.receiver.flush())
        self.assertIsNone(got.receiver.utc)
        steps = [frame.pts - got.frames[0].pts for frame in got.frames]
        self.assertEqual(steps, [frame.pts - source[0].pts for frame in source])

    def test_another_source(self) -> None:
        """S19: the encoder began anew: what it sends then is taken, with the time its reports tell."""
        got = Receiving(receiver())
        got.packets(self.packets)
        later = sent(make_frames(2, start=START + 5 * 90_000))
        other = [
            (channel, packet[:8] + b"\x00\x00\x00" + bytes((channel // 2,)) + packet[12:])
            if not channel & 1
            else (channel, packet[:4] + b"\x00\x00\x00" + bytes((channel // 2,)) + packet[8:])
            for channel, packet in later
        ]
        before = len(got.frames)
        got.packets(other)
        got.now += 2
        got.note(got.receiver.overdue(got.now))
        self.assertGreater(len(got.frames) - before, 60)
        times = {frame.data: frame.pts for frame in make_frames(2, start=START + 5 * 90_000)}
        self.assertTrue(all(times.get(frame.data, frame.pts) == frame.pts for frame in got.frames[before:]))
        self.assertGreater(got.receiver.counters.foreign, 0)

    def test_bad_packets_are_counted(self) -> None:
        """S16, S20."""
        got = Receiving(receiver())
        plain = self.packets[-1][1]
        got.packets(
            [
                (0, b""),
                (0, b"\x40" + plain[1:]),
                (0, b"\x8f" + plain[1:20]),
                (0, plain[:1] + b"\x7f" + plain[2:]),
                (1, b"\x80\xc8"),
                (1, goodbye(12345, b"x")),
            ]
        )
        counters = got.receiver.counters
        self.assertEqual((counters.bad, counters.foreign, counters.bad_reports), (3, 1, 1))
        told = got.receiver.counted()
        names = ("errors_bad_packets", "errors_foreign_packets", "bad_reports", "errors_lost_packets")
        self.assertEqual([told[name] for name in names], [3, 1, 1, got.receiver.lost])
        self.assertFalse(got.receiver.ended)

    def test_bad_packets_among_good_ones(self) -> None:
        """S16: each kind is left out and counted, and harms nothing beside it."""
        got = Receiving(receiver())
        bad = foreign = 0
        for index, (channel, packet) in enumerate(self.packets):
            got.packets([(channel, packet)])
            if channel & 1:
                continue
            head = packet[1:12]
            broken = (
                b"",
                packet[:11],
                b"\x00" + head + b"x",
                b"\xc0" + head + b"x",
                b"\x8f" + head + b"x" * 59,
                b"\x90" + head + b"\xbe\xde\xff\xffx",
                b"\x90" + head,
                b"\xa0" + head + b"x\xff",
                b"\xa0" + head + b"\x00",
            )[index % 9]
            strange = b"\x80" + bytes((packet[1] ^ 0x15,)) + packet[2:]
            got.packets([(channel, broken), (channel, strange)])
            bad += 1
            foreign += 1
        got.note(got.receiver.flush())
        for track_id in (1, 2):
            self.assert_same(got, track_id, self.source)
        self.assertEqual((got.receiver.counters.bad, got.receiver.counters.foreign), (bad, foreign))

    def test_packets_without_payload(self) -> None:
        """S16: they bring nothing, and cost nothing but themselves."""
        got = Receiving(receiver())
        for index in (0, 1):
            head = next(packet for channel, packet in self.packets if channel == 2 * index)[:12]
            for sequence in range(100):
                got.packets([(2 * index, head[:2] + sequence.to_bytes(2, "big") + head[4:])])
        got.now += 5
        got.note(got.receiver.overdue(got.now))
        got.note(got.receiver.flush())
        self.assertEqual((got.frames, got.tables), ([], []))

    def test_the_sequence_begins_anew(self) -> None:
        """S19: the same source, other numbers: what follows is taken, its times go on."""
        source = make_frames(6)
        packets = sent(source)
        middle = next(
            index
            for index, (channel, packet) in enumerate(packets)
            if index > len(packets) // 2 and not channel
        )
        for depth in (0, 64):
            for by in (20_000, 40_000):
                moved = [
                    (channel, packet)
                    if channel & 1 or index < middle
                    else (channel, packet[:2] + struct.pack(">H", _number(packet) + by & 0xFFFF) + packet[4:])
                    for index, (channel, packet) in enumerate(packets)
                ]
                got = Receiving(receiver(depth=depth))
                got.packets(moved, step=0.004)
                got.now += 1
                got.note(got.receiver.overdue(got.now))
                got.note(got.receiver.flush())
                times = {frame.data: frame.pts for frame in source}
                self.assertTrue(all(frame.pts == times[frame.data] for frame in got.frames))
                for track_id in (1, 2):
                    wanted = len([frame for frame in source if frame.track_id == track_id])
                    self.assertGreater(len(got.of(track_id)), wanted - 40, (depth, by, track_id))

    def test_goodbye_of_all_ends_it(self) -> None:
        got = Receiving(receiver())
        got.packets(self.packets)
        for index in (0, 1):
            ssrc = struct.unpack(">I", next(p for c, p in self.packets if c == 2 * index)[8:12])[0]
            got.receiver.rtcp(index, goodbye(ssrc, b"x"), 9.0)
        self.assertTrue(got.receiver.ended)

    def test_a_flood_of_reports_is_ignored(self) -> None:
        """S20."""
        got = Receiving(receiver())
        for _ in range(1000):
            got.receiver.rtcp(0, sender_report(1, 0, 0, 0, 0, b"x"), 5.0)
        self.assertEqual(got.receiver.counters.bad_reports, 1000 - MAX_REPORTS)

    def test_receiver_reports(self) -> None:
        got = Receiving(receiver())
        self.assertEqual(got.receiver.receiver_reports(1, 0.0), [])
        got.packets([packet for index, packet in enumerate(self.packets) if index % 10])
        reports = got.receiver.receiver_reports(1, got.now)
        self.assertEqual([index for index, _ in reports], [0, 1])
        self.assertEqual(parse_rtcp(reports[0][1])[0], ReceiverReport(1))

    def test_memory_is_bounded_while_a_track_is_missing(self) -> None:
        """Nothing of the audio ever comes, and no report: frames go out after a second."""
        got = Receiving(receiver())
        got.packets([packet for packet in self.packets if packet[0] == 0], step=0.01)
        self.assertGreater(len(got.of(1)), 20)
        self.assertLessEqual(len(got.receiver._held), 60)
