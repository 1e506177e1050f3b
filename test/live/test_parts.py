"""Where low-latency parts end, and that every node closes the same ones."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from restreamer.live.cmaf import CmafStream, cut_segment, mux_segment
from restreamer.live.grid import SegmentCutter
from restreamer.live.run_cutter import PART_PATIENCE, RunCutter
from restreamer.m4f.segment import Segment
from restreamer.media.frame import Frame
from restreamer.media.track import TrackKind
from restreamer.mp4.fragment import split_fragments
from restreamer.testing.media import START, aac_track, audio_frames, h264_track, make_frames
from test.live.rig import SECOND, D, Origin

_PART = SECOND // 5


def played(frames: list[Frame], part: int = _PART, **how: object) -> Origin:
    """An origin that was published to and whose publisher left."""
    origin = Origin(part_duration=part, **how)  # type: ignore[arg-type]
    ingest = origin.publish()
    origin.play(ingest, frames)
    ingest.end("left")
    return origin


def lengths(segment: Segment) -> list[int]:
    return [part.duration for part in segment.parts]


class CutTests(SynchronousTestCase):
    def check(self, segment: Segment) -> None:
        """What holds for the parts of every segment."""
        self.assertEqual(sum(lengths(segment)), segment.duration)
        at = 0
        for part in segment.parts:
            self.assertEqual(part.first_frame, at)
            self.assertTrue(part.frame_count > 0 and part.duration > 0)
            at += part.frame_count
        self.assertEqual(at, segment.frame_count)

    def test_frame_rates(self) -> None:
        """Parts last a whole number of frames, as near to what was asked for as it goes."""
        for rate, step in [(25, 18_000), (50, 18_000), (30, 18_000), (24, 18_750), (12, 15_000), (4, 22_500)]:
            frames = make_frames(11, fps=rate, gop=rate, audio=False, video_bitrate=20_000)
            for entry in played(frames).closed[1:-1]:
                self.check(entry.segment)
                self.assertEqual(set(lengths(entry.segment)[:-1]), {step}, rate)

    def test_sound_beside(self) -> None:
        origin = played(make_frames(11, gop=25, video_bitrate=20_000))
        for entry in origin.closed:
            self.check(entry.segment)
        self.assertEqual(set(lengths(origin.closed[1].segment)), {_PART})
        self.assertTrue(origin.closed[1].segment.parts[0].independent)
        self.assertFalse(origin.closed[1].segment.parts[1].independent)
        self.assertTrue(origin.closed[1].segment.parts[5].independent)

    def test_sound_alone(self) -> None:
        origin = played(audio_frames(11), tracks=(aac_track(2),))
        for entry in origin.closed:
            self.check(entry.segment)
            self.assertEqual(set(lengths(entry.segment)[:-1]), {9 * 1920})
            self.assertTrue(all(part.independent for part in entry.segment.parts))

    def test_pictures_pause(self) -> None:
        """Sound goes on in parts of its own."""
        frames = [
            frame for frame in make_frames(11, gop=25) if frame.track_id == 2 or frame.dts < START + SECOND
        ]
        for entry in played(frames).closed:
            self.check(entry.segment)
            self.assertTrue(max(lengths(entry.segment)) <= _PART + PART_PATIENCE + SECOND // 10)

    def test_none(self) -> None:
        for entry in played(make_frames(6, gop=25), part=0).closed:
            self.assertEqual(entry.segment.parts, ())

    @given(
        st.lists(
            st.tuples(
                st.sampled_from([1, 1, 1, 2]),
                st.integers(-2000, 60_000),
                st.booleans(),
            ),
            min_size=1,
            max_size=120,
        ),
        st.integers(1, SECOND),
    )
    @settings(deadline=None, max_examples=60, derandomize=True)
    def test_any_trace(self, trace: list[tuple[int, int, bool]], part: int) -> None:
        newest = {1: 0, 2: 0}
        frames = []
        for track_id, step, key in trace:
            newest[track_id] = max(newest[track_id] + 1, max(newest.values()) + step)
            frames.append(Frame(track_id, newest[track_id], 0, key or track_id == 2, b"x" * 9))
        origin = played(frames, part=part)
        self.assertEqual(origin.faults, [])
        for entry in origin.closed:
            self.check(entry.segment)
            for track in entry.segment.tracks:
                self.one_form(origin, entry.segment, track.track_id)

    def one_form(self, origin: Origin, segment: Segment, track_id: int) -> None:
        """The parts of a track are the segment, with every frame in its turn."""
        track = next(each for each in segment.tracks if each.track_id == track_id)
        parts = cut_segment(segment, track)
        wanted = [index for index, row in enumerate(segment.rows()) if row[0] == track_id]
        self.assertEqual([index for part in parts for index in part.frames], wanted)
        self.assertTrue(all(part.duration > 0 and part.end > part.start for part in parts))
        self.assertEqual(len(split_fragments(mux_segment(segment, track))), len(parts))


class ResumeTests(SynchronousTestCase):
    """A node that goes on with a segment in its middle ends the same parts as the ingest does."""

    def resumed(self, frames: list[Frame], count: int, told: bool) -> list[Segment]:
        """What is closed when another node takes over after C{count} frames of the open segment.

        @param told: it was told of the parts that ended in it.
        """
        origin = Origin(part_duration=_PART)
        ingest = origin.publish()
        left = list(frames)
        builder = None
        while builder is None or len(origin.closed) != 1 or len(builder.frames) < max(count, 1):
            frame = left.pop(0)
            origin.play(ingest, [frame])
            builder = origin.stream.open
        stream, run = origin.stream, origin.stream.run
        assert run is not None
        shift = builder.frames[-1].dts - frame.dts
        if not told:
            builder.parts.clear()
        if not count:
            builder.frames.clear()
            builder.size = 0
            left.insert(0, frame)
        cutter = RunCutter(stream, SegmentCutter(D, stream.window.last_number), _PART)
        cutter.resume()
        cutter.writer = stream.begin_run(run, D, local=False)
        cutter.end_lacking_parts()
        batch: list[Frame] = []
        for frame in left:
            mapped = Frame(frame.track_id, frame.dts + shift, frame.cts, frame.key, frame.data)
            if cutter.ends_before(mapped):
                cutter.cut(mapped, batch)
            cutter.take(mapped, batch)
        cutter.flush(batch)
        return [entry.segment for entry in origin.closed]

    def test_wherever_it_goes_on(self) -> None:
        frames = make_frames(16, gop=25, video_bitrate=20_000)
        whole = [entry.segment for entry in played(frames).closed][1:3]
        for count in (0, 1, 2, 14, 15, 16, 17, 40, 60, 61, 62, 63, 64, 150):
            for told in (True, False):
                again = self.resumed(frames, count, told)[1:3]
                with self.subTest(count=count, told=told):
                    self.assertEqual([each.parts for each in again], [each.parts for each in whole])
                    self.assertEqual(again, whole)


class OpenTests(SynchronousTestCase):
    def test_what_was_served_is_what_is_closed(self) -> None:
        """Each part has the same bytes while its segment is open and after it was closed."""
        origin = Origin(part_duration=_PART)
        ingest = origin.publish()
        cmaf = CmafStream(origin.stream)
        served: dict[tuple[str, int, int], bytes] = {}
        for frame in make_frames(12, gop=50):
            origin.play(ingest, [frame])
            builder = origin.stream.open
            assert builder is not None
            number = builder.opening.number
            for name in ("v1", "a1"):
                count = len(cmaf.open_parts(name))
                self.assertIsNone(cmaf.part(number, count, name))
                for place in range(count):
                    body = cmaf.part(number, place, name)
                    assert body is not None
                    self.assertEqual(served.setdefault((name, number, place), body), body)
        self.assertTrue(len(served) > 80)
        for (name, number, place), body in served.items():
            entry = origin.stream.window.find(number)
            if entry is not None:
                self.assertEqual(cmaf.part(number, place, name), body)
                self.assertIn(body, cmaf.segment(entry, name))
        for entry in origin.stream.window.retained:
            parts = [cmaf.part(entry.number, place, "v1") for place in range(60)]
            self.assertEqual(b"".join(part or b"" for part in parts), cmaf.segment(entry, "v1"))

    def test_tracks_that_are_not_there(self) -> None:
        origin = played(make_frames(6, gop=25, audio=False), tracks=(h264_track(1),))
        cmaf = CmafStream(origin.stream)
        entry = origin.closed[0]
        self.assertEqual(cmaf.segment(entry, "a1"), b"")
        self.assertEqual(cmaf.closed_parts(entry, "v2"), ())
        self.assertIsNone(cmaf.part(entry.number, 0, "a1"))
        self.assertIsNone(cmaf.part(entry.number, 10**9, "v1"))
        self.assertIsNone(cmaf.part(10**15, 0, "v1"))
        self.assertIsNone(cmaf.init("v1", "init-00000000.mp4"))
        self.assertEqual(entry.segment.tracks[0].kind, TrackKind.VIDEO)
