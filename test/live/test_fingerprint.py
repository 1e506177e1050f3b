"""Recognising the same content on two clocks."""

from __future__ import annotations

import random

from attrs import evolve
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from restreamer.live import fingerprint
from restreamer.live.fingerprint import LEAST_UNITS, Match, match_content, match_tracks
from restreamer.media.frame import Frame
from restreamer.media.track import Tracks
from restreamer.testing.media import aac_track, h264_track
from test.live.rig import AUDIO, AV, av

CONTENT = av(12, gop=25)
IDS = {1: 1, 2: 2}


def moved(frames: list[Frame], offset: int) -> list[Frame]:
    return [evolve(frame, dts=frame.dts + offset) for frame in frames]


def match(ours: list[Frame], theirs: list[Frame], table: Tracks = AV) -> Match | None:
    return match_content(ours, theirs, {t.track_id: t.track_id for t in table}, table)


class TrackTests(SynchronousTestCase):
    """Which track is which."""

    def test_the_same(self) -> None:
        self.assertEqual(match_tracks(AV, AV), IDS)
        other = (evolve(AV[1], track_id=9, bandwidth=7), evolve(AV[0], track_id=4, language="eng"))
        self.assertEqual(match_tracks(other, AV), {9: 2, 4: 1})

    def test_two_alike(self) -> None:
        two = (h264_track(), aac_track(2), aac_track(3))
        self.assertEqual(match_tracks(two, two), {1: 1, 2: 2, 3: 3})

    def test_not_the_same(self) -> None:
        for theirs in (
            (),
            AV[:1],
            (*AV, aac_track(3)),
            (evolve(AV[0], config=b"x"), AV[1]),
            (AV[0], evolve(AV[1], codec=".mp3")),
        ):
            self.assertIsNone(match_tracks(theirs, AV), theirs)
            self.assertIsNone(match_tracks(AV, theirs), theirs)


class MatchTests(SynchronousTestCase):
    """The distance."""

    @settings(deadline=None, max_examples=60, derandomize=True)
    @given(
        st.integers(-(1 << 40), 1 << 40),
        st.integers(0, len(CONTENT) - 100),
        st.integers(0, len(CONTENT) - 100),
        st.integers(90, 700),
        st.integers(90, 700),
    )
    def test_any_two_pieces(self, offset: int, here: int, there: int, size: int, other: int) -> None:
        ours, theirs = CONTENT[here : here + size], moved(CONTENT[there : there + other], -offset)
        found = match(ours, theirs)
        overlap = min(here + size, there + other, len(CONTENT)) - max(here, there)
        if overlap >= 80:
            assert found is not None
            self.assertEqual((found.offset, found.spread), (offset, 0))
            self.assertGreaterEqual(found.units, LEAST_UNITS)
        elif overlap < LEAST_UNITS:
            self.assertIsNone(found)
        elif found is not None:
            self.assertEqual(found.offset, offset)

    def test_one_bit_near_the_end(self) -> None:
        """What differs within the last units is not the same; further back it may be a frame lost at one."""
        for place, same in ((-1, False), (-5, False), (-200, True)):
            theirs = moved(CONTENT, 90)
            frame = theirs[place]
            theirs[place] = evolve(frame, data=bytes((frame.data[0] ^ 1,)) + frame.data[1:])
            self.assertEqual(match(CONTENT, theirs) is not None, same, place)

    def test_a_frame_that_one_lacks(self) -> None:
        for place, same in ((-4, False), (-300, True)):
            theirs = moved(CONTENT, 12_345)
            del theirs[place]
            self.assertEqual(match(CONTENT, theirs) is not None, same, place)

    def test_tracks_at_other_distances(self) -> None:
        """Audio and video are not at one distance."""
        for apart, same in ((0, True), (60, True), (2_000, False), (-90_000, False)):
            theirs = [evolve(f, dts=f.dts + 500 + (f.track_id == 2) * apart) for f in CONTENT]
            found = match(CONTENT, theirs)
            self.assertEqual(found is not None, same, apart)
            if found is not None:
                self.assertLessEqual(abs(found.offset + 500), 60)
                self.assertLessEqual(found.spread, 60)

    def test_rounded_to_milliseconds(self) -> None:
        rng = random.Random(1)
        for _ in range(20):
            offset = rng.randrange(-(10**6), 10**6)
            theirs = [evolve(f, dts=(f.dts + offset) // 90 * 90) for f in CONTENT]
            found = match(CONTENT, theirs)
            assert found is not None
            self.assertLessEqual(abs(found.offset + offset), 90)

    def test_groups_within_the_spread(self) -> None:
        """Distances rounded to both sides of the true one, and a chance match elsewhere."""
        distances = [-90] * 5 + [0] * 25 + [90] * 4 + [5000] * 4
        one = {1: [(at * 3600, at + 1, True, 1000) for at in range(len(distances))]}
        other = {1: sorted((at * 3600 - d, at + 1, True, 1000) for at, d in enumerate(distances))}
        self.assertEqual(fingerprint._distances(one, other)[0], 0)

    def test_repeating(self) -> None:
        still = [evolve(f, data=b"key" if f.key and f.track_id == 1 else b"%d" % f.track_id) for f in CONTENT]
        self.assertIsNone(match(still, moved(still, 7)))
        # Music over a still picture is told by the music, at one place.
        half = [evolve(f, data=b"key" if f.key else b"skip") if f.track_id == 1 else f for f in CONTENT]
        found = match(half, moved(half, 7))
        assert found is not None
        self.assertEqual(found.offset, -7)

    def test_the_same_at_two_places(self) -> None:
        """Something shown twice: the piece of theirs fits ours twice."""
        turn = [f for f in CONTENT if f.dts < 3 * 90_000]
        ours = turn + moved(turn, 3 * 90_000)
        self.assertIsNone(match(ours, turn))

    def test_audio_alone(self) -> None:
        sound = [evolve(f, track_id=1) for f in CONTENT if f.track_id == 2]
        found = match(sound, moved(sound, 4), AUDIO)
        assert found is not None
        self.assertEqual(found.offset, -4)

    def test_too_little(self) -> None:
        """Few bytes and no keyframe."""
        pictures = [f for f in CONTENT if f.track_id == 1]
        tail = [evolve(f, data=b"%d" % f.dts) for f in pictures[1:25]]
        self.assertIsNone(match(tail, moved(tail, 4)))
        head = [evolve(f, data=b"%d" % f.dts) for f in pictures[:25]]
        self.assertIsNotNone(match(head, moved(head, 4)))

    def test_nothing(self) -> None:
        self.assertIsNone(match([], []))
        self.assertIsNone(match(CONTENT, []))
        self.assertIsNone(match([], CONTENT))
