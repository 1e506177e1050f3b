"""Tests of L{restreamer.mpegts.segment_muxer}."""

from __future__ import annotations

from itertools import pairwise

from attrs import evolve
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from restreamer.media.aac import adts_header, parse_asc
from restreamer.media.frame import Frame
from restreamer.media.h264 import split_annexb, split_nals
from restreamer.media.track import Tracks
from restreamer.mpegts.segment_muxer import mux_segment
from restreamer.testing.media import (
    ASC,
    PPS,
    SPS,
    START,
    aac_track,
    audio_frames,
    h264_track,
    make_frames,
    mp3_track,
    nal,
    pattern,
    video_frames,
)
from restreamer.testing.ts_reader import TsReader, read_ts

BOTH: Tracks = (h264_track(), aac_track())
VIDEO, AUDIO = 0x101, 0x202
MASK = (1 << 33) - 1


def cut(frames: list[Frame]) -> list[list[Frame]]:
    """Segments as the core cuts them: each begins with a video keyframe."""
    segments: list[list[Frame]] = []
    for frame in frames:
        if frame.track_id == 1 and frame.key:
            segments.append([])
        segments[-1].append(frame)
    return segments


def table_times(reader: TsReader) -> list[int]:
    """DTS of the first access unit behind each PAT, in stream order."""
    units = sorted((pes.at, pes.dts) for pes in reader.pes)
    return [min((unit for unit in units if unit[0] > at), default=units[-1])[1] for at in reader.tables]


class ContinuityTests(SynchronousTestCase):
    """Any run of segments is one stream."""

    def test_each_pid_ends_on_a_multiple_of_16(self) -> None:
        for segment in cut(make_frames(8)):
            reader = read_ts(mux_segment(BOTH, segment, title="t"))
            self.assertEqual(set(reader.payload_packets), {0, 0x11, 0x1000, VIDEO, AUDIO})
            for pid, count in reader.payload_packets.items():
                self.assertEqual(count % 16, 0, hex(pid))

    def test_any_run_of_segments(self) -> None:
        segments = [mux_segment(BOTH, segment, title="t") for segment in cut(make_frames(10))]
        self.assertEqual(len(segments), 5)
        for begin in range(5):
            for end in range(begin + 1, 6):
                read_ts(b"".join(segments[begin:end]))

    def test_pure(self) -> None:
        frames = make_frames(2)
        self.assertEqual(mux_segment(BOTH, frames), mux_segment(tuple(BOTH), tuple(frames)))

    @settings(deadline=None, max_examples=40, derandomize=True)
    @given(
        fps=st.sampled_from([1, 5, 10, 12, 24, 25, 50, 60]),
        gop=st.integers(2, 20),
        sizes=st.lists(st.integers(1, 3000), min_size=1, max_size=20),
        audio=st.booleans(),
        title=st.sampled_from(["", "name"]),
        discontinuity=st.booleans(),
    )
    def test_any_sizes(
        self, fps: int, gop: int, sizes: list[int], audio: bool, title: str, discontinuity: bool
    ) -> None:
        """Access units of any size and rate, down to a segment of one tiny picture."""
        frames = make_frames(2, fps=fps, gop=gop, audio=audio)
        for number, frame in enumerate(frames):
            size = sizes[number % len(sizes)]
            data = nal(0x65 if frame.key else 0x41, number, size + 1)
            frames[number] = evolve(frame, data=data if frame.track_id == 1 else pattern(number, size))
        whole = b"".join(
            mux_segment(BOTH, segment, title=title, discontinuity=discontinuity) for segment in cut(frames)
        )
        reader = read_ts(whole)
        expected = [frame for frame in frames if frame.track_id == 1]
        self.assertEqual([pes.dts for pes in reader.of(VIDEO)], [frame.dts & MASK for frame in expected])
        for count in reader.payload_packets.values():
            self.assertEqual(count % 16, 0)


class ContentTests(SynchronousTestCase):
    """What comes out is what went in."""

    def test_times(self) -> None:
        frames = make_frames(4)
        reader = read_ts(b"".join(mux_segment(BOTH, segment) for segment in cut(frames)))
        for track_id, pid in ((1, VIDEO), (2, AUDIO)):
            expected = [
                (f.dts & MASK, f.pts & MASK, f.key and pid == VIDEO) for f in frames if f.track_id == track_id
            ]
            self.assertEqual([(pes.dts, pes.pts, pes.key) for pes in reader.of(pid)], expected)

    def test_wrap_of_33_bits(self) -> None:
        start = (START >> 33) + 1 << 33
        frames = make_frames(4, start=start - 90_000)
        reader = read_ts(b"".join(mux_segment(BOTH, segment) for segment in cut(frames)))
        times = [pes.dts for pes in reader.of(VIDEO)]
        self.assertEqual([time - times[0] for time in times], [3600 * n for n in range(100)])

    def test_pictures(self) -> None:
        frames = make_frames(4, audio=False)
        reader = read_ts(mux_segment(BOTH[:1], frames))
        for frame, pes in zip(frames, reader.pes, strict=True):
            units = [frame.data[at : at + size] for at, size in split_nals(frame.data)]
            before = [b"\x09\xf0", SPS, PPS] if frame.key else [b"\x09\xf0"]
            self.assertEqual(split_annexb(pes.payload), before + units)

    def test_sets_in_band_are_not_repeated(self) -> None:
        data = b"".join(len(n).to_bytes(4, "big") + n for n in (b"\x09\x10", SPS, PPS, b"\x65abc"))
        frame = Frame(track_id=1, dts=START, cts=0, key=True, data=data)
        reader = read_ts(mux_segment(BOTH[:1], [frame]))
        self.assertEqual(split_annexb(reader.pes[0].payload), [b"\x09\xf0", SPS, PPS, b"\x65abc"])

    def test_sound(self) -> None:
        frames = audio_frames(1)
        reader = read_ts(mux_segment(BOTH[1:], frames))
        config = parse_asc(ASC)
        expected = [adts_header(config, len(frame.data)) + frame.data for frame in frames]
        self.assertEqual([pes.payload for pes in reader.of(AUDIO)], expected)

    def test_stream_types(self) -> None:
        low = evolve(mp3_track(3), sample_rate=22050)
        reader = read_ts(mux_segment((*BOTH, evolve(mp3_track(), track_id=4), low), make_frames(1)))
        self.assertEqual(reader.streams, {VIDEO: 0x1B, AUDIO: 0x0F, 0x204: 0x03, 0x203: 0x04})

    def test_mp3(self) -> None:
        frames = [evolve(frame, data=b"\xff\xfb\x94\xc4" + pattern(1, 380)) for frame in audio_frames(1)]
        reader = read_ts(mux_segment((mp3_track(),), frames))
        self.assertEqual([pes.payload for pes in reader.of(AUDIO)], [frame.data for frame in frames])

    def test_program_config_element_before_each_frame(self) -> None:
        asc = bytes.fromhex("118004c808002008840d4c61766335392e33372e31303056e500")
        config = parse_asc(asc)
        frames = audio_frames(1)
        reader = read_ts(mux_segment((evolve(aac_track(), config=asc),), frames))
        element = config.pce
        self.assertEqual(
            reader.pes[0].payload,
            adts_header(config, len(element) + len(frames[0].data)) + element + frames[0].data,
        )

    def test_what_cannot_be_carried_is_left_out(self) -> None:
        tracks = (*BOTH, evolve(h264_track(9), codec="zzzz"))
        frames = [
            *make_frames(1),
            Frame(track_id=9, dts=START + 1, cts=0, key=True, data=b"x"),
            Frame(track_id=77, dts=START + 1, cts=0, key=True, data=b"x"),
            Frame(track_id=1, dts=START + 89_999, cts=0, key=False, data=b"\x00\x00\x00\x09x"),
            Frame(track_id=1, dts=START + 89_999, cts=0, key=False, data=b""),
            Frame(track_id=2, dts=START + 89_999, cts=0, key=True, data=b""),
            Frame(track_id=2, dts=START + 89_999, cts=0, key=True, data=bytes(8185)),
        ]
        self.assertEqual(mux_segment(tracks, frames), mux_segment(BOTH, make_frames(1)))

    def test_bad_record_still_passes(self) -> None:
        """The sets may be in the stream itself."""
        track = evolve(h264_track(), config=b"")
        reader = read_ts(mux_segment((track,), make_frames(1, audio=False)))
        self.assertEqual(len(reader.pes), 25)

    def test_nothing_to_mux(self) -> None:
        self.assertEqual(read_ts(mux_segment(BOTH, [])).payload_packets, {0: 16, 0x1000: 16})
        self.assertEqual(read_ts(mux_segment((), make_frames(1))).streams, {})

    def test_service(self) -> None:
        self.assertEqual(read_ts(mux_segment(BOTH, make_frames(1), title="Küche")).service[1], "Küche")

    def test_many_tracks(self) -> None:
        tracks = (h264_track(), *(evolve(aac_track(number), language="eng") for number in range(2, 35)))
        reader = read_ts(mux_segment(tracks, make_frames(1)))
        self.assertEqual(len(reader.streams), 32)
        self.assertEqual(reader.payload_packets[0x1000] % 16, 0)


class TimingTests(SynchronousTestCase):
    """PCR and tables come often enough."""

    def test_tables_at_most_100_ms_apart(self) -> None:
        for fps in (10, 24, 25, 30, 60):
            for gop in (fps, 2 * fps, 6 * fps):
                for audio in (True, False):
                    segments = cut(make_frames(12, fps=fps, gop=gop, audio=audio))
                    reader = read_ts(b"".join(mux_segment(BOTH, segment) for segment in segments))
                    times = table_times(reader)
                    steps = [late - early for early, late in pairwise(times)]
                    self.assertLessEqual(max(steps), 9000, (fps, gop, audio))

    def test_begins_with_tables_then_the_keyframe(self) -> None:
        reader = read_ts(mux_segment(BOTH, make_frames(2)))
        self.assertEqual((reader.tables[0], reader.pcrs[0][0]), (0, 2))
        first = min(reader.pes, key=lambda pes: pes.at)
        self.assertEqual((first.pid, first.key, first.at), (VIDEO, True, 2))

    def test_clock_of_slow_pictures(self) -> None:
        """The reader checks that PCR are at most 100 ms apart, also from segment to segment."""
        for fps in (1, 2, 3, 7):
            for audio in (True, False):
                segments = cut(make_frames(12, fps=fps, gop=2 * fps, audio=audio))
                reader = read_ts(b"".join(mux_segment(BOTH, segment) for segment in segments))
                self.assertEqual(reader.pcr_pid, VIDEO)
                self.assertGreaterEqual(len(reader.pcrs), 118)

    def test_sound_alone(self) -> None:
        reader = read_ts(mux_segment(BOTH[1:], audio_frames(2)))
        self.assertEqual((reader.pcr_pid, len(reader.pcrs)), (AUDIO, len(reader.of(AUDIO))))

    def test_no_picture_in_a_segment_of_a_picture_track(self) -> None:
        """The clock goes on in its own PID."""
        frames = make_frames(4)
        parts = cut(frames)
        reader = read_ts(
            b"".join(
                mux_segment(BOTH, part)
                for part in (parts[0], [frame for frame in parts[1] if frame.track_id == 2])
            )
        )
        self.assertEqual(len(reader.of(VIDEO)), 50)

    def test_late_sound(self) -> None:
        """Sound of up to half a second before the keyframe still finds the clock behind it."""
        frames = [*video_frames(2), *audio_frames(2, start=START - 40_000)]
        reader = read_ts(mux_segment(BOTH, frames))
        self.assertEqual(len(reader.of(AUDIO)), 93)

    def test_a_hole_is_not_filled(self) -> None:
        frames = video_frames(1) + video_frames(1, start=START + 90_000 * 3600 * 24 * 365)
        data = mux_segment(BOTH[:1], frames)
        self.assertLess(len(data), 5_000_000)

    def test_discontinuity(self) -> None:
        reader = read_ts(mux_segment(BOTH, make_frames(2), discontinuity=True))
        self.assertEqual(sorted(reader.marks), [VIDEO, AUDIO])
        self.assertTrue(reader.of(VIDEO)[0].discontinuity)
        self.assertTrue(reader.of(AUDIO)[0].discontinuity)
        self.assertEqual(read_ts(mux_segment(BOTH, make_frames(2))).marks, [])
