"""Reading CMAF piece by piece: what is written comes back, and damage raises one error only."""

from __future__ import annotations

import random

from attrs import evolve
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from restreamer.errors import MediaError
from restreamer.mp4.fragment import fragment, init_segment
from restreamer.mp4.fragment_reader import FragmentReader
from restreamer.testing.media import START, aac_track, audio_frames, h264_track, video_frames

INIT = init_segment(h264_track())
FRAMES = video_frames(2.0)
SEGMENT = fragment(h264_track(), FRAMES[:20], 1, FRAMES[20].dts) + fragment(
    h264_track(), FRAMES[20:], 2, START + 180_000
)


class Reading(SynchronousTestCase):
    def test_video_and_audio(self) -> None:
        reader = FragmentReader(INIT)
        self.assertEqual([(t.codec, t.config) for t in reader.tracks], [("avc1", h264_track().config)])
        self.assertEqual(reader.frames(SEGMENT), FRAMES)
        audio = evolve(aac_track(), language="deu")
        sounds = audio_frames(2.0)
        reader = FragmentReader(init_segment(audio))
        self.assertEqual((reader.tracks[0].language, reader.tracks[0].config), ("deu", audio.config))
        self.assertEqual(reader.frames(fragment(audio, sounds, 1, START + 180_000)), sounds)

    def test_other_boxes_are_passed_over(self) -> None:
        self.assertEqual(FragmentReader(INIT).frames(b"\0\0\0\x0cstyp\0\0\0\0" + SEGMENT), FRAMES)

    def test_broken_ones(self) -> None:
        for init in (b"", INIT[:100], INIT[:-5], b"\0\0\0\x08moov", SEGMENT):
            with self.assertRaises(MediaError):
                FragmentReader(init)
        reader = FragmentReader(INIT)
        for segment in (SEGMENT[:100], SEGMENT[:-5]):
            with self.assertRaises(MediaError):
                reader.frames(segment)
        self.assertEqual(reader.frames(b""), [])

    @settings(deadline=None, max_examples=150, derandomize=True)
    @given(st.integers(0, 1 << 30))
    def test_damage(self, seed: int) -> None:
        chance = random.Random(seed)
        init, segment = bytearray(INIT), bytearray(SEGMENT[:3000] + SEGMENT[3000:])
        for _ in range(chance.randrange(1, 6)):
            init[chance.randrange(len(init))] = chance.randrange(256)
            segment[chance.randrange(600)] = chance.randrange(256)
        try:
            reader = FragmentReader(bytes(init) if seed % 2 else INIT)
            for frame in reader.frames(bytes(segment)):
                self.assertTrue(frame.data)
        except MediaError:
            pass
