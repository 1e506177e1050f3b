"""The live form: what players share."""

from __future__ import annotations

from attrs import evolve
from twisted.trial.unittest import SynchronousTestCase

from restreamer.media.track import AC3, Track, TrackKind
from restreamer.rtp.packet import parse_rtp
from restreamer.rtp.rtcp import Goodbye, SenderReport, parse_rtcp, ticks_of_ntp
from restreamer.rtsp.first_packets import first_packets, split_frames
from restreamer.rtsp.play_muxer import REPORT_EVERY, RtspFeedMuxer, channel_of, ssrc_of
from restreamer.testing.media import START, aac_track, h264_track, make_frames

TRACKS = (h264_track(), aac_track())


def muxer() -> RtspFeedMuxer:
    made = RtspFeedMuxer("cam")
    made.configure(TRACKS, START, False)
    return made


class MuxerTests(SynchronousTestCase):
    """L{RtspFeedMuxer}."""

    def test_two_nodes_send_the_same_packets(self) -> None:
        frames = make_frames(2)
        one, other = muxer(), muxer()
        self.assertEqual([one.mux(frame) for frame in frames], [other.mux(frame) for frame in frames])

    def test_sequences_rise_and_the_last_packet_of_a_frame_is_marked(self) -> None:
        made = muxer()
        following = {0: 1, 2: 1}
        for frame in make_frames(2, video_bitrate=2_000_000):
            packets = [(c, parse_rtp(p)) for c, p in split_frames(made.mux(frame)) if not c & 1]
            for channel, packet in packets:
                self.assertEqual(channel, channel_of(frame.track_id))
                self.assertEqual(packet.sequence, following[channel])
                following[channel] += 1
            self.assertEqual([p.marker for _, p in packets], [False] * (len(packets) - 1) + [True])
            clock = 90_000 if frame.track_id == 1 else 48_000
            self.assertEqual({p.timestamp for _, p in packets}, {frame.pts * clock // 90_000 & 0xFFFFFFFF})
            self.assertEqual({p.ssrc for _, p in packets}, {ssrc_of("cam", frame.track_id)})

    def test_reports_tell_the_utc_of_frames(self) -> None:
        made = muxer()
        reports = []
        for frame in make_frames(12):
            for channel, packet in split_frames(made.mux(frame)):
                if channel & 1:
                    [report] = parse_rtcp(packet)
                    assert isinstance(report, SenderReport)
                    reports.append((channel, report))
        self.assertEqual([channel for channel, _ in reports], [1, 3] * 3)
        for channel, report in reports:
            clock = 90_000 if channel == 1 else 48_000
            utc = ticks_of_ntp(report.ntp)
            self.assertEqual(report.timestamp, utc * clock // 90_000 & 0xFFFFFFFF)
        self.assertEqual(ticks_of_ntp(reports[2][1].ntp) - ticks_of_ntp(reports[0][1].ntp), REPORT_EVERY)

    def test_a_join_knows_the_next_sequence_and_one_moment(self) -> None:
        made = muxer()
        frames = make_frames(4)
        for frame in frames[:150]:
            made.mux(frame)
        prefix = made.join_prefix()
        begin = first_packets(prefix, [0, 2])
        self.assertEqual(set(begin), {0, 2})
        got: dict[int, int] = {}
        for frame in frames[150:]:
            for channel, packet in split_frames(made.mux(frame)):
                if not channel & 1:
                    got.setdefault(channel, parse_rtp(packet).sequence)
        self.assertEqual({channel: sequence for channel, (sequence, _) in begin.items()}, got)
        moments = {ticks_of_ntp(parse_rtcp(packet)[0].ntp) for _, packet in split_frames(prefix)}  # type: ignore[union-attr]
        self.assertEqual(len(moments), 1)
        self.assertLessEqual(moments.pop(), min(frame.dts for frame in frames[150:]))

    def test_the_first_frame_brings_the_reports(self) -> None:
        made = muxer()
        self.assertEqual(made.join_prefix(), b"")
        data = made.mux(make_frames(1)[0])
        self.assertEqual(first_packets(data, [0, 2]).keys(), {0, 2})

    def test_new_parameter_sets_go_on_other_changes_say_goodbye(self) -> None:
        made = muxer()
        frames = make_frames(1)
        made.mux(frames[0])
        made.configure((evolve(TRACKS[0], width=1), TRACKS[1]), START, True)
        self.assertNotIn(203, [p[1] for _, p in split_frames(made.mux(frames[1]))])
        made.configure(TRACKS[:1], START, True)
        video = [frame for frame in frames if frame.track_id == 1]
        packets = split_frames(made.mux(video[3]))
        goodbyes = [each for _, p in packets for each in (parse_rtcp(p) if p[1] in (200, 201) else ())]
        self.assertIn(Goodbye((ssrc_of("cam", 2),)), goodbyes)
        self.assertIn(ssrc_of("cam", 1, 1), [parse_rtp(p).ssrc for c, p in packets if not c & 1])

    def test_a_farewell_where_the_description_is_not_true_any_more(self) -> None:
        made = muxer()
        made.mux(make_frames(1)[0])
        self.assertIsNone(made.farewell((evolve(TRACKS[0], width=1), TRACKS[1])))
        last = made.farewell(TRACKS[:1])
        assert last is not None
        told = [each for _, packet in split_frames(last) for each in parse_rtcp(packet)]
        for number in (1, 2):
            self.assertIn(Goodbye((ssrc_of("cam", number),)), told)

    def test_damaged_frames_are_left_out(self) -> None:
        made = muxer()
        frame = make_frames(1)[0]
        for data in (b"", b"\x00\x00", b"\xff\xff\xff\xffabc"):
            made.mux(evolve(frame, data=data))

    def test_what_it_carries(self) -> None:
        made = RtspFeedMuxer("x")
        self.assertTrue(made.carries(TRACKS[0]))
        self.assertFalse(made.carries(Track(track_id=2, kind=TrackKind.AUDIO, codec=AC3)))
        self.assertFalse(made.carries(evolve(TRACKS[0], track_id=200)))
