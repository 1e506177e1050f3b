"""Decoding times out of presentation times."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from restreamer.media.track import Track, TrackKind
from restreamer.rtp.decode_times import DecodeTimes
from restreamer.rtp.reorder_depth import reorder_depth
from restreamer.testing.media import h264_track, video_frames

#: I PBB PBB in decoding order, by place in the order of presentation.
IPBB = [0, 3, 1, 2, 6, 4, 5, 9, 7, 8]


def times(order: list[int], depth: int | None) -> list[tuple[int, int, int]]:
    found: DecodeTimes[int] = DecodeTimes()
    found.use(depth, 25_000)
    out = []
    for index, place in enumerate(order):
        out += found.take(place * 3600, index == 0, place)
    return out + found.flush()


class DecodeTimesTests(SynchronousTestCase):
    """L{DecodeTimes}."""

    def test_known_depth(self) -> None:
        out = times(IPBB, 1)
        self.assertEqual([dts for dts, _, _ in out], [(index - 1) * 3600 for index in range(10)])
        self.assertEqual([dts + cts for dts, cts, _ in out], [place * 3600 for place in IPBB])

    def test_no_reordering(self) -> None:
        self.assertEqual(times([0, 1, 2], 0), [(0, 0, 0), (3600, 0, 1), (7200, 0, 2)])

    def test_learns(self) -> None:
        self.assertEqual(times(IPBB * 1, None), times(IPBB, 1))

    def test_a_jump_begins_anew(self) -> None:
        found: DecodeTimes[int] = DecodeTimes()
        found.use(2, 25_000)
        for index in range(5):
            found.take(index * 3600, index == 0, index)
        [(dts, cts, _)] = found.take(90_000_000, True, 9)
        self.assertEqual((dts, cts), (90_000_000 - 7200, 7200))

    def test_more_reordering_than_was_told(self) -> None:
        out = times(IPBB * 1, 0)
        decoding = [dts for dts, _, _ in out]
        self.assertEqual(decoding, sorted(set(decoding)))
        self.assertTrue(all(cts >= 0 for _, cts, _ in out))

    @settings(deadline=None, max_examples=200, derandomize=True)
    @given(
        st.lists(st.integers(0, 1 << 40), min_size=1, max_size=60), st.one_of(st.none(), st.integers(0, 16))
    )
    def test_any_series_rises(self, series: list[int], depth: int | None) -> None:
        found: DecodeTimes[int] = DecodeTimes()
        found.use(depth, 0)
        out = []
        for index, pts in enumerate(series):
            out += found.take(pts, not index % 7, index)
        out += found.flush()
        self.assertEqual([index for _, _, index in out], list(range(len(series))))
        self.assertTrue(all(cts >= 0 for _, cts, _ in out))
        self.assertLessEqual(len(found._heap), 17)


class ReorderDepthTests(SynchronousTestCase):
    """What configurations tell."""

    def test_x264(self) -> None:
        self.assertEqual(reorder_depth(h264_track()), 2)

    def test_nonsense_does_not_tell(self) -> None:
        self.assertIsNone(
            reorder_depth(Track(track_id=1, kind=TrackKind.VIDEO, codec="avc1", config=b"\x01\x64"))
        )

    def test_the_frames_of_an_encoder(self) -> None:
        found: DecodeTimes[int] = DecodeTimes()
        found.use(1, 25_000)
        for frame in video_frames(4):
            [(dts, cts, _)] = found.take(frame.pts, frame.key, 0)
            self.assertEqual((dts, cts), (frame.dts, frame.cts))
