"""Tests of L{restreamer.media.announce}."""

from __future__ import annotations

from attrs import evolve
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from restreamer.media.announce import MAX_HELD_BYTES, MAX_HELD_TIME, NewTracks, TrackAnnouncer
from restreamer.media.frame import Frame
from restreamer.testing.media import aac_track, h264_track

VIDEO = h264_track(1)
AUDIO = aac_track(2)


def frame(track_id: int, dts: int, size: int = 4) -> Frame:
    return Frame(track_id, dts, 0, True, bytes(size))


class TrackAnnouncerTests(SynchronousTestCase):
    """Tables before frames."""

    def test_held_until_all_are_known(self) -> None:
        announcer = TrackAnnouncer([1, 2])
        self.assertEqual(announcer.frames(frame(2, 0)), [])
        announcer.track(AUDIO)
        self.assertEqual(announcer.frames(frame(2, 10)), [])
        announcer.track(VIDEO)
        held = [frame(2, 0), frame(2, 10), frame(1, 20)]
        self.assertEqual(announcer.frames(held[-1]), [NewTracks((VIDEO, AUDIO)), *held])
        self.assertEqual(announcer.frames(frame(1, 30)), [frame(1, 30)])
        self.assertEqual(announcer.tracks, (VIDEO, AUDIO))

    def test_one_missing_for_too_long(self) -> None:
        announcer = TrackAnnouncer([1, 2])
        announcer.track(AUDIO)
        self.assertEqual(announcer.frames(frame(2, 0)), [])
        self.assertEqual(announcer.frames(frame(2, MAX_HELD_TIME)), [])
        out = announcer.frames(frame(2, MAX_HELD_TIME + 1))
        self.assertEqual([out[0], len(out)], [NewTracks((AUDIO,)), 4])
        announcer.track(VIDEO)
        late = frame(1, MAX_HELD_TIME + 2)
        self.assertEqual(announcer.frames(late), [NewTracks((VIDEO, AUDIO)), late])

    def test_too_many_bytes(self) -> None:
        announcer = TrackAnnouncer([1, 2])
        announcer.track(VIDEO)
        self.assertEqual(announcer.frames(frame(1, 0, MAX_HELD_BYTES)), [])
        self.assertEqual(announcer.frames(frame(1, 1))[0], NewTracks((VIDEO,)))

    def test_none_known_keeps_little(self) -> None:
        announcer = TrackAnnouncer([1])
        for number in range(50):
            self.assertEqual(announcer.frames(frame(1, number, MAX_HELD_BYTES // 4)), [])
        announcer.track(VIDEO)
        out = announcer.frames(frame(1, 50))
        self.assertEqual(out[0], NewTracks((VIDEO,)))
        self.assertLessEqual(
            sum(len(each.data) for each in out[1:] if isinstance(each, Frame)), MAX_HELD_BYTES + 4
        )
        self.assertGreater(announcer.left_out, 40)

    def test_a_frame_over_the_limit_alone(self) -> None:
        announcer = TrackAnnouncer([1])
        self.assertEqual(announcer.frames(frame(1, 0, MAX_HELD_BYTES + 1)), [])
        self.assertEqual(announcer.left_out, 1)

    def test_change(self) -> None:
        announcer = TrackAnnouncer([1])
        announcer.track(VIDEO)
        announcer.frames(frame(1, 0))
        announcer.track(VIDEO)
        self.assertEqual(announcer.frames(frame(1, 1)), [frame(1, 1)])
        larger = evolve(VIDEO, width=1280, config=VIDEO.config + b"\x00")
        announcer.track(larger)
        self.assertEqual(announcer.frames(frame(1, 2)), [NewTracks((larger,)), frame(1, 2)])

    def test_unknown_tracks_are_left_out(self) -> None:
        announcer = TrackAnnouncer([1])
        announcer.track(VIDEO)
        announcer.frames(frame(1, 0))
        self.assertEqual(announcer.frames(frame(9, 1)), [])
        self.assertEqual(announcer.left_out, 1)

    def test_other_streams(self) -> None:
        announcer = TrackAnnouncer([1, 2])
        announcer.track(VIDEO)
        announcer.track(AUDIO)
        announcer.frames(frame(1, 0))
        announcer.expect([1])
        self.assertEqual(announcer.frames(frame(1, 1)), [NewTracks((VIDEO,)), frame(1, 1)])
        announcer.expect([1, 3])
        self.assertEqual(announcer.frames(frame(1, 2)), [], "held until the new one is known")
        other = evolve(AUDIO, track_id=3)
        announcer.track(other)
        out = announcer.frames(frame(3, 3))
        self.assertEqual(out, [NewTracks((VIDEO, other)), frame(1, 2), frame(3, 3)])

    def test_flush(self) -> None:
        announcer = TrackAnnouncer([1, 2])
        self.assertEqual(announcer.flush(), [])
        announcer.frames(frame(1, 0))
        self.assertEqual(announcer.flush(), [])
        announcer.track(VIDEO)
        self.assertEqual(announcer.flush(), [NewTracks((VIDEO,)), frame(1, 0)])

    @given(
        st.lists(
            st.one_of(
                st.tuples(st.just("frame"), st.integers(1, 3)),
                st.tuples(st.just("track"), st.integers(1, 3)),
                st.tuples(st.just("expect"), st.integers(0, 7)),
            ),
            max_size=60,
        )
    )
    @settings(deadline=None, max_examples=150, derandomize=True)
    def test_every_frame_is_of_the_table_before_it(self, steps: list[tuple[str, int]]) -> None:
        announcer = TrackAnnouncer([1, 2])
        table: set[int] = set()
        last = -1
        for time, (step, value) in enumerate(steps):
            if step == "track":
                announcer.track(evolve(VIDEO, track_id=value))
                continue
            if step == "expect":
                announcer.expect([track for track in (1, 2, 3) if value >> track - 1 & 1])
                continue
            for each in announcer.frames(frame(value, 20_000 * time)):
                if isinstance(each, NewTracks):
                    table = {track.track_id for track in each.tracks}
                else:
                    self.assertIn(each.track_id, table)
                    self.assertGreater(each.dts, last)
                    last = each.dts
