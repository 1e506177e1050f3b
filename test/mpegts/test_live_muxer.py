"""Tests of L{restreamer.mpegts.live_muxer}."""

from __future__ import annotations

from attrs import evolve
from twisted.trial.unittest import SynchronousTestCase

from restreamer.media.frame import Frame
from restreamer.media.track import Tracks
from restreamer.mpegts.live_muxer import MpegTsFeedMuxer
from restreamer.mpegts.segment_muxer import mux_segment
from restreamer.seams import FeedMuxer
from restreamer.testing.media import START, aac_track, audio_frames, h264_track, make_frames
from restreamer.testing.ts_reader import TsError, read_ts

BOTH: Tracks = (h264_track(), aac_track())
VIDEO, AUDIO = 0x101, 0x202


def started(tracks: Tracks = BOTH, title: str = "") -> MpegTsFeedMuxer:
    """A muxer of C{tracks}."""
    muxer = MpegTsFeedMuxer(title)
    muxer.configure(tracks, START, False)
    return muxer


class MuxTests(SynchronousTestCase):
    """The stream that a viewer from the beginning sees."""

    def test_is_a_feed_muxer(self) -> None:
        muxer: FeedMuxer = MpegTsFeedMuxer("x")
        self.assertEqual(muxer.mux(make_frames(1)[0]), b"")

    def test_same_access_units_as_segments(self) -> None:
        frames = make_frames(6)
        muxer = started(title="t")
        live = read_ts(b"".join(muxer.mux(frame) for frame in frames))
        segments = read_ts(mux_segment(BOTH, frames, title="t"))
        for pid in (VIDEO, AUDIO):
            self.assertEqual(
                [(pes.dts, pes.pts, pes.payload) for pes in live.of(pid)],
                [(pes.dts, pes.pts, pes.payload) for pes in segments.of(pid)],
            )
        self.assertEqual((live.service, live.versions), (segments.service, segments.versions))

    def test_tables_before_every_keyframe(self) -> None:
        muxer = started()
        for frame in make_frames(6, gop=25):
            data = muxer.mux(frame)
            if frame.key and frame.track_id == 1:
                self.assertEqual(data[:3], b"\x47\x40\x00")
                self.assertEqual(muxer.join_prefix(), b"")

    def test_tables_often_enough(self) -> None:
        for fps in (10, 12, 19, 24, 25, 30, 60):
            for audio in (True, False):
                muxer = started()
                last = START
                for frame in make_frames(4, fps=fps, gop=2 * fps, audio=audio):
                    if muxer.mux(frame)[:3] == b"\x47\x40\x00":
                        self.assertLessEqual(frame.dts - last, 9000, (fps, audio))
                        last = frame.dts

    def test_slow_pictures(self) -> None:
        """The reader checks that PCR are at most 100 ms apart."""
        for fps in (1, 3, 7):
            muxer = started()
            frames = make_frames(6, fps=fps, gop=2 * fps)
            self.assertEqual(len(read_ts(b"".join(map(muxer.mux, frames))).of(VIDEO)), 6 * fps)

    def test_sound_first(self) -> None:
        """Without a picture yet, the clock comes in its own packets."""
        muxer = started()
        frames = audio_frames(1) + make_frames(1, start=START + 90_000)
        self.assertEqual(len(read_ts(b"".join(map(muxer.mux, frames))).of(VIDEO)), 25)

    def test_bad_frames_are_left_out(self) -> None:
        muxer = started()
        for track_id, data in ((9, b"x"), (1, b""), (1, b"\x00\x00\x00\x07x"), (2, b""), (2, bytes(9000))):
            self.assertEqual(muxer.mux(Frame(track_id=track_id, dts=0, cts=0, key=True, data=data)), b"")

    def test_hole(self) -> None:
        """A jump of a year without a word does not write a year of clock packets."""
        muxer = started()
        frames = make_frames(1)
        muxer.mux(frames[0])
        late = evolve(frames[0], dts=START + 90_000 * 3600 * 24 * 365)
        self.assertLess(len(muxer.mux(late)), 50_000)


class ChangeTests(SynchronousTestCase):
    """New runs and new tracks."""

    def test_discontinuity(self) -> None:
        muxer = started()
        data = b"".join(muxer.mux(frame) for frame in make_frames(2))
        muxer.configure(BOTH, START, True)
        data += b"".join(muxer.mux(frame) for frame in make_frames(2, start=START - 10_000_000))
        reader = read_ts(data)
        self.assertEqual(reader.marks, [VIDEO, AUDIO])
        self.assertEqual(reader.versions, reader.versions[:1])

    def test_track_goes_and_comes(self) -> None:
        muxer = started()
        frames = make_frames(6)
        data = b"".join(muxer.mux(frame) for frame in frames if frame.dts < START + 180_000)
        muxer.configure(BOTH[:1], START, True)
        data += b"".join(
            muxer.mux(frame) for frame in frames if START + 180_000 <= frame.dts < START + 360_000
        )
        muxer.configure(BOTH, START, True)
        data += b"".join(muxer.mux(frame) for frame in frames if frame.dts >= START + 360_000)
        reader = read_ts(data)
        self.assertEqual(len(reader.versions), 3)
        self.assertEqual((len(reader.of(VIDEO)), len(reader.of(AUDIO)) > 150), (150, True))

    def test_every_change_has_another_version(self) -> None:
        """Versions depend on the tracks alone unless the one before has the same."""
        muxer = started()
        data = b""
        frames = make_frames(2)
        for number in range(3, 90):
            muxer.configure((h264_track(), aac_track(number)), START, False)
            data += muxer.mux(evolve(frames[0], dts=START + number * 3600))
        self.assertEqual(len(read_ts(data).versions), 87)


class PrefixTests(SynchronousTestCase):
    """Viewers that join and jump."""

    def check_skip(self, tracks: Tracks, frames: list[Frame], title: str, keys: list[int]) -> None:
        """Leave after any key entry, come back at any later one."""
        muxer = started(tracks, title)
        prefixes, entries = [], []
        for frame in frames:
            prefixes.append(muxer.skip_prefix())
            entries.append(muxer.mux(frame))
        pids = {0, 0x1000, *([0x11] if title else []), *(0x101 if t.track_id == 1 else 0x202 for t in tracks)}
        for leave in (1, 2, 3, 5, 8, 13):
            for key in keys:
                if key <= leave:
                    continue
                data = b"".join(entries[:leave]) + prefixes[key] + b"".join(entries[key:])
                reader = read_ts(data)
                self.assertEqual(set(reader.marks), pids)
                self.assertEqual(len(reader.marks), len(pids))

    def test_skip(self) -> None:
        frames = make_frames(6, gop=25)
        keys = [number for number, frame in enumerate(frames) if frame.key and frame.track_id == 1]
        self.check_skip(BOTH, frames, "", keys)
        self.check_skip(BOTH, frames, "title", keys)

    def test_skip_sound_alone(self) -> None:
        frames = audio_frames(2)
        self.check_skip(BOTH[1:], frames, "t", list(range(0, len(frames), 7)))

    def test_skip_without_prefix_is_seen(self) -> None:
        """The reader would notice."""
        muxer = started()
        entries = [muxer.mux(frame) for frame in make_frames(4)]
        key = len(entries) // 2
        self.assertRaises(TsError, read_ts, b"".join(entries[:5] + entries[key + 7 :]))

    def test_join_sound_alone(self) -> None:
        """Tables come first, and their counters lead to the next ones."""
        muxer = started(BOTH[1:], "t")
        frames = audio_frames(2)
        for number, frame in enumerate(frames):
            if number % 9 == 4:
                prefix = muxer.join_prefix()
                clone = started(BOTH[1:], "t")
                rest = b"".join([clone.mux(one) for one in frames][number:])
                reader = read_ts(prefix + rest)
                self.assertEqual((reader.marks, reader.service[1]), ([], "t"))
                self.assertEqual(len(reader.of(AUDIO)), len(frames) - number)
            muxer.mux(frame)

    def test_join_at_keyframe(self) -> None:
        muxer = started()
        frames = make_frames(6)
        entries = [muxer.mux(frame) for frame in frames]
        key = next(n for n, frame in enumerate(frames) if n and frame.key and frame.track_id == 1)
        self.assertEqual(len(read_ts(b"".join(entries[key:])).of(VIDEO)), 100)
