"""Tracks that change all the time: what L{restreamer.live.ingest} makes of them."""

from __future__ import annotations

from attrs import evolve
from twisted.trial.unittest import SynchronousTestCase

from restreamer.live.ingest import MANY_CHANGES, Ingest
from restreamer.media.frame import Frame
from restreamer.media.track import Tracks
from restreamer.testing.media import START
from test.live.rig import AV, SECOND, D, Origin, av, still_true


def table(number: int) -> Tracks:
    """The tracks with another configuration of the pictures."""
    return (evolve(AV[0], config=AV[0].config + bytes((number % 256,))), AV[1])


class ClockFloodTests(SynchronousTestCase):
    """R11: a jump of the clock is a segment of its own, but not without end."""

    def test_numbers_stay_with_the_grid(self) -> None:
        """A clock that jumps a little less often than once a second, for ten minutes."""
        short = 2 * SECOND
        origin = Origin(segment_duration=short)
        ingest = origin.publish()
        lead = last = 0
        for frame in av(600, gop=25):
            if frame.dts - last > SECOND * 12 // 10:
                lead += 100 * SECOND
                last = frame.dts
            origin.now.ticks = START + frame.dts
            ingest.push([evolve(frame, dts=frame.dts + lead)])
        ingest.end("done")
        still_true(origin)
        numbers = [entry.number for entry in origin.closed]
        self.assertLessEqual(numbers[-1] - numbers[0], 600 * SECOND // short + 2 * MANY_CHANGES)
        self.assertEqual(ingest.counters.dropped, 0)


class TrackFloodTests(SynchronousTestCase):
    """R21, C04: a change is a segment of its own, but not without end."""

    def flood(self, origin: Origin, ingest: Ingest, frames: list[Frame], every: int = 1) -> None:
        """Play C{frames}; the tracks change before each one, or each C{every}."""
        for index, frame in enumerate(frames):
            if index % every == 0:
                ingest.configure(table(index // every))
            origin.play(ingest, [frame], origin.now.ticks - START)

    def test_numbers_stay_with_the_grid(self) -> None:
        """With each frame, for ten minutes: about one segment for each duration, and then it is over."""
        origin = Origin()
        ingest = origin.publish()
        self.flood(origin, ingest, av(600, gop=25))
        still_true(origin)
        numbers = [entry.number for entry in origin.closed]
        self.assertLessEqual(numbers[-1] - numbers[0], 600 * SECOND // D + MANY_CHANGES)
        self.assertLessEqual(numbers[-1] - origin.now.ticks // D, MANY_CHANGES)
        self.assertGreater(ingest.counters.dropped, 10_000)
        ingest.configure(AV)
        after = [frame for frame in av(640, gop=25) if frame.dts >= 600 * SECOND]
        dropped = ingest.counters.dropped
        origin.play(ingest, after, 600 * SECOND)
        self.assertLess(ingest.counters.dropped - dropped, 500)
        ingest.end("done")
        still_true(origin)
        last = origin.closed[-1].segment
        self.assertEqual((last.tracks[0].config, last.discontinuity), (AV[0].config, False))

    def test_some_changes_at_once_are_all_kept(self) -> None:
        """An encoder that tries out some settings loses nothing."""
        origin = Origin()
        ingest = origin.publish()
        frames = av(20, gop=25)
        self.flood(origin, ingest, frames[:60], 10)
        origin.play(ingest, frames[60:], origin.now.ticks - START)
        ingest.end("done")
        still_true(origin)
        self.assertEqual(ingest.counters.dropped, 0)
        self.assertEqual(sum(len(entry.segment.frames()) for entry in origin.closed), len(frames))
        self.assertEqual(sum(entry.segment.discontinuity for entry in origin.closed), 5)

    def test_a_change_now_and_then_is_kept_for_ever(self) -> None:
        """A source that changes its tracks a little less often than a segment lasts loses nothing."""
        origin = Origin()
        ingest = origin.publish()
        frames = av(300, gop=25)
        per_second = len(frames) // 300
        self.flood(origin, ingest, frames, per_second * D // SECOND + per_second)
        self.assertEqual(ingest.counters.dropped, 0)
